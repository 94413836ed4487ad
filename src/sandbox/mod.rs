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
mod image;
mod launch;
mod level;
mod limits;
mod machine;
mod network;
mod outside;
mod overlays;
mod policy;
mod probe;
mod processes;
mod refusal;
mod remove;
mod root;
mod run;
mod spec;
mod stream;
mod user;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use attacks::{Attack, Outcome};
pub use base::Base;
pub use door::Door;
pub use helper::helper_main;
pub use image::own_mounts;
pub use launch::Launch;
pub use level::Level;
pub use limits::{Limit, Limits};
pub use network::{Contact, Gate, Network, PROXY_PORT, Place, Rules, Traffic, Upstream};
pub use overlays::{Lower, Overlays};
pub use policy::{Isolation, Policy};
pub use refusal::{Cause, cause_of_refusal};
pub use remove::remove_tree;
pub use root::{Layering, Root, TOOL_DIR};
pub use spec::{Cancel, Profile, Spec, Streams, Watch};
pub use stream::{Ended, Exit};
pub use user::INNER_ID;

use cgroup::Tree;
use image::Image;
use machine::Answer;

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
    /// The command failed, and what it said is what programs say at this limit.
    #[error("the build failed as if at its limit of {value} ({limit:?})")]
    LimitLikely { limit: Limit, value: u64 },
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
/// Where a sandbox finds its helper and which system directories it shows.
#[derive(Debug, Clone)]
pub struct Sandbox {
    helper: PathBuf,
    policy: Policy,
    /// Asked once; clones share the answer.
    answer: Arc<OnceLock<Answer>>,
    /// What builds' disks are made of, or why they have none; made once, as above.
    image: Arc<OnceLock<Result<Image, String>>>,
    /// What the commands of all its roots are counted by.
    traffic: Option<Traffic>,
}

impl Sandbox {
    /// A sandbox whose helper is `helper __sandbox`: Slugline's own binary, or any program that
    /// calls [`helper_main`] for that subcommand.
    pub fn new(helper: impl Into<PathBuf>) -> Self {
        Self {
            helper: helper.into(),
            policy: Policy::default(),
            answer: Arc::default(),
            image: Arc::default(),
            traffic: None,
        }
    }

    /// The same under another policy.
    #[must_use]
    pub fn with(self, policy: Policy) -> Self {
        Self {
            policy,
            image: Arc::default(),
            ..self
        }
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
        self.make_root(dir, stack, None)
    }

    /// The same for a build: with a file system of its own at `dir` where the server is root and there
    /// are loop devices. The directory above is to be removed by [`remove_tree`], which unmounts it.
    ///
    /// # Errors
    /// As [`Sandbox::root_on`].
    pub fn root_for_build(&self, dir: &Path, stack: Option<&Path>) -> Result<Root, Error> {
        self.make_root(dir, stack, self.image(dir.parent().unwrap_or(dir))?)
    }

    fn make_root(
        &self,
        dir: &Path,
        stack: Option<&Path>,
        image: Option<&Image>,
    ) -> Result<Root, Error> {
        let level = self.level()?;
        if stack.is_some() && level > Level::Namespaces {
            return Err(Error::Refused {
                step: "show the stack's root file system".to_owned(),
                reason: format!("isolation is {level}, and that needs namespaces"),
            });
        }
        let disk = image.map(|image| (image, &self.policy.limits));
        let root = Root::create_at(level, dir, stack, disk)?;
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

    /// Finds out whether builds get disks of their own in `scratch`, before the first asks for one.
    ///
    /// # Errors
    /// As [`Sandbox::level`]; that there are none is no error.
    pub fn prepare_disks(&self, scratch: &Path) -> Result<(), Error> {
        self.image(scratch).map(drop)
    }

    /// What builds' disks are made of here; `scratch` is where they will lie.
    fn image(&self, scratch: &Path) -> Result<Option<&Image>, Error> {
        if self.level()? != Level::Root {
            return Ok(None);
        }
        let made = self.image.get_or_init(|| {
            Image::make(&self.policy.limits, scratch).map_err(|error| {
                tracing::warn!(%error, "builds have no disk of their own: theirs is looked at each second");
                error.to_string()
            })
        });
        Ok(made.as_ref().ok())
    }

    /// The operator's policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
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
