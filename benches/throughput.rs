//! Whole builds, from a commit to a stored slug, through the same `pipeline::build` that a push
//! takes: slugs a minute, and megabytes a second of source and of slug.
//!
//! `cargo bench --bench throughput -- [--seconds N] [FIXTURE …]`
//!
//! Each fixture is built by one builder and by one a core, in turns of which the figures are sums,
//! so that a busy minute of the machine meets both. A builder stands for an app: it has its own
//! cache, warm from a build before the clock starts, its own store, and it builds one commit again
//! and again. Its clock runs while it builds and while it removes the build's directory. Every slug
//! must have the digest of the first.

#![expect(clippy::print_stdout, reason = "a bench's result is what it prints")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use gix::ObjectId;
use slugline::buildpack::Reference;
use slugline::config::ConfigVars;
use slugline::digest::Digest;
use slugline::output::Output;
use slugline::pack;
use slugline::pipeline::{self, Build, Built, Machine, Source};
use slugline::sandbox::{Watch, remove_tree};
use slugline::stack::Stack;
use slugline::store::Store;
use support::{git, median};

/// Fixtures with their kinds, in the order of the table.
const FIXTURES: [(&str, Kind); 4] = [
    ("no_op_10", Kind::Generated { files: 10 }),
    ("no_op_2000", Kind::Generated { files: 2_000 }),
    ("nodejs_http", Kind::App),
    ("python_flask", Kind::App),
];

/// Turns that each number of builders has.
const TURNS: u32 = 3;

/// The phases of the pipeline, in order.
const PHASES: [&str; 5] = ["checkout", "detect", "compile", "pack", "store"];

#[derive(Clone, Copy)]
enum Kind {
    /// So many files and a buildpack that does nothing.
    Generated { files: usize },
    /// An app of `fixtures/apps` and the built-in buildpacks.
    App,
}

/// Builds fixtures for a while and prints how many slugs came out.
#[derive(Parser)]
struct Args {
    /// Build these only.
    #[arg(value_name = "FIXTURE", value_parser = FIXTURES.map(|(name, _)| name))]
    fixtures: Vec<String>,
    /// Build each fixture so long with each number of builders.
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u32,
    /// Cargo adds this one.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let dir = tempfile::tempdir().context("making a temporary directory")?;
    let machine = support::machine();
    machine.sandbox.probe(dir.path())?;
    let mut builders = vec![1, support::cores().get()];
    builders.dedup();

    println!("{}", support::surroundings(dir.path()));
    println!(
        "\n{:<13}{:>9}{:>7}{:>11}{:>13}{:>11}   median ms: build = {} + rest",
        "fixture",
        "builders",
        "slugs",
        "slugs/min",
        "source MB/s",
        "slug MB/s",
        PHASES.join(" + ")
    );
    for (name, kind) in FIXTURES {
        if !args.fixtures.is_empty() && !args.fixtures.iter().any(|chosen| chosen == name) {
            continue;
        }
        let dir = dir.path().join(name);
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        let app = App::make(name, kind, &dir)?;
        let bench = Bench::prepare(&app, &machine, &dir, builders[builders.len() - 1])?;
        let mut runs = builders.iter().copied().map(Run::new).collect::<Vec<_>>();
        let turn = Duration::from_secs(args.seconds.into()) / TURNS;
        for _ in 0..TURNS {
            for run in &mut runs {
                run.add(bench.run(run.builders, turn)?);
            }
        }
        for run in &runs {
            run.print(name, &bench);
        }
        if let [one, .., all] = &runs[..] {
            let ratio = all.slugs_per_second() / one.slugs_per_second();
            println!("{:>40}", format!("x{ratio:.2}"));
        }
        remove_tree(&dir).with_context(|| dir.display().to_string())?;
    }
    Ok(())
}

/// What is built: a commit that real git has made.
struct App {
    repository: PathBuf,
    commit: ObjectId,
    buildpacks: Vec<Reference>,
    source_bytes: u64,
}

impl App {
    fn make(name: &str, kind: Kind, dir: &Path) -> Result<Self> {
        let (tree, buildpacks) = match kind {
            Kind::App => (support::fixture(name), Vec::new()),
            Kind::Generated { files } => {
                let tree = dir.join("tree");
                support::write_tree(&tree, files);
                let buildpack = support::no_op_buildpack(&dir.join("no-op"));
                (tree, vec![buildpack])
            }
        };
        let repository = dir.join("repository");
        fs::create_dir(&repository).context("making a repository")?;
        let tree = tree.to_str().context("a path that is no text")?;
        git(&repository, &["init", "-q", "--bare", "-b", "main"], b"");
        git(
            &repository,
            &["--work-tree", tree, "add", "--all", "--force"],
            b"",
        );
        let id = git(&repository, &["write-tree"], b"");
        let id = str::from_utf8(&id)?.trim();
        let commit = git(&repository, &["commit-tree", id], b"First\n");
        let listing = git(&repository, &["ls-tree", "-r", "--long", id], b"");
        let sizes = str::from_utf8(&listing)?
            .lines()
            .map(|line| line.split_whitespace().nth(3).and_then(|n| n.parse().ok()))
            .collect::<Option<Vec<u64>>>();
        Ok(Self {
            repository,
            commit: ObjectId::from_hex(commit.trim_ascii())?,
            buildpacks,
            source_bytes: sizes.context("a listing with sizes")?.iter().sum(),
        })
    }
}

/// An app whose first slug was built and checked.
struct Bench<'a> {
    app: &'a App,
    machine: &'a Machine,
    /// Of each builder: its cache, its store and its scratch directories.
    builders: Vec<PathBuf>,
    digest: Digest,
    slug_bytes: u64,
}

/// What came of one build.
struct Timing {
    build: Duration,
    /// With the removal of the build's directory.
    busy: Duration,
    phases: Vec<(&'static str, Duration)>,
}

impl<'a> Bench<'a> {
    /// Builds twice, the second time with a warm cache, checks the slug, and gives each builder a
    /// copy of the cache.
    fn prepare(app: &'a App, machine: &'a Machine, dir: &Path, count: usize) -> Result<Self> {
        let builders = (0..count).map(|n| dir.join(format!("builder-{n}")));
        let builders = builders.collect::<Vec<_>>();
        for builder in &builders {
            fs::create_dir(builder).with_context(|| builder.display().to_string())?;
        }
        let first = &builders[0];
        let store = Store::open(&first.join("store"))?;
        let (cold, _) = build(app, machine, first, &store)?;
        let digest = cold.record.digest;
        let extracted = dir.join("extracted");
        fs::create_dir(&extracted).context("making a directory")?;
        let written = pack::extract(store.read_verified(&digest)?, &extracted)?;
        ensure!(
            written.bytes >= app.source_bytes,
            "the slug lacks files: {} of {} bytes",
            written.bytes,
            app.source_bytes
        );
        let (warm, _) = build(app, machine, first, &store)?;
        ensure!(warm.record.digest == digest, "the cache changed the slug");
        store.remove(&digest)?;
        for other in &builders[1..] {
            let copied = Command::new("cp")
                .arg("-a")
                .args([first.join("cache"), other.join("cache")])
                .status()
                .context("running cp")?;
            ensure!(copied.success(), "the cache was not copied");
        }
        Ok(Self {
            app,
            machine,
            builders,
            digest,
            slug_bytes: warm.record.size_bytes,
        })
    }

    /// Has the first `count` builders build for `time`; each ends the build that it has begun.
    fn run(&self, count: usize, time: Duration) -> Result<Vec<Timing>> {
        let one = |dir: &Path| -> Result<Vec<Timing>> {
            let store = Store::open(&dir.join("store"))?;
            let start = Instant::now();
            let mut timings = Vec::new();
            while start.elapsed() < time || timings.is_empty() {
                let (built, timing) = build(self.app, self.machine, dir, &store)?;
                if built.record.digest != self.digest {
                    bail!("another slug: {}", built.record.digest);
                }
                timings.push(timing);
                // A slug that the store has already would cost it less than a new one.
                store.remove(&self.digest)?;
            }
            Ok(timings)
        };
        thread::scope(|scope| {
            let builders = &self.builders[..count];
            let threads = builders.iter().map(|dir| scope.spawn(|| one(dir)));
            let threads = threads.collect::<Vec<_>>();
            let mut timings = Vec::new();
            for thread in threads {
                timings.extend(thread.join().expect("a builder does not panic")?);
            }
            Ok(timings)
        })
    }
}

fn build(app: &App, machine: &Machine, dir: &Path, store: &Store) -> Result<(Built, Timing)> {
    let scratch = dir.join("scratch");
    let cache = dir.join("cache");
    let mut log = Vec::new();
    let start = Instant::now();
    fs::create_dir(&scratch).context("making a scratch directory")?;
    let job = Build {
        source: Source::Commit {
            repository: &app.repository,
            quarantine: None,
            commit: app.commit,
        },
        stack: Stack::of_host(machine.stack.clone()),
        version: None,
        buildpacks: app.buildpacks.clone(),
        read_declared: false,
        layout: slugline::app::Layout::default(),
        fetched: None,
        config: &ConfigVars::default(),
        last: None,
        others: Vec::new(),
        repeated: None,
        cache: Some(&cache),
        scratch: &scratch,
    };
    let watch = Watch {
        deadline: Some(start + machine.limits.time),
        ..Watch::default()
    };
    let done = pipeline::build(job, machine, store, &watch, &mut Output::new(&mut log));
    let built = done.with_context(|| String::from_utf8_lossy(&log).into_owned())?;
    let until_stored = start.elapsed();
    remove_tree(&scratch).context("removing a scratch directory")?;
    let timing = Timing {
        build: until_stored,
        busy: start.elapsed(),
        phases: built.timings.clone(),
    };
    Ok((built, timing))
}

/// The builds of a fixture by some number of builders, all turns together.
struct Run {
    builders: usize,
    /// Added over all builders.
    busy: Duration,
    build_ms: Vec<f64>,
    phases_ms: BTreeMap<&'static str, Vec<f64>>,
}

impl Run {
    fn new(builders: usize) -> Self {
        Self {
            builders,
            busy: Duration::ZERO,
            build_ms: Vec::new(),
            phases_ms: BTreeMap::new(),
        }
    }

    fn add(&mut self, timings: Vec<Timing>) {
        for timing in timings {
            self.busy += timing.busy;
            self.build_ms.push(millis(timing.build));
            for (phase, time) in timing.phases {
                self.phases_ms.entry(phase).or_default().push(millis(time));
            }
        }
    }

    fn slugs_per_second(&self) -> f64 {
        count(self.build_ms.len() * self.builders) / self.busy.as_secs_f64()
    }

    fn print(&self, name: &str, bench: &Bench<'_>) {
        let build = median(self.build_ms.iter().copied());
        let phases = PHASES.map(|phase| median(self.phases_ms[phase].iter().copied()));
        let rest = build - phases.iter().sum::<f64>();
        let megabytes = |bytes: u64| self.slugs_per_second() * bytes_to_megabytes(bytes);
        let sum = phases.map(|phase| format!("{phase:.1}")).join(" + ");
        println!(
            "{name:<13}{:>9}{:>7}{:>11.0}{:>13.3}{:>11.3}   {build:.1} = {sum} + {rest:.1}",
            self.builders,
            self.build_ms.len(),
            self.slugs_per_second() * 60.0,
            megabytes(bench.app.source_bytes),
            megabytes(bench.slug_bytes),
        );
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts of what fits on a disk")]
fn bytes_to_megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "a bench makes few slugs")]
fn count(slugs: usize) -> f64 {
    slugs as f64
}
