//! DEFLATE's symbols of lengths and distances. Source: RFC 1951, 3.2.5.

/// Symbols of literals, of the block's end and of lengths; and of distances.
pub const LITERALS: usize = 286;
pub const DISTANCES: usize = 30;

/// The symbol that ends a block.
pub const END: usize = 256;

/// How a length is written: its symbol, and bits that follow that.
#[derive(Clone, Copy)]
pub struct Length {
    pub symbol: u16,
    pub extra_bits: u8,
    pub extra: u8,
}

/// By length, from 3 to 258.
pub static LENGTHS: [Length; 259] = lengths();

#[expect(clippy::cast_possible_truncation, reason = "all of it is below 512")]
const fn lengths() -> [Length; 259] {
    let none = Length {
        symbol: 0,
        extra_bits: 0,
        extra: 0,
    };
    let mut lengths = [none; 259];
    let mut length = 3;
    let mut symbol = 257;
    while symbol < LITERALS - 1 {
        // Eight symbols without extra bits, then four each with one bit, with two and so on.
        let extra_bits = (symbol as u32 - 257).saturating_sub(4) / 4;
        let mut extra = 0_u8;
        while extra < 1 << extra_bits && length < 258 {
            lengths[length] = Length {
                symbol: symbol as u16,
                extra_bits: extra_bits as u8,
                extra,
            };
            extra += 1;
            length += 1;
        }
        symbol += 1;
    }
    // The longest has a symbol of its own.
    lengths[258] = Length {
        symbol: symbol as u16,
        ..none
    };
    lengths
}

/// The symbol of each distance up to 256, then, by 128ths, of each above.
pub static DISTANCE_SYMBOLS: [u8; 512] = distance_symbols();

const fn distance_symbols() -> [u8; 512] {
    let mut symbols = [0; 512];
    let mut symbol = 0_u8;
    while (symbol as usize) < DISTANCES {
        let mut least = distance_start(symbol);
        let end = least + (1 << distance_bits(symbol));
        while least < end {
            let place = if least < 256 {
                least
            } else {
                256 + (least >> 7)
            };
            symbols[place as usize] = symbol;
            least += if least < 256 { 1 } else { 128 };
        }
        symbol += 1;
    }
    symbols
}

/// How many bits follow a distance's symbol.
pub const fn distance_bits(symbol: u8) -> u8 {
    (symbol / 2).saturating_sub(1)
}

/// The least distance of a symbol, less one.
pub const fn distance_start(symbol: u8) -> u32 {
    match symbol as u32 {
        symbol @ 0..4 => symbol,
        symbol => (2 + symbol % 2) << (symbol / 2 - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_those_of_the_rfc() {
        let starts = [
            3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99,
            115, 131, 163, 195, 227, 258,
        ];
        for (length, said) in LENGTHS.iter().enumerate().skip(3) {
            let symbol = starts.iter().rposition(|start| *start <= length).unwrap();
            assert_eq!(usize::from(said.symbol), 257 + symbol);
            assert_eq!(usize::from(said.extra), length - starts[symbol]);
            assert!(said.extra_bits == 0 || u16::from(said.extra) < 1 << said.extra_bits);
        }
        let starts = [
            1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025,
            1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
        ];
        for distance in 1..=32768_usize {
            let symbol = starts.iter().rposition(|start| *start <= distance).unwrap();
            let least = distance - 1;
            let place = if least < 256 {
                least
            } else {
                256 + (least >> 7)
            };
            assert_eq!(usize::from(DISTANCE_SYMBOLS[place]), symbol);
            let number = DISTANCE_SYMBOLS[place];
            assert_eq!(distance_start(number) as usize, starts[symbol] - 1);
            assert!(distance - starts[symbol] < 1 << distance_bits(number));
        }
    }
}
