//! Listings ahead of the walk, by a thread of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Error;
use super::found::split;
use super::listing::{Lister, Listing, Step};

/// Entries that are listed ahead.
pub const ENTRIES_AHEAD: u64 = 4096;

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
        let (prefix, _) = split(from.strip_suffix(b"/").unwrap_or(from));
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
