//! The start of a server: rolls forward what the last one recorded and did not complete, and
//! sweeps what it left.

use std::fs;

use anyhow::{Context, Result};
use gix::ObjectId;

use super::Platform;
use super::ledger::{Intent, RefCommand};
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
            self.complete(&intent)
                .with_context(|| format!("completing the release of intent {}", intent.id))?;
            tracing::info!(
                app = intent.app_id,
                release = intent.release_id,
                "completed a release"
            );
        }
        for app in self.ledger.apps()? {
            let repository = self.data.repository(&app.id);
            if repository.is_dir() {
                receive::sweep(&repository, &[])?;
            }
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
        for entry in fs::read_dir(self.data.scratch()).context("reading the scratch directory")? {
            let path = entry?.path();
            remove_tree(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        self.sweep_sources()
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
        receive::apply(&repository, &commands, faults)?;
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
