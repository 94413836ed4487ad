//! The digests that are made of a slug's pieces in their order.
//!
//! Those of the slug and of its tar, sha256 both, have a thread each: a digest takes its bytes one after
//! the other, and the tar's is the longest run of work that cannot be divided.

use std::sync::mpsc::{Receiver, Sender};

use super::Error;
use super::plan::Large;
use super::read;
use super::reuse::{LargeFile, Origin};
use super::work::Slot;
use crate::digest::{Continuing, Digest, PieceDigest, PieceHasher, State};
use crate::slug::States;

/// The next member, whose bytes are still to be digested.
pub struct Written {
    pub slot: Slot,
    /// How the digests stand after it in a slug that has been the same so far.
    pub known: Option<States>,
    /// Of its piece of the tar, where that is known and not in the slot.
    pub unread_bytes: Option<u64>,
}

/// A digest of all members.
pub struct Digested {
    /// How it stands after each member.
    pub states: Vec<State>,
    pub bytes: u64,
    pub digest: Digest,
}

/// Digests the slug, and gives its members on.
pub fn of_slug(written: &Receiver<Written>, next: &Sender<Written>) -> Digested {
    let mut digest = InOrder::default();
    for member in written {
        let slug = &mut digest.continuing;
        match member.known {
            Some(known) => slug.see_known(&member.slot.gzip, known.slug),
            None => slug.see(&member.slot.gzip),
        }
        digest.note();
        next.send(member).expect("the tar's digest ends after us");
    }
    digest.finish()
}

/// Digests the tar, and gives slots back.
pub fn of_tar(written: &Receiver<Written>, slots: &Sender<Slot>) -> Digested {
    let mut digest = InOrder::default();
    for member in written {
        let tar = &mut digest.continuing;
        match (member.known, member.unread_bytes) {
            (Some(known), Some(bytes)) => tar.skip_known(bytes, known.tar),
            (Some(known), None) => tar.see_known(&member.slot.tar, known.tar),
            (None, _) => tar.see(&member.slot.tar),
        }
        digest.note();
        // Workers may be gone already, at the end.
        let _ = slots.send(member.slot);
    }
    digest.finish()
}

#[derive(Default)]
struct InOrder {
    continuing: Continuing,
    states: Vec<State>,
}

impl InOrder {
    fn note(&mut self) {
        self.states.push(self.continuing.state());
    }

    fn finish(self) -> Digested {
        Digested {
            states: self.states,
            bytes: self.continuing.seen_bytes(),
            digest: self.continuing.digest(),
        }
    }
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
    /// Takes the next piece, whose part of the tar is not given where it was copied by its file's stats.
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
                    read::piece(file, number, &mut tar)?;
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
