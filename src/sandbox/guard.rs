//! Watches what a running command uses, and kills it at a limit.
//!
//! Disk that others share is looked at once a second, so a build can exceed its limit by what it writes
//! in that time; no single file can. Memory and processes are the kernel's business where there is a control
//! group, and the guard only sees that the limit was reached; elsewhere it adds up what the
//! processes have, ten times a second.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup::Group;
use super::disk::Disk;
use super::limits::{Limit, Limits};
use super::processes::Usage;

const TICK: Duration = Duration::from_millis(100);

/// A watch over one command.
#[derive(Debug)]
pub(super) struct Guard {
    stop: Option<Sender<End>>,
    thread: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Option<Limit>>>,
}

/// How the command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Well,
    /// It may have failed because of a limit: one more look.
    Badly,
}

struct Watched {
    /// The helper's supervisor, with whom everything ends.
    supervisor: i32,
    limits: Limits,
    /// Removed with this, at the end of the watch.
    group: Option<Group>,
    disk: Disk,
    disk_due: Instant,
}

impl Guard {
    pub fn start(supervisor: i32, disk: Disk, limits: Limits, group: Option<Group>) -> Self {
        let (stop, stopped) = channel();
        let seen = Arc::new(Mutex::new(None));
        let tell = seen.clone();
        let mut watched = Watched {
            supervisor,
            disk_due: Instant::now() + disk.pause(),
            disk,
            limits,
            group,
        };
        let thread = thread::spawn(move || {
            if let Some(limit) = watched.watch(&stopped) {
                *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
                // Not yet reaped, since who waits for it ends this thread first.
                let _ = kill(Pid::from_raw(supervisor), Signal::SIGKILL);
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
            seen,
        }
    }

    /// Ends the watch; says which limit was reached.
    pub fn end(&mut self, how: End) -> Option<Limit> {
        if let Some(stop) = self.stop.take() {
            // Nobody hears it where the limit was reached before.
            let _ = stop.send(how);
        }
        let _ = self.thread.take().map(JoinHandle::join);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end(End::Well);
    }
}

impl Watched {
    fn watch(&mut self, stopped: &Receiver<End>) -> Option<Limit> {
        loop {
            match stopped.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(End::Badly) => {
                    let used_up = self.group.as_ref().and_then(in_group);
                    return used_up.or_else(|| self.disk.look_closely());
                }
                Ok(End::Well) => return self.disk.look_at_end(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
            if let Some(limit) = self.look() {
                return Some(limit);
            }
        }
    }

    fn look(&mut self) -> Option<Limit> {
        let used_up = match &self.group {
            Some(group) => in_group(group),
            None => self.among_processes(),
        };
        if used_up.is_some() || Instant::now() < self.disk_due {
            return used_up;
        }
        let found = self.disk.look();
        self.disk_due = Instant::now() + self.disk.pause();
        found
    }

    /// Without a group the kernel refuses new processes by RLIMIT_NPROC and tells nobody; being as
    /// good as there is taken for it.
    fn among_processes(&self) -> Option<Limit> {
        let usage = Usage::of(Path::new("/proc"), self.supervisor);
        // The helper's own two are none of the command's.
        if usage.tasks.saturating_sub(2).saturating_mul(20)
            >= self.limits.processes.saturating_mul(19)
        {
            return Some(Limit::Processes);
        }
        // Memory that processes share is counted once only if need be: that takes longer.
        let over = |bytes: u64| bytes > self.limits.memory_bytes;
        (over(usage.private_bytes) && over(usage.proportional_bytes(Path::new("/proc"))))
            .then_some(Limit::Memory)
    }
}

fn in_group(group: &Group) -> Option<Limit> {
    if group.ran_out_of_memory() {
        Some(Limit::Memory)
    } else if group.ran_out_of_processes() {
        Some(Limit::Processes)
    } else {
        None
    }
}
