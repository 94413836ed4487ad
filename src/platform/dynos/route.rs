//! Where the router sends a request: by host name to an app, and among its web dynos.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockWriteGuard, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::AppDynos;
use super::counts::{Counter, Counts};
use crate::domain::{DomainName, is_below};
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
    usage: Arc<Usage>,
}

impl Backend {
    pub(super) fn new(dyno: &str, place: Place, port: u16, usage: Arc<Usage>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: COUNT.fetch_add(1, Ordering::Relaxed),
            dyno: dyno.to_owned(),
            place,
            port,
            in_flight: AtomicUsize::new(0),
            usage,
        }
    }

    /// Counts a request until the value is dropped.
    pub fn enter(self: &Arc<Self>) -> Serving {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        self.usage.under_way.fetch_add(1, Ordering::SeqCst);
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
        self.0.usage.touch();
        self.0.usage.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// When an app was used last.
#[derive(Debug)]
pub(super) struct Usage {
    began: Instant,
    /// In milliseconds from then on.
    last: AtomicU64,
    under_way: AtomicUsize,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
        }
    }
}

impl Usage {
    /// It is used now.
    pub fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::SeqCst);
    }

    /// For how long no request has been under way.
    pub fn quiet(&self) -> Duration {
        if self.under_way.load(Ordering::SeqCst) > 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.last.load(Ordering::SeqCst));
        self.began.elapsed().saturating_sub(last)
    }
}

/// Why there is somebody to answer, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing was ever deployed.
    Blank,
    /// No web dyno is wanted.
    NoWeb,
    /// One is starting, or would wake: it is worth waiting.
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
    counter: Counter,
    upstreams: watch::Sender<Arc<Upstreams>>,
    usage: Arc<Usage>,
    /// Who is woken by those who wait for a dyno.
    sleeper: OnceLock<Weak<AppDynos>>,
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

    /// Who answers now, and how to wait for a change. Dynos that sleep are woken by it.
    pub fn upstreams(&self) -> watch::Receiver<Arc<Upstreams>> {
        let upstreams = self.upstreams.subscribe();
        if let Some(app) = self.sleeper.get().and_then(Weak::upgrade) {
            app.wake();
        }
        upstreams
    }

    #[cfg(test)]
    pub(crate) fn backend_of_test(&self, dyno: &str) -> Arc<Backend> {
        Arc::new(Backend::new(dyno, Place::Host, 1, self.usage.clone()))
    }

    pub(super) fn set_sleeper(&self, app: &Arc<AppDynos>) {
        // A route is made for one app, and told once.
        let _ = self.sleeper.set(Arc::downgrade(app));
    }

    pub(super) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// Who answers now.
    pub fn now(&self) -> Arc<Upstreams> {
        self.upstreams.borrow().clone()
    }

    /// A request begins.
    pub fn begin_request(&self) {
        self.counter.begin();
    }

    /// A request has ended, with this status and Heroku's code for what went wrong.
    pub fn end_request(
        &self,
        status: u16,
        code: Option<&'static str>,
        bytes: u64,
        service: Duration,
    ) {
        self.counter.end(status, code, bytes, service);
    }

    /// What has become of the requests so far.
    pub fn counts(&self) -> Counts {
        self.counter.now()
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
    by_host: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Apps by the names that they have by themselves.
    own: HashMap<String, Arc<Route>>,
    custom: HashMap<String, Arc<Route>>,
    /// Of wildcards, by what comes after `*.`.
    below: HashMap<String, Arc<Route>>,
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
        let new = || {
            Arc::new(Route {
                app_id: app_id.to_owned(),
                app_name: app_name.to_owned(),
                maintenance: AtomicBool::new(false),
                usage: Arc::default(),
                sleeper: OnceLock::new(),
                counter: Counter::default(),
                upstreams: watch::channel(Arc::new(Upstreams {
                    backends: Vec::new(),
                    condition: Condition::Blank,
                }))
                .0,
            })
        };
        let mut table = self.write();
        let route = table.own.entry(self.host(app_name)).or_insert_with(new);
        route.clone()
    }

    /// Leads a custom domain to an app, from the next request on.
    pub fn add_domain(&self, name: &DomainName, route: &Arc<Route>) {
        let mut table = self.write();
        match name.below() {
            Some(parent) => table.below.insert(parent.to_owned(), route.clone()),
            None => table.custom.insert(name.to_string(), route.clone()),
        };
    }

    /// Leads a custom domain nowhere.
    pub fn remove_domain(&self, name: &DomainName) {
        let mut table = self.write();
        match name.below() {
            Some(parent) => table.below.remove(parent),
            None => table.custom.remove(name.as_str()),
        };
    }

    /// Forgets an app.
    pub fn remove(&self, app_id: &str) {
        let table = &mut *self.write();
        for names in [&mut table.own, &mut table.custom, &mut table.below] {
            names.retain(|_, route| route.app_id != app_id);
        }
    }

    /// The app of a host name in lower case, without a port: its own name, else a custom domain, else
    /// the nearest wildcard.
    pub fn find(&self, host: &str) -> Option<Arc<Route>> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let table = self.by_host.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = table.own.get(host) {
            return Some(route.clone());
        }
        // What is ours stays ours, whatever was allowed under another setting.
        if host == self.domain || is_below(host, &self.domain) {
            return None;
        }
        if let Some(route) = table.custom.get(host) {
            return Some(route.clone());
        }
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(route) = table.below.get(parent) {
                return Some(route.clone());
            }
            rest = parent;
        }
        None
    }

    /// The ways to all apps, by name.
    pub fn all(&self) -> Vec<Arc<Route>> {
        let table = self.by_host.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = table.own.values().cloned().collect::<Vec<_>>();
        all.sort_by(|one, other| one.app_name.cmp(&other.app_name));
        all
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.by_host.write().unwrap_or_else(PoisonError::into_inner)
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
    fn custom_domains_lead_to_their_app_and_never_to_the_platform_s_names() {
        let routes = Routes::new("apps.example.com");
        let (one, two) = (routes.of("1", "one"), routes.of("2", "two"));
        let name = |text: &str| text.parse::<DomainName>().unwrap();
        routes.add_domain(&name("www.example.com"), &one);
        routes.add_domain(&name("*.example.com"), &two);
        routes.add_domain(&name("*.a.example.com"), &one);
        let found = |host: &str| routes.find(host).map(|route| route.app_name.clone());
        for (host, app) in [
            ("www.example.com", Some("one")),
            ("www.example.com.", Some("one")),
            ("x.example.com", Some("two")),
            ("x.www.example.com", Some("two")),
            ("a.example.com", Some("two")),
            ("x.y.a.example.com", Some("one")),
            ("one.apps.example.com", Some("one")),
            ("other.apps.example.com", None),
            ("x.one.apps.example.com", None),
            ("apps.example.com", None),
            ("example.com", None),
            ("*.example.com", Some("two")),
            ("com", None),
            ("", None),
        ] {
            assert_eq!(found(host).as_deref(), app, "{host}");
        }
        routes.remove_domain(&name("*.example.com"));
        routes.remove_domain(&name("www.example.com"));
        assert_eq!(found("www.example.com"), None);
        routes.remove("1");
        assert_eq!(found("x.a.example.com"), None);
        assert_eq!(found("two.apps.example.com").as_deref(), Some("two"));
    }

    #[test]
    fn requests_are_counted() {
        let usage = Arc::new(Usage::default());
        let backend = Arc::new(Backend::new("web.1", Place::Host, 1, usage.clone()));
        let one = backend.enter();
        let two = backend.enter();
        assert_eq!(backend.in_flight(), 2);
        assert_eq!(usage.quiet(), Duration::ZERO);
        drop((one, two));
        assert_eq!(backend.in_flight(), 0);
        std::thread::sleep(Duration::from_millis(2));
        assert!(usage.quiet() > Duration::ZERO);
    }
}
