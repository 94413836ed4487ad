//! The sha256 of some bytes, written `sha256:<64 hex digits>` as OCI does.
//!
//! [`Hashing`] digests what passes through it, so that nothing is read twice for its digest.

mod continuing;
mod piece;

use std::fmt;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::str::FromStr;

pub use continuing::{Continuing, State};
pub use piece::{PieceDigest, PieceHasher};
use sha2::{Digest as _, Sha256};

/// The sha256 digest of a run of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no `sha256:<64 lower-case hex digits>`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no digest of the form sha256:<64 hex digits>")]
pub struct ParseError {
    pub text: String,
}

impl ParseError {
    fn of(text: &str) -> Self {
        let text = text.chars().take(100).collect();
        Self { text }
    }
}

impl Digest {
    /// Digests a run of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits without the `sha256:`.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text
}

/// What each byte is as a lower-case hex digit; 255 where it is none. Manifests have very many.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [255; 256];
    let mut nibble = 0_u8;
    while nibble < 16 {
        nibbles[DIGITS[nibble as usize] as usize] = nibble;
        nibble += 1;
    }
    nibbles
};

/// Reads 64 lower-case hex digits.
fn parse_hex(digits: &[u8]) -> Option<[u8; 32]> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (NIBBLES[usize::from(*high)], NIBBLES[usize::from(*low)]);
        if (high | low) > 15 {
            return None;
        }
        *byte = high << 4 | low;
    }
    Some(bytes)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bytes = text.strip_prefix("sha256:");
        let bytes = bytes.and_then(|digits| parse_hex(digits.as_bytes()));
        bytes.map(Self).ok_or_else(|| ParseError::of(text))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed(PhantomData))
    }
}

/// Takes a text without keeping it.
struct Parsed<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> serde::de::Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Digests and counts the bytes that are read from or written to `inner`.
pub struct Hashing<T> {
    inner: T,
    hasher: Sha256,
    bytes: u64,
}

impl<T> Hashing<T> {
    /// Starts with no byte seen.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    /// What the bytes are read from or written to.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// Bytes that have passed so far.
    pub fn seen_bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of the bytes that have passed so far.
    pub fn digest(&self) -> Digest {
        Digest(self.hasher.clone().finalize().into())
    }

    /// Gives back the inner value, the digest and the number of bytes.
    pub fn finish(self) -> (T, Digest, u64) {
        (
            self.inner,
            Digest(self.hasher.finalize().into()),
            self.bytes,
        )
    }

    /// Digests and counts bytes that pass elsewhere.
    pub fn see(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.see(&buf[..n]);
        Ok(n)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.see(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn is_written_as_it_is_read() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "sha256:",
            &EMPTY[7..],
            &EMPTY.to_uppercase(),
            &format!("{EMPTY}0"),
            "sha256:../../x",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn hashing_sees_what_passes() {
        let mut out = Hashing::new(Vec::new());
        out.write_all(b"slug").unwrap();
        let (bytes, digest, n) = out.finish();
        assert_eq!(
            (bytes.as_slice(), digest, n),
            (&b"slug"[..], Digest::of(b"slug"), 4)
        );
    }
}
