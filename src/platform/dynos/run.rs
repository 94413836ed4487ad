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
use super::slot::{Slot, State, Wish};
use super::{Inner, Target, choose_port};
use crate::dyno::{Lines, Process, Start, environment};
use crate::platform::log_stream::{LogStream, Source, Throttle, Verdict};
use crate::platform::scratch::Scratch;
use crate::sandbox::{Error, Limit, Network};

/// How often a web dyno that starts is looked at: what it takes longer, its first request waits.
const BOOT_TICK: Duration = Duration::from_millis(5);
/// How often one that runs is; what happens meanwhile wakes the thread anyway.
const TICK: Duration = Duration::from_secs(1);
const MEMORY_TICK: Duration = Duration::from_secs(2);
/// How often memory over the limit is said. Source: Heroku's notices come every twenty seconds.
const MEMORY_NOTICE: Duration = Duration::from_secs(20);

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
    process: Process,
    /// Passes the output on to the log, to its end.
    output: Option<JoinHandle<()>>,
    port: Option<u16>,
    started: Instant,
    memory_due: Instant,
    notice_due: Instant,
    /// It was killed for a reason that has been said.
    is_killed: bool,
    _scratch: Scratch,
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
        let (process, output, scratch) = launch(&slot.inner, &slot.target, &slot.command, env)?;
        let started = Instant::now();
        let passed_on = pass_on(output, slot.clone());
        Ok(Self {
            slot,
            process,
            output: Some(passed_on),
            port,
            started,
            memory_due: started + MEMORY_TICK,
            notice_due: started,
            is_killed: false,
            _scratch: scratch,
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
            if self.memory_due <= Instant::now() {
                self.look_at_memory();
            }
            let booting = self.slot.state() == State::Starting && self.port.is_some();
            self.slot.pause(if booting { BOOT_TICK } else { TICK });
        }
    }

    fn look_for(&mut self, port: u16) {
        if self.process.listens(port) {
            let place = self.process.door().map_or(Place::Host, Place::Door);
            let backend = Backend::new(&self.slot.name, place, port);
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
        self.process.kill();
    }

    fn look_at_memory(&mut self) {
        let now = Instant::now();
        self.memory_due = now + MEMORY_TICK;
        let limit = self.slot.inner.options.memory_bytes;
        let used = self.process.memory_bytes();
        if used <= limit || now < self.notice_due {
            return;
        }
        self.notice_due = now + MEMORY_NOTICE;
        self.say_memory(used);
        self.slot.say("Error R14 (Memory quota exceeded)");
    }

    fn say_memory(&self, used: u64) {
        let limit = self.slot.inner.options.memory_bytes;
        let percent = used.saturating_mul(1000) / limit.max(1);
        self.slot.say(&format!(
            "Process running mem={}M({}.{}%)",
            used >> 20,
            percent / 10,
            percent % 10
        ));
    }

    /// Whether the process has ended; says how.
    fn has_ended(&mut self) -> bool {
        let ended = self.process.try_wait();
        let status = match &ended {
            Ok(None) => return false,
            Ok(Some(exit)) => exit.code(),
            Err(_) => 137,
        };
        if let Some(output) = self.output.take() {
            // Nobody holds the other end of the pipe any more, so it ends.
            let _ = output.join();
        }
        if let Err(Error::Limit { limit, value }) = ended {
            if limit == Limit::Memory {
                self.say_memory(value);
                self.slot.say("Error R15 (Memory quota vastly exceeded)");
            } else {
                self.slot.say(&format!(
                    "The dyno reached its limit of {value} ({limit:?})"
                ));
            }
            self.slot.say("Stopping process with SIGKILL");
        } else if let Err(error) = ended {
            self.slot
                .say(&format!("The dyno could not be started: {error}"));
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
        self.process.signal(Signal::SIGTERM);
        let end = Instant::now() + longest;
        while !self.has_ended() {
            if Instant::now() >= end && !self.is_killed {
                self.slot.say(&format!(
                    "Error R12 (Exit timeout) -> At least one process failed to exit within {} seconds of SIGTERM",
                    longest.as_secs()
                ));
                self.slot.say("Stopping remaining processes with SIGKILL");
                self.is_killed = true;
                self.process.kill();
            }
            self.slot.pause(Duration::from_millis(20));
        }
    }
}

/// Starts a command over a target's slug.
pub(super) fn launch(
    inner: &Inner,
    target: &Target,
    command: &str,
    env: Vec<(String, String)>,
) -> Result<(Process, PipeReader, Scratch)> {
    let scratch = Scratch::create(&inner.scratch).context("making a dyno's directory")?;
    let image = target.stack.image.as_ref();
    let started = Process::start(&Start {
        sandbox: &inner.options.sandbox,
        base: &target.base,
        layering: inner.layering(),
        stack: image.map(|image| image.root.as_path()),
        scratch: scratch.path(),
        command,
        env,
    });
    let (process, output) = started?;
    Ok((process, output, scratch))
}

/// Writes a process's lines to its app's log, on a thread of its own.
fn pass_on(mut output: PipeReader, slot: Arc<Slot>) -> JoinHandle<()> {
    thread::spawn(move || {
        let (mut lines, mut buffer) = (Lines::default(), vec![0; 16 * 1024]);
        let mut throttle = Throttle::new(Instant::now());
        let mut write = |log: &LogStream, line: &str| match throttle.take(Instant::now()) {
            Verdict::Keep => log.write(Source::App, &slot.name, line),
            Verdict::Drop => {}
            Verdict::Notice(dropped) => slot.say(&flood(dropped)),
        };
        // An error is the end as well.
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            lines.feed(&buffer[..count], |line| write(&slot.log, line));
        }
        lines.finish(|line| write(&slot.log, line));
        let dropped = throttle.rest();
        if dropped > 0 {
            slot.say(&flood(dropped));
        }
        slot.wake();
    })
}

fn flood(dropped: u64) -> String {
    format!(
        "Error L10 (Output buffer overflow) -> {dropped} lines of this dyno dropped: it writes faster than they are kept"
    )
}
