//! Bytes → literals and matches, block by block.
//!
//! Greedy: where the bytes at a place were seen before, as far as two tables remember, the match is
//! taken. One table remembers where eight bytes were last, the other where five were; the first leads
//! to longer matches and is asked first. An entry holds bits of the hash besides the place, so that
//! bytes that differ are told apart without a look at them. Of a match only the places at its ends are
//! remembered: the rest costs more time than it gains bytes.

use std::hint::select_unpredictable;
use std::mem;

use super::alphabet::{self, DISTANCE_SYMBOLS, LENGTHS};

/// Bytes of input of a block, but for the match that crosses its end and for the last few of all.
const BLOCK_BYTES: usize = 96 << 10;

/// The last bytes are literals, so that loads need not mind the end.
const TAIL_BYTES: usize = 24;

/// Longest match and farthest place. Source: RFC 1951, 3.2.5.
const LONGEST: usize = 258;
const FARTHEST: usize = 1 << 15;

/// Entries of the two tables. Smaller ones are faster, since processors keep them nearer.
const EIGHTS: usize = 1 << 13;
const FIVES: usize = 1 << 13;

/// An entry for no place: from the first [`FARTHEST`] places it is too far, from later ones it is as any.
const NOWHERE: u32 = 0x7fff;

/// The golden ratio, by which bytes are hashed: 2^64 divided by it.
const RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// A literal, or the length and distance of a match: `length_or_literal | slot << 10 | extra << 16`.
///
/// A literal is its byte and [`Symbol::NO_SLOT`], a match 256 and its length. A distance's slot is its
/// symbol in DEFLATE, and the extra bits are those that follow that.
#[derive(Clone, Copy, Default)]
pub struct Symbol(u32);

impl Symbol {
    /// Number of values that [`Symbol::first`] has, and [`Symbol::slot`].
    pub const FIRSTS: usize = 1 << 10;
    pub const SLOTS: usize = 1 << 6;

    /// The slot of what is no match.
    const NO_SLOT: u32 = 63;

    fn literal(byte: u8) -> Self {
        Self(u32::from(byte) | Self::NO_SLOT << 10)
    }

    #[expect(clippy::cast_possible_truncation, reason = "lengths are below 259")]
    fn pair(length: usize, slot: u8, extra: u32) -> Self {
        Self((256 + length) as u32 | u32::from(slot) << 10 | extra << 16)
    }

    /// The byte, or 256 and the length.
    pub fn first(self) -> usize {
        self.0 as usize % Self::FIRSTS
    }

    pub fn slot(self) -> usize {
        (self.0 >> 10) as usize % Self::SLOTS
    }

    pub fn extra(self) -> u32 {
        self.0 >> 16
    }
}

/// What a block is made of.
pub struct Symbols {
    all: Box<[Symbol]>,
    count: usize,
    /// How often there is each of DEFLATE's literals and lengths, and each of its distances.
    pub literals: [u32; 288],
    pub distances: [u32; 32],
}

impl Symbols {
    pub fn all(&self) -> &[Symbol] {
        &self.all[..self.count]
    }
}

/// Finds matches in runs of bytes, one after the other.
pub struct Matcher {
    eights: Box<[u32; EIGHTS]>,
    fives: Box<[u32; FIVES]>,
    symbols: Symbols,
}

impl Matcher {
    pub fn new() -> Self {
        Self {
            eights: vec![NOWHERE; EIGHTS].try_into().expect("that many"),
            fives: vec![NOWHERE; FIVES].try_into().expect("that many"),
            symbols: Symbols {
                all: vec![Symbol::default(); BLOCK_BYTES + TAIL_BYTES].into(),
                count: 0,
                literals: [0; 288],
                distances: [0; 32],
            },
        }
    }

    /// Starts with other bytes.
    pub fn forget(&mut self) {
        self.eights.fill(NOWHERE);
        self.fives.fill(NOWHERE);
    }

    /// The block of `bytes` that starts at `start`, where the one before it has ended; and where it
    /// ends itself.
    pub fn block(&mut self, bytes: &[u8], start: usize) -> (&Symbols, usize) {
        let (eights, fives) = (&mut *self.eights, &mut *self.fives);
        let symbols = &mut self.symbols;
        symbols.literals = [0; 288];
        symbols.distances = [0; 32];
        let all = &mut symbols.all[..];
        let mut count = 0;
        let tail = bytes.len().saturating_sub(TAIL_BYTES);
        let limit = tail.min(start + BLOCK_BYTES);
        let mut place = start;
        while place < limit {
            let here = load(bytes, place);
            let (by_eight, far_eight) = exchange(eights, here, place);
            let (by_five, far_five) = exchange(fives, here << 24, place);
            let mut length = 0;
            let mut back = 0;
            if by_eight | by_five {
                back = if by_eight && is_near(far_eight) {
                    far_eight
                } else {
                    far_five
                };
                if is_near(back) {
                    length = first_equal(bytes, place - back, place, here);
                }
            }
            if length < 4 {
                let byte = here.to_le_bytes()[0];
                all[count] = Symbol::literal(byte);
                symbols.literals[usize::from(byte)] += 1;
                count += 1;
                place += 1;
                continue;
            }
            if length == SHORT {
                length = equal(bytes, place - back, place);
            }
            let end = place + length;
            if end < limit {
                for place in [place + 1, place + 2] {
                    exchange(eights, load(bytes, place), place);
                }
                for place in [place + 1, end - 2, end - 1] {
                    exchange(fives, load(bytes, place) << 24, place);
                }
            }
            let (slot, extra) = slot(back);
            all[count] = Symbol::pair(length, slot, extra);
            symbols.literals[length_symbol(length)] += 1;
            symbols.distances[usize::from(slot) % 32] += 1;
            count += 1;
            place = end;
        }
        if limit == tail {
            for byte in &bytes[place..] {
                all[count] = Symbol::literal(*byte);
                symbols.literals[usize::from(*byte)] += 1;
                count += 1;
            }
            place = bytes.len();
        }
        symbols.count = count;
        (symbols, place)
    }
}

/// Eight bytes from a place on.
fn load(bytes: &[u8], place: usize) -> u64 {
    let bytes = bytes[place..place + 8].try_into();
    u64::from_le_bytes(bytes.expect("eight bytes"))
}

/// Remembers a place by the bytes in `key`; says whether it is likely that the place remembered before
/// has the same bytes, and how far back that is, but for multiples of 65,536.
#[expect(
    clippy::cast_possible_truncation,
    reason = "of hashes and places some bits are kept"
)]
fn exchange<const N: usize>(table: &mut [u32; N], key: u64, place: usize) -> (bool, usize) {
    let hash = (key.wrapping_mul(RATIO) >> 32) as u32;
    let entry = hash << 16 | u32::from(place as u16);
    let last = mem::replace(&mut table[(hash >> (32 - N.ilog2())) as usize], entry);
    let back = entry.wrapping_sub(last) & 0xffff;
    ((entry ^ last) >> 16 == 0, back as usize)
}

/// Whether a match may be so far back; no place is its own match.
fn is_near(back: usize) -> bool {
    back.wrapping_sub(1) < FARTHEST
}

/// As many equal bytes as [`first_equal`] sees.
const SHORT: usize = 16;

/// How many bytes from `place` on, where `here` is, are those from `from` on, up to [`SHORT`].
fn first_equal(bytes: &[u8], from: usize, place: usize, here: u64) -> usize {
    let first = load(bytes, from) ^ here;
    let second = load(bytes, from + 8) ^ load(bytes, place + 8);
    // Without a branch: nobody can tell which it will be.
    select_unpredictable(first == 0, 8 + zero_bytes(second), zero_bytes(first))
}

/// The same, up to [`LONGEST`]; it is known for [`SHORT`].
fn equal(bytes: &[u8], from: usize, place: usize) -> usize {
    let most = LONGEST.min(bytes.len() - place);
    let (from, here) = (&bytes[from..][..most], &bytes[place..][..most]);
    let mut length = SHORT;
    while length + 8 <= most {
        let different = load(from, length) ^ load(here, length);
        if different != 0 {
            return length + zero_bytes(different);
        }
        length += 8;
    }
    while length < most && from[length] == here[length] {
        length += 1;
    }
    length
}

/// How many of the first bytes are zero.
fn zero_bytes(word: u64) -> usize {
    (word.trailing_zeros() / 8) as usize
}

/// The symbol of a match's length.
fn length_symbol(length: usize) -> usize {
    usize::from(LENGTHS[length].symbol)
}

/// DEFLATE's symbol of a distance, and the bits that follow it.
#[expect(clippy::cast_possible_truncation, reason = "distances have 15 bits")]
fn slot(distance: usize) -> (u8, u32) {
    let least = distance - 1;
    let place = if least < 256 {
        least
    } else {
        256 + (least >> 7)
    };
    let slot = DISTANCE_SYMBOLS[place % DISTANCE_SYMBOLS.len()];
    (slot, least as u32 - alphabet::distance_start(slot))
}
