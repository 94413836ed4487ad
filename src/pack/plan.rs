//! The walk, cut into jobs of one gzip member each.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::libc;

use super::ahead::Ahead;
use super::cut::{Cutter, SPLIT_BYTES};
use super::found::{self, Found, FoundKind, Skipped, Stamp};
use super::listing::Lister;
use super::stat_cache::Stats;
use super::walk::Walk;
use super::{Error, Limits, tarball};
use crate::digest::PieceDigest;

/// What one gzip member is made of, with the digest of its files' [`Stats`] where they are to be trusted.
pub enum Job {
    /// Entries; the slug's first has the app's root before them.
    Group {
        found: Vec<Found>,
        first: bool,
        stats: Option<PieceDigest>,
    },
    /// A piece of a large file, by its place.
    Piece {
        file: Arc<Large>,
        number: u64,
        stats: Option<PieceDigest>,
    },
    /// The end of the tar.
    End,
    /// There is no more: the walk went wrong here.
    Failed(Error),
}

/// A file that is cut into members of its own.
pub struct Large {
    pub path: Vec<u8>,
    pub full: PathBuf,
    pub file: File,
    pub stamp: Stamp,
}

impl Large {
    /// Where its content is in a piece of the tar that has a piece of it, after its header or alone.
    pub fn content_of(&self, number: u64) -> Range<usize> {
        let size_bytes = self.stamp.size_bytes;
        let start = match number {
            0 => tarball::header_bytes(&self.path, b"", size_bytes),
            _ => 0,
        };
        let size = (size_bytes - number * SPLIT_BYTES).min(SPLIT_BYTES);
        start..start + usize::try_from(size).expect("a piece is small")
    }

    /// How many members it takes.
    pub fn pieces(&self) -> u64 {
        self.stamp.size_bytes.div_ceil(SPLIT_BYTES)
    }

    fn open(dir: &Path, path: Vec<u8>, stamp: Stamp) -> Result<Self, Error> {
        let full = found::full_path(dir, &path);
        let file = open_readable(&full).map_err(|source| Error::Read {
            path: full.clone(),
            source,
        })?;
        let large = Self {
            path,
            full,
            file,
            stamp,
        };
        large.check()?;
        Ok(large)
    }

    /// Makes sure that it is still what the walk has found.
    pub fn check(&self) -> Result<(), Error> {
        let stat = rustix::fs::fstat(&self.file).map_err(|errno| Error::Read {
            path: self.full.clone(),
            source: errno.into(),
        })?;
        if Stamp::of(&stat) == Some(self.stamp) {
            return Ok(());
        }
        Err(Error::Changed {
            path: self.full.clone(),
        })
    }
}

/// Walks a build dir and gives its jobs to `send`, in their order, until that says no.
///
/// Another thread lists directories meanwhile: where most members are copied unread, nothing takes as long.
pub fn plan(dir: &Path, limits: &Limits, send: impl FnMut(Job) -> bool) -> Vec<Skipped> {
    let ahead = Ahead::default();
    thread::scope(|scope| {
        scope.spawn(|| ahead.run(Lister::new(dir, limits)));
        let _end = ahead.end();
        plan_walk(dir, limits, &ahead, send)
    })
}

fn plan_walk(
    dir: &Path,
    limits: &Limits,
    ahead: &Ahead,
    mut send: impl FnMut(Job) -> bool,
) -> Vec<Skipped> {
    let mut plan = Plan {
        dir,
        limits,
        send: &mut send,
        cutter: Cutter::default(),
        found: Vec::new(),
        first: true,
        tar_bytes: 0,
        stats: Stats::now(),
    };
    let mut walk = match Walk::new(Lister::new(dir, limits), ahead) {
        Ok(walk) => walk,
        Err(error) => {
            send(Job::Failed(error));
            return Vec::new();
        }
    };
    if let Err(Stop::Failed(error)) = plan.run(&mut walk) {
        send(Job::Failed(error));
    }
    let mut skipped = walk.skipped;
    skipped.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    skipped
}

struct Plan<'a, S> {
    dir: &'a Path,
    limits: &'a Limits,
    send: &'a mut S,
    cutter: Cutter,
    found: Vec<Found>,
    /// Whether no group was sent yet.
    first: bool,
    tar_bytes: u64,
    stats: Stats,
}

enum Stop {
    Failed(Error),
    /// Nobody takes jobs any more.
    Unwanted,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<S: FnMut(Job) -> bool> Plan<'_, S> {
    fn run(&mut self, walk: &mut Walk<'_>) -> Result<(), Stop> {
        let root_bytes = tarball::entry_bytes(b"", b"", 0);
        self.count(root_bytes)?;
        self.cutter.before(b"", root_bytes);
        while let Some(Found { path, kind }) = walk.next()? {
            let tar_bytes = match &kind {
                FoundKind::File(stamp, _) => tarball::entry_bytes(&path, b"", stamp.size_bytes),
                FoundKind::Directory => tarball::entry_bytes(&[&path, &b"/"[..]].concat(), b"", 0),
                FoundKind::Symlink { target } => tarball::entry_bytes(&path, target, 0),
            };
            self.count(tar_bytes)?;
            match kind {
                FoundKind::File(stamp, inode) if stamp.size_bytes > SPLIT_BYTES => {
                    self.group()?;
                    self.cutter.restart();
                    let file = Arc::new(Large::open(self.dir, path, stamp)?);
                    for number in 0..file.pieces() {
                        let stats = self.stats.of_piece(&file.path, (stamp, inode), number);
                        self.send(Job::Piece {
                            file: file.clone(),
                            number,
                            stats,
                        })?;
                    }
                }
                kind => {
                    if self.cutter.before(&path, tar_bytes) {
                        self.group()?;
                    }
                    self.found.push(Found { path, kind });
                }
            }
        }
        self.group()?;
        self.count(tarball::END.len() as u64)?;
        self.send(Job::End)
    }

    /// Sends what was gathered; the app's root alone is a group, too.
    fn group(&mut self) -> Result<(), Stop> {
        let first = std::mem::take(&mut self.first);
        let found = std::mem::take(&mut self.found);
        if found.is_empty() && !first {
            return Ok(());
        }
        let stats = self.stats.of_group(&found, first);
        self.send(Job::Group {
            found,
            first,
            stats,
        })
    }

    fn send(&mut self, job: Job) -> Result<(), Stop> {
        if (self.send)(job) {
            Ok(())
        } else {
            Err(Stop::Unwanted)
        }
    }

    fn count(&mut self, tar_bytes: u64) -> Result<(), Error> {
        self.tar_bytes = self.tar_bytes.saturating_add(tar_bytes);
        if self.tar_bytes > self.limits.tar_bytes {
            return Err(Error::TooManyBytes {
                limit_bytes: self.limits.tar_bytes,
            });
        }
        Ok(())
    }
}

/// Opens a file for reading, and where its owner may not read it, lets him first.
pub fn open_readable(path: &Path) -> io::Result<File> {
    // A symlink or fifo that has taken the file's place is neither followed nor waited for.
    let open = || {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
    };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            found::let_owner(path, 0o400)?;
            open()
        }
        result => result,
    }
}
