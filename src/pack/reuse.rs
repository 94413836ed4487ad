//! Slugs as sources of members.
//!
//! A member is copied where a slug has one of the same input, by its digest in the manifest; its
//! files' digests are carried over with it. What is copied is checked against its own digest first,
//! so that a damaged slug is never carried on.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::carried::Carried;
use super::stat_cache::Known;
use super::{Level, gzip};
use crate::digest::PieceDigest;
use crate::slug::{self, FORMAT, Member, Span, States};

/// Slugs to copy members from.
#[derive(Default)]
pub struct Reusable {
    slugs: Vec<Slug>,
    /// Which slug has a member of that input, and its place there.
    places: HashMap<PieceDigest, (usize, usize)>,
}

struct Slug {
    file: File,
    members: Vec<Member>,
    /// Of the files that share a member with others, one after the other.
    files: Carried,
    /// Which of `files` are in a member, by its place, in the order of those.
    in_member: Vec<(usize, Range<usize>)>,
    /// The files that are in several members, by the place of their first.
    large: HashMap<usize, LargeFile>,
}

/// A file that is in several members.
#[derive(Debug, Clone, Copy)]
pub struct LargeFile {
    /// The place of the last one.
    pub last: usize,
    pub digest: PieceDigest,
}

/// A member that was copied.
pub struct Copied<'a> {
    pub digest: PieceDigest,
    /// Of the files in it, in their order; none where it is a piece of one.
    pub files: Cow<'a, [PieceDigest]>,
    /// Whose first piece it is.
    pub large: Option<LargeFile>,
    pub from: Origin,
}

/// Where a member was copied from.
#[derive(Clone, Copy)]
pub struct Origin {
    /// Which slug.
    pub slug: usize,
    /// The member's place there.
    pub place: usize,
    /// How the digests stand there after it.
    pub states: States,
}

impl Slug {
    /// The digests of the files in a member, in their order.
    fn files_in(&self, place: usize) -> io::Result<Cow<'_, [PieceDigest]>> {
        let found = self.in_member.binary_search_by_key(&place, |(at, _)| *at);
        found.map_or(Ok(Cow::default()), |at| {
            self.files.get(self.in_member[at].1.clone())
        })
    }
}

impl Reusable {
    /// Takes a slug of this format by its manifest, which must be the one that was made with it.
    /// Where two slugs have the same member, the first one's is used.
    ///
    /// # Errors
    /// The manifest cannot be read or is of another format: there is nothing to be reused.
    pub fn add(&mut self, manifest: impl BufRead, slug: File) -> io::Result<()> {
        let mut files = Carried::default();
        let mut in_member = Vec::<(_, Range<_>)>::new();
        let mut large = HashMap::new();
        let (format, members, _) = slug::read_digests(manifest, |Span(first, last), digest| {
            let places = (usize::try_from(first), usize::try_from(last));
            let (Some(digest), (Ok(place), Ok(last))) = (digest, places) else {
                return Ok(());
            };
            if last > place {
                large.insert(place, LargeFile { last, digest });
            } else {
                // Entries come in the order of their members.
                let start = files.len();
                files.push(digest)?;
                match in_member.last_mut() {
                    Some((last, range)) if *last == place => range.end = files.len(),
                    _ => in_member.push((place, start..files.len())),
                }
            }
            Ok(())
        })?;
        if format != FORMAT {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let number = self.slugs.len();
        for (place, member) in members.iter().enumerate() {
            self.places.entry(member.input).or_insert((number, place));
        }
        self.slugs.push(Slug {
            file: slug,
            members,
            files,
            in_member,
            large,
        });
        Ok(())
    }

    /// Reads the member of that input into `out`, if there is one that is whole and of that level;
    /// of several the one that has the same place.
    pub(super) fn copy(
        &self,
        place: usize,
        known: Known,
        level: Level,
        out: &mut Vec<u8>,
    ) -> Option<Copied<'_>> {
        let Known { input, tar_bytes } = known;
        let first = self.slugs.first()?.members.get(place);
        let (number, place) = match first {
            Some(member) if member.input == input => (0, place),
            _ => *self.places.get(&input)?,
        };
        let slug = &self.slugs[number];
        let member = &slug.members[place];
        // Stored members are a little larger than what they hold.
        let most = tar_bytes + tar_bytes / 64 + 1024;
        if member.tar_bytes != tar_bytes || member.size_bytes > most {
            return None;
        }
        out.resize(usize::try_from(member.size_bytes).ok()?, 0);
        slug.file.read_exact_at(out, member.offset).ok()?;
        let whole = gzip::is_of_level(out, level) && PieceDigest::of(out) == member.digest;
        if !whole {
            return None;
        }
        Some(Copied {
            digest: member.digest,
            files: slug.files_in(place).ok()?,
            large: slug.large.get(&place).copied(),
            from: Origin {
                slug: number,
                place,
                states: member.states,
            },
        })
    }
}
