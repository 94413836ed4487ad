//! A helper that was started, and what is bound to its life: the guard, the proxy, the order's file.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::door::Door;
use super::guard::{End, Guard};
use super::heard::{self, Heard};
use super::limits::{Limit, Limits};
use super::network::direct::Connected;
use super::network::proxy::Proxy;
use super::processes::Usage;
use super::stream::Exit;
use super::{Error, helper};

/// A started helper.
#[derive(Debug)]
pub struct Launch {
    pub(super) child: Child,
    pub(super) order: PathBuf,
    /// With the limits that it watches; a build has one.
    pub(super) guard: Option<(Guard, Limits)>,
    pub(super) door: Option<Arc<Door>>,
    /// Serves for as long as the command may run.
    pub(super) _proxy: Option<Proxy>,
    pub(super) _connected: Option<Connected>,
    pub(super) heard: Heard,
    /// Whether a control group binds it.
    pub(super) is_grouped: bool,
}

impl Launch {
    /// The helper's process id, for passing signals on: it hands SIGTERM to all processes inside.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The way into a dyno's own network; none where it has the host's.
    pub fn door(&self) -> Option<Arc<Door>> {
        self.door.clone()
    }

    /// What its processes have in memory that is no file's: shared pages count for each.
    pub fn memory_bytes(&self) -> u64 {
        Usage::of(Path::new("/proc"), self.child.id().cast_signed()).private_bytes
    }

    /// Kills all of it at once.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The sandbox could not be made: [`Error::Refused`].
    pub fn wait(mut self) -> Result<Exit, Error> {
        self.look(WaitPidFlag::empty())?
            .ok_or_else(|| Error::io(&self.order)(io::ErrorKind::Interrupted.into()))
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// As [`Launch::wait`].
    pub fn try_wait(&mut self) -> Result<Option<Exit>, Error> {
        self.look(WaitPidFlag::WNOHANG)
    }

    fn look(&mut self, how: WaitPidFlag) -> Result<Option<Exit>, Error> {
        // The guard may still kill it, so it stays a zombie until the guard has ended.
        let id = Pid::from_raw(self.child.id().cast_signed());
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | how;
        let how = match waitid(Id::Pid(id), flags) {
            Ok(WaitStatus::StillAlive) => return Ok(None),
            // Or reaped before: its status is kept.
            Ok(WaitStatus::Exited(_, 0)) | Err(Errno::ECHILD) => End::Well,
            Ok(_) => End::Badly,
            Err(errno) => return Err(Error::io(&self.order)(errno.into())),
        };
        // Of what has ended between two looks.
        let peak = (how == End::Badly)
            .then(|| helper::peak_bytes(id))
            .flatten();
        let guarded = self
            .guard
            .take()
            .map(|(mut guard, limits)| (guard.end(how), limits));
        let status = self.child.wait().map_err(Error::io(&self.order))?;
        let exit = self.ended(status)?;
        let Some((seen, limits)) = guarded else {
            return Ok(Some(exit));
        };
        // Of the others a command that ended well did not need more.
        let full = |limit: &Limit| matches!(limit, Limit::DiskBytes | Limit::DiskFiles);
        let seen = seen.filter(|limit| full(limit) || !exit.is_success());
        let needs = |peak: &u64| !self.is_grouped && *peak > limits.memory_bytes;
        let seen = seen.or(peak.filter(needs).map(|_| Limit::Memory));
        let seen = seen.or_else(|| heard::limit_of(exit));
        if let Some(limit) = seen {
            let value = limits.of(limit);
            return Err(Error::Limit { limit, value });
        }
        let heard = self.heard.limit(!self.is_grouped);
        match heard.filter(|_| !exit.is_success()) {
            Some(limit) => {
                let value = limits.of(limit);
                Err(Error::LimitLikely { limit, value })
            }
            None => Ok(Some(exit)),
        }
    }

    fn ended(&self, status: ExitStatus) -> Result<Exit, Error> {
        helper::read_refusal(&self.order).map_or_else(|| Ok(Exit::of(status)), Err)
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        self.kill();
        // Before the process id is given back; the group goes with the guard.
        let guard = self.guard.take();
        drop(guard);
        let _ = self.child.wait();
        helper::forget(&self.order);
    }
}
