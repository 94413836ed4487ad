//! Running a `bin/compile` that does nothing: what the sandbox costs, against the same script run
//! bare, and what making a sandbox's root directory costs. Nothing scales here; it is the least
//! that every build pays, once for each script that it runs.
//!
//! `cargo bench --bench compile`; its last line is a ratio from interleaved runs, which holds on a
//! busy machine, too.

#![expect(clippy::print_stdout, reason = "a bench's result is what it prints")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use criterion::{BatchSize, Criterion, SamplingMode, criterion_group, criterion_main};
use slugline::buildpack::{self, Staged};
use slugline::compile::{Compiler, environment};
use slugline::config::ConfigVars;
use slugline::output::Output;
use slugline::pipeline::Machine;
use slugline::sandbox::{Root, Watch};
use tempfile::TempDir;

/// Runs of each kind behind the ratio.
const PAIRS: usize = 100;

/// A build that is ready for `bin/compile`.
struct Prepared {
    dir: TempDir,
    machine: Machine,
    root: Root,
    buildpack: Staged,
    env: Vec<(String, String)>,
    script: PathBuf,
}

impl Prepared {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let machine = support::machine();
        let root = make_root(&dir.path().join("root"));
        let reference = support::no_op_buildpack(&dir.path().join("no-op"));
        let buildpack = buildpack::stage(&reference, 0, &root.app(), &root.buildpacks())
            .expect("a whole buildpack");
        root.hand_over().expect("root, or the build's own user");
        let prepared = Self {
            env: environment(&machine.stack, "", &ConfigVars::default()),
            script: dir.path().join("no-op/bin/compile"),
            dir,
            machine,
            root,
            buildpack,
        };
        assert_eq!(prepared.sandboxed(), b"-----> Nothing to do\n");
        assert_eq!(prepared.bare(), prepared.sandboxed());
        prepared
    }

    fn sandboxed(&self) -> Vec<u8> {
        let compiler = Compiler {
            sandbox: &self.machine.sandbox,
            root: &self.root,
            build_dir: "/app",
            env: &self.env,
            watch: &Watch::default(),
            time_limit: self.machine.limits.time,
        };
        let mut log = Vec::new();
        compiler
            .compile(&self.buildpack, "Nothing", &[], &mut Output::new(&mut log))
            .expect("compiled");
        log
    }

    /// The same script with the same arguments and environment, as a plain child process.
    fn bare(&self) -> Vec<u8> {
        let output = Command::new(&self.script)
            .args([self.root.app(), self.root.cache(), self.root.env()])
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.root.app())
            .output()
            .expect("it runs");
        assert!(output.status.success());
        output.stdout
    }
}

fn make_root(path: &Path) -> Root {
    let root = Root::create(path).expect("a root");
    root.hand_over().expect("root, or the build's own user");
    root
}

fn compile(criterion: &mut Criterion) {
    let prepared = Prepared::new();
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(50).sampling_mode(SamplingMode::Flat);
    group.bench_function("no_op/sandboxed", |bencher| {
        bencher.iter(|| prepared.sandboxed());
    });
    group.bench_function("no_op/bare", |bencher| bencher.iter(|| prepared.bare()));
    group.bench_function("make_root", |bencher| {
        bencher.iter_batched(
            || tempfile::tempdir_in(prepared.dir.path()).expect("made"),
            |dest| {
                make_root(&dest.path().join("root"));
                // Removing it is not timed.
                dest
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn ratio(_: &mut Criterion) {
    let prepared = Prepared::new();
    let time = |run: &dyn Fn() -> Vec<u8>| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    };
    let pairs = (0..PAIRS).map(|_| (time(&|| prepared.sandboxed()), time(&|| prepared.bare())));
    let pairs = pairs.collect::<Vec<_>>();
    let sandboxed = support::median(pairs.iter().map(|(sandboxed, _)| *sandboxed));
    let bare = support::median(pairs.iter().map(|(_, bare)| *bare));
    let ratio = support::median(pairs.iter().map(|(sandboxed, bare)| sandboxed / bare));
    let added = support::median(pairs.iter().map(|(sandboxed, bare)| sandboxed - bare));
    println!(
        "{PAIRS} pairs in turn, medians: sandboxed {sandboxed:.2} ms, bare {bare:.2} ms; \
         the sandbox adds {added:.2} ms, ratio {ratio:.2}\n{}",
        support::surroundings(prepared.dir.path())
    );
}

criterion_group!(all, compile, ratio);
criterion_main!(all);
