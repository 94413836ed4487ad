//! The entries of a pack in the order in which they arrive: read, kept, unpacked.
//!
//! Guaranteed: each byte of the stream is read once and belongs to the pack, and each entry unpacks
//! to exactly as many bytes as it says, within the limits; the pack's checksum is right; nothing
//! follows it.

use std::io::{self, BufRead};

use gix::ObjectId;
use gix::objs::Kind;
use libdeflater::Crc;
use sirocco::Format;
use sirocco::inflate::Decoder;

use super::super::Error;
use super::super::request::read_error;
use super::{Context, Spool};

/// Unpacked bytes, and entries, that are handed on at once.
const BATCH_BYTES: usize = 128 << 10;
const BATCH_ITEMS: usize = 256;

/// Files of more bytes are never in memory at once, unless others build on them.
const LARGE_BYTES: usize = 1 << 20;

/// Memory that is taken for an object before any of it is there.
const FIRST_BYTES: usize = 1 << 20;

/// Bytes of a large file in memory.
const PIECE_BYTES: usize = 64 << 10;

/// One entry of the pack.
pub(super) struct Item {
    pub offset: u64,
    pub crc32: u32,
    pub what: What,
}

pub(super) enum What {
    /// A whole object, and its id if somebody has had time for it.
    Object(Kind, Vec<u8>, Option<ObjectId>),
    /// A large file, whose bytes are gone again.
    Large(ObjectId, usize),
    /// A delta, and what it builds on.
    Delta(Base, Vec<u8>),
}

pub(super) enum Base {
    /// The entry at an offset of this pack.
    At(u64),
    /// An object of this pack or of the repository.
    Id(ObjectId),
}

/// Some entries.
#[derive(Default)]
pub(super) struct Batch {
    pub items: Vec<Item>,
    bytes: usize,
}

impl Batch {
    /// Gives its whole objects their ids.
    pub fn hash(&mut self, hash: gix::hash::Kind) -> Result<(), Error> {
        for item in &mut self.items {
            if let What::Object(kind, data, id) = &mut item.what {
                *id = Some(id_of_object(hash, *kind, data)?);
            }
        }
        Ok(())
    }
}

/// A stream of entries.
pub(super) struct Entries<'a> {
    context: &'a Context<'a>,
    stream: Stream<'a>,
    decoder: Decoder,
    /// How many the pack says that it has.
    pub count: u32,
    read: u32,
}

impl<'a> Entries<'a> {
    /// Reads the pack's header.
    pub fn begin(reader: &'a mut dyn BufRead, context: &'a Context<'a>) -> Result<Self, Error> {
        let mut stream = Stream {
            reader,
            used: 0,
            left: context.limits.pack_bytes,
            limit_bytes: context.limits.pack_bytes,
            chunk: 0,
            spool: Spool::new(context.dir, context.hash),
            crc: Crc::new(),
        };
        let mut header = [0; 12];
        for byte in &mut header {
            *byte = stream.byte()?;
        }
        let [b'P', b'A', b'C', b'K', 0, 0, 0, 2, a, b, c, d] = header else {
            return Err(Error::NotAPack);
        };
        let (count, limit) = (u32::from_be_bytes([a, b, c, d]), context.limits.objects);
        if count > limit {
            return Err(Error::Objects { got: count, limit });
        }
        Ok(Self {
            context,
            stream,
            decoder: Decoder::new(Format::Zlib),
            count,
            read: 0,
        })
    }

    /// The hash function of the ids.
    pub fn hash(&self) -> gix::hash::Kind {
        self.context.hash
    }

    /// Reads the next entries in place of those in `batch`; says whether there were any.
    pub fn fill(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.items.clear();
        batch.bytes = 0;
        self.context.check_stop()?;
        while self.read < self.count && batch.items.len() < BATCH_ITEMS && batch.bytes < BATCH_BYTES
        {
            let item = self.entry()?;
            self.read += 1;
            batch.bytes += match &item.what {
                What::Object(_, data, _) | What::Delta(_, data) => data.len(),
                What::Large(..) => 0,
            };
            batch.items.push(item);
        }
        Ok(!batch.items.is_empty())
    }

    /// Reads the pack's end; gives its bytes without the checksum.
    pub fn end(self) -> Result<Spool, Error> {
        let Self {
            mut stream, count, ..
        } = self;
        stream.keep()?;
        let mut trailer = vec![0; self.context.hash.len_in_bytes()];
        for byte in &mut trailer {
            *byte = stream.byte_unkept()?;
        }
        if !stream.spool.seal(&trailer) {
            return Err(if count == 0 {
                Error::NotAPack
            } else {
                self.context.damaged("its checksum is another")
            });
        }
        stream.require_end()?;
        Ok(stream.spool)
    }

    fn entry(&mut self) -> Result<Item, Error> {
        let offset = self.stream.offset();
        self.stream.crc = Crc::new();
        let damaged = |reason| self.context.damaged(reason);
        let mut byte = self.stream.byte()?;
        let code = (byte >> 4) & 7;
        let mut size = u64::from(byte & 0xf);
        let mut shift = 4;
        while byte & 0x80 != 0 {
            byte = self.stream.byte()?;
            if shift > 53 {
                return Err(damaged("an entry's length is no number"));
            }
            size |= u64::from(byte & 0x7f) << shift;
            shift += 7;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > self.context.limits.object_bytes {
            return Err(damaged("an object is over the limit"));
        }
        let kind = match code {
            1 => Kind::Commit,
            2 => Kind::Tree,
            3 => Kind::Blob,
            4 => Kind::Tag,
            6 | 7 => {
                let base = self.base(code == 6, offset)?;
                let delta = self.inflate(size)?;
                let what = What::Delta(base, delta);
                return Ok(self.item(offset, what));
            }
            _ => return Err(damaged("an entry is of no kind")),
        };
        let what = if kind == Kind::Blob && size > LARGE_BYTES {
            What::Large(self.large(size)?, size)
        } else {
            What::Object(kind, self.inflate(size)?, None)
        };
        Ok(self.item(offset, what))
    }

    fn item(&self, offset: u64, what: What) -> Item {
        Item {
            offset,
            crc32: self.stream.crc.sum(),
            what,
        }
    }

    fn base(&mut self, by_offset: bool, offset: u64) -> Result<Base, Error> {
        if !by_offset {
            let mut id = vec![0; self.context.hash.len_in_bytes()];
            for byte in &mut id {
                *byte = self.stream.byte()?;
            }
            let id = ObjectId::try_from(&id[..]);
            return Ok(Base::Id(id.map_err(|_| Error::Unreadable)?));
        }
        let mut byte = self.stream.byte()?;
        let mut distance = u64::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.stream.byte()?;
            distance = distance
                .checked_add(1)
                .and_then(|distance| distance.checked_mul(128))
                .ok_or_else(|| self.context.damaged("a delta's base is nowhere"))?
                | u64::from(byte & 0x7f);
        }
        let base = offset.checked_sub(distance);
        base.filter(|base| *base < offset)
            .map(Base::At)
            .ok_or_else(|| self.context.damaged("a delta's base is nowhere"))
    }

    /// Unpacks an entry into memory.
    fn inflate(&mut self, size: usize) -> Result<Vec<u8>, Error> {
        let mut data = vec![0; size.min(FIRST_BYTES)];
        loop {
            let step = self.step(&mut data, |_| {})?;
            if step.done {
                self.check_length(size)?;
                return Ok(data);
            }
            if step.full && data.len() < size {
                let more = data.len().min(size - data.len());
                data.resize(data.len() + more, 0);
            }
        }
    }

    /// Unpacks a file piece by piece and gives its id.
    fn large(&mut self, size: usize) -> Result<ObjectId, Error> {
        let mut hasher = gix::hash::hasher(self.context.hash);
        hasher.update(&gix::objs::encode::loose_header(Kind::Blob, size as u64));
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            self.context.check_stop()?;
            let step = self.step(&mut piece, |output| hasher.update(output))?;
            if self.decoder.total_out() > size as u64 {
                return Err(self.context.damaged("an entry is of another length"));
            }
            if step.done {
                self.check_length(size)?;
                return id_of(hasher);
            }
            if step.full {
                self.decoder.make_room(&mut piece);
            }
        }
    }

    fn check_length(&self, size: usize) -> Result<(), Error> {
        if self.decoder.total_out() != size as u64 {
            return Err(self.context.damaged("an entry is of another length"));
        }
        Ok(())
    }

    /// Unpacks what there is, as far as it fits, and shows it.
    fn step(&mut self, data: &mut [u8], mut show: impl FnMut(&[u8])) -> Result<Step, Error> {
        let input = self.stream.rest()?;
        let Ok(progress) = self.decoder.decompress(input, data, false) else {
            return Err(self.context.damaged("an entry cannot be unpacked"));
        };
        show(progress.output);
        let (done, full) = (progress.done, progress.full);
        let consumed = progress.consumed;
        self.stream.take(consumed)?;
        Ok(Step { done, full })
    }
}

/// How unpacking goes on: the entry is at its end, or there may be no place for more of it.
struct Step {
    done: bool,
    full: bool,
}

/// The id of an object.
///
/// # Errors
/// The bytes were made to have the same SHA-1 as others.
pub(in super::super) fn id_of_object(
    hash: gix::hash::Kind,
    kind: Kind,
    data: &[u8],
) -> Result<ObjectId, Error> {
    let mut hasher = gix::hash::hasher(hash);
    hasher.update(&gix::objs::encode::loose_header(kind, data.len() as u64));
    hasher.update(data);
    id_of(hasher)
}

pub(in super::super) fn id_of(hasher: gix::hash::Hasher) -> Result<ObjectId, Error> {
    hasher.try_finalize().map_err(|_| Error::Collision)
}

/// The bytes of the push. What was used of a chunk is kept when the next one is wanted.
struct Stream<'a> {
    reader: &'a mut dyn BufRead,
    /// Bytes of the reader's present chunk that are used.
    used: usize,
    /// Bytes of it that the limit knows.
    chunk: usize,
    left: u64,
    limit_bytes: u64,
    spool: Spool,
    /// Of the present entry.
    crc: Crc,
}

impl Stream<'_> {
    fn offset(&self) -> u64 {
        self.spool.len() + self.used as u64
    }

    /// Keeps what was used.
    fn keep(&mut self) -> Result<(), Error> {
        if self.used > 0 {
            let chunk = self.reader.fill_buf().map_err(read_error)?;
            let chunk = chunk.get(..self.used).ok_or(Error::Unreadable)?;
            self.spool.write(chunk)?;
            self.consume();
        }
        Ok(())
    }

    /// Lets go of what was used.
    fn consume(&mut self) {
        self.reader.consume(self.used);
        self.chunk -= self.used;
        self.used = 0;
    }

    /// Sees to it that there is a byte; says whether there is.
    fn more(&mut self, keep: bool) -> Result<bool, Error> {
        loop {
            let length = match self.reader.fill_buf() {
                Ok(chunk) => chunk.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(error)),
            };
            let new = length.saturating_sub(self.chunk) as u64;
            let limit_bytes = self.limit_bytes;
            self.left = (self.left.checked_sub(new)).ok_or(Error::PackBytes { limit_bytes })?;
            self.chunk = length;
            if self.used < length {
                return Ok(true);
            }
            if length == 0 {
                return Ok(false);
            }
            if keep {
                self.keep()?;
            } else {
                self.consume();
            }
        }
    }

    /// What is there and not used, at least a byte.
    fn rest(&mut self) -> Result<&[u8], Error> {
        if !self.more(true)? {
            return Err(Error::Cut);
        }
        let chunk = self.reader.fill_buf().map_err(read_error)?;
        chunk.get(self.used..).ok_or(Error::Unreadable)
    }

    /// Uses some bytes of an entry.
    fn take(&mut self, count: usize) -> Result<(), Error> {
        let chunk = self.reader.fill_buf().map_err(read_error)?;
        let taken = chunk.get(self.used..).and_then(|rest| rest.get(..count));
        self.crc.update(taken.ok_or(Error::Unreadable)?);
        self.used += count;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let byte = *self.rest()?.first().ok_or(Error::Unreadable)?;
        self.crc.update(&[byte]);
        self.used += 1;
        Ok(byte)
    }

    /// A byte behind the last entry.
    fn byte_unkept(&mut self) -> Result<u8, Error> {
        if !self.more(false)? {
            return Err(Error::Cut);
        }
        let chunk = self.reader.fill_buf().map_err(read_error)?;
        let byte = *chunk.get(self.used).ok_or(Error::Unreadable)?;
        self.used += 1;
        Ok(byte)
    }

    fn require_end(&mut self) -> Result<(), Error> {
        if self.more(false)? {
            return Err(Error::Junk);
        }
        Ok(())
    }
}

/// Requires that nothing follows the commands, as where they only delete.
pub(in super::super) fn require_no_pack(reader: &mut dyn BufRead) -> Result<(), Error> {
    match reader.fill_buf().map_err(read_error)? {
        [] => Ok(()),
        _ => Err(Error::Junk),
    }
}
