//! Deltas: instructions that make an object of another one.
//!
//! Source: gitformat-pack(5), "Deltified representation".

/// The lengths that a delta says of its base and of what it makes, and its instructions.
fn header(delta: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (base, rest) = size(delta)?;
    let (result, rest) = size(rest)?;
    Some((base, result, rest))
}

fn size(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// Makes the object; `None` where the delta is not one of this base, or would make more than
/// `limit` bytes.
pub(in super::super) fn apply(base: &[u8], delta: &[u8], limit: usize) -> Option<Vec<u8>> {
    let (base_length, length, mut delta) = header(delta)?;
    let length = usize::try_from(length).ok()?;
    if base_length != base.len() as u64 || length > limit {
        return None;
    }
    let mut made = Vec::with_capacity(length);
    while let Some((&command, rest)) = delta.split_first() {
        delta = rest;
        let piece = if command & 0x80 != 0 {
            let mut argument = |bits: u8, shift: u8| {
                let mut value = 0usize;
                for bit in 0..bits {
                    if command & (1 << (bit + shift)) != 0 {
                        let (&byte, rest) = delta.split_first()?;
                        value |= usize::from(byte) << (8 * bit);
                        delta = rest;
                    }
                }
                Some(value)
            };
            let from = argument(4, 0)?;
            let count = match argument(3, 4)? {
                0 => 0x1_0000,
                count => count,
            };
            base.get(from..)?.get(..count)?
        } else if command != 0 {
            let (piece, rest) = delta.split_at_checked(usize::from(command))?;
            delta = rest;
            piece
        } else {
            return None;
        };
        if piece.len() > length - made.len() {
            return None;
        }
        made.extend_from_slice(piece);
    }
    (made.len() == length).then_some(made)
}
