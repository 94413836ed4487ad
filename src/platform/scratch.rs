//! The working directory of a build or a dyno, removed off the critical path.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use crate::sandbox::remove_tree;

/// A directory for one build or dyno; dropping it removes it in the background, and what a killed server
/// leaves is removed at the next start.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn create(parent: &Path) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(parent)?;
        Ok(Self(dir.keep()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        thread::spawn(move || {
            if let Err(error) = remove_tree(&path) {
                tracing::warn!(path = %path.display(), %error, "a build's directory stays behind");
            }
        });
    }
}
