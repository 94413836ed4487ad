//! A custom domain: the host name by which an app can be reached besides its own.
//!
//! A value of [`DomainName`] has been checked: ASCII in lower case (what has other letters is written
//! as IDNA says), no address, at least two labels, `*.` at most as the first. No dot at the end.

use std::fmt;
use std::str::FromStr;

/// Longest host name, in bytes. Source: RFC 1035, section 2.3.4.
pub const MAX_HOST_BYTES: usize = 253;

/// A valid custom domain: `www.example.com`, or `*.example.com` for all names below.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// Why a text is no custom domain.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the domain {got:?} {reason}")]
pub struct DomainError {
    got: String,
    reason: &'static str,
}

impl DomainName {
    /// Shows the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What comes after `*.`; none where it is no wildcard.
    pub fn below(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }

    /// Whether all that the other one names is named by this one, too.
    pub fn covers(&self, other: &Self) -> bool {
        self == other
            || self
                .below()
                .is_some_and(|parent| is_below(other.below().unwrap_or(&other.0), parent))
            || self.below().is_some_and(|_| self.below() == other.below())
    }
}

/// Whether a host name is below another, at any depth.
pub fn is_below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl FromStr for DomainName {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let refused = |reason| DomainError {
            got: text.chars().take(64).collect(),
            reason,
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        let (star, rest) = match name.strip_prefix("*.") {
            Some(rest) => ("*.", rest),
            None => ("", name),
        };
        if rest.contains('*') {
            return Err(refused("has a * that is not its first label"));
        }
        // Longer ones would only cost time.
        if rest.len() > 4 * MAX_HOST_BYTES {
            return Err(refused("is longer than a host name may be"));
        }
        let ascii = idna::domain_to_ascii_strict(rest).map_err(|_| {
            refused("is no host name: labels of letters, digits and -, with dots between")
        })?;
        let last = ascii.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused("is an address and no name"));
        }
        if !ascii.contains('.') {
            return Err(refused("has one label alone"));
        }
        let name = format!("{star}{ascii}");
        if name.len() > MAX_HOST_BYTES {
            return Err(refused("is longer than a host name may be"));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, &'static str> {
        let parsed = text.parse::<DomainName>();
        parsed.map(|name| name.0).map_err(|error| error.reason)
    }

    #[test]
    fn names_are_normalised() {
        for (text, name) in [
            ("www.example.com", "www.example.com"),
            ("WWW.Example.COM.", "www.example.com"),
            ("*.example.com", "*.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER。example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("ａｐｐ.example.com", "app.example.com"),
            ("a-b.1.example", "a-b.1.example"),
        ] {
            assert_eq!(of(text).unwrap(), name, "{text}");
        }
        let longest = format!(
            "{}.{}.{}.{}",
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61)
        );
        assert_eq!(of(&longest).unwrap().len(), MAX_HOST_BYTES);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}.com", "a.".repeat(130));
        let star = format!(
            "*.{}.{}.{}.{}",
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61)
        );
        for text in [
            "",
            ".",
            "*",
            "*.",
            "com",
            "*.com",
            "a..b",
            ".a.b",
            "a.b..",
            "a b.com",
            "a_b.com",
            "-a.com",
            "a-.com",
            "a.com/",
            "a.com:80",
            "http://a.com",
            "user@a.com",
            "a.com\n",
            "a\0.com",
            "a.*.com",
            "*a.com",
            "*.*.com",
            "1.2.3.4",
            "example.123",
            "[::1]",
            "::1",
            "xn--a.example",
            "xn--.example",
            "a\u{200d}b.com",
            "\u{202e}moc.a.com",
            "a.com?x",
            "a.com#",
            "a%2ecom",
            "../a.com",
            &"a".repeat(100_000),
            &long,
            &star,
            &format!("{}.com", "a".repeat(64)),
        ] {
            assert!(of(text).is_err(), "{text:?}: {:?}", of(text));
        }
        let error = "a b.com".parse::<DomainName>().unwrap_err().to_string();
        insta::assert_snapshot!(error, @r#"the domain "a b.com" is no host name: labels of letters, digits and -, with dots between"#);
    }

    #[test]
    fn a_wildcard_covers_what_is_below() {
        let of = |text: &str| text.parse::<DomainName>().unwrap();
        let covers = |one: &str, other: &str| of(one).covers(&of(other));
        for (one, other) in [
            ("a.example.com", "a.example.com"),
            ("*.example.com", "a.example.com"),
            ("*.example.com", "a.b.example.com"),
            ("*.example.com", "*.b.example.com"),
            ("*.example.com", "*.example.com"),
        ] {
            assert!(covers(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("a.example.com", "*.example.com"),
            ("*.example.com", "example.com"),
            ("*.example.com", "aexample.com"),
            ("*.b.example.com", "*.example.com"),
        ] {
            assert!(!covers(one, other), "{one} {other}");
        }
    }
}
