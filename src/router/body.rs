//! Bodies on their way through, with the clock that runs while nothing comes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::pages::Fault;
use super::pool::{Pool, Sender};
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

/// A client's body on its way to a dyno.
pub(super) struct RequestBody {
    body: Option<Incoming>,
    clock: Clock,
    /// Told when the client has stopped sending.
    idle: Arc<AtomicBool>,
}

impl RequestBody {
    pub fn new(body: Incoming, silence: Duration, idle: Arc<AtomicBool>) -> Self {
        Self {
            body: Some(body),
            clock: Clock::new(silence),
            idle,
        }
    }

    /// The body of a request that has none, for another attempt.
    pub fn empty() -> Self {
        Self {
            body: None,
            clock: Clock::new(Duration::MAX),
            idle: Arc::default(),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.clock.stop();
                Poll::Ready(frame.map(|frame| frame.map_err(|_| Broken)))
            }
            Poll::Pending => {
                ready!(this.clock.poll(cx));
                this.idle.store(true, Ordering::SeqCst);
                Poll::Ready(Some(Err(Broken)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
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
    connection: Option<(Sender, Arc<Pool>)>,
    serving: Option<Serving>,
}

impl Answer {
    pub fn new(
        body: Incoming,
        silence: Duration,
        mut record: Record,
        sender: Sender,
        pool: Arc<Pool>,
        serving: Serving,
    ) -> Self {
        // Nobody asks such a body for its end.
        let is_empty = body.is_end_stream();
        record.is_done = is_empty;
        let mut answer = Self {
            body,
            clock: Clock::new(silence),
            record,
            connection: Some((sender, pool)),
            serving: Some(serving),
        };
        if is_empty {
            answer.end();
        }
        answer
    }

    fn end(&mut self) {
        self.record.is_done = true;
        if let Some((sender, pool)) = self.connection.take() {
            pool.keep(sender);
        }
        self.serving = None;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.clock.stop();
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
                Poll::Ready(Some(Err(Broken)))
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
