//! Runs commands in one-off dynos: an app's current release, with its config vars.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::Platform;
use super::dynos::{Attach, OneOff, Request};
use super::ledger::{App, LedgerError};
use super::token::Secret;

/// Longest time of a one-off dyno. Source: Heroku's day.
pub const LONGEST: Duration = Duration::from_secs(86_400);

/// A command as a request wants it run.
#[derive(Debug, Default)]
pub struct Command {
    /// A shell's line, or the name of a process type.
    pub line: String,
    /// What it sees besides config vars, over them.
    pub env: Vec<(String, String)>,
    pub size: Option<String>,
    /// Whether a client comes, and the columns and lines of its terminal if it has one.
    pub attach: Option<Option<(u16, u16)>>,
    /// At most [`LONGEST`].
    pub longest: Option<Duration>,
}

impl Platform {
    /// Starts a one-off dyno.
    ///
    /// # Errors
    /// The caller's: nothing is deployed, a name in `env` or a size is none, or there are too many.
    pub fn run_one_off(&self, app: &App, command: Command, user: &str) -> Result<Arc<OneOff>> {
        let release = self.ledger.current_release(&app.id)?;
        let size = match &command.size {
            Some(name) => self.size(name)?,
            None => self.options.dynos.sizes.chosen(None),
        };
        let Some(target) = self.target_of(app, &release)? else {
            let version = release.version;
            return Err(LedgerError::NoSlug { version }.into());
        };
        let mut config = target.config.clone();
        for (name, value) in &command.env {
            config.set(name, value)?;
        }
        let of_type = target.types.get(command.line.trim()).cloned();
        let line = of_type.unwrap_or(command.line);
        let attach = match command.attach {
            Some(terminal) => Some(Attach {
                secret: Secret::generate()?,
                terminal,
            }),
            None => None,
        };
        let request = Request {
            command: line.clone(),
            config,
            size,
            attach,
            longest: command.longest.unwrap_or(LONGEST).min(LONGEST),
        };
        let dynos = self.dynos.of(&app.id, app.name.as_str());
        let started = dynos.run(Arc::new(target), request)?;
        self.say(
            &app.id,
            &format!("Starting process with command `{line}` by user {user}"),
        );
        Ok(started)
    }
}
