//! The hidden subcommand: a single-threaded process that makes the namespaces and runs the command.
//!
//! Three processes: this one stays outside of the new pid namespace, passes SIGTERM on and reports
//! the exit; its child is pid 1 inside, makes the mounts, reaps, and takes all others with it when
//! it ends; its grandchild becomes the command. Each dies when its parent does, so that `kill -9`
//! of the server ends all of a build.
//!
//! Where we are root, the inner uid 1000 is [`BUILD_ID_ON_HOST`] outside; else it is ourselves.

#![expect(
    unsafe_code,
    reason = "fork, prctl and mount_setattr have no safe form; each use says why it is sound"
)]
#![expect(
    clippy::exit,
    reason = "a helper process ends with the status of what it ran"
)]

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, chdir, execve, fork, getegid, geteuid, getppid, pivot_root,
    sethostname,
};

use super::Error;
use super::root::Order;
use super::user::{BUILD_ID_ON_HOST, INNER_ID, has_own_user};

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

/// The body of the hidden subcommand: carries out the order in the file `order`, and never returns.
pub fn helper_main(order: &Path) -> ! {
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
    enter_namespaces()?;
    die_with_parent()?;
    if getppid().as_raw() != order.parent {
        return Err(at("find the process that asked")("it has ended"));
    }
    let (mut told, tell) = io::pipe().map_err(at("make a pipe"))?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(at("start pid 1"))? {
        ForkResult::Child => {
            drop(told);
            let code = match init(&order, &tell) {
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
            let code = wait_for(&signals, child, |signal| {
                let _ = kill(child, signal);
            });
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

/// Waits until `child` ends, handing SIGTERM and its like to `pass_on`; returns an exit code.
fn wait_for(signals: &SigSet, child: Pid, pass_on: impl Fn(Signal)) -> i32 {
    loop {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == child => return code,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                    return 128 + signal as i32;
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
        match signals.wait() {
            // A terminal sends these to the whole foreground group: the command has them already.
            Ok(Signal::SIGCHLD | Signal::SIGINT | Signal::SIGQUIT) | Err(_) => {}
            Ok(signal) => pass_on(signal),
        }
    }
}

/// Makes user, mount, pid, ipc, uts and cgroup namespaces; the pid namespace begins with the next fork.
fn enter_namespaces() -> Step<()> {
    let (uid, gid) = (geteuid(), getegid());
    let rest = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    let flags = CloneFlags::CLONE_NEWUSER | rest;
    if has_own_user() {
        unshare_mapped_from_outside(flags)?;
    } else {
        unshare(flags).map_err(at("make a user namespace"))?;
        write_map("self", "setgroups", "deny")?;
        write_map("self", "uid_map", &format!("{INNER_ID} {uid} 1"))?;
        write_map("self", "gid_map", &format!("{INNER_ID} {gid} 1"))?;
    }
    Ok(())
}

/// As root, a child that stays outside writes the maps: only it may map another uid than its own.
fn unshare_mapped_from_outside(flags: CloneFlags) -> Step<()> {
    let (mut go, tell) = io::pipe().map_err(at("make a pipe"))?;
    let me = std::process::id().to_string();
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(at("start the uid mapper"))? {
        ForkResult::Child => {
            drop(tell);
            let mut byte = [0];
            let map = |uid: u32| format!("{INNER_ID} {uid} 1");
            let done = go.read_exact(&mut byte).is_ok()
                && write_map(&me, "uid_map", &map(BUILD_ID_ON_HOST)).is_ok()
                && write_map(&me, "gid_map", &map(BUILD_ID_ON_HOST)).is_ok();
            std::process::exit(i32::from(!done))
        }
        ForkResult::Parent { child } => {
            let unshared = unshare(flags).map_err(at("make a user namespace"));
            if unshared.is_ok() {
                let mut tell = &tell;
                tell.write_all(&[1]).map_err(at("start the uid mapper"))?;
            }
            drop(tell);
            let mapped = waitpid(child, None).map_err(at("map the build's uid"))?;
            unshared?;
            match mapped {
                WaitStatus::Exited(_, 0) => Ok(()),
                _ => Err(at("map the build's uid")("uid_map was refused")),
            }
        }
    }
}

fn write_map(process: &str, file: &str, text: &str) -> Step<()> {
    let path = format!("/proc/{process}/{file}");
    fs::write(&path, text).map_err(at(format!("write {path}")))
}

/// Pid 1 inside: makes the root, starts the command, reaps, ends with the command's exit code.
fn init(order: &Order, lifeline: &io::PipeWriter) -> Step<i32> {
    sethostname("slugline").map_err(at("set the host name"))?;
    make_root(order)?;
    die_with_parent()?;
    if is_closed(lifeline) {
        return Err(at("find the supervisor")("it has ended"));
    }
    let signals = block_signals()?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(at("start the command"))? {
        ForkResult::Child => {
            let error = match become_command(order, &signals) {
                Ok(never) => match never {},
                Err(refusal) => format!("{}: {}\n", refusal.step, refusal.reason),
            };
            let _ = io::stderr().write_all(error.as_bytes());
            std::process::exit(127)
        }
        ForkResult::Parent { child } => Ok(wait_for(&signals, child, |signal| {
            // As a dyno manager does: every process inside gets it.
            let _ = kill(Pid::from_raw(-1), signal);
        })),
    }
}

/// Whether the other end of a pipe is gone: its holder died before our tie to it was made.
fn is_closed(pipe: &io::PipeWriter) -> bool {
    let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    let told = poll(&mut polled, PollTimeout::ZERO).is_ok();
    let events = polled[0].revents().unwrap_or(PollFlags::empty());
    told && events.contains(PollFlags::POLLERR)
}

fn make_root(order: &Order) -> Step<()> {
    let none = None::<&str>;
    let root = &order.root;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(at("make the mounts private"))?;
    bind(root, root)?;
    // What is shown read-only later must not hide what is mounted below it: parents come first.
    for (host, inside) in &order.read_only {
        bind(host, inside)?;
    }
    for (_, inside) in &order.read_only {
        make_read_only(inside)?;
    }
    chdir(root).map_err(at("enter the root"))?;
    // New file systems belong to the namespace, where the server's own uid may not exist.
    nix::unistd::setfsgid(Gid::from_raw(INNER_ID));
    nix::unistd::setfsuid(Uid::from_raw(INNER_ID));
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "proc", Some("proc"), plain, none).map_err(at("mount /proc"))?;
    make_dev(Path::new("dev"))?;
    pivot_root(".", ".").map_err(at("make the directory the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(at("leave the host's root"))?;
    chdir("/").map_err(at("enter the root"))
}

fn bind(from: &Path, to: &Path) -> Step<()> {
    mount(
        Some(from),
        to,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(at(format!("show {}", from.display())))
}

/// Makes a mount and all below it read-only, keeping the flags that the host has locked.
fn make_read_only(path: &Path) -> Step<()> {
    let step = || format!("make {} read-only", path.display());
    let path_c = c_string(path.as_os_str()).map_err(at(step()))?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: both pointers are valid for the call, and the size is that of what is pointed at.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path_c.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(done).map(drop).map_err(at(step()))
}

fn make_dev(dev: &Path) -> Step<()> {
    let none = None::<&str>;
    mount(
        Some("tmpfs"),
        dev,
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("mode=755,size=64m"),
    )
    .map_err(at("mount /dev"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let inside = dev.join(name);
        fs::write(&inside, "").map_err(at("make /dev"))?;
        bind(&Path::new("/dev").join(name), &inside)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name)).map_err(at("make /dev"))?;
    }
    let shm = dev.join("shm");
    fs::create_dir(&shm).map_err(at("make /dev/shm"))?;
    mount(
        Some("tmpfs"),
        &shm,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=1777,size=64m"),
    )
    .map_err(at("mount /dev/shm"))?;
    let pts = dev.join("pts");
    fs::create_dir(&pts).map_err(at("make /dev/pts"))?;
    mount(
        Some("devpts"),
        &pts,
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some("newinstance,ptmxmode=0666,mode=620"),
    )
    .map_err(at("mount /dev/pts"))?;
    mount(
        none,
        dev,
        none,
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID,
        none,
    )
    .map_err(at("make /dev read-only"))
}

/// Drops all privilege and becomes the command.
fn become_command(order: &Order, signals: &SigSet) -> Step<Infallible> {
    if order.spec.argv.is_empty() {
        return Err(at("start the command")("it is empty"));
    }
    drop_privilege()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    chdir(order.spec.cwd.as_str()).map_err(at(format!("enter {}", order.spec.cwd)))?;
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(signals), None).map_err(at("unblock signals"))?;
    // SAFETY: the default action replaces std's «ignore»; no handler of ours is involved.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) }
        .map_err(at("reset SIGPIPE"))?;
    close_descriptors()?;

    let argv = order
        .spec
        .argv
        .iter()
        .map(|text| c_string(OsStr::new(text)));
    let argv = argv
        .collect::<Result<Vec<_>, _>>()
        .map_err(at("read the arguments"))?;
    let env = order
        .spec
        .env
        .iter()
        .map(|(name, value)| c_string(OsStr::new(&format!("{name}={value}"))));
    let env = env
        .collect::<Result<Vec<_>, _>>()
        .map_err(at("read the environment"))?;
    let name = &order.spec.argv[0];
    let mut last = Errno::ENOENT;
    for candidate in candidates(name, &order.spec.env) {
        let path = c_string(candidate.as_os_str()).map_err(at("read the arguments"))?;
        let Err(errno) = execve(&path, &argv, &env);
        if errno != Errno::ENOENT {
            last = errno;
        }
    }
    Err(at(name.clone())(last.desc()))
}

fn drop_privilege() -> Step<()> {
    let (uid, gid) = (Uid::from_raw(INNER_ID), Gid::from_raw(INNER_ID));
    // Refused where the map was written without privilege; the outer groups then stay, unmapped.
    let _ = nix::unistd::setgroups(&[]);
    nix::unistd::setresgid(gid, gid, gid).map_err(at("become the build's group"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(at("become the build's user"))?;
    nix::sys::prctl::set_no_new_privs().map_err(at("give up new privileges"))
}

/// Closes all but standard input, output and error, whatever the caller left open.
fn close_descriptors() -> Step<()> {
    // SAFETY: nothing uses those descriptors after this; the next step is execve.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    Errno::result(done)
        .map(drop)
        .map_err(at("close descriptors"))
}

/// Where a program may be: as named if it has a slash, else in each directory of `PATH`.
fn candidates(name: &str, env: &[(String, String)]) -> Vec<PathBuf> {
    if name.contains('/') {
        return vec![PathBuf::from(name)];
    }
    let path = env
        .iter()
        .find(|(key, _)| key == "PATH")
        .map_or("/usr/bin:/bin", |(_, value)| value);
    path.split(':')
        .map(|dir| Path::new(dir).join(name))
        .collect()
}

fn c_string(text: &OsStr) -> Result<CString, std::ffi::NulError> {
    CString::new(text.as_bytes())
}
