//! Tokens, which the API calls authorizations.

use anyhow::Result;
use serde_json::Value;

use super::{ApiError, Call};
use crate::platform::ledger::Scope;
use crate::platform::resources;

impl Call<'_> {
    pub(super) fn tokens(&self) -> Result<Value> {
        let tokens = self.server.platform.ledger.tokens()?;
        // A revoked one is kept for the record only.
        let live = tokens.iter().filter(|token| token.revoked_at.is_none());
        Ok(live
            .map(|token| resources::authorization(&self.site(), token, None))
            .collect())
    }

    pub(super) fn create_token(&self) -> Result<Value> {
        let name = self.text("description")?.unwrap_or("token");
        let scope = self.scope()?;
        let ledger = &self.server.platform.ledger;
        let (token, secret) = ledger.create_token_for(name, scope)?;
        Ok(resources::authorization(
            &self.site(),
            &token,
            Some(&secret),
        ))
    }

    /// `scope` in Heroku's words, and our own `apps`: names or ids.
    pub(super) fn scope(&self) -> Result<Scope> {
        const WORDS: &str = "a list of one of global, write and read";
        let wrong = |field, expected| ApiError::Field { field, expected };
        let texts = |field, expected| match &self.body[field] {
            Value::Null => Ok(None),
            Value::Array(texts) => {
                let texts = texts.iter().map(Value::as_str);
                let texts = texts.collect::<Option<Vec<_>>>();
                texts.map(Some).ok_or(wrong(field, expected))
            }
            _ => Err(wrong(field, expected)),
        };
        let read_only = match texts("scope", WORDS)?.as_deref() {
            None | Some(["global" | "write"] | []) => false,
            Some(["read"]) => true,
            Some(_) => return Err(wrong("scope", WORDS).into()),
        };
        let apps = texts("apps", "a list of apps")?;
        let ids = apps.map(|apps| {
            let id = |app: &str| Ok(self.app(app)?.id);
            apps.into_iter().map(id).collect::<Result<Vec<_>>>()
        });
        let apps = ids.transpose()?;
        Ok(Scope { read_only, apps })
    }

    pub(super) fn revoke_token(&self, token: &str) -> Result<Value> {
        let token = self.server.platform.ledger.revoke_token(token)?;
        Ok(resources::authorization(&self.site(), &token, None))
    }
}
