//! Enters the namespaces, and maps the build's uid into the user namespace.

use std::fs;
use std::io::{self, Read, Write};

use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, getegid, geteuid};

use super::{Step, at};
use crate::sandbox::network::Network;
use crate::sandbox::user::INNER_ID;

/// The namespaces of a command.
pub(super) fn all(network: bool) -> CloneFlags {
    let rest = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    let mut flags = CloneFlags::CLONE_NEWUSER | rest;
    flags.set(CloneFlags::CLONE_NEWNET, network);
    flags
}

/// Makes user, mount, pid, ipc, uts and cgroup namespaces, and a network's unless it is the host's; the pid namespace begins with the next fork.
pub(super) fn enter_namespaces(network: Network, outer_id: Option<u32>) -> Step<()> {
    let (uid, gid) = (geteuid(), getegid());
    let flags = all(network != Network::Host);
    if let Some(id) = outer_id {
        unshare_mapped_from_outside(flags, id)?;
    } else {
        unshare(flags).map_err(at("make a user namespace"))?;
        write_map("self", "setgroups", "deny")?;
        write_map("self", "uid_map", &format!("{INNER_ID} {uid} 1"))?;
        write_map("self", "gid_map", &format!("{INNER_ID} {gid} 1"))?;
    }
    Ok(())
}

/// As root, a child that stays outside writes the maps: only it may map another uid than its own.
fn unshare_mapped_from_outside(flags: CloneFlags, outer_id: u32) -> Step<()> {
    let (mut go, tell) = io::pipe().map_err(at("make a pipe"))?;
    let me = std::process::id().to_string();
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(at("start the uid mapper"))? {
        ForkResult::Child => {
            drop(tell);
            let mut byte = [0];
            let map = format!("{INNER_ID} {outer_id} 1");
            let done = go.read_exact(&mut byte).is_ok()
                && write_map(&me, "uid_map", &map).is_ok()
                && write_map(&me, "gid_map", &map).is_ok();
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
