//! Custom domains: which names an app may have, and the router's knowledge of them.

use std::sync::PoisonError;

use anyhow::Result;

use super::Platform;
use super::ledger::{App, Domain};
use super::running::Web;
use crate::domain::{DomainName, is_below};

/// A name that no app can have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the domain {name} belongs to the platform")]
pub struct ReservedDomain {
    pub name: DomainName,
}

impl Web {
    /// Whether a domain would take something of the platform's: its own host names, those that it
    /// gives to apps, and this machine's.
    fn reserves(&self, name: &DomainName) -> bool {
        let own = [
            Some(self.domain.as_str()),
            self.own_host.as_deref(),
            Some("localhost"),
        ];
        own.into_iter().flatten().any(|own| {
            let bare = name.below().unwrap_or(name.as_str());
            // What is below our own URL's host is nobody's yet.
            let covers_apps = own != self.own_host.as_deref().unwrap_or_default()
                && (bare == own || is_below(bare, own));
            name.as_str() == own
                || covers_apps
                || name.below().is_some_and(|parent| is_below(own, parent))
        })
    }
}

impl Platform {
    /// The custom domains of an app.
    ///
    /// # Errors
    /// The platform's: the ledger.
    pub fn domains_of(&self, app: &App) -> Result<Vec<Domain>> {
        let mut all = self.ledger.domains()?;
        all.retain(|domain| domain.app_id == app.id);
        Ok(all)
    }

    /// The host name that an app has by itself.
    pub fn host_of(&self, app: &App) -> String {
        self.dynos.routes().host(app.name.as_str())
    }

    /// Gives an app a domain; `sees` tells whether the caller sees another app.
    ///
    /// # Errors
    /// The caller's: the name is taken or reserved, or the app has too many.
    pub fn add_domain(
        &self,
        app: &App,
        name: &DomainName,
        sees: impl Fn(&str) -> bool,
        user: &str,
    ) -> Result<Domain> {
        if self.options.web.reserves(name) {
            return Err(ReservedDomain { name: name.clone() }.into());
        }
        let _turn = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        let domain = self.ledger.add_domain(&app.id, name, sees)?;
        self.publish_domain(app, &domain);
        self.say(&app.id, &format!("Domain {name} added by user {user}"));
        Ok(domain)
    }

    /// Takes a domain from an app, by its name or id.
    ///
    /// # Errors
    /// The caller's: the app has no such domain.
    pub fn remove_domain(&self, app: &App, name_or_id: &str, user: &str) -> Result<Domain> {
        // A name may be written as people write it.
        let name = name_or_id.parse::<DomainName>();
        let name = name.as_ref().map_or(name_or_id, DomainName::as_str);
        let _turn = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        let domain = self.ledger.remove_domain(&app.id, name)?;
        self.dynos.routes().remove_domain(&domain.hostname);
        let name = &domain.hostname;
        self.say(&app.id, &format!("Domain {name} removed by user {user}"));
        Ok(domain)
    }

    /// Tells the router of a domain.
    pub(super) fn publish_domain(&self, app: &App, domain: &Domain) {
        let routes = self.dynos.routes();
        let route = routes.of(&app.id, app.name.as_str());
        routes.add_domain(&domain.hostname, &route);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_s_names_are_nobody_s() {
        let web = Web {
            domain: "apps.example.com".into(),
            own_host: Some("paas.example.org".into()),
            port: 80,
            tls_port: None,
        };
        let reserves = |name: &str| web.reserves(&name.parse().unwrap());
        for name in [
            "apps.example.com",
            "hello.apps.example.com",
            "a.b.apps.example.com",
            "*.apps.example.com",
            "*.hello.apps.example.com",
            "*.example.com",
            "paas.example.org",
            "*.example.org",
            "hello.localhost",
            "*.hello.localhost",
        ] {
            assert!(reserves(name), "{name}");
        }
        for name in [
            "example.com",
            "www.example.com",
            "www.example.org",
            "*.www.example.com",
            "a.paas.example.org",
            "xapps.example.com",
        ] {
            assert!(!reserves(name), "{name}");
        }
    }
}
