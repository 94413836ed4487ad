//! Making and destroying apps, with all that belongs to them outside of the ledger.

use anyhow::{Context, Result};

use super::Platform;
use super::ledger::{App, LedgerError};
use crate::app::{AppName, ObjectFormat};
use crate::compile::cache;
use crate::receive;
use crate::sandbox::{Cancel, remove_tree};

impl Platform {
    /// Makes an app with an empty repository.
    ///
    /// # Errors
    /// The caller's: the name is taken. The platform's: the repository cannot be made.
    pub fn create_app(&self, name: &AppName, format: ObjectFormat, user: &str) -> Result<App> {
        let app = self.ledger.create_app_of(name, format, user)?;
        receive::init(&self.data.repository(&app.id), format.hash())
            .context("making the app's repository")?;
        // Its address is known from now on, though nothing answers yet.
        self.dynos.of(&app.id, app.name.as_str());
        tracing::info!(app = %app.name, id = app.id, "app created");
        Ok(app)
    }

    /// The app that a push goes to; with `create_on_push` an unknown name makes it.
    ///
    /// # Errors
    /// The caller's: there is no such app.
    pub fn app_for_push(&self, name: &AppName, user: &str) -> Result<App> {
        match self.ledger.app(name.as_str()) {
            Err(LedgerError::NotFound { .. }) if self.options.create_on_push => {
                self.create_app(name, ObjectFormat::default(), user)
            }
            found => Ok(found?),
        }
    }

    /// Empties the app's build cache, after a build under way.
    ///
    /// # Errors
    /// The platform's: it could not be removed.
    pub fn purge_cache(&self, app: &App) -> Result<()> {
        let _turn = self
            .apps
            .of(&app.id)
            .enter(&Cancel::default(), |_| Ok(()))?;
        let path = self.data.cache(&app.id);
        cache::purge(&path).with_context(|| format!("removing {}", path.display()))?;
        tracing::info!(app = %app.name, id = app.id, "build cache purged");
        Ok(())
    }

    /// Removes an app: its record, releases, repository, cache and logs, and the slugs that no
    /// other app has.
    ///
    /// # Errors
    /// The platform's: something could not be removed; the app is gone from the ledger all the same.
    pub fn destroy_app(&self, app: &App) -> Result<()> {
        let _turn = self
            .apps
            .of(&app.id)
            .enter(&Cancel::default(), |_| Ok(()))?;
        let builds = self.ledger.builds(&app.id)?;
        let releases = self.ledger.releases(&app.id)?;
        self.dynos.remove(&app.id);
        {
            // While a build is under way its slug may be stored and not yet recorded, under the
            // same digest as one of these: then they stay until the next start.
            let running = self.running();
            let turn = self.domains.lock();
            let unused = self.ledger.destroy_app(&app.id)?;
            // Again: a domain may have come meanwhile.
            self.dynos.routes().remove(&app.id);
            drop(turn);
            let blobs = unused.iter().flat_map(|slug| [slug.digest, slug.manifest]);
            if running.is_empty() {
                self.remove_unless_named(&blobs.collect::<Vec<_>>())?;
            }
        }
        let (repository, kept) = (self.data.repository(&app.id), self.data.cache(&app.id));
        remove_tree(&repository).with_context(|| format!("removing {}", repository.display()))?;
        cache::purge(&kept).with_context(|| format!("removing {}", kept.display()))?;
        for build in builds {
            self.logs.remove(&build.id);
        }
        for release in releases {
            self.logs.remove(&release.id);
        }
        self.streams.remove(&app.id);
        self.forget_unpacked();
        tracing::info!(app = %app.name, id = app.id, "app destroyed");
        Ok(())
    }
}
