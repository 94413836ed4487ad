//! How much memory processes have had that have ended.

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;

/// The most that one process had in memory, in bytes, of a child that has ended and all that it and
/// its own have waited for. The child is not reaped. None where it cannot be told: a child has
/// what this process had when it started it, too.
pub(in crate::sandbox) fn peak_bytes(child: Pid) -> Option<u64> {
    // SAFETY: all zeroes are a value of this type, which has numbers alone.
    let mut usage = unsafe { std::mem::zeroed::<libc::rusage>() };
    // SAFETY: the pointer is valid for the call; the kernel takes none for the other answer. Only
    // the system call has this argument; the C library's function has not.
    let done = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PID,
            child.as_raw(),
            std::ptr::null_mut::<libc::siginfo_t>(),
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
            &raw mut usage,
        )
    };
    Errno::result(done).ok()?;
    let own = getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss();
    (usage.ru_maxrss > own)
        .then(|| u64::try_from(usage.ru_maxrss).ok()?.checked_mul(1024))
        .flatten()
}
