//! A directory that is filled by paths of foreign origin.
//!
//! Each path is checked against those before it, and symlinks are made after all else, so that
//! nothing is ever written through one.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use super::{Error, Limits, io_error};

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

/// The directory and what has been written into it.
pub(super) struct Dest<'a> {
    root: &'a Path,
    limits: &'a Limits,
    directories: HashSet<PathBuf>,
    /// Directories that have been named and need not be there.
    noted: HashSet<PathBuf>,
    leaves: HashMap<PathBuf, Leaf>,
    links: Vec<(PathBuf, OsString)>,
    pub bytes: u64,
}

impl<'a> Dest<'a> {
    pub fn new(root: &'a Path, limits: &'a Limits) -> Result<Self, Error> {
        require_empty(root)?;
        Ok(Self {
            root,
            limits,
            directories: HashSet::new(),
            noted: HashSet::new(),
            leaves: HashMap::new(),
            links: Vec::new(),
            bytes: 0,
        })
    }

    /// Files and symlinks so far.
    pub fn files(&self) -> usize {
        self.leaves.len()
    }

    /// Writes a file; `content` is read to its end. `unreadable` names an error of reading it.
    pub fn file(
        &mut self,
        path: &Path,
        executable: bool,
        content: &mut dyn Read,
        unreadable: impl FnOnce(io::Error) -> Error,
    ) -> Result<(), Error> {
        let left = self.limits.bytes - self.bytes;
        let (to, mut file) = self.create(path, executable)?;
        let mut content = Noting {
            inner: content,
            error: None,
        };
        // One more than fits shows that there is too much.
        let written = io::copy(&mut (&mut content).take(left + 1), &mut file);
        if let Some(source) = content.error {
            return Err(unreadable(source));
        }
        self.count(written.map_err(io_error("writing", &to))?)
    }

    /// Writes a file that is a copy of an earlier one; false where there is no such file.
    pub fn copy(&mut self, path: &Path, from: &Path) -> Result<bool, Error> {
        let Some(Leaf::File { executable }) = self.leaves.get(from).copied() else {
            return Ok(false);
        };
        let from = self.root.join(from);
        let mut content = File::open(&from).map_err(io_error("opening", &from))?;
        self.file(path, executable, &mut content, io_error("reading", &from))?;
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
        Ok(())
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

    fn create(&mut self, path: &Path, executable: bool) -> Result<(PathBuf, File), Error> {
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
        let mut missing: Vec<_> = path
            .ancestors()
            .skip(1)
            .take_while(|above| above.parent().is_some() && !self.directories.contains(*above))
            .collect();
        while let Some(above) = missing.pop() {
            if self.directories.len() == self.limits.files {
                return Err(self.too_many());
            }
            let to = self.root.join(above);
            fs::create_dir(&to).map_err(io_error("making", &to))?;
            self.directories.insert(above.to_owned());
        }
        if self.leaves.len() == self.limits.files {
            return Err(self.too_many());
        }
        self.leaves.insert(path.to_owned(), leaf);
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
    error: Option<io::Error>,
}

impl Read for Noting<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
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
