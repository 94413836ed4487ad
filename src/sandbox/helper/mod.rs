//! The hidden subcommand: a single-threaded process that makes the namespaces and runs the command.
//!
//! Three processes: this one stays outside of the new pid namespace, passes SIGTERM on and reports
//! the exit; its child is pid 1 inside, makes the mounts, reaps, and takes all others with it when
//! it ends; its grandchild becomes the command. Each dies when its parent does, so that `kill -9`
//! of the server ends all of a build.
//!
//! Where we are root, the inner uid 1000 is a uid of the build's own outside; else it is ourselves.

#![expect(
    unsafe_code,
    reason = "fork, prctl and mount_setattr have no safe form; each use says why it is sound"
)]
#![expect(
    clippy::exit,
    reason = "a helper process ends with the status of what it ran"
)]

mod command;
mod confined;
mod filter;
mod group;
pub(super) mod loop_device;
mod mounts;
mod namespaces;
mod network;
mod overlays;
mod peak;

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid, sethostname, setsid};

use super::root::Order;
use super::{Error, Profile};
use command::become_command;
use filter::Filter;
use mounts::make_root;
pub(super) use mounts::{BASE, LAY_OVER, LAYER, overlay};
use namespaces::enter_namespaces;
use network::Sockets;
pub(super) use network::{receive, send_descriptors};
use overlays::Layer;
pub(super) use overlays::WORK;
pub(super) use peak::peak_bytes;

/// The exit code of a helper that could not make the sandbox.
const REFUSED: i32 = 121;

/// A step that the kernel refused.
struct Refusal {
    step: String,
    reason: String,
}

type Step<T> = Result<T, Refusal>;

/// Names the step in a refusal.
fn at<E: std::fmt::Display>(step: impl Into<String>) -> impl FnOnce(E) -> Refusal {
    move |error| Refusal {
        step: step.into(),
        reason: error.to_string(),
    }
}

/// In the place of an order: to say what this machine gives.
pub(super) const PROBE: &str = "probe";

/// The body of the hidden subcommand: carries out the order in the file `order`, and never returns.
pub fn helper_main(order: &Path) -> ! {
    if order == Path::new(PROBE) {
        let told = serde_json::to_writer(io::stdout(), &confined::probe());
        std::process::exit(i32::from(told.is_err()));
    }
    let code = match supervise(order) {
        Ok(code) => code,
        Err(refusal) => {
            write_refusal(order, &refusal);
            REFUSED
        }
    };
    std::process::exit(code)
}

fn refusal_path(order: &Path) -> PathBuf {
    order.with_extension("refused")
}

fn write_refusal(order: &Path, refusal: &Refusal) {
    let text = format!("{}\n{}", refusal.step, refusal.reason);
    // If even this cannot be written, the exit code is all that the caller gets.
    let _ = fs::write(refusal_path(order), text);
}

/// The refusal that a helper has left, if it did.
pub(super) fn read_refusal(order: &Path) -> Option<Error> {
    let text = fs::read_to_string(refusal_path(order)).ok()?;
    let (step, reason) = text.split_once('\n').unwrap_or((&text, ""));
    Some(Error::Refused {
        step: step.to_owned(),
        reason: reason.to_owned(),
    })
}

/// Removes what an order leaves behind.
pub(super) fn forget(order: &Path) {
    let _ = fs::remove_file(order);
    let _ = fs::remove_file(refusal_path(order));
}

/// The outer process.
fn supervise(path: &Path) -> Step<i32> {
    let bytes = fs::read(path).map_err(at("read the order"))?;
    let order: Order = serde_json::from_slice(&bytes).map_err(at("read the order"))?;
    // The file holds the environment: it has served.
    let _ = fs::remove_file(path);
    let signals = block_signals()?;
    if order.spec.profile == Profile::Dyno {
        // What a terminal sends to whoever has started the server is not for its dynos.
        setsid().map_err(at("leave the server's session"))?;
    }
    let filter = Filter::compile(&order)?;
    let birthplace = group::enter(order.entrance.as_ref())?;
    let mut sockets = Sockets::default();
    if order.level.has_namespaces() {
        enter_namespaces(&order)?;
        sockets = network::set_up(&order)?;
    }
    // After the maps are written, which takes the right to our own /proc: from here on nobody may
    // trace this process or read its memory, whatever uid he has.
    nix::sys::prctl::set_dumpable(false).map_err(at("close the helper to tracers"))?;
    die_with_parent()?;
    if getppid().as_raw() != order.parent {
        return Err(at("find the process that asked")("it has ended"));
    }
    let (mut told, tell) = io::pipe().map_err(at("make a pipe"))?;
    // SAFETY: this process has one thread.
    match unsafe { group::fork_into(birthplace.as_ref()) }.map_err(at("start pid 1"))? {
        ForkResult::Child => {
            drop(told);
            drop(sockets.porter);
            let code = match init(&order, &filter, &tell, sockets.overlays) {
                Ok(code) => code,
                Err(refusal) => {
                    let mut tell = tell;
                    let _ = write!(tell, "{}\n{}", refusal.step, refusal.reason);
                    REFUSED
                }
            };
            std::process::exit(code)
        }
        ForkResult::Parent { child } => {
            drop(tell);
            drop(sockets.overlays);
            let pass_on = |signal| {
                let _ = kill(child, signal);
            };
            let heard = heard(order.spec.profile);
            let code = match sockets.porter {
                None => wait_for(&signals, child, heard, pass_on),
                Some(porter) => {
                    let serve = || porter.serve();
                    serve_until(&signals, child, heard, porter.socket(), serve, pass_on)?
                }
            };
            let mut refusal = String::new();
            // Only a refusal is ever written; what runs inside does not hold this pipe.
            let _ = told.read_to_string(&mut refusal);
            match refusal.split_once('\n') {
                Some((step, reason)) => Err(Refusal {
                    step: step.to_owned(),
                    reason: reason.to_owned(),
                }),
                None => Ok(code),
            }
        }
    }
}

/// Ends this process when its parent does. The kernel forgets it when the process changes its uid,
/// so this comes after such a change.
fn die_with_parent() -> Step<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(at("tie the helper to its parent"))
}

/// Blocks the signals that the helper's processes wait for by hand.
fn block_signals() -> Step<SigSet> {
    default_signals()?;
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGCHLD,
    ] {
        set.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(at("block signals"))?;
    Ok(set)
}

/// Has signals do what they do by default: those that `nohup` or a shell has the server ignore would never
/// be heard, and no command could have them back.
fn default_signals() -> Step<()> {
    for signal in Signal::iterator() {
        // Nobody can ignore the first two; the third is std's, until the command starts.
        if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGPIPE) {
            // SAFETY: no handler of ours is involved.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }
                .map_err(at(format!("reset {signal}")))?;
        }
    }
    Ok(())
}

/// Waits until `child` ends, handing SIGTERM and its like to `pass_on`; returns an exit code.
fn wait_for(signals: &SigSet, child: Pid, heard: &[Signal], pass_on: impl Fn(Signal)) -> i32 {
    loop {
        if let Some(code) = reap(child) {
            return code;
        }
        if let Ok(signal) = signals.wait()
            && !heard.contains(&signal)
        {
            pass_on(signal);
        }
    }
}

/// The same for a process that is also asked for something: `serve` is called when something has
/// come on `socket`, and says whether more can come.
fn serve_until(
    signals: &SigSet,
    child: Pid,
    heard: &[Signal],
    socket: BorrowedFd<'_>,
    serve: impl Fn() -> bool,
    pass_on: impl Fn(Signal),
) -> Step<i32> {
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let come = SignalFd::with_flags(signals, flags).map_err(at("wait for signals"))?;
    let mut open = true;
    loop {
        if let Some(code) = reap(child) {
            return Ok(code);
        }
        let watched = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled = [watched(come.as_fd()), watched(socket)];
        let polled = if open {
            &mut polled[..]
        } else {
            &mut polled[..1]
        };
        // Interrupted or not, what has come is looked at.
        let _ = poll(polled, PollTimeout::NONE);
        if open && polled[1].any().unwrap_or(false) {
            open = serve();
        }
        while let Ok(Some(info)) = come.read_signal() {
            let signal = i32::try_from(info.ssi_signo).ok().map(Signal::try_from);
            if let Some(Ok(signal)) = signal
                && !heard.contains(&signal)
            {
                pass_on(signal);
            }
        }
    }
}

/// The exit code of `child`, if it has ended; others that have are reaped as well.
fn reap(child: Pid) -> Option<i32> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Some(128 + signal as i32);
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// The signals that need no passing on: a terminal sends some to the whole foreground group, so that
/// the command has them already, unless it has a session of its own.
fn heard(profile: Profile) -> &'static [Signal] {
    let all = &[Signal::SIGCHLD, Signal::SIGINT, Signal::SIGQUIT];
    if profile == Profile::Dyno {
        &all[..1]
    } else {
        all
    }
}

/// Pid 1 inside, or the reaper where there is no inside: makes the root, starts the command, reaps, ends with the command's exit code.
fn init(
    order: &Order,
    filter: &Filter,
    lifeline: &io::PipeWriter,
    channel: Option<UnixStream>,
) -> Step<i32> {
    let has_namespaces = order.level.has_namespaces();
    let mut layer = None;
    if has_namespaces {
        unshare(CloneFlags::CLONE_NEWCGROUP).map_err(at("hide the control groups"))?;
        sethostname("slugline").map_err(at("set the host name"))?;
        make_root(order)?;
        layer = Layer::start(order, channel)?;
        die_with_parent()?;
    } else {
        confined::become_reaper()?;
    }
    if is_closed(lifeline) {
        return Err(at("find the supervisor")("it has ended"));
    }
    let signals = block_signals()?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(at("start the command"))? {
        ForkResult::Child => {
            let error = match become_command(order, filter, &signals) {
                Ok(never) => match never {},
                Err(refusal) => format!("{}: {}\n", refusal.step, refusal.reason),
            };
            let _ = io::stderr().write_all(error.as_bytes());
            std::process::exit(127)
        }
        ForkResult::Parent { child } if has_namespaces => {
            let heard = heard(order.spec.profile);
            // As a dyno manager does: every process inside gets it.
            let pass_on = |signal| {
                let _ = kill(Pid::from_raw(-1), signal);
            };
            match layer {
                None => Ok(wait_for(&signals, child, heard, pass_on)),
                Some(layer) => {
                    let serve = || layer.serve();
                    serve_until(&signals, child, heard, layer.socket(), serve, pass_on)
                }
            }
        }
        ForkResult::Parent { child } => {
            let heard = heard(order.spec.profile);
            let code = wait_for(&signals, child, heard, |_| {
                let _ = kill(child, Signal::SIGKILL);
            });
            confined::end_descendants();
            Ok(code)
        }
    }
}

/// Whether the other end of a pipe is gone: its holder died before our tie to it was made.
fn is_closed(pipe: &io::PipeWriter) -> bool {
    let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    let told = poll(&mut polled, PollTimeout::ZERO).is_ok();
    let events = polled[0].revents().unwrap_or(PollFlags::empty());
    told && events.contains(PollFlags::POLLERR)
}
