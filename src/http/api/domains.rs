//! Domains. Source: the Platform API's schema.

use anyhow::Result;
use serde_json::Value;

use super::{ApiError, Call};
use crate::domain::DomainName;
use crate::platform::ledger::LedgerError;
use crate::platform::resources;

impl Call<'_> {
    /// The app's own name first, as Heroku has it.
    pub(super) fn domains(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let platform = &self.server.platform;
        let host = platform.host_of(&app);
        let mut all = vec![resources::own_domain(&app, &host)];
        for domain in platform.domains_of(&app)? {
            all.push(resources::domain(&app, &domain, &host));
        }
        Ok(all.into())
    }

    pub(super) fn add_domain(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let missing = ApiError::Field {
            field: "hostname",
            expected: "a host name",
        };
        if !self.body["sni_endpoint"].is_null() {
            return Err(ApiError::Field {
                field: "sni_endpoint",
                expected: "null: certificates are the operator's",
            }
            .into());
        }
        let name = self
            .text("hostname")?
            .ok_or(missing)?
            .parse::<DomainName>()?;
        let platform = &self.server.platform;
        let scope = &self.token.scope;
        let sees = |app_id: &str| scope.sees(app_id);
        let domain = platform.add_domain(&app, &name, sees, &self.token.name)?;
        Ok(resources::domain(&app, &domain, &platform.host_of(&app)))
    }

    /// One by its name or id.
    pub(super) fn domain(&self, app: &str, name_or_id: &str) -> Result<Value> {
        let all = self.domains(app)?;
        let is_it = |one: &&Value| one["id"] == name_or_id || one["hostname"] == name_or_id;
        let found = all.as_array().into_iter().flatten().find(is_it);
        let found = found.ok_or_else(|| LedgerError::NotFound {
            what: "domain",
            name: name_or_id.to_owned(),
        })?;
        Ok(found.clone())
    }

    pub(super) fn remove_domain(&self, app: &str, name_or_id: &str) -> Result<Value> {
        let app = self.app(app)?;
        let platform = &self.server.platform;
        let domain = platform.remove_domain(&app, name_or_id, &self.token.name)?;
        Ok(resources::domain(&app, &domain, &platform.host_of(&app)))
    }
}
