//! A file system of a build's own, as large as the build may grow: where the server is root, a
//! sparse image, mounted by way of a loop device.
//!
//! The kernel then ends what would exceed the limit, and how much there is takes one call to know.
//! It has no journal and is never synced, since nothing of it outlives the build: that makes files
//! in it cheap. Its file has no name, and the device is given back with the mount. A process that
//! [has mounts of its own](own_mounts) leaves nothing whatever ends it; elsewhere
//! [`remove_tree`](super::remove_tree) unmounts what it meets.
//!
//! Making a file system takes tens of milliseconds, so it is made once; what that has written, some
//! hundred kilobytes, is written again for each build.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::helper::loop_device;
use super::limits::Limits;

const BLOCK_BYTES: u64 = 4096;
const INODE_BYTES: u64 = 256;
/// Files that are there before the build: the root's own.
const OWN_FILES: u64 = 1024;
/// Of a file system's blocks the kernel keeps the 50th part back, but not more than 16 MiB; the rest
/// is what describes blocks and inodes.
const KEPT_BACK: u64 = 32;
const KEPT_BACK_BYTES: u64 = 20 << 20;
const OWN_BYTES: u64 = 4 << 20;
/// Where the maker of file systems is on systems that keep it from plain users.
const PATHS: &str = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin";
/// The same for all: builds see files in the same order.
const SEED: &str = "7e1f5d4c-1b39-4a58-9d3e-51096a9e0c47";

/// An empty file system, as far as it is written down.
#[derive(Debug)]
pub(super) struct Image {
    size_bytes: u64,
    parts: Vec<(u64, Vec<u8>)>,
}

impl Image {
    /// Makes one in `dir`, of which nothing stays there, and mounts it once.
    ///
    /// # Errors
    /// There is no loop device to be had, or no `mkfs.ext4`: who reads it is told which.
    pub fn make(limits: &Limits, dir: &Path) -> io::Result<Self> {
        let size = Size::of(limits);
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.as_file().set_len(size.bytes)?;
        let made = Command::new("mkfs.ext4")
            .env_clear()
            .env("PATH", PATHS)
            .args(size.arguments())
            .arg(file.path())
            .stdin(Stdio::null())
            .output()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => io::Error::new(
                    error.kind(),
                    "no mkfs.ext4, which the package e2fsprogs has",
                ),
                _ => error,
            })?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            return Err(io::Error::other(format!("mkfs.ext4: {}", said.trim())));
        }
        let image = Self {
            size_bytes: size.bytes,
            parts: written(file.as_file_mut(), size.bytes)?,
        };
        let tried = tempfile::tempdir_in(dir)?;
        image.mount(tried.path())?;
        nix::mount::umount(tried.path())?;
        Ok(image)
    }

    /// Mounts a new one at the empty directory `dir`.
    pub fn mount(&self, dir: &Path) -> io::Result<()> {
        let beside = dir.parent().unwrap_or(dir);
        let file = tempfile::tempfile_in(beside)?;
        file.set_len(self.size_bytes)?;
        for (offset, bytes) in &self.parts {
            file.write_all_at(bytes, *offset)?;
        }
        let (_device, path) = loop_device::attach(&file)
            .map_err(|error| io::Error::new(error.kind(), format!("no loop device: {error}")))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        // Nothing of it has to survive a crash, and unwritten inodes need no zeroes.
        let options = Some("nobarrier,noinit_itable");
        mount(Some(&path), dir, Some("ext4"), flags, options)?;
        fs::remove_dir(dir.join("lost+found"))
    }
}

/// The measures of an image.
#[derive(Debug, PartialEq, Eq)]
struct Size {
    bytes: u64,
    files: u64,
}

impl Size {
    /// A little more than the limits, which are looked at besides. Where files are allowed that the
    /// bytes have no blocks for, there are as many as blocks.
    fn of(limits: &Limits) -> Self {
        let kept_back = (limits.disk_bytes / KEPT_BACK).min(KEPT_BACK_BYTES) + OWN_BYTES;
        let content = limits.disk_bytes.saturating_add(kept_back);
        let files = limits.disk_files.saturating_add(OWN_FILES);
        let files = files.min(content / BLOCK_BYTES);
        let bytes = content.saturating_add(files.saturating_mul(INODE_BYTES));
        Self {
            bytes: bytes / BLOCK_BYTES * BLOCK_BYTES,
            files,
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        let files = self.files.to_string();
        let extended = format!("lazy_itable_init=1,nodiscard,root_owner=0:0,hash_seed={SEED}");
        let blocks = BLOCK_BYTES.to_string();
        let inode = INODE_BYTES.to_string();
        let features = "none,extent,filetype,dir_index,sparse_super,large_file,huge_file,flex_bg,uninit_bg,dir_nlink,extra_isize,ext_attr,64bit";
        [
            "-q", "-F", "-b", &blocks, "-I", &inode, "-N", &files, "-m", "0", "-U", SEED, "-O",
            features, "-E", &extended,
        ]
        .map(OsString::from)
        .to_vec()
    }
}

/// What of a sparse file is there.
fn written(file: &mut File, size_bytes: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < size_bytes {
        let start = match rustix::fs::seek(&*file, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(&*file, rustix::fs::SeekFrom::Hole(start))?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut bytes)?;
        parts.push((start, bytes));
        at = end;
    }
    Ok(parts)
}

/// Gives this process mounts of its own where it is root, so that those of builds end with it. To be
/// called while it has one thread: others would keep the mounts that they have. Without the right to
/// do so there is no right to mount anything either.
pub fn own_mounts() {
    if nix::unistd::geteuid().is_root() && unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        let none = None::<&str>;
        // What is mounted on the machine later is seen here, and not the other way round.
        let how = MsFlags::MS_REC | MsFlags::MS_SLAVE;
        if let Err(error) = mount(none, "/", none, how, none) {
            tracing::warn!(%error, "builds' disks are seen by the machine");
        }
    }
}
