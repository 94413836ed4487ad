//! Log sessions.

use anyhow::Result;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Call;
use crate::platform::resources;

impl Call<'_> {
    /// The stream's address says what is wanted of it. Clients name a dyno in two ways.
    pub(super) fn create_log_session(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let mut url = self.link("GET", &format!("/logs/{}", app.id));
        if let Some(lines) = self.body["lines"].as_u64() {
            url = format!("{url}&lines={lines}");
        }
        if self.body["tail"].as_bool() == Some(true) {
            url += "&tail=true";
        }
        let dyno = match self.text("dyno")? {
            Some(dyno) => Some(dyno),
            None => self.text("dyno_name")?,
        };
        for (name, value) in [("dyno", dyno), ("source", self.text("source")?)] {
            if let Some(value) = value {
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                url = format!("{url}&{name}={value}");
            }
        }
        Ok(resources::log_session(&url))
    }
}
