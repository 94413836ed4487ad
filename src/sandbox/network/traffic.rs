//! What a build has exchanged with whom.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most hosts that are told apart; more are counted under [`OTHERS`].
const HOSTS: usize = 1000;
const OTHERS: &str = "(others)";

/// One host and port that a build has asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub host: String,
    pub port: u16,
    pub connections: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Why it was not connected to.
    pub refused: Option<String>,
}

/// All contacts of a build. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Arc<Mutex<Hosts>>);

/// By host and port.
type Hosts = BTreeMap<(String, u16), Arc<Counters>>;

#[derive(Debug, Default)]
pub(super) struct Counters {
    connections: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    refused: Mutex<Option<String>>,
}

impl Traffic {
    /// The contacts so far, by host and port.
    pub fn contacts(&self) -> Vec<Contact> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.iter()
            .map(|((host, port), counters)| Contact {
                host: host.clone(),
                port: *port,
                connections: counters.connections.load(Ordering::Relaxed),
                sent_bytes: counters.sent_bytes.load(Ordering::Relaxed),
                received_bytes: counters.received_bytes.load(Ordering::Relaxed),
                refused: lock(&counters.refused).clone(),
            })
            .collect()
    }

    pub(super) fn of(&self, host: &str, port: u16) -> Arc<Counters> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (host.to_owned(), port);
        if map.len() >= HOSTS && !map.contains_key(&key) {
            key = (OTHERS.to_owned(), 0);
        }
        map.entry(key).or_default().clone()
    }
}

impl Counters {
    pub(super) fn refused(&self, reason: &str) {
        *lock(&self.refused) = Some(reason.to_owned());
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection whose bytes are counted.
pub(super) struct Counted<S> {
    pub inner: S,
    pub counters: Arc<Counters>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let got = buf.filled().len() - before;
        self.counters
            .received_bytes
            .fetch_add(got as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.counters
            .sent_bytes
            .fetch_add(sent as u64, Ordering::Relaxed);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
