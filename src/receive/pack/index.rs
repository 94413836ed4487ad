//! The index of a pack: where each object is, by id.
//!
//! Source: gitformat-pack(5), "Version 2 pack-*.idx files".

use gix::ObjectId;
use gix::hash::Kind;

use super::super::Error;
use super::objects::Entry;

/// Offsets from here on stand in a table of their own.
const LARGE_OFFSET: u64 = 1 << 31;

/// Writes the index of entries that are sorted by id.
pub(super) fn write(entries: &[Entry], pack: &ObjectId, hash: Kind) -> Result<Vec<u8>, Error> {
    let count = |number: usize| u32::try_from(number).map_err(|_| Error::Unreadable);
    let length = 1032 + entries.len() * (hash.len_in_bytes() + 8) + 2 * hash.len_in_bytes();
    let mut index = Vec::with_capacity(length);
    index.extend_from_slice(b"\xfftOc\0\0\0\x02");
    let mut before = 0;
    for first in 0..=u8::MAX {
        let here = entries[before..]
            .iter()
            .take_while(|entry| entry.id.first_byte() == first);
        before += here.count();
        index.extend_from_slice(&count(before)?.to_be_bytes());
    }
    for entry in entries {
        index.extend_from_slice(entry.id.as_slice());
    }
    for entry in entries {
        index.extend_from_slice(&entry.crc32.to_be_bytes());
    }
    let mut large = Vec::new();
    for entry in entries {
        let offset = match u32::try_from(entry.offset) {
            Ok(offset) if entry.offset < LARGE_OFFSET => offset,
            _ => {
                large.push(entry.offset);
                count(large.len() - 1)? | 1 << 31
            }
        };
        index.extend_from_slice(&offset.to_be_bytes());
    }
    for offset in large {
        index.extend_from_slice(&offset.to_be_bytes());
    }
    index.extend_from_slice(pack.as_slice());
    let mut hasher = gix::hash::hasher(hash);
    hasher.update(&index);
    let checksum = hasher.try_finalize().map_err(|_| Error::Unreadable)?;
    index.extend_from_slice(checksum.as_slice());
    Ok(index)
}
