//! The digests that are made of a slug's pieces in their order.
//!
//! Those of the slug and of its tar, sha256 both, have a thread of their own: each takes its bytes one
//! after the other, and together they are the longest run of work that cannot be divided.

use std::sync::mpsc::{Receiver, Sender};

use super::Error;
use super::plan::Large;
use super::reuse::{LargeFile, Origin};
use super::work::{Slot, read_piece};
use crate::digest::{Continuing, PieceDigest, PieceHasher};
use crate::slug::{States, Summary};

/// The next member, whose bytes are still to be digested.
pub struct Written {
    pub slot: Slot,
    /// How the digests stand after it in a slug that has been the same so far.
    pub known: Option<States>,
    /// Of its piece of the tar, where that is known and not in the slot.
    pub unread_bytes: Option<u64>,
}

/// Digests members until there are no more, and gives their slots back; says how the digests stand after
/// each, and in the end.
pub fn digest(written: &Receiver<Written>, slots: &Sender<Slot>) -> (Vec<States>, Summary) {
    let (mut slug, mut tar) = (Continuing::default(), Continuing::default());
    let mut states = Vec::new();
    for Written {
        slot,
        known,
        unread_bytes,
    } in written
    {
        if let Some(known) = known {
            slug.see_known(&slot.gzip, known.slug);
            match unread_bytes {
                Some(bytes) => tar.skip_known(bytes, known.tar),
                None => tar.see_known(&slot.tar, known.tar),
            }
        } else {
            slug.see(&slot.gzip);
            tar.see(&slot.tar);
        }
        states.push(States {
            slug: slug.state(),
            tar: tar.state(),
        });
        // Workers may be gone already, at the end.
        let _ = slots.send(slot);
    }
    let summary = Summary {
        size_bytes: slug.seen_bytes(),
        digest: slug.digest(),
        tar_bytes: tar.seen_bytes(),
        diff_id: tar.digest(),
    };
    (states, summary)
}

/// The digest of a large file, piece by piece.
#[derive(Default)]
pub struct FileDigest {
    /// The slug that has the same first pieces, the place of the next one there, and the whole file.
    same: Option<(usize, usize, LargeFile)>,
    hasher: PieceHasher,
    /// Pieces that were digested.
    digested: u64,
}

impl FileDigest {
    /// Takes the next piece, whose part of the tar may not have been read where it was copied.
    pub fn piece(
        &mut self,
        file: &Large,
        number: u64,
        tar: Option<&[u8]>,
        copied: Option<Origin>,
        large: Option<LargeFile>,
    ) -> Result<(), Error> {
        let expected = match number {
            0 => copied
                .zip(large)
                .map(|(from, large)| (from.slug, from.place, large)),
            _ => self.same.take(),
        };
        self.same = copied.zip(expected).and_then(|(from, expected)| {
            let (slug, place, large) = expected;
            ((from.slug, from.place) == (slug, place)).then_some((slug, place + 1, large))
        });
        let is_last = number + 1 == file.pieces();
        // The same header says the same size, and so as many pieces.
        let is_known = self
            .same
            .is_some_and(|(_, next, large)| !is_last || next == large.last + 1);
        match tar {
            Some(tar) if self.digested == number => {
                self.hasher.see(&tar[file.content_of(number)]);
                self.digested += 1;
            }
            _ if is_known => {}
            // What was passed over is wanted after all.
            _ => {
                let mut tar = Vec::new();
                for number in self.digested..=number {
                    tar.clear();
                    read_piece(file, number, &mut tar)?;
                    self.hasher.see(&tar[file.content_of(number)]);
                }
                self.digested = number + 1;
            }
        }
        if is_last && self.digested == file.pieces() {
            self.same = None;
        }
        Ok(())
    }

    /// The digest, after the last piece.
    pub fn take(&mut self) -> PieceDigest {
        let digested = self.hasher.take();
        self.digested = 0;
        self.same
            .take()
            .map_or(digested, |(_, _, large)| large.digest)
    }
}
