//! A slug's two descriptions: the [`Manifest`], which depends on the slug's bytes alone,
//! and the [`SlugRecord`], which holds what belongs to the one build that made it.

mod breakdown;
mod diff;
mod manifest;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use breakdown::{Share, Sizes};
pub use diff::{Change, diff};
pub use manifest::{
    Entry, EntryKind, Manifest, ManifestWriter, Member, Span, States, Summary, read, read_digests,
};

use crate::app::Layout;
use crate::digest::Digest;

/// The slug format that this binary writes; `pack` says what it means byte by byte.
pub const FORMAT: u32 = 1;

/// The prefix of every path in a slug's tar.
pub const PREFIX: &str = "./app/";

/// Modification time of every entry: 1980-01-01T00:00:00Z, the oldest that zip tools can also write.
pub const MTIME_SECONDS: u64 = 315_532_800;

/// Writes a path's bytes as text from which they can be had back.
///
/// A backslash becomes `\\`; each byte of a control character, and each that is no part of
/// valid UTF-8, becomes `\xNN` in lower-case hex digits.
#[must_use]
pub fn escape(path: &[u8]) -> String {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'[' | b']'..=b'~');
    // Most are, and to look at all bytes of a path takes less time than to stop where one is not.
    if path.iter().map(is_plain).fold(true, |all, one| all & one) {
        return String::from_utf8_lossy(path).into_owned();
    }
    let mut text = String::with_capacity(path.len());
    let hex = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            text.push_str("\\x");
            text.push_str(&crate::digest::hex(&[*byte]));
        }
    };
    for chunk in path.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\\' => text.push_str("\\\\"),
                char if char.is_control() => {
                    hex(&mut text, char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                char => text.push(char),
            }
        }
        hex(&mut text, chunk.invalid());
    }
    text
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
    /// The trees of runtimes that the build took from the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runtime_trees: Vec<RuntimeTree>,
    /// What the package managers resolved.
    pub packages: Vec<Package>,
    pub stack: String,
    /// Of an imported stack's root file system; the name alone says what the host's is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_digest: Option<Digest>,
    /// As `uname -m` says it.
    pub architecture: String,
    /// The command of each process type: the Procfile's over the buildpack's.
    pub process_types: BTreeMap<String, String>,
    /// Where it was built, and of which directory of the source.
    #[serde(default, skip_serializing_if = "Layout::is_default")]
    pub layout: Layout,
}

/// A language runtime as the server gave it to a build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuntimeTree {
    pub name: String,
    pub version: String,
    /// Of the tree's paths, modes and contents.
    pub digest: Digest,
    /// Where it came from, in words: a source, an import, or the build machine's own.
    pub origin: String,
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
    /// Of a fetched one, the reference that fetches the same again: its URL with the commit or the
    /// digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// What makes it install the same packages again, in its own words: where an app has no
    /// lockfile, the one that its package manager would have written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

/// A package that a buildpack says it installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// Of what was installed, with the name of its algorithm, such as `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The buildpack's name, where several took part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buildpack: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_without_loss() {
        for (path, text) in [
            (&b"bin/web"[..], "bin/web"),
            ("grüße/ß".as_bytes(), "grüße/ß"),
            (br"a\x41", r"a\\x41"),
            (b"a\nb\x7f", r"a\x0ab\x7f"),
            (b"caf\xe9/\xff\xfe", r"caf\xe9/\xff\xfe"),
            ("\u{85}".as_bytes(), r"\xc2\x85"),
        ] {
            assert_eq!(escape(path), text, "{path:?}");
        }
    }
}
