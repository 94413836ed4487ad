//! A build dir's paths, sorted by their bytes, and what of it a slug cannot hold.
//!
//! Symlinks are never followed, but the build dir itself may be one. No file is opened; directories
//! that their owner may not read are made readable.

use std::ffi::OsStr;
use std::fs::{self, FileType, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Error, Limits};
use crate::slug::escape;

/// What an owner needs to list a directory and reach what is in it.
const LIST: u32 = 0o500;

/// What is below a build dir.
pub struct Tree {
    /// Sorted by path.
    pub found: Vec<Found>,
    /// Sorted by path.
    pub skipped: Vec<Skipped>,
}

/// Something that goes into the slug.
pub struct Found {
    /// Relative to the build dir.
    pub path: Vec<u8>,
    pub kind: FoundKind,
}

pub enum FoundKind {
    File,
    Directory,
    Symlink { target: Vec<u8> },
}

/// Something that a slug cannot hold and that was left out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Relative to the build dir, escaped as in a manifest.
    pub path: String,
    pub kind: SkippedKind,
}

/// What was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkippedKind {
    Fifo,
    Socket,
    Device,
}

impl std::fmt::Display for SkippedKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Device => "device",
        })
    }
}

/// Lists all that is below `dir`, as far as the limits let it.
pub fn walk(dir: &Path, limits: &Limits) -> Result<Tree, Error> {
    // The app's root is an entry too.
    let mut entries = 1;
    let mut name_bytes = 0;
    let mut found = Vec::new();
    let mut skipped = Vec::new();
    let mut directories = vec![Vec::new()];
    while let Some(directory) = directories.pop() {
        let full = full_path(dir, &directory);
        list(&full, |name, kind| {
            let path = join(&directory, name);
            entries += 1;
            name_bytes += path.len() as u64;
            let kind = if kind.is_dir() {
                directories.push(path.clone());
                FoundKind::Directory
            } else if kind.is_file() {
                FoundKind::File
            } else if kind.is_symlink() {
                let full = full.join(name);
                let target =
                    fs::read_link(&full).map_err(|source| Error::Read { path: full, source })?;
                name_bytes += target.as_os_str().len() as u64;
                FoundKind::Symlink {
                    target: target.into_os_string().into_vec(),
                }
            } else {
                skipped.push((path, skipped_kind(kind)));
                return Ok(());
            };
            found.push(Found { path, kind });
            limits.check(entries, name_bytes)
        })?;
    }
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    skipped.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let skipped = skipped
        .into_iter()
        .map(|(path, kind)| Skipped {
            path: escape(&path),
            kind,
        })
        .collect();
    Ok(Tree { found, skipped })
}

/// Calls `each` with the name and type of all that is in a directory.
fn list(
    path: &Path,
    mut each: impl FnMut(&OsStr, FileType) -> Result<(), Error>,
) -> Result<(), Error> {
    let error = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    // Its content's types may be had without reaching it, so the mode is looked at and not only
    // whether the directory can be listed.
    let mode = fs::metadata(path).map_err(error)?.permissions().mode();
    if mode & LIST != LIST {
        let_owner(path, LIST).map_err(error)?;
    }
    for entry in fs::read_dir(path).map_err(error)? {
        let entry = entry.map_err(error)?;
        each(&entry.file_name(), entry.file_type().map_err(error)?)?;
    }
    Ok(())
}

/// Adds permissions for the owner, where we are the owner or root; where we are neither, others'
/// permissions must do.
pub fn let_owner(path: &Path, permissions: u32) -> io::Result<()> {
    let mode = fs::symlink_metadata(path)?.permissions().mode();
    match fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 | permissions)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// The path of something below the build dir.
pub fn full_path(dir: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() {
        return dir.to_owned();
    }
    dir.join(OsStr::from_bytes(path))
}

fn join(directory: &[u8], name: &OsStr) -> Vec<u8> {
    if directory.is_empty() {
        name.as_bytes().to_vec()
    } else {
        [directory, b"/", name.as_bytes()].concat()
    }
}

fn skipped_kind(kind: FileType) -> SkippedKind {
    if kind.is_fifo() {
        SkippedKind::Fifo
    } else if kind.is_socket() {
        SkippedKind::Socket
    } else {
        SkippedKind::Device
    }
}
