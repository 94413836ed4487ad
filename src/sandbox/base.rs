//! A tree that many roots show at `/app`, each under a writable layer of its own.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::root::chown_tree;
use super::user::Outer;
use super::{Error, Level};

/// A finished tree, and the user that it belongs to: all that is run over it runs as that user,
/// since a process may change only what is its own.
#[derive(Debug)]
pub struct Base {
    dir: PathBuf,
    pub(super) outer: Arc<Outer>,
}

impl Base {
    /// Takes a tree that nothing else writes to. It keeps the user that it belonged to before,
    /// unless another has taken that one meanwhile: then each file changes its owner.
    ///
    /// # Errors
    /// The platform's: no user is free, or an owner could not be changed.
    pub(super) fn adopt(level: Level, dir: &Path) -> Result<Self, Error> {
        let owner = fs::symlink_metadata(dir).map_err(Error::io(dir))?.uid();
        let outer = match level {
            Level::Root => Outer::claim_first(owner).map_err(Error::io(dir))?,
            Level::Namespaces | Level::Landlock | Level::Off => Outer::default(),
        };
        if let Some(id) = outer.id {
            adopt(dir, id)?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            outer: Arc::new(outer),
        })
    }

    /// Makes a pipe or a terminal of ours the property of what runs over the tree, which may then open
    /// it again by name: `/dev/stdout`.
    ///
    /// # Errors
    /// The platform's: its owner could not be changed.
    pub fn give(&self, file: impl AsFd) -> Result<(), Error> {
        let Some(id) = self.outer.id else {
            return Ok(());
        };
        let given = nix::unistd::fchown(file, Some(id.into()), Some(id.into()));
        given.map_err(|errno| Error::io(&self.dir)(errno.into()))
    }

    /// The tree, as the host sees it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Gives a tree to a user, unless it is his.
pub(super) fn adopt(dir: &Path, id: u32) -> Result<(), Error> {
    if fs::symlink_metadata(dir).map_err(Error::io(dir))?.uid() == id {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        chown_tree(&entry.map_err(Error::io(dir))?.path(), id)?;
    }
    // Last: a tree whose own owner is right is right all through.
    lchown(dir, Some(id), Some(id)).map_err(Error::io(dir))
}
