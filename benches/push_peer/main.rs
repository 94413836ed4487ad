//! A push of a ten-file app, side by side: `slugline serve` against the classic deploy server,
//! lighttpd with `git http-backend` and a pre-receive hook, both on loopback, both driven by real
//! git clients.
//!
//! `cargo bench --bench push_peer -- [--pairs N]`
//!
//! Each round makes a new app, the same for all, and pushes it to each server, then changes one
//! file and pushes again. The order of the servers turns from round to round. What is timed is
//! `git push`, from its start to its end; making apps and repositories is not. A server's
//! processor time is read before the push and after the server has come to rest, so that what it
//! puts off counts. Each push is checked: git's exit code, what the pusher read, the moved ref.
//!
//! - [`peer`]: what it is compared with, in two forms.
//! - [`ours`]: a server of ours, with apps as a user makes them.
//! - [`stub`]: a server that only says yes: the floor, which is git's own time.
//! - [`server`]: processes that are started, measured and ended.

#![expect(clippy::print_stdout, reason = "a bench's result is what it prints")]

mod ours;
mod peer;
mod server;
mod stub;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use ours::Ours;
use peer::{Peer, Work};
use server::Server;
use stub::Stub;
use support::{git, git_command, median};

/// Pushes the same apps to all servers and prints what it took.
#[derive(Parser)]
struct Args {
    /// Push so many apps to each server, each app twice.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Cargo adds this one.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Who takes a push.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Floor,
    Peer,
    PeerWithBuildpack,
    Ours,
}

const SIDES: [Side; 4] = [Side::Floor, Side::Peer, Side::PeerWithBuildpack, Side::Ours];

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "git client alone",
            Self::Peer => "peer",
            Self::PeerWithBuildpack => "peer + buildpack",
            Self::Ours => "slugline",
        }
    }

    /// The name of its remote; `slugline apps create` names ours.
    fn remote(self) -> &'static str {
        match self {
            Self::Floor => "stub",
            Self::Peer => "peer",
            Self::PeerWithBuildpack => "peer-with-buildpack",
            Self::Ours => "slugline",
        }
    }
}

const EXPLANATION: &str = "  git client alone   a stub that reads the push and answers «ok»
  peer               lighttpd, git http-backend, a pre-receive hook: git archive | tar x,
                     tar cz | sha256sum; no account, no sandbox, nothing kept but git's objects
  peer + buildpack   the same, and the hook runs between the two the detect, compile, release and
                     report that ours runs, bare; still nothing kept
  slugline           asks for a token; asks all built-in buildpacks; runs detect, compile,
                     release and report in a sandbox; keeps a log; stores slug, manifest and
                     release and syncs them and git's objects to the disk, as the peer does not
So both comparisons favour the peer. The app has ten files and no dependencies.
";

fn main() -> Result<()> {
    let args = Args::parse();
    let dir = tempfile::Builder::new()
        .prefix("slugline-bench-")
        .tempdir()
        .context("making a temporary directory")?;
    // The user that builds run as has to pass through.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let bench = Bench::start(dir.path())?;
    println!("{}\n\n{EXPLANATION}", support::surroundings(dir.path()));
    let mut first = Table::default();
    let mut changed = Table::default();
    for round in 0..args.pairs as usize {
        let mut order = SIDES;
        order.rotate_left(round % SIDES.len());
        let tree = Tree::make(&dir.path().join(format!("tree-{round}")), round)?;
        first.0.push(bench.round(&tree, order, true)?);
        tree.change()?;
        changed.0.push(bench.round(&tree, order, false)?);
    }
    println!(
        "{} apps. Wall: medians, and medians of the ratios within a round; processor time of the server\nand all its processes (utime, stime, cutime, cstime of /proc/PID/stat): means, ratios of sums.",
        args.pairs
    );
    first.print("first push");
    changed.print("one file changed");
    Ok(())
}

/// The servers.
struct Bench {
    ours: Ours,
    peer: Peer,
    stub: Stub,
}

impl Bench {
    fn start(dir: &Path) -> Result<Self> {
        Ok(Self {
            peer: Peer::start(&dir.join("peer"))?,
            ours: Ours::start(&dir.join("ours"))?,
            stub: Stub::start()?,
        })
    }

    fn server(&self, side: Side) -> Option<&Server> {
        match side {
            // It is a thread of the bench itself.
            Side::Floor => None,
            Side::Peer | Side::PeerWithBuildpack => Some(&self.peer.server),
            Side::Ours => Some(&self.ours.server),
        }
    }

    /// Pushes the tree's `HEAD` to each server.
    fn round(&self, tree: &Tree, order: [Side; 4], is_new: bool) -> Result<[Sample; 4]> {
        let mut samples = [Sample::default(); 4];
        for side in order {
            let sample = self
                .push(tree, side, is_new)
                .with_context(|| format!("{} to {}", tree.app, side.name()))?;
            samples[side as usize] = sample;
        }
        Ok(samples)
    }

    fn push(&self, tree: &Tree, side: Side, is_new: bool) -> Result<Sample> {
        let app = format!("{}-{}", tree.app, side as usize);
        if is_new {
            match side {
                Side::Floor => tree.add_remote(side, &self.stub.url(&app)),
                Side::Peer => tree.add_remote(side, &self.peer.create(&app, Work::Pack)?),
                Side::PeerWithBuildpack => {
                    tree.add_remote(side, &self.peer.create(&app, Work::CompileAndPack)?);
                }
                Side::Ours => self.ours.create(&app, &tree.dir)?,
            }
        }
        let before = self.server(side).map(Server::cpu_at_rest).transpose()?;
        let mut command = git_command(&tree.dir);
        command
            .args(["push", side.remote(), "main"])
            .env_clear()
            .env("PATH", support::path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0");
        let start = Instant::now();
        let output = command.output().context("running git push")?;
        let wall = start.elapsed();
        let after = self.server(side).map(Server::cpu_at_rest).transpose()?;

        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the push failed:\n{text}");
        let is_done = match side {
            Side::Floor => true,
            Side::Peer => peer::shows_digest(&text),
            Side::PeerWithBuildpack => {
                peer::shows_digest(&text) && text.contains("Installing dependencies")
            }
            Side::Ours => {
                text.contains("Installing dependencies")
                    && text.contains("Verifying deploy... done.")
            }
        };
        ensure!(is_done, "the server did not do its work:\n{text}");
        if side != Side::Floor {
            let listed = git(
                &tree.dir,
                &["ls-remote", side.remote(), "refs/heads/main"],
                b"",
            );
            let head = git(&tree.dir, &["rev-parse", "HEAD"], b"");
            ensure!(
                listed.starts_with(head.trim_ascii()),
                "the ref did not move"
            );
        }
        let cpu = before.zip(after);
        Ok(Sample {
            wall,
            cpu: cpu.map(|(before, after)| after.saturating_sub(before)),
        })
    }
}

/// A work tree of ten files, another one for each round.
struct Tree {
    app: String,
    dir: PathBuf,
}

impl Tree {
    fn make(dir: &Path, round: usize) -> Result<Self> {
        fs::create_dir_all(dir.join("lib")).context("making a work tree")?;
        let app = format!("ten-files-{round}");
        let package = format!(
            "{{ \"name\": \"{app}\", \"private\": true, \"scripts\": {{ \"start\": \"node server.js\" }} }}\n"
        );
        let lock = format!(
            "{{ \"name\": \"{app}\", \"lockfileVersion\": 3, \"requires\": true, \"packages\": {{ \"\": {{ \"name\": \"{app}\" }} }} }}\n"
        );
        for (name, text) in [
            ("package.json", package.as_str()),
            ("package-lock.json", &lock),
            (
                "server.js",
                "require('node:http').createServer((_, answer) => answer.end('Hello')).listen(process.env.PORT);\n",
            ),
            ("Procfile", "web: node server.js\n"),
        ] {
            fs::write(dir.join(name), text).with_context(|| name.to_owned())?;
        }
        for n in 0..6 {
            let path = dir.join(format!("lib/file-{n}.txt"));
            fs::write(path, support::text(round * 6 + n, 1_000)).context("writing a file")?;
        }
        git(dir, &["init", "-q", "-b", "main"], b"");
        let tree = Self {
            app,
            dir: dir.to_owned(),
        };
        tree.commit("First");
        let files = git(dir, &["ls-files"], b"");
        ensure!(str::from_utf8(&files)?.lines().count() == 10);
        Ok(tree)
    }

    fn change(&self) -> Result<()> {
        let text = support::text(self.app.len(), 1_100);
        fs::write(self.dir.join("lib/file-0.txt"), text).context("changing a file")?;
        self.commit("Second");
        Ok(())
    }

    fn commit(&self, message: &str) {
        git(&self.dir, &["add", "--all"], b"");
        git(&self.dir, &["commit", "-q", "-m", message], b"");
    }

    fn add_remote(&self, side: Side, url: &str) {
        git(&self.dir, &["remote", "add", side.remote(), url], b"");
    }
}

/// One push.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    wall: Duration,
    cpu: Option<Duration>,
}

/// The pushes of one kind: a row for each round, its columns in the order of [`SIDES`].
#[derive(Default)]
struct Table(Vec<[Sample; 4]>);

impl Table {
    fn print(&self, title: &str) {
        println!(
            "\n{title:<18}{:>9}{:>9}{:>12}   {:>9}{:>9}{:>12}",
            "wall ms", "÷ peer", "÷ with bp", "CPU ms", "÷ peer", "÷ with bp"
        );
        for side in SIDES {
            let walls = self.0.iter().map(|row| millis(row[side as usize].wall));
            println!(
                "{:<18}{:>9.1}{:>9.2}{:>12.2}   {:>9}{:>9}{:>12}",
                side.name(),
                median(walls),
                self.wall_ratio(side, Side::Peer),
                self.wall_ratio(side, Side::PeerWithBuildpack),
                self.cpu_cell(side, None),
                self.cpu_cell(side, Some(Side::Peer)),
                self.cpu_cell(side, Some(Side::PeerWithBuildpack)),
            );
        }
    }

    fn wall_ratio(&self, side: Side, to: Side) -> f64 {
        let ratio = |row: &[Sample; 4]| {
            row[side as usize].wall.as_secs_f64() / row[to as usize].wall.as_secs_f64()
        };
        median(self.0.iter().map(ratio))
    }

    /// The mean time of a push, in ms, or its ratio to another side's.
    fn cpu_cell(&self, side: Side, to: Option<Side>) -> String {
        let sum = |side: Side| {
            let times = self.0.iter().map(|row| row[side as usize].cpu);
            times.sum::<Option<Duration>>()
        };
        match (sum(side), to) {
            (None, _) => "-".to_owned(),
            (Some(time), None) => {
                let rounds = u32::try_from(self.0.len()).expect("few rounds");
                format!("{:.1}", millis(time / rounds))
            }
            (Some(time), Some(to)) => {
                let other = sum(to).map_or(f64::NAN, |other| other.as_secs_f64());
                format!("{:.2}", time.as_secs_f64() / other)
            }
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
