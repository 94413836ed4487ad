//! How much a build has on disk.
//!
//! A file system of its own says so itself. Elsewhere the build's trees are walked; that takes its
//! time, so it is done when the file system as a whole has shrunk by what
//! the build may still write. Others may free meanwhile what it fills, so it is walked besides:
//! the longer that takes, the more seldom.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

use super::limits::{Limit, Limits};

/// Longest time between two walks.
const WALK_EVERY: Duration = Duration::from_secs(30);
/// Pause between two walks, in times of what the first took.
const PAUSE: u32 = 20;
/// With less a file system is full.
const NOTHING_BYTES: u64 = 64 << 10;

/// The disk use of a build.
#[derive(Debug)]
pub(super) enum Disk {
    /// Of one that has a [file system of its own](super::image).
    Own(Own),
    Shared(Shared),
}

impl Disk {
    /// The limit that is exceeded, if one is.
    pub fn look(&mut self) -> Option<Limit> {
        match self {
            Self::Own(own) => own.look(),
            Self::Shared(shared) => shared.look(),
        }
    }

    /// The same for a command that has failed: every file is looked at.
    pub fn look_closely(&mut self) -> Option<Limit> {
        match self {
            Self::Own(own) => own.look(),
            Self::Shared(shared) => shared.walk(),
        }
    }

    /// The same for a command that has not; one may not have noticed that the disk was full.
    pub fn look_at_end(&self) -> Option<Limit> {
        match self {
            Self::Own(own) => own.look(),
            Self::Shared(_) => None,
        }
    }

    /// Time between two looks.
    pub fn pause(&self) -> Duration {
        match self {
            Self::Own(_) => Duration::ZERO,
            Self::Shared(_) => Duration::from_secs(1),
        }
    }
}

/// A file system that nothing else uses.
#[derive(Debug, Clone)]
pub(super) struct Own {
    dir: PathBuf,
    limit: Amount,
    free_at_start: Amount,
}

impl Own {
    /// The one at `dir`, with nothing in it.
    pub fn new(dir: &Path, limits: &Limits) -> Self {
        Self {
            dir: dir.to_owned(),
            limit: Amount::allowed(limits),
            free_at_start: free(dir),
        }
    }

    fn look(&self) -> Option<Limit> {
        let free = free(&self.dir);
        // It has as many files as blocks at most: more bytes are then the remedy.
        let is_full = free.bytes < NOTHING_BYTES || free.files == 0;
        let full = is_full.then_some(Limit::DiskBytes);
        self.limit
            .exceeded_by(self.free_at_start.less(free))
            .or(full)
    }

    /// Bytes in it.
    pub fn used_bytes(&self) -> u64 {
        self.free_at_start.less(free(&self.dir)).bytes
    }
}

/// Some directories of a file system that others use, too.
#[derive(Debug)]
pub(super) struct Shared {
    dirs: Vec<PathBuf>,
    limit: Amount,
    free_at_start: Amount,
    free_at_walk: Amount,
    walked: Amount,
    walked_at: Instant,
    walk_took: Duration,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    bytes: u64,
    files: u64,
}

impl Shared {
    pub fn new(dirs: Vec<PathBuf>, limits: &Limits) -> Self {
        let free = free_of_first(&dirs);
        Self {
            dirs,
            limit: Amount::allowed(limits),
            free_at_start: free,
            free_at_walk: free,
            walked: Amount::default(),
            walked_at: Instant::now(),
            walk_took: Duration::ZERO,
        }
    }

    fn look(&mut self) -> Option<Limit> {
        let free = free_of_first(&self.dirs);
        let grown = self.free_at_walk.less(free);
        let pause = (self.walk_took * PAUSE).min(WALK_EVERY);
        if self.limit.exceeded_by(self.walked.plus(grown)).is_none()
            && self.walked_at.elapsed() < pause
        {
            return None;
        }
        self.walk()
    }

    /// The same, looking at every file.
    fn walk(&mut self) -> Option<Limit> {
        let begun = Instant::now();
        let free = free_of_first(&self.dirs);
        let mut found = Found::default();
        for dir in &self.dirs {
            add_up(dir, &mut found);
        }
        self.walked = found.amount;
        if found.hidden {
            // A directory that its owner has closed to himself: all that was used since the start
            // may be in there.
            let used = self.free_at_start.less(free);
            self.walked.bytes = self.walked.bytes.max(used.bytes);
            self.walked.files = self.walked.files.max(used.files);
        }
        self.free_at_walk = free;
        self.walked_at = Instant::now();
        self.walk_took = begun.elapsed();
        self.limit.exceeded_by(self.walked)
    }
}

impl Amount {
    fn allowed(limits: &Limits) -> Self {
        Self {
            bytes: limits.disk_bytes,
            files: limits.disk_files,
        }
    }

    fn exceeded_by(self, other: Self) -> Option<Limit> {
        if other.bytes > self.bytes {
            Some(Limit::DiskBytes)
        } else if other.files > self.files {
            Some(Limit::DiskFiles)
        } else {
            None
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            files: self.files.saturating_add(other.files),
        }
    }

    fn less(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            files: self.files.saturating_sub(other.files),
        }
    }
}

fn free_of_first(dirs: &[PathBuf]) -> Amount {
    dirs.first().map(|dir| free(dir)).unwrap_or_default()
}

/// What a file system has left.
fn free(dir: &Path) -> Amount {
    statvfs(dir).map_or_else(
        |_| Amount::default(),
        |seen| Amount {
            bytes: seen.blocks_free().saturating_mul(seen.fragment_size()),
            files: seen.files_free(),
        },
    )
}

#[derive(Debug, Default)]
struct Found {
    amount: Amount,
    hidden: bool,
}

/// Adds a tree up, never following a link.
fn add_up(dir: &Path, found: &mut Found) {
    let Ok(entries) = fs::read_dir(dir) else {
        found.hidden = true;
        return;
    };
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        found.amount.files += 1;
        // The unit of st_blocks whatever the file system's is. Source: stat(3type).
        found.amount.bytes += meta.blocks() * 512;
        if meta.is_dir() {
            add_up(&entry.path(), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_files_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            disk_bytes: 100_000,
            disk_files: 10,
            ..Limits::default()
        };
        let look = || {
            let mut disk = Shared::new(vec![dir.path().to_owned()], &limits);
            disk.walked_at -= WALK_EVERY;
            disk.look()
        };
        assert_eq!(look(), None);
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/large"), vec![1; 200_000]).unwrap();
        fs::File::open(dir.path().join("sub/large"))
            .unwrap()
            .sync_all()
            .unwrap();
        assert_eq!(look(), Some(Limit::DiskBytes));
        fs::remove_file(dir.path().join("sub/large")).unwrap();
        for n in 0..10 {
            std::os::unix::fs::symlink("/", dir.path().join(n.to_string())).unwrap();
        }
        assert_eq!(look(), Some(Limit::DiskFiles));
    }
}
