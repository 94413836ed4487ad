//! Connections to dynos, kept for the next request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::link::Link;
use crate::platform::dynos::Backend;

/// Connections to one dyno that are kept while nobody uses them, by one worker.
const IDLE: usize = 256;
/// One that has been idle for longer is not used again: servers close theirs after a few seconds.
const IDLE_TIME: Duration = Duration::from_millis(1500);
/// How often those are closed.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

/// The pools of all dynos, of one worker.
#[derive(Default)]
pub(super) struct Pools(Mutex<HashMap<u64, Arc<Pool>>>);

/// The connections to one dyno.
pub(super) struct Pool {
    backend: Weak<Backend>,
    /// The last used last.
    idle: Mutex<Vec<(Link, Instant)>>,
}

impl Pools {
    /// The pool of a dyno.
    pub fn of(&self, backend: &Arc<Backend>) -> Arc<Pool> {
        let new = || {
            Arc::new(Pool {
                backend: Arc::downgrade(backend),
                idle: Mutex::default(),
            })
        };
        lock(&self.0).entry(backend.id).or_insert_with(new).clone()
    }

    /// Closes what has been idle for too long, or leads to dynos that are no more.
    pub fn sweep(&self) {
        lock(&self.0).retain(|_, pool| {
            let mut idle = lock(&pool.idle);
            idle.retain(|(_, since)| since.elapsed() <= IDLE_TIME);
            pool.backend.strong_count() > 0
        });
    }
}

impl Pool {
    /// A connection that has served before and is open still.
    pub fn take(&self) -> Option<Link> {
        let mut idle = lock(&self.idle);
        while let Some((mut link, since)) = idle.pop() {
            if since.elapsed() > IDLE_TIME {
                // Those below it have been idle for longer.
                idle.clear();
                return None;
            }
            // What the dyno has done meanwhile is seen now.
            if link.is_ready() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection whose answer has been read to its end.
    pub fn keep(&self, mut link: Link) {
        if !link.is_ready() || self.backend.strong_count() == 0 {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE {
            idle.push((link, Instant::now()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
