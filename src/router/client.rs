//! A client's connection: who it is, and whether anything still moves on it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

/// A connection of a client; its requests, and what it may have become, share it.
#[derive(Debug)]
pub(super) struct Client {
    /// Its address.
    pub shown: HeaderValue,
    /// Our own.
    pub port: HeaderValue,
    pub is_tls: bool,
    began: Instant,
    /// When something moved last, in milliseconds after that.
    moved_ms: AtomicU64,
    under_way: AtomicUsize,
    is_stalled: AtomicBool,
    _place: OwnedSemaphorePermit,
}

impl Client {
    pub fn new(address: IpAddr, port: u16, is_tls: bool, place: OwnedSemaphorePermit) -> Self {
        let shown = address.to_string();
        Self {
            shown: HeaderValue::try_from(shown).unwrap_or(HeaderValue::from_static("")),
            port: HeaderValue::from(port),
            is_tls,
            began: Instant::now(),
            moved_ms: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            is_stalled: AtomicBool::new(false),
            _place: place,
        }
    }

    #[cfg(test)]
    pub fn of_test(address: &str, is_tls: bool) -> Self {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
        let place = places.try_acquire_owned().unwrap();
        Self::new(address.parse().unwrap(), 7080, is_tls, place)
    }

    /// A byte has come or gone.
    pub fn moves(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(ms, Ordering::Relaxed);
    }

    pub fn begin_request(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.moves();
    }

    pub fn end_request(&self) {
        self.moves();
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the connection was closed because nothing moved.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// Returns when the connection is to be closed: without a request after `idle`, with one when
    /// nothing has moved for `silence`.
    pub async fn overdue(&self, idle: Duration, silence: Duration) {
        loop {
            let moved = self.began + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
            let is_idle = self.under_way.load(Ordering::Relaxed) == 0;
            let deadline = moved + if is_idle { idle } else { silence };
            let now = Instant::now();
            if deadline <= now {
                self.is_stalled.store(!is_idle, Ordering::Relaxed);
                return;
            }
            // What happens meanwhile moves it, but for a request that ends: then it is this far away.
            sleep_until(deadline.min(now + idle)).await;
        }
    }
}
