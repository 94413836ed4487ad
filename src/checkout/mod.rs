//! What is to be built, as files: the tree of a commit, an archive or a directory, written into an
//! empty directory.
//!
//! Guaranteed: nothing is written outside of that directory; files are executable or not, whatever
//! the umask says; symlinks stay symlinks; nothing called `.git` and no empty directory comes in;
//! no program is run. For one commit, [`commit`] and [`directory`] on its clean work tree write the
//! same files.

mod archive;
mod commit;
mod convert;
mod dest;
mod directory;
mod prune;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gix::ObjectId;

use crate::digest::Digest;

pub use archive::{archive, archive_as_it_is, whole_archive, write_archive};
pub use commit::commit;
pub use directory::{Directory, directory};
pub use prune::{Pruned, prune};

/// How much may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Files and symlinks; the same number again of directories.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Default for Limits {
    /// 500,000 files and 1 GiB. Source of the latter: Heroku's limit for uncompressed repositories.
    fn default() -> Self {
        Self {
            files: 500_000,
            bytes: 1 << 30,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The commit that the files are those of, where there is one.
    pub commit: Option<ObjectId>,
    /// The tree that the files are, where it is known.
    pub tree: Option<ObjectId>,
    /// Files and symlinks.
    pub files: usize,
    /// Bytes of the files.
    pub bytes: u64,
    /// Paths at which the commit names commits of other repositories; nothing is written there.
    pub submodules: Vec<(String, ObjectId)>,
}

/// What [`whole_archive`] has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Over paths, kinds, modes and contents; not over times.
    pub digest: Digest,
    /// Files and symlinks.
    pub files: usize,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Why there is nothing to build.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine's fault: the file system said no.
    #[error("{doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The repository cannot be read, or the tree cannot be written.
    #[error("{doing} {path}")]
    Repository {
        doing: &'static str,
        path: PathBuf,
        source: gix::Error,
    },
    /// The directory to write into has something in it.
    #[error("{path} is not an empty directory")]
    NotEmpty { path: PathBuf },
    /// The repository has no such commit.
    #[error("there is no commit {id}")]
    NoCommit { id: ObjectId },

    /// Whoever asked has no more use for it.
    #[error("the build was cancelled")]
    Cancelled,
    /// There is no file.
    #[error("there is no file to build")]
    Empty,
    /// More files than a tree may have.
    #[error("more than {limit} files or directories")]
    Files { limit: usize },
    /// More bytes than a tree may have.
    #[error("the files take more than {limit_bytes} bytes")]
    Bytes { limit_bytes: u64 },
    /// A submodule, whose files are in another repository.
    #[error("{path} is a submodule")]
    Submodule { path: String },
    /// One path twice, or once as a file and once as a directory.
    #[error("{path} is there twice")]
    Twice { path: PathBuf },
    /// A path that leads out, or that no file system takes.
    #[error("{path:?} is no path inside of the tree")]
    Outside { path: PathBuf },
    /// A path below something that is not a directory, such as a symlink.
    #[error("{path} lies below {above}, which is not a directory")]
    Below { path: PathBuf, above: PathBuf },
    /// Neither a file nor a directory nor a symlink.
    #[error("{path} is a {kind}")]
    Kind { path: PathBuf, kind: &'static str },

    /// A hard link to something that is not a file of the archive.
    #[error("{path} is a hard link to {target}, which is no earlier file of the archive")]
    HardLink { path: PathBuf, target: PathBuf },
    /// The archive cannot be read.
    #[error("the archive is damaged")]
    Archive { source: io::Error },
    /// A part of the archive is written in a way that readers understand differently.
    #[error("the archive's entry {path:?} has {what}, which is not supported")]
    Unsupported { path: PathBuf, what: String },

    /// `.slugignore` cannot be read as one.
    #[error(".slugignore is {what}")]
    Ignore { what: &'static str },

    /// The directory is in a work tree, and git knows of no file in it.
    #[error("git tracks no file in {path}")]
    NothingTracked { path: PathBuf },
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        doing,
        path,
        source,
    }
}

fn git_error(doing: &'static str, path: &Path) -> impl FnOnce(gix::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Repository {
        doing,
        path,
        source,
    }
}

/// Ends what is under way once `stop` is set.
fn check(stop: &AtomicBool) -> Result<(), Error> {
    if stop.load(Ordering::SeqCst) {
        return Err(Error::Cancelled);
    }
    Ok(())
}

/// A path as git has it, in bytes.
fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
