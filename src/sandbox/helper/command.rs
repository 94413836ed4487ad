//! Gives up all privilege and becomes the command.
//!
//! The order matters: capabilities leave the bounding set while we still may drop them, limits are
//! set before the uid changes, the system call filter comes last because it forbids much of this.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::io::{self, IsTerminal as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Gid, Pid, Uid, chdir, execve};

use super::filter::Filter;
use super::{Step, at, confined};
use crate::sandbox::limits::ProcessLimits;
use crate::sandbox::processes::tasks_of_user;
use crate::sandbox::root::Order;
use crate::sandbox::user::INNER_ID;
use crate::sandbox::{Level, Profile};

/// Drops all privilege and becomes the command.
pub(super) fn become_command(order: &Order, filter: &Filter, signals: &SigSet) -> Step<Infallible> {
    if order.spec.argv.is_empty() {
        return Err(at("start the command")("it is empty"));
    }
    drop_bounding_set(order.level)?;
    set_limits(&order.limits, order.level)?;
    if let Some(cores) = order.limits.cores {
        keep_to_cores(cores)?;
    }
    leave_the_terminal(order.spec.profile)?;
    drop_privilege(order.level)?;
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
    if order.level == Level::Landlock {
        confined::confine(order)?;
    }
    filter.apply()?;
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

/// Takes every capability out of what any later program could get.
fn drop_bounding_set(level: Level) -> Step<()> {
    for capability in 0..=libc::c_ulong::from(u8::MAX) {
        // SAFETY: passes numbers only.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(done) {
            Ok(_) => {}
            // The kernel knows no more.
            Err(Errno::EINVAL) if capability > 0 => return Ok(()),
            // A plain user outside of namespaces has none to give, and gets none from here on.
            Err(Errno::EPERM) if !level.has_namespaces() => return Ok(()),
            Err(errno) => return Err(at("drop capabilities")(errno)),
        }
    }
    Ok(())
}

/// Makes a session of the command's own, so that it can neither signal the caller's process group
/// nor write to the caller's terminal, and a Ctrl-C there does not end it. A person's own process,
/// with a terminal as its input, stays on it; a dyno's terminal is made for it alone.
fn leave_the_terminal(profile: Profile) -> Step<()> {
    let has_terminal = io::stdin().is_terminal();
    if has_terminal && profile != Profile::Dyno {
        return Ok(());
    }
    nix::unistd::setsid().map_err(at("make a session"))?;
    if has_terminal {
        // SAFETY: takes numbers only; 0 does not steal a terminal that another session has.
        let done = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
        Errno::result(done).map_err(at("take the terminal"))?;
    }
    Ok(())
}

fn drop_privilege(level: Level) -> Step<()> {
    // Refused where the map was written without privilege; the outer groups then stay, unmapped.
    let _ = nix::unistd::setgroups(&[]);
    if level.has_namespaces() {
        let (uid, gid) = (Uid::from_raw(INNER_ID), Gid::from_raw(INNER_ID));
        nix::unistd::setresgid(gid, gid, gid).map_err(at("become the build's group"))?;
        nix::unistd::setresuid(uid, uid, uid).map_err(at("become the build's user"))?;
    }
    drop_capabilities()?;
    nix::sys::prctl::set_no_new_privs().map_err(at("give up new privileges"))
}

/// The header of capset(2), whose third version takes two sets of 32 bits.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

/// `_LINUX_CAPABILITY_VERSION_3`. Source: capset(2).
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

fn drop_capabilities() -> Step<()> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    // Effective, permitted and inheritable, twice: all empty. The ambient set follows them.
    let none = [[0_u32; 3]; 2];
    // SAFETY: both point at structures of the layout that this version of the call reads.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    Errno::result(done)
        .map(drop)
        .map_err(at("give up capabilities"))
}

/// Lowers the limits; one that is lower already stays, since only a privileged process may raise it.
fn set_limits(limits: &ProcessLimits, level: Level) -> Step<()> {
    // The kernel counts a user's processes in a user namespace; without one of its own a command's
    // user has others.
    let others = if level.has_namespaces() {
        0
    } else {
        tasks_of_user(Path::new("/proc"), nix::unistd::getuid().as_raw())
    };
    let processes = limits.processes.map(|own| own.saturating_add(others));
    let wanted = [
        (Resource::RLIMIT_CORE, Some(0)),
        (Resource::RLIMIT_NOFILE, limits.open_files),
        (Resource::RLIMIT_FSIZE, limits.file_bytes),
        (Resource::RLIMIT_NPROC, processes),
        (Resource::RLIMIT_DATA, limits.data_bytes),
    ];
    for (resource, value) in wanted {
        let Some(value) = value else { continue };
        let (_, hard) = getrlimit(resource).map_err(at("read the limits"))?;
        let value = value.min(hard);
        setrlimit(resource, value, value).map_err(at(format!("set {resource:?}")))?;
    }
    Ok(())
}

/// Leaves the processors but for so many of those that we have; not the same for every command.
fn keep_to_cores(cores: u64) -> Step<()> {
    let step = "keep to some processors";
    let all = sched_getaffinity(Pid::from_raw(0)).map_err(at(step))?;
    let have = (0..CpuSet::count()).filter(|core| all.is_set(*core).unwrap_or(false));
    let mut have = have.collect::<Vec<_>>();
    let first = usize::try_from(std::process::id()).unwrap_or(0) % have.len().max(1);
    have.rotate_left(first);
    let mut kept = CpuSet::new();
    for core in have
        .into_iter()
        .take(usize::try_from(cores).unwrap_or(usize::MAX))
    {
        kept.set(core).map_err(at(step))?;
    }
    // In a pid namespace that this process does not see itself in, 0 is its only name.
    sched_setaffinity(Pid::from_raw(0), &kept).map_err(at(step))
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

pub(super) fn c_string(text: &OsStr) -> Result<CString, std::ffi::NulError> {
    CString::new(text.as_bytes())
}
