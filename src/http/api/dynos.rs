//! Formations and dynos. Source: the Platform API's schema, and what its clients send besides.

use anyhow::Result;
use serde_json::{Value, json};

use super::{ApiError, Call};
use crate::platform::ledger::App;
use crate::platform::resources;
use crate::platform::running::Quantity;

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
            vec![(kind.to_owned(), quantity(&self.body)?)]
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
                Ok((kind.to_owned(), quantity(update)?))
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
        Ok(rows.iter().map(|row| resources::dyno(&app, row)).collect())
    }

    /// One dyno by its name or id.
    pub(super) fn dyno(&self, app: &str, name: &str) -> Result<Option<Value>> {
        let app = self.app(app)?;
        let rows = self.server.platform.dynos_of(&app);
        let found = rows.iter().find(|row| row.name == name || row.id == name);
        Ok(found.map(|row| resources::dyno(&app, row)))
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
