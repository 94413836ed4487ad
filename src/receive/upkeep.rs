//! Keeping a repository healthy: each push leaves a pack, and a thousand packs are slow to look
//! through. Repacking is the host's `git repack`.
//!
//! Guaranteed: no object that a ref reaches is lost, wherever it is cut short; git writes the new
//! pack, durably, before it removes an old one. To be called under the caller's lock on the
//! repository.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Error, io_error};

/// Packs beyond which a repository is worth a repack. Source: git-config(1), `gc.autoPackLimit`.
const PACKS: usize = 50;

/// Files of refs beyond which they are worth packing.
const LOOSE_REFS: usize = 1_000;

/// Longest time that one command of git may take.
const TIME_LIMIT: Duration = Duration::from_secs(3600);

/// The `PATH` of the host's git, which starts commands of its own.
const GIT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The host's git in a repository of ours: without the server's environment and anybody's
/// configuration, in a process group of its own, so that its children end with it.
pub fn git_command(git: &Path, repo_dir: &Path) -> Command {
    let mut command = Command::new(git);
    command
        .env_clear()
        .env("PATH", GIT_PATH)
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("LC_ALL", "C")
        .args(["-c", "safe.directory=*"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .current_dir(repo_dir);
    command
}

/// What a repository's objects take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    pub packs: usize,
    /// Of the packs and their indices.
    pub bytes: u64,
}

/// Looks at a repository's packs.
///
/// # Errors
/// The machine's fault.
pub fn size(repo_dir: &Path) -> Result<Size, Error> {
    let dir = repo_dir.join("objects/pack");
    let failed = || io_error("listing", &dir);
    let mut size = Size::default();
    for entry in fs::read_dir(&dir).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let is_pack = entry.path().extension().is_some_and(|end| end == "pack");
        size.packs += usize::from(is_pack);
        size.bytes += entry.metadata().map_or(0, |meta| meta.len());
    }
    Ok(size)
}

/// Whether many small pushes have left enough to be worth [`tidy`].
///
/// # Errors
/// The machine's fault.
pub fn is_untidy(repo_dir: &Path) -> Result<bool, Error> {
    let dir = repo_dir.join("objects/pack");
    let entries = fs::read_dir(&dir).map_err(io_error("listing", &dir))?;
    // Two files a pack.
    Ok(entries.count() > 2 * PACKS || has_many_loose_refs(repo_dir))
}

fn has_many_loose_refs(repo_dir: &Path) -> bool {
    let (mut open, mut files) = (vec![repo_dir.join("refs")], 0);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            } else {
                files += 1;
            }
        }
        if files > LOOSE_REFS {
            return true;
        }
    }
    false
}

/// Joins small packs so that each is at least twice as large as the next, and packs the refs.
///
/// # Errors
/// The machine's fault, or `stop` was set.
pub fn tidy(git: &Path, repo_dir: &Path, stop: &AtomicBool) -> Result<(), Error> {
    run(git, repo_dir, &["pack-refs", "--all"], stop)?;
    let repack = ["repack", "--geometric=2", "-d", "-q"];
    run(git, repo_dir, &repack, stop)
}

/// Makes one pack of what the refs reach, and removes what none does.
///
/// # Errors
/// The machine's fault, or `stop` was set.
pub fn collect(git: &Path, repo_dir: &Path, stop: &AtomicBool) -> Result<(), Error> {
    run(git, repo_dir, &["pack-refs", "--all"], stop)?;
    run(git, repo_dir, &["repack", "-a", "-d", "-q"], stop)?;
    run(git, repo_dir, &["prune", "--expire=now"], stop)
}

fn run(git: &Path, repo_dir: &Path, arguments: &[&str], stop: &AtomicBool) -> Result<(), Error> {
    let failed = || io_error("running git in", repo_dir);
    let mut child = git_command(git, repo_dir)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed())?;
    let (start, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        match child.try_wait().map_err(failed())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let reason = format!("git {} ended with {status}", arguments.join(" "));
                return Err(failed()(io::Error::other(reason)));
            }
            None if stop.load(Ordering::Relaxed) || start.elapsed() > TIME_LIMIT => {
                end(&mut child);
                return Err(Error::Stopped);
            }
            None => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn end(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // It may have ended by itself.
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
    let _ = child.wait();
}
