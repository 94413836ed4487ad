//! What the sandbox costs a build: a script that does nothing, bare, in bwrap and in ours, and the
//! root directory that a build gets, with a file system of its own where the bench is root.
//!
//! `cargo bench --bench sandbox [-- ROUNDS]`. All take turns, so that a busy machine is busy for
//! each; that each did its work is checked before.

#![expect(clippy::print_stdout, reason = "a bench's result is what it prints")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use slugline::sandbox::{
    Ended, Exit, HELPER_COMMAND, Level, Network, Policy, Profile, Root, Sandbox, Spec, Watch,
    helper_main, own_mounts, remove_tree,
};

const SCRIPT: [&str; 3] = ["/bin/sh", "-c", "echo built"];
const ROUNDS: usize = 300;

fn bare() {
    let output = Command::new(SCRIPT[0]).args(&SCRIPT[1..]).output();
    assert_eq!(output.expect("a shell").stdout, b"built\n");
}

fn bwrap() {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--ro-bind", "/", "/", "true"]);
    let status = command.stdout(Stdio::null()).status();
    assert!(status.expect("bwrap: apt-get install bubblewrap").success());
}

fn ours(sandbox: &Sandbox, root: &Root) {
    let spec = Spec {
        argv: SCRIPT.map(str::to_owned).to_vec(),
        env: Vec::new(),
        cwd: "/app".to_owned(),
        profile: Profile::Build,
    };
    let mut out = Vec::new();
    let ended = sandbox.run(root, &spec, &Watch::default(), &mut out);
    assert_eq!(ended.expect("a sandbox"), Ended::Exited(Exit::Code(0)));
    assert_eq!(out, b"built\n");
}

fn with_network(network: Network) -> Sandbox {
    Sandbox::new("/proc/self/exe").with(Policy {
        network,
        ..Policy::default()
    })
}

/// One thing that takes its turn: its name, and its times in milliseconds.
struct Kind<'a> {
    name: &'static str,
    run: Box<dyn Fn() + 'a>,
    times: Vec<f64>,
}

fn measure(rounds: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let beside = dir.path();
    let networks = [Network::Proxy, Network::Off, Network::Host].map(with_network);
    let [proxy, off, host] = &networks;
    let root = proxy.root_for_build(&beside.join("root"), None);
    let root = root.expect("a root");
    root.hand_over().expect("the build's user");
    let make = |own: bool| {
        let scratch = beside.join("scratch");
        std::fs::create_dir(&scratch).expect("a scratch directory");
        let path = scratch.join("root");
        let made = if own {
            proxy.root_for_build(&path, None)
        } else {
            proxy.root(&path)
        };
        made.and_then(|root| root.hand_over()).expect("a root");
        remove_tree(&scratch).expect("removed");
    };
    let kind = |name, run| Kind {
        name,
        run,
        times: Vec::new(),
    };
    let mut kinds = vec![
        kind("the script, bare", Box::new(bare) as Box<dyn Fn()>),
        kind("bwrap --unshare-all true", Box::new(bwrap)),
        kind("ours, network: proxy", Box::new(|| ours(proxy, &root))),
        kind("ours, network: off", Box::new(|| ours(off, &root))),
        kind("ours, network: host", Box::new(|| ours(host, &root))),
        kind("a root, made and removed", Box::new(|| make(false))),
    ];
    if proxy.level().expect("a level") == Level::Root {
        let name = "the same with a file system of its own";
        kinds.push(kind(name, Box::new(|| make(true))));
    }
    for kind in &kinds {
        (kind.run)();
    }
    for _ in 0..rounds {
        for kind in &mut kinds {
            let start = Instant::now();
            (kind.run)();
            kind.times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let level = proxy.level().expect("a level");
    println!("{rounds} rounds in turn, medians at {level}:");
    let median = |index: usize| support::median(kinds[index].times.iter().copied());
    for (index, kind) in kinds.iter().enumerate() {
        println!("  {:<40} {:>7.2} ms", kind.name, median(index));
    }
    let against = |what: usize, by: &dyn Fn(f64, f64) -> f64| {
        let pairs = kinds[2].times.iter().zip(&kinds[what].times);
        support::median(pairs.map(|(ours, theirs)| by(*ours, *theirs)))
    };
    println!(
        "the sandbox with its proxy adds {:.2} ms to the script, and takes {:.2} times bwrap's\n{}",
        against(0, &|ours, bare| ours - bare),
        against(1, &|ours, theirs| ours / theirs),
        support::surroundings(beside)
    );
    drop(kinds);
    remove_tree(beside).expect("removed");
}

fn main() {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    if first.as_deref() == Some(HELPER_COMMAND) {
        // The bench's own binary is its helper.
        helper_main(Path::new(&args.next().unwrap_or_default()));
    }
    own_mounts();
    let rounds = first.and_then(|text| text.parse().ok());
    measure(rounds.unwrap_or(ROUNDS));
}
