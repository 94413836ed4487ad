//! The tar of a slug: entries in, normalised bytes appended to a buffer.
//!
//! Headers are filled in by hand, because the `tar` crate takes the `./` off a path. Callers give
//! the entries in their order, paths relative to the app's root.

use tar::{EntryType, Header};

use crate::slug::{MTIME_SECONDS, PREFIX};

pub const BLOCK_BYTES: usize = 512;

/// What ends an archive.
pub const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// Longest name or link target that a header has room for, and longest first part of a name.
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;

/// Largest size that the digits of a header have room for.
const SIZE_BYTES: u64 = 0o777_7777_7777;

/// The name of the entries that carry what a header has no room for. It is nobody's file: who does
/// not know such entries leaves it lying about under this name.
const PAX_NAME: &[u8] = b"././@PaxHeader";

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
pub fn entry_bytes(path: &[u8], target: &[u8], size_bytes: u64) -> u64 {
    let headers = header_bytes(path, target, size_bytes);
    headers as u64 + size_bytes.next_multiple_of(BLOCK_BYTES as u64)
}

/// How many of them come before its content.
pub fn header_bytes(path: &[u8], target: &[u8], size_bytes: u64) -> usize {
    let records = if PREFIX.len() + path.len() <= NAME_BYTES {
        records(b"", target, size_bytes)
    } else {
        records(&name(path), target, size_bytes)
    };
    match records.len() {
        0 => BLOCK_BYTES,
        bytes => 2 * BLOCK_BYTES + bytes.next_multiple_of(BLOCK_BYTES),
    }
}

fn entry(
    out: &mut Vec<u8>,
    name: &[u8],
    target: &[u8],
    kind: EntryType,
    mode: u32,
    size_bytes: u64,
) {
    let records = records(name, target, size_bytes);
    if !records.is_empty() {
        let bytes = records.len() as u64;
        let mut header = header(PAX_NAME, EntryType::XHeader, 0o644, bytes);
        header.set_mtime(0);
        header.set_cksum();
        out.extend(header.as_bytes());
        out.extend(&records);
        pad(out, bytes);
    }
    let mut header = header(name, kind, mode, size_bytes);
    let target = &target[..target.len().min(NAME_BYTES)];
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
    header.set_mtime(MTIME_SECONDS);
    header.set_cksum();
    out.extend(header.as_bytes());
}

/// What the header has no room for, as PAX records.
fn records(name: &[u8], target: &[u8], size_bytes: u64) -> Vec<u8> {
    let mut records = Vec::new();
    if name.len() > NAME_BYTES && split(name).is_none() {
        record(&mut records, "path", name);
    }
    if target.len() > NAME_BYTES {
        record(&mut records, "linkpath", target);
    }
    if size_bytes > SIZE_BYTES {
        record(&mut records, "size", size_bytes.to_string().as_bytes());
    }
    records
}

/// Appends `<length> <key>=<value>\n`; the length counts its own digits.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    out.extend(format!("{length} {key}=").into_bytes());
    out.extend(value);
    out.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// Where the `/` is at which a long name falls into a header's two parts: the first one that leaves a
/// second part that is short enough.
fn split(name: &[u8]) -> Option<usize> {
    let least = name.len().saturating_sub(NAME_BYTES + 1).max(1);
    let most = PREFIX_BYTES.min(name.len().saturating_sub(2));
    (least..=most).find(|slash| name[*slash] == b'/')
}

fn header(name: &[u8], kind: EntryType, mode: u32, size_bytes: u64) -> Header {
    let mut header = Header::new_ustar();
    let name = match split(name) {
        Some(slash) if name.len() > NAME_BYTES => {
            if let Some(ustar) = header.as_ustar_mut() {
                ustar.prefix[..slash].copy_from_slice(&name[..slash]);
            }
            &name[slash + 1..]
        }
        _ => &name[..name.len().min(NAME_BYTES)],
    };
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
    fn names_go_where_there_is_room() {
        let long = |parts: &[usize]| {
            let parts = parts.iter().map(|length| "n".repeat(*length));
            parts.collect::<Vec<_>>().join("/").into_bytes()
        };
        let records = |path: &[u8], target: &[u8]| {
            let mut out = Vec::new();
            symlink(&mut out, path, target);
            let headers = out.len() / BLOCK_BYTES;
            let text = String::from_utf8_lossy(&out).into_owned();
            (headers, text)
        };
        // Of the header, in its two parts, with a record of at most a block.
        for (path, headers) in [
            (long(&[94]), 1),
            (long(&[95]), 1),
            (long(&[100]), 1),
            (long(&[101]), 3),
            (long(&[149, 100]), 1),
            (long(&[150, 100]), 3),
            (long(&[149, 101]), 3),
            (long(&[90, 58, 100]), 1),
        ] {
            assert_eq!(records(&path, b"x").0, headers, "{}", path.len());
        }
        let target = long(&[100]);
        assert_eq!(records(b"x", &target).0, 1);
        let target = long(&[101]);
        let (headers, text) = records(b"x", &target);
        assert_eq!(headers, 3);
        let record = format!("115 linkpath={}\n", "n".repeat(101));
        assert_eq!(record.len(), 115);
        assert!(text.contains(&record), "{text}");
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        for length in 1..2000 {
            let mut out = Vec::new();
            record(&mut out, "path", &vec![b'n'; length]);
            let said = out.split(|byte| *byte == b' ').next().unwrap();
            assert_eq!(String::from_utf8_lossy(said), out.len().to_string());
        }
        let mut out = Vec::new();
        file(&mut out, b"x", false, SIZE_BYTES + 1);
        assert_eq!(out.len(), 3 * BLOCK_BYTES);
        assert!(out[BLOCK_BYTES..].starts_with(b"19 size=8589934592\n"));
    }

    #[test]
    fn entries_take_what_is_said() {
        for length in [0, 1, 93, 94, 95, 505, 506, 600, 4095] {
            let text = vec![b'n'; length];
            let mut out = Vec::new();
            symlink(&mut out, &text, b"");
            symlink(&mut out, b"", &text);
            let said = entry_bytes(&text, b"", 0) + entry_bytes(b"", &text, 0);
            assert_eq!(out.len() as u64, said, "{length}");
        }
        for size_bytes in [0, 1, 511, 512, 513] {
            let mut out = Vec::new();
            file(&mut out, b"x", false, size_bytes);
            out.resize(out.len() + usize::try_from(size_bytes).unwrap(), b'x');
            pad(&mut out, size_bytes);
            assert_eq!(out.len() as u64, entry_bytes(b"x", b"", size_bytes));
        }
    }
}
