//! What a slug holds, told from its bytes alone, and whether that is what a manifest says.

use std::fmt::Display;
use std::io::{self, Read};
use std::ops::Range;

use super::entries::{Entries, Item, ItemKind, Limits};
use super::source::Source;
use super::{CHUNK_BYTES, Error};
use crate::digest::{PieceDigest, PieceHasher};
use crate::slug::{Entry, EntryKind, FORMAT, Manifest, Member, Span, States, Summary, escape};

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
    let mut items = Entries::new(Source::new(slug, limits.members), limits);
    let mut buffer = vec![0; CHUNK_BYTES];
    // With the places in the tar where each starts and ends.
    let mut entries: Vec<(Entry, Range<u64>)> = Vec::new();
    while let Some(Item { path, kind, .. }) = items.next()? {
        let mut place = items.place();
        let kind = match kind {
            ItemKind::Directory if path.is_empty() => continue,
            ItemKind::Directory => EntryKind::Directory,
            ItemKind::File {
                executable,
                size_bytes,
            } => EntryKind::File {
                executable,
                size_bytes,
                digest: digest(&mut items, &mut buffer)?,
            },
            ItemKind::Symlink { target } => EntryKind::Symlink {
                target: escape(&target),
            },
            ItemKind::HardLink { number, .. } => {
                // Its content is there.
                place = entries[number].1.clone();
                entries[number].0.kind.clone()
            }
        };
        let entry = Entry {
            path: escape(&path),
            kind,
            members: Span(0, 0),
        };
        entries.push((entry, place));
    }
    let whole = items.into_inner().finish();
    let whole = whole.ok_or_else(|| Error::ReadSlug(io::ErrorKind::UnexpectedEof.into()))?;
    let ends = whole
        .members
        .iter()
        .scan(0, |end, member| {
            *end += member.tar_bytes;
            Some(*end)
        })
        .collect::<Vec<u64>>();
    let member = |byte: u64| ends.partition_point(|end| *end <= byte) as u64;
    let entries = entries
        .into_iter()
        .map(|(entry, place)| Entry {
            members: Span(member(place.start), member(place.end - 1)),
            ..entry
        })
        .collect();
    Ok(Manifest {
        format: FORMAT,
        entries,
        members: whole.members,
        summary: Summary {
            digest: whole.digest,
            diff_id: whole.diff_id,
            size_bytes: whole.size_bytes,
            tar_bytes: whole.tar_bytes,
        },
    })
}

/// Compares a slug with a manifest.
///
/// # Errors
/// [`Error::Mismatch`] names the first difference, from the inside out: an entry by its path, a
/// member by its number, then the tar, then the compressed bytes. The others are those of [`manifest_of`].
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
    let count = manifest.members.len().max(got.members.len());
    for number in 0..count {
        let describe = |manifest: &Manifest| {
            let member = manifest.members.get(number);
            member.map_or_else(|| "missing".to_owned(), describe_member)
        };
        let what = format!("member {}", number + 1);
        compare(&what, &describe(manifest), &describe(&got))?;
    }
    let (expected, got) = (&manifest.summary, &got.summary);
    compare(
        "the tar's size in bytes",
        &expected.tar_bytes,
        &got.tar_bytes,
    )?;
    compare("the diff id", &expected.diff_id, &got.diff_id)?;
    compare("the size in bytes", &expected.size_bytes, &got.size_bytes)?;
    compare("the digest", &expected.digest, &got.digest)
}

/// Says all that a manifest says of an entry.
fn describe(entry: &Entry) -> String {
    let Entry {
        path,
        kind,
        members,
    } = entry;
    let Span(first, last) = members;
    let what = match kind {
        EntryKind::File {
            size_bytes, digest, ..
        } => format!(
            "file {path} ({}, {size_bytes} bytes, {digest})",
            kind.mode()
        ),
        EntryKind::Directory => format!("directory {path}"),
        EntryKind::Symlink { target } => format!("symlink {path} to {target}"),
    };
    format!("{what} in members {first} to {last}")
}

fn describe_member(member: &Member) -> String {
    let Member {
        offset,
        size_bytes,
        tar_bytes,
        digest,
        input,
        states: States { slug, tar },
    } = member;
    format!(
        "{digest} ({size_bytes} bytes from {offset} on, {tar_bytes} of the tar, {input}; then the \
         slug's sha256 stands at {slug}, the tar's at {tar})"
    )
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
fn digest<R: Read>(
    items: &mut Entries<Source<R>>,
    buffer: &mut [u8],
) -> Result<PieceDigest, Error> {
    let mut content = PieceHasher::default();
    loop {
        let n = items.read(buffer)?;
        if n == 0 {
            return Ok(content.take());
        }
        content.see(&buffer[..n]);
    }
}
