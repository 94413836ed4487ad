//! A connection to a dyno. Nobody but its user drives it: request and answer of one client are one
//! task's work, so that no other has to be woken on the way.

use std::future::Future as _;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::body::RequestBody;
use crate::platform::dynos::{Backend, Place};

/// What drives a connection, upgrades included.
type Drive = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Bytes that are read of a dyno's answer before they are passed on.
const BUFFER_BYTES: usize = 64 << 10;

/// What is shorter than this was written in a piece that more may follow.
const PIECE_BYTES: usize = 16 << 10;

/// An open connection to a dyno.
pub(super) struct Link {
    sender: SendRequest<RequestBody>,
    /// The head of an answer has come, and the rest is waited for.
    wants_rest: Arc<AtomicBool>,
    /// None once it has ended.
    drive: Option<Drive>,
}

impl Link {
    /// Connects to a dyno.
    pub async fn open(backend: &Backend) -> io::Result<Self> {
        let stream = match &backend.place {
            Place::Door(door) => door.connect(backend.port).await?,
            Place::Host => TcpStream::connect(("127.0.0.1", backend.port)).await?,
        };
        // Small requests should not wait for acknowledgements.
        let _ = stream.set_nodelay(true);
        let wants_rest = Arc::<AtomicBool>::default();
        let stream = Stream {
            inner: stream,
            wants_rest: wants_rest.clone(),
            is_piece: false,
        };
        let (sender, connection): (_, Connection<_, _>) = Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Self {
            sender,
            wants_rest,
            drive: Some(Box::pin(connection.with_upgrades())),
        })
    }

    /// Lets the connection do what it can.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(drive) = &mut self.drive
            && drive.as_mut().poll(cx).is_ready()
        {
            // How it has ended, whoever waits for something of it is told.
            self.drive = None;
        }
    }

    /// Lets the connection do what it can, where the rest of an answer is waited for.
    pub fn drive_for_rest(&mut self, cx: &mut Context<'_>) {
        self.wants_rest.store(true, Ordering::Relaxed);
        self.drive(cx);
        self.wants_rest.store(false, Ordering::Relaxed);
    }

    /// Lets the connection do what it can while nobody waits for it; says whether it can take a
    /// request.
    pub fn is_ready(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.drive.is_some() && self.sender.is_ready()
    }

    /// Sends a request, and waits for the head of its answer.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            if let Some(drive) = &mut self.drive
                && drive.as_mut().poll(cx).is_ready()
            {
                self.drive = None;
            }
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Drives the connection until it has ended, as it does when it becomes something else.
    pub async fn ended(&mut self) {
        poll_fn(|cx| {
            self.drive(cx);
            if self.drive.is_none() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// The socket. A program that writes head and body apart has the second piece held back by its kernel
/// until the first is acknowledged, for which ours takes 40 milliseconds: where the rest of an answer
/// is waited for, it is asked to do so at once. Source: tcp(7), `TCP_QUICKACK`.
struct Stream {
    inner: TcpStream,
    wants_rest: Arc<AtomicBool>,
    /// What was read last is short, and may be unacknowledged.
    is_piece: bool,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_ready() {
            self.is_piece = buf.filled().len() - before < PIECE_BYTES;
        } else if self.is_piece && self.wants_rest.load(Ordering::Relaxed) {
            self.is_piece = false;
            // Without it the answer is late and no worse.
            let _ = self.inner.set_quickack(true);
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
