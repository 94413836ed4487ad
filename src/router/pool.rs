//! Connections to dynos, kept for the next request.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::RequestBody;
use crate::platform::dynos::{Backend, Place};

/// Connections to one dyno that are kept while nobody uses them.
const IDLE: usize = 256;
/// One that has been idle for longer is not used again: servers close theirs after a few seconds.
const IDLE_TIME: Duration = Duration::from_millis(1500);

/// The pools of all dynos.
#[derive(Debug, Default)]
pub(super) struct Pools(RwLock<HashMap<u64, Arc<Pool>>>);

/// The connections to one dyno.
#[derive(Debug)]
pub(super) struct Pool {
    backend: Weak<Backend>,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

pub(super) type Sender = SendRequest<RequestBody>;

impl Pools {
    /// The pool of a dyno.
    pub fn of(&self, backend: &Arc<Backend>) -> Arc<Pool> {
        let pools = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&backend.id) {
            return pool.clone();
        }
        drop(pools);
        let mut pools = self.0.write().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, pool| pool.backend.strong_count() > 0);
        let new = || {
            Arc::new(Pool {
                backend: Arc::downgrade(backend),
                idle: Mutex::default(),
            })
        };
        pools.entry(backend.id).or_insert_with(new).clone()
    }
}

impl Pool {
    /// A connection that has served before and is open still.
    pub fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((sender, since)) = idle.pop() {
            if since.elapsed() > IDLE_TIME {
                // Those below it have been idle for longer.
                idle.clear();
                return None;
            }
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection whose answer has been read to its end.
    pub fn keep(&self, sender: Sender) {
        if sender.is_closed() || self.backend.strong_count() == 0 {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push((sender, Instant::now()));
        }
    }
}

/// Makes a connection.
pub(super) async fn connect(backend: &Backend) -> io::Result<Sender> {
    let stream = match &backend.place {
        Place::Door(door) => door.connect(backend.port).await?,
        Place::Host => TcpStream::connect(("127.0.0.1", backend.port)).await?,
    };
    // Small requests should not wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        // How it ends, whoever uses it is told.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}
