//! The built app's slug: packed into the store, within its limits.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Error, Limits};
use crate::compile::{self, cache};
use crate::digest::Digest;
use crate::output::{Output, human_size};
use crate::pack::{self, Reusable, StatCache, Streamed};
use crate::sandbox::Cancel;
use crate::slug::{self, Share, Sizes};
use crate::store::{BlobWriter, Store, Verified};

/// A slug on this machine: what is the same in it is copied from there.
#[derive(Debug, Clone)]
pub struct Last {
    pub slug: PathBuf,
    pub manifest: PathBuf,
    /// Of the manifest, where somebody knows it. The new slug's digests are continued from what a
    /// manifest says, so a damaged one must not be used.
    pub manifest_digest: Option<Digest>,
}

/// A slug and its manifest on their way into the store.
pub(super) type Packed = Streamed<Stoppable, BlobWriter>;

/// Takes a slug for as long as it is wanted: a pack ends with its writer.
pub(super) struct Stoppable {
    pub blob: BlobWriter,
    cancel: Cancel,
}

impl Write for Stoppable {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("the build was cancelled"));
        }
        self.blob.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.blob.flush()
    }
}

/// What is kept beside an app's build cache: which of its files the next pack need not read.
const STAT_CACHE: &str = "stat-cache.json";

/// Packs the tree of an app; nothing is in the store yet. Members are copied from `slugs`; what is known
/// of the app's files is in the directory `kept`.
pub(super) fn pack_app<'a>(
    app: &Path,
    slugs: impl Iterator<Item = &'a Last>,
    kept: Option<&Path>,
    store: &Store,
    cancel: &Cancel,
) -> Result<Packed> {
    let mut reusable = Reusable::default();
    for slug in slugs {
        // Without it all is compressed, that is all.
        if let Err(error) = add(slug, &mut reusable) {
            tracing::debug!(%error, ?slug, "a slug is not reused");
        }
    }
    let noted = kept.and_then(|kept| cache::beside(kept, STAT_CACHE));
    // As without it: all is read then.
    let stat_cache = noted.and_then(|noted| StatCache::read(noted).ok());
    let options = pack::Options {
        reusable: Some(&reusable),
        stat_cache: stat_cache.as_ref(),
        ..pack::Options::default()
    };
    let (blob, manifest) = (store.writer()?, store.writer()?);
    let cancel = cancel.clone();
    let slug = Stoppable { blob, cancel };
    let packed = pack::pack_streamed(app, slug, manifest, &options)?;
    tracing::debug!(
        members = packed.members,
        copied = packed.copied_members,
        unread = packed.unread_members,
        "packed"
    );
    Ok(packed)
}

/// Keeps what is known of the app's files for the next pack.
///
/// # Errors
/// The platform's: a file could not be written.
pub(super) fn keep_stat_cache(
    stat_cache: &StatCache,
    saved: &cache::Saved,
) -> Result<(), compile::Error> {
    saved.add(STAT_CACHE, |file| stat_cache.write(BufWriter::new(file)))
}

fn add(slug: &Last, reusable: &mut Reusable) -> io::Result<()> {
    let manifest = File::open(&slug.manifest)?;
    let of_slug = File::open(&slug.slug)?;
    match slug.manifest_digest {
        Some(digest) => reusable.add(BufReader::new(Verified::new(manifest, digest)), of_slug),
        None => reusable.add(BufReader::new(manifest), of_slug),
    }
}

/// Says what is not in the slug, how large it is, and what makes it so where that is too much.
pub(super) fn check_size(
    packed: &Packed,
    last: Option<&Last>,
    limits: &Limits,
    out: &mut Output<'_>,
) -> Result<()> {
    for skipped in &packed.skipped {
        out.problem(&format!("Left out of the slug: {skipped}"))?;
    }
    let got_bytes = packed.summary.size_bytes;
    if got_bytes > limits.slug_bytes {
        return Err(Error::SlugTooLarge {
            got_bytes,
            limit_bytes: limits.slug_bytes,
            breakdown: breakdown(packed, last),
        }
        .into());
    }
    out.detail(&format!("Done: {}", human_size(got_bytes)))?;
    if got_bytes > limits.slug_warning_bytes {
        out.problem(&format!(
            "Warning: Your slug size ({}) exceeds our soft limit ({}) which may affect boot time.",
            human_size(got_bytes),
            human_size(limits.slug_warning_bytes)
        ))?;
        for line in breakdown(packed, last) {
            out.problem(&line)?;
        }
    }
    Ok(())
}

/// The largest directories, and what has grown since the last release.
fn breakdown(packed: &Packed, last: Option<&Last>) -> Vec<String> {
    // What cannot be read is not told; the size itself was.
    let now = packed.manifest_out.reader().and_then(sizes);
    let Ok(now) = now else { return Vec::new() };
    let mut lines = vec!["The largest directories, before compression:".to_owned()];
    lines.extend(now.largest().iter().map(|share| told(share, "")));
    let before = last.and_then(|last| sizes(File::open(&last.manifest).ok()?).ok());
    let grown = before.map(|before| now.grown_since(&before).largest());
    if let Some(grown) = grown.filter(|grown| !grown.is_empty()) {
        lines.push("Grown since the last release:".to_owned());
        lines.extend(grown.iter().map(|share| told(share, "+")));
    }
    lines
}

fn told(share: &Share, sign: &str) -> String {
    let size = format!("{sign}{}", human_size(share.size_bytes));
    format!("{size:>9} {}", share.path)
}

fn sizes(manifest: File) -> io::Result<Sizes> {
    let mut sizes = Sizes::default();
    slug::read(BufReader::new(manifest), |entry| sizes.add(&entry))?;
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_damaged_manifest_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let app = dir.path().join("app");
        fs::create_dir(&app).unwrap();
        fs::write(app.join("web"), "slug").unwrap();
        let packed = pack::pack(&app, Vec::new()).unwrap();
        let mut json = packed.manifest.json().into_bytes();
        let last = Last {
            slug: dir.path().join("slug.tgz"),
            manifest: dir.path().join("slug.json"),
            manifest_digest: Some(Digest::of(&json)),
        };
        fs::write(&last.slug, packed.out).unwrap();
        fs::write(&last.manifest, &json).unwrap();
        add(&last, &mut Reusable::default()).unwrap();

        let at = json
            .windows(6)
            .position(|text| text == b"\"tar\":")
            .unwrap()
            + 7;
        json[at] = if json[at] == b'0' { b'1' } else { b'0' };
        fs::write(&last.manifest, &json).unwrap();
        let error = add(&last, &mut Reusable::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
