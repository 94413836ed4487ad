//! The platform: what must be remembered between builds, and who may build when.
//!
//! [`Platform`] ties the [`ledger`], the blob store, the repositories and the pipeline together;
//! [`push`] and [`api_build`] are the two ways into it. Everything here blocks; nothing here knows
//! HTTP.

pub mod api_build;
pub mod apps;
pub mod clock;
pub mod collect;
pub mod data;
mod deploy;
pub mod domains;
pub mod drains;
pub mod dynos;
pub mod image;
pub mod ledger;
pub mod log_stream;
pub mod logs;
pub mod one_offs;
mod phase;
pub mod push;
pub mod queue;
mod recover;
pub mod resources;
pub mod running;
mod scratch;
pub mod settings;
pub mod stacks;
pub mod token;
pub mod upkeep;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::sync::watch;

use crate::digest::Digest;
use crate::fault::Faults;
use crate::output::Failure;
use crate::pipeline::Machine;
use crate::receive;
use crate::sandbox::Cancel;
use crate::slug::SlugRecord;
use crate::store::{Bucket, Store};
use data::DataDir;
use dynos::{Dynos, Routes, Unpacked};
use ledger::Ledger;
use log_stream::LogStreams;
use logs::Logs;
use queue::{AppLocks, Queue};
use stacks::Stacks;

/// What a server decides for its platform.
pub struct Options {
    pub machine: Machine,
    pub max_builds: usize,
    /// Whether the first push to an unknown name makes the app.
    pub create_on_push: bool,
    /// Where slugs are kept besides the data directory.
    pub bucket: Option<Bucket>,
    pub receive: receive::Limits,
    /// Whose signatures are taken; none offers no signed pushes.
    pub signers: Option<receive::Signers>,
    /// The host's git, which repacks.
    pub git: PathBuf,
    pub dynos: dynos::Options,
    /// Where apps answer.
    pub web: running::Web,
    /// Where a test wants a push to die.
    pub faults: Faults,
    /// Turns an error into what a person reads; the edge knows how.
    pub explain: fn(&anyhow::Error) -> Failure,
}

/// One server's platform.
pub struct Platform {
    pub ledger: Ledger,
    pub store: Store,
    pub logs: Logs,
    /// What apps, their router and the platform say.
    pub streams: LogStreams,
    pub dynos: Dynos,
    unpacked: Unpacked,
    pub data: DataDir,
    pub stacks: Stacks,
    pub options: Options,
    builds: Queue,
    /// Of sources by URL.
    fetches: Queue,
    apps: AppLocks,
    /// Held while a domain changes hands, in the ledger and for the router.
    domains: Mutex<()>,
    running: Mutex<HashMap<String, Cancel>>,
    /// Told when a drain comes or goes.
    pub drains_changed: watch::Sender<()>,
    /// Set once builds are undone: no further one begins.
    stopping: Cancel,
}

impl Platform {
    /// Opens the platform of a data directory and completes what an earlier server left half done.
    ///
    /// # Errors
    /// The platform's: the ledger or the store cannot be opened, or a recorded deploy not completed.
    pub fn open(data: DataDir, mut options: Options) -> Result<Self> {
        let store = Store::open(&data.slugs())?;
        let store = match options.bucket.take() {
            Some(bucket) => store.with_bucket(bucket),
            None => store,
        };
        let streams = LogStreams::new(data.app_logs());
        let routes = Arc::new(Routes::new(&options.web.domain));
        let dynos = Dynos::new(options.dynos.clone(), streams.clone(), data.dynos(), routes);
        let platform = Self {
            ledger: Ledger::open(&data.ledger())?,
            store,
            logs: Logs::new(data.logs()),
            stacks: Stacks::new(data.stacks(), options.machine.stack.clone()),
            streams,
            dynos,
            unpacked: Unpacked::new(data.unpacked(), options.dynos.sandbox.clone()),
            builds: Queue::new(options.max_builds),
            fetches: Queue::new(api_build::FETCHES),
            apps: AppLocks::default(),
            domains: Mutex::default(),
            running: Mutex::default(),
            drains_changed: watch::channel(()).0,
            stopping: Cancel::default(),
            data,
            options,
        };
        for app in platform.ledger.apps()? {
            // Its address is known before the server listens.
            let dynos = platform.dynos.of(&app.id, app.name.as_str());
            dynos.route().set_maintenance(app.maintenance);
            let release = platform.ledger.current_release(&app.id);
            if release.is_ok_and(|release| release.slug_id.is_some()) {
                dynos.expect_start();
            }
        }
        for domain in platform.ledger.domains()? {
            let app = platform.ledger.app(&domain.app_id)?;
            platform.publish_domain(&app, &domain);
        }
        platform
            .recover()
            .context("completing what the last server began")?;
        Ok(platform)
    }

    /// Asks for the end of a build under way; says whether it is.
    pub fn cancel_build(&self, build_id: &str) -> bool {
        let running = self.running();
        running
            .get(build_id)
            .inspect(|cancel| cancel.cancel())
            .is_some()
    }

    /// Asks for the end of all builds, also of those that are about to begin.
    pub fn cancel_all(&self) {
        self.stopping.cancel();
        self.running().values().for_each(Cancel::cancel);
    }

    /// How many builds are under way or wait.
    pub fn builds_under_way(&self) -> usize {
        self.running().len()
    }

    /// Removes the blobs of a slug that was stored and then not released, unless another has the
    /// same bytes. While other builds are under way they may: then the next start removes them.
    fn forget_slug(&self, record: &SlugRecord) -> Result<()> {
        let running = self.running();
        if running.len() <= 1 {
            self.remove_unless_named(&[record.digest, record.manifest])?;
        }
        Ok(())
    }

    /// Removes those of some blobs that no slug of the ledger names and nobody has pinned. To be called while no build
    /// can be between storing and recording.
    fn remove_unless_named(&self, digests: &[Digest]) -> Result<usize> {
        let named = self.ledger.slug_blobs()?;
        let named = named
            .iter()
            .flat_map(|slug| [slug.digest, slug.manifest])
            .collect::<HashSet<_>>();
        let pins = self.store.pins()?;
        let free = |digest: &&Digest| !named.contains(digest) && !pins.contains(digest);
        let mut removed = 0;
        for digest in digests.iter().filter(free) {
            removed += usize::from(self.store.remove(digest)?);
        }
        Ok(removed)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Cancel>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
