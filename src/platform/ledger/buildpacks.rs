//! An app's ordered list of buildpacks; an empty one means that the built-in ones are asked.

use rusqlite::Connection;

use super::error::LedgerError;
use super::{Ledger, apps, sql};
use crate::buildpack::{BuildpackError, Reference};
use crate::platform::clock;

impl Ledger {
    /// The app's buildpacks, in their order.
    ///
    /// # Errors
    /// The caller's fault: there is no such app. The platform's: one of them is none any more.
    pub fn buildpacks(&self, app: &str) -> Result<Vec<Reference>, LedgerError> {
        self.read(|c| list(c, &apps::find(c, app)?.id))
    }

    /// Puts a list in the place of the one before.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn set_buildpacks(&self, app: &str, references: &[Reference]) -> Result<(), LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app)?;
            sql::delete_buildpacks(c, &app.id)?;
            insert(c, &app.id, references)
        })
    }

    /// Gives the app these buildpacks if it has none: what detection has found stays. Says whether
    /// it did.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn pin_buildpacks(&self, app: &str, found: &[Reference]) -> Result<bool, LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app)?;
            if !sql::buildpacks(c, &app.id)?.is_empty() {
                return Ok(false);
            }
            insert(c, &app.id, found)?;
            Ok(true)
        })
    }
}

fn list(c: &Connection, app_id: &str) -> Result<Vec<Reference>, LedgerError> {
    let texts = sql::buildpacks(c, app_id)?;
    let read = |text: &String| Reference::of_app(text);
    Ok(texts
        .iter()
        .map(read)
        .collect::<Result<_, BuildpackError>>()?)
}

fn insert(c: &Connection, app_id: &str, references: &[Reference]) -> Result<(), LedgerError> {
    for (ordinal, reference) in references.iter().enumerate() {
        sql::insert_buildpack(c, app_id, ordinal, &reference.to_string())?;
    }
    sql::touch_app(c, app_id, clock::now())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{app, ledger};
    use super::*;

    fn references(texts: &[&str]) -> Vec<Reference> {
        Reference::list_of_app(texts.iter().copied()).unwrap()
    }

    #[test]
    fn a_list_keeps_its_order_and_is_replaced_whole() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        assert_eq!(ledger.buildpacks("demo").unwrap(), []);
        let first = references(&[
            "https://example.com/b#v1",
            "inline",
            "https://example.com/a.tgz",
        ]);
        ledger.set_buildpacks(&demo.id, &first).unwrap();
        assert_eq!(ledger.buildpacks("demo").unwrap(), first);
        ledger.set_buildpacks(&demo.id, &first[1..2]).unwrap();
        assert_eq!(ledger.buildpacks("demo").unwrap(), first[1..2]);
        ledger.set_buildpacks(&demo.id, &[]).unwrap();
        assert_eq!(ledger.buildpacks("demo").unwrap(), []);
        assert!(ledger.set_buildpacks("none", &[]).is_err());
    }

    #[test]
    fn what_detection_found_is_pinned_once() {
        let ledger = ledger();
        app(&ledger, "demo");
        let (found, other) = (
            references(&["inline"]),
            references(&["https://example.com/b"]),
        );
        assert!(ledger.pin_buildpacks("demo", &found).unwrap());
        assert!(!ledger.pin_buildpacks("demo", &other).unwrap());
        assert_eq!(ledger.buildpacks("demo").unwrap(), found);
        ledger.destroy_app("demo").unwrap();
        app(&ledger, "demo");
        assert_eq!(ledger.buildpacks("demo").unwrap(), []);
    }
}
