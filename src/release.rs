//! A release: a slug and config vars under a number, `v12`.

use std::fmt;
use std::str::FromStr;

/// The number of a release, counted from 1 for each app.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

/// A text that is no release number.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no release; a release is written v12")]
pub struct ParseError {
    pub text: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl FromStr for Version {
    type Err = ParseError;

    /// Takes `v12` and, as the Platform API does, `12`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.strip_prefix('v').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match digits.parse() {
            Ok(number) if plain && number > 0 => Ok(Self(number)),
            _ => Err(ParseError {
                text: text.to_owned(),
            }),
        }
    }
}

/// What has become of a build or a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Under way; for a release: recorded, its refs not yet moved.
    Pending,
    Succeeded,
    Failed,
}

impl Status {
    /// The word that the Platform API and the ledger use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pending" => Ok(Self::Pending),
            "succeeded" => Ok(Self::Succeeded),
            "failed" => Ok(Self::Failed),
            other => Err(format!("{other:?} is no status")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_with_a_v() {
        assert_eq!("v12".parse(), Ok(Version(12)));
        assert_eq!("12".parse(), Ok(Version(12)));
        assert_eq!(Version(12).to_string(), "v12");
        for text in ["", "v", "v0", "v-1", "v+1", "1.2", "latest"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
