//! One build, from top to bottom: source → checkout → detect → compile → pack → store.
//!
//! In: where the source is, which buildpacks, config vars, a scratch directory. Out: a slug in the
//! store and its record. No database, no HTTP: others can embed it. It blocks for as long as the
//! build takes; never call it on an async executor.

mod begin;
mod choose;
mod declared;
mod obtain;
mod packing;
mod place;
mod plan;
mod process_types;
mod runtimes;
mod submodules;
pub use submodules::SubmoduleError;
mod snapshots;
mod tools;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use begin::{Begun, begin};
use choose::{Asking, Chosen};
pub use obtain::fetch_archive;
pub use packing::Last;
use packing::{check_size, keep_stat_cache, pack_app};
pub use plan::plan;
use process_types::discover;
pub use runtimes::{RuntimeSupply, import_runtime, obtain_runtime};

use crate::app::Layout;
use crate::buildpack::{Misspelt, Reference, Staged};
use crate::checkout;
use crate::compile;
use crate::compile::cache::{self, Maker, Restored};
use crate::config::ConfigVars;
use crate::output::Output;
use crate::sandbox::{Cancel, Contact, Root, Rules, Sandbox, Watch};
use crate::slug::{self, Package, SlugRecord, UsedBuildpack};
use crate::stack::{Stack, StackName};
use crate::store::Store;

/// Where the tree to build comes from.
pub enum Source<'a> {
    /// A commit of a bare repository, some of whose objects may still be in a quarantine.
    Commit {
        repository: &'a Path,
        quarantine: Option<&'a Path>,
        commit: gix::ObjectId,
    },
    /// A tarball, gzip or plain.
    Archive(Box<dyn Read + 'a>),
    /// A directory; of a git work tree its tracked files, as they are on disk, else all but some.
    Directory {
        dir: &'a Path,
        except: &'a [PathBuf],
    },
}

/// All that decides a build.
pub struct Build<'a> {
    pub source: Source<'a>,
    /// What it is built on.
    pub stack: Stack,
    /// What the caller says of the version; a commit's id stands for itself.
    pub version: Option<String>,
    /// In order; empty means that the built-in ones are asked.
    pub buildpacks: Vec<Reference>,
    /// Whether the buildpacks that the source names itself count, where there are no others.
    pub read_declared: bool,
    pub config: &'a ConfigVars,
    /// Where it is built, and of which directory of the source.
    pub layout: Layout,
    /// Where fetched buildpacks are kept; none fetches them anew.
    pub fetched: Option<&'a Path>,
    /// The app's kept cache; none builds with an empty one and keeps nothing.
    pub cache: Option<&'a Path>,
    /// What the app released last.
    pub last: Option<Last>,
    /// Other slugs whose members may be the same.
    pub others: Vec<Last>,
    /// The slug that is to be made again: buildpacks are given what they have reported of it.
    pub repeated: Option<&'a SlugRecord>,
    /// An empty directory for this build alone; the caller removes it.
    pub scratch: &'a Path,
}

/// What is the same for all builds of a machine.
#[derive(Debug, Clone)]
pub struct Machine {
    pub sandbox: Sandbox,
    /// The name of its own stack, such as `debian-12`.
    pub stack: StackName,
    /// Where the server itself fetches from in the name of apps.
    pub fetch_from: Arc<Rules>,
    pub runtimes: RuntimeSupply,
    /// The operator's own variables for builds: mirrors, certificates.
    pub env: ConfigVars,
    pub limits: Limits,
}

/// A build's limits.
#[derive(Debug, Clone)]
pub struct Limits {
    pub time: Duration,
    /// Largest slug, compressed.
    pub slug_bytes: u64,
    /// From here on a slug is warned about.
    pub slug_warning_bytes: u64,
    pub checkout: checkout::Limits,
}

/// A finished build, its slug in the store.
#[derive(Debug)]
pub struct Built {
    pub record: SlugRecord,
    /// What was found by detection, or named by the source, where no buildpack was chosen.
    pub found: Vec<Reference>,
    /// The hosts that the build has asked the proxy for, by name and port.
    pub contacts: Vec<Contact>,
    /// Name and duration of each phase, in order.
    pub timings: Vec<(&'static str, Duration)>,
}

/// Why an app cannot be built, as far as no single stage can tell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no built-in buildpack recognised the app")]
    NoLanguage {
        asked: Vec<String>,
        found: Vec<String>,
        misspelt: Vec<Misspelt>,
        /// Markers in directories of the root, such as `api/app.lang`.
        below: Vec<String>,
    },
    #[error("the buildpack {buildpack} does not recognise the app")]
    NotCompatible {
        buildpack: String,
        explanation: String,
    },
    #[error("the source has no directory {root}")]
    NoRoot { root: String },
    #[error("the file {file} cannot be read: {reason}")]
    Declared { file: &'static str, reason: String },
    #[error("the Procfile is {what}, not a file")]
    ProcfileKind { what: &'static str },
    #[error("the compressed slug has {got_bytes} bytes; the limit is {limit_bytes}")]
    SlugTooLarge {
        got_bytes: u64,
        limit_bytes: u64,
        /// Lines that say what is large and what has grown.
        breakdown: Vec<String>,
    },
}

/// Builds a slug and puts it into the store.
///
/// # Errors
/// The stage's error is in the chain; the app's kept cache and the store's other slugs are untouched.
pub fn build(
    job: Build<'_>,
    machine: &Machine,
    store: &Store,
    watch: &Watch,
    out: &mut Output<'_>,
) -> Result<Built> {
    let mut job = job;
    let mut phases = Phases::default();
    let begun = begin("Building", &mut job, machine, watch, &mut phases, out)?;
    let stack = &job.stack;
    let asking = begun.asking(machine, watch);
    let Begun {
        root,
        place,
        chosen,
        declared,
        ..
    } = &begun;
    let maker = Maker::new(stack, chosen.iter().map(Chosen::name).collect());
    let compiled = phases.time("compile", || -> Result<_> {
        root.renew()?;
        compile::write_env_dir(&root.env(), &declared.config(job.config)?)?;
        if let Some(kept) = job.cache {
            restore_cache(kept, root, &maker, &watch.cancel, out)?;
        }
        root.hand_over_renewed()?;
        let _answering = begun.tools.start(root, &place.host)?;
        let recorded = |at| {
            let report = job
                .repeated
                .and_then(|record| compile::Report::of(record, at));
            begun.tools.give(report.as_ref())
        };
        let done = run_buildpacks(chosen, &asking, &recorded, out);
        name_refused(root, out)?;
        done
    })?;
    root.require_directories()?;
    root.require_written()?;
    place.require()?;
    // Nothing runs inside from here on.
    phases.time("settle", || {
        let stop = watch.cancel.flag();
        root.overlays().settle(&place.host, stop)
    })?;
    let process_types = discover(&compiled.defaults, &place.host, out)?;

    out.step("Compressing...")?;
    let last = job.last.as_ref();
    let packed = phases.time("pack", || {
        let slugs = last.into_iter().chain(&job.others);
        pack_app(&place.host, slugs, job.cache, store, &watch.cancel)
    });
    // Whatever the pack was at then.
    check(&watch.cancel)?;
    let packed = packed?;
    let summary = packed.summary;
    check_size(&packed, last, &machine.limits, out)?;
    // All that can fail comes before the slug is in the store, where no record names it yet.
    let new_cache = job.cache.map(|kept| {
        let saved = cache::save(&root.cache(), kept, &maker, watch.cancel.flag());
        let noted = saved.and_then(|saved| {
            keep_stat_cache(&packed.stat_cache, &saved)?;
            Ok(saved)
        });
        noted.context("keeping the build cache")
    });
    let new_cache = new_cache.transpose()?;
    phases.time("store", || -> Result<_> {
        packed.out.blob.commit()?;
        Ok(packed.manifest_out.commit()?)
    })?;
    if let Some(saved) = new_cache {
        saved.commit().context("keeping the build cache")?;
    }

    let record = SlugRecord {
        digest: summary.digest,
        diff_id: summary.diff_id,
        size_bytes: summary.size_bytes,
        format: slug::FORMAT,
        manifest: packed.manifest,
        source: slug::Source {
            commit: begun.checkout.commit.map(|id| id.to_string()),
            tree: begun.checkout.tree.map(|id| id.to_string()),
            version: job.version,
        },
        buildpacks: compiled.used,
        runtimes: compiled.report.runtimes,
        runtime_trees: begun.tools.runtimes().got(),
        packages: compiled.report.packages,
        stack: stack.name.to_string(),
        stack_digest: stack.image.as_ref().map(|image| image.digest),
        architecture: std::env::consts::ARCH.to_owned(),
        process_types,
        layout: job.layout,
    };
    let found = if job.buildpacks.is_empty() {
        &chosen[..]
    } else {
        &[]
    };
    let found = found.iter().map(|one| one.staged.reference.clone());
    Ok(Built {
        found: found.collect(),
        record,
        contacts: root.traffic().contacts(),
        timings: phases.0,
    })
}

fn check(cancel: &Cancel) -> Result<(), compile::Error> {
    if cancel.is_cancelled() {
        return Err(compile::Error::Cancelled);
    }
    Ok(())
}

/// Tells of the hosts that the build was kept from; its tools seldom say why.
fn name_refused(root: &Root, out: &mut Output<'_>) -> Result<()> {
    for contact in root.traffic().contacts() {
        if let Some(reason) = contact.refused {
            let (host, port) = (contact.host, contact.port);
            out.problem(&format!("Not connected to {host}:{port}: {reason}"))?;
        }
    }
    Ok(())
}

fn restore_cache(
    kept: &Path,
    root: &Root,
    maker: &Maker,
    cancel: &Cancel,
    out: &mut Output<'_>,
) -> Result<()> {
    let restored = cache::restore(kept, &root.cache(), maker, cancel.flag());
    if let Restored::Discarded(reason) = restored.context("restoring the build cache")? {
        out.step(&format!("{reason}: the build cache is discarded"))?;
    }
    Ok(())
}

struct Compiled {
    defaults: BTreeMap<String, String>,
    report: compile::Report,
    used: Vec<UsedBuildpack>,
}

fn run_buildpacks(
    chosen: &[Chosen],
    asking: &Asking<'_>,
    give_recorded: &dyn Fn(usize) -> Result<()>,
    out: &mut Output<'_>,
) -> Result<Compiled> {
    let (root, compiler) = (asking.root, asking.compiler());
    let mut before = Vec::new();
    let mut report = compile::Report::default();
    let mut used = Vec::new();
    for (at, Chosen { staged, label }) in chosen.iter().enumerate() {
        let label = match label {
            Some(label) => label.clone(),
            None => asking.ask_configured(staged, out)?,
        };
        out.step(&format!("{label} app detected"))?;
        give_recorded(at)?;
        let done = compiler.compile(staged, &label, &before, out);
        if let Err(compile::Error::TimedOut { label, .. }) = &done {
            out.step(&format!("Timed out running buildpack {label}"))?;
        }
        root.require_directories()?;
        asking.place.require()?;
        // A report is made of a failure, too; what it says of one is nobody's here.
        let own = compiler.report(staged);
        done?;
        let own = own?;
        report.runtimes.extend(own.runtimes);
        report
            .packages
            .extend(own.packages.into_iter().map(|package| Package {
                buildpack: (chosen.len() > 1).then(|| staged.reference.to_string()),
                ..package
            }));
        used.push(UsedBuildpack {
            lock: own.lock,
            ..used_buildpack(staged, &label)
        });
        before.push(staged.clone());
    }
    // Only the last buildpack's word counts for process types, as on Heroku.
    let defaults = match before.last() {
        Some(last) => compiler.release(last)?,
        None => BTreeMap::new(),
    };
    Ok(Compiled {
        defaults,
        report,
        used,
    })
}

fn used_buildpack(staged: &Staged, label: &str) -> UsedBuildpack {
    UsedBuildpack {
        name: staged.reference.to_string(),
        label: label.to_owned(),
        digest: staged.digest,
        pinned: staged.pinned.clone(),
        lock: None,
    }
}

/// Measures phases.
#[derive(Default)]
struct Phases(Vec<(&'static str, Duration)>);

impl Phases {
    fn time<T>(&mut self, name: &'static str, phase: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = phase();
        self.0.push((name, start.elapsed()));
        done
    }
}
