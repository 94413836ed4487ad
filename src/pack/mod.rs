//! Build dir → slug, and slug → files again.
//!
//! [`pack`] walks a build dir once and writes the slug's bytes; [`extract`] puts the files of a
//! slug below a directory; [`manifest_of`] tells what a slug holds from its bytes alone, and
//! [`verify`] compares that with what a manifest says. A slug that is read may come from anybody:
//! every archive trick is refused by its name, and [`Limits`] bound what it may cost.
//!
//! # Format 1
//!
//! The same tree gives the same bytes on any machine, for any user, umask, clock, order of
//! directories and number of threads:
//!
//! - A tar in POSIX's format, ustar with PAX: a name of more than 100 bytes is in the header's two
//!   parts where one of its `/` allows that, and else, as a link target of more than 100 bytes, in
//!   a PAX record (`path`, `linkpath`) of an entry before its own; the bytes are those of the file
//!   system, UTF-8 or not. Two zero blocks end the archive.
//! - The first entry is the directory `./app/`. Then come all others, each `./app/<path>`, sorted
//!   by the bytes of `<path>`; a directory has a `/` after its path, which is not sorted by.
//! - Files are 0644, or 0755 where anybody may execute them; directories 0755; symlinks 0777 with
//!   their target as it is. Owner 0:0 without names; one time, [`crate::slug::MTIME_SECONDS`].
//! - Each hard link is a file of its own. Empty directories are kept. Devices, sockets and fifos
//!   are left out and reported, and so are setuid and setgid bits and capabilities.
//! - The tar is cut into gzip members, as `cut` has it: groups of whole entries up to 1 MiB, pieces
//!   of 1 MiB of larger files, and the two zero blocks. Each member starts in no other's middle, so
//!   members are compressed side by side, and a change in one file changes its member alone.
//! - A member is compressed by libdeflate's level 4, for [`Level::Fast`] as `fast` does; what that would
//!   not make smaller by a 64th is stored. Its header has the time 0, no name, operating system 255.

mod ahead;
mod archive;
mod carried;
mod cat;
mod cut;
mod delta;
mod digests;
mod engine;
mod entries;
mod error;
mod extract;
mod fast;
mod found;
mod gzip;
mod listing;
mod plan;
mod read;
mod reuse;
mod source;
mod stat_cache;
mod tarball;
mod verify;
mod walk;
mod work;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

pub use cat::{Cat, cat};
pub use delta::{DeltaError, Head, Part, Patched, delta};
pub use entries::Limits;
pub use error::{Error, Refusal};
pub use extract::{Extracted, extract, extract_within};
pub use found::{Skipped, SkippedKind};
pub use reuse::Reusable;
pub use stat_cache::StatCache;
pub use verify::{manifest_of, manifest_within, verify};

use crate::digest::{Digest, Hashing};
use crate::slug::{FORMAT, Manifest, ManifestWriter, Summary};

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// More workers than this bring nothing: the digest of the tar, one after the other, is then slower
/// than they are.
const MOST_THREADS: usize = 12;

/// Most jobs in memory at a time, each with buffers of 2 MiB.
const MOST_SLOTS: usize = MOST_THREADS + 2;

/// Workers in addition to one a core where some wait for the disk.
const SPARE_THREADS: usize = 2;

/// How a slug is packed.
pub struct Options<'a> {
    pub limits: Limits,
    pub level: Level,
    /// How many threads compress, which does not show in the slug; else one a core, and two more where
    /// files are to be read, which some wait for.
    pub threads: Option<NonZeroUsize>,
    /// Slugs whose members are copied where they would come out the same.
    pub reusable: Option<&'a Reusable>,
    /// What an earlier pack has noted of the same tree: what has not changed since is copied unread.
    pub stat_cache: Option<&'a StatCache>,
}

impl Options<'_> {
    fn threads(&self) -> usize {
        let default = || {
            let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            let is_known = self.stat_cache.is_some_and(|known| !known.is_empty());
            cores.saturating_add(if is_known { 0 } else { SPARE_THREADS })
        };
        self.threads.unwrap_or_else(default).get().min(MOST_THREADS)
    }
}

impl Default for Options<'_> {
    /// The default limits and level, all of the machine's cores, nothing to copy from.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            level: Level::default(),
            threads: None,
            reusable: None,
            stat_cache: None,
        }
    }
}

/// How hard members are compressed; a part of the format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Level {
    /// As small as `gzip -6` makes it.
    #[default]
    Small,
    /// In two thirds of the time, a tenth larger.
    Fast,
}

/// A packed slug.
#[derive(Debug)]
pub struct Packed<W> {
    /// What the slug was written to; flushed.
    pub out: W,
    pub manifest: Manifest,
    /// What a slug cannot hold, sorted by path.
    pub skipped: Vec<Skipped>,
}

/// A slug that was packed with its manifest beside it.
#[derive(Debug)]
pub struct Streamed<W, M> {
    /// What the slug was written to; flushed.
    pub out: W,
    /// What the manifest was written to; flushed.
    pub manifest_out: M,
    pub summary: Summary,
    /// Of the manifest's JSON.
    pub manifest: Digest,
    pub members: u64,
    /// How many of the members were copied.
    pub copied_members: u64,
    /// How many of those were copied without reading what is in them.
    pub unread_members: u64,
    /// What a slug cannot hold, sorted by path.
    pub skipped: Vec<Skipped>,
    /// For the next pack.
    pub stat_cache: StatCache,
}

/// Packs the tree below `dir` into a slug and writes it to `out`; the manifest is kept in memory.
///
/// Each file is read once, or not at all where [`Options::stat_cache`] knows it. What its owner may not read is made readable by `chmod` first, so that
/// a plain user packs what root packs; apart from that the tree stays as it is.
///
/// # Errors
/// The build dir cannot be read, changes while it is read or exceeds the default [`Limits`], so that
/// no slug is made that [`extract`] does not take; or `out` takes no more. What was written to `out`
/// is then no slug.
pub fn pack<W: Write>(dir: &Path, out: W) -> Result<Packed<W>, Error> {
    pack_with(dir, out, &Options::default())
}

/// As [`pack`], in the caller's way.
///
/// # Errors
/// As those of [`pack`].
pub fn pack_with<W: Write>(dir: &Path, out: W, options: &Options<'_>) -> Result<Packed<W>, Error> {
    let mut entries = Vec::new();
    let written = engine::run(dir, options, out, |entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok(Packed {
        out: written.out,
        manifest: Manifest {
            format: FORMAT,
            entries,
            members: written.members,
            summary: written.summary,
        },
        skipped: written.skipped,
    })
}

/// As [`pack_with`], and writes the manifest's JSON to `manifest_out` meanwhile: memory is bounded
/// whatever the tree.
///
/// # Errors
/// As those of [`pack`].
pub fn pack_streamed<W: Write, M: Write>(
    dir: &Path,
    out: W,
    manifest_out: M,
    options: &Options<'_>,
) -> Result<Streamed<W, M>, Error> {
    let manifest = Hashing::new(manifest_out);
    let mut manifest = ManifestWriter::new(manifest, FORMAT);
    let written = engine::run(dir, options, out, |entry| manifest.entry(&entry))?;
    let (mut manifest_out, manifest, _) = manifest
        .finish(&written.members, &written.summary)
        .map_err(Error::WriteSlug)?
        .finish();
    manifest_out.flush().map_err(Error::WriteSlug)?;
    Ok(Streamed {
        out: written.out,
        manifest_out,
        summary: written.summary,
        manifest,
        members: written.members.len() as u64,
        copied_members: written.copied_members,
        unread_members: written.unread_members,
        skipped: written.skipped,
        stat_cache: written.stat_cache,
    })
}
