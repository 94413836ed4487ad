//! What the sandbox costs a build: a script that does nothing, bare, in bwrap and in ours.
//!
//! `cargo bench --bench sandbox`. The parameter that scales is the number of runs; what is timed
//! is one run, and that it printed its word is checked before.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on panics")]

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use criterion::{Criterion, criterion_group};
use slugline::sandbox::{
    Ended, Exit, HELPER_COMMAND, Network, Policy, Profile, Root, Sandbox, Spec, Watch, helper_main,
};

const SCRIPT: [&str; 3] = ["/bin/sh", "-c", "echo built"];

fn bare() -> Vec<u8> {
    Command::new(SCRIPT[0])
        .args(&SCRIPT[1..])
        .output()
        .unwrap()
        .stdout
}

fn bwrap() -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--ro-bind", "/", "/"]);
    command
}

fn ours(sandbox: &Sandbox, root: &Root) -> Vec<u8> {
    let spec = Spec {
        argv: SCRIPT.map(str::to_owned).to_vec(),
        env: Vec::new(),
        cwd: "/app".to_owned(),
        profile: Profile::Build,
    };
    let mut out = Vec::new();
    let ended = sandbox
        .run(root, &spec, &Watch::default(), &mut out)
        .unwrap();
    assert_eq!(ended, Ended::Exited(Exit::Code(0)));
    out
}

fn sandbox(c: &mut Criterion) {
    let mut group = c.benchmark_group("sandbox");
    assert_eq!(bare(), b"built\n");
    group.bench_function("bare", |b| b.iter(|| black_box(bare())));
    if bwrap()
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        group.bench_function("bwrap --unshare-all true", |b| {
            b.iter(|| bwrap().arg("true").status().unwrap());
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let root = Root::create(&dir.path().join("root")).unwrap();
    root.hand_over().unwrap();
    for network in [Network::Host, Network::Off, Network::Proxy] {
        let policy = Policy {
            network,
            ..Policy::default()
        };
        let sandbox = Sandbox::new("/proc/self/exe").with(policy);
        assert_eq!(ours(&sandbox, &root), b"built\n");
        group.bench_function(format!("ours, network {network}"), |b| {
            b.iter(|| black_box(ours(&sandbox, &root)));
        });
    }
    group.finish();
}

/// The bench's own binary is its helper.
fn be_the_helper() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|arg| arg == HELPER_COMMAND) {
        helper_main(Path::new(&args.next().unwrap_or_default()));
    }
}

criterion_group!(benches, sandbox);

fn main() {
    // Before criterion reads the arguments.
    be_the_helper();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
