//! How often symbols come → the bits that each is written by.

/// Longest code of literals, lengths and distances. Source: RFC 1951, 3.2.7.
pub const LONGEST: usize = 15;

/// Most symbols of an alphabet.
const SYMBOLS: usize = 288;

/// Gives each symbol that comes at all the length of its code, of at most `longest` bits; the others
/// get 0. Codes leave no bits unused: where fewer than two symbols come, others have codes, too.
pub fn lengths(counts: &[u32], longest: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    // Sorted by count, then by symbol; a block has far less than 2^22 symbols.
    let mut leaves = [0_u32; SYMBOLS];
    let mut used = 0;
    for (symbol, count) in (0_u32..).zip(counts) {
        if *count > 0 {
            leaves[used] = count << 9 | symbol;
            used += 1;
        }
    }
    let leaves = &mut leaves[..used];
    if used < 2 {
        let symbol = leaves.first().map_or(0, |leaf| symbol(*leaf));
        lengths[symbol] = 1;
        lengths[usize::from(symbol == 0)] = 1;
        return;
    }
    leaves.sort_unstable();
    let mut numbers = numbers_of_lengths(leaves, longest);
    // The rarest have the longest.
    let mut length = longest;
    for leaf in leaves.iter() {
        while numbers[length] == 0 {
            length -= 1;
        }
        numbers[length] -= 1;
        lengths[symbol(*leaf)] = u8::try_from(length).expect("at most 15");
    }
}

fn symbol(leaf: u32) -> usize {
    leaf as usize % (1 << 9)
}

/// How many codes there are of each length.
fn numbers_of_lengths(leaves: &[u32], longest: usize) -> [u32; LONGEST + 1] {
    // The two rarest nodes are joined until there is one: leaves and joined nodes each come sorted.
    let mut weights = [0_u32; 2 * SYMBOLS];
    let mut parents = [0_u16; 2 * SYMBOLS];
    for (weight, leaf) in weights.iter_mut().zip(leaves) {
        *weight = leaf >> 9;
    }
    let (mut leaf, mut joined) = (0, leaves.len());
    let root = 2 * leaves.len() - 2;
    for node in leaves.len()..=root {
        for _ in 0..2 {
            let is_leaf =
                leaf < leaves.len() && (joined == node || weights[leaf] <= weights[joined]);
            let next = if is_leaf { &mut leaf } else { &mut joined };
            weights[node] += weights[*next];
            parents[*next] = u16::try_from(node).expect("less than 576");
            *next += 1;
        }
    }
    let mut depths = [0_u8; 2 * SYMBOLS];
    let mut numbers = [0; LONGEST + 1];
    for node in (0..root).rev() {
        let depth = depths[usize::from(parents[node])] + 1;
        depths[node] = depth;
        if node < leaves.len() {
            numbers[usize::from(depth).min(longest)] += 1;
        }
    }
    // What was cut to the longest takes more than there is. Two codes of that length less, and one of
    // the next shorter length that there is becomes two that are a bit longer: one of those two again.
    let available = 1_u32 << longest;
    let mut taken: u32 = (1..=longest)
        .map(|length| numbers[length] << (longest - length))
        .sum();
    while taken > available {
        let shorter = (1..longest).rev().find(|length| numbers[*length] > 0);
        let shorter = shorter.expect("there are fewer symbols than codes");
        numbers[shorter] -= 1;
        numbers[shorter + 1] += 2;
        numbers[longest] -= 1;
        taken -= 1;
    }
    numbers
}

/// The codes of lengths, the first bit lowest. Source: RFC 1951, 3.2.2.
pub fn codes(lengths: &[u8], codes: &mut [u16]) {
    let mut numbers = [0_u16; LONGEST + 1];
    for length in lengths {
        numbers[usize::from(*length)] += 1;
    }
    numbers[0] = 0;
    let mut next = [0_u16; LONGEST + 1];
    for length in 1..=LONGEST {
        next[length] = (next[length - 1] + numbers[length - 1]) << 1;
    }
    for (code, length) in codes.iter_mut().zip(lengths) {
        let length = usize::from(*length);
        if length > 0 {
            *code = next[length].reverse_bits() >> (16 - length);
            next[length] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths_of(counts: &[u32], longest: usize) -> Vec<u8> {
        let mut got = vec![9; counts.len()];
        lengths(counts, longest, &mut got);
        got
    }

    #[test]
    fn the_rarest_have_the_longest() {
        assert_eq!(
            lengths_of(&[5, 1, 0, 2, 9], 15),
            [2, 4, 0, 4, 1].map(|n| n - u8::from(n == 4))
        );
        assert_eq!(lengths_of(&[1, 1, 1, 1], 15), [2; 4]);
    }

    #[test]
    fn there_are_always_two() {
        assert_eq!(lengths_of(&[0, 0, 0], 7), [1, 1, 0]);
        assert_eq!(lengths_of(&[0, 0, 7], 7), [1, 0, 1]);
        assert_eq!(lengths_of(&[7, 0, 0], 7), [1, 1, 0]);
    }

    #[test]
    fn all_bits_are_used_within_the_limit() {
        for (symbols, longest) in [(19, 7), (30, 15), (286, 15), (286, 9)] {
            for growth in [100, 101, 110, 150, 162, 200, 300] {
                let mut count = 100_u64;
                let mut counts = Vec::new();
                for _ in 0..symbols {
                    counts.push(u32::try_from(count / 100).unwrap().min(70_000));
                    count = (count * growth / 100).min(7_000_000);
                }
                let lengths = lengths_of(&counts, longest);
                let taken: u32 = lengths
                    .iter()
                    .map(|length| 1 << (longest - usize::from(*length)))
                    .sum();
                assert_eq!(taken, 1 << longest, "{symbols} {longest} {growth}");
                let mut codes_got = vec![0; symbols];
                codes(&lengths, &mut codes_got);
                let mut all: Vec<_> = codes_got.into_iter().zip(lengths).collect();
                all.sort_unstable();
                all.dedup();
                assert_eq!(all.len(), symbols);
            }
        }
    }
}
