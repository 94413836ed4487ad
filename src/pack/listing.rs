//! The listing of a directory, for the walk: a large one in parts.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::found::{
    Found, FoundKind, Inode, Skipped, SkippedKind, Stamp, full_path, let_owner, split,
};
use super::{Error, Limits};
use crate::slug::escape;

/// What an owner needs to list a directory and reach what is in it.
const LIST: u32 = 0o500;

/// Bytes of a directory's listing that are read at once.
const LISTING_BYTES: usize = 32 * 1024;

/// Bytes of steps that one listing has; a directory that takes more is listed in parts, and read again
/// for each.
pub const PART_BYTES: usize = 4 << 20;

/// What is in a directory, or a part of it.
#[derive(Default)]
pub struct Listing {
    /// In the order of the walk, last first.
    pub steps: Vec<Step>,
    pub entries: u64,
    /// Of their paths and of symlinks' targets.
    pub name_bytes: u64,
    pub skipped: Vec<Skipped>,
}

/// Something to come. Paths are relative to the build dir.
pub enum Step {
    Entry(Found),
    /// All that is below a directory, whose path has a `/` at its end: so paths are in the order of their
    /// bytes, as in `a`, `a-b`, `a/x`.
    Below(Vec<u8>),
    /// What follows in the same directory, from this path on, which is of an entry or as `Below` has it.
    Rest(Vec<u8>),
}

/// The path of a step that is not made yet, and what is there; a directory has two.
type Name = (Vec<u8>, FileType);

/// Lists directories of a build dir.
pub struct Lister<'a> {
    dir: &'a Path,
    pub limits: &'a Limits,
    /// As [`PART_BYTES`], of which tests have fewer.
    pub part_bytes: usize,
    /// Room for some of a directory's entries.
    room: Vec<u8>,
}

impl<'a> Lister<'a> {
    pub fn new(dir: &'a Path, limits: &'a Limits) -> Self {
        Self {
            dir,
            limits,
            part_bytes: PART_BYTES,
            room: Vec::with_capacity(LISTING_BYTES),
        }
    }

    /// Lists a directory from a path on, as far as the limits let it; `prefix` is what its entries'
    /// paths start with.
    pub fn list(&mut self, prefix: &[u8], from: &[u8]) -> Result<Listing, Error> {
        let path = full_path(self.dir, prefix.strip_suffix(b"/").unwrap_or(prefix));
        let error = |source: io::Error| Error::Read {
            path: path.clone(),
            source,
        };
        let dir = open_directory(&path, prefix.is_empty()).map_err(error)?;
        let part = Part::new(from, self.part_bytes);
        let (names, mut until) = self.names(&dir, prefix, part, error)?;
        let mut listing = Listing::default();
        listing.steps.reserve(names.len() + 1);
        for (path, kind) in names {
            // What symlinks lead to takes room as well.
            if listing.name_bytes > self.part_bytes as u64 {
                until = Some(path);
                break;
            }
            listing.add(self.dir, &dir, path, kind)?;
            self.limits.check(listing.entries, listing.name_bytes)?;
        }
        listing.steps.extend(until.map(Step::Rest));
        listing.steps.reverse();
        Ok(listing)
    }

    /// Reads the names of a directory, and gives those of a part in order and the first that is left.
    fn names(
        &mut self,
        dir: &OwnedFd,
        prefix: &[u8],
        mut part: Part<'_>,
        error: impl Fn(io::Error) -> Error,
    ) -> Result<(Vec<Name>, Option<Vec<u8>>), Error> {
        let mut path = prefix.to_vec();
        let (mut there, mut name_bytes) = (0, 0);
        let mut entries = RawDir::new(dir, self.room.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| error(errno.into()))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            path.truncate(prefix.len());
            path.extend(name.to_bytes());
            there += 1;
            name_bytes += path.len() as u64;
            self.limits.check(there, name_bytes)?;
            let kind = match entry.file_type() {
                // Not every file system tells.
                FileType::Unknown => {
                    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                    FileType::from_raw_mode(stat.map_err(|errno| error(errno.into()))?.st_mode)
                }
                kind => kind,
            };
            part.add(&path, kind);
            if kind == FileType::Directory {
                path.push(b'/');
                part.add(&path, kind);
            }
        }
        Ok(part.end())
    }
}

/// The first names of a directory, of those that are not listed yet.
struct Part<'a> {
    from: &'a [u8],
    most_bytes: usize,
    /// The first that is left for the next part.
    until: Option<Vec<u8>>,
    names: Vec<Name>,
    /// Of the steps that they will be.
    bytes: usize,
}

impl<'a> Part<'a> {
    fn new(from: &'a [u8], most_bytes: usize) -> Self {
        Self {
            from,
            most_bytes,
            until: None,
            names: Vec::new(),
            bytes: 0,
        }
    }

    fn add(&mut self, path: &[u8], kind: FileType) {
        if path < self.from || self.until.as_deref().is_some_and(|until| path >= until) {
            return;
        }
        self.bytes += step_bytes(path);
        self.names.push((path.to_vec(), kind));
        if self.bytes > 2 * self.most_bytes {
            self.cut();
        }
    }

    /// Sorts the names, and leaves those that are too many for the next part.
    fn cut(&mut self) {
        self.names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.bytes = 0;
        for at in 0..self.names.len() {
            let bytes = self.bytes + step_bytes(&self.names[at].0);
            // One, however long, so that there is an end.
            if at > 0 && bytes > self.most_bytes {
                self.until = self.names.drain(at..).next().map(|(path, _)| path);
                return;
            }
            self.bytes = bytes;
        }
    }

    /// The names in order, and the first that is left.
    fn end(mut self) -> (Vec<Name>, Option<Vec<u8>>) {
        self.cut();
        (self.names, self.until)
    }
}

/// Bytes that a step takes.
fn step_bytes(path: &[u8]) -> usize {
    size_of::<Step>() + path.len()
}

impl Listing {
    /// Adds what is at a path, in the directory `dir`.
    fn add(
        &mut self,
        build_dir: &Path,
        dir: &OwnedFd,
        path: Vec<u8>,
        kind: FileType,
    ) -> Result<(), Error> {
        if path.ends_with(b"/") {
            self.steps.push(Step::Below(path));
            return Ok(());
        }
        let full = || full_path(build_dir, &path);
        let error = |errno: Errno| Error::Read {
            path: full(),
            source: errno.into(),
        };
        let (_, name) = split(&path);
        self.entries += 1;
        self.name_bytes += path.len() as u64;
        let kind = match kind {
            FileType::Directory => FoundKind::Directory,
            FileType::RegularFile => {
                let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                let stat = stat.map_err(error)?;
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
        self.steps.push(Step::Entry(Found { path, kind }));
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
