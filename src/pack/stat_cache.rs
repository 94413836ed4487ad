//! What is known of a tree's files without reading them.
//!
//! A pack notes for each run of entries that makes a member what the kernel says of its files, and the
//! digest of the member's input. A later pack that finds the same copies the member unread, as git's
//! index spares it the files of a work tree: a file with the same inode, size and times has the content
//! that it had. The time of its last change is the kernel's own and goes on with each write, rename or
//! new time of modification; nobody but the machine's clock can turn it back. What has changed within
//! the last [`SETTLED`] is not noted, since the clock may not have ticked between two changes. Not seen
//! is what a program that still runs writes to memory that it has mapped, until the kernel takes it.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::found::{Found, FoundKind, Inode, Stamp};
use crate::digest::PieceDigest;

/// How long a file must have been as it is before a pack. File systems note times in steps of some
/// milliseconds, one or two in steps of two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// Digests of members' inputs, by the digests of what the kernel says of their files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatCache {
    format: u32,
    members: BTreeMap<PieceDigest, Known>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Of the member's piece of the tar.
    pub input: PieceDigest,
    /// Of that piece.
    pub tar_bytes: u64,
}

/// Of the file. Another one is as good as none.
const FORMAT: u32 = 1;

impl Default for StatCache {
    fn default() -> Self {
        Self {
            format: FORMAT,
            members: BTreeMap::new(),
        }
    }
}

impl StatCache {
    /// Reads what [`StatCache::write`] has written.
    ///
    /// # Errors
    /// It cannot be read, or is something else: nothing is known then, and all is read.
    pub fn read(from: impl Read) -> io::Result<Self> {
        let read: Self = serde_json::from_reader(BufReader::new(from))?;
        if read.format != FORMAT {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(read)
    }

    /// Writes it as JSON, some kilobytes for each 100 MB of a tree.
    ///
    /// # Errors
    /// `to` takes no more.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        Ok(serde_json::to_writer(to, self)?)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn get(&self, stats: &PieceDigest) -> Option<Known> {
        self.members.get(stats).copied()
    }

    pub(super) fn note(&mut self, stats: PieceDigest, known: Known) {
        self.members.insert(stats, known);
    }
}

/// Digests what the kernel says of files; makes none of those that have changed just now.
pub(super) struct Stats {
    /// The time that a change must be before, in seconds and nanoseconds.
    settled: (i64, i64),
    /// What is digested.
    text: Vec<u8>,
}

impl Stats {
    /// For a pack that begins now.
    pub fn now() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "files have times of the machine's clock"
        )]
        let settled = SystemTime::now() - SETTLED;
        // Before the epoch nothing is settled.
        let settled = settled.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            settled: (
                i64::try_from(settled.as_secs()).unwrap_or(i64::MAX),
                settled.subsec_nanos().into(),
            ),
            text: Vec::new(),
        }
    }

    /// Of a group.
    pub fn of_group(&mut self, found: &[Found], first: bool) -> Option<PieceDigest> {
        self.text.clear();
        self.text.extend([b'g', first.into()]);
        let mut settled = true;
        for Found { path, kind } in found {
            match kind {
                FoundKind::Directory => self.name(b'd', path),
                FoundKind::Symlink { target } => {
                    self.name(b'l', path);
                    self.name(b't', target);
                }
                FoundKind::File(stamp, inode) => {
                    self.name(b'f', path);
                    settled &= self.file(*stamp, *inode);
                }
            }
        }
        settled.then(|| PieceDigest::of(&self.text))
    }

    /// Of a piece of a large file.
    pub fn of_piece(
        &mut self,
        path: &[u8],
        (stamp, inode): (Stamp, Inode),
        number: u64,
    ) -> Option<PieceDigest> {
        self.text.clear();
        self.text.push(b'p');
        self.text.extend(number.to_le_bytes());
        self.name(b'f', path);
        let settled = self.file(stamp, inode);
        settled.then(|| PieceDigest::of(&self.text))
    }

    fn name(&mut self, kind: u8, name: &[u8]) {
        self.text.push(kind);
        self.text.extend((name.len() as u64).to_le_bytes());
        self.text.extend(name);
    }

    /// Says whether the file has been as it is for long enough. Not of its device, whose number is
    /// another each time that an overlay is mounted.
    fn file(&mut self, stamp: Stamp, inode: Inode) -> bool {
        let Stamp {
            size_bytes,
            executable,
            modified,
        } = stamp;
        let Inode { number, changed } = inode;
        self.text.push(executable.into());
        for part in [size_bytes, number] {
            self.text.extend(part.to_le_bytes());
        }
        for part in [modified.0, modified.1, changed.0, changed.1] {
            self.text.extend(part.to_le_bytes());
        }
        changed < self.settled
    }
}
