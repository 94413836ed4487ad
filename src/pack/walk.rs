//! A build dir's paths, one after the other in the order of their bytes, and what of it a slug
//! cannot hold.
//!
//! Symlinks are never followed, but the build dir itself may be one. No file is opened; directories
//! that their owner may not read are made readable. What is held in memory are the listings of one
//! path's directories, of large ones in parts, and some that come next.

use super::Error;
use super::found::{Found, Skipped};
use super::listing::{Ahead, Lister, Listing, Step};

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
