//! The objects of a pack, made of its entries: given their ids, and checked.

use std::collections::HashMap;

use gix::ObjectId;
use gix::objs::Kind;

use super::super::special::Special;
use super::super::{Error, fsck, tree};
use super::cache::Cache;
use super::entries::{Base, Batch, Item, What, id_of_object};
use super::names::{Known, NONE, Names, Seeds, UNSEEN, bit, kind_of_bit};
use super::{Context, Spool, delta, families};

/// One entry of the pack, and the object that it is.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub offset: u64,
    pub crc32: u32,
    /// Of a delta whose base is not made yet: none, and the id is null.
    pub kind: Option<Kind>,
    pub from: From,
    pub id: ObjectId,
}

/// What an entry is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Itself.
    Whole,
    /// Another entry, by its number.
    Entry(u32),
    /// An object of the repository, by its place in [`Objects::outside`].
    Outside(u32),
    /// An object by its id, found nowhere yet; its place in [`Objects::wanted`].
    Wanted(u32),
}

/// What becomes of a pack's objects.
pub(super) struct Objects<'a> {
    pub context: &'a Context<'a>,
    pub known: &'a mut Known,
    pub entries: Vec<Entry>,
    pub names: Names,
    /// Bases in the repository.
    pub outside: Vec<ObjectId>,
    /// Bases that are somewhere later in the pack, or nowhere.
    pub wanted: Vec<ObjectId>,
    /// Whether some deltas wait for their bases.
    pub waiting: bool,
    /// Files that git itself reads, and whether they have been looked at.
    pub special: HashMap<(ObjectId, Special), bool, Seeds>,
    /// Parents of the commits where the client's history may end.
    loose_ends: Vec<(ObjectId, Vec<ObjectId>)>,
    borders: Vec<ObjectId>,
    bases: Cache<u32>,
    outside_bases: Cache<ObjectId>,
    base_bytes_left: u64,
    unpacked_bytes_left: u64,
}

impl<'a> Objects<'a> {
    pub fn new(context: &'a Context<'a>, known: &'a mut Known) -> Self {
        Self {
            context,
            known,
            // Not for as many as the header says: it may say anything.
            entries: Vec::new(),
            names: Names::with_hasher(Seeds::new()),
            outside: Vec::new(),
            wanted: Vec::new(),
            waiting: false,
            special: HashMap::with_hasher(Seeds::new()),
            loose_ends: Vec::new(),
            borders: Vec::new(),
            bases: Cache::new(),
            outside_bases: Cache::new(),
            base_bytes_left: context.limits.base_bytes,
            unpacked_bytes_left: context.limits.unpacked_bytes,
        }
    }

    /// Makes objects of some entries.
    pub fn take(&mut self, batch: &mut Batch) -> Result<(), Error> {
        self.context.check_stop()?;
        for item in batch.items.drain(..) {
            self.take_item(item)?;
        }
        Ok(())
    }

    fn take_item(&mut self, item: Item) -> Result<(), Error> {
        let at = u32::try_from(self.entries.len()).map_err(|_| Error::Unreadable)?;
        self.entries.push(Entry {
            offset: item.offset,
            crc32: item.crc32,
            kind: None,
            from: From::Whole,
            id: self.context.hash.null(),
        });
        let (base, delta) = match item.what {
            What::Object(kind, data, id) => {
                let id = id.map_or_else(|| id_of_object(self.context.hash, kind, &data), Ok)?;
                self.meet(at, kind, &data, id)?;
                self.bases.insert(at, data);
                return Ok(());
            }
            What::Large(id, bytes) => {
                self.count_unpacked(bytes)?;
                self.know(at, Kind::Blob, id)?;
                return Ok(());
            }
            What::Delta(base, delta) => (base, delta),
        };
        let from = self.find_base(&base, at)?;
        self.entries[at as usize].from = from;
        let limit = self.context.limits.object_bytes;
        let made = match from {
            From::Entry(base) => {
                let kind = self.entries[base as usize].kind;
                let found = kind.zip(self.bases.get(base));
                found.map(|(kind, base)| (kind, delta::apply(base, &delta, limit)))
            }
            From::Outside(base) => {
                let id = self.outside[base as usize];
                let kind = kind_of_bit(self.names.get(&id).map_or(0, |seen| seen.there));
                // One that is too large for the cache waits.
                let found = kind.zip(self.outside_bases.get(id));
                found.map(|(kind, base)| (kind, delta::apply(base, &delta, limit)))
            }
            From::Wanted(_) | From::Whole => None,
        };
        let Some((kind, made)) = made else {
            self.waiting = true;
            return Ok(());
        };
        let data = made.ok_or_else(|| self.context.damaged("a delta does not fit its base"))?;
        self.make(at, kind, &data)?;
        self.bases.insert(at, data);
        Ok(())
    }

    fn find_base(&mut self, base: &Base, at: u32) -> Result<From, Error> {
        let id = match *base {
            Base::At(offset) => {
                let before = &self.entries[..at as usize];
                let found = before.binary_search_by_key(&offset, |entry| entry.offset);
                let found = found.ok().and_then(|found| u32::try_from(found).ok());
                return found
                    .map(From::Entry)
                    .ok_or_else(|| self.context.damaged("a delta's base is no entry"));
            }
            Base::Id(id) => id,
        };
        if let Some(seen) = self.names.get(&id)
            && seen.entry != NONE
        {
            return Ok(From::Entry(seen.entry));
        }
        // Those of one object mostly follow each other.
        let again = |list: &[ObjectId]| list.last() == Some(&id);
        if again(&self.wanted) {
            return place(&self.wanted).map(From::Wanted);
        }
        if !again(&self.outside) {
            if self.outside_bases.get(id).is_none() {
                let Some((_, data)) = self.read_outside(id)? else {
                    self.wanted.push(id);
                    return place(&self.wanted).map(From::Wanted);
                };
                self.outside_bases.insert(id, data);
            }
            self.outside.push(id);
        }
        place(&self.outside).map(From::Outside)
    }

    /// Reads a base from the repository.
    pub fn outside_data(&mut self, id: ObjectId) -> Result<(Kind, Vec<u8>), Error> {
        let found = self.read_outside(id)?;
        found.ok_or_else(|| self.context.damaged("a delta's base is missing"))
    }

    fn read_outside(&mut self, id: ObjectId) -> Result<Option<(Kind, Vec<u8>)>, Error> {
        let Some((kind, data)) = self.known.read(&id)? else {
            return Ok(None);
        };
        let limit_bytes = self.context.limits.base_bytes;
        self.base_bytes_left = self
            .base_bytes_left
            .checked_sub(data.len() as u64)
            .ok_or(Error::BaseBytes { limit_bytes })?;
        self.names.entry(id).or_insert(UNSEEN).there |= bit(kind);
        if kind == Kind::Tree {
            self.trust(&data);
        }
        Ok(Some((kind, data)))
    }

    /// What a tree of the repository names is there.
    fn trust(&mut self, data: &[u8]) {
        let names = &mut self.names;
        // An old tree that is no tree any more to today's rules vouches for nothing.
        let _ = tree::check::<()>(data, self.context.hash, |entry| {
            if let Some(kind) = entry.kind {
                names.entry(entry.id).or_insert(UNSEEN).there |= bit(kind);
            }
            Ok(())
        });
    }

    fn count_unpacked(&mut self, bytes: usize) -> Result<(), Error> {
        let limit_bytes = self.context.limits.unpacked_bytes;
        self.unpacked_bytes_left = self
            .unpacked_bytes_left
            .checked_sub(bytes as u64)
            .ok_or(Error::UnpackedBytes { limit_bytes })?;
        Ok(())
    }

    /// What an entry is made of, as far as is known by now.
    pub fn base_of(&mut self, at: u32) -> From {
        let from = &mut self.entries[at as usize].from;
        if let From::Wanted(id) = *from
            && let Some(seen) = self.names.get(&self.wanted[id as usize])
            && seen.entry != NONE
        {
            *from = From::Entry(seen.entry);
        }
        *from
    }

    /// Gives an object its id and checks it.
    pub fn make(&mut self, at: u32, kind: Kind, data: &[u8]) -> Result<ObjectId, Error> {
        let id = id_of_object(self.context.hash, kind, data)?;
        self.meet(at, kind, data, id)?;
        Ok(id)
    }

    /// Checks an object whose id is known.
    fn meet(&mut self, at: u32, kind: Kind, data: &[u8], id: ObjectId) -> Result<(), Error> {
        self.count_unpacked(data.len())?;
        self.know(at, kind, id)?;
        self.check(at, kind, data, id)
    }

    fn know(&mut self, at: u32, kind: Kind, id: ObjectId) -> Result<(), Error> {
        let entry = &mut self.entries[at as usize];
        entry.kind = Some(kind);
        entry.id = id;
        let seen = self.names.entry(id).or_insert(UNSEEN);
        if seen.entry != NONE {
            return Err(Error::Object {
                kind,
                id,
                reason: "it is in the pack twice".to_owned(),
            });
        }
        seen.entry = at;
        Ok(())
    }

    fn check(&mut self, at: u32, kind: Kind, data: &[u8], id: ObjectId) -> Result<(), Error> {
        let malformed = |reason: String| Error::Object { kind, id, reason };
        let name = |names: &mut Names, id: ObjectId, kind: Kind| {
            let seen = names.entry(id).or_insert(UNSEEN);
            seen.named |= bit(kind);
            seen.by = at;
        };
        match kind {
            Kind::Blob => {}
            Kind::Tree => {
                let (names, special) = (&mut self.names, &mut self.special);
                tree::check::<()>(data, self.context.hash, |entry| {
                    if let Some(kind) = entry.kind {
                        name(names, entry.id, kind);
                        if let Some(of) = Special::of(entry.name) {
                            special.entry((entry.id, of)).or_insert(false);
                        }
                    }
                    Ok(())
                })
                .map_err(|error| match error {
                    tree::Error::Form(reason) => malformed(reason),
                    tree::Error::Entry(()) => Error::Unreadable,
                })?;
            }
            Kind::Commit => {
                let commit =
                    fsck::commit(data, id.kind()).map_err(|reason| malformed(reason.to_owned()))?;
                name(&mut self.names, commit.tree, Kind::Tree);
                if self.context.shallow.contains(&id) {
                    self.loose_ends.push((id, commit.parents));
                } else {
                    for parent in commit.parents {
                        name(&mut self.names, parent, Kind::Commit);
                    }
                }
            }
            Kind::Tag => {
                let tag =
                    fsck::tag(data, id.kind()).map_err(|reason| malformed(reason.to_owned()))?;
                name(&mut self.names, tag.target, tag.kind);
            }
        }
        self.check_special(id, kind, data)
    }

    /// Looks into a file that git itself reads, if that is known of it by now.
    pub fn check_special(&mut self, id: ObjectId, kind: Kind, data: &[u8]) -> Result<(), Error> {
        if self.special.is_empty() {
            return Ok(());
        }
        for of in Special::ALL {
            if let Some(seen) = self.special.get_mut(&(id, of)) {
                let checked = if kind == Kind::Blob {
                    of.check(data)
                } else {
                    Err("it stands where git reads a file".to_owned())
                };
                checked.map_err(|reason| Error::Object { kind, id, reason })?;
                *seen = true;
            }
        }
        Ok(())
    }

    /// Makes what waited, completes the pack, and looks for all that is named.
    pub fn finish(&mut self, spool: &mut Spool) -> Result<(), Error> {
        self.bases.clear();
        families::finish(self, spool)?;
        self.outside_bases.clear();
        self.complete(spool)?;
        self.check_names()?;
        self.check_loose_ends()
    }

    /// Appends the bases that only the repository has, so that the pack stands by itself.
    fn complete(&mut self, spool: &mut Spool) -> Result<(), Error> {
        let mut bases = std::mem::take(&mut self.outside);
        bases.sort_unstable();
        bases.dedup();
        // What came later in the pack after all needs no second place.
        bases.retain(|id| self.names.get(id).is_none_or(|seen| seen.entry == NONE));
        for id in &bases {
            self.context.check_stop()?;
            let found = self.known.read(id)?;
            let (kind, data) = found.ok_or(Error::Unreadable)?;
            let offset = spool.len();
            let crc32 = spool.append(kind, &data)?;
            self.entries.push(Entry {
                offset,
                crc32,
                kind: Some(kind),
                from: From::Whole,
                id: *id,
            });
        }
        if !bases.is_empty() {
            let count = u32::try_from(self.entries.len()).map_err(|_| Error::Unreadable)?;
            spool.recount(count)?;
        }
        spool.close()
    }

    /// Requires that what the objects name is there and is what it is named as.
    fn check_names(&mut self) -> Result<(), Error> {
        for (id, seen) in &self.names {
            let id = *id;
            let kind = if seen.entry != NONE {
                self.entries[seen.entry as usize].kind
            } else if seen.named & !seen.there == 0 {
                continue;
            } else {
                self.context.check_stop()?;
                // Git has the empty tree without storing it.
                let empty = id.is_empty_tree() && seen.named == bit(Kind::Tree);
                if empty {
                    Some(Kind::Tree)
                } else {
                    self.known.kind_of(&id)?
                }
            };
            let Some(kind) = kind else {
                let by = self.entries.get(seen.by as usize).map(|entry| entry.id);
                let by = by.unwrap_or(id);
                return Err(Error::Missing { id, by });
            };
            if seen.named & !bit(kind) != 0 {
                return Err(Error::WrongKind { id, kind });
            }
        }
        Ok(())
    }

    /// Finds out which of the commits where the client's history may end are borders to us, too.
    fn check_loose_ends(&mut self) -> Result<(), Error> {
        for (id, parents) in std::mem::take(&mut self.loose_ends) {
            for parent in parents {
                let entry = self.names.get(&parent).map_or(NONE, |seen| seen.entry);
                let kind = match self.entries.get(entry as usize) {
                    Some(entry) => entry.kind,
                    None => self.known.kind_of(&parent)?,
                };
                match kind {
                    Some(Kind::Commit) => {}
                    Some(kind) => return Err(Error::WrongKind { id: parent, kind }),
                    None => {
                        self.borders.push(id);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// What an object of the pack is; `None` where it is not in it.
    pub fn kind_of(&self, id: &ObjectId) -> Option<Kind> {
        let seen = self.names.get(id)?;
        self.entries.get(seen.entry as usize)?.kind
    }

    /// The entries by id, and the borders.
    pub fn into_parts(mut self) -> (Vec<Entry>, Vec<ObjectId>) {
        self.entries.sort_unstable_by_key(|entry| entry.id);
        (self.entries, self.borders)
    }
}

/// The place of the last of a list.
fn place(list: &[ObjectId]) -> Result<u32, Error> {
    u32::try_from(list.len() - 1).map_err(|_| Error::Unreadable)
}
