//! The custom domains of apps: each name belongs to one app alone.

use super::error::LedgerError;
use super::rows::Domain;
use super::{Ledger, apps, new_id, sql};
use crate::domain::DomainName;
use crate::platform::clock;

/// Custom domains of one app at most. Source: Heroku's documented limit.
pub const MOST_DOMAINS: usize = 1000;

impl Ledger {
    /// Gives an app a domain. A name that overlaps with another app's, by a wildcard of either, is
    /// given to those alone who see that app, too.
    ///
    /// # Errors
    /// The caller's fault: no such app, the name is taken, or the app has enough of them.
    pub fn add_domain(
        &self,
        app: &str,
        name: &DomainName,
        sees: impl Fn(&str) -> bool,
    ) -> Result<Domain, LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app)?;
            let all = sql::domains(c)?;
            let is_taken = |other: &&Domain| {
                let overlaps = name.covers(&other.hostname) || other.hostname.covers(name);
                other.hostname == *name
                    || overlaps && other.app_id != app.id && !sees(&other.app_id)
            };
            if all.iter().find(is_taken).is_some() {
                return Err(LedgerError::Conflict {
                    what: "domain",
                    name: name.to_string(),
                });
            }
            if all.iter().filter(|other| other.app_id == app.id).count() >= MOST_DOMAINS {
                return Err(LedgerError::TooMany {
                    what: "domain",
                    limit: MOST_DOMAINS,
                });
            }
            let domain = Domain {
                id: new_id(),
                app_id: app.id,
                hostname: name.clone(),
                created_at: clock::now(),
            };
            sql::insert_domain(c, &domain)?;
            Ok(domain)
        })
    }

    /// The custom domains of all apps, in the order in which they were added.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn domains(&self) -> Result<Vec<Domain>, LedgerError> {
        self.read(|c| sql::domains(c))
    }

    /// Takes a domain from an app, by its name or id.
    ///
    /// # Errors
    /// The caller's fault: the app has no such domain.
    pub fn remove_domain(&self, app: &str, name_or_id: &str) -> Result<Domain, LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app)?;
            let all = sql::domains(c)?;
            let found = all.into_iter().find(|domain| {
                domain.app_id == app.id
                    && (domain.id == name_or_id || domain.hostname.as_str() == name_or_id)
            });
            let domain = found.ok_or_else(|| LedgerError::NotFound {
                what: "domain",
                name: name_or_id.to_owned(),
            })?;
            sql::delete_domain(c, &domain.id)?;
            Ok(domain)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{app, ledger};
    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_belongs_to_one_app_until_it_goes() {
        let ledger = ledger();
        let (one, two) = (app(&ledger, "one"), app(&ledger, "two"));
        let www = name("www.example.com");
        let added = ledger.add_domain("one", &www, |_| true).unwrap();
        assert_eq!(ledger.domains().unwrap(), std::slice::from_ref(&added));
        for app in ["one", "two"] {
            let error = ledger.add_domain(app, &www, |_| true).unwrap_err();
            assert!(matches!(
                error,
                LedgerError::Conflict { what: "domain", .. }
            ));
        }
        assert!(ledger.remove_domain("two", "www.example.com").is_err());
        ledger.remove_domain("one", &added.id).unwrap();
        ledger.add_domain(&two.id, &www, |_| true).unwrap();
        // With its app.
        ledger.destroy_app(&two.id).unwrap();
        assert!(ledger.domains().unwrap().is_empty());
        ledger.add_domain(&one.id, &www, |_| true).unwrap();
        ledger.remove_domain("one", "www.example.com").unwrap();
    }

    #[test]
    fn what_overlaps_is_for_those_who_see_both() {
        let ledger = ledger();
        let (one, two) = (app(&ledger, "one"), app(&ledger, "two"));
        ledger
            .add_domain("one", &name("*.example.com"), |_| true)
            .unwrap();
        let own = |id: &str| id == two.id;
        for taken in ["www.example.com", "a.b.example.com", "*.b.example.com"] {
            let error = ledger.add_domain("two", &name(taken), own).unwrap_err();
            assert!(matches!(error, LedgerError::Conflict { .. }), "{taken}");
        }
        ledger.add_domain("two", &name("example.com"), own).unwrap();
        ledger
            .add_domain("two", &name("www.example.com"), |_| true)
            .unwrap();
        // Nor by a wildcard over another's name; over one's own it may be.
        let error = ledger
            .add_domain("one", &name("*.www.example.com"), |id| id == one.id)
            .map(drop);
        error.unwrap();
        ledger
            .add_domain("two", &name("a.example.org"), own)
            .unwrap();
        let error = ledger.add_domain("one", &name("*.example.org"), |id| id == one.id);
        assert!(matches!(error, Err(LedgerError::Conflict { .. })));
        ledger
            .add_domain("two", &name("*.example.org"), own)
            .unwrap();
    }

    #[test]
    fn there_is_a_limit() {
        let ledger = ledger();
        app(&ledger, "one");
        for n in 0..MOST_DOMAINS {
            let name = name(&format!("a{n}.example.com"));
            ledger.add_domain("one", &name, |_| true).unwrap();
        }
        let error = ledger.add_domain("one", &name("more.example.com"), |_| true);
        assert!(matches!(error, Err(LedgerError::TooMany { .. })));
        app(&ledger, "two");
        ledger
            .add_domain("two", &name("more.example.com"), |_| true)
            .unwrap();
    }
}
