//! The pack of a push, from the connection into a directory, with an index beside it.

use std::cell::Cell;
use std::io::{BufRead, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gix::hash::Kind;
use gix::progress::Discard;
use gix_pack::bundle::write::Options;

use super::request::read_error;
use super::stream::Exact;
use super::{Error, Limits, io_error};

/// Packs of fewer objects are taken in by the caller's thread alone.
const FEW_OBJECTS: u64 = 1_000;

/// Writes the pack and its index into `pack_dir`, bases of a thin pack from `bases` included.
///
/// `None` where the pack has no object. Each object's checksum is made from its bytes; nothing
/// else is known of it yet.
///
/// # Errors
/// The caller's fault: no pack, a damaged one, junk behind it, over a limit; or the machine's.
pub(super) fn ingest(
    reader: &mut dyn BufRead,
    pack_dir: &Path,
    bases: gix::odb::HandleArc,
    hash: Kind,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<Option<PathBuf>, Error> {
    let mut stream = Exact::new(reader, hash, limits.pack_bytes);
    let header = read_header(&mut stream, limits)?;
    if header.objects == 0 {
        check_empty(&mut stream, &header.bytes, hash)?;
        return Ok(None);
    }
    let bases = Bases {
        odb: bases,
        left_bytes: Cell::new(limits.base_bytes),
        used_up: Cell::new(false),
    };
    let options = Options {
        thread_limit: threads(u64::from(header.objects)),
        alloc_limit_bytes: Some(limits.object_bytes),
        ..Options::default()
    };
    let mut pack = header.bytes.chain(&mut stream);
    // The unpacking code has expectations of its input that hostile input may break.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let dir = Some(pack_dir);
        gix_pack::Bundle::write_to_directory(
            &mut pack,
            dir,
            &mut Discard,
            stop,
            Some(&bases),
            hash,
            options,
        )
    }))
    .unwrap_or_else(|_| Err(gix::Error::from_error(Error::Unreadable)));
    let outcome = outcome.map_err(|source| {
        if stop.load(Ordering::Relaxed) {
            return Error::Stopped;
        }
        if bases.used_up.get() {
            let limit_bytes = limits.base_bytes;
            return Error::BaseBytes { limit_bytes };
        }
        let limit_bytes = limits.object_bytes;
        let pack = Error::Pack {
            limit_bytes,
            source,
        };
        stream.trouble().unwrap_or(pack)
    })?;
    stream.require_end()?;
    if let Some(keep) = outcome.keep_path {
        std::fs::remove_file(&keep).map_err(io_error("removing", &keep))?;
    }
    Ok(outcome.index_path)
}

/// How many threads are worth their start for so many objects; `None` is one a core.
pub(super) fn threads(objects: u64) -> Option<usize> {
    (objects < FEW_OBJECTS).then_some(1)
}

struct Header {
    bytes: std::io::Cursor<[u8; 12]>,
    objects: u32,
}

/// Reads the pack's first bytes, since the unpacking code has no limit on the number of objects.
///
/// Source: gitformat-pack(5).
fn read_header(stream: &mut Exact<'_>, limits: &Limits) -> Result<Header, Error> {
    let mut bytes = [0; 12];
    stream
        .read_exact(&mut bytes)
        .map_err(|error| stream.trouble().unwrap_or_else(|| read_error(error)))?;
    let (version, objects) = gix_pack::data::header::decode(&bytes).map_err(|_| Error::NotAPack)?;
    if version != gix_pack::data::Version::V2 {
        return Err(Error::NotAPack);
    }
    if objects > limits.objects {
        return Err(Error::Objects {
            got: objects,
            limit: limits.objects,
        });
    }
    Ok(Header {
        bytes: std::io::Cursor::new(bytes),
        objects,
    })
}

/// Checks a pack of no objects: clients send one where the server has all that a ref needs.
fn check_empty(
    stream: &mut Exact<'_>,
    header: &std::io::Cursor<[u8; 12]>,
    hash: Kind,
) -> Result<(), Error> {
    let mut trailer = vec![0; hash.len_in_bytes()];
    stream
        .read_exact(&mut trailer)
        .map_err(|error| stream.trouble().unwrap_or_else(|| read_error(error)))?;
    let mut hasher = gix::hash::hasher(hash);
    hasher.update(header.get_ref());
    match hasher.try_finalize() {
        Ok(checksum) if checksum.as_slice() == trailer => stream.require_end(),
        _ => Err(Error::NotAPack),
    }
}

/// Requires that nothing follows the commands, as where they only delete.
pub(super) fn require_no_pack(reader: &mut dyn BufRead) -> Result<(), Error> {
    Exact::new(reader, Kind::Sha1, u64::MAX).require_end()
}

/// Finds the bases of a thin pack, and no more bytes of them than are allowed.
struct Bases {
    odb: gix::odb::HandleArc,
    left_bytes: Cell<u64>,
    used_up: Cell<bool>,
}

impl gix::objs::Find for Bases {
    fn try_find<'a>(
        &self,
        id: &gix::oid,
        buffer: &'a mut Vec<u8>,
    ) -> gix::Result<Option<gix::objs::Data<'a>>> {
        let found = self.odb.try_find(id, buffer)?;
        let bytes = found.as_ref().map_or(0, |object| object.data.len());
        let Some(left) = self.left_bytes.get().checked_sub(bytes as u64) else {
            self.used_up.set(true);
            return Err(gix::Error::from_error(Error::BaseBytes { limit_bytes: 0 }));
        };
        self.left_bytes.set(left);
        Ok(found)
    }
}
