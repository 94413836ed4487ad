//! Levels 3 and 0: no namespaces, so the host's own root, and a reaper in the place of pid 1.
//!
//! At level 3 Landlock closes every file but the system's and the build's own, all of TCP, and
//! signals to processes outside; the system call filter closes what Landlock does not know.

use std::io::{self, Read, Write};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use nix::errno::Errno;
use nix::libc;
use nix::sched::unshare;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::mounts::make_private;
use super::{Refusal, Step, at};
use crate::sandbox::machine::Answer;
use crate::sandbox::processes::Usage;
use crate::sandbox::root::Order;

/// The first version that keeps signals and abstract sockets inside; Linux 6.12.
const NEEDED: ABI = ABI::V6;

/// The devices that programs open.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Becomes the reaper of all that the command starts. When the process above ends, all of it is
/// told to end, too; SIGKILL would leave what has made itself a daemon.
pub(super) fn become_reaper() -> Step<()> {
    // SAFETY: passes numbers only.
    let done = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    Errno::result(done).map_err(at("become the reaper"))?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(at("tie the helper to its parent"))
}

/// Kills all that is left of the command. First each is stopped, so that none starts others.
pub(super) fn end_descendants() {
    let proc = Path::new("/proc");
    let me = Pid::this().as_raw();
    let mut stopped = Vec::new();
    loop {
        let all = Usage::of(proc, me).ids;
        let new = all
            .iter()
            .filter(|id| **id != me && !stopped.contains(*id))
            .copied()
            .collect::<Vec<_>>();
        for id in &new {
            let _ = kill(Pid::from_raw(*id), Signal::SIGSTOP);
        }
        if new.is_empty() {
            for id in stopped.drain(..) {
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
            if !reap() {
                return;
            }
        }
        stopped.extend(new);
    }
}

/// Takes the exit codes of those that have ended; says whether there are others.
fn reap() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Binds this process, and all that it becomes and starts, to the order's files.
pub(super) fn confine(order: &Order) -> Step<()> {
    let system = order.read_only.iter().map(|(host, _)| host.as_path());
    let etc = crate::sandbox::root::etc_files();
    let readable = system.chain(etc.iter().map(AsRef::as_ref));
    let tmp = order.root.join("tmp");
    restrict(readable, &order.root, &tmp).map_err(at("restrict the command by Landlock"))
}

/// `tmp` may be written to; `root`, with it, and the others can be read and run.
fn restrict<'a>(
    readable: impl Iterator<Item = &'a Path>,
    root: &'a Path,
    tmp: &Path,
) -> Result<(), RulesetError> {
    let (all, read) = (AccessFs::from_all(NEEDED), AccessFs::from_read(NEEDED));
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let file = AccessFs::ReadFile | AccessFs::Execute;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)?
        .handle_access(AccessNet::from_all(NEEDED))?
        .scope(Scope::from_all(NEEDED))?
        .create()?;
    let mut allow = Vec::new();
    for path in readable.chain([root]) {
        let access = if path.is_dir() { read } else { file };
        allow.push((path.to_owned(), access));
    }
    allow.push((
        tmp.to_owned(),
        all & !AccessFs::IoctlDev & !AccessFs::MakeChar & !AccessFs::MakeBlock,
    ));
    allow.extend(DEVICES.map(|name| (Path::new("/dev").join(name), device)));
    for (path, access) in allow {
        // A machine without one of them works without it.
        if let Ok(opened) = PathFd::new(&path) {
            rules = rules.add_rule(PathBeneath::new(opened, access))?;
        }
    }
    rules.restrict_self().map(drop)
}

/// Tries what the levels need, each in a process of its own; never returns an error, since the
/// refusals are the answer.
pub(super) fn probe() -> Answer {
    Answer {
        namespaces: refusal_of(|| {
            unshare(super::namespaces::all(true)).map_err(at("make a user namespace"))?;
            // Where AppArmor lets a user namespace be made, but gives no rights in it.
            make_private()
        }),
        landlock: refusal_of(|| {
            let none = Path::new("/nonexistent");
            restrict(std::iter::empty(), none, none).map_err(at("restrict a command by Landlock"))
        }),
    }
}

/// Tries something in a child, and says what was refused.
fn refusal_of(attempt: impl FnOnce() -> Step<()>) -> Option<(String, String)> {
    let said = || -> Step<String> {
        let (mut told, mut tell) = io::pipe().map_err(at("make a pipe"))?;
        // SAFETY: this process has one thread.
        match unsafe { fork() }.map_err(at("start a process"))? {
            ForkResult::Child => {
                if let Err(Refusal { step, reason }) = attempt() {
                    let _ = write!(tell, "{step}\n{reason}");
                }
                std::process::exit(0)
            }
            ForkResult::Parent { child } => {
                drop(tell);
                let mut text = String::new();
                let _ = told.read_to_string(&mut text);
                let _ = waitpid(child, None);
                Ok(text)
            }
        }
    };
    match said() {
        Ok(text) => text
            .split_once('\n')
            .map(|(step, reason)| (step.to_owned(), reason.to_owned())),
        Err(Refusal { step, reason }) => Some((step, reason)),
    }
}
