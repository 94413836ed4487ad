//! What a slug holds, told from its bytes alone, and whether that is what a manifest says.

use std::fmt::Display;
use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;

use super::members::{Limits, Member, MemberKind, Members};
use super::{CHUNK_BYTES, Error};
use crate::digest::{Digest, Hashing};
use crate::slug::{Entry, EntryKind, FORMAT, Manifest, escape};

/// Makes the manifest of a slug from its bytes; for a slug that [`super::pack`] made it equals the
/// packer's.
///
/// A slug that something else made is described in the same terms: modes reduced to 644 and 755,
/// hard links as the files they are, times and owners not told.
///
/// # Errors
/// The slug is broken, has an entry that no slug may have or exceeds the default [`Limits`].
pub fn manifest_of(slug: impl Read) -> Result<Manifest, Error> {
    manifest_within(slug, &Limits::default())
}

/// As [`manifest_of`], with limits of the caller's.
///
/// # Errors
/// As those of [`manifest_of`].
pub fn manifest_within(slug: impl Read, limits: &Limits) -> Result<Manifest, Error> {
    let tar = Hashing::new(MultiGzDecoder::new(Hashing::new(slug)));
    let mut members = Members::new(tar, limits);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(Member { path, kind, .. }) = members.next()? {
        let kind = match kind {
            MemberKind::Directory if path.is_empty() => continue,
            MemberKind::Directory => EntryKind::Directory,
            MemberKind::File {
                executable,
                size_bytes,
            } => EntryKind::File {
                mode: if executable { "755" } else { "644" }.to_owned(),
                size_bytes,
                digest: digest(&mut members, &mut buffer)?,
            },
            MemberKind::Symlink { target } => EntryKind::Symlink {
                target: escape(&target),
            },
            MemberKind::HardLink { number, .. } => entries[number].kind.clone(),
        };
        entries.push(Entry {
            path: escape(&path),
            kind,
        });
    }
    let (gzip, diff_id, tar_bytes) = members.into_inner().finish();
    let (_, digest, size_bytes) = gzip.into_inner().finish();
    Ok(Manifest {
        format: FORMAT,
        digest,
        diff_id,
        size_bytes,
        tar_bytes,
        entries,
    })
}

/// Compares a slug with a manifest.
///
/// # Errors
/// [`Error::Mismatch`] names the first difference, from the inside out: an entry by its path, then
/// the tar, then the compressed bytes. The others are those of [`manifest_of`].
pub fn verify(slug: impl Read, manifest: &Manifest) -> Result<(), Error> {
    let got = manifest_of(slug)?;
    compare("the format", &manifest.format, &got.format)?;
    let count = manifest.entries.len().max(got.entries.len());
    for number in 0..count {
        let describe = |manifest: &Manifest| manifest.entries.get(number).map(describe);
        compare(
            &format!("entry {}", number + 1),
            &describe(manifest).unwrap_or_else(|| "missing".into()),
            &describe(&got).unwrap_or_else(|| "missing".into()),
        )?;
    }
    compare(
        "the tar's size in bytes",
        &manifest.tar_bytes,
        &got.tar_bytes,
    )?;
    compare("the diff id", &manifest.diff_id, &got.diff_id)?;
    compare("the size in bytes", &manifest.size_bytes, &got.size_bytes)?;
    compare("the digest", &manifest.digest, &got.digest)
}

/// Says all that a manifest says of an entry.
fn describe(entry: &Entry) -> String {
    let path = &entry.path;
    match &entry.kind {
        EntryKind::File {
            mode,
            size_bytes,
            digest,
        } => format!("file {path} ({mode}, {size_bytes} bytes, {digest})"),
        EntryKind::Directory => format!("directory {path}"),
        EntryKind::Symlink { target } => format!("symlink {path} to {target}"),
    }
}

fn compare<T: PartialEq + Display>(what: &str, expected: &T, got: &T) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Mismatch {
        what: what.to_owned(),
        expected: expected.to_string(),
        got: got.to_string(),
    })
}

/// Digests the content of the current file.
fn digest<R: Read>(members: &mut Members<R>, buffer: &mut [u8]) -> Result<Digest, Error> {
    let mut content = Hashing::new(io::sink());
    loop {
        let n = members.read(buffer)?;
        if n == 0 {
            return Ok(content.digest());
        }
        content.write_all(&buffer[..n]).map_err(Error::ReadSlug)?;
    }
}
