//! What refs name, read from their files: a push has to know some, and git's own way of opening a
//! repository would read the rest of it, too.
//!
//! Source: gitrepository-layout(5), `refs` and `packed-refs`.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::ByteSlice as _;

use super::super::{Error, io_error};

/// The refs of a repository; those that are packed are read once.
pub(in super::super) struct Refs<'a> {
    repo_dir: &'a Path,
    packed: OnceCell<Vec<u8>>,
}

impl<'a> Refs<'a> {
    pub fn of(repo_dir: &'a Path) -> Self {
        Self {
            repo_dir,
            packed: OnceCell::new(),
        }
    }

    /// What a ref names.
    ///
    /// # Errors
    /// The machine's fault: the refs cannot be read, or someone has made this one name another ref,
    /// which no push does.
    pub fn current(&self, name: &str) -> Result<Option<ObjectId>, Error> {
        let path = self.repo_dir.join(name);
        match fs::read(&path) {
            Ok(content) => parse(&content, name, &path).map(Some),
            Err(error) if is_none(&error) => self.packed_value(name),
            Err(source) => Err(io_error("reading", &path)(source)),
        }
    }

    /// A ref whose name is a directory of this one, or the other way round.
    pub fn in_the_way(&self, name: &str) -> Result<Option<String>, Error> {
        for (slash, _) in name.match_indices('/').skip(2) {
            let above = &name[..slash];
            if self.current(above)?.is_some() {
                return Ok(Some(above.to_owned()));
            }
        }
        let mut below = BTreeMap::new();
        self.loose(name, &mut below)?;
        if let Some((name, _)) = below.pop_first() {
            return Ok(Some(name));
        }
        let below = format!(" {name}/");
        let packed = self.packed()?;
        Ok(memchr::memmem::find(packed, below.as_bytes()).map(|at| {
            let line = packed[at + 1..].lines().next().unwrap_or_default();
            line.to_str_lossy().into_owned()
        }))
    }

    /// All refs in the order of their names, as `<id> <name>`.
    pub fn lines(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut loose = BTreeMap::new();
        for dir in ["refs/heads", "refs/tags"] {
            self.loose(dir, &mut loose)?;
        }
        let loose_line = |(name, id): (String, ObjectId)| format!("{id} {name}").into_bytes();
        let mut lines = Vec::new();
        for line in self.packed()?.lines() {
            let Some((_, name)) = line.split_once_str(" ") else {
                continue;
            };
            if line.starts_with(b"#") || line.starts_with(b"^") {
                continue;
            }
            while let Some(first) = loose.first_entry()
                && first.key().as_bytes() < name
            {
                lines.push(loose_line(first.remove_entry()));
            }
            // A loose one is newer.
            let newer = loose.first_entry();
            match newer.filter(|first| first.key().as_bytes() == name) {
                Some(newer) => lines.push(loose_line(newer.remove_entry())),
                None => lines.push(line.to_vec()),
            }
        }
        lines.extend(loose.into_iter().map(loose_line));
        Ok(lines)
    }

    /// Adds the refs below a directory that have files of their own.
    fn loose(&self, dir: &str, found: &mut BTreeMap<String, ObjectId>) -> Result<(), Error> {
        let path = self.repo_dir.join(dir);
        let failed = || io_error("reading", &path);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if is_none(&error) => return Ok(()),
            Err(source) => return Err(failed()(source)),
        };
        for entry in entries {
            let entry = entry.map_err(failed())?;
            // Names of refs are UTF-8 to us, and a lock is no ref.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let name = format!("{dir}/{name}");
            if entry.file_type().map_err(failed())?.is_dir() {
                self.loose(&name, found)?;
            } else if !name.as_bytes().ends_with(b".lock") {
                // Refs that name other refs are none that a push made.
                match self.current(&name) {
                    Err(Error::Symbolic { .. }) => {}
                    id => {
                        if let Some(id) = id? {
                            found.insert(name, id);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn packed_value(&self, name: &str) -> Result<Option<ObjectId>, Error> {
        let packed = self.packed()?;
        let wanted = format!(" {name}\n");
        let Some(at) = memchr::memmem::find(packed, wanted.as_bytes()) else {
            return Ok(None);
        };
        let start = packed[..at].rfind_byte(b'\n').map_or(0, |end| end + 1);
        parse(&packed[start..at], name, &self.packed_path()).map(Some)
    }

    fn packed(&self) -> Result<&[u8], Error> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed);
        }
        let path = self.packed_path();
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if is_none(&error) => Vec::new(),
            Err(source) => return Err(io_error("reading", &path)(source)),
        };
        Ok(self.packed.get_or_init(|| content))
    }

    fn packed_path(&self) -> PathBuf {
        self.repo_dir.join("packed-refs")
    }
}

/// Whether there is no file of this name: nothing at all, a directory, or a file where the name
/// wants a directory.
fn is_none(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | IsADirectory | NotADirectory)
}

fn parse(content: &[u8], name: &str, path: &Path) -> Result<ObjectId, Error> {
    if content.starts_with(b"ref:") {
        return Err(Error::Symbolic {
            name: name.to_owned(),
        });
    }
    ObjectId::from_hex(content.trim_end()).map_err(|_| {
        let source = io::Error::new(io::ErrorKind::InvalidData, "it holds no object id");
        io_error("reading", path)(source)
    })
}
