//! Formations and dynos. Source: the Platform API's schema, and what its clients send besides.

use anyhow::Result;
use serde_json::{Value, json};

use super::{ApiError, Call};
use std::time::Duration;

use crate::platform::ledger::App;
use crate::platform::one_offs::Command;
use crate::platform::resources;
use crate::platform::running::{Change, Quantity};

impl Call<'_> {
    pub(super) fn formation(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let rows = self.server.platform.formation(&app)?;
        Ok(rows
            .iter()
            .map(|row| resources::formation(&app, row))
            .collect())
    }

    /// One type, or with `updates` several at once.
    pub(super) fn scale(&self, app: &str, kind: Option<&str>) -> Result<Value> {
        let app = self.app(app)?;
        let wanted = if let Some(kind) = kind {
            vec![(kind.to_owned(), change(&self.body)?)]
        } else {
            let field = ApiError::Field {
                field: "updates",
                expected: "a list",
            };
            let updates = self.body["updates"].as_array().ok_or(field)?;
            let one = |update: &Value| -> Result<_, ApiError> {
                let kind = update["type"].as_str().ok_or(ApiError::Field {
                    field: "type",
                    expected: "a process type",
                })?;
                Ok((kind.to_owned(), change(update)?))
            };
            updates.iter().map(one).collect::<Result<Vec<_>, _>>()?
        };
        let platform = &self.server.platform;
        platform.scale(&app, &wanted, &self.token.name)?;
        let rows = platform.formation(&app)?;
        let mut changed = rows
            .iter()
            .filter(|row| wanted.iter().any(|(kind, _)| *kind == row.kind))
            .map(|row| resources::formation(&app, row))
            .collect::<Vec<_>>();
        Ok(match kind {
            Some(_) => changed.pop().unwrap_or_default(),
            None => Value::from(changed),
        })
    }

    pub(super) fn dynos(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let rows = self.server.platform.dynos_of(&app);
        let shown = rows.iter().map(|row| resources::dyno(&app, row, None));
        Ok(shown.collect())
    }

    /// A one-off dyno; one with `attach` waits for its client.
    pub(super) fn run_dyno(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let wrong = |field, expected| ApiError::Field { field, expected };
        let command = self.text("command")?.filter(|text| !text.trim().is_empty());
        let line = command.ok_or(wrong("command", "a command"))?.to_owned();
        let switch = |field| match &self.body[field] {
            Value::Null => Ok(false),
            value => value.as_bool().ok_or(wrong(field, "true or false")),
        };
        let env = match &self.body["env"] {
            Value::Null => Vec::new(),
            Value::Object(env) => {
                let texts = env.iter().map(|(name, value)| match value {
                    Value::String(text) => Ok((name.clone(), text.clone())),
                    Value::Number(number) => Ok((name.clone(), number.to_string())),
                    _ => Err(wrong("env", "an object of texts")),
                });
                texts.collect::<Result<Vec<_>, _>>()?
            }
            _ => return Err(wrong("env", "an object of texts").into()),
        };
        // Clients tell of their terminal like this.
        let of_terminal = |name: &str, default| {
            let found = env.iter().find(|(key, _)| key == name);
            let number = found.and_then(|(_, value)| value.parse::<u16>().ok());
            number.filter(|number| *number > 0).unwrap_or(default)
        };
        let terminal = (of_terminal("COLUMNS", 80), of_terminal("LINES", 24));
        let terminal = (!switch("force_no_tty")?).then_some(terminal);
        let longest = match &self.body["time_to_live"] {
            Value::Null => None,
            value => {
                let seconds = value.as_u64().filter(|seconds| *seconds > 0);
                let seconds = seconds.ok_or(wrong("time_to_live", "a number of seconds"))?;
                Some(Duration::from_secs(seconds))
            }
        };
        let command = Command {
            line,
            env,
            size: self.text("size")?.map(str::to_owned),
            attach: switch("attach")?.then_some(terminal),
            longest,
        };
        let platform = &self.server.platform;
        let started = platform.run_one_off(&app, command, &self.token.name)?;
        let attach_url = started.secret().map(|secret| self.rendezvous(secret));
        Ok(resources::dyno(&app, &started.row(), attach_url.as_deref()))
    }

    /// Where the client of a dyno comes to: our own port, whatever else is spoken there.
    fn rendezvous(&self, secret: &str) -> String {
        let (scheme, host) = self.url.split_once("://").unwrap_or(("http", &self.url));
        let host = host.split('/').next().unwrap_or_default();
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = match scheme {
            _ if has_port => "",
            "https" => ":443",
            _ => ":80",
        };
        format!("rendezvous://{host}{port}/{secret}")
    }

    /// One dyno by its name or id.
    pub(super) fn dyno(&self, app: &str, name: &str) -> Result<Option<Value>> {
        let app = self.app(app)?;
        let rows = self.server.platform.dynos_of(&app);
        let found = rows.iter().find(|row| row.name == name || row.id == name);
        Ok(found.map(|row| resources::dyno(&app, row, None)))
    }

    pub(super) fn restart(&self, app: &str, which: Option<&str>) -> Result<Value> {
        let app = self.app(app)?;
        let which = which.map(|which| self.name_of(&app, which));
        let platform = &self.server.platform;
        platform.restart(&app, which.as_deref(), &self.token.name)?;
        Ok(json!({}))
    }

    pub(super) fn stop(&self, app: &str, which: &str) -> Result<Value> {
        let app = self.app(app)?;
        let which = self.name_of(&app, which);
        let platform = &self.server.platform;
        platform.stop(&app, &which, &self.token.name)?;
        Ok(json!({}))
    }

    /// The name of a dyno that is named by its id; another name as it is.
    fn name_of(&self, app: &App, which: &str) -> String {
        let rows = self.server.platform.dynos_of(app);
        let found = rows.into_iter().find(|row| row.id == which);
        found.map_or_else(|| which.to_owned(), |row| row.name)
    }
}

/// A quantity, a size, or both. Clients name a size by `size`, or as `dyno_size` with its name.
fn change(update: &Value) -> Result<Change, ApiError> {
    let named = |value: &Value| value.as_str().or(value["name"].as_str()).map(str::to_owned);
    let size = named(&update["size"]).or_else(|| named(&update["dyno_size"]));
    let quantity = match &update["quantity"] {
        Value::Null if size.is_some() => None,
        _ => Some(quantity(update)?),
    };
    Ok(Change { quantity, size })
}

/// `2`, `"2"`, `"+1"`, `"-1"`.
fn quantity(update: &Value) -> Result<Quantity, ApiError> {
    let text = match &update["quantity"] {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    };
    // A number's own sign would be a second one.
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let bare = text.strip_prefix(['+', '-']).unwrap_or(&text);
    if !is_plain(bare) {
        return Err(WRONG);
    }
    let parsed = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(more), _) => more.parse().map(Quantity::More),
        (_, Some(fewer)) => fewer.parse().map(Quantity::Fewer),
        _ => text.parse().map(Quantity::Exactly),
    };
    parsed.map_err(|_| WRONG)
}

const WRONG: ApiError = ApiError::Field {
    field: "quantity",
    expected: "a number such as 2, +1 or -1",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_can_stand_alone() {
        let both = change(&json!({ "quantity": "2", "size": "Standard-2X" })).unwrap();
        assert_eq!(both.quantity, Some(Quantity::Exactly(2)));
        assert_eq!(both.size.as_deref(), Some("Standard-2X"));
        for update in [
            json!({ "size": "x" }),
            json!({ "dyno_size": "x" }),
            json!({ "dyno_size": { "name": "x" } }),
        ] {
            let size = Some("x".to_owned());
            let quantity = None;
            assert_eq!(change(&update).ok(), Some(Change { quantity, size }));
        }
        assert!(change(&json!({})).is_err());
    }

    #[test]
    fn quantities_are_numbers_or_texts() {
        let of = |value: Value| quantity(&json!({ "quantity": value })).ok();
        assert_eq!(of(json!(2)), Some(Quantity::Exactly(2)));
        assert_eq!(of(json!("2")), Some(Quantity::Exactly(2)));
        assert_eq!(of(json!("+1")), Some(Quantity::More(1)));
        assert_eq!(of(json!("-3")), Some(Quantity::Fewer(3)));
        assert_eq!(of(json!(-3)), Some(Quantity::Fewer(3)));
        for bad in [json!(null), json!("x"), json!(1.5), json!("++1"), json!("")] {
            assert_eq!(of(bad.clone()), None, "{bad}");
        }
    }
}
