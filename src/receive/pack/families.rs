//! What could not be made when it arrived: deltas whose base was not at hand any more or came
//! later, and files that turned out to be special after they had passed.
//!
//! Each entry on the way from a whole object to one that is wanted is made once, from the base
//! that was made just before. What waits for its turn is in memory, and in a file where it is too
//! much.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use gix::ObjectId;
use gix::objs::Kind;
use sirocco::Format;
use sirocco::inflate::Decoder;

use super::super::{Error, io_error};
use super::names::NONE;
use super::objects::{From, Objects};
use super::{Spool, delta};

/// Bytes of made objects that wait in memory.
const WAITING_BYTES: usize = 8 << 20;

/// Makes all that is wanted.
pub(super) fn finish(objects: &mut Objects<'_>, spool: &Spool) -> Result<(), Error> {
    loop {
        let special = unseen_specials(objects)?;
        if special.is_empty() && !objects.waiting {
            return Ok(());
        }
        let mut families = Families::of(objects, special);
        let mut stack = Stack::default();
        for at in std::mem::take(&mut families.roots) {
            families.make_all(at, objects, spool, &mut stack)?;
        }
        // What was found nowhere in the pack is in the repository, or missing.
        while let Some(id) = families.by_id.keys().next().copied() {
            let place = u32::try_from(objects.outside.len()).map_err(|_| Error::Unreadable)?;
            objects.outside.push(id);
            for at in families.by_id.remove(&id).unwrap_or_default() {
                objects.entries[at as usize].from = From::Outside(place);
                families.make_all(at, objects, spool, &mut stack)?;
            }
        }
        if objects.entries.iter().any(|entry| entry.kind.is_none()) {
            return Err(objects.context.damaged("a delta's base is missing"));
        }
        // Trees among them may have named further special files.
        objects.waiting = false;
    }
}

/// The entries that are special files and were not looked at; those of the repository are looked
/// at here.
fn unseen_specials(objects: &mut Objects<'_>) -> Result<HashSet<u32>, Error> {
    let unseen = objects.special.iter().filter(|(_, seen)| !**seen);
    let unseen = unseen.map(|((id, _), _)| *id).collect::<Vec<_>>();
    let mut entries = HashSet::new();
    for id in unseen {
        let entry = objects.names.get(&id).map_or(NONE, |seen| seen.entry);
        if entry != NONE {
            let kind = objects.entries[entry as usize].kind;
            if let Some(kind) = kind.filter(|kind| *kind != Kind::Blob) {
                objects.check_special(id, kind, &[])?;
            }
            entries.insert(entry);
        } else if let Some((kind, data)) = objects.known.read(&id)? {
            // One that is missing, or no file, is found out by its name.
            objects.check_special(id, kind, &data)?;
        }
    }
    Ok(entries)
}

/// The entries that have to be made, again or at last.
struct Families {
    special: HashSet<u32>,
    roots: Vec<u32>,
    /// Of each entry those that are made of it.
    children: HashMap<u32, Vec<u32>>,
    /// Those whose base is known by its id alone.
    by_id: HashMap<ObjectId, Vec<u32>>,
    /// The base in the repository that was read last.
    outside: Option<(ObjectId, Kind, Vec<u8>)>,
    decoder: Decoder,
    packed: Vec<u8>,
}

impl Families {
    fn of(objects: &mut Objects<'_>, special: HashSet<u32>) -> Self {
        let mut families = Self {
            roots: Vec::new(),
            children: HashMap::new(),
            by_id: HashMap::new(),
            outside: None,
            decoder: Decoder::new(Format::Zlib),
            packed: Vec::new(),
            special,
        };
        let mut needed = vec![false; objects.entries.len()];
        for first in 0..u32::try_from(needed.len()).unwrap_or(NONE) {
            let made = objects.entries[first as usize].kind.is_some();
            if made && !families.special.contains(&first) {
                continue;
            }
            let mut at = first;
            while !std::mem::replace(&mut needed[at as usize], true) {
                match objects.base_of(at) {
                    From::Entry(base) => {
                        families.children.entry(base).or_default().push(at);
                        at = base;
                    }
                    From::Whole | From::Outside(_) => families.roots.push(at),
                    From::Wanted(id) => {
                        let id = objects.wanted[id as usize];
                        families.by_id.entry(id).or_default().push(at);
                    }
                }
            }
        }
        families
    }

    /// Makes an entry that needs no other one, and its family.
    fn make_all(
        &mut self,
        at: u32,
        objects: &mut Objects<'_>,
        spool: &Spool,
        stack: &mut Stack,
    ) -> Result<(), Error> {
        let entry = objects.entries[at as usize];
        if let From::Outside(place) = entry.from {
            let id = objects.outside[place as usize];
            let last = self.outside.take().filter(|(last, ..)| *last == id);
            let (kind, data) = match last {
                Some((_, kind, data)) => (kind, data),
                None => objects.outside_data(id)?,
            };
            self.make(at, kind, &data, objects, spool, stack)?;
            self.outside = Some((id, kind, data));
        } else {
            let kind = entry.kind.ok_or(Error::Unreadable)?;
            let data = self.unpack(at, objects, spool)?;
            self.look(at, kind, &data, objects)?;
            stack.push(at, kind, data, spool)?;
        }
        self.make_rest(objects, spool, stack)
    }

    /// Makes what builds on what waits, and so on.
    fn make_rest(
        &mut self,
        objects: &mut Objects<'_>,
        spool: &Spool,
        stack: &mut Stack,
    ) -> Result<(), Error> {
        while let Some((at, kind, data)) = stack.pop(spool)? {
            for child in self.children.remove(&at).unwrap_or_default() {
                self.make(child, kind, &data, objects, spool, stack)?;
            }
        }
        Ok(())
    }

    fn make(
        &mut self,
        at: u32,
        kind: Kind,
        base: &[u8],
        objects: &mut Objects<'_>,
        spool: &Spool,
        stack: &mut Stack,
    ) -> Result<(), Error> {
        objects.context.check_stop()?;
        let delta = self.unpack(at, objects, spool)?;
        let limit = objects.context.limits.object_bytes;
        let data = delta::apply(base, &delta, limit);
        let data = data.ok_or_else(|| objects.context.damaged("a delta does not fit its base"))?;
        if objects.entries[at as usize].kind.is_none() {
            let id = objects.make(at, kind, &data)?;
            if let Some(waiting) = self.by_id.remove(&id) {
                self.children.entry(at).or_default().extend(waiting);
            }
        }
        self.look(at, kind, &data, objects)?;
        if self.children.contains_key(&at) {
            stack.push(at, kind, data, spool)?;
        }
        Ok(())
    }

    fn look(
        &self,
        at: u32,
        kind: Kind,
        data: &[u8],
        objects: &mut Objects<'_>,
    ) -> Result<(), Error> {
        if self.special.contains(&at) {
            let id = objects.entries[at as usize].id;
            objects.check_special(id, kind, data)?;
        }
        Ok(())
    }

    /// Unpacks an entry once more.
    fn unpack(&mut self, at: u32, objects: &Objects<'_>, spool: &Spool) -> Result<Vec<u8>, Error> {
        let entries = &objects.entries;
        let offset = entries[at as usize].offset;
        let next = entries.get(at as usize + 1);
        let end = next.map_or(spool.len(), |next| next.offset);
        let length = usize::try_from(end - offset).map_err(|_| Error::Unreadable)?;
        spool.read(offset, length, &mut self.packed)?;
        let hash = objects.context.hash;
        let (size, body) =
            skip_header(&self.packed, hash.len_in_bytes()).ok_or(Error::Unreadable)?;
        let mut data = vec![0; size];
        match self.decoder.decompress(body, &mut data, true) {
            Ok(progress) if progress.done && progress.output.len() == size => Ok(data),
            _ => Err(objects.context.damaged("an entry cannot be unpacked")),
        }
    }
}

/// An entry's length unpacked, and its packed bytes; the entry was read once before.
fn skip_header(entry: &[u8], id_bytes: usize) -> Option<(usize, &[u8])> {
    let (&first, mut rest) = entry.split_first()?;
    let mut size = usize::from(first & 0xf);
    let (mut byte, mut shift) = (first, 4);
    while byte & 0x80 != 0 {
        (byte, rest) = rest.split_first().map(|(byte, rest)| (*byte, rest))?;
        size |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
    }
    match (first >> 4) & 7 {
        6 => {
            let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
            Some((size, &rest[end + 1..]))
        }
        7 => Some((size, rest.get(id_bytes..)?)),
        _ => Some((size, rest)),
    }
}

/// Made objects on which others build, last in, first out; the first in are in a file where there
/// are too many.
#[derive(Default)]
struct Stack {
    waiting: Vec<(u32, Kind, Place)>,
    /// How many of them are in the file.
    filed: usize,
    memory_bytes: usize,
    file: Option<File>,
    file_bytes: u64,
}

enum Place {
    Memory(Vec<u8>),
    File(usize),
}

impl Stack {
    fn push(&mut self, at: u32, kind: Kind, data: Vec<u8>, spool: &Spool) -> Result<(), Error> {
        self.memory_bytes += data.len();
        self.waiting.push((at, kind, Place::Memory(data)));
        // The last one is wanted next.
        while self.memory_bytes > WAITING_BYTES && self.filed + 1 < self.waiting.len() {
            let (.., place) = &mut self.waiting[self.filed];
            let Place::Memory(data) = place else {
                return Err(Error::Unreadable);
            };
            let file = if let Some(file) = &self.file {
                file
            } else {
                let file = tempfile::tempfile_in(spool.objects_dir());
                let file = file.map_err(io_error("making a file in", spool.objects_dir()))?;
                self.file.insert(file)
            };
            file.write_all_at(data, self.file_bytes)
                .map_err(io_error("writing a file in", spool.objects_dir()))?;
            let bytes = data.len();
            self.memory_bytes -= bytes;
            self.file_bytes += bytes as u64;
            self.filed += 1;
            *place = Place::File(bytes);
        }
        Ok(())
    }

    fn pop(&mut self, spool: &Spool) -> Result<Option<(u32, Kind, Vec<u8>)>, Error> {
        let Some((at, kind, place)) = self.waiting.pop() else {
            return Ok(None);
        };
        let data = match place {
            Place::Memory(data) => {
                self.memory_bytes -= data.len();
                data
            }
            Place::File(bytes) => {
                let file = self.file.as_ref().ok_or(Error::Unreadable)?;
                let mut data = vec![0; bytes];
                self.file_bytes -= bytes as u64;
                self.filed -= 1;
                file.read_exact_at(&mut data, self.file_bytes)
                    .map_err(io_error("reading a file in", spool.objects_dir()))?;
                data
            }
        };
        Ok(Some((at, kind, data)))
    }
}
