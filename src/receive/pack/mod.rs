//! A pack, in one pass: what a push sends goes in, checked objects and their index come out.
//!
//! Each entry is unpacked as it arrives ([`entries`]). Its object is made at once, from a base that
//! is still at hand if it is a delta, given its id, checked and forgotten again ([`objects`]), on a
//! second thread where the pack is large. What had to wait for its base is made afterwards, with
//! everything on the way to it made once more ([`families`]). What objects name is collected on the
//! way ([`names`]) and looked for at the end; no object is read again for that.
//!
//! Memory is bounded: by one object of the largest size allowed and a few more, a cache of bases,
//! and less than a hundred bytes for each object.
//!
//! Source: gitformat-pack(5).

mod cache;
mod delta;
mod entries;
mod families;
mod index;
mod names;
mod objects;
mod spool;

use std::collections::HashMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use gix::ObjectId;
use gix::hash::Kind;

use super::{Error, Limits};
#[cfg(test)]
pub(super) use delta::apply as apply_delta;
pub(super) use entries::require_no_pack;
use entries::{Batch, Entries};
#[cfg(test)]
pub(super) use entries::{id_of, id_of_object};
pub(super) use names::Known;
use objects::Objects;
use spool::Spool;

/// Packs of fewer objects, or fewer bytes, are not worth a second thread.
const FEW_OBJECTS: u32 = 1_000;

/// Batches that may wait for the second thread.
const DEPTH: usize = 4;

/// What one push is checked against.
pub(super) struct Context<'a> {
    pub hash: Kind,
    pub limits: &'a Limits,
    pub stop: &'a AtomicBool,
    /// When it must have ended.
    pub until: Instant,
    /// Commits that may be without their parents, since the client's history ends there.
    pub shallow: &'a [ObjectId],
    /// What refs are to name.
    pub tips: &'a [ObjectId],
    /// The quarantine, which is made where the pack does not fit into memory.
    pub dir: &'a Path,
}

impl Context<'_> {
    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        if Instant::now() > self.until {
            let limit = self.limits.time;
            return Err(Error::TooSlow { limit });
        }
        Ok(())
    }

    /// The error of a pack that cannot be unpacked.
    fn damaged(&self, reason: &'static str) -> Error {
        Error::Pack {
            limit_bytes: self.limits.object_bytes,
            reason,
        }
    }
}

/// A pack whose objects are all sound, and all there with what they name.
#[derive(Debug)]
pub(super) struct Pack {
    pub checksum: ObjectId,
    pub bytes: Bytes,
    pub index: Vec<u8>,
    /// What is in the pack of what refs are to name.
    pub tips: HashMap<ObjectId, gix::objs::Kind>,
    /// Commits whose parents nobody has.
    pub borders: Vec<ObjectId>,
}

/// Where a pack's bytes are.
#[derive(Debug)]
pub(super) enum Bytes {
    Memory(Vec<u8>),
    File(PathBuf),
}

/// Takes in all of a pack and whatever it needs of the repository, and checks it; `None` where it
/// has no object. Reads `reader` to its end.
///
/// # Errors
/// The caller's fault: no pack, a damaged one, junk behind it, over a limit, a malformed object, a
/// missing one, or one that is not what it is named as; or the machine's.
pub(super) fn receive(
    reader: &mut dyn BufRead,
    context: &Context<'_>,
    known: &mut Known,
) -> Result<Option<Pack>, Error> {
    let mut entries = Entries::begin(reader, context)?;
    let mut objects = Objects::new(context, known);
    if entries.count >= FEW_OBJECTS {
        read_on_two_threads(&mut entries, &mut objects)?;
    } else {
        let mut batch = Batch::default();
        while entries.fill(&mut batch)? {
            objects.take(&mut batch)?;
        }
    }
    let count = entries.count;
    let mut spool = entries.end()?;
    if count == 0 {
        return Ok(None);
    }
    objects.finish(&mut spool)?;
    let tips = context.tips.iter();
    let tips = tips.filter_map(|id| Some((*id, objects.kind_of(id)?)));
    let tips = tips.collect();
    let (entries, borders) = objects.into_parts();
    let checksum = spool.checksum;
    let index = index::write(&entries, &checksum, context.hash)?;
    Ok(Some(Pack {
        checksum,
        bytes: spool.into_bytes(),
        index,
        tips,
        borders,
    }))
}

/// Reads and unpacks on this thread while another makes objects of it.
fn read_on_two_threads(entries: &mut Entries<'_>, objects: &mut Objects<'_>) -> Result<(), Error> {
    std::thread::scope(|scope| {
        let (full, filled) = sync_channel::<Batch>(DEPTH);
        let maker = scope.spawn(move || {
            filled
                .into_iter()
                .try_for_each(|mut batch| objects.take(&mut batch))
        });
        let read = read_ahead(entries, &full);
        drop(full);
        let made = maker.join().map_err(|_| Error::Unreadable)?;
        made.and(read)
    })
}

/// Reads and unpacks all entries for another thread, and takes some of its work where it is behind.
fn read_ahead(entries: &mut Entries<'_>, full: &SyncSender<Batch>) -> Result<(), Error> {
    loop {
        let mut batch = Batch::default();
        if !entries.fill(&mut batch)? {
            return Ok(());
        }
        let sent = match full.try_send(batch) {
            Err(TrySendError::Full(mut batch)) => {
                batch.hash(entries.hash())?;
                full.send(batch).is_ok()
            }
            sent => sent.is_ok(),
        };
        // Else the other thread has an error to tell.
        if !sent {
            return Ok(());
        }
    }
}

/// The file that a spool of this push writes, where it is too large for memory.
pub(super) fn spool_path(dir: &Path) -> PathBuf {
    dir.join("pack").join("tmp_pack")
}
