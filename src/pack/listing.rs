//! The listings of directories, for the walk: some are made ahead of it, by a thread of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::found::{FoundKind, Inode, Skipped, SkippedKind, Stamp, full_path, let_owner};
use super::{Error, Limits};
use crate::slug::escape;

/// What an owner needs to list a directory and reach what is in it.
const LIST: u32 = 0o500;

/// Bytes of a directory's listing that are read at once.
const LISTING_BYTES: usize = 32 * 1024;

/// Entries that are listed ahead; a directory is listed at once, whatever it has.
const ENTRIES_AHEAD: u64 = 4096;

/// What is in a directory.
#[derive(Default)]
pub struct Listing {
    /// In the order of the walk, last first.
    pub steps: Vec<Step>,
    pub entries: u64,
    /// Of their paths and of symlinks' targets.
    pub name_bytes: u64,
    pub skipped: Vec<Skipped>,
}

/// Something to come: an entry, or all that is below a directory.
pub struct Step {
    /// Relative to the build dir; with a `/` at its end, what is below that directory. That is how
    /// paths are in the order of their bytes: `a`, `a-b`, `a/x`.
    pub path: Vec<u8>,
    pub kind: Option<FoundKind>,
}

/// Lists directories of a build dir.
pub struct Lister<'a> {
    dir: &'a Path,
    limits: &'a Limits,
    /// Room for a part of a listing.
    room: Vec<u8>,
}

impl<'a> Lister<'a> {
    pub fn new(dir: &'a Path, limits: &'a Limits) -> Self {
        Self {
            dir,
            limits,
            room: Vec::with_capacity(LISTING_BYTES),
        }
    }

    /// Lists a directory, as far as the limits let it; `prefix` is what its entries' paths start with.
    pub fn list(&mut self, prefix: &[u8]) -> Result<Listing, Error> {
        let path = full_path(self.dir, prefix.strip_suffix(b"/").unwrap_or(prefix));
        let error = |source: io::Error| Error::Read {
            path: path.clone(),
            source,
        };
        let dir = open_directory(&path, prefix.is_empty()).map_err(error)?;
        let mut listing = Listing::default();
        let mut entries = RawDir::new(&dir, self.room.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| error(errno.into()))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            listing.add(self.dir, &dir, prefix, name, entry.file_type())?;
            self.limits.check(listing.entries, listing.name_bytes)?;
        }
        (listing.steps).sort_unstable_by(|a, b| b.path.cmp(&a.path));
        Ok(listing)
    }
}

impl Listing {
    /// Adds an entry of `dir`, whose entries' paths start with `prefix`.
    fn add(
        &mut self,
        build_dir: &Path,
        dir: &OwnedFd,
        prefix: &[u8],
        name: &CStr,
        kind: FileType,
    ) -> Result<(), Error> {
        let path = [prefix, name.to_bytes()].concat();
        let full = || full_path(build_dir, &path);
        let error = |errno: Errno| Error::Read {
            path: full(),
            source: errno.into(),
        };
        let stat = || rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(error);
        let kind = match kind {
            // Not every file system tells.
            FileType::Unknown => FileType::from_raw_mode(stat()?.st_mode),
            kind => kind,
        };
        self.entries += 1;
        self.name_bytes += path.len() as u64;
        let kind = match kind {
            FileType::Directory => {
                self.steps.push(Step {
                    path: [&path, &b"/"[..]].concat(),
                    kind: None,
                });
                FoundKind::Directory
            }
            FileType::RegularFile => {
                let stat = stat()?;
                let stamp = Stamp::of(&stat).ok_or_else(|| Error::Changed { path: full() })?;
                if stamp.executable {
                    let capabilities = has_capabilities(&full());
                    if stat.st_mode & 0o6000 != 0 {
                        self.skip(&path, SkippedKind::SetUserId);
                    }
                    if capabilities {
                        self.skip(&path, SkippedKind::Capabilities);
                    }
                }
                FoundKind::File(stamp, Inode::of(&stat))
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(error)?;
                let target = target.into_bytes();
                self.name_bytes += target.len() as u64;
                FoundKind::Symlink { target }
            }
            kind => {
                self.skip(&path, skipped_kind(kind));
                return Ok(());
            }
        };
        self.steps.push(Step {
            path,
            kind: Some(kind),
        });
        Ok(())
    }

    fn skip(&mut self, path: &[u8], kind: SkippedKind) {
        self.skipped.push(Skipped {
            path: escape(path),
            kind,
        });
    }
}

/// Listings made ahead of the walk, by the thread of [`Ahead::run`] and by the walk itself while that
/// makes the one that is needed next: always the first, in the order of the walk, of those that nobody
/// makes yet.
pub struct Ahead {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The prefixes of directories to be listed.
    wanted: BTreeSet<Vec<u8>>,
    /// Of those listed ahead, by their prefixes.
    listed: BTreeMap<Vec<u8>, Result<Listing, Error>>,
    /// In those, with the directories themselves.
    entries: u64,
    ended: bool,
}

impl Default for Ahead {
    /// The build dir itself is wanted.
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                wanted: BTreeSet::from([Vec::new()]),
                listed: BTreeMap::new(),
                entries: 0,
                ended: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Ahead {
    /// Lists directories until the walk has [ended](Self::end).
    pub fn run(&self, mut lister: Lister<'_>) {
        let _end = self.end();
        let mut state = self.state();
        while !state.ended {
            if state.entries >= ENTRIES_AHEAD {
                // Not woken for each directory that the walk takes.
                while !state.ended && state.entries > ENTRIES_AHEAD / 2 {
                    state = self.wait(state);
                }
            } else {
                state = self.list_next(state, &mut lister);
            }
        }
    }

    /// The listing of the directory whose turn it is in the walk.
    pub fn take(&self, prefix: &[u8], lister: &mut Lister<'_>) -> Result<Listing, Error> {
        let mut state = self.state();
        loop {
            if let Some(listing) = state.listed.remove(prefix) {
                state.entries -= entries(&listing);
                if state.entries <= ENTRIES_AHEAD / 2 {
                    self.changed.notify_all();
                }
                return listing;
            }
            assert!(!state.ended, "listings go on until the walk has ended");
            let is_under_way = !state.wanted.contains(prefix);
            state = if is_under_way && state.entries >= ENTRIES_AHEAD {
                self.wait(state)
            } else {
                self.list_next(state, lister)
            };
        }
    }

    /// Lists the first directory that is wanted, or waits for another to change that there is none.
    fn list_next<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        lister: &mut Lister<'_>,
    ) -> MutexGuard<'a, State> {
        let Some(prefix) = state.wanted.pop_first() else {
            return self.wait(state);
        };
        drop(state);
        let listing = lister.list(&prefix);
        let mut state = self.state();
        state.want(&listing);
        state.entries += entries(&listing);
        state.listed.insert(prefix, listing);
        self.changed.notify_all();
        state
    }

    /// Ends listings once it is dropped, in a panic too: nobody waits for anybody then.
    pub fn end(&self) -> impl Drop {
        End(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let state = self.changed.wait(state);
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

struct End<'a>(&'a Ahead);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_all();
    }
}

impl State {
    fn want(&mut self, listing: &Result<Listing, Error>) {
        let steps = listing.iter().flat_map(|listing| &listing.steps);
        let below = steps.filter(|step| step.kind.is_none());
        self.wanted.extend(below.map(|step| step.path.clone()));
    }
}

/// What a listing counts for, with the directory itself.
fn entries(listing: &Result<Listing, Error>) -> u64 {
    1 + listing.as_ref().map_or(0, |listing| listing.entries)
}

/// Opens a directory, and where its owner may not list it or reach what is in it, lets him first.
fn open_directory(path: &Path, is_root: bool) -> io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !is_root {
        flags |= OFlags::NOFOLLOW;
    }
    let open = || rustix::fs::open(path, flags, Mode::empty());
    let dir = match open() {
        Err(Errno::ACCESS) => {
            let_owner(path, LIST)?;
            open()?
        }
        dir => dir?,
    };
    // Its content's types may be had without reaching it.
    if rustix::fs::fstat(&dir)?.st_mode & LIST != LIST {
        let_owner(path, LIST)?;
    }
    Ok(dir)
}

/// Whether the kernel would give a program more than its caller has. A file system without such
/// attributes has none.
fn has_capabilities(path: &Path) -> bool {
    let mut none = [0_u8; 0];
    rustix::fs::lgetxattr(path, c"security.capability", &mut none).is_ok()
}

fn skipped_kind(kind: FileType) -> SkippedKind {
    match kind {
        FileType::Fifo => SkippedKind::Fifo,
        FileType::Socket => SkippedKind::Socket,
        _ => SkippedKind::Device,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::super::walk::Walk;
    use super::*;

    /// The paths of a walk, with the thread that lists ahead of it or without.
    fn walked(dir: &Path, limits: &Limits, with_thread: bool) -> Result<Vec<Vec<u8>>, Error> {
        let ahead = Ahead::default();
        thread::scope(|scope| {
            if with_thread {
                scope.spawn(|| ahead.run(Lister::new(dir, limits)));
            }
            let _end = ahead.end();
            let mut walk = Walk::new(dir, limits, &ahead)?;
            let mut paths = Vec::new();
            while let Some(found) = walk.next()? {
                paths.push(found.path);
            }
            Ok(paths)
        })
    }

    /// More than is listed ahead, in directories whose order is not that of their names alone.
    fn tree() -> (tempfile::TempDir, usize) {
        let dir = tempfile::tempdir().unwrap();
        let mut entries = 0;
        for outer in 0..40 {
            for inner in ["a", "a-b", "a/x", "b/c/d"] {
                let inner = dir.path().join(format!("{outer}/{inner}"));
                fs::create_dir_all(&inner).unwrap();
                for file in 0..(outer % 7) * 12 {
                    fs::write(inner.join(file.to_string()), "").unwrap();
                    entries += 1;
                }
            }
            entries += 1 + 6;
        }
        assert!(entries as u64 > ENTRIES_AHEAD);
        (dir, entries)
    }

    #[test]
    fn a_walk_is_the_same_with_a_thread_ahead() {
        let (dir, entries) = tree();
        let paths = walked(dir.path(), &Limits::default(), false).unwrap();
        assert_eq!(paths.len(), entries);
        assert!(paths.is_sorted());
        for _ in 0..20 {
            assert_eq!(walked(dir.path(), &Limits::default(), true).unwrap(), paths);
        }
    }

    #[test]
    fn limits_end_a_walk_and_what_is_ahead_of_it() {
        let (dir, entries) = tree();
        let limits = |entries| Limits {
            entries: entries as u64,
            ..Limits::default()
        };
        for with_thread in [false, true] {
            // With the app's root.
            assert!(walked(dir.path(), &limits(entries + 1), with_thread).is_ok());
            let ended = walked(dir.path(), &limits(entries), with_thread);
            assert!(
                matches!(ended, Err(Error::TooManyEntries { limit }) if limit == entries as u64)
            );
        }
    }

    #[test]
    fn what_cannot_be_listed_fails_the_walk() {
        let dir = tempfile::tempdir().unwrap();
        for with_thread in [false, true] {
            let failed = walked(&dir.path().join("none"), &Limits::default(), with_thread);
            assert!(matches!(failed, Err(Error::Read { path, .. }) if path.ends_with("none")));
        }
    }
}
