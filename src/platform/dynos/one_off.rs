//! One-off dynos: a command that somebody wants run once, attached to a client or left to itself.
//!
//! An attached one waits for its client, who is known by a secret and brings nothing else; its streams
//! are a terminal or pipes, whose other [`Ends`] the client's side gets. It ends with its client. The
//! output of a detached one goes to the app's log.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::sync::watch;

use super::run::{pass_on, start, start_on};
use super::size::Size;
use super::slot::{DynoRow, State};
use super::watched::Watched;
use super::{Inner, Target, lock};
use crate::config::ConfigVars;
use crate::dyno::environment;
use crate::platform::clock;
use crate::platform::log_stream::{LogStream, Source};
use crate::platform::token::Secret;
use crate::sandbox::Streams;

/// Most one-off dynos of an app at once.
pub const MOST_ONE_OFFS: usize = 50;
/// How often one that runs is looked at; what happens meanwhile wakes its thread.
const TICK: Duration = Duration::from_millis(200);
/// The same once its output has ended: its end is near.
const LAST_TICK: Duration = Duration::from_millis(2);

/// There are as many one-off dynos as an app may have.
#[derive(Debug, thiserror::Error)]
#[error("the app has {MOST_ONE_OFFS} one-off dynos already")]
pub struct TooManyOneOffs;

/// What is to be run.
#[derive(Debug)]
pub struct Request {
    /// For the shell.
    pub command: String,
    /// Of the process: config vars, and what its caller wants over them.
    pub config: ConfigVars,
    pub size: Arc<Size>,
    /// Whether a client comes.
    pub attach: Option<Attach>,
    /// It is stopped after this time.
    pub longest: Duration,
}

/// How a client is attached.
#[derive(Debug)]
pub struct Attach {
    /// What the client says; of a fixed length.
    pub secret: Secret,
    /// Columns and lines, where it has a terminal.
    pub terminal: Option<(u16, u16)>,
}

/// The client's side of the streams.
#[derive(Debug)]
pub struct Ends {
    pub input: OwnedFd,
    pub output: OwnedFd,
    /// Where the process's errors have a stream of their own.
    pub error: Option<OwnedFd>,
    /// Input and output are the master's side of this one.
    pub terminal: Option<OwnedFd>,
}

/// A one-off dyno.
#[derive(Debug)]
pub struct OneOff {
    id: String,
    /// `run.1`.
    pub name: String,
    pub number: u32,
    request: Request,
    target: Arc<Target>,
    inner: Arc<Inner>,
    log: Arc<LogStream>,
    life: Mutex<Life>,
    changed: Condvar,
    /// The exit code, once it has ended.
    ended: watch::Sender<Option<i32>>,
}

#[derive(Debug)]
struct Life {
    state: State,
    since: Timestamp,
    /// Of a client who has come.
    streams: Option<Streams>,
    /// To be passed on to its processes.
    signals: Vec<Signal>,
    /// It is to end: by this signal, and why.
    end: Option<(Signal, String)>,
    output_ended: bool,
    code: i32,
}

/// The exit code of what never ran: as a shell has it for what cannot be started.
const NEVER_RAN: i32 = 126;

impl OneOff {
    pub(super) fn new(
        inner: &Arc<Inner>,
        target: Arc<Target>,
        number: u32,
        request: Request,
    ) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            name: format!("run.{number}"),
            number,
            log: inner.streams.of(&target.app_id),
            request,
            target,
            inner: inner.clone(),
            life: Mutex::new(Life {
                state: State::Starting,
                since: clock::now(),
                streams: None,
                signals: Vec::new(),
                end: None,
                output_ended: false,
                code: NEVER_RAN,
            }),
            changed: Condvar::new(),
            ended: watch::channel(None).0,
        }
    }

    /// The process type.
    pub fn kind(&self) -> &'static str {
        "run"
    }

    /// What its client says to be attached.
    pub fn secret(&self) -> Option<&str> {
        let attach = self.request.attach.as_ref();
        attach.map(|attach| attach.secret.expose())
    }

    /// How long it may be silent, both ways.
    pub fn silence(&self) -> Duration {
        self.inner.options.silence
    }

    /// How a person sees it.
    pub fn row(&self) -> DynoRow {
        let life = lock(&self.life);
        DynoRow {
            id: self.id.clone(),
            name: self.name.clone(),
            kind: self.kind().to_owned(),
            command: self.request.command.clone(),
            size: self.request.size.name.clone(),
            version: self.target.version,
            state: life.state,
            since: life.since,
        }
    }

    fn say(&self, text: &str) {
        self.log.write(Source::Heroku, &self.name, text);
    }

    /// The client has come: makes the streams. Its errors are apart only where it wants that, and on
    /// no terminal.
    ///
    /// # Errors
    /// The system has no terminal or pipe left.
    pub fn connect(&self, errors_apart: bool) -> io::Result<Ends> {
        let terminal = self.request.attach.as_ref();
        let terminal = terminal.and_then(|attach| attach.terminal);
        let (streams, ends) = match terminal {
            Some(size) => terminal_streams(size)?,
            None => pipes(errors_apart)?,
        };
        lock(&self.life).streams = Some(streams);
        self.changed.notify_all();
        Ok(ends)
    }

    /// Passes a signal on to all its processes.
    pub fn signal(&self, signal: Signal) {
        lock(&self.life).signals.push(signal);
        self.changed.notify_all();
    }

    /// Ends it, since its client has gone or says nothing.
    pub fn hang_up(&self, why: &str) {
        self.end(
            Signal::SIGHUP,
            format!("{why}. Sending SIGHUP to all processes"),
        );
    }

    /// Ends it.
    pub fn stop(&self) {
        let text = "Stopping all processes with SIGTERM";
        self.end(Signal::SIGTERM, text.to_owned());
    }

    fn end(&self, signal: Signal, why: String) {
        let mut life = lock(&self.life);
        life.end.get_or_insert((signal, why));
        drop(life);
        self.changed.notify_all();
    }

    /// Its output has ended.
    pub fn output_ended(&self) {
        lock(&self.life).output_ended = true;
        self.changed.notify_all();
    }

    /// Waits for its end; gives the exit code as a shell has it.
    pub async fn exit(&self) -> i32 {
        let mut ended = self.ended.subscribe();
        let code = ended.wait_for(Option::is_some).await;
        code.ok().and_then(|code| *code).unwrap_or(NEVER_RAN)
    }

    pub(super) fn tell_end(&self) {
        let code = lock(&self.life).code;
        self.ended.send_replace(Some(code));
    }

    /// The body of the dyno's thread; returns when it has ended.
    pub(super) fn live(self: &Arc<Self>) {
        let streams = match self.secret() {
            None => None,
            Some(secret) => {
                self.say("Awaiting client");
                let streams = self.wait_for_client();
                lock(&self.inner.awaiting).remove(secret);
                let Some(streams) = streams else { return };
                Some(streams)
            }
        };
        let code = self.run(streams).unwrap_or_else(|error| {
            let error = format!("{error:#}");
            tracing::error!(app = self.target.app_name, error, "a one-off dyno failed");
            self.say(&format!("The dyno could not be started: {error}"));
            NEVER_RAN
        });
        self.say(&format!("Process exited with status {code}"));
        self.say("State changed from up to complete");
        lock(&self.life).code = code;
    }

    fn wait_for_client(&self) -> Option<Streams> {
        let end = Instant::now() + self.inner.options.attach_time;
        let mut life = lock(&self.life);
        loop {
            if let Some(streams) = life.streams.take() {
                return Some(streams);
            }
            if life.end.is_some() {
                return None;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.say("Error R13 (Attach error) -> Failed to attach to process");
                return None;
            }
            let waited = self.changed.wait_timeout(life, left);
            life = waited.ok()?.0;
        }
    }

    fn run(self: &Arc<Self>, streams: Option<Streams>) -> Result<i32> {
        let Request {
            command,
            config,
            size,
            longest,
            ..
        } = &self.request;
        self.say(&format!("Starting process with command `{command}`"));
        let own = self.inner.options.env.iter().cloned();
        let env = environment(config, &self.name, None, own);
        let (inner, target) = (&self.inner, &self.target);
        let (mut watched, written) = if let Some(streams) = streams {
            let started = start_on(inner, target, size, command, env, streams);
            (started.context("starting a one-off dyno")?, None)
        } else {
            let started = start(inner, target, size, command, env);
            let (watched, output) = started.context("starting a one-off dyno")?;
            let (own, log) = (self.clone(), self.log.clone());
            let at_end = move || own.output_ended();
            (
                watched,
                Some(pass_on(output, log, self.name.clone(), at_end)),
            )
        };
        let mut life = lock(&self.life);
        (life.state, life.since) = (State::Up, clock::now());
        drop(life);
        self.say("State changed from starting to up");
        let code = self.watch(&mut watched, Instant::now() + *longest);
        if let Some(written) = written {
            // Its lines come before those on its end.
            let _ = written.join();
        }
        Ok(code)
    }

    fn watch(&self, watched: &mut Watched, expires: Instant) -> i32 {
        let longest = self.inner.options.stop_time;
        let (mut kill_at, mut is_killed) = (None, false);
        loop {
            if let Some(code) = watched.ended(|text| self.say(text)) {
                return code;
            }
            watched.look_at_memory(|text| self.say(text));
            let now = Instant::now();
            if now >= expires {
                self.stop();
            }
            let (signals, end) = {
                let mut life = lock(&self.life);
                (std::mem::take(&mut life.signals), life.end.clone())
            };
            for signal in signals {
                watched.process.signal(signal);
            }
            match (end, kill_at) {
                (Some((signal, why)), None) => {
                    self.say(&why);
                    watched.process.signal(signal);
                    kill_at = Some(now + longest);
                }
                (_, Some(at)) if now >= at && !is_killed => {
                    self.say(&format!(
                        "Error R12 (Exit timeout) -> At least one process failed to exit within {} seconds of the signal",
                        longest.as_secs()
                    ));
                    self.say("Stopping remaining processes with SIGKILL");
                    watched.process.kill();
                    is_killed = true;
                }
                _ => {}
            }
            let life = lock(&self.life);
            if life.signals.is_empty() {
                let tick = if life.output_ended { LAST_TICK } else { TICK };
                // However it wakes, it looks again.
                let _ = self.changed.wait_timeout(life, tick);
            }
        }
    }
}

fn terminal_streams((columns, lines): (u16, u16)) -> io::Result<(Streams, Ends)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    resize(&master, columns, lines)?;
    let streams = Streams {
        input: Some(slave.try_clone()?),
        output: slave.try_clone()?,
        error: slave,
    };
    let ends = Ends {
        input: master.try_clone()?,
        output: master.try_clone()?,
        error: None,
        terminal: Some(master),
    };
    Ok((streams, ends))
}

/// Tells the processes of a terminal that it has another size.
///
/// # Errors
/// It has ended.
pub fn resize(master: &OwnedFd, columns: u16, lines: u16) -> io::Result<()> {
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(master, size)?)
}

fn pipes(errors_apart: bool) -> io::Result<(Streams, Ends)> {
    let (input, input_end) = io::pipe()?;
    let (output_end, output) = io::pipe()?;
    let (error_end, error) = if errors_apart {
        let (end, error) = io::pipe()?;
        (Some(end.into()), error)
    } else {
        (None, output.try_clone()?)
    };
    let streams = Streams {
        input: Some(input.into()),
        output: output.into(),
        error: error.into(),
    };
    let ends = Ends {
        input: input_end.into(),
        output: output_end.into(),
        error: error_end,
        terminal: None,
    };
    Ok((streams, ends))
}
