//! The start of a server: rolls forward what the last one recorded and did not complete, and
//! sweeps what it left.

use std::fs;

use anyhow::{Context, Result};
use gix::ObjectId;

use super::Platform;
use super::ledger::{Intent, RefCommand};
use crate::compile::cache;
use crate::fault::Step;
use crate::output::{Blame, Failure};
use crate::receive::{self, Command, Quarantine};
use crate::sandbox::remove_tree;

/// Uploaded sources are kept for a day.
const SOURCE_HOURS: i64 = 24;

impl Platform {
    /// Forward only: a recorded release gets its objects and refs; everything else is swept.
    pub(super) fn recover(&self) -> Result<()> {
        for intent in self.ledger.open_intents()? {
            self.complete_or_log(&intent);
        }
        let owed = self.ledger.open_intents()?;
        let keep = owed
            .iter()
            .map(|intent| intent.quarantine.as_str())
            .collect::<Vec<_>>();
        for app in self.ledger.apps()? {
            if let Err(error) = cache::sweep(&self.data.cache(&app.id)) {
                tracing::warn!(app = %app.name, %error, "a half-saved cache stays behind");
            }
            let repository = self.data.repository(&app.id);
            if repository.is_dir()
                && let Err(error) = receive::sweep(&repository, &keep)
            {
                tracing::warn!(app = %app.name, %error, "a repository could not be swept");
            }
        }
        for app in self.ledger.fail_owed_phases()? {
            self.say(
                &app,
                "Release command cut by the server's end: the release has failed",
            );
        }
        let stopped = Failure {
            id: "server_stopped".to_owned(),
            blame: Blame::Platform,
            summary: "The server stopped during the build.".to_owned(),
            found: Vec::new(),
            remedy: vec!["Push again.".to_owned()],
        };
        for build in self.ledger.fail_pending_builds(&stopped)? {
            tracing::info!(
                build = build.id,
                "marked a build as failed that the last server left"
            );
        }
        let scratch = fs::read_dir(self.data.scratch()).context("reading the scratch directory")?;
        let dynos = fs::read_dir(self.data.dynos()).context("reading the dynos' directory")?;
        for entry in scratch.chain(dynos) {
            let path = entry?.path();
            if let Err(error) = remove_tree(&path) {
                tracing::warn!(path = %path.display(), %error, "a build's directory stays behind");
            }
        }
        self.stacks.sweep()?;
        // No build is under way yet, so what no slug names is what a dead one has left.
        let removed = self.remove_unless_named(&self.store.digests()?)?;
        if removed > 0 {
            tracing::info!(blobs = removed, "removed blobs that no slug names");
        }
        self.sweep_sources()
    }

    /// Completes what the pushes to an app still owe; to be called under the app's turn.
    pub(super) fn complete_owed(&self, app_id: &str) -> Result<()> {
        let owed = self.ledger.open_intents()?;
        for intent in owed.iter().filter(|intent| intent.app_id == app_id) {
            self.complete_or_log(intent);
        }
        Ok(())
    }

    /// One app's repository that cannot be used must not keep the others from being served; its
    /// release stays pending, and the app's next push tries again.
    fn complete_or_log(&self, intent: &Intent) {
        let (app, release) = (&intent.app_id, &intent.release_id);
        match self.complete(intent) {
            Ok(()) => tracing::info!(app, ?release, "completed a push"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(app, ?release, error, "a push could not be completed");
            }
        }
    }

    fn complete(&self, intent: &Intent) -> Result<()> {
        let (repository, faults) = (self.data.repository(&intent.app_id), self.options.faults);
        if let Some(quarantine) = Quarantine::adopt(&repository, &intent.quarantine) {
            quarantine.with_faults(faults).promote()?;
        }
        let commands = intent
            .commands
            .iter()
            .map(command)
            .collect::<Result<Vec<_>>>()?;
        match receive::apply(&repository, &commands, faults) {
            // A later push has moved the branch on: this one has nothing left to do.
            Err(receive::Error::Stale { name }) => {
                tracing::info!(
                    release = ?intent.release_id,
                    name,
                    "a later push has moved the ref"
                );
            }
            done => done?,
        }
        self.ledger.close_intent(&intent.id)?;
        faults.reach(Step::Closed);
        Ok(())
    }

    fn sweep_sources(&self) -> Result<()> {
        let oldest = super::clock::now() - jiff::SignedDuration::from_hours(SOURCE_HOURS);
        for source in self.ledger.sources()? {
            if source.created_at < oldest {
                // Perhaps it was never uploaded.
                let _ = fs::remove_file(self.data.source(&source.id));
                self.ledger.delete_source(&source.id)?;
            }
        }
        let known = self.ledger.sources()?;
        let files = fs::read_dir(self.data.sources()).context("reading the sources")?;
        for path in files.flatten().map(|entry| entry.path()) {
            if !known
                .iter()
                .any(|source| self.data.source(&source.id) == path)
            {
                // An upload that was cut.
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

fn command(recorded: &RefCommand) -> Result<Command> {
    let id = |hex: &str| -> Result<Option<ObjectId>> {
        let id = ObjectId::from_hex(hex.as_bytes())
            .with_context(|| format!("reading the object id {hex}"))?;
        Ok((!id.is_null()).then_some(id))
    };
    Ok(Command {
        name: recorded.name.clone(),
        old: id(&recorded.old)?,
        new: id(&recorded.new)?,
    })
}
