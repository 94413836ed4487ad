//! A block's symbols → its bits: a header that tells the codes, then the symbols by these codes.

use super::alphabet::{self, DISTANCES, END, LENGTHS, LITERALS};
use super::huffman;
use super::matches::{Symbol, Symbols};

/// The code of code lengths: its symbols, its longest code, and the order in which its own lengths come.
/// Source: RFC 1951, 3.2.7.
const ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
const ORDER_LONGEST: usize = 7;

/// Bits that are no whole byte yet.
#[derive(Clone, Copy, Default)]
pub struct BitWriter {
    bits: u64,
    count: u32,
}

impl BitWriter {
    fn put(&mut self, bits: u32, count: u32, out: &mut Vec<u8>) {
        self.bits |= u64::from(bits) << self.count;
        self.count += count;
        while self.count >= 8 {
            out.push(self.bits.to_le_bytes()[0]);
            self.bits >>= 8;
            self.count -= 8;
        }
    }

    /// Fills up the last byte.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if self.count > 0 {
            self.put(0, 8 - self.count, out);
        }
    }
}

/// Appends a block to `out`, where `bits` has stood at the end of the one before it.
pub fn write(symbols: &Symbols, last: bool, mut bits: BitWriter, out: &mut Vec<u8>) -> BitWriter {
    let mut counts = symbols.literals;
    counts[END] = 1;
    let mut lengths = [0; LITERALS + DISTANCES];
    let (literals, distances) = lengths.split_at_mut(LITERALS);
    huffman::lengths(&counts[..LITERALS], huffman::LONGEST, literals);
    huffman::lengths(&symbols.distances[..DISTANCES], huffman::LONGEST, distances);
    let (literals, distances) = lengths.split_at(LITERALS);
    // The last block, and dynamic codes.
    bits.put(u32::from(last) | 2 << 1, 3, out);
    header(literals, distances, &mut bits, out);
    let codes = Codes::of(literals, distances);
    bits = codes.write(symbols.all(), bits, out);
    let end = codes.firsts[END];
    bits.put(end.bits(), end.count(), out);
    bits
}

/// Writes the lengths of the codes.
fn header(literals: &[u8], distances: &[u8], bits: &mut BitWriter, out: &mut Vec<u8>) {
    let used = |lengths: &[u8], least: usize| {
        let last = lengths.iter().rposition(|length| *length > 0);
        last.map_or(least, |last| last + 1).max(least)
    };
    let (literals, distances) = (
        &literals[..used(literals, 257)],
        &distances[..used(distances, 1)],
    );
    let mut all = [0; LITERALS + DISTANCES];
    all[..literals.len()].copy_from_slice(literals);
    all[literals.len()..][..distances.len()].copy_from_slice(distances);
    let runs = runs(&all[..literals.len() + distances.len()]);
    let mut counts = [0; ORDER.len()];
    for run in &runs {
        counts[usize::from(run.symbol)] += 1;
    }
    let mut lengths = [0; ORDER.len()];
    huffman::lengths(&counts, ORDER_LONGEST, &mut lengths);
    let mut codes = [0; ORDER.len()];
    huffman::codes(&lengths, &mut codes);
    let told = ORDER.iter().rposition(|symbol| lengths[*symbol] > 0);
    let told = told.map_or(4, |last| last + 1).max(4);
    for (number, least, count) in [
        (literals.len(), 257, 5),
        (distances.len(), 1, 5),
        (told, 4, 4),
    ] {
        let number = u32::try_from(number - least).expect("a few bits");
        bits.put(number, count, out);
    }
    for symbol in &ORDER[..told] {
        bits.put(lengths[*symbol].into(), 3, out);
    }
    for run in runs {
        let symbol = usize::from(run.symbol);
        bits.put(codes[symbol].into(), lengths[symbol].into(), out);
        bits.put(run.extra.into(), run.extra_bits, out);
    }
}

/// A code length, or several that are the same.
struct Run {
    /// The length, or 16 for the one before it again, 17 and 18 for zeros.
    symbol: u8,
    extra: u8,
    extra_bits: u32,
}

fn runs(lengths: &[u8]) -> Vec<Run> {
    let mut runs = Vec::new();
    for same in lengths.chunk_by(|a, b| a == b) {
        let length = same[0];
        let mut left = same.len();
        let mut push = |symbol, extra: usize, extra_bits| {
            let extra = u8::try_from(extra).expect("at most 7 bits");
            runs.push(Run {
                symbol,
                extra,
                extra_bits,
            });
        };
        if length > 0 {
            push(length, 0, 0);
            left -= 1;
        }
        while left >= 3 {
            let most = if length > 0 { 6 } else { 138 };
            let taken = left.min(most);
            match (length, taken) {
                (0, ..11) => push(17, taken - 3, 3),
                (0, _) => push(18, taken - 11, 7),
                _ => push(16, taken - 3, 2),
            }
            left -= taken;
        }
        for _ in 0..left {
            push(length, 0, 0);
        }
    }
    runs
}

/// Bits and their number: `bits | count << 24`.
#[derive(Clone, Copy, Default)]
struct Code(u32);

impl Code {
    fn new(bits: u32, count: u32) -> Self {
        Self(bits | count << 24)
    }

    fn bits(self) -> u32 {
        self.0 & 0xff_ffff
    }

    fn count(self) -> u32 {
        self.0 >> 24
    }
}

/// How a block's symbols are written.
struct Codes {
    /// By [`Symbol::first`]: of a length with the extra bits; also of [`END`].
    firsts: [Code; Symbol::FIRSTS],
    /// By [`Symbol::slot`]: of a distance without its extra bits, and nothing for what has none.
    slots: [Code; Symbol::SLOTS],
    /// How many extra bits follow.
    extra_bits: [u8; Symbol::SLOTS],
}

/// Symbols written at once, and the most bytes that one takes: 48 bits.
const CHUNK: usize = 512;
const SYMBOL_BYTES: usize = 6;

impl Codes {
    fn of(literals: &[u8], distances: &[u8]) -> Self {
        let mut codes = [0; LITERALS];
        huffman::codes(literals, &mut codes);
        let code = |symbol: usize| Code::new(codes[symbol].into(), literals[symbol].into());
        let mut firsts = [Code::default(); Symbol::FIRSTS];
        for (symbol, first) in firsts[..=END].iter_mut().enumerate() {
            *first = code(symbol);
        }
        for (length, first) in LENGTHS.iter().zip(&mut firsts[END..]).skip(3) {
            let symbol = code(length.symbol.into());
            *first = Code::new(
                symbol.bits() | u32::from(length.extra) << symbol.count(),
                symbol.count() + u32::from(length.extra_bits),
            );
        }
        let mut codes = [0; DISTANCES];
        huffman::codes(distances, &mut codes);
        let mut slots = [Code::default(); Symbol::SLOTS];
        let mut extra_bits = [0; Symbol::SLOTS];
        for (symbol, code) in (0_u8..).zip(codes) {
            let place = usize::from(symbol);
            slots[place] = Code::new(code.into(), distances[place].into());
            extra_bits[place] = alphabet::distance_bits(symbol);
        }
        Self {
            firsts,
            slots,
            extra_bits,
        }
    }

    /// Appends symbols. What is a literal and what a match makes no branch, which nobody could foretell.
    fn write(&self, symbols: &[Symbol], from: BitWriter, out: &mut Vec<u8>) -> BitWriter {
        let mut buffer = [0; CHUNK * SYMBOL_BYTES + 8];
        let BitWriter {
            mut bits,
            mut count,
        } = from;
        for chunk in symbols.chunks(CHUNK) {
            let mut end = 0;
            for symbol in chunk {
                let first = self.firsts[symbol.first()];
                bits |= u64::from(first.bits()) << count;
                count += first.count();
                let slot = self.slots[symbol.slot()];
                let extra = u64::from(symbol.extra()) << slot.count();
                bits |= (u64::from(slot.bits()) | extra) << count;
                count += slot.count() + u32::from(self.extra_bits[symbol.slot()]);
                // Less than 8 bits were left of the one before: 55 at most.
                buffer[end..end + 8].copy_from_slice(&bits.to_le_bytes());
                end += (count / 8) as usize;
                bits >>= count / 8 * 8;
                count %= 8;
            }
            out.extend_from_slice(&buffer[..end]);
        }
        BitWriter { bits, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_as_long_as_they_may_be() {
        let runs = |length, count| -> Vec<(u8, u8)> {
            let runs = runs(&vec![length; count]);
            runs.iter().map(|run| (run.symbol, run.extra)).collect()
        };
        assert_eq!(runs(0, 2), [(0, 0), (0, 0)]);
        assert_eq!(runs(0, 3), [(17, 0)]);
        assert_eq!(runs(0, 10), [(17, 7)]);
        assert_eq!(runs(0, 11), [(18, 0)]);
        assert_eq!(runs(0, 140), [(18, 127), (0, 0), (0, 0)]);
        assert_eq!(runs(7, 3), [(7, 0), (7, 0), (7, 0)]);
        assert_eq!(runs(7, 4), [(7, 0), (16, 0)]);
        assert_eq!(runs(7, 11), [(7, 0), (16, 3), (16, 1)]);
    }
}
