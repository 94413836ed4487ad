//! What can go wrong with a store.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;

/// A blob that is not there, or a directory that does not do as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no blob {digest} in the store")]
    NotFound { digest: Digest },
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The bucket's server does not do as it should.
    #[error("the object {name}")]
    Bucket {
        name: String,
        source: object_store::Error,
    },
    /// What the bucket has is not what was put.
    #[error(transparent)]
    Damaged(Damaged),
}

/// A blob on the disk that is not what its name says; inside the [`io::Error`] of a read.
#[derive(Debug, thiserror::Error)]
#[error("the blob of {expected} is damaged: its {size_bytes} bytes are {got}")]
pub struct Damaged {
    pub expected: Digest,
    pub got: Digest,
    pub size_bytes: u64,
}
