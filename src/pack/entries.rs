//! The entries of a slug's tar, with every archive trick refused.
//!
//! What comes out can be written below an empty directory in its order without a check of the file
//! system: no path leaves the app's root or goes through a symlink or file of the archive, no name
//! comes twice, and a hard link's target is a file that came before it. Names that Heroku's own
//! slugs may have (`app/x` for `./app/x`, a first `./`) are taken too.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;

use tar::EntryType;

use super::archive::{Archive, Raw};
use super::{Error, Refusal};
use crate::slug::escape;

/// Longest path or symlink target, as Linux has it for a path (`PATH_MAX` without its zero).
const PATH_BYTES: usize = 4095;

/// What a slug may cost its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Those of the tar, and directories that its paths go through without an entry of their own.
    pub entries: u64,
    /// Of the tar inside.
    pub tar_bytes: u64,
    /// Of all paths and link targets together, which are held in memory.
    pub name_bytes: u64,
    /// Of gzip.
    pub members: u64,
}

impl Default for Limits {
    /// A million entries and members, a tar of 16 GiB, and 256 MiB of names.
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            tar_bytes: 16 << 30,
            name_bytes: 256 << 20,
            members: 1_000_000,
        }
    }
}

impl Limits {
    /// Checks the entries and their names.
    pub(super) fn check(&self, entries: u64, name_bytes: u64) -> Result<(), Error> {
        if entries > self.entries {
            let limit = self.entries;
            return Err(Error::TooManyEntries { limit });
        }
        if name_bytes > self.name_bytes {
            let limit_bytes = self.name_bytes;
            return Err(Error::TooManyNames { limit_bytes });
        }
        Ok(())
    }
}

/// A slug's entries, being read.
pub struct Entries<R> {
    archive: Archive<R>,
    limits: Limits,
    /// As [`Limits`] counts them, the app's root among them.
    counted: u64,
    name_bytes: u64,
    /// How many entries were given out, the root not counted.
    given: usize,
    seen: HashMap<Vec<u8>, Seen>,
}

/// What a path of the archive is.
#[derive(Clone, Copy)]
enum Seen {
    /// Named by a path that goes through it; its own entry may follow.
    Parent,
    Directory,
    /// The number of its item.
    File(usize),
    Symlink,
}

/// Something to be made below the app's root; the root itself is the directory with an empty path.
pub struct Item {
    pub path: Vec<u8>,
    pub kind: ItemKind,
    pub mtime_seconds: u64,
}

pub enum ItemKind {
    Directory,
    /// Its content comes from [`Entries::read`].
    File {
        executable: bool,
        size_bytes: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    HardLink {
        target: Vec<u8>,
        /// Which item the target is, the root not counted.
        number: usize,
    },
}

impl<R: Read> Entries<R> {
    /// Reads the entries of a tar.
    pub fn new(tar: R, limits: &Limits) -> Self {
        Self {
            archive: Archive::new(tar, limits.tar_bytes),
            limits: *limits,
            counted: 0,
            name_bytes: 0,
            given: 0,
            seen: HashMap::from([(Vec::new(), Seen::Parent)]),
        }
    }

    /// What the tar is read from; all of it has been read once [`Entries::next`] gave `None`.
    pub fn into_inner(self) -> R {
        self.archive.into_inner()
    }

    /// Where in the tar the current entry is, from its first header to the end of its content.
    pub fn place(&self) -> Range<u64> {
        self.archive.place()
    }

    /// The next item; what is left of the current one's content is skipped.
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        while let Some(raw) = self.archive.next()? {
            self.counted += 1;
            let is_directory = raw.kind == EntryType::Directory;
            // `tar -C dir .` starts with the directory above `./app/`.
            if is_directory && matches!(&raw.name[..], b"." | b"./") {
                continue;
            }
            let name = raw.name.clone();
            let item = self.item(raw).map_err(|source| Error::Refused {
                entry: escape(&name),
                source,
            })?;
            self.limits.check(self.counted, self.name_bytes)?;
            return Ok(Some(item));
        }
        Ok(None)
    }

    /// Reads the next bytes of the current file; none at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.archive.read(buffer)
    }

    fn item(&mut self, raw: Raw) -> Result<Item, Refusal> {
        let path = relative(&raw.name)?;
        self.name_bytes += (path.len() + raw.link.len()) as u64;
        let (seen, kind) = match raw.kind {
            EntryType::Directory => (Seen::Directory, ItemKind::Directory),
            _ if path.is_empty() => return Err(Refusal::AppIsNoDirectory),
            EntryType::Regular => {
                if raw.name.ends_with(b"/") {
                    return Err(Refusal::FileNamedAsDirectory);
                }
                let kind = ItemKind::File {
                    executable: raw.executable,
                    size_bytes: raw.size_bytes,
                };
                (Seen::File(self.given), kind)
            }
            EntryType::Symlink => {
                if !(1..=PATH_BYTES).contains(&raw.link.len()) || raw.link.contains(&0) {
                    return Err(Refusal::SymlinkTarget {
                        limit_bytes: PATH_BYTES,
                    });
                }
                (Seen::Symlink, ItemKind::Symlink { target: raw.link })
            }
            EntryType::Link => {
                let target = relative(&raw.link)?;
                let Some(Seen::File(number)) = self.seen.get(&target).copied() else {
                    return Err(Refusal::HardLink {
                        target: escape(&raw.link),
                    });
                };
                (Seen::File(number), ItemKind::HardLink { target, number })
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => return Err(Refusal::Device),
            other => {
                return Err(Refusal::UnknownType {
                    kind: other.as_byte().into(),
                });
            }
        };
        if raw.size_bytes > 0 && !matches!(kind, ItemKind::File { .. }) {
            return Err(Refusal::Content);
        }
        self.see(&path, seen)?;
        if !path.is_empty() {
            self.given += 1;
        }
        Ok(Item {
            path,
            kind,
            mtime_seconds: raw.mtime_seconds,
        })
    }

    /// Remembers a path and refuses one that is taken or that goes through no directory.
    fn see(&mut self, path: &[u8], seen: Seen) -> Result<(), Refusal> {
        // From the nearest parent up to one that is known.
        for (slash, _) in path.iter().enumerate().rev().filter(|(_, c)| **c == b'/') {
            let parent = &path[..slash];
            match self.seen.get(parent) {
                Some(Seen::Directory | Seen::Parent) => break,
                Some(Seen::Symlink) => {
                    return Err(Refusal::ThroughSymlink {
                        link: escape(parent),
                    });
                }
                Some(Seen::File(_)) => {
                    return Err(Refusal::ThroughFile {
                        file: escape(parent),
                    });
                }
                None => {
                    self.counted += 1;
                    self.name_bytes += parent.len() as u64;
                    self.seen.insert(parent.to_vec(), Seen::Parent);
                }
            }
        }
        match (self.seen.insert(path.to_vec(), seen), seen) {
            (None, _) | (Some(Seen::Parent), Seen::Directory) => Ok(()),
            _ => Err(Refusal::Duplicate),
        }
    }
}

/// Takes `./app/` off a name and the name apart; what is left has neither `.`, `..` nor empty
/// components.
fn relative(name: &[u8]) -> Result<Vec<u8>, Refusal> {
    if name.is_empty() || name.contains(&0) {
        return Err(Refusal::BadName);
    }
    if name.starts_with(b"/") {
        return Err(Refusal::Absolute);
    }
    let mut components = Vec::new();
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(Refusal::ParentDirectory),
            component => components.push(component),
        }
    }
    let path = match components.split_first() {
        Some((&b"app", rest)) => rest.join(&b'/'),
        _ => return Err(Refusal::OutsideApp),
    };
    if path.len() > PATH_BYTES {
        return Err(Refusal::LongName {
            limit_bytes: PATH_BYTES,
        });
    }
    Ok(path)
}
