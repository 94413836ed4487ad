//! Bodies on their way through, with the clock that runs while nothing comes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::Limits;
use super::client::Client;
use super::link::Link;
use super::pages::Fault;
use super::pool::Pool;
use super::record::Record;
use crate::platform::dynos::Serving;

/// Why a body was not sent to its end; nobody reads it but our own log.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body ended early")
    }
}

impl std::error::Error for Broken {}

/// How far a client's body has come.
#[derive(Debug)]
pub(super) struct Upload {
    began: Instant,
    /// When something of it came last, in milliseconds after that.
    moved_ms: AtomicU64,
    is_done: AtomicBool,
    fault: AtomicU64,
}

/// What may be wrong with a body.
const IDLE: u64 = 1;
const TOO_LARGE: u64 = 2;

impl Upload {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            moved_ms: AtomicU64::new(0),
            is_done: AtomicBool::new(false),
            fault: AtomicU64::new(0),
        }
    }

    fn moves(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(ms, Ordering::SeqCst);
    }

    /// Until when the dyno has time for the first byte of its answer, or for the next of the body.
    pub fn deadline(&self, first_byte: Duration, silence: Duration) -> Instant {
        let moved = self.began + Duration::from_millis(self.moved_ms.load(Ordering::SeqCst));
        if self.is_done.load(Ordering::SeqCst) {
            moved + first_byte
        } else {
            // The client's own silence has its clock, which is to be the first.
            moved + silence + silence / 8
        }
    }

    /// What was wrong with the body.
    pub fn fault(&self) -> Option<Fault> {
        match self.fault.load(Ordering::SeqCst) {
            IDLE => Some(Fault::ClientIdle),
            TOO_LARGE => Some(Fault::TooLarge),
            _ => None,
        }
    }
}

/// A client's body on its way to a dyno.
pub(super) struct RequestBody(Option<Uploading>);

struct Uploading {
    body: Incoming,
    clock: Clock,
    left_bytes: u64,
    upload: Arc<Upload>,
    client: Arc<Client>,
}

impl RequestBody {
    /// A body, and how far it has come; nothing of that where there is none.
    pub fn new(
        body: Incoming,
        limits: &Limits,
        client: &Arc<Client>,
    ) -> (Self, Option<Arc<Upload>>) {
        if body.is_end_stream() {
            return (Self::empty(), None);
        }
        let upload = Arc::new(Upload::new());
        let uploading = Uploading {
            body,
            clock: Clock::new(limits.silence),
            left_bytes: limits.body_bytes,
            upload: upload.clone(),
            client: client.clone(),
        };
        (Self(Some(uploading)), Some(upload))
    }

    /// The body of a request that has none.
    pub fn empty() -> Self {
        Self(None)
    }
}

impl Uploading {
    fn break_off(&self, fault: u64) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.upload.fault.store(fault, Ordering::SeqCst);
        Poll::Ready(Some(Err(Broken)))
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.upload.moves();
        self.upload.is_done.store(true, Ordering::SeqCst);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(this) = &mut self.0 else {
            return Poll::Ready(None);
        };
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.clock.stop();
                this.upload.moves();
                this.client.moves();
                if let Some(Ok(frame)) = &frame {
                    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                    match this.left_bytes.checked_sub(bytes) {
                        Some(left) => this.left_bytes = left,
                        None => return this.break_off(TOO_LARGE),
                    }
                }
                Poll::Ready(frame.map(|frame| frame.map_err(|_| Broken)))
            }
            Poll::Pending => {
                ready!(this.clock.poll(cx));
                this.break_off(IDLE)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|this| this.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.0.as_ref().map(|this| this.body.size_hint());
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

/// What a client gets: a page of ours, or a dyno's answer.
pub(super) enum ResponseBody {
    Page(Full<Bytes>),
    Dyno(Box<Answer>),
}

/// A dyno's answer on its way to the client. What it holds is let go at its end.
pub(super) struct Answer {
    body: Incoming,
    clock: Clock,
    record: Record,
    /// The connection that it comes on, and where that goes afterwards.
    link: Option<(Link, Arc<Pool>)>,
    serving: Option<Serving>,
}

impl Answer {
    pub fn new(
        body: Incoming,
        silence: Duration,
        record: Record,
        link: Link,
        pool: Arc<Pool>,
        serving: Serving,
    ) -> Self {
        let mut answer = Self {
            body,
            clock: Clock::new(silence),
            record,
            link: Some((link, pool)),
            serving: Some(serving),
        };
        // Nobody asks such a body for its end.
        if answer.body.is_end_stream() {
            answer.end();
        }
        answer
    }

    fn end(&mut self) {
        self.record.is_done = true;
        if let Some((link, pool)) = self.link.take() {
            pool.keep(link);
        }
        self.serving = None;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.record.fault.is_some() {
            return Poll::Ready(Some(Err(Broken)));
        }
        // Asked before the connection is driven, or it would find nobody who wants more.
        let mut next = Pin::new(&mut self.body).poll_frame(cx);
        if next.is_pending()
            && let Some((link, _)) = &mut self.link
        {
            link.drive_for_rest(cx);
            next = Pin::new(&mut self.body).poll_frame(cx);
        }
        match next {
            Poll::Ready(Some(Ok(frame))) => {
                self.clock.stop();
                self.record.client.moves();
                if let Some(data) = frame.data_ref() {
                    self.record.bytes += data.len() as u64;
                }
                // A body of known length is not asked again.
                if self.body.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                self.record.fault = Some(Fault::Cut);
                // What has come before goes to the client before the connection is cut.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => {
                ready!(self.clock.poll(cx));
                self.record.fault = Some(Fault::Idle);
                Poll::Ready(Some(Err(Broken)))
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Page(page) => Pin::new(page)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::Dyno(answer) => answer.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page) => page.is_end_stream(),
            Self::Dyno(answer) => answer.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(page) => page.size_hint(),
            Self::Dyno(answer) => answer.body.size_hint(),
        }
    }
}

/// Runs while nothing comes; a body that flows costs no timer.
struct Clock {
    silence: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    fn new(silence: Duration) -> Self {
        Self {
            silence,
            sleep: None,
        }
    }

    fn stop(&mut self) {
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(Instant::now() + self.silence);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let silence = self.silence;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(silence)));
        sleep.as_mut().poll(cx)
    }
}
