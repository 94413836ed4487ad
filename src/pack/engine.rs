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
use super::reuse::Origin;
use super::walk::Skipped;
use super::work::{Content, Done, Slot, Worker};
use super::{Error, Options};
use crate::digest::Continuing;
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

type Numbered = (usize, Job);
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
    done: &Sender<(usize, Result<Done, Error>)>,
) {
    let mut worker = Worker::new(dir, options.level, options.reusable);
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
struct Collector<W, F> {
    out: W,
    slug: Continuing,
    tar: Continuing,
    /// The slug that starts with the same members, as far as one does.
    same_start: Option<usize>,
    /// Digests the large file whose pieces come now.
    file: Continuing,
    /// The slug that has that file's first pieces too, and the place of its first there.
    same_file: Option<(usize, usize)>,
    members: Vec<Member>,
    copied_members: u64,
    each: F,
    slots: Sender<Slot>,
}

impl<W: Write, F: FnMut(Entry) -> io::Result<()>> Collector<W, F> {
    fn new(out: W, each: F, slots: Sender<Slot>) -> Self {
        Self {
            out,
            slug: Continuing::default(),
            tar: Continuing::default(),
            same_start: None,
            file: Continuing::default(),
            same_file: None,
            members: Vec::new(),
            copied_members: 0,
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
            slot,
            digest,
            input,
            copied,
            content,
        } = done;
        let place = self.members.len();
        self.copied_members += u64::from(copied.is_some());
        let offset = self.slug.seen_bytes();
        self.out.write_all(&slot.gzip).map_err(Error::WriteSlug)?;
        self.same_start = copied
            .filter(|from| {
                from.place == place && (place == 0 || self.same_start == Some(from.slug))
            })
            .map(|from| from.slug);
        if let (Some(from), Some(_)) = (copied, self.same_start) {
            self.slug.see_known(&slot.gzip, from.states.slug);
            self.tar.see_known(&slot.tar, from.states.tar);
        } else {
            self.slug.see(&slot.gzip);
            self.tar.see(&slot.tar);
        }
        if let Content::Piece { number, bytes, .. } = &content {
            self.piece(*number, &slot.tar[bytes.clone()], copied);
        }
        self.members.push(Member {
            offset,
            size_bytes: slot.gzip.len() as u64,
            tar_bytes: slot.tar.len() as u64,
            digest,
            input,
            states: States {
                slug: self.slug.state(),
                tar: self.tar.state(),
                file: matches!(content, Content::Piece { .. }).then(|| self.file.state()),
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
            Content::Piece { file, number, .. } => {
                if number + 1 == file.pieces() {
                    file.check()?;
                    let kind = EntryKind::File {
                        executable: file.stamp.executable,
                        size_bytes: file.stamp.size_bytes,
                        digest: std::mem::take(&mut self.file).digest(),
                    };
                    self.entry(escape(&file.path), kind, Span(place - number, place))?;
                }
            }
        }
        // Workers may be gone already, at the end.
        let _ = self.slots.send(slot);
        Ok(last)
    }

    /// Digests a piece of a large file. A slug that has its first member has its header and so as
    /// many pieces of the same file, one after the other.
    fn piece(&mut self, number: u64, bytes: &[u8], copied: Option<Origin>) {
        if number == 0 {
            self.same_file = copied.map(|from| (from.slug, from.place));
        }
        let known = copied.filter(|from| {
            self.same_file.is_some_and(|(slug, first)| {
                from.slug == slug && from.place as u64 == first as u64 + number
            })
        });
        match known.and_then(|from| from.states.file) {
            Some(state) => self.file.see_known(bytes, state),
            None => self.file.see(bytes),
        }
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
            skipped: Vec::new(),
        })
    }
}
