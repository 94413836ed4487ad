//! Runs a command that must not be trusted, in namespaces and on a root directory of its own.
//!
//! In: a [`Root`] (a directory that becomes `/`), a [`Spec`] (arguments, environment) and a
//! [`Watch`] (time limit, cancellation). Out: the command's exit. Guaranteed: the command sees
//! only the root directory, the stack's read-only system directories and a minimal `/etc`; it has
//! no environment but the given one, no descriptor but 0, 1 and 2, no capability and uid 1000; when
//! it ends, is cancelled or when the caller dies, nothing that it started is left.
//!
//! The work is done by a hidden subcommand of the binary ([`helper`]), since a process must be
//! single-threaded to enter a user namespace. What of a network the command has is its
//! [`Profile`]'s and the [`Policy`]'s choice.

mod cgroup;
mod disk;
mod enforced;
mod guard;
mod helper;
mod level;
mod limits;
mod network;
mod processes;
mod refusal;
mod remove;
mod root;
mod stream;
mod user;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub use helper::helper_main;
pub use level::Level;
pub use limits::{Limit, Limits};
pub use network::{Contact, Network, PROXY_PORT, Place, Rules, Traffic, Upstream};
pub use refusal::{Cause, cause_of_refusal};
pub use remove::remove_tree;
pub use root::Root;
pub use stream::{Ended, Exit};
pub use user::INNER_ID;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use cgroup::Tree;
use guard::{End, Guard};
use limits::ProcessLimits;
use network::proxy::Proxy;

/// The name of the hidden subcommand that [`helper_main`] implements.
pub const HELPER_COMMAND: &str = "__sandbox";

/// What went wrong around a command, as opposed to in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or its configuration does not let us make the namespaces.
    #[error("this machine refused the build's namespaces, at the step «{step}»: {reason}")]
    Refused { step: String, reason: String },
    /// The command was killed because it had used up its share.
    #[error("the build reached its limit of {value} ({limit:?})")]
    Limit { limit: Limit, value: u64 },
    /// The operator asks for more than this machine gives.
    #[error("the isolation is {got}; sandbox_require asks for {required}")]
    TooWeak { got: Level, required: Level },
    /// The helper could not be started or spoken to.
    #[error("starting the sandbox helper {}", helper.display())]
    Helper { helper: PathBuf, source: io::Error },
    /// A file of the root directory could not be made.
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A build put something else in the place of a directory that is the platform's to read.
    #[error("the build replaced the directory /{name} by something else")]
    Replaced { name: &'static str },
    /// Whoever reads the output has gone.
    #[error("nobody reads the output any more")]
    Output(#[source] io::Error),
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

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

/// Where a sandbox finds its helper and which system directories it shows.
#[derive(Debug, Clone)]
pub struct Sandbox {
    helper: PathBuf,
    policy: Policy,
}

/// What an operator lets builds do and use.
#[derive(Debug, Clone)]
pub struct Policy {
    pub limits: Limits,
    pub network: Network,
    /// For [`Network::Proxy`].
    pub rules: Arc<Rules>,
    /// Weaker isolation is refused.
    pub require: Option<Level>,
    /// Where control groups are; an empty directory stands for a machine that has none.
    pub cgroup_root: PathBuf,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            network: Network::Proxy,
            rules: Arc::default(),
            require: None,
            cgroup_root: PathBuf::from("/sys/fs/cgroup"),
        }
    }
}

impl Sandbox {
    /// A sandbox whose helper is `helper __sandbox`: Slugline's own binary, or any program that
    /// calls [`helper_main`] for that subcommand.
    pub fn new(helper: impl Into<PathBuf>) -> Self {
        Self {
            helper: helper.into(),
            policy: Policy::default(),
        }
    }

    /// The same under another policy.
    #[must_use]
    pub fn with(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Runs `true` in a sandbox made in `scratch`, to know before any work whether builds can run.
    ///
    /// # Errors
    /// [`Error::Refused`] where the machine does not allow it; the platform's fault.
    pub fn probe(&self, scratch: &Path) -> Result<(), Error> {
        let dir = tempfile::Builder::new()
            .prefix("probe-")
            .tempdir_in(scratch)
            .map_err(Error::io(scratch))?;
        if let Some(tree) = self.tree() {
            tree.sweep();
        }
        let root = Root::create(&dir.path().join("root"))?;
        root.hand_over()?;
        let spec = Spec {
            argv: vec!["/bin/sh".into(), "-c".into(), "exit 0".into()],
            env: Vec::new(),
            cwd: "/".into(),
            profile: Profile::Inspect,
        };
        let ended = self.run(&root, &spec, &Watch::default(), &mut io::sink())?;
        match ended {
            Ended::Exited(Exit::Code(0)) => Ok(()),
            other => Err(Error::Refused {
                step: "run a shell".into(),
                reason: format!("it ended with {other:?}"),
            }),
        }
    }

    /// Runs a command with no input; its output, standard error merged in, goes to `sink` as it comes.
    ///
    /// # Errors
    /// The platform's: the sandbox could not be made, or `sink` failed (the command is then killed).
    pub fn run(
        &self,
        root: &Root,
        spec: &Spec,
        watch: &Watch,
        sink: &mut dyn io::Write,
    ) -> Result<Ended, Error> {
        let (reader, writer) = io::pipe().map_err(self.helper_error())?;
        let stderr = writer.try_clone().map_err(self.helper_error())?;
        let launch = self.launch(root, spec, |command| {
            command.stdin(Stdio::null()).stdout(writer).stderr(stderr);
        })?;
        stream::run(launch, reader, watch, sink)
    }

    /// Runs a command whose standard output is wanted as data; standard error goes to `errors`.
    ///
    /// # Errors
    /// As [`Sandbox::run`].
    pub fn capture(
        &self,
        root: &Root,
        spec: &Spec,
        watch: &Watch,
        limit_bytes: usize,
    ) -> Result<stream::Captured, Error> {
        let (out, out_writer) = io::pipe().map_err(self.helper_error())?;
        let (err, err_writer) = io::pipe().map_err(self.helper_error())?;
        let launch = self.launch(root, spec, |command| {
            command
                .stdin(Stdio::null())
                .stdout(out_writer)
                .stderr(err_writer);
        })?;
        stream::capture(launch, out, err, watch, limit_bytes)
    }

    /// Starts a command on the caller's own standard input, output and error, for `slugline run`.
    ///
    /// # Errors
    /// The platform's: the helper could not be started.
    pub fn attach(&self, root: &Root, spec: &Spec) -> Result<Launch, Error> {
        self.launch(root, spec, |_| {})
    }

    /// The level of what this sandbox runs.
    ///
    /// # Errors
    /// [`Error::TooWeak`] where the operator asks for more.
    pub fn level(&self) -> Result<Level, Error> {
        let got = Level::here();
        match self.policy.require {
            Some(required) if got > required => Err(Error::TooWeak { got, required }),
            _ => Ok(got),
        }
    }

    /// The operator's policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn launch(
        &self,
        root: &Root,
        spec: &Spec,
        stdio: impl FnOnce(&mut Command),
    ) -> Result<Launch, Error> {
        let level = self.level()?;
        let is_build = spec.profile != Profile::Run;
        // Joining a group takes milliseconds: for a look at an app the guard is enough.
        let tree = (spec.profile == Profile::Build && level == Level::Root)
            .then(|| self.tree())
            .flatten();
        let group = tree.map(|tree| tree.group(&self.policy.limits));
        let group = group
            .transpose()
            .map_err(Error::io(&self.policy.cgroup_root))?;
        let build = ProcessLimits::of_build(&self.policy.limits, group.is_none());
        let (limits, network) = match spec.profile {
            Profile::Inspect => (build, Network::Off),
            Profile::Build => (build, self.policy.network),
            Profile::Run => (ProcessLimits::default(), Network::Host),
        };
        let order = root.write_order(spec, limits, network, group.as_ref())?;
        let mut command = Command::new(&self.helper);
        command
            .arg(HELPER_COMMAND)
            .arg(&order)
            .env_clear()
            .current_dir("/");
        stdio(&mut command);
        let mut proxy = None;
        if network == Network::Proxy {
            let (ours, theirs) = UnixStream::pair().map_err(self.helper_error())?;
            command.stdin(OwnedFd::from(theirs));
            let rules = self.policy.rules.clone();
            proxy = Some(Proxy::start(ours, rules, root.traffic().clone()));
        }
        let child = command.spawn().map_err(self.helper_error())?;
        // The command's own pipe ends close here, so that the readers see the end of the output.
        drop(command);
        let guard = is_build.then(|| {
            let id = child.id().cast_signed();
            let limits = self.policy.limits.clone();
            (
                Guard::start(id, root.writable(), limits.clone(), group),
                limits,
            )
        });
        Ok(Launch {
            child,
            order,
            guard,
            _proxy: proxy,
        })
    }

    /// The control groups that can be made here.
    fn tree(&self) -> Option<Tree> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Tree::find(&self.policy.cgroup_root, &own)
    }

    fn helper_error(&self) -> impl Fn(io::Error) -> Error {
        |source| Error::Helper {
            helper: self.helper.clone(),
            source,
        }
    }
}

/// A started helper.
#[derive(Debug)]
pub struct Launch {
    child: Child,
    order: PathBuf,
    /// With the limits that it watches; a build has one.
    guard: Option<(Guard, Limits)>,
    /// Serves for as long as the command may run.
    _proxy: Option<Proxy>,
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
        let reached = self.guard.take().and_then(|(mut guard, limits)| {
            let limit = guard.end(how)?;
            Some((limit, limits.of(limit)))
        });
        let status = self.child.wait().map_err(Error::io(&self.order))?;
        let exit = self.ended(status)?;
        match reached {
            Some((limit, value)) if !exit.is_success() => Err(Error::Limit { limit, value }),
            _ => Ok(exit),
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
