//! A build dir's paths, one after the other in the order of their bytes, and what of it a slug
//! cannot hold.
//!
//! Symlinks are never followed, but the build dir itself may be one. No file is opened; directories
//! that their owner may not read are made readable. What is held in memory are the listings of one
//! path's directories, of large ones in parts, and some that come next.

use super::Error;
use super::ahead::Ahead;
use super::found::{Found, Skipped};
use super::listing::{Lister, Listing, Step};

/// A walk through a build dir.
pub struct Walk<'a> {
    lister: Lister<'a>,
    ahead: &'a Ahead,
    /// The app's root is an entry too.
    entries: u64,
    name_bytes: u64,
    /// What is still to come of each directory on the way to the current one, last first.
    open: Vec<Vec<Step>>,
    pub skipped: Vec<Skipped>,
}

impl<'a> Walk<'a> {
    /// Starts at the root of the lister's build dir, which is not given out itself.
    pub fn new(lister: Lister<'a>, ahead: &'a Ahead) -> Result<Self, Error> {
        let mut walk = Self {
            lister,
            ahead,
            entries: 1,
            name_bytes: 0,
            open: Vec::new(),
            skipped: Vec::new(),
        };
        let root = walk.ahead.take(b"", &mut walk.lister)?;
        walk.open(root)?;
        Ok(walk)
    }

    /// The next entry, as far as the limits let it.
    pub fn next(&mut self) -> Result<Option<Found>, Error> {
        while let Some(steps) = self.open.last_mut() {
            let Some(step) = steps.pop() else {
                self.open.pop();
                continue;
            };
            let listing = match step {
                Step::Entry(found) => return Ok(Some(found)),
                Step::Below(prefix) => self.ahead.take(&prefix, &mut self.lister)?,
                Step::Rest(from) => {
                    // Nothing else is left of this part, and its room is wanted.
                    self.open.pop();
                    self.ahead.rest(&from, &mut self.lister)?
                }
            };
            self.open(listing)?;
        }
        Ok(None)
    }

    /// Goes on with what a listing has.
    fn open(&mut self, listing: Listing) -> Result<(), Error> {
        self.entries += listing.entries;
        self.name_bytes += listing.name_bytes;
        self.lister.limits.check(self.entries, self.name_bytes)?;
        self.skipped.extend(listing.skipped);
        self.open.push(listing.steps);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::thread;

    use super::super::Limits;
    use super::super::ahead::ENTRIES_AHEAD;
    use super::super::listing::PART_BYTES;
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
        let lister = || {
            let mut lister = Lister::new(dir, limits);
            lister.part_bytes = part_bytes;
            lister
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
