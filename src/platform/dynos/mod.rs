//! The dynos of all apps on this machine: which should run, which do, and where the router finds them.
//!
//! In goes a [`Target`]: a release, unpacked, and how many dynos of each type it should have. Out come
//! [`Routes`], states for people, and lines in the apps' logs. Each dyno has a thread of its own, with
//! which its process would die. A new target's web dynos take over once all of them listen; those
//! before them finish what they serve and are stopped.

mod counts;
mod formation;
mod once;
mod one_off;
mod route;
mod run;
mod size;
mod slot;
mod unpacked;
mod watched;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::config::ConfigVars;
use crate::release::Version;
use crate::sandbox::{Base, Layering, Sandbox};
use crate::stack::Stack;

pub use counts::Counts;
pub use formation::{AppDynos, Boot};
pub use once::Once;
pub use one_off::{Attach, Ends, MOST_ONE_OFFS, OneOff, Request, TooManyOneOffs, resize};
pub use route::{Backend, Condition, Place, Route, Routes, Serving, Upstreams};
pub use size::{DEFAULT_SIZE, Size, Sizes};
pub use slot::{DynoRow, State};
pub use unpacked::Unpacked;

use super::log_stream::LogStreams;

/// What an operator decides for dynos.
#[derive(Debug, Clone)]
pub struct Options {
    /// With the dynos' network; a size's own has its limits besides.
    pub sandbox: Sandbox,
    pub sizes: Sizes,
    /// What their processes see besides config vars, which go over it.
    pub env: Vec<(String, String)>,
    /// Longest time from the start of a web dyno to its listening.
    pub boot_time: Duration,
    /// Longest time that processes get after SIGTERM, and before it to finish what they serve.
    pub stop_time: Duration,
    /// How long a dyno runs until it is started anew; up to [`JITTER_PERCENT`] more.
    pub cycle_time: Duration,
    /// After how long without a request web dynos go to sleep; none never do.
    pub idle_time: Option<Duration>,
    /// How long an attached one-off dyno may be silent, both ways.
    pub silence: Duration,
    /// How long it waits for its client.
    pub attach_time: Duration,
    /// The delay before the second start after a crash; it doubles with each further one.
    pub first_delay: Duration,
    pub longest_delay: Duration,
}

/// A release that is to run.
#[derive(Debug)]
pub struct Target {
    pub app_id: String,
    pub app_name: String,
    pub version: Version,
    pub base: Arc<Base>,
    /// What the slug was built on.
    pub stack: Stack,
    pub config: ConfigVars,
    /// The command of each process type.
    pub types: BTreeMap<String, String>,
}

/// How many dynos of a type there should be, and how large.
#[derive(Debug, Clone)]
pub struct Share {
    pub quantity: u32,
    pub size: Arc<Size>,
}

/// The share of each type.
pub type Formation = BTreeMap<String, Share>;

/// By how much longer than the cycle's time a dyno may run, so that not all of them start anew at
/// once. Source: Heroku's 216 minutes of a day.
pub const JITTER_PERCENT: u32 = 15;

/// All dynos.
#[derive(Debug)]
pub struct Dynos {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    streams: LogStreams,
    scratch: PathBuf,
    routes: Arc<Routes>,
    apps: Mutex<HashMap<String, Arc<AppDynos>>>,
    /// How writable layers are made; tried once.
    layering: OnceLock<Layering>,
    /// One-off dynos that wait for their clients, by what the client has to say.
    awaiting: Mutex<HashMap<String, Weak<OneOff>>>,
    stopping: AtomicBool,
}

impl Dynos {
    /// Nothing runs yet.
    pub fn new(
        options: Options,
        streams: LogStreams,
        scratch: PathBuf,
        routes: Arc<Routes>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                options,
                streams,
                scratch,
                routes,
                apps: Mutex::default(),
                layering: OnceLock::new(),
                awaiting: Mutex::default(),
                stopping: AtomicBool::new(false),
            }),
        }
    }

    /// The routes to web dynos.
    pub fn routes(&self) -> &Arc<Routes> {
        &self.inner.routes
    }

    /// What an operator decided.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The dynos of an app.
    pub fn of(&self, app_id: &str, app_name: &str) -> Arc<AppDynos> {
        let mut apps = lock(&self.inner.apps);
        let new = || {
            let route = self.inner.routes.of(app_id, app_name);
            let app = Arc::new(AppDynos::new(app_id, &self.inner, route));
            app.route().set_sleeper(&app);
            app
        };
        apps.entry(app_id.to_owned()).or_insert_with(new).clone()
    }

    /// Stops what an app runs and forgets it.
    pub fn remove(&self, app_id: &str) {
        let app = lock(&self.inner.apps).remove(app_id);
        if let Some(app) = app {
            app.close();
            app.wait_until_empty(self.inner.options.stop_time * 3);
        }
        self.inner.routes.remove(app_id);
    }

    /// The digests' trees that are in use.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        let apps = lock(&self.inner.apps).values().cloned().collect::<Vec<_>>();
        apps.iter().flat_map(|app| app.targets()).collect()
    }

    /// Whether a client may come for a one-off dyno.
    pub fn awaits_clients(&self) -> bool {
        !lock(&self.inner.awaiting).is_empty()
    }

    /// The one-off dyno that waits for the client who says this; it is found once.
    pub fn awaiting(&self, secret: &str) -> Option<Arc<OneOff>> {
        lock(&self.inner.awaiting).remove(secret)?.upgrade()
    }

    /// Stops all dynos of all apps; none starts after it.
    pub fn stop_all(&self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        let apps = lock(&self.inner.apps).values().cloned().collect::<Vec<_>>();
        for app in &apps {
            app.close();
        }
        let end = Instant::now() + self.inner.options.stop_time * 3;
        for app in &apps {
            app.wait_until_empty(end.saturating_duration_since(Instant::now()));
        }
        self.inner.streams.flush();
    }
}

impl Inner {
    fn layering(&self) -> Layering {
        *self.layering.get_or_init(|| {
            let tried = self.options.sandbox.layering(&self.scratch);
            tried.unwrap_or_else(|error| {
                tracing::warn!(%error, "each dyno gets a copy of its slug: layers could not be tried");
                Layering::Copy
            })
        })
    }
}

/// A port for a web dyno: its own where it has a network of its own, a free one of the host's else.
fn choose_port(own_network: bool) -> io::Result<u16> {
    if own_network {
        let mut bytes = [0; 2];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        // Above the ports that programs choose by themselves as a rule, below those of clients.
        return Ok(10_000 + u16::from_ne_bytes(bytes) % 20_000);
    }
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// A number below `most`, evenly spread enough.
fn random_below(most: u64) -> u64 {
    let mut bytes = [0; 8];
    // Without random bytes it is the first.
    let _ = getrandom::fill(&mut bytes);
    u64::from_ne_bytes(bytes) % most.max(1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
