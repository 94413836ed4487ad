//! A build dir's paths, one after the other in the order of their bytes, and what of it a slug
//! cannot hold.
//!
//! Symlinks are never followed, but the build dir itself may be one. No file is opened; directories
//! that their owner may not read are made readable. What is held in memory are the listings of one
//! path's directories.

use std::ffi::OsStr;
use std::fs::{self, FileType, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Error, Limits};
use crate::slug::escape;

/// What an owner needs to list a directory and reach what is in it.
const LIST: u32 = 0o500;

/// Something that goes into the slug.
pub struct Found {
    /// Relative to the build dir.
    pub path: Vec<u8>,
    pub kind: FoundKind,
}

pub enum FoundKind {
    File(Stamp),
    Directory,
    Symlink { target: Vec<u8> },
}

/// What stays the same of a file that does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub size_bytes: u64,
    pub executable: bool,
    /// Seconds and nanoseconds of its last change.
    modified: (i64, i64),
}

impl Stamp {
    /// None for what is no file.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        metadata.is_file().then(|| Self {
            size_bytes: metadata.len(),
            executable: metadata.permissions().mode() & 0o111 != 0,
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
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
    /// The bits alone; the file is in the slug.
    SetUserId,
    /// The capabilities alone; the file is in the slug.
    Capabilities,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = &self.path;
        match self.kind {
            SkippedKind::Fifo => write!(f, "{path} is a fifo"),
            SkippedKind::Socket => write!(f, "{path} is a socket"),
            SkippedKind::Device => write!(f, "{path} is a device"),
            SkippedKind::SetUserId => write!(f, "the setuid or setgid bit of {path}"),
            SkippedKind::Capabilities => write!(f, "the capabilities of {path}"),
        }
    }
}

/// A walk through a build dir.
pub struct Walk<'a> {
    dir: &'a Path,
    limits: &'a Limits,
    /// The app's root is an entry too.
    entries: u64,
    name_bytes: u64,
    /// What is still to come of each directory on the way to the current one, last first.
    open: Vec<Vec<Step>>,
    /// Sorted by path.
    pub skipped: Vec<Skipped>,
}

/// Something to come: an entry, or all that is below a directory.
struct Step {
    /// Relative to the build dir; with a `/` at its end, what is below that directory. That is how
    /// paths are in the order of their bytes: `a`, `a-b`, `a/x`.
    path: Vec<u8>,
    kind: Option<FoundKind>,
}

impl<'a> Walk<'a> {
    /// Starts at the root of a build dir, which is not given out itself.
    pub fn new(dir: &'a Path, limits: &'a Limits) -> Result<Self, Error> {
        let mut walk = Self {
            dir,
            limits,
            entries: 1,
            name_bytes: 0,
            open: Vec::new(),
            skipped: Vec::new(),
        };
        walk.list(b"")?;
        Ok(walk)
    }

    /// The next entry, as far as the limits let it.
    pub fn next(&mut self) -> Result<Option<Found>, Error> {
        while let Some(steps) = self.open.last_mut() {
            let Some(Step { path, kind }) = steps.pop() else {
                self.open.pop();
                continue;
            };
            match kind {
                Some(kind) => return Ok(Some(Found { path, kind })),
                None => self.list(&path)?,
            }
        }
        Ok(None)
    }

    /// Lists a directory; `prefix` is what its entries' paths start with.
    fn list(&mut self, prefix: &[u8]) -> Result<(), Error> {
        let path = full_path(self.dir, prefix.strip_suffix(b"/").unwrap_or(prefix));
        let error = |source| Error::Read {
            path: path.clone(),
            source,
        };
        // Its content's types may be had without reaching it, so the mode is looked at and not only
        // whether the directory can be listed.
        let mode = fs::metadata(&path).map_err(error)?.permissions().mode();
        if mode & LIST != LIST {
            let_owner(&path, LIST).map_err(error)?;
        }
        let mut steps = Vec::new();
        for entry in fs::read_dir(&path).map_err(error)? {
            let entry = entry.map_err(error)?;
            let kind = entry.file_type().map_err(error)?;
            let mut relative = [prefix, entry.file_name().as_bytes()].concat();
            self.entries += 1;
            self.name_bytes += relative.len() as u64;
            let kind = if kind.is_dir() {
                let below = [&relative, &b"/"[..]].concat();
                steps.push(Step {
                    path: below,
                    kind: None,
                });
                FoundKind::Directory
            } else if kind.is_file() {
                let metadata = entry.metadata().map_err(error)?;
                let stamp =
                    Stamp::of(&metadata).ok_or_else(|| Error::Changed { path: entry.path() })?;
                if stamp.executable && metadata.permissions().mode() & 0o6000 != 0 {
                    self.skip(&relative, SkippedKind::SetUserId);
                }
                if stamp.executable && has_capabilities(&entry.path()) {
                    self.skip(&relative, SkippedKind::Capabilities);
                }
                FoundKind::File(stamp)
            } else if kind.is_symlink() {
                let full = entry.path();
                let target =
                    fs::read_link(&full).map_err(|source| Error::Read { path: full, source })?;
                self.name_bytes += target.as_os_str().len() as u64;
                FoundKind::Symlink {
                    target: target.into_os_string().into_vec(),
                }
            } else {
                self.skip(&relative, skipped_kind(kind));
                continue;
            };
            relative.shrink_to_fit();
            steps.push(Step {
                path: relative,
                kind: Some(kind),
            });
            self.limits.check(self.entries, self.name_bytes)?;
        }
        steps.sort_unstable_by(|a, b| b.path.cmp(&a.path));
        self.open.push(steps);
        Ok(())
    }

    fn skip(&mut self, path: &[u8], kind: SkippedKind) {
        self.skipped.push(Skipped {
            path: escape(path),
            kind,
        });
    }
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

/// Whether the kernel would give a program more than its caller has. A file system without such
/// attributes has none.
fn has_capabilities(path: &Path) -> bool {
    let mut none = [0_u8; 0];
    rustix::fs::lgetxattr(path, c"security.capability", &mut none).is_ok()
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
