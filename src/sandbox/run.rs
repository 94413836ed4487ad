//! Runs commands in a sandbox: starts the helper, and what is bound to its life.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::door::Door;
use super::guard::Guard;
use super::heard::Heard;
use super::limits::ProcessLimits;
use super::network::proxy::Proxy;
use super::root::OwnInput;
use super::{
    Ended, Error, HELPER_COMMAND, Launch, Level, Network, Profile, Root, Sandbox, Spec, Streams,
    Watch, helper, stream,
};

impl Sandbox {
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
        let wants_group = matches!(spec.profile, Profile::Build | Profile::Dyno);
        let tree = (wants_group && level == Level::Root)
            .then(|| self.tree())
            .flatten();
        let group = tree.map(|tree| tree.group(&self.policy.limits));
        let group = group
            .transpose()
            .map_err(Error::io(&self.policy.cgroup_root))?;
        let is_grouped = group.is_some();
        let build = ProcessLimits::of_build(&self.policy.limits, is_grouped);
        let (limits, network) = match spec.profile {
            Profile::Inspect => (build, Network::Off),
            Profile::Build | Profile::Dyno => (build, self.network()?),
            Profile::Run => (ProcessLimits::default(), Network::Host),
        };
        let direct = (network == Network::Direct).then(|| root.direct(&self.policy.rules));
        let (direct, connected) = direct.transpose()?.unzip();
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
                Guard::start(id, root.disk(&limits), limits.clone(), group),
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
            is_grouped,
        })
    }
}
