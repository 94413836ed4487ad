//! Config vars: the names and values that an app gets from its environment.
//!
//! Names are checked once, here; a build sees them as files of its env dir, a dyno as variables.
//! Values are secrets: `Debug` shows names only.

use std::collections::BTreeMap;
use std::fmt;

/// Most bytes that all config vars of an app may take, names and values together.
///
/// Source: Heroku's documented limit of 64 kB.
pub const MAX_TOTAL_BYTES: usize = 64 * 1024;

/// The config vars of one release, sorted by name.
#[derive(Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ConfigVars(BTreeMap<String, String>);

impl fmt::Debug for ConfigVars {
    /// Shows the names alone, so that no log line can hold a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a name or value is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The name is no environment variable's name.
    #[error(
        "the config var name {name:?} may hold only letters, digits and _, and must not start with a digit"
    )]
    Name { name: String },
    /// A NUL byte cannot stand in an environment.
    #[error("the value of config var {name} has a NUL byte")]
    Nul { name: String },
    /// `KEY=VALUE` was expected.
    #[error("{text:?} is not of the form NAME=VALUE")]
    Form { text: String },
    /// All names and values together are over the limit.
    #[error("the config vars take {got_bytes} bytes; the limit is {limit_bytes}")]
    TooLarge {
        got_bytes: usize,
        limit_bytes: usize,
    },
}

impl ConfigVars {
    /// Sets one variable.
    ///
    /// # Errors
    /// The caller's fault: a bad name, a NUL byte, or too many bytes in all.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        check_name(name)?;
        if value.contains('\0') {
            return Err(ConfigError::Nul {
                name: name.to_owned(),
            });
        }
        let old = self.0.insert(name.to_owned(), value.to_owned());
        let got_bytes = self.0.iter().map(|(k, v)| k.len() + v.len()).sum();
        if got_bytes > MAX_TOTAL_BYTES {
            match old {
                Some(old) => self.0.insert(name.to_owned(), old),
                None => self.0.remove(name),
            };
            return Err(ConfigError::TooLarge {
                got_bytes,
                limit_bytes: MAX_TOTAL_BYTES,
            });
        }
        Ok(())
    }

    /// Removes one variable; says whether it was there.
    pub fn unset(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// The value of one variable.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Name and value of each, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Checks the name of a config var.
///
/// # Errors
/// The caller's fault: the name is no environment variable's name.
pub fn check_name(name: &str) -> Result<(), ConfigError> {
    let mut chars = name.chars();
    let first = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(ConfigError::Name {
        name: name.to_owned(),
    })
}

/// Cuts `NAME=VALUE` at its first `=`.
///
/// # Errors
/// The caller's fault: no `=`, or a bad name.
pub fn parse_assignment(text: &str) -> Result<(&str, &str), ConfigError> {
    let (name, value) = text.split_once('=').ok_or_else(|| ConfigError::Form {
        text: text.to_owned(),
    })?;
    check_name(name)?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_variable_names() {
        for name in ["A", "_x", "DATABASE_URL", "a1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "1A", "A-B", "A B", "../x", "A=B", "Ä", "a/b"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_value_over_the_limit_changes_nothing() {
        let mut vars = ConfigVars::default();
        vars.set("A", "1").unwrap();
        let big = "x".repeat(MAX_TOTAL_BYTES);
        assert!(matches!(
            vars.set("A", &big),
            Err(ConfigError::TooLarge { .. })
        ));
        assert_eq!(vars.value("A"), Some("1"));
        vars.set("B", &"x".repeat(MAX_TOTAL_BYTES - 3)).unwrap();
    }

    #[test]
    fn debug_hides_the_values() {
        let mut vars = ConfigVars::default();
        vars.set("API_KEY", "hunter2").unwrap();
        assert_eq!(format!("{vars:?}"), r#"{"API_KEY"}"#);
    }

    #[test]
    fn an_assignment_is_cut_at_the_first_equals_sign() {
        assert_eq!(parse_assignment("A=b=c").unwrap(), ("A", "b=c"));
        assert_eq!(parse_assignment("A=").unwrap(), ("A", ""));
        assert!(parse_assignment("A").is_err());
    }
}
