//! A build dir's paths, one after the other in the order of their bytes, and what of it a slug
//! cannot hold.
//!
//! Symlinks are never followed, but the build dir itself may be one. No file is opened; directories
//! that their owner may not read are made readable. What is held in memory are the listings of one
//! path's directories.

use std::ffi::{CStr, OsStr};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::{Error, Limits};
use crate::slug::escape;

/// What an owner needs to list a directory and reach what is in it.
const LIST: u32 = 0o500;

/// Bytes of a directory's listing that are read at once.
const LISTING_BYTES: usize = 32 * 1024;

/// Something that goes into the slug.
pub struct Found {
    /// Relative to the build dir.
    pub path: Vec<u8>,
    pub kind: FoundKind,
}

pub enum FoundKind {
    File(Stamp, Inode),
    Directory,
    Symlink { target: Vec<u8> },
}

/// What stays the same of a file that does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub size_bytes: u64,
    pub executable: bool,
    /// Seconds and nanoseconds of its content's last change, as it says.
    pub modified: (i64, i64),
}

/// What a file has been given by the kernel, which nobody can choose.
#[derive(Debug, Clone, Copy)]
pub struct Inode {
    pub number: u64,
    /// Seconds and nanoseconds of its last change of any kind.
    pub changed: (i64, i64),
}

impl Inode {
    pub fn of(stat: &Stat) -> Self {
        Self {
            number: stat.st_ino,
            changed: (
                stat.st_ctime,
                i64::try_from(stat.st_ctime_nsec).unwrap_or_default(),
            ),
        }
    }
}

impl Stamp {
    /// None for what is no file.
    pub fn of(stat: &Stat) -> Option<Self> {
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| Self {
            size_bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            executable: stat.st_mode & 0o111 != 0,
            modified: (
                stat.st_mtime,
                i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            ),
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
    pub skipped: Vec<Skipped>,
    /// Room for a part of a listing.
    listing: Vec<u8>,
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
            listing: Vec::with_capacity(LISTING_BYTES),
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
        let error = |errno: Errno| Error::Read {
            path: path.clone(),
            source: errno.into(),
        };
        let dir = open_directory(&path, prefix.is_empty()).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let mut steps = Vec::new();
        let mut listing = std::mem::take(&mut self.listing);
        let mut entries = RawDir::new(&dir, listing.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(error)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.entry(&dir, prefix, name, entry.file_type(), &mut steps)?;
            self.limits.check(self.entries, self.name_bytes)?;
        }
        self.listing = listing;
        steps.sort_unstable_by(|a, b| b.path.cmp(&a.path));
        self.open.push(steps);
        Ok(())
    }

    /// Adds the steps for an entry of the directory whose entries' paths start with `prefix`.
    fn entry(
        &mut self,
        dir: &OwnedFd,
        prefix: &[u8],
        name: &CStr,
        kind: FileType,
        steps: &mut Vec<Step>,
    ) -> Result<(), Error> {
        let path = [prefix, name.to_bytes()].concat();
        let full = || full_path(self.dir, &path);
        let error = |errno: Errno| Error::Read {
            path: full(),
            source: errno.into(),
        };
        let stat = || rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(error);
        let kind = match kind {
            // Not every file system tells.
            FileType::Unknown => FileType::from_raw_mode(stat()?.st_mode),
            kind => kind,
        };
        self.entries += 1;
        self.name_bytes += path.len() as u64;
        let kind = match kind {
            FileType::Directory => {
                steps.push(Step {
                    path: [&path, &b"/"[..]].concat(),
                    kind: None,
                });
                FoundKind::Directory
            }
            FileType::RegularFile => {
                let stat = stat()?;
                let stamp = Stamp::of(&stat).ok_or_else(|| Error::Changed { path: full() })?;
                if stamp.executable {
                    let capabilities = has_capabilities(&full());
                    if stat.st_mode & 0o6000 != 0 {
                        self.skip(&path, SkippedKind::SetUserId);
                    }
                    if capabilities {
                        self.skip(&path, SkippedKind::Capabilities);
                    }
                }
                FoundKind::File(stamp, Inode::of(&stat))
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(error)?;
                let target = target.into_bytes();
                self.name_bytes += target.len() as u64;
                FoundKind::Symlink { target }
            }
            kind => {
                self.skip(&path, skipped_kind(kind));
                return Ok(());
            }
        };
        steps.push(Step {
            path,
            kind: Some(kind),
        });
        Ok(())
    }

    fn skip(&mut self, path: &[u8], kind: SkippedKind) {
        self.skipped.push(Skipped {
            path: escape(path),
            kind,
        });
    }
}

/// Opens a directory, and where its owner may not list it or reach what is in it, lets him first.
fn open_directory(path: &Path, is_root: bool) -> io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !is_root {
        flags |= OFlags::NOFOLLOW;
    }
    let open = || rustix::fs::open(path, flags, Mode::empty());
    let dir = match open() {
        Err(Errno::ACCESS) => {
            let_owner(path, LIST)?;
            open()?
        }
        dir => dir?,
    };
    // Its content's types may be had without reaching it.
    if rustix::fs::fstat(&dir)?.st_mode & LIST != LIST {
        let_owner(path, LIST)?;
    }
    Ok(dir)
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
    match kind {
        FileType::Fifo => SkippedKind::Fifo,
        FileType::Socket => SkippedKind::Socket,
        _ => SkippedKind::Device,
    }
}
