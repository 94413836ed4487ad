//! A build dir's paths, one after the other in the order of their bytes, and what of it a slug
//! cannot hold.
//!
//! Symlinks are never followed, but the build dir itself may be one. No file is opened; directories
//! that their owner may not read are made readable. What is held in memory are the listings of one
//! path's directories, and some that come next.

use std::path::Path;

use super::found::{Found, Skipped};
use super::listing::{Ahead, Lister, Step};
use super::{Error, Limits};

/// A walk through a build dir.
pub struct Walk<'a> {
    lister: Lister<'a>,
    ahead: &'a Ahead,
    limits: &'a Limits,
    /// The app's root is an entry too.
    entries: u64,
    name_bytes: u64,
    /// What is still to come of each directory on the way to the current one, last first.
    open: Vec<Vec<Step>>,
    pub skipped: Vec<Skipped>,
}

impl<'a> Walk<'a> {
    /// Starts at the root of a build dir, which is not given out itself.
    pub fn new(dir: &'a Path, limits: &'a Limits, ahead: &'a Ahead) -> Result<Self, Error> {
        let mut walk = Self {
            lister: Lister::new(dir, limits),
            ahead,
            limits,
            entries: 1,
            name_bytes: 0,
            open: Vec::new(),
            skipped: Vec::new(),
        };
        walk.list(b"")?;
        Ok(walk)
    }

    /// The next entry, as far as the limits let it.
    pub fn next(&mut self) -> Result<Option<Found>, Error> {
        while let Some(steps) = self.open.last_mut() {
            let Some(Step { path, kind }) = steps.pop() else {
                self.open.pop();
                continue;
            };
            match kind {
                Some(kind) => return Ok(Some(Found { path, kind })),
                None => self.list(&path)?,
            }
        }
        Ok(None)
    }

    /// Takes the listing of a directory; `prefix` is what its entries' paths start with.
    fn list(&mut self, prefix: &[u8]) -> Result<(), Error> {
        let listing = self.ahead.take(prefix, &mut self.lister)?;
        self.entries += listing.entries;
        self.name_bytes += listing.name_bytes;
        self.limits.check(self.entries, self.name_bytes)?;
        self.skipped.extend(listing.skipped);
        self.open.push(listing.steps);
        Ok(())
    }
}
