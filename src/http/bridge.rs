//! Between async sockets and blocking code: a request's body that looks like `BufRead`, a
//! response's body that looks like `Write`. Both ways are bounded, so that whoever is slow slows
//! the other side and memory does not grow.

use std::io::{self, BufRead, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, timeout};

use super::limits::Limits;
use crate::sandbox::Cancel;

/// Chunks that may wait between the two sides.
const DEPTH: usize = 16;

/// How long a client may read nothing before it counts as gone: it holds a build up.
const STALL: Duration = Duration::from_secs(60);

/// Silence after which a keep-alive is sent.
const SILENCE: Duration = Duration::from_secs(5);

/// A request's body for blocking code.
pub struct BodyReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    drain_bytes: u64,
}

impl BodyReader {
    /// Starts to read a body. What the reader leaves is drained, since a client that is still
    /// sending does not read why it was refused.
    pub fn new(mut body: Incoming, limits: &Limits) -> Self {
        let (sender, chunks) = mpsc::channel(DEPTH);
        let (silence, drain_bytes) = (limits.body_silence, limits.drain_bytes);
        tokio::spawn(async move {
            let mut wanted = true;
            let mut drained_bytes = 0;
            loop {
                let chunk = match timeout(silence, body.frame()).await {
                    Ok(None) => return,
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => Ok(data),
                        Err(_trailers) => continue,
                    },
                    Ok(Some(Err(error))) => {
                        Err(io::Error::new(io::ErrorKind::UnexpectedEof, error))
                    }
                    Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
                };
                let ended = chunk.is_err();
                if !wanted {
                    drained_bytes += chunk.as_ref().map_or(0, |data| data.len() as u64);
                } else if sender.send(chunk).await.is_err() {
                    wanted = false;
                }
                if ended || drained_bytes > drain_bytes {
                    return;
                }
            }
        });
        Self {
            chunks,
            current: Bytes::new(),
            drain_bytes,
        }
    }

    /// Reads on to the end, or until it is too much; a client that leaves meanwhile needs no answer.
    pub fn drain(self) {
        let limit = self.drain_bytes;
        let _ = io::copy(&mut self.take(limit), &mut io::sink());
    }
}

impl BufRead for BodyReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount);
    }
}

impl Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buf.len());
        buf[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// The blocking side of a response's body.
pub struct BodyWriter {
    runtime: Handle,
    chunks: mpsc::Sender<Bytes>,
    keep_alive: Arc<AtomicBool>,
}

impl BodyWriter {
    /// From now on the client understands keep-alives.
    pub fn enable_keep_alive(&self) {
        self.keep_alive.store(true, Ordering::SeqCst);
    }

    /// The switch, for whoever hands the writer on.
    pub fn keep_alive(&self) -> KeepAlive {
        KeepAlive(self.keep_alive.clone())
    }
}

impl BodyWriter {
    /// Sends a piece from async code; says whether the client still takes them.
    pub async fn send(&self, piece: impl Into<Bytes>) -> bool {
        let piece = piece.into();
        piece.is_empty() || self.chunks.send(piece).await.is_ok()
    }

    /// Waits until the client has left.
    pub async fn left(&self) {
        self.chunks.closed().await;
    }
}

/// Switches a response's keep-alives off.
pub struct KeepAlive(Arc<AtomicBool>);

impl KeepAlive {
    /// From now on nothing may stand between the bytes.
    pub fn disable(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Write for BodyWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if !buf.is_empty() {
            let sending = self.chunks.send(Bytes::copy_from_slice(buf));
            let sent = self
                .runtime
                .block_on(async { timeout(STALL, sending).await });
            if !matches!(sent, Ok(Ok(()))) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket's side of a response's body: ends when the writer is dropped.
pub struct ChannelBody {
    chunks: mpsc::Receiver<Bytes>,
    keep_alive: Arc<AtomicBool>,
    keep_alive_bytes: Bytes,
    silence: Pin<Box<Sleep>>,
    /// Told when the client has gone.
    cancel: Cancel,
}

/// Makes the two sides of a response's body. `keep_alive` is what is sent into silence once the
/// writer allows it; `cancel` is set when the body is dropped, be it sent or not.
pub fn channel(keep_alive: &'static [u8], cancel: Cancel) -> (BodyWriter, ChannelBody) {
    let (sender, chunks) = mpsc::channel(DEPTH);
    let enabled = Arc::new(AtomicBool::new(false));
    let body = ChannelBody {
        chunks,
        keep_alive: enabled.clone(),
        keep_alive_bytes: Bytes::from_static(keep_alive),
        silence: Box::pin(tokio::time::sleep(SILENCE)),
        cancel,
    };
    let writer = BodyWriter {
        runtime: Handle::current(),
        chunks: sender,
        keep_alive: enabled,
    };
    (writer, body)
}

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(chunk) = self.chunks.poll_recv(cx) {
            self.silence.as_mut().reset(Instant::now() + SILENCE);
            return Poll::Ready(chunk.map(|bytes| Ok(Frame::data(bytes))));
        }
        while self.silence.as_mut().poll(cx).is_ready() {
            self.silence.as_mut().reset(Instant::now() + SILENCE);
            if self.keep_alive.load(Ordering::SeqCst) {
                return Poll::Ready(Some(Ok(Frame::data(self.keep_alive_bytes.clone()))));
            }
        }
        Poll::Pending
    }
}

impl Drop for ChannelBody {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
