//! Files read into their piece of the tar, each of them still what the walk has found.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::cut::SPLIT_BYTES;
use super::found::{self, Found, FoundKind, Stamp};
use super::plan::{Large, open_readable};
use super::{Error, tarball};

/// Appends a group and says where in the tar the files' contents are.
pub fn group(
    dir: &Path,
    found: &[Found],
    first: bool,
    tar: &mut Vec<u8>,
) -> Result<Vec<Range<usize>>, Error> {
    if first {
        tarball::directory(tar, b"");
    }
    let mut contents = Vec::new();
    let mut parent = Parent::of(dir);
    for Found { path, kind } in found {
        match kind {
            FoundKind::Directory => tarball::directory(tar, path),
            FoundKind::Symlink { target } => tarball::symlink(tar, path, target),
            FoundKind::File(stamp, _) => {
                tarball::file(tar, path, stamp.executable, stamp.size_bytes);
                let start = tar.len();
                read_whole(&mut parent, path, *stamp, tar)?;
                contents.push(start..tar.len());
                tarball::pad(tar, stamp.size_bytes);
            }
        }
    }
    Ok(contents)
}

/// Opens files by the directory that they are in, which the kernel then need not look up for each.
struct Parent<'a> {
    dir: &'a Path,
    /// The last one, whose path is `path`.
    open: Option<OwnedFd>,
    path: Vec<u8>,
}

impl<'a> Parent<'a> {
    fn of(dir: &'a Path) -> Self {
        Self {
            dir,
            open: None,
            path: Vec::new(),
        }
    }

    fn open(&mut self, path: &[u8]) -> io::Result<File> {
        let (parent, name) = found::split(path);
        let dir = match self.open.take() {
            Some(dir) if self.path == parent => dir,
            _ => {
                self.path.clear();
                self.path.extend(parent);
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::open(found::full_path(self.dir, parent), flags, Mode::empty())?
            }
        };
        // Neither followed nor waited for, as in `open_readable`.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, OsStr::from_bytes(name), flags, Mode::empty());
        self.open = Some(dir);
        match file {
            // Its owner may let himself.
            Err(Errno::ACCESS) => open_readable(&found::full_path(self.dir, path)),
            file => Ok(file?.into()),
        }
    }
}

/// Appends a file's content, which must be what the walk has found until its last byte is read.
fn read_whole(
    parent: &mut Parent<'_>,
    path: &[u8],
    stamp: Stamp,
    tar: &mut Vec<u8>,
) -> Result<(), Error> {
    let size = usize::try_from(stamp.size_bytes).expect("a file of a group is small");
    let dir = parent.dir;
    let full = || found::full_path(dir, path);
    let mut read = || -> io::Result<bool> {
        let file = parent.open(path)?;
        let end = tar.len() + size;
        tar.reserve(size);
        while tar.len() < end {
            // All that there is room for: a file that has grown shows it.
            match rustix::io::read(&file, spare_capacity(tar)) {
                Ok(0) => return Ok(false),
                Err(Errno::INTR) | Ok(_) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(tar.len() == end && Stamp::of(&rustix::fs::fstat(&file)?) == Some(stamp))
    };
    match read() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Changed { path: full() }),
        Err(source) => Err(Error::Read {
            path: full(),
            source,
        }),
    }
}

/// Appends a piece of a large file.
pub fn piece(file: &Large, number: u64, tar: &mut Vec<u8>) -> Result<(), Error> {
    let Stamp {
        size_bytes,
        executable,
        ..
    } = file.stamp;
    if number == 0 {
        tarball::file(tar, &file.path, executable, size_bytes);
    }
    let bytes = file.content_of(number);
    debug_assert_eq!(tar.len(), bytes.start);
    tar.resize(bytes.end, 0);
    let offset = number * SPLIT_BYTES;
    let read = file.file.read_exact_at(&mut tar[bytes], offset);
    read.map_err(|source| match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::Changed {
            path: file.full.clone(),
        },
        _ => Error::Read {
            path: file.full.clone(),
            source,
        },
    })?;
    if number + 1 == file.pieces() {
        tarball::pad(tar, size_bytes);
    }
    Ok(())
}
