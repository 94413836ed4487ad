//! A helper that was started, and what is bound to its life: the guard, the proxy, the order's file.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::guard::{End, Guard};
use super::heard::Heard;
use super::limits::Limits;
use super::network::proxy::Proxy;
use super::stream::Exit;
use super::{Error, helper};

/// A started helper.
#[derive(Debug)]
pub struct Launch {
    pub(super) child: Child,
    pub(super) order: PathBuf,
    /// With the limits that it watches; a build has one.
    pub(super) guard: Option<(Guard, Limits)>,
    /// Serves for as long as the command may run.
    pub(super) _proxy: Option<Proxy>,
    pub(super) heard: Heard,
}

impl Launch {
    /// The helper's process id, for passing signals on: it hands SIGTERM to all processes inside.
    pub fn id(&self) -> u32 {
        self.child.id()
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
        // The guard may still kill it, so it stays a zombie until the guard has ended.
        let id = Pid::from_raw(self.child.id().cast_signed());
        let ended = waitid(Id::Pid(id), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let how = match ended.map_err(|errno| Error::io(&self.order)(errno.into()))? {
            WaitStatus::Exited(_, 0) => End::Well,
            _ => End::Badly,
        };
        let guarded = self
            .guard
            .take()
            .map(|(mut guard, limits)| (guard.end(how), limits));
        let status = self.child.wait().map_err(Error::io(&self.order))?;
        let exit = self.ended(status)?;
        let Some((seen, limits)) = guarded.filter(|_| !exit.is_success()) else {
            return Ok(exit);
        };
        match seen.or_else(|| self.heard.limit(exit)) {
            Some(limit) => Err(Error::Limit {
                limit,
                value: limits.of(limit),
            }),
            None => Ok(exit),
        }
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// As [`Launch::wait`].
    pub fn try_wait(&mut self) -> Result<Option<Exit>, Error> {
        match self.child.try_wait().map_err(Error::io(&self.order))? {
            Some(status) => self.ended(status).map(Some),
            None => Ok(None),
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
