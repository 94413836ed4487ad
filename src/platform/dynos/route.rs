//! Where the router sends a request: by host name to an app, and among its web dynos.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::sandbox::Door;

/// How a dyno is reached.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a network of its own.
    Door(Arc<Door>),
    /// On the host's loopback interface.
    Host,
}

/// A web dyno that listens.
#[derive(Debug)]
pub struct Backend {
    /// No other has it, while the server runs.
    pub id: u64,
    /// `web.1`.
    pub dyno: String,
    pub place: Place,
    pub port: u16,
    in_flight: AtomicUsize,
}

impl Backend {
    pub(super) fn new(dyno: &str, place: Place, port: u16) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: COUNT.fetch_add(1, Ordering::Relaxed),
            dyno: dyno.to_owned(),
            place,
            port,
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Counts a request until the value is dropped.
    pub fn enter(self: &Arc<Self>) -> Serving {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Serving(self.clone())
    }

    /// The requests that it serves.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Serving(Arc<Backend>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Why there is somebody to answer, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing was ever deployed.
    Blank,
    /// No web dyno is wanted.
    NoWeb,
    /// One is starting: it is worth waiting.
    Starting,
    Up,
    /// All have crashed.
    Crashed,
}

/// Who answers for an app at the moment.
#[derive(Debug)]
pub struct Upstreams {
    pub backends: Vec<Arc<Backend>>,
    pub condition: Condition,
}

/// The way to one app.
#[derive(Debug)]
pub struct Route {
    pub app_id: String,
    pub app_name: String,
    maintenance: AtomicBool,
    upstreams: watch::Sender<Arc<Upstreams>>,
}

impl Route {
    /// Whether the router answers in the app's place.
    pub fn maintenance(&self) -> bool {
        self.maintenance.load(Ordering::Relaxed)
    }

    /// Lets the router answer in the app's place, or no longer.
    pub fn set_maintenance(&self, on: bool) {
        self.maintenance.store(on, Ordering::Relaxed);
    }

    /// Who answers now, and how to wait for a change.
    pub fn upstreams(&self) -> watch::Receiver<Arc<Upstreams>> {
        self.upstreams.subscribe()
    }

    /// Who answers now.
    pub fn now(&self) -> Arc<Upstreams> {
        self.upstreams.borrow().clone()
    }

    pub(super) fn publish(&self, upstreams: Upstreams) {
        self.upstreams.send_replace(Arc::new(upstreams));
    }
}

/// All ways, by host name.
#[derive(Debug)]
pub struct Routes {
    /// Each app is `NAME.domain`.
    domain: String,
    by_host: RwLock<HashMap<String, Arc<Route>>>,
}

impl Routes {
    /// No routes yet; `domain` is in lower case.
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            by_host: RwLock::default(),
        }
    }

    /// The host name of an app.
    pub fn host(&self, app_name: &str) -> String {
        format!("{app_name}.{}", self.domain)
    }

    /// The way to an app; an app that has none gets one.
    pub fn of(&self, app_id: &str, app_name: &str) -> Arc<Route> {
        let mut by_host = self.by_host.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Route {
                app_id: app_id.to_owned(),
                app_name: app_name.to_owned(),
                maintenance: AtomicBool::new(false),
                upstreams: watch::channel(Arc::new(Upstreams {
                    backends: Vec::new(),
                    condition: Condition::Blank,
                }))
                .0,
            })
        };
        by_host
            .entry(self.host(app_name))
            .or_insert_with(new)
            .clone()
    }

    /// Forgets an app.
    pub fn remove(&self, app_id: &str) {
        let mut by_host = self.by_host.write().unwrap_or_else(PoisonError::into_inner);
        by_host.retain(|_, route| route.app_id != app_id);
    }

    /// The app of a host name in lower case, without a port.
    pub fn find(&self, host: &str) -> Option<Arc<Route>> {
        let by_host = self.by_host.read().unwrap_or_else(PoisonError::into_inner);
        by_host.get(host.strip_suffix('.').unwrap_or(host)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_found_by_their_host() {
        let routes = Routes::new("localhost");
        let hello = routes.of("1", "hello");
        assert!(Arc::ptr_eq(&routes.of("1", "hello"), &hello));
        for host in ["hello.localhost", "hello.localhost."] {
            assert!(Arc::ptr_eq(&routes.find(host).unwrap(), &hello), "{host}");
        }
        for host in ["localhost", "hello", "x.hello.localhost", ""] {
            assert!(routes.find(host).is_none(), "{host}");
        }
        routes.remove("1");
        assert!(routes.find("hello.localhost").is_none());
    }

    #[test]
    fn requests_are_counted() {
        let backend = Arc::new(Backend::new("web.1", Place::Host, 1));
        let one = backend.enter();
        let two = backend.enter();
        assert_eq!(backend.in_flight(), 2);
        drop((one, two));
        assert_eq!(backend.in_flight(), 0);
    }
}
