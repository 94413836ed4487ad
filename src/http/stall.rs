//! A connection that ends when its client takes no bytes for too long: nobody may hold a build's
//! output, a thread and a place by not reading.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

/// Takes the limit away from a connection that is to be something else. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Lift(Arc<AtomicBool>);

impl Lift {
    pub(super) fn lift(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A socket with a limit on how long a write may wait.
pub(super) struct Stall<S> {
    io: TokioIo<S>,
    limit: Duration,
    lift: Lift,
    waiting: Pin<Box<Sleep>>,
    waits: bool,
}

impl<S> Stall<S> {
    pub(super) fn new(stream: S, limit: Duration, lift: Lift) -> Self {
        Self {
            io: TokioIo::new(stream),
            limit,
            lift,
            waiting: Box::pin(tokio::time::sleep(limit)),
            waits: false,
        }
    }

    /// Starts or ends the wait by what a write did.
    fn watch<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() || self.lift.0.load(Ordering::SeqCst) {
            self.waits = false;
            return done;
        }
        if !self.waits {
            self.waits = true;
            self.waiting.as_mut().reset(Instant::now() + self.limit);
        }
        ready!(self.waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Read for Stall<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> Write for Stall<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, done)
    }
}
