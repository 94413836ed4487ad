//! What a client may cost before anybody knows what it wants: connections, time, bytes, and wrong
//! tokens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limits of the server's edge.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Whether clients come by way of a proxy, which names them.
    pub behind_proxy: bool,
    /// Longest time from a connection's start, or the answer before, to the end of the headers.
    pub header_time: Duration,
    /// Bytes of a request's line and headers.
    pub header_bytes: usize,
    /// Longest time without a byte of a body that is being read.
    pub body_silence: Duration,
    /// Longest time in which a client takes no byte of an answer.
    pub answer_silence: Duration,
    /// Bytes that are read on after nobody wants them, so that a refusal can be read.
    pub drain_bytes: u64,
    /// The same where the client has shown no token.
    pub anonymous_drain_bytes: u64,
    /// Connections at once.
    pub connections: usize,
    /// Pushes, clones and fetches at once by one token.
    pub requests_of_token: usize,
    /// Wrong tokens a minute from one address; each further attempt has to wait.
    pub wrong_tokens: u32,
    /// How long it has to wait.
    pub wrong_token_delay: Duration,
    /// Longest time of a clone or a fetch.
    pub fetch_time: Duration,
    /// Bytes of a fetch's request, unpacked: it lists object ids.
    pub fetch_request_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            behind_proxy: false,
            header_time: Duration::from_secs(30),
            header_bytes: 64 << 10,
            body_silence: Duration::from_secs(60),
            answer_silence: Duration::from_secs(300),
            drain_bytes: 4 << 30,
            anonymous_drain_bytes: 16 << 20,
            connections: 256,
            requests_of_token: 64,
            wrong_tokens: 20,
            wrong_token_delay: Duration::from_secs(1),
            fetch_time: Duration::from_secs(3600),
            fetch_request_bytes: 64 << 20,
        }
    }
}

/// How long a wrong token is remembered.
const MINUTE: Duration = Duration::from_secs(60);
/// Attempts of one address that may wait at once; more are refused unseen.
const WAITING: u32 = 16;
/// Addresses that are remembered; beyond them the oldest are forgotten.
const ADDRESSES: usize = 10_000;

/// Counts what is limited.
#[derive(Debug)]
pub(super) struct Gate {
    connections: Arc<Semaphore>,
    requests_of_token: usize,
    tokens: Mutex<HashMap<String, Arc<Semaphore>>>,
    wrong_tokens: u32,
    wrong: Arc<Mutex<HashMap<IpAddr, Wrong>>>,
}

#[derive(Debug)]
struct Wrong {
    since: Instant,
    count: u32,
    waiting: u32,
}

/// How an attempt to authenticate goes on.
#[derive(Debug)]
pub(super) enum Attempt {
    /// At once.
    Free,
    /// After the delay; the value is dropped when that is over.
    Delayed(Waiting),
    /// Not at all.
    Refused,
}

/// An attempt that waits; a client that leaves gives its place back.
#[derive(Debug)]
pub(super) struct Waiting {
    wrong: Arc<Mutex<HashMap<IpAddr, Wrong>>>,
    address: IpAddr,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = wrong.get_mut(&self.address) {
            entry.waiting = entry.waiting.saturating_sub(1);
        }
    }
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(limits.connections)),
            requests_of_token: limits.requests_of_token,
            tokens: Mutex::default(),
            wrong_tokens: limits.wrong_tokens,
            wrong: Arc::default(),
        }
    }

    /// A place for one more connection.
    pub(super) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        self.connections.clone().try_acquire_owned().ok()
    }

    /// A place for one more request of a token.
    pub(super) fn request(&self, token_id: &str) -> Option<OwnedSemaphorePermit> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody uses at the moment need no counting.
        tokens.retain(|_, places| places.available_permits() < self.requests_of_token);
        let places = tokens
            .entry(token_id.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(self.requests_of_token)));
        places.clone().try_acquire_owned().ok()
    }

    /// Asks whether an address may show a token.
    pub(super) fn attempt(&self, address: IpAddr) -> Attempt {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = wrong.get_mut(&address) else {
            return Attempt::Free;
        };
        if entry.since.elapsed() > MINUTE && entry.waiting == 0 {
            wrong.remove(&address);
            return Attempt::Free;
        }
        if entry.count < self.wrong_tokens {
            return Attempt::Free;
        }
        if entry.waiting >= WAITING {
            return Attempt::Refused;
        }
        entry.waiting += 1;
        Attempt::Delayed(Waiting {
            wrong: self.wrong.clone(),
            address,
        })
    }

    /// The token that an address has shown is none of ours.
    pub(super) fn failed(&self, address: IpAddr) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= ADDRESSES {
            wrong.retain(|_, entry| entry.since.elapsed() <= MINUTE);
            if wrong.len() >= ADDRESSES {
                wrong.clear();
            }
        }
        let entry = wrong.entry(address).or_insert(Wrong {
            since: Instant::now(),
            count: 0,
            waiting: 0,
        });
        entry.count = entry.count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn places_come_back() {
        let gate = Gate::new(&Limits {
            connections: 1,
            requests_of_token: 2,
            ..Limits::default()
        });
        let first = gate.connection();
        assert!(first.is_some() && gate.connection().is_none());
        drop(first);
        assert!(gate.connection().is_some());
        let held = [gate.request("a"), gate.request("a")];
        assert!(held.iter().all(Option::is_some));
        assert!(gate.request("a").is_none());
        assert!(gate.request("b").is_some());
        drop(held);
        assert!(gate.request("a").is_some());
    }

    #[test]
    fn wrong_tokens_slow_their_address_down_and_no_other() {
        let gate = Gate::new(&Limits {
            wrong_tokens: 2,
            ..Limits::default()
        });
        let (one, other) = (
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv4Addr::BROADCAST),
        );
        gate.failed(one);
        assert!(matches!(gate.attempt(one), Attempt::Free));
        gate.failed(one);
        let mut waiting = (0..WAITING).map(|_| gate.attempt(one)).collect::<Vec<_>>();
        assert!(
            waiting
                .iter()
                .all(|attempt| matches!(attempt, Attempt::Delayed(_)))
        );
        assert!(matches!(gate.attempt(one), Attempt::Refused));
        waiting.pop();
        assert!(matches!(gate.attempt(one), Attempt::Delayed(_)));
        assert!(matches!(gate.attempt(other), Attempt::Free));
    }
}
