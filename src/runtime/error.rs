//! Why a runtime cannot be had, imported or kept.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// Why there is no such runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no buildpack has a runtime {name:?}")]
    Unknown { name: String, known: Vec<String> },
    #[error("{title} {version} is in no inventory, was not imported, and is not on this machine")]
    Nowhere { title: String, version: String },
    #[error("{title} {version} is not here, and sources are not asked (runtime_offline)")]
    Offline { title: String, version: String },
    #[error("{what} cannot be reached: {reason}")]
    Unreachable {
        what: String,
        reason: String,
        /// Whether its place was there and lacks this one alone.
        answered: bool,
    },
    #[error("{what} has the digest {got}, and its inventory says {expected}")]
    Digest {
        what: String,
        expected: String,
        got: String,
    },
    #[error("{what} cannot be unpacked: {reason}")]
    Archive { what: String, reason: String },
    /// What is to be imported is none.
    #[error("{} has no {title} of the version {version}", path.display())]
    NotThere {
        title: String,
        version: String,
        path: PathBuf,
        /// What it has instead, if anything.
        found: Option<String>,
    },
    #[error("the inventory cannot be read: {reason}")]
    Recipe { reason: String },
    #[error("the command that prepares {title} {version} did not succeed: {reason}")]
    Prepare {
        title: String,
        version: String,
        reason: String,
    },
    /// A build is to be repeated, and its runtime has changed.
    #[error("{title} {version} was {expected} then, and from {origin} it is {got}")]
    OtherTree {
        title: String,
        version: String,
        expected: Box<Digest>,
        got: Box<Digest>,
        origin: String,
    },
    #[error("{} is neither a file, nor a directory, nor a link", path.display())]
    Kind { path: PathBuf },
    #[error("obtaining the runtime was cancelled")]
    Cancelled,
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Error {
    /// What a build says where it goes on by another way.
    pub fn note(&self) -> Option<String> {
        match self {
            Self::Unreachable { what, reason, .. } => {
                Some(format!("Not fetched: {what} ({reason})"))
            }
            _ => None,
        }
    }
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}
