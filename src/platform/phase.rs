//! The release phase: the `release` command runs before a release does, with its slug and its config
//! vars. If it fails, the release has failed and the one before goes on.
//!
//! Source: facts on Heroku's runtime, §3.3.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Platform;
use super::dynos::Once;
use super::ledger::{App, ReleaseRow};
use crate::output::Output;
use crate::release::Status;

/// Longest time of a release command. Source: Heroku's limit.
const LONGEST: Duration = Duration::from_secs(3600);

impl Platform {
    /// Runs a release that no build has made: of other config vars, or of an earlier slug. Nobody
    /// waits for it.
    pub fn run_release(self: &Arc<Self>, app: &App, release: &ReleaseRow) {
        self.tell_release(app, release);
        if !release.owes_phase {
            return self.roll_out_or_log(app);
        }
        let (platform, app, release) = (self.clone(), app.clone(), release.clone());
        thread::spawn(move || {
            if platform.pass_phase(&app, &release, &mut |_| {}) {
                platform.roll_out_or_log(&app);
            }
        });
    }

    /// Runs the release command for a pusher. Says whether it has succeeded.
    ///
    /// # Errors
    /// Nobody reads any more; the command has run to its end all the same.
    pub(super) fn show_phase(
        &self,
        app: &App,
        release: &ReleaseRow,
        out: &mut Output<'_>,
    ) -> io::Result<bool> {
        let mut heard = out.line("Running release command....");
        let passed = self.pass_phase(app, release, &mut |line| {
            if heard.is_ok() {
                heard = out.line(line);
            }
        });
        heard?;
        if passed {
            out.line("Waiting for release.... done.")?;
        } else {
            out.line("Waiting for release.... failed.")?;
            out.problem("")?;
            out.problem(&format!(
                "The release command of {} failed. Its slug is kept, and what ran before",
                release.version
            ))?;
            out.problem("goes on. Mend it and push again.")?;
        }
        Ok(passed)
    }

    /// Runs the release command and records how it went.
    fn pass_phase(&self, app: &App, release: &ReleaseRow, line: &mut dyn FnMut(&str)) -> bool {
        let mut nobody = io::sink();
        let mut log = self.logs.start(&release.id, &mut nobody).ok();
        let mut both = |text: &str| {
            if let Some(log) = &mut log {
                // Who reads the release later has less to read.
                let _ = writeln!(log, "{text}");
            }
            line(text);
        };
        let passed = self
            .run_phase(app, release, &mut both)
            .unwrap_or_else(|error| {
                let error = format!("{error:#}");
                tracing::error!(app = %app.name, error, "a release command could not be run");
                both(&error);
                false
            });
        let status = if passed {
            Status::Succeeded
        } else {
            Status::Failed
        };
        let what = if passed { "succeeded" } else { "failed" };
        self.say(
            &app.id,
            &format!("Release {} command {what}", release.version),
        );
        match self.ledger.finish_phase(&release.id, status) {
            Ok(()) => passed,
            Err(error) => {
                tracing::error!(app = %app.name, %error, "a release's end is not recorded");
                false
            }
        }
    }

    fn run_phase(
        &self,
        app: &App,
        release: &ReleaseRow,
        line: &mut dyn FnMut(&str),
    ) -> Result<bool> {
        let target = self.target_of(app, release)?;
        let target = target.context("the release has no slug")?;
        let command = target.types.get("release");
        let command = command.context("the release has no release command")?;
        let mut bytes = [0; 2];
        getrandom::fill(&mut bytes).context("taking random bytes")?;
        let number = 1000 + u16::from_ne_bytes(bytes) % 9000;
        let once = Once {
            name: &format!("release.{number}"),
            command,
            longest: LONGEST,
        };
        Ok(self.dynos.run_once(&target, &once, line)? == 0)
    }
}
