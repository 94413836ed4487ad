//! Trees that builds hand over for all builds of this machine: what a built-in buildpack has a package
//! manager fetch, the same for every app. Their digests are in the buildpack's list, so that nobody needs
//! to be trusted who hands one over, and nothing else can be kept.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;

use super::{Error, Runtimes, io_error, tree};
use crate::digest::Digest;

/// A tree that may be handed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handed {
    /// Such as `uv-0.13.9`.
    pub name: String,
    /// As `uname -m` says it.
    pub arch: String,
    /// As that of a runtime's tree.
    pub digest: Digest,
}

/// Reads a buildpack's list.
///
/// # Errors
/// [`Error::Recipe`].
pub(super) fn parse_handed(text: &str) -> Result<Vec<Handed>, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct List {
        tree: Vec<Handed>,
    }
    let list = toml::from_str::<List>(text).map_err(|error| Error::Recipe {
        reason: error.to_string(),
    })?;
    Ok(list.tree)
}

impl Runtimes {
    /// Lets builds hand over what these lists name.
    ///
    /// # Errors
    /// [`Error::Recipe`].
    pub fn with_handed<'a>(
        mut self,
        lists: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Error> {
        for list in lists {
            self.handed.extend(parse_handed(list)?);
        }
        Ok(self)
    }

    fn expected(&self, name: &str) -> Result<Digest, Error> {
        let arch = std::env::consts::ARCH;
        let mut named = self.handed.iter().filter(|one| one.arch == arch);
        let found = named.find(|one| one.name == name).map(|one| one.digest);
        found.ok_or_else(|| Error::Unknown {
            name: name.chars().take(100).collect(),
            known: self.handed.iter().map(|one| one.name.clone()).collect(),
        })
    }

    /// The name among the trees of one that was handed over, where it is here; it is in use from now on.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn handed(&self, name: &str) -> Result<Option<String>, Error> {
        let hex = self.expected(name)?.hex();
        let tree = self.cache.trees()?.join(&hex);
        if !tree.is_dir() {
            return Ok(None);
        }
        // What is swept is as old as its directory.
        let times = FileTimes::new().set_modified(now());
        if let Err(error) = File::open(&tree).and_then(|dir| dir.set_times(times)) {
            tracing::warn!(%error, "a tree's last use is not noted");
        }
        Ok(Some(hex))
    }

    /// A new directory for a tree that is to be handed over.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn work(&self) -> Result<tempfile::TempDir, Error> {
        self.cache.work()
    }

    /// Keeps a tree that lies below [`Runtimes::work`].
    ///
    /// # Errors
    /// [`Error::Unknown`], and [`Error::Digest`] where it is another one.
    pub fn hand_over(&self, name: &str, dir: &Path) -> Result<Digest, Error> {
        let expected = self.expected(name)?;
        let got = tree::settle(dir)?.digest;
        if got != expected {
            return Err(Error::Digest {
                what: name.to_owned(),
                expected: expected.to_string(),
                got: got.to_string(),
            });
        }
        let to: PathBuf = self.cache.trees()?.join(expected.hex());
        match fs::rename(dir, &to) {
            // Another build was sooner.
            Err(_) if to.is_dir() => {}
            renamed => renamed.map_err(io_error(&to))?,
        }
        Ok(expected)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file's time of use is the clock's"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
