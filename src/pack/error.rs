//! What can go wrong while a slug is written or read, each with the path it is about.

use std::io;
use std::path::PathBuf;

/// A build dir that cannot be packed, or a slug that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something of the build dir cannot be read.
    #[error("reading {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file was written to while it was packed.
    #[error("{} changed while it was packed", path.display())]
    Changed { path: PathBuf },
    /// The slug's destination takes no more bytes.
    #[error("writing the slug")]
    WriteSlug(#[source] io::Error),
    /// The slug's source gives no more bytes, or its gzip is broken.
    #[error("reading the slug")]
    ReadSlug(#[source] io::Error),
    /// The slug is no tar that every reader would read alike.
    #[error("malformed tar at byte {offset}: {why}")]
    Malformed { offset: u64, why: &'static str },
    /// An entry that no slug may have; `entry` is escaped as in a manifest.
    #[error("entry `{entry}` is refused")]
    Refused { entry: String, source: Refusal },
    #[error("more than {limit} entries")]
    TooManyEntries { limit: u64 },
    #[error("a tar of more than {limit_bytes} bytes")]
    TooManyBytes { limit_bytes: u64 },
    #[error("paths and link targets of more than {limit_bytes} bytes")]
    TooManyNames { limit_bytes: u64 },
    /// The directory to extract to is missing, no directory or not empty.
    #[error("{} is no empty directory", path.display())]
    NotEmpty {
        path: PathBuf,
        source: Option<io::Error>,
    },
    /// Something of the slug cannot be written below the directory to extract to.
    #[error("writing {}", path.display())]
    Extract { path: PathBuf, source: io::Error },
    /// A slug is not what its manifest says.
    #[error("{what} is {got}, and {expected} in the manifest")]
    Mismatch {
        what: String,
        expected: String,
        got: String,
    },
}

/// Why an entry of an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("an absolute path")]
    Absolute,
    #[error("a path with `..`")]
    ParentDirectory,
    #[error("not below ./app/")]
    OutsideApp,
    #[error("./app itself must be a directory")]
    AppIsNoDirectory,
    #[error("an empty name, or one with a zero byte")]
    BadName,
    #[error("a name of more than {limit_bytes} bytes")]
    LongName { limit_bytes: usize },
    #[error("a file whose name ends as a directory's")]
    FileNamedAsDirectory,
    /// `link` is escaped as in a manifest.
    #[error("its path goes through the symlink `{link}`")]
    ThroughSymlink { link: String },
    #[error("its path goes through the file `{file}`")]
    ThroughFile { file: String },
    #[error("a second entry of that name")]
    Duplicate,
    #[error("a hard link to `{target}`, which is no file before it in the slug")]
    HardLink { target: String },
    #[error("a device or fifo")]
    Device,
    #[error("a symlink to nowhere or to more than {limit_bytes} bytes")]
    SymlinkTarget { limit_bytes: usize },
    #[error("content where its type has none")]
    Content,
    #[error("entries of type {kind:?} are not supported")]
    UnknownType { kind: char },
}
