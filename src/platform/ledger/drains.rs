//! Where the logs of apps go besides.

use super::error::LedgerError;
use super::rows::Drain;
use super::{Ledger, apps, new_id, sql};
use crate::platform::clock;

/// Drains of one app at most.
pub const MOST_DRAINS: usize = 10;

impl Ledger {
    /// Gives an app's log a drain. The URL has been checked.
    ///
    /// # Errors
    /// The caller's fault: no such app, it has that drain, or enough of them.
    pub fn add_drain(&self, app: &str, url: &str) -> Result<Drain, LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app)?;
            let all = sql::drains(c)?;
            let own = || all.iter().filter(|drain| drain.app_id == app.id);
            if own().any(|drain| drain.url == url) {
                return Err(LedgerError::Conflict {
                    what: "drain",
                    // It may hold a password.
                    name: "with this URL".to_owned(),
                });
            }
            if own().count() >= MOST_DRAINS {
                return Err(LedgerError::TooMany {
                    what: "drain",
                    limit: MOST_DRAINS,
                });
            }
            let drain = Drain {
                id: new_id(),
                app_id: app.id,
                url: url.to_owned(),
                token: format!("d.{}", new_id()),
                created_at: clock::now(),
            };
            sql::insert_drain(c, &drain)?;
            Ok(drain)
        })
    }

    /// The drains of all apps, in the order in which they were added.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn drains(&self) -> Result<Vec<Drain>, LedgerError> {
        self.read(|c| sql::drains(c))
    }

    /// A drain of an app, by its id, token or URL.
    ///
    /// # Errors
    /// The caller's fault: the app has no such drain.
    pub fn drain(&self, app: &str, named: &str) -> Result<Drain, LedgerError> {
        let all = self.drains()?;
        let found = all.into_iter().find(|drain| {
            drain.app_id == app
                && [&drain.id, &drain.token, &drain.url].contains(&&named.to_owned())
        });
        found.ok_or_else(|| LedgerError::NotFound {
            what: "drain",
            name: named.split('?').next().unwrap_or_default().to_owned(),
        })
    }

    /// Takes a drain from an app.
    ///
    /// # Errors
    /// The caller's fault: as [`Ledger::drain`].
    pub fn remove_drain(&self, app: &str, named: &str) -> Result<Drain, LedgerError> {
        let drain = self.drain(app, named)?;
        self.write(|c| sql::delete_drain(c, &drain.id))?;
        Ok(drain)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{app, ledger};
    use super::*;

    #[test]
    fn drains_belong_to_their_app() {
        let ledger = ledger();
        let (one, two) = (app(&ledger, "one"), app(&ledger, "two"));
        let url = "syslog://logs.example.com:514";
        let drain = ledger.add_drain("one", url).unwrap();
        assert!(drain.token.starts_with("d."));
        assert!(ledger.add_drain("one", url).is_err(), "twice");
        ledger.add_drain("two", url).unwrap();
        for named in [&drain.id, &drain.token, &drain.url] {
            assert_eq!(ledger.drain(&one.id, named).unwrap(), drain);
        }
        assert!(ledger.remove_drain(&two.id, &drain.id).is_err());
        ledger.remove_drain(&one.id, url).unwrap();
        for n in 0..MOST_DRAINS {
            ledger.add_drain("one", &format!("{url}{n}")).unwrap();
        }
        assert!(ledger.add_drain("one", "https://x").is_err(), "too many");
        ledger.destroy_app("one").unwrap();
        assert_eq!(ledger.drains().unwrap().len(), 1);
    }
}
