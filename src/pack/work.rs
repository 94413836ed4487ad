//! One job: read its files, digest them, write its piece of the tar and compress that.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cut::SPLIT_BYTES;
use super::gzip::Encoder;
use super::plan::{Job, Large, open_readable};
use super::reuse::{Key, LastSlug};
use super::walk::{self, Found, FoundKind, Stamp};
use super::{Error, Level, tarball};
use crate::digest::Digest;
use crate::slug::{EntryKind, escape};

/// The buffers of one job; used again and again.
#[derive(Default)]
pub struct Slot {
    /// The job's piece of the tar.
    pub tar: Vec<u8>,
    /// The finished member.
    pub gzip: Vec<u8>,
}

/// What became of a job.
pub struct Done {
    pub slot: Slot,
    /// Of the member.
    pub digest: Digest,
    /// Whether the member is the last slug's.
    pub copied: bool,
    pub content: Content,
}

/// What is in a member.
pub enum Content {
    Entries(Vec<(String, EntryKind)>),
    /// A piece of a large file: which bytes of the tar are the file's.
    Piece {
        file: Arc<Large>,
        number: u64,
        bytes: Range<usize>,
    },
    /// The end of the tar.
    End,
}

/// What does jobs.
pub struct Worker<'a> {
    dir: &'a Path,
    last: Option<&'a LastSlug>,
    level: Level,
    encoder: Encoder,
    buffer: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub fn new(dir: &'a Path, level: Level, last: Option<&'a LastSlug>) -> Self {
        Self {
            dir,
            last,
            level,
            encoder: Encoder::new(level),
            buffer: Vec::new(),
        }
    }

    /// Does one job.
    pub fn work(&mut self, job: Job, mut slot: Slot) -> Result<Done, Error> {
        slot.tar.clear();
        let (content, copied) = match job {
            Job::Group { found, first } => {
                let (entries, key) = self.group(found, first, &mut slot.tar)?;
                let copied = self.last.is_some_and(|last| {
                    last.copy_group(key, slot.tar.len(), self.level, &mut slot.gzip)
                });
                (Content::Entries(entries), copied)
            }
            Job::Piece { file, number } => {
                let bytes = piece(&file, number, &mut slot.tar)?;
                let copied = self.last.is_some_and(|last| {
                    let Slot { tar, gzip } = &mut slot;
                    last.copy_piece(&file.path, number, tar, self.level, gzip, &mut self.buffer)
                });
                let content = Content::Piece {
                    file,
                    number,
                    bytes,
                };
                (content, copied)
            }
            Job::End => {
                slot.tar.extend(tarball::END);
                (Content::End, false)
            }
            Job::Failed(error) => return Err(error),
        };
        if !copied {
            self.encoder.encode(&slot.tar, &mut slot.gzip);
        }
        Ok(Done {
            digest: Digest::of(&slot.gzip),
            slot,
            copied,
            content,
        })
    }

    fn group(
        &mut self,
        found: Vec<Found>,
        first: bool,
        tar: &mut Vec<u8>,
    ) -> Result<(Vec<(String, EntryKind)>, Digest), Error> {
        let mut key = Key::new(first);
        if first {
            tarball::directory(tar, b"");
        }
        let mut entries = Vec::with_capacity(found.len());
        for Found { path, kind } in found {
            let kind = match kind {
                FoundKind::Directory => {
                    tarball::directory(tar, &path);
                    EntryKind::Directory
                }
                FoundKind::Symlink { target } => {
                    tarball::symlink(tar, &path, &target);
                    EntryKind::Symlink {
                        target: escape(&target),
                    }
                }
                FoundKind::File(stamp) => {
                    tarball::file(tar, &path, stamp.executable, stamp.size_bytes);
                    let start = tar.len();
                    read_whole(walk::full_path(self.dir, &path), stamp, tar)?;
                    let digest = Digest::of(&tar[start..]);
                    tarball::pad(tar, stamp.size_bytes);
                    EntryKind::File {
                        executable: stamp.executable,
                        size_bytes: stamp.size_bytes,
                        digest,
                    }
                }
            };
            let path = escape(&path);
            if self.last.is_some() {
                key.add(&path, &kind);
            }
            entries.push((path, kind));
        }
        Ok((entries, key.finish()))
    }
}

/// Appends a file's content, which must be what the walk has found until its last byte is read.
fn read_whole(full: PathBuf, stamp: Stamp, tar: &mut Vec<u8>) -> Result<(), Error> {
    let start = tar.len();
    let size = usize::try_from(stamp.size_bytes).expect("a file of a group is small");
    let read = |tar: &mut Vec<u8>| -> io::Result<bool> {
        let mut file = open_readable(&full)?;
        // One byte more, so that a file that has grown is found out.
        tar.resize(start + size + 1, 0);
        let whole = fill(&mut file, &mut tar[start..])? == size;
        tar.truncate(start + size);
        Ok(whole && Stamp::of(&file.metadata()?) == Some(stamp))
    };
    match read(tar) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Changed { path: full }),
        Err(source) => Err(Error::Read { path: full, source }),
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Appends a piece of a large file and says where in the tar its content is.
fn piece(file: &Large, number: u64, tar: &mut Vec<u8>) -> Result<Range<usize>, Error> {
    let Stamp {
        size_bytes,
        executable,
        ..
    } = file.stamp;
    if number == 0 {
        tarball::file(tar, &file.path, executable, size_bytes);
    }
    let start = tar.len();
    let offset = number * SPLIT_BYTES;
    let size = (size_bytes - offset).min(SPLIT_BYTES);
    tar.resize(start + usize::try_from(size).expect("a piece is small"), 0);
    file.file
        .read_exact_at(&mut tar[start..], offset)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Changed {
                path: file.full.clone(),
            },
            _ => Error::Read {
                path: file.full.clone(),
                source,
            },
        })?;
    let bytes = start..tar.len();
    if number + 1 == file.pieces() {
        tarball::pad(tar, size_bytes);
    }
    Ok(bytes)
}
