//! The secret of a token: what a client sends as its password or bearer.
//!
//! The ledger keeps a secret's digest only, so that nobody who reads the ledger's file can use it.

use std::fmt;

use crate::digest::{Digest, hex};

/// What every secret made here starts with, so that scanners for leaked secrets can know it.
const PREFIX: &str = "slugline_";

/// Random bytes in a secret.
const SECRET_BYTES: usize = 32;

/// The secret of a token; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a new one: `slugline_` and 64 hex digits.
    ///
    /// # Errors
    /// The platform's fault: the system has no random bytes to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{PREFIX}{}", hex(&bytes))))
    }

    /// The text that a client sends.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Digests a secret as the ledger keeps it.
///
/// Plain sha256 is enough where a secret holds 32 random bytes; it would not be for passwords.
pub fn digest_of_secret(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_hide_themselves() {
        let (a, b) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(a, b);
        assert!(a.expose().starts_with(PREFIX));
        assert_eq!(a.expose().len(), PREFIX.len() + 2 * SECRET_BYTES);
        assert_eq!(format!("{a:?}"), "Secret(…)");
    }
}
