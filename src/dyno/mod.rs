//! One process of a release: an unpacked slug, a command, an environment; out come its lines, where
//! it listens, and how it ended.
//!
//! The process is started as Heroku starts one: `bash --login` in `/app` loads `.profile.d` and runs
//! the command. Source: facts on Heroku's runtime, §3.4. What is written to `/app` is lost with it.

mod environment;
mod lines;
mod listening;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use environment::{RUN_PATH, environment, login};
pub use lines::{LINE_BYTES, Lines};

use crate::sandbox::{Base, Door, Error, Exit, Launch, Layering, Profile, Sandbox, Spec, Streams};

/// What is to be started.
#[derive(Debug)]
pub struct Start<'a> {
    pub sandbox: &'a Sandbox,
    pub base: &'a Base,
    pub layering: Layering,
    /// The root file system that it runs on; none is the host's.
    pub stack: Option<&'a Path>,
    /// An empty directory of the process's own.
    pub scratch: &'a Path,
    /// For the shell.
    pub command: &'a str,
    pub env: Vec<(String, String)>,
}

/// A started process. Dropping it kills all that it has started.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    id: Pid,
    proc: PathBuf,
}

impl Process {
    /// Starts the process on these streams.
    ///
    /// To be called on a thread that outlives the process: the kernel ends it with that thread.
    ///
    /// # Errors
    /// The platform's: its root or its sandbox could not be made.
    pub fn start(start: &Start<'_>, streams: Streams) -> Result<Self, Error> {
        for file in [&streams.output, &streams.error] {
            start.base.give(file)?;
        }
        if let Some(input) = &streams.input {
            start.base.give(input)?;
        }
        let (dir, how) = (start.scratch.join("root"), start.layering);
        let root = start
            .sandbox
            .root_over(&dir, start.base, how, start.stack)?;
        let spec = Spec {
            argv: login(start.command),
            env: start.env.clone(),
            cwd: "/app".to_owned(),
            profile: Profile::Dyno,
        };
        let launch = start.sandbox.start(&root, &spec, streams)?;
        let id = launch.id().cast_signed();
        Ok(Self {
            launch,
            id: Pid::from_raw(id),
            proc: PathBuf::from(format!("/proc/{id}")),
        })
    }

    /// The way to what listens inside; none where the process has the host's network.
    pub fn door(&self) -> Option<Arc<Door>> {
        self.launch.door()
    }

    /// Whether something listens on this port, on all addresses or on 127.0.0.1.
    pub fn listens(&self, port: u16) -> bool {
        listening::listens(&self.proc, port)
    }

    /// What all its processes have in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.launch.memory_bytes()
    }

    /// Sends a signal to all processes inside.
    pub fn signal(&self, signal: Signal) {
        // An error means that it has ended already.
        let _ = kill(self.id, signal);
    }

    /// Kills all processes at once.
    pub fn kill(&mut self) {
        self.launch.kill();
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The sandbox could not be made, or the process was killed at a limit.
    pub fn try_wait(&mut self) -> Result<Option<Exit>, Error> {
        self.launch.try_wait()
    }
}
