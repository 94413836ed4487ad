//! One life of a dyno's process, from its start to its end, with the lines that say how it goes.
//!
//! The codes are Heroku's: R10, R12, R14, R15.

use std::io::{PipeReader, Read};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::route::{Backend, Place};
use super::size::Size;
use super::slot::{Slot, State, Wish};
use super::watched::Watched;
use super::{Inner, JITTER_PERCENT, Target, choose_port, random_below};
use crate::dyno::{Lines, Process, Start, environment};
use crate::platform::log_stream::{LogStream, Source, Throttle, Verdict};
use crate::platform::scratch::Scratch;
use crate::sandbox::{Network, Streams};

/// How often a web dyno that starts is looked at: what it takes longer, its first request waits.
const BOOT_TICK: Duration = Duration::from_millis(2);
/// How often one that runs is; what happens meanwhile wakes the thread anyway.
const TICK: Duration = Duration::from_secs(1);

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was told to.
    AsWished,
    /// By itself, or for a fault of its own.
    Crashed,
}

/// Runs a dyno once.
pub(super) fn run(slot: &Arc<Slot>) -> Outcome {
    slot.set_state(State::Starting, None);
    match Life::start(slot) {
        Ok(life) => life.watch(),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(
                app = slot.target.app_name,
                dyno = slot.name,
                error,
                "a dyno could not be started"
            );
            slot.say(&format!("The dyno could not be started: {error}"));
            Outcome::Crashed
        }
    }
}

struct Life<'a> {
    slot: &'a Arc<Slot>,
    watched: Watched,
    /// Passes the output on to the log, to its end.
    output: Option<JoinHandle<()>>,
    port: Option<u16>,
    started: Instant,
    /// When it is to start anew.
    cycle_due: Instant,
    /// It was killed for a reason that has been said.
    is_killed: bool,
}

impl<'a> Life<'a> {
    fn start(slot: &'a Arc<Slot>) -> Result<Self> {
        let options = &slot.inner.options;
        let own_network = options.sandbox.policy().network != Network::Host;
        let port = slot
            .is_web()
            .then(|| choose_port(own_network))
            .transpose()
            .context("choosing a port")?;
        let text = port.map(|port| port.to_string());
        let shown = match &text {
            Some(port) => slot.command.replace("$PORT", port).replace("${PORT}", port),
            None => slot.command.clone(),
        };
        slot.say(&format!("Starting process with command `{shown}`"));
        let env = environment(
            &slot.target.config,
            &slot.name,
            text.as_deref(),
            options.env.clone(),
        );
        let (watched, output) = start(&slot.inner, &slot.target, &slot.size, &slot.command, env)?;
        let started = Instant::now();
        let (log, waker) = (slot.log.clone(), slot.clone());
        let passed_on = pass_on(output, log, slot.name.clone(), move || waker.wake());
        let cycle = slot.inner.options.cycle_time;
        let jitter = cycle * JITTER_PERCENT / 100;
        let jitter = random_below(u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX));
        Ok(Self {
            slot,
            watched,
            output: Some(passed_on),
            port,
            started,
            cycle_due: started + cycle + Duration::from_millis(jitter),
            is_killed: false,
        })
    }

    fn watch(mut self) -> Outcome {
        if self.port.is_none() {
            self.slot.set_state(State::Up, None);
        }
        loop {
            if self.has_ended() {
                return Outcome::Crashed;
            }
            if self.slot.wish() != Wish::Run {
                self.stop();
                return Outcome::AsWished;
            }
            let booting = self.slot.state() == State::Starting;
            if let Some(port) = self.port.filter(|_| booting) {
                self.look_for(port);
            }
            self.watched.look_at_memory(|text| self.slot.say(text));
            if self.slot.state() == State::Up {
                if Instant::now() >= self.cycle_due {
                    self.slot.say("Cycling");
                    self.stop();
                    return Outcome::AsWished;
                }
                if self.slot.is_web() {
                    self.slot.doze();
                }
            }
            let booting = self.slot.state() == State::Starting && self.port.is_some();
            self.slot.pause(if booting { BOOT_TICK } else { TICK });
        }
    }

    fn look_for(&mut self, port: u16) {
        if self.watched.process.listens(port) {
            let door = self.watched.process.door();
            let place = door.map_or(Place::Host, Place::Door);
            let usage = self.slot.usage().unwrap_or_default();
            usage.touch();
            let backend = Backend::new(&self.slot.name, place, port, usage);
            self.slot.set_state(State::Up, Some(Arc::new(backend)));
        } else if self.started.elapsed() > self.slot.inner.options.boot_time {
            let seconds = self.slot.inner.options.boot_time.as_secs();
            self.slot.say(&format!(
                "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within {seconds} seconds of launch"
            ));
            self.kill();
        }
    }

    fn kill(&mut self) {
        self.slot.say("Stopping process with SIGKILL");
        self.is_killed = true;
        self.watched.process.kill();
    }

    /// Whether the process has ended; says how.
    fn has_ended(&mut self) -> bool {
        let Some(status) = self.watched.ended(|text| self.slot.say(text)) else {
            return false;
        };
        if let Some(output) = self.output.take() {
            // Nobody holds the other end of the pipe any more, so it ends.
            let _ = output.join();
        }
        self.slot
            .say(&format!("Process exited with status {status}"));
        true
    }

    /// Lets it finish what it serves, then ends it.
    fn stop(&mut self) {
        let backend = self.slot.backend();
        self.slot.begin_ending();
        let longest = self.slot.inner.options.stop_time;
        let end = Instant::now() + longest;
        while backend
            .as_ref()
            .is_some_and(|backend| backend.in_flight() > 0)
            && Instant::now() < end
        {
            if self.has_ended() {
                return;
            }
            self.slot.pause(Duration::from_millis(20));
        }
        self.slot.say("Stopping all processes with SIGTERM");
        self.watched.process.signal(Signal::SIGTERM);
        let end = Instant::now() + longest;
        while !self.has_ended() {
            if Instant::now() >= end && !self.is_killed {
                self.slot.say(&format!(
                    "Error R12 (Exit timeout) -> At least one process failed to exit within {} seconds of SIGTERM",
                    longest.as_secs()
                ));
                self.slot.say("Stopping remaining processes with SIGKILL");
                self.is_killed = true;
                self.watched.process.kill();
            }
            self.slot.pause(Duration::from_millis(20));
        }
    }
}

/// Starts a command over a target's slug; its output is to be read.
pub(super) fn start(
    inner: &Inner,
    target: &Target,
    size: &Arc<Size>,
    command: &str,
    env: Vec<(String, String)>,
) -> Result<(Watched, PipeReader)> {
    let pipe = || -> Result<_> {
        let (reader, writer) = std::io::pipe()?;
        let error = writer.try_clone()?;
        Ok((reader, writer, error))
    };
    let (reader, output, error) = pipe().context("making a pipe")?;
    let streams = Streams {
        input: None,
        output: output.into(),
        error: error.into(),
    };
    let watched = start_on(inner, target, size, command, env, streams)?;
    Ok((watched, reader))
}

/// The same on streams of the caller's.
pub(super) fn start_on(
    inner: &Inner,
    target: &Target,
    size: &Arc<Size>,
    command: &str,
    env: Vec<(String, String)>,
    streams: Streams,
) -> Result<Watched> {
    let scratch = Scratch::create(&inner.scratch).context("making a dyno's directory")?;
    let image = target.stack.image.as_ref();
    let start = Start {
        sandbox: &size.sandbox,
        base: &target.base,
        layering: inner.layering(),
        stack: image.map(|image| image.root.as_path()),
        scratch: scratch.path(),
        command,
        env,
    };
    let process = Process::start(&start, streams)?;
    Ok(Watched::new(process, size.clone(), scratch))
}

/// Writes a process's lines to its app's log, on a thread of its own, which calls `at_end` last.
pub(super) fn pass_on(
    mut output: PipeReader,
    log: Arc<LogStream>,
    name: String,
    at_end: impl FnOnce() + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let (mut lines, mut buffer) = (Lines::default(), vec![0; 16 * 1024]);
        let mut throttle = Throttle::new(Instant::now());
        let notice = |dropped| log.write(Source::Heroku, &name, &flood(dropped));
        let mut write = |line: &str| match throttle.take(Instant::now()) {
            Verdict::Keep => log.write(Source::App, &name, line),
            Verdict::Drop => {}
            Verdict::Notice(dropped) => notice(dropped),
        };
        // An error is the end as well.
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            lines.feed(&buffer[..count], &mut write);
        }
        lines.finish(&mut write);
        let dropped = throttle.rest();
        if dropped > 0 {
            notice(dropped);
        }
        at_end();
    })
}

fn flood(dropped: u64) -> String {
    format!(
        "Error L10 (Output buffer overflow) -> {dropped} lines of this dyno dropped: it writes faster than they are kept"
    )
}
