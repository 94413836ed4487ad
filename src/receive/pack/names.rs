//! What objects name: collected while they pass, looked for when all are known.
//!
//! Looking at the new objects alone is enough, since what is in the repository came the same way:
//! each object that it has, it has with all that it names. For the same reason what a tree of the
//! repository names need not be looked for when a new tree that builds on it names it again.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::objs::{Find as _, FindHeader as _, Kind};

use super::super::{Error, git_error, open_objects};

/// The repository's objects, opened when they are first needed.
pub(in super::super) struct Known {
    dir: PathBuf,
    hash: gix::hash::Kind,
    odb: Option<gix::odb::HandleArc>,
    /// Commits that branches name.
    commits: HashSet<ObjectId>,
}

impl Known {
    pub fn new(repo_dir: &Path, hash: gix::hash::Kind, commits: HashSet<ObjectId>) -> Self {
        Self {
            dir: repo_dir.join("objects"),
            hash,
            odb: None,
            commits,
        }
    }

    fn odb(&mut self) -> Result<&gix::odb::HandleArc, Error> {
        if self.odb.is_none() {
            self.odb = Some(open_objects(&self.dir, self.hash)?);
        }
        self.odb.as_ref().ok_or(Error::Unreadable)
    }

    /// What an object is; `None` where there is none.
    pub fn kind_of(&mut self, id: &ObjectId) -> Result<Option<Kind>, Error> {
        if self.commits.contains(id) {
            return Ok(Some(Kind::Commit));
        }
        let header = self.odb()?.try_header(id);
        let header = header.map_err(git_error("reading the objects of", &self.dir))?;
        Ok(header.map(|header| header.kind))
    }

    pub fn read(&mut self, id: &ObjectId) -> Result<Option<(Kind, Vec<u8>)>, Error> {
        let mut data = Vec::new();
        let found = self.odb()?.try_find(id, &mut data);
        let found = found.map_err(git_error("reading the objects of", &self.dir))?;
        let kind = found.map(|object| object.kind);
        Ok(kind.map(|kind| (kind, data)))
    }
}

/// Nobody's entry.
pub(super) const NONE: u32 = u32::MAX;

/// What is known of an id.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// Its entry in the pack.
    pub entry: u32,
    /// An entry that names it.
    pub by: u32,
    /// The kinds, as bits, that it is named as.
    pub named: u8,
    /// The kind, as a bit, that it has in the repository, if that is known.
    pub there: u8,
}

pub(super) type Names = HashMap<ObjectId, Seen, Seeds>;

pub(super) const UNSEEN: Seen = Seen {
    entry: NONE,
    by: NONE,
    named: 0,
    there: 0,
};

pub(super) fn bit(kind: Kind) -> u8 {
    match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 4,
        Kind::Tag => 8,
    }
}

/// The kind of a bit; `None` where it is not one bit.
pub(super) fn kind_of_bit(bits: u8) -> Option<Kind> {
    [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag]
        .into_iter()
        .find(|kind| bit(*kind) == bits)
}

/// A hash of ids that costs little, and whose collisions nobody can prepare: ids in trees need not
/// be anything's, so that a pusher chooses them freely.
#[derive(Clone)]
pub(super) struct Seeds([u64; 3]);

impl Seeds {
    pub fn new() -> Self {
        let random = RandomState::new();
        Self([1, 2, 3].map(|n: u64| random.hash_one(n) | 1))
    }
}

impl BuildHasher for Seeds {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        let [state, first, second] = self.0;
        IdHasher {
            state,
            seeds: [first, second],
        }
    }
}

pub(super) struct IdHasher {
    state: u64,
    seeds: [u64; 2],
}

impl IdHasher {
    fn mix(&mut self, word: u64) {
        let [first, second] = self.seeds;
        let product = u128::from(self.state ^ word ^ second) * u128::from(first);
        let bytes = product.to_le_bytes();
        let half = |at: usize| {
            let mut half = [0; 8];
            half.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(half)
        };
        self.state = half(0) ^ half(8);
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}
