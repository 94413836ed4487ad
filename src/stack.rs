//! Stacks: the name and the root file system that an app is built and run on.
//!
//! Without a root it is the host's own system, named like `debian-12`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A stack's name, which stands in log lines and file names: 1 to 50 letters, digits, dots, dashes
/// and underscores, the first of them a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StackName(String);

/// Why a text is no stack's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no name of a stack: it has {}", StackName::EXPECTED)]
pub struct StackNameError {
    pub text: String,
}

impl StackName {
    /// For messages.
    pub const EXPECTED: &'static str =
        "1 to 50 letters, digits, dots and dashes, such as debian-12";

    /// Such as `debian-12`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether Heroku's own buildpacks take it: `heroku-` and a number.
    pub fn is_heroku(&self) -> bool {
        let number = self.0.strip_prefix("heroku-");
        number.is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    }
}

impl FromStr for StackName {
    type Err = StackNameError;

    fn from_str(text: &str) -> Result<Self, StackNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if (1..=50).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(allowed)
        {
            return Ok(Self(text.to_owned()));
        }
        Err(StackNameError {
            text: text.chars().take(64).collect(),
        })
    }
}

impl TryFrom<String> for StackName {
    type Error = StackNameError;

    fn try_from(text: String) -> Result<Self, StackNameError> {
        text.parse()
    }
}

impl From<StackName> for String {
    fn from(name: StackName) -> Self {
        name.0
    }
}

impl fmt::Display for StackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an app is built on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    pub name: StackName,
    /// None for the host's own system.
    pub image: Option<Image>,
}

/// An imported root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub root: PathBuf,
    /// Over its paths, modes and contents.
    pub digest: Digest,
}

impl Stack {
    /// The host's own.
    pub fn of_host(name: StackName) -> Self {
        Self { name, image: None }
    }

    /// What decides whether something made on one stack may be used on another: name, root file
    /// system and architecture.
    pub fn key(&self) -> String {
        let arch = std::env::consts::ARCH;
        match &self.image {
            None => format!("{} {arch}", self.name),
            Some(image) => format!("{} {arch} {}", self.name, image.digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_directory() {
        for text in ["debian-12", "heroku-24", "a", "Alpine_3.20"] {
            assert_eq!(text.parse::<StackName>().unwrap().as_str(), text);
        }
        for text in ["", ".", "..", "a/b", "-a", "a b", "ä", &"a".repeat(51)] {
            assert!(text.parse::<StackName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_heroku_s_buildpacks_take() {
        let is_heroku = |text: &str| text.parse::<StackName>().unwrap().is_heroku();
        assert!(is_heroku("heroku-24") && is_heroku("heroku-26"));
        assert!(!is_heroku("debian-12") && !is_heroku("heroku-") && !is_heroku("heroku-24x"));
    }

    #[test]
    fn another_root_of_one_name_is_another_stack() {
        let name: StackName = "x".parse().unwrap();
        let with = |content: &[u8]| Stack {
            name: name.clone(),
            image: Some(Image {
                root: "/r".into(),
                digest: Digest::of(content),
            }),
        };
        assert_ne!(with(b"1").key(), with(b"2").key());
        assert_ne!(with(b"1").key(), Stack::of_host(name.clone()).key());
        assert!(Stack::of_host(name).key().ends_with(std::env::consts::ARCH));
    }
}
