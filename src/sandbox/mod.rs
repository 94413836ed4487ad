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

mod attacks;
mod base;
mod cgroup;
mod disk;
mod door;
mod enforced;
mod guard;
mod heard;
mod helper;
mod launch;
mod level;
mod limits;
mod machine;
mod network;
mod outside;
mod overlays;
mod processes;
mod refusal;
mod remove;
mod root;
mod stream;
mod user;

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

pub use attacks::{Attack, Outcome};
pub use base::Base;
pub use door::Door;
pub use helper::helper_main;
pub use launch::Launch;
pub use level::Level;
pub use limits::{Limit, Limits};
pub use network::{Contact, Gate, Network, PROXY_PORT, Place, Rules, Traffic, Upstream};
pub use overlays::Overlays;
pub use refusal::{Cause, cause_of_refusal};
pub use remove::remove_tree;
pub use root::{Layering, Root, TOOL_DIR};
pub use stream::{Ended, Exit};
pub use user::INNER_ID;

use serde::{Deserialize, Serialize};

use cgroup::Tree;
use guard::Guard;
use heard::Heard;
use limits::ProcessLimits;
use machine::Answer;
use network::direct::{self, Plan};
use network::proxy::Proxy;
use root::OwnInput;

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
    /// `network: direct` is not to be had here.
    #[error("the network cannot be connected directly: {reason}")]
    Direct { reason: String },
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

/// Where a sandbox finds its helper and which system directories it shows.
#[derive(Debug, Clone)]
pub struct Sandbox {
    helper: PathBuf,
    policy: Policy,
    /// Asked once; clones share the answer.
    answer: Arc<OnceLock<Answer>>,
    /// What the commands of all its roots are counted by.
    traffic: Option<Traffic>,
}

/// What an operator lets builds do and use.
#[derive(Debug, Clone)]
pub struct Policy {
    pub isolation: Isolation,
    pub limits: Limits,
    pub network: Network,
    /// For [`Network::Proxy`].
    pub rules: Arc<Rules>,
    /// Weaker isolation is refused.
    pub require: Option<Level>,
    /// Where control groups are; an empty directory stands for a machine that has none.
    pub cgroup_root: PathBuf,
}

/// Which level commands run at; as the setting `sandbox` names it, `auto` or `none`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Isolation {
    /// The strongest that the machine gives.
    #[default]
    Strongest,
    /// Level 3, as where namespaces are refused.
    Landlock,
    /// Level 0.
    Off,
}

impl FromStr for Isolation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Strongest),
            "none" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            isolation: Isolation::default(),
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
            answer: Arc::default(),
            traffic: None,
        }
    }

    /// The same under another policy.
    #[must_use]
    pub fn with(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// The program that its helper is.
    pub fn helper(&self) -> &Path {
        &self.helper
    }

    /// Makes the root directory `dir`, which must not exist, for this sandbox's commands.
    ///
    /// # Errors
    /// The platform's: a file could not be made, or there is no sandbox to be had.
    pub fn root(&self, dir: &Path) -> Result<Root, Error> {
        self.root_on(dir, None)
    }

    /// The same on the system directories of another root file system, where one is given.
    ///
    /// # Errors
    /// As [`Sandbox::root`]; [`Error::Refused`] also where there are no namespaces to show it in.
    pub fn root_on(&self, dir: &Path, stack: Option<&Path>) -> Result<Root, Error> {
        let level = self.level()?;
        if stack.is_some() && level > Level::Namespaces {
            return Err(Error::Refused {
                step: "show the stack's root file system".to_owned(),
                reason: format!("isolation is {level}, and that needs namespaces"),
            });
        }
        let root = Root::create_at(level, dir, stack)?;
        Ok(match &self.traffic {
            Some(traffic) => root.counting(traffic),
            None => root,
        })
    }

    /// The same sandbox, which counts what its commands exchange with hosts by way of the proxy.
    #[must_use]
    pub fn counting(&self, traffic: &Traffic) -> Self {
        Self {
            traffic: Some(traffic.clone()),
            ..self.clone()
        }
    }

    /// Takes a tree for dynos to be run over.
    ///
    /// # Errors
    /// As [`Sandbox::root`].
    pub fn base(&self, dir: &Path) -> Result<Base, Error> {
        Base::adopt(self.level()?, dir)
    }

    /// Makes a root directory that shows a base at `/app`, on a stack where one is given; see
    /// [`Layering`].
    ///
    /// # Errors
    /// As [`Sandbox::root_on`].
    pub fn root_over(
        &self,
        dir: &Path,
        base: &Base,
        how: Layering,
        stack: Option<&Path>,
    ) -> Result<Root, Error> {
        Root::over(self.level()?, dir, base, how, stack)
    }

    /// As [`Sandbox::probe`], for who wants to build or run what was built.
    ///
    /// # Errors
    /// [`Error::Refused`] also where an app can be looked at and no more.
    pub fn probe_for_builds(&self, scratch: &Path) -> Result<(), Error> {
        self.probe(scratch)?;
        self.found()?.require_namespaces()?;
        if self.network()? == Network::Direct {
            let root = self.level()? == Level::Root;
            let without = if root {
                direct::missing()
            } else {
                Some("it takes root".to_owned())
            };
            if let Some(reason) = without {
                return Err(Error::Direct { reason });
            }
        }
        Ok(())
    }

    /// Runs `true` in a sandbox made in `scratch`, to know before any work whether there is one.
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
        if self.policy.network == Network::Direct {
            direct::sweep();
        }
        let root = self.root(&dir.path().join("root"))?;
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

    /// Tries in `scratch` how roots can get a writable `/app` here.
    ///
    /// # Errors
    /// As [`Sandbox::probe`].
    pub fn layering(&self, scratch: &Path) -> Result<Layering, Error> {
        let dir = tempfile::Builder::new()
            .prefix("probe-")
            .tempdir_in(scratch)
            .map_err(Error::io(scratch))?;
        let path = dir.path().join("base");
        fs::create_dir(&path).map_err(Error::io(&path))?;
        let base = self.base(&path)?;
        let root = self.root_over(&dir.path().join("root"), &base, Layering::Overlay, None)?;
        let spec = Spec {
            argv: vec!["/bin/sh".into(), "-c".into(), "echo > file".into()],
            env: Vec::new(),
            cwd: "/app".into(),
            profile: Profile::Inspect,
        };
        let ended = self.run(&root, &spec, &Watch::default(), &mut io::sink());
        // The kernel leaves a directory that its owner may not enter.
        remove_tree(dir.path()).map_err(Error::io(dir.path()))?;
        match ended {
            Ok(Ended::Exited(Exit::Code(0))) => Ok(Layering::Overlay),
            Ok(_) => Ok(Layering::Copy),
            Err(Error::Refused { step, .. }) if step == helper::LAY_OVER => Ok(Layering::Copy),
            Err(error) => Err(error),
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
        let launch = self.launch(root, spec, None, |command| {
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
        let launch = self.launch(root, spec, None, |command| {
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
        self.launch(root, spec, None, |_| {})
    }

    /// Starts a process of a dyno; the spec's profile is [`Profile::Dyno`]. To be called on a thread
    /// that outlives the process: the kernel ends it with that thread.
    ///
    /// # Errors
    /// As [`Sandbox::attach`].
    pub fn start(&self, root: &Root, spec: &Spec, streams: Streams) -> Result<Launch, Error> {
        let Streams {
            input,
            output,
            error,
        } = streams;
        self.launch(root, spec, input, |command| {
            command.stdout(output).stderr(error);
        })
    }

    /// The level of what this sandbox runs.
    ///
    /// # Errors
    /// [`Error::TooWeak`] where the operator asks for more.
    pub fn level(&self) -> Result<Level, Error> {
        let got = self.found()?.level()?;
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
        input: Option<OwnedFd>,
        stdio: impl FnOnce(&mut Command),
    ) -> Result<Launch, Error> {
        let level = self.level()?;
        match spec.profile {
            Profile::Inspect => {}
            Profile::Build => self.found()?.require_namespaces()?,
            Profile::Run | Profile::Dyno => self.found()?.require_own_root()?,
        }
        let (is_guarded, is_dyno) = (spec.profile != Profile::Run, spec.profile == Profile::Dyno);
        // Joining a group takes milliseconds: for a look at an app the guard is enough.
        let is_grouped = matches!(spec.profile, Profile::Build | Profile::Dyno);
        let tree = (is_grouped && level == Level::Root)
            .then(|| self.tree())
            .flatten();
        let group = tree.map(|tree| tree.group(&self.policy.limits));
        let group = group
            .transpose()
            .map_err(Error::io(&self.policy.cgroup_root))?;
        let build = ProcessLimits::of_build(&self.policy.limits, group.is_some());
        let (limits, network) = match spec.profile {
            Profile::Inspect => (build, Network::Off),
            Profile::Build | Profile::Dyno => (build, self.network()?),
            Profile::Run => (ProcessLimits::default(), Network::Host),
        };
        let direct = (network == Network::Direct).then(|| root.direct(&self.policy.rules));
        let direct = direct.transpose()?;
        let connected = direct.as_ref().map(Plan::connected);
        let is_build = spec.profile == Profile::Build && level.has_namespaces();
        let own = OwnInput {
            comes: input.is_some(),
            is_socket: is_dyno || is_build || network == Network::Proxy,
        };
        let order = root.write_order(spec, limits, network, group.as_ref(), own, direct)?;
        let mut command = Command::new(&self.helper);
        command
            .arg(HELPER_COMMAND)
            .arg(&order)
            .env_clear()
            .current_dir("/");
        stdio(&mut command);
        let (rules, traffic) = (self.policy.rules.clone(), root.traffic().clone());
        let (mut proxy, mut door, mut control) = (None, None, None);
        if own.is_socket {
            let (ours, theirs) = UnixStream::pair().map_err(self.helper_error())?;
            command.stdin(OwnedFd::from(theirs));
            control = Some(ours);
        }
        let child = command.spawn().map_err(self.helper_error())?;
        // The command's own pipe ends close here, so that the readers see the end of the output.
        drop(command);
        if let Some(control) = control {
            let has_door = is_dyno && network != Network::Host;
            let mut come = if has_door || network == Network::Proxy {
                // Nothing comes from a helper that was refused something: its exit says so.
                helper::receive(control.as_fd()).unwrap_or_default()
            } else {
                Vec::new()
            };
            if has_door {
                door = come.pop().map(|door| Door::new(door.into()));
            }
            if let Some(listener) = come.pop() {
                proxy = Some(Proxy::serve(listener.into(), rules, traffic));
            }
            if let Some(input) = input {
                // The same for a helper that does not take it.
                let _ = helper::send_descriptors(control.as_raw_fd(), &[input.as_raw_fd()]);
            }
            if is_build {
                root.overlays().connect(control);
            }
        }
        let guard = is_guarded.then(|| {
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
            door: door.map(Arc::new),
            _proxy: proxy,
            _connected: connected,
            heard: Heard::default(),
        })
    }

    /// How commands of [`Profile::Build`] are connected, as the build's log says it.
    ///
    /// # Errors
    /// As [`Sandbox::level`].
    pub fn network(&self) -> Result<Network, Error> {
        self.level().map(|level| match level {
            Level::Root | Level::Namespaces => self.policy.network,
            Level::Landlock => Network::Off,
            Level::Off => Network::Host,
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
