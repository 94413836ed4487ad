//! The digest of a piece of a slug, packed or not, or of a file in it, written `blake3:<64 hex digits>`.
//!
//! It is no address: blobs and layers have the sha256 that other tools know. It is made of every byte of
//! a slug, of its tar and of its files besides, and so it must cost nearly nothing: BLAKE3 is several
//! times as fast, and as hard to find two pieces for. Source: the BLAKE3 paper; `b3sum` prints it.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use super::{ParseError, Parsed, parse_hex};

/// The BLAKE3 digest of a run of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceDigest([u8; 32]);

impl PieceDigest {
    /// Digests a run of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Of the 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads `blake3:<64 hex digits>`.
    #[must_use]
    pub fn from_text(text: &[u8; 71]) -> Option<Self> {
        text.strip_prefix(b"blake3:").and_then(parse_hex).map(Self)
    }
}

/// Digests bytes that come piece by piece.
#[derive(Default)]
pub struct PieceHasher(blake3::Hasher);

impl PieceHasher {
    /// Digests some more.
    pub fn see(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was seen since the last time.
    pub fn take(&mut self) -> PieceDigest {
        let digest = PieceDigest(*self.0.finalize().as_bytes());
        self.0.reset();
        digest
    }
}

impl fmt::Display for PieceDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = blake3::Hash::from_bytes(self.0).to_hex();
        write!(f, "blake3:{hex}")
    }
}

impl fmt::Debug for PieceDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PieceDigest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digest = text.as_bytes().try_into().ok().and_then(Self::from_text);
        digest.ok_or_else(|| ParseError::of(text))
    }
}

impl serde::Serialize for PieceDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for PieceDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_it_is_read() {
        // Source: the test vectors of BLAKE3, the empty input.
        let empty = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(PieceDigest::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(PieceDigest::of(b"")));
        assert!(
            empty
                .replace("blake3", "sha256")
                .parse::<PieceDigest>()
                .is_err()
        );
        assert!(empty[..70].parse::<PieceDigest>().is_err());
    }

    #[test]
    fn pieces_give_the_whole_s() {
        let mut hasher = PieceHasher::default();
        hasher.see(b"sl");
        hasher.see(b"ug");
        assert_eq!(hasher.take(), PieceDigest::of(b"slug"));
        assert_eq!(hasher.take(), PieceDigest::of(b""));
    }
}
