//! Cleaning up, and what is kept from it. Our own: Heroku has no such thing.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::{ApiError, Call};
use crate::digest::Digest;
use crate::platform::resources;
use crate::platform::upkeep;
use crate::store;

impl Call<'_> {
    pub(super) fn collect(&self) -> Result<Value> {
        let field = |field, expected| ApiError::Field { field, expected };
        let grace = match &self.body["grace_seconds"] {
            Value::Null => upkeep::GRACE,
            value => {
                let seconds = value.as_u64();
                Duration::from_secs(seconds.ok_or(field("grace_seconds", "a number of seconds"))?)
            }
        };
        let dry_run = match &self.body["dry_run"] {
            Value::Null => false,
            value => value.as_bool().ok_or(field("dry_run", "true or false"))?,
        };
        let collected = self.server.platform.collect(grace, dry_run)?;
        Ok(resources::collected(&collected))
    }

    pub(super) fn pins(&self) -> Result<Value> {
        let pins = self.server.platform.store.pins()?;
        let mut pins = pins.iter().map(ToString::to_string).collect::<Vec<_>>();
        pins.sort_unstable();
        Ok(json!(pins))
    }

    pub(super) fn pin(&self, digest: &str) -> Result<Value> {
        let digest = digest_of(digest)?;
        self.server.platform.pin_blob(&digest)?;
        Ok(json!({ "digest": digest }))
    }

    pub(super) fn unpin(&self, digest: &str) -> Result<Value> {
        let digest = digest_of(digest)?;
        if self.server.platform.unpin_blob(&digest)? {
            return Ok(json!({ "digest": digest }));
        }
        Err(store::Error::NotFound { digest }.into())
    }
}

fn digest_of(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|_| ApiError::Field {
        field: "digest",
        expected: "sha256: and 64 hex digits",
    })
}
