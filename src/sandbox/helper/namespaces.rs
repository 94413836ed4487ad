//! Enters the namespaces, and maps the build's uid into the user namespace.

use std::fs;
use std::io::{self, Read, Write};

use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, getegid, geteuid};

use super::{Step, at};
use crate::sandbox::network::Network;
use crate::sandbox::network::direct::Plan;
use crate::sandbox::root::Order;
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

/// Makes user, mount, pid, ipc and uts namespaces, and a network's unless it is the host's; the pid namespace begins with the next fork.
pub(super) fn enter_namespaces(order: &Order) -> Step<()> {
    let (uid, gid) = (geteuid(), getegid());
    // That of control groups comes later, in the build's own group.
    let flags = all(order.network != Network::Host) - CloneFlags::CLONE_NEWCGROUP;
    if let Some(id) = order.outer_id {
        unshare_mapped_from_outside(flags, id, order.direct.as_ref())?;
    } else {
        unshare(flags).map_err(at("make a user namespace"))?;
        write_map("self", "setgroups", "deny")?;
        write_map("self", "uid_map", &format!("{INNER_ID} {uid} 1"))?;
        write_map("self", "gid_map", &format!("{INNER_ID} {gid} 1"))?;
    }
    Ok(())
}

/// As root, a child that stays outside writes the maps: only it may map another uid than its own.
/// It also lays the way to the host's network, where there is one.
fn unshare_mapped_from_outside(
    flags: CloneFlags,
    outer_id: u32,
    direct: Option<&Plan>,
) -> Step<()> {
    let (mut go, tell) = io::pipe().map_err(at("make a pipe"))?;
    let (mut told, mut answer) = io::pipe().map_err(at("make a pipe"))?;
    let me = std::process::id();
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(at("start the uid mapper"))? {
        ForkResult::Child => {
            drop(tell);
            let mut byte = [0];
            let map = format!("{INNER_ID} {outer_id} 1");
            let process = me.to_string();
            let done = go
                .read_exact(&mut byte)
                .map_err(at("map the build's uid"))
                .and_then(|()| write_map(&process, "uid_map", &map))
                .and_then(|()| write_map(&process, "gid_map", &map))
                .and_then(|()| {
                    let connect = |plan: &Plan| plan.connect(me);
                    direct
                        .map_or(Ok(()), connect)
                        .map_err(at("connect the build's network"))
                });
            if let Err(refusal) = &done {
                let _ = write!(answer, "{}\n{}", refusal.step, refusal.reason);
            }
            std::process::exit(i32::from(done.is_err()))
        }
        ForkResult::Parent { child } => {
            let unshared = unshare(flags).map_err(at("make a user namespace"));
            if unshared.is_ok() {
                let mut tell = &tell;
                tell.write_all(&[1]).map_err(at("start the uid mapper"))?;
            }
            drop((tell, answer));
            let mut refusal = String::new();
            let _ = told.read_to_string(&mut refusal);
            let mapped = waitpid(child, None).map_err(at("map the build's uid"))?;
            unshared?;
            if mapped == WaitStatus::Exited(child, 0) {
                return Ok(());
            }
            let (step, reason) = refusal.split_once('\n').unwrap_or_default();
            Err(at(step)(reason))
        }
    }
}

fn write_map(process: &str, file: &str, text: &str) -> Step<()> {
    let path = format!("/proc/{process}/{file}");
    fs::write(&path, text).map_err(at(format!("write {path}")))
}
