//! Clients of one-off dynos: the bytes between a socket and a terminal or pipes.
//!
//! There are two ways in, both by the secret of the dyno's `attach_url`. Heroku's rendezvous: a
//! connection that begins with the secret, after which bytes go both ways as they are. Our own: an
//! upgrade of `/attach/SECRET`, after which [`Frame`]s go both ways: they carry the size of the
//! terminal, signals, the end of the input and the exit code besides.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Sender, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Server;
use super::reply::{Reply, not_found, text};
use super::stall::Lift;
use crate::attach::{Frame, PROTOCOL, WINDOW_BYTES};
use crate::platform::dynos::{OneOff, resize};

/// What a client of Heroku's rendezvous reads first. Source: its clients take one piece and drop it.
const GREETING: &[u8] = b"rendezvous\r\n";
/// What such a client sends for the end of its input.
const END_OF_INPUT: u8 = 4;
/// After such a byte, how long nothing may come for it to be that.
const QUIET: Duration = Duration::from_millis(500);
/// How long the connection stays open after the end: Heroku's client fails where it can write no more.
const LINGER: Duration = Duration::from_millis(400);
/// How long a client who has been told the end gets to close the connection.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a client gets to take the last bytes.
const FAREWELL: Duration = Duration::from_secs(10);

/// `GET /attach/SECRET`: from here on the connection is the dyno's.
pub(super) fn answer(server: &Server, secret: &str, mut request: Request<Incoming>) -> Reply {
    let wanted = request.headers().get(UPGRADE);
    if wanted.is_none_or(|wanted| wanted.as_bytes() != PROTOCOL.as_bytes()) {
        return text(
            StatusCode::UPGRADE_REQUIRED,
            "Ask for an upgrade of this connection, as `slugline run` does.",
        );
    }
    let Some(one) = server.platform.dynos.awaiting(secret) else {
        return not_found("No dyno waits for this client.");
    };
    let Ok(ends) = connected(&one, true) else {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "The server has no terminal left.",
        );
    };
    if let Some(lift) = request.extensions_mut().remove::<Lift>() {
        // Who stops his terminal's output may read later.
        lift.lift();
    }
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(stream) => session(TokioIo::new(stream), Bytes::new(), ends, one, true).await,
            Err(_) => one.hang_up("Client connection lost"),
        }
    });
    let mut reply = Response::new(http_body_util::Empty::new().boxed_unsync());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    reply
}

fn connected(one: &OneOff, errors_apart: bool) -> io::Result<Streams> {
    let ends = one.connect(errors_apart)?;
    // A terminal is none, and is waited for all the same.
    let reader = |fd| pipe::Receiver::from_owned_fd_unchecked(ready(fd)?);
    Ok(Streams {
        input: pipe::Sender::from_owned_fd_unchecked(ready(ends.input)?)?,
        output: reader(ends.output)?,
        error: ends.error.map(reader).transpose()?,
        terminal: ends.terminal,
    })
}

/// Looks at the beginning of a connection, which may be a rendezvous; else gives it back, whole.
pub(super) async fn rendezvous<S>(
    mut stream: S,
    server: &Server,
    longest: Duration,
) -> Option<Prefixed<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut first = BytesMut::new();
    // No method of HTTP begins with a small letter, and every secret does.
    let is_secret = |first: &[u8]| first.first().is_none_or(u8::is_ascii_lowercase);
    let began = async {
        while is_secret(&first) && first.len() < SECRET_BYTES {
            if stream.read_buf(&mut first).await.unwrap_or(0) == 0 {
                return false;
            }
        }
        true
    };
    if !timeout(longest, began).await.unwrap_or(false) {
        return None;
    }
    if !is_secret(&first) {
        let first = first.freeze();
        return Some(Prefixed {
            first,
            inner: stream,
        });
    }
    let secret = first.split_to(SECRET_BYTES);
    let found = std::str::from_utf8(&secret).ok();
    let one = found.and_then(|secret| server.platform.dynos.awaiting(secret))?;
    // Not all clients end the line.
    if first.starts_with(b"\r\n") {
        first.advance(2);
    }
    match connected(&one, false) {
        Ok(ends) => {
            let greeted = stream.write_all(GREETING).await;
            if greeted.is_ok() && stream.flush().await.is_ok() {
                tokio::spawn(session(stream, first.freeze(), ends, one, false));
            } else {
                one.hang_up("Client connection lost");
            }
        }
        Err(error) => {
            tracing::warn!(%error, "a client could not be attached");
            one.hang_up("No terminal is left");
        }
    }
    None
}

/// As long as all are: the prefix and 64 digits.
const SECRET_BYTES: usize = 73;

struct Streams {
    input: pipe::Sender,
    output: pipe::Receiver,
    error: Option<pipe::Receiver>,
    terminal: Option<OwnedFd>,
}

/// Moves bytes until the dyno has ended.
async fn session<S>(stream: S, first: Bytes, ends: Streams, one: Arc<OneOff>, framed: bool)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let (sender, mut pieces) = mpsc::channel::<Bytes>(16);
    let moved = Moved::default();
    let Streams {
        input,
        output,
        error,
        terminal,
    } = ends;
    let taking = Taking {
        one: one.clone(),
        moved: moved.clone(),
        sender: sender.clone(),
        terminal,
        waiting: AtomicUsize::new(0),
    };
    let gone = Notify::new();
    let take = async {
        let lost = if framed {
            taking.frames(reader, input).await
        } else {
            taking.bytes(reader, first, input).await
        };
        gone.notify_one();
        one.hang_up(lost);
        std::future::pending::<()>().await;
    };
    let read = async {
        let wrap = |kind: fn(Bytes) -> Frame| {
            move |piece| if framed { kind(piece).encode() } else { piece }
        };
        let outputs = pass(output, &sender, &moved, wrap(Frame::Output));
        let errors = async {
            if let Some(error) = error {
                pass(error, &sender, &moved, wrap(Frame::Error)).await;
            }
        };
        tokio::join!(outputs, errors);
        one.output_ended();
        let code = one.exit().await;
        if framed {
            // Nobody hears it where the client has gone.
            let _ = sender.send(Frame::Exit(code).encode()).await;
        }
        // What is empty ends the writing.
        let _ = sender.send(Bytes::new()).await;
        std::future::pending::<()>().await;
    };
    let write = async {
        let mut is_gone = false;
        while let Some(piece) = pieces.recv().await.filter(|piece| !piece.is_empty()) {
            // The dyno must not wait for a client who has gone.
            is_gone = is_gone || writer.write_all(&piece).await.is_err();
            is_gone = is_gone || writer.flush().await.is_err();
            moved.now();
        }
        if !framed {
            sleep(LINGER).await;
        }
        let _ = writer.shutdown().await;
        // A connection that is closed while something of the client's comes is reset, and what he has
        // not read yet is lost to him.
        let _ = timeout(LAST_WORDS, gone.notified()).await;
    };
    let idle = async {
        loop {
            let due = moved.last() + one.silence();
            if due <= Instant::now() {
                break;
            }
            sleep_until(due).await;
        }
        one.hang_up("Client connection idle");
        std::future::pending::<()>().await;
    };
    let cut = async {
        one.exit().await;
        sleep(FAREWELL).await;
    };
    tokio::select! {
        () = take => {}
        () = read => {}
        () = write => {}
        () = idle => {}
        () = cut => {}
    }
}

/// Passes a file on to its end.
async fn pass(
    mut file: pipe::Receiver,
    sender: &Sender<Bytes>,
    moved: &Moved,
    wrap: impl Fn(Bytes) -> Bytes,
) {
    let mut buffer = vec![0; 16 * 1024];
    // An error is the end of a terminal.
    while let Ok(count @ 1..) = file.read(&mut buffer).await {
        moved.now();
        let piece = Bytes::copy_from_slice(&buffer[..count]);
        let _ = sender.send(wrap(piece)).await;
    }
}

/// When something was moved last, either way.
#[derive(Clone)]
struct Moved(Arc<Mutex<Instant>>);

impl Default for Moved {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Moved {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is done with what a client sends.
struct Taking {
    one: Arc<OneOff>,
    moved: Moved,
    sender: Sender<Bytes>,
    terminal: Option<OwnedFd>,
    /// Bytes of the input that have come and are not written yet.
    waiting: AtomicUsize,
}

impl Taking {
    /// Takes frames until the client has gone; says how.
    async fn frames<S: AsyncRead>(
        &self,
        mut reader: ReadHalf<S>,
        input: pipe::Sender,
    ) -> &'static str {
        // The client sends no more than the window, so this holds no more.
        let (queue, queued) = mpsc::unbounded_channel();
        let feeding = self.feed(input, queued);
        let taking = async {
            let mut buffer = BytesMut::new();
            let mut queue = Some(queue);
            loop {
                match Frame::decode(&mut buffer) {
                    Err(_) => return "Client speaks another protocol",
                    Ok(Some(frame)) => {
                        if !self.take(frame, &mut queue) {
                            return "Client speaks another protocol";
                        }
                    }
                    Ok(None) => match reader.read_buf(&mut buffer).await {
                        Ok(1..) => self.moved.now(),
                        Ok(0) | Err(_) => return "Client connection closed",
                    },
                }
            }
        };
        tokio::select! {
            lost = taking => lost,
            never = feeding => never,
        }
    }

    fn take(&self, frame: Frame, queue: &mut Option<UnboundedSender<Bytes>>) -> bool {
        match frame {
            Frame::Input(bytes) => {
                let waiting = self.waiting.fetch_add(bytes.len(), Ordering::SeqCst);
                let fits = waiting + bytes.len() <= WINDOW_BYTES && !bytes.is_empty();
                fits && queue.as_ref().is_some_and(|open| open.send(bytes).is_ok())
            }
            Frame::EndOfInput => {
                *queue = None;
                true
            }
            Frame::Resize(columns, lines) => {
                if let Some(terminal) = &self.terminal {
                    // One that has ended has no size.
                    let _ = resize(terminal, columns, lines);
                }
                true
            }
            Frame::Signal(number) => {
                let known = [
                    Signal::SIGHUP,
                    Signal::SIGINT,
                    Signal::SIGQUIT,
                    Signal::SIGTERM,
                ];
                let found = known
                    .into_iter()
                    .find(|signal| *signal as i32 == i32::from(number));
                found.inspect(|signal| self.one.signal(*signal)).is_some()
            }
            Frame::Output(_) | Frame::Error(_) | Frame::Taken(_) | Frame::Exit(_) => false,
        }
    }

    /// Writes what is queued, telling the client how much has been taken; never returns.
    async fn feed(
        &self,
        mut input: pipe::Sender,
        mut queued: UnboundedReceiver<Bytes>,
    ) -> &'static str {
        while let Some(bytes) = queued.recv().await {
            // One that does not read any more need not hear of it: the client is told what it
            // would be by a pipe's writer, by the command's end.
            let _ = input.write_all(&bytes).await;
            self.waiting.fetch_sub(bytes.len(), Ordering::SeqCst);
            let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let _ = self.sender.send(Frame::Taken(count).encode()).await;
        }
        if self.terminal.is_some() {
            let _ = input.write_all(&[END_OF_INPUT]).await;
        }
        drop(input);
        std::future::pending().await
    }

    /// Takes plain bytes until the client has gone; says how.
    async fn bytes<S: AsyncRead>(
        &self,
        mut reader: ReadHalf<S>,
        first: Bytes,
        input: pipe::Sender,
    ) -> &'static str {
        let (mut input, mut buffer) = (Some(input), BytesMut::from(&first[..]));
        let mut held = false;
        loop {
            // On a terminal the byte means what it says there.
            if self.terminal.is_none() && buffer.last() == Some(&END_OF_INPUT) {
                buffer.truncate(buffer.len() - 1);
                held = true;
            }
            if let Some(input) = &mut input {
                let _ = input.write_all(&buffer).await;
            }
            buffer.clear();
            let reading = reader.read_buf(&mut buffer);
            let read = if held {
                match timeout(QUIET, reading).await {
                    Ok(read) => read,
                    Err(_elapsed) => {
                        (input, held) = (None, false);
                        continue;
                    }
                }
            } else {
                reading.await
            };
            match read {
                Ok(1..) => self.moved.now(),
                Ok(0) | Err(_) => return "Client connection closed",
            }
            if std::mem::take(&mut held) {
                let mut whole = BytesMut::from(&[END_OF_INPUT][..]);
                whole.extend_from_slice(&buffer);
                buffer = whole;
            }
        }
    }
}

/// Lets a descriptor be waited for.
fn ready(fd: OwnedFd) -> io::Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok(fd)
}

/// A connection of which the beginning has been read.
pub(super) struct Prefixed<S> {
    first: Bytes,
    inner: S,
}

impl<S> Prefixed<S> {
    /// One of which nothing has been read.
    pub(super) fn whole(inner: S) -> Self {
        let first = Bytes::new();
        Self { first, inner }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
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

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}
