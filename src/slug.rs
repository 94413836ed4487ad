//! A slug's two descriptions: the manifest, which depends on the slug's bytes alone,
//! and the record, which holds what belongs to the one build that made it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The slug format that this binary writes.
///
/// Format 0: one gzip member (zlib level 6) around a POSIX tar of sorted, normalised entries.
pub const FORMAT: u32 = 0;

/// The prefix of every path in a slug's tar.
pub const PREFIX: &str = "./app/";

/// Modification time of every entry: 1980-01-01T00:00:00Z, the oldest that zip tools can also write.
pub const MTIME_SECONDS: u64 = 315_532_800;

/// What a slug is, as far as its bytes tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// Of the compressed bytes.
    pub digest: Digest,
    /// Of the tar inside, as OCI's layers have it.
    pub diff_id: Digest,
    /// Size of the compressed bytes.
    pub size_bytes: u64,
    /// Size of the tar inside.
    pub tar_bytes: u64,
    /// In the order of the tar: sorted by path, byte by byte.
    pub entries: Vec<Entry>,
}

/// One file, directory or symlink of a slug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the app's root, without `./app/`; bytes that are not UTF-8 are written `\xNN`,
    /// a backslash `\\`.
    pub path: String,
    #[serde(flatten)]
    pub kind: EntryKind,
}

/// What an entry is. Modes are reduced to 644 and 755.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum EntryKind {
    File {
        /// `"644"` or `"755"`.
        mode: String,
        size_bytes: u64,
        digest: Digest,
    },
    Directory,
    Symlink {
        /// Escaped like `path`.
        target: String,
    },
}

/// What one build made: the slug's digest, and all that its bytes do not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlugRecord {
    pub digest: Digest,
    pub diff_id: Digest,
    pub size_bytes: u64,
    pub format: u32,
    /// Digest of the manifest's JSON.
    pub manifest: Digest,
    pub source: Source,
    pub buildpacks: Vec<UsedBuildpack>,
    /// Name and version of each language runtime in or under the slug.
    pub runtimes: BTreeMap<String, String>,
    /// What the package managers resolved.
    pub packages: Vec<Package>,
    pub stack: String,
    /// As `uname -m` says it.
    pub architecture: String,
    /// The command of each process type: the Procfile's over the buildpack's.
    pub process_types: BTreeMap<String, String>,
}

/// Where the built tree came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The commit, where there was one.
    pub commit: Option<String>,
    /// The git tree that was built, where it is known.
    pub tree: Option<String>,
    /// What the caller of a build said of the version.
    pub version: Option<String>,
}

/// A buildpack that took part in a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedBuildpack {
    /// As it was chosen: `python`, a directory's path, `inline`.
    pub name: String,
    /// What its `bin/detect` printed, such as `Python`.
    pub label: String,
    /// Over the buildpack's own files; none for `inline`, which is part of the tree.
    pub digest: Option<Digest>,
}

/// A package that a buildpack says it installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
}
