//! What can go wrong with the ledger.

use std::error::Error;
use std::path::PathBuf;

use crate::buildpack::BuildpackError;
use crate::config::ConfigError;
use crate::release::{Status, Version};

/// Why the ledger did not do what it was asked; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The ledger's file cannot be made, opened or brought up to date.
    #[error("the ledger {} cannot be opened", path.display())]
    Open {
        path: PathBuf,
        source: Box<dyn Error + Send + Sync>,
    },
    /// A later Slugline has written the file.
    #[error(
        "the ledger {} is of version {got}; this slugline knows versions up to {known}",
        path.display()
    )]
    Newer { path: PathBuf, got: i64, known: i64 },
    /// `what` is the Platform API's name of the resource: `app`, `build`, `release`, …
    #[error("there is no {what} {name:?}")]
    NotFound { what: &'static str, name: String },
    /// The name is taken.
    #[error("there is already a {what} {name:?}")]
    Conflict { what: &'static str, name: String },
    /// There are as many as there may be.
    #[error("there are {limit} {what}s already, which is the limit")]
    TooMany { what: &'static str, limit: usize },
    /// Several have the name, so that only an id can say which one is meant.
    #[error("there are {count} {what}s named {name:?}; choose one by its id")]
    Ambiguous {
        what: &'static str,
        name: String,
        count: usize,
    },
    /// A token that was revoked does not come back.
    #[error("the secret of the token {name:?} was revoked")]
    Revoked { name: String },
    /// The build has an end already.
    #[error("the build {id} is not pending, it has {}", status.as_str())]
    BuildEnded { id: String, status: Status },
    /// Somebody cancelled the build before its commit point.
    #[error("the build {id} was cancelled")]
    BuildCancelled { id: String },
    /// There is nothing in the release to run.
    #[error("the release {version} has no slug")]
    NoSlug { version: Version },
    /// The release never ran.
    #[error("the release {version} is {}", status.as_str())]
    NotSucceeded { version: Version, status: Status },
    /// A config var is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A recorded buildpack is none for this Slugline.
    #[error(transparent)]
    Buildpack(#[from] BuildpackError),
    /// The system has no random bytes to give.
    #[error("there are no random bytes for a secret")]
    Random(#[source] getrandom::Error),
    /// The database itself: a full disk, a damaged file, a lock held too long.
    #[error("the ledger's database does not answer")]
    Database(#[source] Box<dyn Error + Send + Sync>),
}
