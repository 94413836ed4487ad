//! Buildpacks: how one is named, and where its files come from.
//!
//! The built-in ones are the folders of `buildpacks/`, embedded into the binary; the order in which
//! they are asked is data of that folder too, so that no code here knows a language.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use include_dir::{Dir, include_dir};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

static BUILTIN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/buildpacks");

/// The folder of `buildpacks/` whose content every built-in buildpack gets as its own `lib/`.
const SHARED: &str = "lib";

/// A buildpack as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `python` or `heroku/python`.
    Builtin(String),
    /// A local directory.
    Directory(PathBuf),
    /// The app's own `bin/detect`, `bin/compile` and `bin/release`.
    Inline,
}

/// What is wrong with a buildpack or its name.
#[derive(Debug, thiserror::Error)]
pub enum BuildpackError {
    #[error("{name:?} is no buildpack: neither a built-in one nor a directory")]
    Unknown { name: String },
    #[error("the buildpack {name} has no {script}")]
    NoScript { name: String, script: String },
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> BuildpackError {
    let path = path.to_owned();
    move |source| BuildpackError::Io { path, source }
}

/// The names of the built-in buildpacks, in the order in which they are asked.
///
/// # Panics
/// Never: the order is embedded.
pub fn builtin_names() -> Vec<&'static str> {
    let order = BUILTIN
        .get_file("detect-order")
        .and_then(include_dir::File::contents_utf8);
    let order = order.expect("buildpacks/detect-order is embedded");
    order
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// The files at an app's root that a built-in buildpack looks for, with the word for its language.
pub fn builtin_references() -> Vec<Reference> {
    builtin_names()
        .into_iter()
        .map(|name| Reference::Builtin(name.to_owned()))
        .collect()
}

impl FromStr for Reference {
    type Err = BuildpackError;

    fn from_str(text: &str) -> Result<Self, BuildpackError> {
        let name = text.strip_prefix("heroku/").unwrap_or(text);
        if text == "inline" {
            Ok(Self::Inline)
        } else if builtin_names().contains(&name) {
            Ok(Self::Builtin(name.to_owned()))
        } else if text.contains('/') && Path::new(text).is_dir() {
            Ok(Self::Directory(PathBuf::from(text)))
        } else {
            Err(BuildpackError::Unknown {
                name: text.to_owned(),
            })
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => f.write_str(name),
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Inline => f.write_str("inline"),
        }
    }
}

/// A buildpack whose files lie in a build's root directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub reference: Reference,
    /// Where the build finds it, such as `/buildpacks/python`.
    pub inside: String,
    /// Over its files; none where it is part of the app.
    pub digest: Option<Digest>,
}

impl Staged {
    /// The path of one of its scripts, inside.
    pub fn script(&self, name: &str) -> String {
        format!("{}/bin/{name}", self.inside)
    }
}

/// Copies a buildpack to `buildpacks/<folder>`; its scripts become executable.
///
/// The folder's name depends on the buildpack and its place in the list alone, so that the paths
/// that a build sees are the same every time.
///
/// # Errors
/// The caller's: no such buildpack, or one without `bin/detect` and `bin/compile`.
pub fn stage(
    reference: &Reference,
    place: usize,
    app: &Path,
    buildpacks: &Path,
) -> Result<Staged, BuildpackError> {
    let folder = match reference {
        Reference::Builtin(name) => name.clone(),
        Reference::Directory(_) => format!("custom-{place}"),
        Reference::Inline => "inline".to_owned(),
    };
    let dest = buildpacks.join(&folder);
    make_dir(&dest)?;
    match reference {
        Reference::Builtin(name) => {
            let dir = BUILTIN
                .get_dir(name)
                .ok_or_else(|| BuildpackError::Unknown { name: name.clone() })?;
            write_embedded(dir, dir.path(), &dest)?;
            if let Some(shared) = BUILTIN.get_dir(SHARED) {
                let lib = dest.join(SHARED);
                if !lib.exists() {
                    make_dir(&lib)?;
                }
                write_embedded(shared, shared.path(), &lib)?;
            }
        }
        Reference::Directory(path) => copy_dir(path, &dest)?,
        Reference::Inline => {
            let bin = app.join("bin");
            let is_dir = fs::symlink_metadata(&bin).is_ok_and(|meta| meta.is_dir());
            let dest_bin = dest.join("bin");
            make_dir(&dest_bin)?;
            if is_dir {
                copy_dir(&bin, &dest_bin)?;
            }
        }
    }
    for script in ["detect", "compile"] {
        if !dest.join("bin").join(script).is_file() {
            return Err(BuildpackError::NoScript {
                name: reference.to_string(),
                script: format!("bin/{script}"),
            });
        }
    }
    make_executable(&dest.join("bin"))?;
    let digest = match reference {
        Reference::Inline => None,
        _ => Some(digest_of_dir(&dest)?),
    };
    Ok(Staged {
        reference: reference.clone(),
        inside: format!("/buildpacks/{folder}"),
        digest,
    })
}

fn make_dir(path: &Path) -> Result<(), BuildpackError> {
    let made = DirBuilder::new().mode(0o755).create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .map_err(io_error(path))
}

fn write_embedded(dir: &Dir<'_>, base: &Path, dest: &Path) -> Result<(), BuildpackError> {
    for sub in dir.dirs() {
        make_dir(&dest.join(sub.path().strip_prefix(base).expect("below its own parent")))?;
        write_embedded(sub, base, dest)?;
    }
    for file in dir.files() {
        let path = dest.join(
            file.path()
                .strip_prefix(base)
                .expect("below its own parent"),
        );
        fs::write(&path, file.contents()).map_err(io_error(&path))?;
        // Embedding keeps no modes; scripts outside of bin/ are sourced or run by their interpreter.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(io_error(&path))?;
    }
    Ok(())
}

/// Copies files, directories and symlinks; `.git` stays behind.
fn copy_dir(from: &Path, to: &Path) -> Result<(), BuildpackError> {
    for entry in fs::read_dir(from).map_err(io_error(from))? {
        let entry = entry.map_err(io_error(from))?;
        let (source, dest) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(io_error(&source))?;
        if entry.file_name() == ".git" {
            continue;
        }
        if kind.is_dir() {
            make_dir(&dest)?;
            copy_dir(&source, &dest)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&source).map_err(io_error(&source))?;
            symlink(target, &dest).map_err(io_error(&dest))?;
        } else if kind.is_file() {
            fs::copy(&source, &dest).map_err(io_error(&source))?;
        }
    }
    Ok(())
}

fn make_executable(bin: &Path) -> Result<(), BuildpackError> {
    for entry in fs::read_dir(bin).map_err(io_error(bin))? {
        let path = entry.map_err(io_error(bin))?.path();
        // A link is left alone: its target may be outside.
        if fs::symlink_metadata(&path)
            .map_err(io_error(&path))?
            .is_file()
        {
            fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(io_error(&path))?;
        }
    }
    Ok(())
}

/// Digests the sorted paths, kinds and contents of a directory; owners and times do not count.
fn digest_of_dir(dir: &Path) -> Result<Digest, BuildpackError> {
    let mut hasher = Sha256::new();
    feed_dir(dir, dir, &mut hasher)?;
    let digest: [u8; 32] = hasher.finalize().into();
    Ok(Digest::of(&digest))
}

fn feed_dir(base: &Path, dir: &Path, hasher: &mut Sha256) -> Result<(), BuildpackError> {
    use std::os::unix::ffi::OsStrExt;
    let entries = fs::read_dir(dir).map_err(io_error(dir))?;
    let mut paths = entries
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(io_error(dir))?;
    paths.sort();
    for path in paths {
        let meta = fs::symlink_metadata(&path).map_err(io_error(&path))?;
        let (kind, content) = if meta.is_dir() {
            (b'd', Vec::new())
        } else if meta.is_symlink() {
            (
                b'l',
                fs::read_link(&path)
                    .map_err(io_error(&path))?
                    .as_os_str()
                    .as_bytes()
                    .to_vec(),
            )
        } else if meta.permissions().mode() & 0o100 != 0 {
            (b'x', fs::read(&path).map_err(io_error(&path))?)
        } else {
            (b'f', fs::read(&path).map_err(io_error(&path))?)
        };
        let name = path
            .strip_prefix(base)
            .expect("below its own parent")
            .as_os_str()
            .as_bytes();
        for part in [&[kind][..], name, &content] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        if meta.is_dir() {
            feed_dir(base, &path, hasher)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_order_is_a_whole_buildpack() {
        let dir = tempfile::tempdir().unwrap();
        for (place, reference) in builtin_references().iter().enumerate() {
            let staged = stage(reference, place, dir.path(), dir.path()).unwrap();
            let bin = dir
                .path()
                .join(staged.inside.strip_prefix("/buildpacks/").unwrap())
                .join("bin");
            for script in ["detect", "compile", "release"] {
                let meta = fs::metadata(bin.join(script)).unwrap();
                assert_eq!(
                    meta.permissions().mode() & 0o777,
                    0o755,
                    "{reference} {script}"
                );
            }
        }
    }

    #[test]
    fn a_digest_is_of_content_alone() {
        let digest = || {
            let dir = tempfile::tempdir().unwrap();
            stage(&builtin_references()[0], 0, dir.path(), dir.path())
                .unwrap()
                .digest
        };
        assert_eq!(digest(), digest());
    }

    #[test]
    fn names_are_builtin_directories_or_inline() {
        let name = builtin_names()[0];
        let builtin = Reference::Builtin(name.to_owned());
        assert_eq!(name.parse::<Reference>().unwrap(), builtin);
        assert_eq!(
            format!("heroku/{name}").parse::<Reference>().unwrap(),
            builtin
        );
        assert_eq!("inline".parse::<Reference>().unwrap(), Reference::Inline);
        assert!("cobol".parse::<Reference>().is_err());
        assert!("/no/such/dir".parse::<Reference>().is_err());
    }
}
