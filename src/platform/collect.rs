//! Upkeep: repositories are tidied after pushes, and cleaned up when somebody asks for it.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::ledger::App;
use super::{Platform, clock};
use crate::receive;
use crate::sandbox::{Cancel, remove_tree};
use crate::store;

/// What cleaning up has changed.
#[derive(Debug, Default)]
pub struct Collected {
    /// By app, in the order of their names.
    pub repositories: Vec<CollectedRepository>,
    pub blobs: store::Collected,
}

/// One app's repository, before and after.
#[derive(Debug)]
pub struct CollectedRepository {
    pub app: App,
    pub before: receive::Size,
    pub after: receive::Size,
}

impl Platform {
    /// Removes what nobody needs any more: of each app one pack of what its refs reach is left, and
    /// of the store what apps need, is pinned, or was put within the grace period. A dry run says
    /// which blobs would go and leaves repositories alone.
    ///
    /// An app waits for its pushes, and its pushes for it.
    ///
    /// # Errors
    /// The platform's: git failed, the store does not work, or the server stops.
    pub fn collect(&self, grace: Duration, dry_run: bool) -> Result<Collected> {
        // Before this counts as something that is under way.
        let blobs = self.collect_blobs(grace, dry_run)?;
        if dry_run {
            return Ok(Collected {
                blobs,
                ..Collected::default()
            });
        }
        self.collect_buildpacks(grace)?;
        let cancel = Cancel::default();
        let _under_way = self.under_way(&uuid::Uuid::new_v4().to_string(), &cancel);
        let mut collected = Collected {
            blobs,
            ..Collected::default()
        };
        for app in self.ledger.apps()? {
            let name = app.name.clone();
            let done = self.collect_repository(app, &cancel);
            let done = done.with_context(|| format!("cleaning up the repository of {name}"))?;
            collected.repositories.extend(done);
        }
        Ok(collected)
    }

    /// Removes fetched buildpacks that no current release was built with, and that were fetched
    /// before the grace period; none while a build is under way, which may be about to copy one.
    fn collect_buildpacks(&self, grace: Duration) -> Result<()> {
        let running = self.running();
        if !running.is_empty() {
            return Ok(());
        }
        let mut needed = HashSet::new();
        for app in self.ledger.apps()? {
            let slug = self.ledger.current_release(&app.id)?.slug_id;
            let Some(slug) = slug else { continue };
            let used = self.ledger.slug(&slug)?.record.buildpacks;
            needed.extend(used.into_iter().filter_map(|used| used.pinned));
        }
        let dir = self.data.buildpacks();
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let entry = entry.with_context(|| dir.display().to_string())?;
            // `git-COMMIT` and `tgz-DIGEST`; the references end with the same.
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = name.split_once('-').map_or("", |(_, id)| id);
            let old = entry.metadata().and_then(|meta| meta.modified());
            let old = old.is_ok_and(|time| {
                let age = clock::system_now().duration_since(time);
                age.is_ok_and(|age| age >= grace)
            });
            if old && !needed.iter().any(|reference| reference.ends_with(id)) {
                remove_tree(&entry.path()).with_context(|| format!("removing {name}"))?;
                tracing::info!(buildpack = name, "removed a fetched buildpack");
            }
        }
        Ok(())
    }

    fn collect_repository(&self, app: App, cancel: &Cancel) -> Result<Option<CollectedRepository>> {
        let _turn = self.apps.of(&app.id).enter(cancel, |_| Ok(()))?;
        let repository = self.data.repository(&app.id);
        if !repository.is_dir() {
            // It was destroyed in the meantime.
            return Ok(None);
        }
        self.complete_owed(&app.id)?;
        let owed = self.ledger.open_intents()?;
        let keep = owed.iter().map(|intent| intent.quarantine.as_str());
        let before = receive::size(&repository)?;
        receive::sweep(&repository, &keep.collect::<Vec<_>>())?;
        receive::collect(&self.options.git, &repository, cancel.flag())?;
        let after = receive::size(&repository)?;
        tracing::info!(app = %app.name, packs = before.packs, bytes = before.bytes, left_bytes = after.bytes, "cleaned up a repository");
        Ok(Some(CollectedRepository { app, before, after }))
    }

    /// Tidies a repository where many small pushes have left many packs; after a push, when its
    /// pusher has read the report.
    pub fn tidy(&self, app: &App) {
        let repository = self.data.repository(&app.id);
        if !matches!(receive::is_untidy(&repository), Ok(true)) {
            return;
        }
        let cancel = Cancel::default();
        let _under_way = self.under_way(&uuid::Uuid::new_v4().to_string(), &cancel);
        let Ok(_turn) = self.apps.of(&app.id).enter(&cancel, |_| Ok(())) else {
            return;
        };
        // Another push may have done it meanwhile.
        if !matches!(receive::is_untidy(&repository), Ok(true)) {
            return;
        }
        match receive::tidy(&self.options.git, &repository, cancel.flag()) {
            Ok(()) => tracing::info!(app = %app.name, "tidied a repository"),
            Err(error) => {
                let error = error.one_line();
                tracing::warn!(app = %app.name, error, "a repository could not be tidied");
            }
        }
    }
}
