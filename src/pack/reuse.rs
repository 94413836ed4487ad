//! The last slug as a source of members.
//!
//! A group's member is copied where the last slug has one of the same entries: their paths, kinds,
//! modes, sizes and digests decide each byte of its tar. A piece of a large file is copied where the
//! last slug's piece at that place, decompressed, is the same. What is copied is checked against its
//! digest first, so that a damaged slug is never carried on.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::unix::fs::FileExt;

use super::{Level, gzip};
use crate::digest::{Digest, Hashing};
use crate::slug::{self, Entry, EntryKind, FORMAT, Member, Span, escape};

/// An app's last slug.
pub struct LastSlug {
    slug: File,
    members: Vec<Member>,
    /// Places of groups' members.
    groups: HashMap<Digest, usize>,
    /// Large files by their paths.
    large: HashMap<String, Span>,
}

impl LastSlug {
    /// Takes a slug of this format by its manifest, which must be the one that was made with it.
    ///
    /// # Errors
    /// The manifest cannot be read or is of another format: there is nothing to be reused.
    pub fn new(manifest: impl BufRead, slug: File) -> io::Result<Self> {
        let mut groups = HashMap::new();
        let mut large = HashMap::new();
        let mut key = Key::new(true);
        let mut place = 0;
        let (format, members, _) = slug::read(manifest, |entry| {
            let Entry {
                path,
                kind,
                members: Span(first, last),
            } = entry;
            if first != place {
                let done = std::mem::replace(&mut key, Key::new(false));
                groups.insert(done.finish(), place);
                place = first;
            }
            if first == last {
                key.add(&path, &kind);
            }
            if first < last {
                large.insert(path, Span(first, last));
            }
        })?;
        groups.insert(key.finish(), place);
        if format != FORMAT {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let groups = groups
            .into_iter()
            .filter_map(|(key, place)| Some((key, usize::try_from(place).ok()?)))
            .collect();
        Ok(Self {
            slug,
            members,
            groups,
            large,
        })
    }

    /// Reads the member of the group with that key and says whether there is one.
    pub(super) fn copy_group(
        &self,
        key: Digest,
        tar_bytes: usize,
        level: Level,
        out: &mut Vec<u8>,
    ) -> bool {
        let place = self.groups.get(&key).copied();
        place.is_some_and(|place| self.read(place, tar_bytes, level, out))
    }

    /// Reads the member of a large file's piece and says whether it holds `tar`.
    pub(super) fn copy_piece(
        &self,
        path: &[u8],
        number: u64,
        tar: &[u8],
        level: Level,
        out: &mut Vec<u8>,
        buffer: &mut Vec<u8>,
    ) -> bool {
        let Some(Span(first, last)) = self.large.get(&escape(path)).copied() else {
            return false;
        };
        let place = first.saturating_add(number);
        place <= last
            && usize::try_from(place).is_ok_and(|place| self.read(place, tar.len(), level, out))
            && gzip::holds(out, tar, buffer)
    }

    fn read(&self, place: usize, tar_bytes: usize, level: Level, out: &mut Vec<u8>) -> bool {
        let Some(member) = self.members.get(place) else {
            return false;
        };
        // Stored members are a little larger than what they hold.
        let most = tar_bytes as u64 + tar_bytes as u64 / 64 + 1024;
        let Ok(size) = usize::try_from(member.size_bytes.min(most)) else {
            return false;
        };
        out.resize(size, 0);
        member.tar_bytes == tar_bytes as u64
            && self.slug.read_exact_at(out, member.offset).is_ok()
            && gzip::is_of_level(out, level)
            && Digest::of(out) == member.digest
    }
}

/// What a group's tar depends on, digested.
pub struct Key(Hashing<io::Sink>);

impl Key {
    /// Starts the key of a group; the slug's first has the app's root in it.
    pub fn new(first: bool) -> Self {
        let mut key = Self(Hashing::new(io::sink()));
        key.bytes(&[u8::from(first)]);
        key
    }

    /// Adds an entry.
    pub fn add(&mut self, path: &str, kind: &EntryKind) {
        self.text(path);
        match kind {
            EntryKind::Directory => self.bytes(b"d"),
            EntryKind::Symlink { target } => {
                self.bytes(b"l");
                self.text(target);
            }
            EntryKind::File {
                executable,
                size_bytes,
                digest,
            } => {
                self.bytes(if *executable { b"x" } else { b"f" });
                self.bytes(&size_bytes.to_le_bytes());
                self.bytes(digest.as_bytes());
            }
        }
    }

    pub fn finish(self) -> Digest {
        self.0.digest()
    }

    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.see(bytes);
    }
}
