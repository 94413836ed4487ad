//! What a walk finds: entries with what the kernel says of them, and what a slug cannot hold.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

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

/// Adds permissions for the owner, where we are the owner or root; where we are neither, others'
/// permissions must do.
pub fn let_owner(path: &Path, permissions: u32) -> io::Result<()> {
    // Of the same as is changed, where that is a symlink's target.
    let mode = fs::metadata(path)?.permissions().mode();
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

/// A path's part up to its last `/`, with that, and its name.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    path.split_at(slash.map_or(0, |slash| slash + 1))
}
