//! A connection on which nothing goes forward is closed: whoever asks for nothing, sends headers
//! drop by drop, or takes nothing of an answer holds a place that others could have.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::limits::Limits;
use super::reply::{Reply, ReplyBody};

/// What one connection is busy with. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Since when there is no request under way.
    idle_since: Instant,
    /// When each answer that is being sent went forward last; `None` while it is being made.
    requests: BTreeMap<u64, Option<Instant>>,
    next: u64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            idle_since: Instant::now(),
            requests: BTreeMap::new(),
            next: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins; it ends when what is returned is dropped.
    pub(super) fn request(&self) -> UnderWay {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.requests.insert(number, None);
        UnderWay {
            activity: self.clone(),
            number,
        }
    }

    /// Returns when the connection is to be closed.
    pub(super) async fn overdue(&self, limits: &Limits) {
        loop {
            let now = Instant::now();
            let deadline = {
                let state = self.state();
                let oldest = state.requests.values().flatten().min();
                if state.requests.is_empty() {
                    state.idle_since + limits.header_time
                } else {
                    oldest.map_or(now, |oldest| *oldest) + limits.answer_silence
                }
            };
            if deadline <= now {
                return;
            }
            // What happens meanwhile only moves the deadline, but for a request that ends: then it
            // is this long away.
            sleep_until(deadline.min(now + limits.header_time)).await;
        }
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    activity: Activity,
    number: u64,
}

impl UnderWay {
    /// Lets the request last as long as its answer is being sent.
    pub(super) fn answer(self, reply: Reply) -> hyper::Response<Answer> {
        self.goes_forward();
        reply.map(|body| Answer {
            body,
            under_way: self,
        })
    }

    fn goes_forward(&self) {
        if let Some(at) = self.activity.state().requests.get_mut(&self.number) {
            *at = Some(Instant::now());
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.requests.remove(&self.number);
        state.idle_since = Instant::now();
    }
}

/// An answer's body: each look at it says that the client has taken what came before.
pub(super) struct Answer {
    body: ReplyBody,
    under_way: UnderWay,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.under_way.goes_forward();
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
