//! The threads of a pack: one walks, some work, and the caller's own collects.
//!
//! Jobs are numbered in the order of the tar; workers take them in that order and the collector
//! puts the members in it again. What is in memory at a time is bounded by the slots, each with the
//! buffers of one job: a worker takes a slot before a job, and the collector gives it back once the
//! member is written. The job that the collector waits for is always one that has a slot.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::plan::{self, Job, Large};
use super::reuse::{LargeFile, Origin};
use super::stat_cache::{Known, StatCache};
use super::walk::Skipped;
use super::work::{Content, Done, Slot, Worker, read_piece};
use super::{Error, Options};
use crate::digest::{Continuing, PieceDigest, PieceHasher};
use crate::slug::{Entry, EntryKind, Member, Span, States, Summary, escape};

/// Slots in addition to one a worker, so that nobody waits for the collector's writes.
const SPARE_SLOTS: usize = 4;

/// Jobs that may be planned ahead.
const PLANNED_JOBS: usize = 4;

/// What was written.
pub struct Written<W> {
    pub out: W,
    pub members: Vec<Member>,
    pub summary: Summary,
    pub copied_members: u64,
    pub unread_members: u64,
    pub skipped: Vec<Skipped>,
    pub stat_cache: StatCache,
}

/// Writes the slug of a build dir to `out` and gives its entries to `each`.
pub fn run<W: Write>(
    dir: &Path,
    options: &Options<'_>,
    out: W,
    each: impl FnMut(Entry) -> io::Result<()>,
) -> Result<Written<W>, Error> {
    let threads = options.threads.get().min(super::MOST_THREADS);
    let differs = &AtomicBool::new(false);
    thread::scope(|scope| {
        let (send_job, jobs) = sync_channel(PLANNED_JOBS);
        let (send_slot, slots) = channel();
        let (send_done, done) = channel();
        for _ in 0..(threads + SPARE_SLOTS).min(super::MOST_SLOTS) {
            // The receiver is here.
            let _ = send_slot.send(Slot::default());
        }
        let walk = scope.spawn(move || walk(dir, options, &send_job));
        let queue = Arc::new(Mutex::new((slots, jobs)));
        for _ in 0..threads {
            let (queue, send_done) = (queue.clone(), send_done.clone());
            let worker = Worker::new(dir, options, differs);
            scope.spawn(move || work(worker, &queue, &send_done));
        }
        // Gone with the last worker, which ends the walk.
        drop((queue, send_done));
        // Takes `send_slot`: once it is gone, workers end.
        let collected = Collector::new(dir, differs, out, each, send_slot).collect(&done);
        drop(done);
        let skipped = match walk.join() {
            Ok(skipped) => skipped,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        collected.map(|written| Written { skipped, ..written })
    })
}

type Numbered = (usize, Job);
type Queue = Mutex<(Receiver<Slot>, Receiver<Numbered>)>;

fn walk(dir: &Path, options: &Options<'_>, jobs: &SyncSender<Numbered>) -> Vec<Skipped> {
    let mut number = 0;
    plan::plan(dir, &options.limits, |job| {
        number += 1;
        jobs.send((number - 1, job)).is_ok()
    })
}

fn work(mut worker: Worker<'_>, queue: &Queue, done: &Sender<(usize, Result<Done, Error>)>) {
    loop {
        let (slot, (number, job)) = {
            let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(slot) = queue.0.recv() else { return };
            let Ok(job) = queue.1.recv() else { return };
            (slot, job)
        };
        if done.send((number, worker.work(number, job, slot))).is_err() {
            return;
        }
    }
}

/// Puts members in their order, digests and writes them.
struct Collector<'a, W, F> {
    dir: &'a Path,
    /// Set where the tar no longer starts as another slug's.
    differs: &'a AtomicBool,
    out: W,
    slug: Continuing,
    tar: Continuing,
    /// The slug that starts with the same members, as far as one does.
    same_start: Option<usize>,
    /// Of the large file whose pieces come now.
    file: FileDigest,
    members: Vec<Member>,
    copied_members: u64,
    unread_members: u64,
    stat_cache: StatCache,
    each: F,
    slots: Sender<Slot>,
}

impl<'a, W: Write, F: FnMut(Entry) -> io::Result<()>> Collector<'a, W, F> {
    fn new(dir: &'a Path, differs: &'a AtomicBool, out: W, each: F, slots: Sender<Slot>) -> Self {
        Self {
            dir,
            differs,
            out,
            slug: Continuing::default(),
            tar: Continuing::default(),
            same_start: None,
            file: FileDigest::default(),
            members: Vec::new(),
            copied_members: 0,
            unread_members: 0,
            stat_cache: StatCache::default(),
            each,
            slots,
        }
    }

    fn collect(
        mut self,
        done: &Receiver<(usize, Result<Done, Error>)>,
    ) -> Result<Written<W>, Error> {
        let mut early = BTreeMap::new();
        let mut next = 0;
        loop {
            while let Some(job) = early.remove(&next) {
                next += 1;
                if self.take(job?)? {
                    return self.finish();
                }
            }
            let (number, job) = done
                .recv()
                .expect("workers live until the last job is taken");
            early.insert(number, job);
        }
    }

    /// Takes the next member and says whether it was the last.
    fn take(&mut self, done: Done) -> Result<bool, Error> {
        let Done {
            mut slot,
            digest,
            input,
            tar_bytes,
            stats,
            copied,
            large,
            content,
            unread,
        } = done;
        let place = self.members.len();
        self.copied_members += u64::from(copied.is_some());
        let offset = self.slug.seen_bytes();
        self.out.write_all(&slot.gzip).map_err(Error::WriteSlug)?;
        let same_start = copied.filter(|from| {
            from.place == place && (place == 0 || self.same_start == Some(from.slug))
        });
        self.same_start = same_start.map(|from| from.slug);
        if same_start.is_none() {
            self.differs.store(true, Ordering::Relaxed);
        }
        // Workers have read all but what was under way when the first member differed.
        let skips = unread.is_some() && same_start.is_some();
        self.unread_members += u64::from(skips);
        if let Some(piece) = unread
            && !skips
        {
            slot.tar.clear();
            piece.read(self.dir, &mut slot.tar)?;
        }
        match same_start {
            Some(from) => self.slug.see_known(&slot.gzip, from.states.slug),
            None => self.slug.see(&slot.gzip),
        }
        match same_start {
            Some(from) if skips => self.tar.skip_known(tar_bytes as u64, from.states.tar),
            Some(from) => self.tar.see_known(&slot.tar, from.states.tar),
            None => self.tar.see(&slot.tar),
        }
        if let Content::Piece { file, number } = &content {
            let tar = (!skips).then_some(&slot.tar[..]);
            self.file.piece(file, *number, tar, copied, large)?;
        }
        if let Some(stats) = stats {
            let tar_bytes = tar_bytes as u64;
            self.stat_cache.note(stats, Known { input, tar_bytes });
        }
        self.members.push(Member {
            offset,
            size_bytes: slot.gzip.len() as u64,
            tar_bytes: tar_bytes as u64,
            digest,
            input,
            states: States {
                slug: self.slug.state(),
                tar: self.tar.state(),
            },
        });
        let place = place as u64;
        let mut last = false;
        match content {
            Content::End => last = true,
            Content::Entries(entries) => {
                for (path, kind) in entries {
                    self.entry(path, kind, Span(place, place))?;
                }
            }
            Content::Piece { file, number } => {
                if number + 1 == file.pieces() {
                    file.check()?;
                    let kind = EntryKind::File {
                        executable: file.stamp.executable,
                        size_bytes: file.stamp.size_bytes,
                        digest: self.file.take(),
                    };
                    self.entry(escape(&file.path), kind, Span(place - number, place))?;
                }
            }
        }
        // Workers may be gone already, at the end.
        let _ = self.slots.send(slot);
        Ok(last)
    }

    fn entry(&mut self, path: String, kind: EntryKind, members: Span) -> Result<(), Error> {
        let entry = Entry {
            path,
            kind,
            members,
        };
        (self.each)(entry).map_err(Error::WriteSlug)
    }

    fn finish(mut self) -> Result<Written<W>, Error> {
        self.out.flush().map_err(Error::WriteSlug)?;
        Ok(Written {
            out: self.out,
            members: self.members,
            summary: Summary {
                size_bytes: self.slug.seen_bytes(),
                digest: self.slug.digest(),
                tar_bytes: self.tar.seen_bytes(),
                diff_id: self.tar.digest(),
            },
            copied_members: self.copied_members,
            unread_members: self.unread_members,
            skipped: Vec::new(),
            stat_cache: self.stat_cache,
        })
    }
}

/// The digest of a large file, piece by piece.
#[derive(Default)]
struct FileDigest {
    /// The slug that has the same first pieces, the place of the next one there, and the whole file.
    same: Option<(usize, usize, LargeFile)>,
    hasher: PieceHasher,
    /// Pieces that were digested.
    digested: u64,
}

impl FileDigest {
    /// Takes the next piece, whose part of the tar may not have been read where it was copied.
    fn piece(
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
    fn take(&mut self) -> PieceDigest {
        let digested = self.hasher.take();
        self.digested = 0;
        self.same
            .take()
            .map_or(digested, |(_, _, large)| large.digest)
    }
}
