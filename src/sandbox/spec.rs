//! What is to be run, for how long, and where its output goes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Ends a build from another thread. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks for the end; the command is killed within a fraction of a second.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the end was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag itself, for code that looks at one while it works.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }
}

/// When to kill a command that is still running.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    pub deadline: Option<Instant>,
    pub cancel: Cancel,
}

/// For what a command runs; decides its limits and its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// Looks at an app and changes nothing: no network.
    Inspect,
    /// Builds an app.
    Build,
    /// A process of a finished slug, on the caller's network and without a build's limits.
    Run,
    /// The same on a server: the policy's limits and network, with a door into it.
    Dyno,
}

/// Where a dyno's standard input, output and error go.
#[derive(Debug)]
pub struct Streams {
    /// None is empty.
    pub input: Option<OwnedFd>,
    pub output: OwnedFd,
    pub error: OwnedFd,
}

/// One command to run inside a [`Root`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Program and arguments; the program is looked up in the spec's own `PATH`.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory, inside.
    pub cwd: String,
    pub profile: Profile,
}
