//! Drains: where an app's log goes besides, and what a URL of one may be.

use std::str::FromStr;

use anyhow::Result;

use super::Platform;
use super::ledger::{App, Drain};

/// Longest URL of a drain.
const URL_BYTES: usize = 2000;

/// How lines are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RFC 5424 over TCP, each message after its length (RFC 6587).
    Syslog,
    /// Requests with such messages, as Heroku's log router sends them.
    Http,
}

/// A drain's URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainUrl {
    pub kind: Kind,
    pub is_tls: bool,
    pub host: String,
    pub port: u16,
    /// With its query.
    pub path: String,
    /// User and password, as they stand in the URL.
    pub user: Option<String>,
}

/// Why there cannot be such a drain.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DrainError {
    #[error("this is no URL of a drain")]
    Url,
    #[error("the drain {host}:{port} cannot be connected to: {reason}")]
    Refused {
        host: String,
        port: u16,
        reason: String,
    },
}

impl FromStr for DrainUrl {
    type Err = DrainError;

    fn from_str(text: &str) -> Result<Self, DrainError> {
        let wrong = DrainError::Url;
        if text.len() > URL_BYTES || text.contains('#') {
            return Err(wrong);
        }
        let url: hyper::Uri = text.parse().map_err(|_| DrainError::Url)?;
        let (kind, is_tls, port) = match url.scheme_str() {
            Some("syslog") => (Kind::Syslog, false, 514),
            Some("syslog+tls") => (Kind::Syslog, true, 6514),
            Some("http") => (Kind::Http, false, 80),
            Some("https") => (Kind::Http, true, 443),
            _ => return Err(wrong),
        };
        let authority = url.authority().ok_or(DrainError::Url)?.as_str();
        let user = authority.rsplit_once('@').map(|(user, _)| user.to_owned());
        let host = url.host().ok_or(DrainError::Url)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let is_plain = path == "/" || path.is_empty();
        if host.is_empty() || kind == Kind::Syslog && (user.is_some() || !is_plain) {
            return Err(wrong);
        }
        Ok(Self {
            kind,
            is_tls,
            host: host.to_owned(),
            port: url.port_u16().unwrap_or(port),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            user,
        })
    }
}

impl Platform {
    /// The drains of an app.
    ///
    /// # Errors
    /// The platform's: the ledger.
    pub fn drains_of(&self, app: &App) -> Result<Vec<Drain>> {
        let mut all = self.ledger.drains()?;
        all.retain(|drain| drain.app_id == app.id);
        Ok(all)
    }

    /// Gives an app's log a drain.
    ///
    /// # Errors
    /// The caller's: the URL is none, leads to where the server connects to nobody, or is there.
    pub fn add_drain(&self, app: &App, url: &str) -> Result<Drain> {
        let parsed: DrainUrl = url.parse()?;
        let rules = &self.options.machine.fetch_from;
        let refused = |reason| DrainError::Refused {
            host: parsed.host.clone(),
            port: parsed.port,
            reason,
        };
        rules.check(&parsed.host, parsed.port).map_err(refused)?;
        let drain = self.ledger.add_drain(&app.id, url)?;
        self.drains_changed.send_replace(());
        Ok(drain)
    }

    /// Takes a drain from an app's log, by its id, token or URL.
    ///
    /// # Errors
    /// The caller's: there is none.
    pub fn remove_drain(&self, app: &App, named: &str) -> Result<Drain> {
        let drain = self.ledger.remove_drain(&app.id, named)?;
        self.drains_changed.send_replace(());
        Ok(drain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_drains() {
        let of = |text: &str| {
            let url = text.parse::<DrainUrl>().unwrap();
            let user = url.user.unwrap_or_default();
            format!(
                "{:?} {} {user}@{}:{}{}",
                url.kind, url.is_tls, url.host, url.port, url.path
            )
        };
        assert_eq!(
            of("syslog://logs.example.com"),
            "Syslog false @logs.example.com:514/"
        );
        assert_eq!(of("syslog+tls://[fd00::1]:99"), "Syslog true @fd00::1:99/");
        assert_eq!(
            of("https://me:secret@x/in?a=b"),
            "Http true me:secret@x:443/in?a=b"
        );
        assert_eq!(of("http://x:8080"), "Http false @x:8080/");
        for text in [
            "",
            "x",
            "logs.example.com:514",
            "ftp://x",
            "syslog://me@x",
            "syslog://x/path",
            "syslog+udp://x",
            "https://x#y",
            "https://",
            "https://x y",
            &format!("https://x/{}", "y".repeat(URL_BYTES)),
        ] {
            assert_eq!(text.parse::<DrainUrl>(), Err(DrainError::Url), "{text}");
        }
    }
}
