//! A sha256 digest that continues where an earlier one has stood.
//!
//! Sha256 takes its bytes one after the other: two slugs of which the first is known as far as the
//! second is the same need not both be digested from their start.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use sha2::Sha256;
use sha2::digest::Digest as _;
use sha2::digest::common::hazmat::{SerializableState as _, SerializedState};

use super::{Digest, ParseError, Parsed, hex, parse_hex};

/// Bytes of a block of sha256.
const BLOCK_BYTES: usize = 64;

/// Where sha256 stands after some bytes: its eight words after their last whole block, big-endian as
/// in a digest. Written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct State([u8; 32]);

/// Digests bytes of which the first may have been digested before.
pub struct Continuing {
    known: Known,
    /// None as long as everything was known.
    hasher: Option<Sha256>,
    bytes: u64,
}

/// What is known of the first bytes.
struct Known {
    state: State,
    /// Starts with the bytes after the last whole block.
    tail: [u8; BLOCK_BYTES],
}

impl Default for Continuing {
    fn default() -> Self {
        let known = Known {
            state: State::of(&Sha256::new()),
            tail: [0; BLOCK_BYTES],
        };
        Self {
            known,
            hasher: None,
            bytes: 0,
        }
    }
}

impl Continuing {
    /// Bytes seen so far.
    pub fn seen_bytes(&self) -> u64 {
        self.bytes
    }

    /// Digests some more.
    pub fn see(&mut self, bytes: &[u8]) {
        self.hasher().update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Takes some more, after which an earlier run of the same bytes stood at `state`. They are not
    /// digested as long as it is so from the start.
    pub fn see_known(&mut self, bytes: &[u8], state: State) {
        if self.hasher.is_some() {
            return self.see(bytes);
        }
        let Known { tail, .. } = &mut self.known;
        let end = self.bytes + bytes.len() as u64;
        // At their places in the block that they are in.
        let filled = usize::from(block_part(end));
        let new = filled.min(bytes.len());
        tail[filled - new..filled].copy_from_slice(&bytes[bytes.len() - new..]);
        self.known.state = state;
        self.bytes = end;
    }

    /// Whether all that was seen was known.
    fn is_known(&self) -> bool {
        self.hasher.is_none()
    }

    /// As [`Continuing::see_known`], for bytes that nobody has at hand, where all before them was known.
    /// They end with a block of 64 bytes.
    pub fn skip_known(&mut self, bytes: u64, state: State) {
        debug_assert!(self.is_known());
        self.known.state = state;
        self.bytes += bytes;
        debug_assert_eq!(block_part(self.bytes), 0);
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.hasher.as_ref().map_or(self.known.state, State::of)
    }

    /// The digest of all that was seen.
    pub fn digest(mut self) -> Digest {
        self.hasher();
        match self.hasher {
            Some(hasher) => Digest(hasher.finalize().into()),
            None => unreachable!("it was made above"),
        }
    }

    fn hasher(&mut self) -> &mut Sha256 {
        let (known, bytes) = (&self.known, self.bytes);
        self.hasher.get_or_insert_with(|| known.hasher(bytes))
    }
}

/// How many bytes are in the block that is not full.
fn block_part(bytes: u64) -> u8 {
    let [part, ..] = (bytes % BLOCK_BYTES as u64).to_le_bytes();
    part
}

impl Known {
    /// What has digested that many bytes, which end in `tail`.
    fn hasher(&self, bytes: u64) -> Sha256 {
        let part = block_part(bytes);
        let words = self.state.0.as_chunks::<4>().0;
        // As sha2 writes it: the words, the number of blocks, the bytes of the last one.
        let mut serialized = SerializedState::<Sha256>::default();
        let places = serialized.iter_mut();
        let content = words
            .iter()
            .flat_map(|word| u32::from_be_bytes(*word).to_le_bytes())
            .chain((bytes / BLOCK_BYTES as u64).to_le_bytes())
            .chain([part])
            .chain(self.tail[..usize::from(part)].iter().copied());
        for (place, byte) in places.zip(content) {
            *place = byte;
        }
        Sha256::deserialize(&serialized).expect("less than a block is left")
    }
}

impl State {
    fn of(hasher: &Sha256) -> Self {
        let mut state = [0; 32];
        let serialized = hasher.serialize();
        let words = serialized.as_chunks::<4>().0;
        for (word, bytes) in words.iter().zip(state.as_chunks_mut::<4>().0) {
            *bytes = u32::from_le_bytes(*word).to_be_bytes();
        }
        Self(state)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for State {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_hex(text.as_bytes())
            .map(Self)
            .ok_or_else(|| ParseError::of(text))
    }
}

impl serde::Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for State {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_with_the_words_of_the_standard() {
        // Source: FIPS 180-4, 5.3.3.
        let words = "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19";
        assert_eq!(Continuing::default().state().to_string(), words);
        assert_eq!(words.parse(), Ok(Continuing::default().state()));
        assert!(words[1..].parse::<State>().is_err());
    }

    #[test]
    fn continues_at_any_byte() {
        let bytes: Vec<u8> = (0..300_u32).map(|n| (n * 7).to_le_bytes()[0]).collect();
        for first in 0..200 {
            for second in [0, 1, 5, 63, 64, 65, 100] {
                let mut whole = Continuing::default();
                whole.see(&bytes[..first]);
                let at_first = whole.state();
                whole.see(&bytes[first..][..second]);
                let at_second = whole.state();

                let mut known = Continuing::default();
                known.see_known(&bytes[..first], at_first);
                known.see_known(&bytes[first..][..second], at_second);
                assert_eq!(known.state(), at_second);
                assert!(known.hasher.is_none());
                known.see(&bytes[first + second..]);
                // Known or not, it is digested from here on.
                known.see_known(b"more", at_first);
                assert_eq!(known.seen_bytes(), 304);
                assert_eq!(
                    known.digest(),
                    Digest::of(&[&bytes[..], b"more"].concat()),
                    "{first} {second}"
                );
            }
        }
        assert_eq!(Continuing::default().digest(), Digest::of(b""));
    }
}
