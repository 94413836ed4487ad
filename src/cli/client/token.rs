//! The token that a client calls with; `Debug` does not show it.

use std::fmt;
use std::path::Path;

use super::ClientError;

/// A token's secret, and where it was found.
#[derive(Clone)]
pub struct Token {
    secret: String,
    origin: String,
}

impl Token {
    /// The value of `SLUGLINE_TOKEN`.
    pub fn of_variable(text: &str) -> Self {
        Self {
            secret: text.trim().to_owned(),
            origin: "the token in SLUGLINE_TOKEN".to_owned(),
        }
    }

    /// The text of a file that holds nothing else.
    pub fn of_file(text: &str, path: &Path) -> Self {
        Self {
            secret: text.trim().to_owned(),
            origin: format!("the token in {}", path.display()),
        }
    }

    /// The same, if it can stand in a header and in git's credential protocol.
    ///
    /// # Errors
    /// The caller's: it has blanks, control characters or letters that no token has.
    pub fn checked(&self) -> Result<Self, ClientError> {
        let plain = self.secret.bytes().all(|byte| byte.is_ascii_graphic());
        if plain && !self.secret.is_empty() {
            return Ok(self.clone());
        }
        Err(ClientError::BadToken {
            origin: self.origin.clone(),
        })
    }

    /// The text that a server asks for.
    pub fn expose(&self) -> &str {
        &self.secret
    }

    /// Where it was found, as part of a sentence.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.origin)
    }
}
