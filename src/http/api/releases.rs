//! Releases.

use anyhow::Result;
use serde_json::Value;

use super::{ApiError, Call};
use crate::platform::ledger::{App, ReleaseRow};
use crate::platform::resources;
use crate::release::Version;

impl Call<'_> {
    pub(super) fn releases(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let releases = self.server.platform.ledger.releases(&app.id)?;
        Ok(releases
            .iter()
            .map(|release| self.show_release(&app, release))
            .collect())
    }

    pub(super) fn release(&self, app: &str, release: &str) -> Result<Value> {
        let app = self.app(app)?;
        let release = self.find_release(&app, release)?;
        Ok(self.show_release(&app, &release))
    }

    /// With where its release command's output is, if it has one.
    pub(super) fn show_release(&self, app: &App, release: &ReleaseRow) -> Value {
        let id = &release.id;
        let has_output = release.owes_phase || self.server.platform.logs.has(id);
        let output = has_output.then(|| self.link("GET", &format!("/releases/{id}/output")));
        resources::release(app, release, output.as_deref())
    }

    pub(super) fn find_release(&self, app: &App, reference: &str) -> Result<ReleaseRow> {
        let ledger = &self.server.platform.ledger;
        Ok(match reference {
            "current" => ledger.current_release(&app.id)?,
            reference => ledger.release(&app.id, reference)?,
        })
    }

    pub(super) fn release_config(&self, app: &str, release: &str) -> Result<Value> {
        let app = self.app(app)?;
        let release = self.find_release(&app, release)?;
        Ok(resources::config_vars(&release.config))
    }

    /// `{release}` rolls back to a release, `{slug}` releases a slug.
    pub(super) fn create_release(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let ledger = &self.server.platform.ledger;
        let release = match (self.text("release")?, self.text("slug")?) {
            (Some(reference), None) => {
                let Version(number) = ledger.release(&app.id, reference)?.version;
                ledger.rollback(&app.id, Version(number), &self.token.name)?
            }
            (None, Some(slug)) => {
                let description = self.text("description")?.unwrap_or("Deploy of a slug");
                ledger.release_slug(&app.id, slug, description, &self.token.name)?
            }
            _ => return Err(ApiError::ReleaseOf.into()),
        };
        self.server.platform.run_release(&app, &release);
        Ok(self.show_release(&app, &release))
    }
}
