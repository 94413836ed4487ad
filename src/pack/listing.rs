//! The listings of directories, for the walk: some are made ahead of it, by a thread of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::found::{Found, FoundKind, Inode, Skipped, SkippedKind, Stamp, full_path, let_owner};
use super::{Error, Limits};
use crate::slug::escape;

/// What an owner needs to list a directory and reach what is in it.
const LIST: u32 = 0o500;

/// Bytes of a directory's listing that are read at once.
const LISTING_BYTES: usize = 32 * 1024;

/// Entries that are listed ahead.
const ENTRIES_AHEAD: u64 = 4096;

/// Bytes of steps that one listing has; a directory that takes more is listed in parts, and read again
/// for each.
const PART_BYTES: usize = 4 << 20;

/// What is in a directory, or a part of it.
#[derive(Default)]
pub struct Listing {
    /// In the order of the walk, last first.
    pub steps: Vec<Step>,
    pub entries: u64,
    /// Of their paths and of symlinks' targets.
    pub name_bytes: u64,
    pub skipped: Vec<Skipped>,
}

/// Something to come. Paths are relative to the build dir.
pub enum Step {
    Entry(Found),
    /// All that is below a directory, whose path has a `/` at its end: so paths are in the order of their
    /// bytes, as in `a`, `a-b`, `a/x`.
    Below(Vec<u8>),
    /// What follows in the same directory, from this path on, which is of an entry or as `Below` has it.
    Rest(Vec<u8>),
}

/// The path of a step that is not made yet, and what is there; a directory has two.
type Name = (Vec<u8>, FileType);

/// Lists directories of a build dir.
pub struct Lister<'a> {
    dir: &'a Path,
    pub limits: &'a Limits,
    part_bytes: usize,
    /// Room for some of a directory's entries.
    room: Vec<u8>,
}

impl<'a> Lister<'a> {
    pub fn new(dir: &'a Path, limits: &'a Limits) -> Self {
        Self {
            dir,
            limits,
            part_bytes: PART_BYTES,
            room: Vec::with_capacity(LISTING_BYTES),
        }
    }

    /// Lists a directory from a path on, as far as the limits let it; `prefix` is what its entries'
    /// paths start with.
    fn list(&mut self, prefix: &[u8], from: &[u8]) -> Result<Listing, Error> {
        let path = full_path(self.dir, prefix.strip_suffix(b"/").unwrap_or(prefix));
        let error = |source: io::Error| Error::Read {
            path: path.clone(),
            source,
        };
        let dir = open_directory(&path, prefix.is_empty()).map_err(error)?;
        let part = Part::new(from, self.part_bytes);
        let (names, mut until) = self.names(&dir, prefix, part, error)?;
        let mut listing = Listing::default();
        listing.steps.reserve(names.len() + 1);
        for (path, kind) in names {
            // What symlinks lead to takes room as well.
            if listing.name_bytes > self.part_bytes as u64 {
                until = Some(path);
                break;
            }
            listing.add(self.dir, &dir, prefix.len(), path, kind)?;
            self.limits.check(listing.entries, listing.name_bytes)?;
        }
        listing.steps.extend(until.map(Step::Rest));
        listing.steps.reverse();
        Ok(listing)
    }

    /// Reads the names of a directory, and gives those of a part in order and the first that is left.
    fn names(
        &mut self,
        dir: &OwnedFd,
        prefix: &[u8],
        mut part: Part<'_>,
        error: impl Fn(io::Error) -> Error,
    ) -> Result<(Vec<Name>, Option<Vec<u8>>), Error> {
        let mut path = prefix.to_vec();
        let (mut there, mut name_bytes) = (0, 0);
        let mut entries = RawDir::new(dir, self.room.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| error(errno.into()))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            path.truncate(prefix.len());
            path.extend(name.to_bytes());
            there += 1;
            name_bytes += path.len() as u64;
            self.limits.check(there, name_bytes)?;
            let kind = match entry.file_type() {
                // Not every file system tells.
                FileType::Unknown => {
                    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                    FileType::from_raw_mode(stat.map_err(|errno| error(errno.into()))?.st_mode)
                }
                kind => kind,
            };
            part.add(&path, kind);
            if kind == FileType::Directory {
                path.push(b'/');
                part.add(&path, kind);
            }
        }
        Ok(part.end())
    }
}

/// The first names of a directory, of those that are not listed yet.
struct Part<'a> {
    from: &'a [u8],
    most_bytes: usize,
    /// The first that is left for the next part.
    until: Option<Vec<u8>>,
    names: Vec<Name>,
    /// Of the steps that they will be.
    bytes: usize,
}

impl<'a> Part<'a> {
    fn new(from: &'a [u8], most_bytes: usize) -> Self {
        Self {
            from,
            most_bytes,
            until: None,
            names: Vec::new(),
            bytes: 0,
        }
    }

    fn add(&mut self, path: &[u8], kind: FileType) {
        if path < self.from || self.until.as_deref().is_some_and(|until| path >= until) {
            return;
        }
        self.bytes += step_bytes(path);
        self.names.push((path.to_vec(), kind));
        if self.bytes > 2 * self.most_bytes {
            self.cut();
        }
    }

    /// Sorts the names, and leaves those that are too many for the next part.
    fn cut(&mut self) {
        self.names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.bytes = 0;
        for at in 0..self.names.len() {
            let bytes = self.bytes + step_bytes(&self.names[at].0);
            // One, however long, so that there is an end.
            if at > 0 && bytes > self.most_bytes {
                self.until = self.names.drain(at..).next().map(|(path, _)| path);
                return;
            }
            self.bytes = bytes;
        }
    }

    /// The names in order, and the first that is left.
    fn end(mut self) -> (Vec<Name>, Option<Vec<u8>>) {
        self.cut();
        (self.names, self.until)
    }
}

/// Bytes that a step takes.
fn step_bytes(path: &[u8]) -> usize {
    size_of::<Step>() + path.len()
}

impl Listing {
    /// Adds what is at a path in `dir`, whose name comes after `prefix` bytes.
    fn add(
        &mut self,
        build_dir: &Path,
        dir: &OwnedFd,
        prefix: usize,
        path: Vec<u8>,
        kind: FileType,
    ) -> Result<(), Error> {
        if path.ends_with(b"/") {
            self.steps.push(Step::Below(path));
            return Ok(());
        }
        let full = || full_path(build_dir, &path);
        let error = |errno: Errno| Error::Read {
            path: full(),
            source: errno.into(),
        };
        let name = &path[prefix..];
        self.entries += 1;
        self.name_bytes += path.len() as u64;
        let kind = match kind {
            FileType::Directory => FoundKind::Directory,
            FileType::RegularFile => {
                let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                let stat = stat.map_err(error)?;
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
        self.steps.push(Step::Entry(Found { path, kind }));
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

    /// The next part of a directory's listing.
    pub fn rest(&self, from: &[u8], lister: &mut Lister<'_>) -> Result<Listing, Error> {
        let name = from.strip_suffix(b"/").unwrap_or(from);
        let prefix = name.iter().rposition(|byte| *byte == b'/');
        let prefix = prefix.map_or(&b""[..], |slash| &name[..=slash]);
        let listing = lister.list(prefix, from);
        self.state().want(&listing);
        self.changed.notify_all();
        listing
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
        let listing = lister.list(&prefix, b"");
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
        let below = steps.filter_map(|step| match step {
            Step::Below(path) => Some(path.clone()),
            Step::Entry(_) | Step::Rest(_) => None,
        });
        self.wanted.extend(below);
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
        walked_in_parts(dir, limits, with_thread, PART_BYTES)
    }

    fn walked_in_parts(
        dir: &Path,
        limits: &Limits,
        with_thread: bool,
        part_bytes: usize,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let lister = || Lister {
            part_bytes,
            ..Lister::new(dir, limits)
        };
        let ahead = Ahead::default();
        thread::scope(|scope| {
            if with_thread {
                scope.spawn(|| ahead.run(lister()));
            }
            let _end = ahead.end();
            let mut walk = Walk::new(lister(), &ahead)?;
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
    fn a_large_directory_is_listed_in_parts() {
        let (dir, entries) = tree();
        std::os::unix::fs::symlink("x".repeat(4000), dir.path().join("0/link")).unwrap();
        let limits = |entries| Limits {
            entries: entries as u64,
            ..Limits::default()
        };
        let whole = walked(dir.path(), &Limits::default(), false).unwrap();
        for part_bytes in [1, 200, 500, 2000, 5000] {
            let part_bytes = part_bytes + size_of::<Step>();
            let walked = |entries, with_thread| {
                walked_in_parts(dir.path(), &limits(entries), with_thread, part_bytes)
            };
            for with_thread in [false, true] {
                assert!(walked(entries + 2, with_thread).unwrap() == whole);
                assert!(walked(entries + 1, with_thread).is_err());
            }
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
