//! Drains of logs. Source: the Platform API's schema; clients name one by its URL, too.

use anyhow::Result;
use serde_json::Value;

use super::{ApiError, Call};
use crate::platform::resources;

impl Call<'_> {
    pub(super) fn drains(&self, app: &str) -> Result<Value> {
        let all = self.server.platform.drains_of(&self.app(app)?)?;
        Ok(all.iter().map(resources::drain).collect())
    }

    pub(super) fn add_drain(&self, app: &str) -> Result<Value> {
        let url = self.text("url")?.ok_or(ApiError::Field {
            field: "url",
            expected: "a URL",
        })?;
        let app = self.app(app)?;
        let drain = self.server.platform.add_drain(&app, url)?;
        Ok(resources::drain(&drain))
    }

    pub(super) fn drain(&self, app: &str, named: &str) -> Result<Value> {
        let app = self.app(app)?;
        let drain = self.server.platform.ledger.drain(&app.id, named)?;
        Ok(resources::drain(&drain))
    }

    pub(super) fn remove_drain(&self, app: &str, named: &str) -> Result<Value> {
        let app = self.app(app)?;
        let drain = self.server.platform.remove_drain(&app, named)?;
        Ok(resources::drain(&drain))
    }
}
