//! A dyno that runs one command to its end: the release phase.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::run::start;
use super::{Dynos, Target};
use crate::dyno::{Lines, environment};
use crate::platform::log_stream::Source;

/// How often the time is looked at while nothing is said.
const TICK: Duration = Duration::from_millis(200);

/// A command, and the dyno that it runs in.
#[derive(Debug)]
pub struct Once<'a> {
    /// `release.1234`.
    pub name: &'a str,
    pub command: &'a str,
    pub longest: Duration,
}

impl Dynos {
    /// Runs a command in a dyno of its own, on this thread. Its lines go to the app's log and to
    /// `line`, in their order. Gives its exit code as a shell has it.
    ///
    /// # Errors
    /// The platform's: the dyno could not be started.
    pub fn run_once(
        &self,
        target: &Target,
        once: &Once<'_>,
        line: &mut dyn FnMut(&str),
    ) -> Result<i32> {
        let inner = &self.inner;
        let log = inner.streams.of(&target.app_id);
        let say = |text: &str| log.write(Source::Heroku, once.name, text);
        say(&format!("Starting process with command `{}`", once.command));
        let env = environment(
            &target.config,
            once.name,
            None,
            inner.options.env.iter().cloned(),
        );
        let size = inner.options.sizes.chosen(None);
        let started = start(inner, target, &size, once.command, env);
        let (mut watched, mut output) = started.context("starting a one-off dyno")?;
        say("State changed from starting to up");
        // Bounded: who reads slowly slows the command.
        let (sender, chunks) = sync_channel(16);
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = std::io::Read::read(&mut output, &mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut lines = Lines::default();
        let mut each = |text: &str| {
            log.write(Source::App, once.name, text);
            line(text);
        };
        let end = Instant::now() + once.longest;
        let mut killed_at = None;
        loop {
            match chunks.recv_timeout(TICK) {
                Ok(chunk) => lines.feed(&chunk, &mut each),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            watched.look_at_memory(say);
            let now = Instant::now();
            match killed_at {
                None if now >= end || inner.stopping.load(Ordering::SeqCst) => {
                    say("Stopping all processes with SIGTERM");
                    watched.process.signal(Signal::SIGTERM);
                    killed_at = Some(now + inner.options.stop_time);
                }
                Some(last) if now >= last => watched.process.kill(),
                _ => {}
            }
        }
        lines.finish(&mut each);
        let _ = reader.join();
        let code = loop {
            let both = |text: &str| {
                say(text);
                line(text);
            };
            if let Some(code) = watched.ended(both) {
                break code;
            }
            thread::sleep(Duration::from_millis(5));
        };
        say(&format!("Process exited with status {code}"));
        say("State changed from up to complete");
        Ok(code)
    }
}
