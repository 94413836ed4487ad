//! Puts a buildpack's files where a build finds them: a writable copy of its own.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;

use include_dir::Dir;
use sha2::{Digest as _, Sha256};

use super::builtin::{BUILTIN, SHARED};
use super::{BuildpackError, Reference, io_error};
use crate::digest::Digest;

/// A buildpack whose files lie in a build's root directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub reference: Reference,
    /// Where the build finds it, such as `/buildpacks/python`.
    pub inside: String,
    /// Over its files; none where it is part of the app.
    pub digest: Option<Digest>,
    /// Of a fetched one, the reference that fetches the same again.
    pub pinned: Option<String>,
}

impl Staged {
    /// The path of one of its scripts, inside.
    pub fn script(&self, name: &str) -> String {
        format!("{}/bin/{name}", self.inside)
    }
}

/// Copies a buildpack of this machine to `buildpacks/<folder>`; its scripts become executable.
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
    let (folder, dest) = make_folder(reference, place, buildpacks)?;
    match reference {
        Reference::Builtin(name) => copy_builtin(name, &dest)?,
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
        // These have files only once they are fetched or unpacked.
        Reference::Git { .. } | Reference::Tarball { .. } | Reference::Archive(_) => {
            return Err(BuildpackError::Unknown {
                name: reference.to_string(),
            });
        }
    }
    finish(reference, &folder, &dest, None)
}

/// Copies a buildpack that was fetched or unpacked into `files`. `pinned` names what was fetched.
///
/// # Errors
/// The caller's: it has no `bin/detect` or no `bin/compile`.
pub fn stage_fetched(
    reference: &Reference,
    place: usize,
    files: &Path,
    pinned: Option<String>,
    buildpacks: &Path,
) -> Result<Staged, BuildpackError> {
    let (folder, dest) = make_folder(reference, place, buildpacks)?;
    copy_dir(files, &dest)?;
    finish(reference, &folder, &dest, pinned)
}

fn make_folder(
    reference: &Reference,
    place: usize,
    buildpacks: &Path,
) -> Result<(String, std::path::PathBuf), BuildpackError> {
    let folder = match reference {
        Reference::Builtin(name) => name.clone(),
        Reference::Inline => "inline".to_owned(),
        _ => format!("custom-{place}"),
    };
    let dest = buildpacks.join(&folder);
    if dest.exists() {
        return Err(BuildpackError::Twice {
            name: reference.to_string(),
        });
    }
    make_dir(&dest)?;
    Ok((folder, dest))
}

fn copy_builtin(name: &str, dest: &Path) -> Result<(), BuildpackError> {
    let dir = BUILTIN
        .get_dir(name)
        .ok_or_else(|| BuildpackError::Unknown {
            name: name.to_owned(),
        })?;
    write_embedded(dir, dir.path(), dest)?;
    if let Some(shared) = BUILTIN.get_dir(SHARED) {
        let lib = dest.join(SHARED);
        if !lib.exists() {
            make_dir(&lib)?;
        }
        write_embedded(shared, shared.path(), &lib)?;
    }
    Ok(())
}

fn finish(
    reference: &Reference,
    folder: &str,
    dest: &Path,
    pinned: Option<String>,
) -> Result<Staged, BuildpackError> {
    // Of a fetched one it could be a link to a directory of the server.
    let bin = dest.join("bin");
    let is_dir = fs::symlink_metadata(&bin).is_ok_and(|meta| meta.is_dir());
    for script in ["detect", "compile"] {
        if !is_dir || !dest.join("bin").join(script).is_file() {
            return Err(BuildpackError::NoScript {
                name: reference.to_string(),
                script: format!("bin/{script}"),
            });
        }
    }
    make_executable(&bin)?;
    let digest = match reference {
        Reference::Inline => None,
        _ => Some(digest_of_dir(dest)?),
    };
    Ok(Staged {
        reference: reference.clone(),
        inside: format!("/buildpacks/{folder}"),
        digest,
        pinned,
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
    use crate::buildpack::builtin_references;

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
}
