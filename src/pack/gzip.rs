//! The encoder of format 1: a piece of the tar in, one gzip member out, the same for the same bytes.

use std::io;

use libdeflater::{CompressionLvl, crc32};

use super::{Error, Level, fast};

/// Two bytes that say gzip and the method, flags and time, each of them zero; then come
/// [`Level::mark`] and "unknown" of RFC 1952's operating systems.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Where [`HEADER`] has the level's mark.
const MARK: usize = 8;

/// What libdeflate calls [`Level::Small`].
const LIBDEFLATE_LEVEL: i32 = 4;

/// Most bytes of a stored block. Source: RFC 1951, 3.2.4.
const STORED_BYTES: usize = 0xffff;

impl Level {
    /// What a member's header says of it, as RFC 1952 has it: 4 for the fastest algorithm.
    pub(super) fn mark(self) -> u8 {
        match self {
            Self::Small => 0,
            Self::Fast => 4,
        }
    }
}

/// Compresses members, one after the other.
pub struct Encoder {
    compressor: Compressor,
    level: Level,
}

enum Compressor {
    /// With room for a stream.
    Small(libdeflater::Compressor, Vec<u8>),
    Fast(Box<fast::Compressor>),
}

impl Encoder {
    pub fn new(level: Level) -> Self {
        let compressor = match level {
            Level::Small => {
                let number = CompressionLvl::new(LIBDEFLATE_LEVEL);
                let number = number.expect("a level of libdeflate's");
                Compressor::Small(libdeflater::Compressor::new(number), Vec::new())
            }
            Level::Fast => Compressor::Fast(Box::new(fast::Compressor::new())),
        };
        Self { compressor, level }
    }

    /// Writes a member that holds `tar` to `out`, in place of what was there.
    ///
    /// What does not get smaller by a 64th is stored.
    pub fn encode(&mut self, tar: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend(HEADER);
        out[MARK] = self.level.mark();
        let start = out.len();
        // What takes more room than this is stored.
        let most = tar.len() - tar.len() / 64;
        if !self.compressor.compress(tar, most, out) {
            out.truncate(start);
            store(tar, out);
        }
        out.extend(trailer(tar));
    }
}

impl Compressor {
    /// Appends the stream of `tar` to `out`, unless it takes more than `most` bytes.
    fn compress(&mut self, tar: &[u8], most: usize, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Small(libdeflate, room) => {
                if room.len() < most {
                    room.resize(most, 0);
                }
                match libdeflate.deflate_compress(tar, &mut room[..most]) {
                    Ok(bytes) => out.extend_from_slice(&room[..bytes]),
                    Err(_no_room) => return false,
                }
                true
            }
            Self::Fast(fast) => fast.compress(tar, most, out),
        }
    }
}

/// Decompresses members, one after the other.
#[derive(Default)]
pub struct Decoder(libdeflater::Decompressor);

impl Decoder {
    /// Writes the `tar_bytes` that a member of ours holds to `tar`, in place of what was there.
    ///
    /// # Errors
    /// It holds something else.
    pub fn decode(
        &mut self,
        member: &[u8],
        tar_bytes: usize,
        tar: &mut Vec<u8>,
    ) -> Result<(), Error> {
        tar.resize(tar_bytes, 0);
        match self.0.gzip_decompress(member, tar) {
            Ok(bytes) if bytes == tar_bytes => Ok(()),
            _ => Err(Error::ReadSlug(io::ErrorKind::InvalidData.into())),
        }
    }
}

/// Whether a member was written by this encoder at that level, as far as its header tells.
pub fn is_of_level(member: &[u8], level: Level) -> bool {
    let mut header = HEADER;
    header[MARK] = level.mark();
    member.starts_with(&header)
}

/// Whether a member holds `tar`, as far as the checksum and size at its end tell.
pub fn checks(member: &[u8], tar: &[u8]) -> bool {
    member.ends_with(&trailer(tar))
}

/// What ends a member that holds `tar`: its CRC-32 and its size.
fn trailer(tar: &[u8]) -> [u8; 8] {
    let size = u32::try_from(tar.len()).expect("members are small");
    let [crc, size] = [crc32(tar), size].map(u32::to_le_bytes);
    let mut trailer = [0; 8];
    trailer[..4].copy_from_slice(&crc);
    trailer[4..].copy_from_slice(&size);
    trailer
}

/// Appends stored blocks.
fn store(bytes: &[u8], out: &mut Vec<u8>) {
    let blocks = bytes.len().div_ceil(STORED_BYTES);
    for (number, block) in bytes.chunks(STORED_BYTES).enumerate() {
        out.push(u8::from(number + 1 == blocks));
        let length = u16::try_from(block.len()).expect("a block's bytes");
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::pack::tests::{noise, random};

    fn holds(member: &[u8], tar: &[u8]) -> bool {
        let mut out = vec![0; tar.len()];
        let mut decompressor = libdeflater::Decompressor::new();
        decompressor.gzip_decompress(member, &mut out) == Ok(tar.len()) && out == tar
    }

    #[test]
    fn what_is_encoded_is_held() {
        let noisy = random(100_000);
        for bytes in [
            &b"x"[..],
            &[0; 1024],
            &noise(300_000),
            &noisy,
            &noisy[..STORED_BYTES],
        ] {
            for level in [Level::Small, Level::Fast] {
                let mut member = Vec::new();
                Encoder::new(level).encode(bytes, &mut member);
                assert!(is_of_level(&member, level));
                assert!(holds(&member, bytes) && checks(&member, bytes));
                assert!(!holds(&member, &bytes[1..]) && !checks(&member, &bytes[1..]));
                let mut out = Vec::new();
                flate2::read::GzDecoder::new(&member[..])
                    .read_to_end(&mut out)
                    .unwrap();
                assert_eq!(out, bytes);
            }
        }
    }

    #[test]
    fn what_does_not_compress_is_stored() {
        let bytes = random(100_000);
        let mut member = Vec::new();
        Encoder::new(Level::Small).encode(&bytes, &mut member);
        assert_eq!(member.len(), bytes.len() + 10 + 2 * 5 + 8);
    }
}
