//! Build dir → slug, and slug → files again.
//!
//! [`pack`] walks a build dir once and writes the slug's bytes; [`extract`] puts the files of a
//! slug below a directory; [`manifest_of`] tells what a slug holds from its bytes alone, and
//! [`verify`] compares that with what a manifest says. A slug that is read may come from anybody:
//! every archive trick is refused by its name, and [`Limits`] bound what it may cost.
//!
//! # Format 0
//!
//! The same tree gives the same bytes on any machine, for any user, umask, clock and order of
//! directories:
//!
//! - One gzip member: zlib level 6 as zlib-rs has it, fed in chunks of 64 KiB, time 0, no name,
//!   operating system 255.
//! - A tar in GNU's format, because it carries names of any bytes and length to every reader
//!   (GNU tar, bsdtar, busybox, Python, Go) and is what Heroku's own slugs are in: a name or link
//!   target of more than 100 bytes stands in an `L` or `K` entry before its entry, and two zero
//!   blocks end the archive.
//! - The first entry is the directory `./app/`. Then come all others, each `./app/<path>`, sorted
//!   by the bytes of `<path>`; a directory has a `/` after its path, which is not sorted by.
//! - Files are 0644, or 0755 where anybody may execute them; directories 0755; symlinks 0777 with
//!   their target as it is. Owner 0:0 without names; one time, [`crate::slug::MTIME_SECONDS`].
//! - Each hard link is a file of its own. Empty directories are kept. Devices, sockets and fifos
//!   are left out and reported.

mod archive;
mod error;
mod extract;
mod gzip;
mod members;
mod tarball;
mod verify;
mod walk;

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

pub use error::{Error, Refusal};
pub use extract::{Extracted, extract, extract_within};
pub use members::Limits;
pub use verify::{manifest_of, manifest_within, verify};
pub use walk::{Skipped, SkippedKind};

use crate::digest::Hashing;
use crate::slug::{Entry, EntryKind, FORMAT, Manifest, escape};
use gzip::Chunked;
use tarball::Tarball;
use walk::{Found, FoundKind};

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A packed slug.
#[derive(Debug)]
pub struct Packed<W> {
    /// What the slug was written to; flushed.
    pub out: W,
    pub manifest: Manifest,
    /// What a slug cannot hold, sorted by path.
    pub skipped: Vec<Skipped>,
}

/// Packs the tree below `dir` into a slug and writes it to `out`.
///
/// Each file is read once. What its owner may not read is made readable by `chmod` first, so that
/// a plain user packs what root packs; apart from that the tree stays as it is.
///
/// # Errors
/// The build dir cannot be read, changes while it is read or exceeds the default [`Limits`], so that
/// no slug is made that [`extract`] does not take; or `out` takes no more. What was written to `out`
/// is then no slug.
pub fn pack<W: Write>(dir: &Path, out: W) -> Result<Packed<W>, Error> {
    pack_within(dir, out, &Limits::default())
}

/// As [`pack`], with limits of the caller's.
///
/// # Errors
/// As those of [`pack`].
pub fn pack_within<W: Write>(dir: &Path, out: W, limits: &Limits) -> Result<Packed<W>, Error> {
    let walk::Tree { found, skipped } = walk::walk(dir, limits)?;
    let mut tarball = Tarball::new(Hashing::new(Chunked::new(Hashing::new(out))));
    tarball.directory(b"").map_err(Error::WriteSlug)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut entries = Vec::with_capacity(found.len());
    for Found { path, kind } in found {
        let kind = match kind {
            FoundKind::Directory => {
                tarball.directory(&path).map_err(Error::WriteSlug)?;
                EntryKind::Directory
            }
            FoundKind::Symlink { target } => {
                tarball.symlink(&path, &target).map_err(Error::WriteSlug)?;
                EntryKind::Symlink {
                    target: escape(&target),
                }
            }
            FoundKind::File => file(&mut tarball, dir, &path, limits, &mut buffer)?,
        };
        entries.push(Entry {
            path: escape(&path),
            kind,
        });
    }
    let (chunked, diff_id, tar_bytes) = tarball.finish().map_err(Error::WriteSlug)?.finish();
    if tar_bytes > limits.tar_bytes {
        return Err(too_many_bytes(limits));
    }
    let compressed = chunked.finish().map_err(Error::WriteSlug)?;
    let (mut out, digest, size_bytes) = compressed.finish();
    out.flush().map_err(Error::WriteSlug)?;
    Ok(Packed {
        out,
        manifest: Manifest {
            format: FORMAT,
            digest,
            diff_id,
            size_bytes,
            tar_bytes,
            entries,
        },
        skipped,
    })
}

/// Packs one file: its size is taken from the open file and must hold until its last byte.
fn file<W: Write>(
    tarball: &mut Tarball<Hashing<W>>,
    dir: &Path,
    path: &[u8],
    limits: &Limits,
    buffer: &mut [u8],
) -> Result<EntryKind, Error> {
    let full = walk::full_path(dir, path);
    let read_error = |source| Error::Read {
        path: full.clone(),
        source,
    };
    let changed = || Error::Changed { path: full.clone() };

    let mut file = Hashing::new(open_readable(&full).map_err(read_error)?);
    let metadata = file.inner().metadata().map_err(read_error)?;
    if !metadata.is_file() {
        return Err(changed());
    }
    let size_bytes = metadata.len();
    // A sparse file can be larger than any disk; it is not read to find that out.
    if size_bytes > limits.tar_bytes.saturating_sub(tarball.out().seen_bytes()) {
        return Err(too_many_bytes(limits));
    }
    let executable = metadata.permissions().mode() & 0o111 != 0;

    let mut body = tarball
        .file(path, executable, size_bytes)
        .map_err(Error::WriteSlug)?;
    let mut left = size_bytes;
    loop {
        // One byte more than is left, so that a file that has grown is found out.
        let most = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let n = match file.read(&mut buffer[..most]) {
            Ok(0) if left == 0 => break,
            Ok(0) => return Err(changed()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read_error(error)),
        };
        left = left.checked_sub(n as u64).ok_or_else(changed)?;
        body.write_all(&buffer[..n]).map_err(Error::WriteSlug)?;
    }
    body.finish().map_err(Error::WriteSlug)?;
    let (_, digest, _) = file.finish();
    Ok(EntryKind::File {
        mode: if executable { "755" } else { "644" }.to_owned(),
        size_bytes,
        digest,
    })
}

fn too_many_bytes(limits: &Limits) -> Error {
    Error::TooManyBytes {
        limit_bytes: limits.tar_bytes,
    }
}

/// Opens a file for reading, and where its owner may not read it, lets him first.
fn open_readable(path: &PathBuf) -> io::Result<File> {
    // A symlink or fifo that has taken the file's place is neither followed nor waited for.
    let open = || {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
    };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            walk::let_owner(path, 0o400)?;
            open()
        }
        result => result,
    }
}
