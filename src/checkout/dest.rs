//! A directory that is filled by paths of foreign origin.
//!
//! Each path is checked against those before it, and symlinks are made after all else, so that
//! nothing is ever written through one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::{Error, Limits, check as check_stop, io_error};
use crate::digest::{Digest, Hashing};

/// Longest path in a tree, in bytes: Linux takes 4,096 with the directory that is written into.
pub(super) const PATH_BYTES: usize = 3_500;

/// Requires an empty directory.
pub(super) fn require_empty(path: &Path) -> Result<(), Error> {
    let mut entries = fs::read_dir(path).map_err(io_error("listing", path))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Error::NotEmpty {
            path: path.to_owned(),
        }),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaf {
    File { executable: bool },
    Link,
}

/// What a file is besides its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub mode: u32,
    pub mtime_seconds: u64,
}

impl Attributes {
    pub fn of_file(executable: bool) -> Self {
        Self {
            mode: if executable { 0o755 } else { 0o644 },
            mtime_seconds: 0,
        }
    }

    fn mtime(self) -> SystemTime {
        // Beyond 32 bits, the year 2106, times are somebody's joke, and sums could overflow.
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.mtime_seconds.min(u32::MAX.into()))
    }

    fn is_executable(self) -> bool {
        self.mode & 0o100 != 0
    }

    /// Whoever reads the tree later need not be its owner; he must be able to remove it.
    fn kept_mode(self) -> u32 {
        if self.is_executable() {
            self.mode & 0o777 | 0o755
        } else {
            self.mode & 0o777 | 0o644
        }
    }
}

/// The directory and what has been written into it.
pub(super) struct Dest<'a> {
    root: &'a Path,
    limits: &'a Limits,
    stop: &'a AtomicBool,
    /// Each path's kind, mode and content, where the tree is kept whole.
    whole: Option<BTreeMap<PathBuf, String>>,
    directories: HashSet<PathBuf>,
    /// Directories that have been named and need not be there.
    noted: HashSet<PathBuf>,
    leaves: HashMap<PathBuf, Leaf>,
    links: Vec<(PathBuf, OsString)>,
    pub bytes: u64,
}

impl<'a> Dest<'a> {
    pub fn new(root: &'a Path, limits: &'a Limits, stop: &'a AtomicBool) -> Result<Self, Error> {
        require_empty(root)?;
        Ok(Self {
            root,
            limits,
            stop,
            whole: None,
            directories: HashSet::new(),
            noted: HashSet::new(),
            leaves: HashMap::new(),
            links: Vec::new(),
            bytes: 0,
        })
    }

    /// One that keeps empty directories, hard links, permissions and times.
    pub fn whole(root: &'a Path, limits: &'a Limits, stop: &'a AtomicBool) -> Result<Self, Error> {
        let whole = Some(BTreeMap::new());
        Ok(Self {
            whole,
            ..Self::new(root, limits, stop)?
        })
    }

    pub fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    pub fn limit_files(&self) -> usize {
        self.limits.files
    }

    /// Over all that a whole tree has, in the order of its paths.
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        for (path, what) in self.whole.iter().flatten() {
            for part in [path.as_os_str().as_bytes(), what.as_bytes()] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        let digest: [u8; 32] = hasher.finalize().into();
        Digest::of(&digest)
    }

    /// Files and symlinks so far.
    pub fn files(&self) -> usize {
        self.leaves.len()
    }

    /// Writes a file; `content` is read to its end. `unreadable` names an error of reading it.
    pub fn file(
        &mut self,
        path: &Path,
        attributes: Attributes,
        content: &mut dyn Read,
        unreadable: impl FnOnce(io::Error) -> Error,
    ) -> Result<(), Error> {
        let left = self.limits.bytes - self.bytes;
        let (to, file) = self.create(path, attributes)?;
        let mut content = Noting {
            inner: content,
            stop: self.stop,
            error: None,
        };
        // One more than fits shows that there is too much.
        let limited = &mut (&mut content).take(left + 1);
        let mut hashing = self.is_whole().then(|| Hashing::new(&file));
        let written = match &mut hashing {
            Some(file) => io::copy(limited, file),
            None => io::copy(limited, &mut &file),
        };
        let digest = hashing.map(|file| file.digest());
        check_stop(self.stop)?;
        if let Some(source) = content.error {
            return Err(unreadable(source));
        }
        self.count(written.map_err(io_error("writing", &to))?)?;
        let Some(digest) = digest else {
            return Ok(());
        };
        let mode = attributes.kept_mode();
        self.note(path, format!("file {mode:o} {digest}"));
        file.set_permissions(Permissions::from_mode(mode))
            .and_then(|()| file.set_times(FileTimes::new().set_modified(attributes.mtime())))
            .map_err(io_error("writing", &to))
    }

    /// Writes a file that is a copy of an earlier one; false where there is no such file.
    pub fn copy(&mut self, path: &Path, from: &Path) -> Result<bool, Error> {
        let Some(Leaf::File { executable }) = self.leaves.get(from).copied() else {
            return Ok(false);
        };
        if let Some(what) = self
            .whole
            .as_ref()
            .and_then(|whole| whole.get(from))
            .cloned()
        {
            self.enter(path, Leaf::File { executable })?;
            let (from, to) = (self.root.join(from), self.root.join(path));
            fs::hard_link(from, &to).map_err(io_error("linking", &to))?;
            self.note(path, what);
            return Ok(true);
        }
        let from = self.root.join(from);
        let mut content = File::open(&from).map_err(io_error("opening", &from))?;
        let attributes = Attributes::of_file(executable);
        self.file(path, attributes, &mut content, io_error("reading", &from))?;
        Ok(true)
    }

    /// Notes a symlink; it is made by [`Dest::finish`].
    pub fn link(&mut self, path: &Path, target: &OsStr) -> Result<(), Error> {
        let outside = target.is_empty() || target.as_bytes().contains(&0);
        if outside || target.len() > PATH_BYTES {
            return Err(Error::Outside {
                path: PathBuf::from(target),
            });
        }
        self.enter(path, Leaf::Link)?;
        self.links.push((path.to_owned(), target.to_owned()));
        let target = crate::slug::escape(target.as_bytes());
        self.note(path, format!("link {target}"));
        Ok(())
    }

    fn note(&mut self, path: &Path, what: String) {
        if let Some(whole) = &mut self.whole {
            whole.insert(path.to_owned(), what);
        }
    }

    /// Notes a directory, so that nothing else can come to its place; it is made with its first
    /// file.
    pub fn directory(&mut self, path: &Path) -> Result<(), Error> {
        check(path)?;
        if self.leaves.contains_key(path) {
            return Err(Error::Twice {
                path: path.to_owned(),
            });
        }
        self.check_above(path)?;
        self.noted.insert(path.to_owned());
        if self.is_whole() {
            self.make_directories(path)?;
        }
        Ok(())
    }

    /// The one directory at the top that everything is below, if there is one.
    pub fn wrapper(&self) -> Option<PathBuf> {
        let first = self.leaves.keys().next()?.components().next()?;
        let wrapper = Path::new(first.as_os_str());
        let all = self
            .leaves
            .keys()
            .all(|path| path != wrapper && path.starts_with(wrapper));
        all.then(|| wrapper.to_owned())
    }

    /// Makes the symlinks.
    pub fn finish(&mut self) -> Result<(), Error> {
        for (path, target) in std::mem::take(&mut self.links) {
            let to = self.root.join(path);
            std::os::unix::fs::symlink(target, &to).map_err(io_error("linking", &to))?;
        }
        Ok(())
    }

    fn create(&mut self, path: &Path, attributes: Attributes) -> Result<(PathBuf, File), Error> {
        let executable = attributes.is_executable();
        self.enter(path, Leaf::File { executable })?;
        let to = self.root.join(path);
        let mode = if executable { 0o777 } else { 0o666 };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&to)
            .map_err(io_error("creating", &to))?;
        if executable {
            file.set_permissions(Permissions::from_mode(0o755))
                .map_err(io_error("making executable", &to))?;
        }
        Ok((to, file))
    }

    fn count(&mut self, written: u64) -> Result<(), Error> {
        self.bytes += written;
        if self.bytes > self.limits.bytes {
            return Err(Error::Bytes {
                limit_bytes: self.limits.bytes,
            });
        }
        Ok(())
    }

    /// Takes a path for a file or a symlink and makes the directories above.
    fn enter(&mut self, path: &Path, leaf: Leaf) -> Result<(), Error> {
        check(path)?;
        let taken = self.leaves.contains_key(path)
            || self.directories.contains(path)
            || self.noted.contains(path);
        if taken {
            return Err(Error::Twice {
                path: path.to_owned(),
            });
        }
        self.check_above(path)?;
        if let Some(above) = path.parent() {
            self.make_directories(above)?;
        }
        if self.leaves.len() == self.limits.files {
            return Err(self.too_many());
        }
        self.leaves.insert(path.to_owned(), leaf);
        Ok(())
    }

    /// Makes a directory and those above it, as far as they are not there.
    fn make_directories(&mut self, path: &Path) -> Result<(), Error> {
        check_stop(self.stop)?;
        let mut missing: Vec<_> = path
            .ancestors()
            .take_while(|above| above.parent().is_some() && !self.directories.contains(*above))
            .collect();
        while let Some(above) = missing.pop() {
            if self.directories.len() == self.limits.files {
                return Err(self.too_many());
            }
            let to = self.root.join(above);
            fs::create_dir(&to).map_err(io_error("making", &to))?;
            self.directories.insert(above.to_owned());
            if self.is_whole() {
                let mode = Permissions::from_mode(0o755);
                fs::set_permissions(&to, mode).map_err(io_error("making", &to))?;
                self.note(above, "directory".to_owned());
            }
        }
        Ok(())
    }

    fn check_above(&self, path: &Path) -> Result<(), Error> {
        for above in path.ancestors().skip(1) {
            if self.leaves.contains_key(above) {
                return Err(Error::Below {
                    path: path.to_owned(),
                    above: above.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn too_many(&self) -> Error {
        Error::Files {
            limit: self.limits.files,
        }
    }
}

/// Keeps an error of reading apart from those of writing.
struct Noting<'a> {
    inner: &'a mut dyn Read,
    stop: &'a AtomicBool,
    error: Option<io::Error>,
}

impl Read for Noting<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if check_stop(self.stop).is_err() {
            return Err(io::ErrorKind::Other.into());
        }
        self.inner.read(buf).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.error = Some(error);
            }
            kind.into()
        })
    }
}

/// Requires a relative path of plain names.
fn check(path: &Path) -> Result<(), Error> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let bytes = path.as_os_str().as_bytes();
    if !plain || bytes.is_empty() || bytes.len() > PATH_BYTES || bytes.contains(&0) {
        return Err(Error::Outside {
            path: path.to_owned(),
        });
    }
    Ok(())
}
