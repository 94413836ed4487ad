//! The tar of a slug: entries in, normalised bytes appended to a buffer.
//!
//! Headers are filled in by hand, because the `tar` crate takes the `./` off a path. Callers give
//! the entries in their order, paths relative to the app's root.

use tar::{EntryType, Header};

use crate::slug::{MTIME_SECONDS, PREFIX};

pub const BLOCK_BYTES: usize = 512;

/// What ends an archive.
pub const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// Longest name or link target that a header has room for.
const NAME_BYTES: usize = 100;

/// The name of the entries that carry a long name or link target, as GNU tar has it.
const LONG_LINK: &[u8] = b"././@LongLink";

/// Appends a directory; the empty path is the app's root.
pub fn directory(out: &mut Vec<u8>, path: &[u8]) {
    let mut name = name(path);
    if !path.is_empty() {
        name.push(b'/');
    }
    entry(out, &name, b"", EntryType::Directory, 0o755, 0);
}

/// Appends a symlink.
pub fn symlink(out: &mut Vec<u8>, path: &[u8], target: &[u8]) {
    entry(out, &name(path), target, EntryType::Symlink, 0o777, 0);
}

/// Appends a file's header; its content and [`pad`] come next.
pub fn file(out: &mut Vec<u8>, path: &[u8], executable: bool, size_bytes: u64) {
    let mode = if executable { 0o755 } else { 0o644 };
    let kind = EntryType::Regular;
    entry(out, &name(path), b"", kind, mode, size_bytes);
}

/// Fills up the last block of a content of `size_bytes`.
pub fn pad(out: &mut Vec<u8>, size_bytes: u64) {
    out.resize(out.len() + padding(size_bytes), 0);
}

/// How many bytes an entry takes in all; a directory's path has its `/` at the end.
pub fn entry_bytes(path_bytes: usize, target_bytes: usize, size_bytes: u64) -> u64 {
    let long = |text_bytes: usize| {
        if text_bytes <= NAME_BYTES {
            return 0;
        }
        BLOCK_BYTES + (text_bytes + 1).next_multiple_of(BLOCK_BYTES)
    };
    let headers = BLOCK_BYTES + long(PREFIX.len() + path_bytes) + long(target_bytes);
    headers as u64 + size_bytes.next_multiple_of(BLOCK_BYTES as u64)
}

fn entry(
    out: &mut Vec<u8>,
    name: &[u8],
    target: &[u8],
    kind: EntryType,
    mode: u32,
    size_bytes: u64,
) {
    long(out, target, EntryType::GNULongLink);
    long(out, name, EntryType::GNULongName);
    let mut header = header(name, kind, mode, size_bytes);
    let target = &target[..target.len().min(NAME_BYTES)];
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
    header.set_mtime(MTIME_SECONDS);
    header.set_cksum();
    out.extend(header.as_bytes());
}

/// Appends the entry that carries what the next header has no room for.
fn long(out: &mut Vec<u8>, text: &[u8], kind: EntryType) {
    if text.len() <= NAME_BYTES {
        return;
    }
    let size_bytes = text.len() as u64 + 1;
    let mut header = header(LONG_LINK, kind, 0o644, size_bytes);
    header.set_cksum();
    out.extend(header.as_bytes());
    out.extend(text);
    out.push(0);
    pad(out, size_bytes);
}

fn header(name: &[u8], kind: EntryType, mode: u32, size_bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    let name = &name[..name.len().min(NAME_BYTES)];
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size_bytes);
    header
}

fn name(path: &[u8]) -> Vec<u8> {
    [PREFIX.as_bytes(), path].concat()
}

/// How many zeros fill up the last block of `size_bytes`.
fn padding(size_bytes: u64) -> usize {
    let zeros = size_bytes.next_multiple_of(BLOCK_BYTES as u64) - size_bytes;
    usize::try_from(zeros).expect("less than a block")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_take_what_is_said() {
        for length in [0, 1, 93, 94, 95, 505, 506, 600, 4095] {
            let text = vec![b'n'; length];
            let mut out = Vec::new();
            symlink(&mut out, &text, b"");
            symlink(&mut out, b"", &text);
            let said = entry_bytes(length, 0, 0) + entry_bytes(0, length, 0);
            assert_eq!(out.len() as u64, said, "{length}");
        }
        for size_bytes in [0, 1, 511, 512, 513] {
            let mut out = Vec::new();
            file(&mut out, b"x", false, size_bytes);
            out.resize(out.len() + usize::try_from(size_bytes).unwrap(), b'x');
            pad(&mut out, size_bytes);
            assert_eq!(out.len() as u64, entry_bytes(1, 0, size_bytes));
        }
    }
}
