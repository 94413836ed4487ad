//! An app: its name, which a person types and which a git URL and an API path carry, and its layout.
//!
//! A value of [`AppName`] has been checked, so it is safe as a path component and in a URL.

mod layout;

use std::fmt;
use std::str::FromStr;

pub use layout::{AppRoot, BuildDir, Layout, LayoutError};

/// Longest app name, in bytes. Source: the Platform API's app name pattern.
pub const MAX_NAME_BYTES: usize = 30;

/// A valid app name: 2 to 30 of `a-z`, `0-9` and `-`, starting with a letter, not ending with `-`.
///
/// Source: the Platform API's schema, `app.name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct AppName(String);

/// Why a text is no app name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Shorter than 2 or longer than 30 bytes.
    #[error("the app name {name:?} has {got_bytes} characters; a name has 2 to {MAX_NAME_BYTES}")]
    Length { name: String, got_bytes: usize },
    /// The first character is no letter `a-z`.
    #[error("the app name {name:?} does not start with a letter from a to z")]
    Start { name: String },
    /// A character outside of `a-z`, `0-9` and `-`, or a `-` at the end.
    #[error("the app name {name:?} may hold only a to z, 0 to 9 and -, and must not end with -")]
    Character { name: String },
}

impl AppName {
    /// Shows the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = || text.chars().take(64).collect::<String>();
        if !(2..=MAX_NAME_BYTES).contains(&text.len()) {
            return Err(NameError::Length {
                name: name(),
                got_bytes: text.len(),
            });
        }
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(NameError::Start { name: name() });
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !text.chars().all(allowed) || text.ends_with('-') {
            return Err(NameError::Character { name: name() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hash function of an app's repository: fixed when the app is made, before its first push.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ObjectFormat {
    #[default]
    Sha1,
    Sha256,
}

/// A text that names no object format.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the object format {got:?} is not known; there are sha1 and sha256")]
pub struct ObjectFormatError {
    got: String,
}

impl ObjectFormat {
    /// As git writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// As gix knows it.
    pub fn hash(self) -> gix::hash::Kind {
        match self {
            Self::Sha1 => gix::hash::Kind::Sha1,
            Self::Sha256 => gix::hash::Kind::Sha256,
        }
    }
}

impl FromStr for ObjectFormat {
    type Err = ObjectFormatError;

    fn from_str(text: &str) -> Result<Self, ObjectFormatError> {
        match text {
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            other => Err(ObjectFormatError {
                got: other.chars().take(64).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_heroku_takes() {
        for name in ["ab", "hello-world", "a1", "x2345678901234567890123456789z"] {
            assert_eq!(name.parse::<AppName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_what_could_leave_its_directory() {
        for name in [
            "", "a", "..", "a/b", "a..b", "A", "-ab", "ab-", "a b", "a%2f", "é1", "1ab", ".git",
            "a\0",
        ] {
            assert!(name.parse::<AppName>().is_err(), "{name:?}");
        }
        assert!("a".repeat(31).parse::<AppName>().is_err());
    }
}
