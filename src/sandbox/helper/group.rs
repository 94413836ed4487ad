//! Comes into a control group.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{ForkResult, Pid, fork};

use super::{Step, at};
use crate::sandbox::cgroup::Entrance;

/// Source: linux/sched.h; the constant of `libc` is cut off.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

const STEP: &str = "join the build's control group";

/// Enters the group, or opens it for [`fork_into`].
pub(super) fn enter(entrance: Option<&Entrance>) -> Step<Option<File>> {
    match entrance {
        None => Ok(None),
        Some(Entrance::Birth(dir)) => File::open(dir).map(Some).map_err(at(STEP)),
        Some(Entrance::Doors(doors)) => {
            for door in doors {
                // Zero is whoever writes it.
                fs::write(door, "0").map_err(at(STEP))?;
            }
            Ok(None)
        }
    }
}

/// `fork(2)`, with the child in a group from its first moment.
///
/// # Safety
/// As of `fork`: the process has one thread.
pub(super) unsafe fn fork_into(group: Option<&File>) -> nix::Result<ForkResult> {
    let Some(group) = group else {
        // SAFETY: the caller's promise.
        return unsafe { fork() };
    };
    // SAFETY: all zeroes are a value of this type, which has numbers alone.
    let mut how = unsafe { std::mem::zeroed::<libc::clone_args>() };
    how.flags = CLONE_INTO_CGROUP;
    how.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    how.cgroup = group.as_raw_fd().cast_unsigned().into();
    // SAFETY: without a stack of its own the child goes on as after fork, on a copy of all memory.
    let done = unsafe { libc::syscall(libc::SYS_clone3, &raw const how, size_of_val(&how)) };
    match Errno::result(done)? {
        0 => Ok(ForkResult::Child),
        child => Ok(ForkResult::Parent {
            child: Pid::from_raw(i32::try_from(child).map_err(|_| Errno::EOVERFLOW)?),
        }),
    }
}
