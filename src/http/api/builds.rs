//! Builds, their sources, and slugs.

use anyhow::Result;
use serde_json::Value;

use super::{ApiError, Call, buildpacks};
use crate::platform::api_build::{BuildRequest, From};
use crate::platform::ledger::{Build, LedgerError};
use crate::platform::resources;

impl Call<'_> {
    pub(super) fn show_build(&self, build: &Build) -> Value {
        let output = self.link("GET", &format!("/builds/{}/output", build.id));
        resources::build(&self.site(), build, &output)
    }

    /// A build with what it has asked of the network, which a list leaves out.
    pub(super) fn one_build(&self, app: &str, build: &str) -> Result<Value> {
        let build = self.build(app, build)?;
        let mut shown = self.show_build(&build);
        let contacts = self.server.platform.ledger.contacts(&build.id)?;
        shown["network"] = serde_json::to_value(contacts)?;
        Ok(shown)
    }

    pub(super) fn builds(&self, app: &str) -> Result<Value> {
        let builds = self.server.platform.ledger.builds(&self.app(app)?.id)?;
        Ok(builds.iter().map(|build| self.show_build(build)).collect())
    }

    pub(super) fn build(&self, app: &str, id: &str) -> Result<Build> {
        let app = self.app(app)?;
        let build = self.server.platform.ledger.build(id)?;
        if build.app_id != app.id {
            return Err(LedgerError::NotFound {
                what: "build",
                name: id.to_owned(),
            }
            .into());
        }
        Ok(build)
    }

    /// The source behind a link of ours, whatever the name under which the caller reaches us.
    pub(super) fn own_source(&self, url: &str) -> Option<From> {
        let (_, rest) = url.split_once("://")?;
        let (path, query) = rest[rest.find('/')?..].split_once('?')?;
        let id = path.strip_prefix("/sources/")?;
        let known = self.server.platform.ledger.source(id).is_ok();
        (known && self.server.signer.allows("GET", path, query))
            .then(|| From::Source(id.to_owned()))
    }

    pub(super) fn create_build(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let source = &self.body["source_blob"];
        let text = |field: &str| source[field].as_str().map(str::to_owned);
        let url = text("url").ok_or(ApiError::Field {
            field: "source_blob.url",
            expected: "a URL",
        })?;
        let request = BuildRequest {
            from: self.own_source(&url).unwrap_or(From::Url(url)),
            checksum: text("checksum"),
            version: text("version"),
            buildpacks: buildpacks(&self.body["buildpacks"], "buildpacks")?,
        };
        let build = self
            .server
            .platform
            .start_build(&app, request, &self.token.name)?;
        Ok(self.show_build(&build))
    }

    pub(super) fn cancel_build(&self, app: &str, id: &str) -> Result<Value> {
        let build = self.build(app, id)?;
        let build = self.server.platform.ledger.cancel_build(&build.id)?;
        self.server.platform.cancel_build(&build.id);
        Ok(self.show_build(&build))
    }

    pub(super) fn slug(&self, app: &str, id: &str) -> Result<Value> {
        let app = self.app(app)?;
        let slug = self.server.platform.ledger.slug(id)?;
        if slug.app_id != app.id {
            return Err(LedgerError::NotFound {
                what: "slug",
                name: id.to_owned(),
            }
            .into());
        }
        let url = self.link("GET", &format!("/blobs/{}", slug.record.digest));
        Ok(resources::slug(&slug, &url))
    }

    pub(super) fn create_source(&self) -> Result<Value> {
        let source = self.server.platform.ledger.create_source()?;
        let path = format!("/sources/{}", source.id);
        Ok(resources::source(
            &self.link("GET", &path),
            &self.link("PUT", &path),
        ))
    }
}
