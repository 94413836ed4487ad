//! The steps of a push at which a test lets the server die, as `kill -9` would.
//!
//! Each step is named where it is reached, so that a test which goes through [`Step::ALL`] misses
//! none. In builds without debug assertions nobody dies, whatever was asked for.

use std::str::FromStr;

/// A step that a push has just completed, in the order in which a push completes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The commands have been read and can be done; nothing is on the disk.
    Commands,
    /// The quarantine's directory is there, and empty.
    Quarantine,
    /// The pack has been read and has an index.
    Pack,
    /// All new objects have been checked.
    Objects,
    /// The ledger knows of the build.
    Build,
    /// The slug is stored.
    Slug,
    /// The quarantine is durable.
    Kept,
    /// The ledger knows of the release, and of the refs to move: the commit point.
    Committed,
    /// The packs are at their place, their indices are not.
    PackMoved,
    /// The indices are there as well; the quarantine's directory still is.
    IndexMoved,
    /// The quarantine is gone.
    Promoted,
    /// The refs have moved, perhaps not durably.
    Refs,
    /// The refs are durable.
    RefsSynced,
    /// Nothing is owed any more; the pusher does not know yet.
    Closed,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 14] = [
        Self::Commands,
        Self::Quarantine,
        Self::Pack,
        Self::Objects,
        Self::Build,
        Self::Slug,
        Self::Kept,
        Self::Committed,
        Self::PackMoved,
        Self::IndexMoved,
        Self::Promoted,
        Self::Refs,
        Self::RefsSynced,
        Self::Closed,
    ];

    /// What a test calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Quarantine => "quarantine",
            Self::Pack => "pack",
            Self::Objects => "objects",
            Self::Build => "build",
            Self::Slug => "slug",
            Self::Kept => "kept",
            Self::Committed => "committed",
            Self::PackMoved => "pack-moved",
            Self::IndexMoved => "index-moved",
            Self::Promoted => "promoted",
            Self::Refs => "refs",
            Self::RefsSynced => "refs-synced",
            Self::Closed => "closed",
        }
    }
}

impl FromStr for Step {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let found = Self::ALL.into_iter().find(|step| step.name() == name);
        found.ok_or(())
    }
}

/// Where to die; by default nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults(Option<Step>);

impl Faults {
    /// Dies at this step.
    #[must_use]
    pub fn at(step: Step) -> Self {
        Self(Some(step))
    }

    /// To be called where a step is complete; does not return if this is the one.
    pub fn reach(self, step: Step) {
        if cfg!(debug_assertions) && self.0 == Some(step) {
            // No destructor runs and no buffer is written, as when the kernel ends a process.
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_steps() {
        for (at, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step.name().parse(), Ok(step));
            assert!(at == 0 || Step::ALL[at - 1] < step);
        }
        assert_eq!("".parse::<Step>(), Err(()));
        Faults::default().reach(Step::Commands);
        Faults::at(Step::Closed).reach(Step::Commands);
    }
}
