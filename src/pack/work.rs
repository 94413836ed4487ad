//! One job: read its files, digest them, write its piece of the tar and compress that.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::cut::SPLIT_BYTES;
use super::gzip::Encoder;
use super::plan::{Job, Large, open_readable};
use super::reuse::{Origin, Reusable};
use super::walk::{self, Found, FoundKind, Stamp};
use super::{Error, Level, tarball};
use crate::digest::{Digest, PieceDigest};
use crate::slug::{EntryKind, escape};

/// The buffers of one job; used again and again.
#[derive(Default)]
pub struct Slot {
    /// The job's piece of the tar.
    pub tar: Vec<u8>,
    /// The finished member.
    pub gzip: Vec<u8>,
}

/// What became of a job.
pub struct Done {
    pub slot: Slot,
    /// Of the member.
    pub digest: PieceDigest,
    /// Of its piece of the tar.
    pub input: PieceDigest,
    /// Where the member was copied from, if it was.
    pub copied: Option<Origin>,
    pub content: Content,
}

/// What is in a member.
pub enum Content {
    Entries(Vec<(String, EntryKind)>),
    /// A piece of a large file: which bytes of the tar are the file's.
    Piece {
        file: Arc<Large>,
        number: u64,
        bytes: Range<usize>,
    },
    /// The end of the tar.
    End,
}

/// What does jobs.
pub struct Worker<'a> {
    dir: &'a Path,
    reusable: Option<&'a Reusable>,
    level: Level,
    encoder: Encoder,
}

impl<'a> Worker<'a> {
    pub fn new(dir: &'a Path, level: Level, reusable: Option<&'a Reusable>) -> Self {
        Self {
            dir,
            reusable,
            level,
            encoder: Encoder::new(level),
        }
    }

    /// Does the job that makes the member at that place.
    pub fn work(&mut self, place: usize, job: Job, mut slot: Slot) -> Result<Done, Error> {
        let Slot { tar, gzip } = &mut slot;
        tar.clear();
        let part = match job {
            Job::Group { found, first } => {
                let contents = self.write(&found, first, tar)?;
                Part::Group { found, contents }
            }
            Job::Piece { file, number } => {
                let bytes = piece(&file, number, tar)?;
                Part::Whole(Content::Piece {
                    file,
                    number,
                    bytes,
                })
            }
            Job::End => {
                tar.extend(tarball::END);
                Part::Whole(Content::End)
            }
            Job::Failed(error) => return Err(error),
        };
        let input = PieceDigest::of(tar);
        let copied = self
            .reusable
            .and_then(|slugs| slugs.copy(place, &input, tar.len(), self.level, gzip));
        let digest = copied.as_ref().map_or_else(
            || {
                self.encoder.encode(tar, gzip);
                PieceDigest::of(gzip)
            },
            |copied| copied.digest,
        );
        let content = match part {
            Part::Whole(content) => content,
            Part::Group { found, contents } => {
                let carried = copied.as_ref().map_or(&[][..], |copied| copied.files);
                Content::Entries(entries(found, &contents, tar, carried))
            }
        };
        Ok(Done {
            digest,
            input,
            copied: copied.map(|copied| copied.from),
            content,
            slot,
        })
    }

    /// Writes a group's piece of the tar and says where in it the files' contents are.
    fn write(
        &self,
        found: &[Found],
        first: bool,
        tar: &mut Vec<u8>,
    ) -> Result<Vec<Range<usize>>, Error> {
        if first {
            tarball::directory(tar, b"");
        }
        let mut contents = Vec::new();
        let mut parent = Parent::of(self.dir);
        for Found { path, kind } in found {
            match kind {
                FoundKind::Directory => tarball::directory(tar, path),
                FoundKind::Symlink { target } => tarball::symlink(tar, path, target),
                FoundKind::File(stamp) => {
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
}

/// A job's piece of the tar, written.
enum Part {
    /// Entries, and where the files' contents are.
    Group {
        found: Vec<Found>,
        contents: Vec<Range<usize>>,
    },
    Whole(Content),
}

/// A group's entries; its files have the digests that were carried over with the member, if any.
fn entries(
    found: Vec<Found>,
    contents: &[Range<usize>],
    tar: &[u8],
    carried: &[Digest],
) -> Vec<(String, EntryKind)> {
    let all = carried.len() == contents.len();
    let mut contents = contents.iter().enumerate();
    let mut digest = || match contents.next() {
        Some((number, _)) if all => carried[number],
        Some((_, bytes)) => Digest::of(&tar[bytes.clone()]),
        None => unreachable!("each file has its content"),
    };
    let entry = |Found { path, kind }| {
        let kind = match kind {
            FoundKind::Directory => EntryKind::Directory,
            FoundKind::Symlink { target } => EntryKind::Symlink {
                target: escape(&target),
            },
            FoundKind::File(stamp) => EntryKind::File {
                executable: stamp.executable,
                size_bytes: stamp.size_bytes,
                digest: digest(),
            },
        };
        (escape(&path), kind)
    };
    found.into_iter().map(entry).collect()
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
        let start = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = path.split_at(start.map_or(0, |slash| slash + 1));
        let dir = match self.open.take() {
            Some(dir) if self.path == parent => dir,
            _ => {
                self.path.clear();
                self.path.extend(parent);
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::open(walk::full_path(self.dir, parent), flags, Mode::empty())?
            }
        };
        // Neither followed nor waited for, as in `open_readable`.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, OsStr::from_bytes(name), flags, Mode::empty());
        self.open = Some(dir);
        match file {
            // Its owner may let himself.
            Err(Errno::ACCESS) => open_readable(&walk::full_path(self.dir, path)),
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
    let full = || walk::full_path(dir, path);
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

/// Appends a piece of a large file and says where in the tar its content is.
fn piece(file: &Large, number: u64, tar: &mut Vec<u8>) -> Result<Range<usize>, Error> {
    let Stamp {
        size_bytes,
        executable,
        ..
    } = file.stamp;
    if number == 0 {
        tarball::file(tar, &file.path, executable, size_bytes);
    }
    let start = tar.len();
    let offset = number * SPLIT_BYTES;
    let size = (size_bytes - offset).min(SPLIT_BYTES);
    tar.resize(start + usize::try_from(size).expect("a piece is small"), 0);
    file.file
        .read_exact_at(&mut tar[start..], offset)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Changed {
                path: file.full.clone(),
            },
            _ => Error::Read {
                path: file.full.clone(),
                source,
            },
        })?;
    let bytes = start..tar.len();
    if number + 1 == file.pieces() {
        tarball::pad(tar, size_bytes);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Packs a group of one file, which is changed after the walk has found it.
    fn changed_by(change: impl FnOnce(&Path)) -> Result<Done, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lib/web");
        fs::create_dir(dir.path().join("lib")).unwrap();
        fs::write(&file, "web").unwrap();
        let stamp = Stamp::of(&rustix::fs::stat(&file).unwrap()).unwrap();
        change(&file);
        let found = vec![Found {
            path: b"lib/web".to_vec(),
            kind: FoundKind::File(stamp),
        }];
        let job = Job::Group {
            found,
            first: false,
        };
        Worker::new(dir.path(), Level::Small, None).work(0, job, Slot::default())
    }

    #[test]
    fn a_file_that_changes_in_a_group_is_named() {
        assert!(changed_by(|_| ()).is_ok());
        let later = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        let changes: [&dyn Fn(&Path); 5] = [
            &|file| fs::write(file, "more than before").unwrap(),
            &|file| fs::write(file, "").unwrap(),
            &|file| {
                fs::write(file, "new").unwrap();
                File::options()
                    .write(true)
                    .open(file)
                    .unwrap()
                    .set_times(later)
                    .unwrap();
            },
            &|file| {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
            },
            &|file| {
                fs::remove_file(file).unwrap();
                nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            match changed_by(change) {
                Err(Error::Changed { path }) => assert!(path.ends_with("lib/web")),
                Err(other) => panic!("{number}: {other}"),
                Ok(_) => panic!("{number}: the change was not seen"),
            }
        }
        let gone = changed_by(|file| fs::remove_file(file).unwrap());
        assert!(matches!(gone, Err(Error::Read { .. })));
    }
}
