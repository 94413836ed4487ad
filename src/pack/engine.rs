//! The threads of a pack: one walks, some work, and the caller's own collects.
//!
//! Jobs are numbered in the order of the tar; workers take them in that order and the collector
//! puts the members in it again. What is in memory at a time is bounded by the slots, each with the
//! buffers of one job: a worker takes a slot before a job, and the collector gives it back once the
//! member is written. The job that the collector waits for is always one that has a slot.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::plan::{self, Job};
use super::walk::Skipped;
use super::work::{Content, Done, Slot, Worker};
use super::{Error, Options};
use crate::digest::Hashing;
use crate::slug::{Entry, EntryKind, Member, Span, Summary, escape};

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
    pub skipped: Vec<Skipped>,
}

/// Writes the slug of a build dir to `out` and gives its entries to `each`.
pub fn run<W: Write>(
    dir: &Path,
    options: &Options<'_>,
    out: W,
    each: impl FnMut(Entry) -> io::Result<()>,
) -> Result<Written<W>, Error> {
    let threads = options.threads.get().min(super::MOST_THREADS);
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
            scope.spawn(move || work(dir, options, &queue, &send_done));
        }
        // Gone with the last worker, which ends the walk.
        drop((queue, send_done));
        // Takes `send_slot`: once it is gone, workers end.
        let collected = Collector::new(out, each, send_slot).collect(&done);
        drop(done);
        let skipped = match walk.join() {
            Ok(skipped) => skipped,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        collected.map(|written| Written { skipped, ..written })
    })
}

type Numbered = (u64, Job);
type Queue = Mutex<(Receiver<Slot>, Receiver<Numbered>)>;

fn walk(dir: &Path, options: &Options<'_>, jobs: &SyncSender<Numbered>) -> Vec<Skipped> {
    let mut number = 0;
    plan::plan(dir, &options.limits, |job| {
        number += 1;
        jobs.send((number - 1, job)).is_ok()
    })
}

fn work(
    dir: &Path,
    options: &Options<'_>,
    queue: &Queue,
    done: &Sender<(u64, Result<Done, Error>)>,
) {
    let mut worker = Worker::new(dir, options.level, options.reusable);
    loop {
        let (slot, (number, job)) = {
            let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(slot) = queue.0.recv() else { return };
            let Ok(job) = queue.1.recv() else { return };
            (slot, job)
        };
        if done.send((number, worker.work(job, slot))).is_err() {
            return;
        }
    }
}

/// Puts members in their order, digests and writes them.
struct Collector<W, F> {
    out: Hashing<W>,
    /// Digests the tar.
    tar: Hashing<io::Sink>,
    /// Digests the large file whose pieces come now.
    file: Hashing<io::Sink>,
    members: Vec<Member>,
    copied_members: u64,
    each: F,
    slots: Sender<Slot>,
}

impl<W: Write, F: FnMut(Entry) -> io::Result<()>> Collector<W, F> {
    fn new(out: W, each: F, slots: Sender<Slot>) -> Self {
        Self {
            out: Hashing::new(out),
            tar: Hashing::new(io::sink()),
            file: Hashing::new(io::sink()),
            members: Vec::new(),
            copied_members: 0,
            each,
            slots,
        }
    }

    fn collect(mut self, done: &Receiver<(u64, Result<Done, Error>)>) -> Result<Written<W>, Error> {
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
            slot,
            digest,
            input,
            ..
        } = done;
        let place = self.members.len() as u64;
        self.members.push(Member {
            offset: self.out.seen_bytes(),
            size_bytes: slot.gzip.len() as u64,
            tar_bytes: slot.tar.len() as u64,
            digest,
            input,
        });
        self.copied_members += u64::from(done.copied);
        self.out.write_all(&slot.gzip).map_err(Error::WriteSlug)?;
        self.tar.see(&slot.tar);
        let mut last = false;
        match done.content {
            Content::End => last = true,
            Content::Entries(entries) => {
                for (path, kind) in entries {
                    self.entry(path, kind, Span(place, place))?;
                }
            }
            Content::Piece {
                file,
                number,
                bytes,
            } => {
                self.file.see(&slot.tar[bytes]);
                if number + 1 == file.pieces() {
                    file.check()?;
                    let content = std::mem::replace(&mut self.file, Hashing::new(io::sink()));
                    let kind = EntryKind::File {
                        executable: file.stamp.executable,
                        size_bytes: file.stamp.size_bytes,
                        digest: content.digest(),
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

    fn finish(self) -> Result<Written<W>, Error> {
        let (mut out, digest, size_bytes) = self.out.finish();
        out.flush().map_err(Error::WriteSlug)?;
        let (_, diff_id, tar_bytes) = self.tar.finish();
        Ok(Written {
            out,
            members: self.members,
            summary: Summary {
                digest,
                diff_id,
                size_bytes,
                tar_bytes,
            },
            copied_members: self.copied_members,
            skipped: Vec::new(),
        })
    }
}
