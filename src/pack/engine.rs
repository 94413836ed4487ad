//! The threads of a pack: one walks and one lists ahead of it, some work, the caller's own collects, and
//! two digest.
//!
//! Jobs are numbered in the order of the tar; workers take them in that order and the collector
//! puts the members in it again. What is in memory at a time is bounded by the slots, each with the
//! buffers of one job: a worker takes a slot before a job, and it is given back once the member is
//! written and digested. The job that the collector waits for is always one that has a slot.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use super::digests::{self, FileDigest};
use super::found::Skipped;
use super::gzip::Decoder;
use super::plan::{self, Job};
use super::stat_cache::{Known, StatCache};
use super::work::{Content, Done, Slot, Worker};
use super::{Error, Options};
use crate::digest::PieceDigest;
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
    let threads = options.threads();
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
        let (send_written, written) = channel();
        let (send_digested, digested) = channel();
        let slug = scope.spawn(move || digests::of_slug(&written, &send_digested));
        // Has `send_slot`: once that is gone, workers end.
        let tar = scope.spawn(move || digests::of_tar(&digested, &send_slot));
        // Takes `send_written`, which ends the digests.
        let collected = Collector::new(differs, out, each, send_written).collect(&done);
        drop(done);
        let skipped = join(walk);
        let (slug, tar) = (join(slug), join(tar));
        let collected = collected?;
        let states = slug.states.into_iter().zip(tar.states);
        let states = states.map(|(slug, tar)| States { slug, tar });
        let members = collected.members.into_iter().zip(states);
        Ok(Written {
            out: collected.out,
            members: members
                .map(|(member, states)| member.with(states))
                .collect(),
            summary: Summary {
                size_bytes: slug.bytes,
                digest: slug.digest,
                tar_bytes: tar.bytes,
                diff_id: tar.digest,
            },
            copied_members: collected.copied_members,
            unread_members: collected.unread_members,
            skipped,
            stat_cache: collected.stat_cache,
        })
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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

/// A member that was written.
struct Placed {
    offset: u64,
    size_bytes: u64,
    tar_bytes: u64,
    digest: PieceDigest,
    input: PieceDigest,
}

impl Placed {
    fn with(self, states: States) -> Member {
        Member {
            offset: self.offset,
            size_bytes: self.size_bytes,
            tar_bytes: self.tar_bytes,
            digest: self.digest,
            input: self.input,
            states,
        }
    }
}

/// What was collected.
struct Collected<W> {
    out: W,
    members: Vec<Placed>,
    copied_members: u64,
    unread_members: u64,
    stat_cache: StatCache,
}

/// Puts members in their order and writes them.
struct Collector<'a, W, F> {
    /// Set where the tar no longer starts as another slug's.
    differs: &'a AtomicBool,
    decoder: Decoder,
    out: W,
    written_bytes: u64,
    /// The slug that starts with the same members, as far as one does.
    same_start: Option<usize>,
    /// Of the large file whose pieces come now.
    file: FileDigest,
    members: Vec<Placed>,
    copied_members: u64,
    unread_members: u64,
    stat_cache: StatCache,
    each: F,
    send_written: Sender<digests::Written>,
}

impl<'a, W: Write, F: FnMut(Entry) -> io::Result<()>> Collector<'a, W, F> {
    fn new(
        differs: &'a AtomicBool,
        out: W,
        each: F,
        send_written: Sender<digests::Written>,
    ) -> Self {
        Self {
            differs,
            decoder: Decoder::default(),
            out,
            written_bytes: 0,
            same_start: None,
            file: FileDigest::default(),
            members: Vec::new(),
            copied_members: 0,
            unread_members: 0,
            stat_cache: StatCache::default(),
            each,
            send_written,
        }
    }

    fn collect(
        mut self,
        done: &Receiver<(usize, Result<Done, Error>)>,
    ) -> Result<Collected<W>, Error> {
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
            known,
            unread,
            mut has_tar,
        } = done;
        let place = self.members.len();
        self.copied_members += u64::from(copied.is_some());
        self.out.write_all(&slot.gzip).map_err(Error::WriteSlug)?;
        let same_start = copied.filter(|from| {
            from.place == place && (place == 0 || self.same_start == Some(from.slug))
        });
        self.same_start = same_start.map(|from| from.slug);
        if same_start.is_none() {
            self.differs.store(true, Ordering::Relaxed);
        }
        self.unread_members += u64::from(unread);
        // Workers see to it but for what was under way when the first member differed.
        if !has_tar && same_start.is_none() {
            self.decoder.decode(&slot.gzip, tar_bytes, &mut slot.tar)?;
            has_tar = true;
        }
        if let Content::Piece { file, number } = &content {
            // Of a file that is as it was, the digest is carried over.
            let tar = (has_tar && !known).then_some(&slot.tar[..]);
            self.file.piece(file, *number, tar, copied, large)?;
        }
        if let Some(stats) = stats {
            let tar_bytes = tar_bytes as u64;
            self.stat_cache.note(stats, Known { input, tar_bytes });
        }
        self.members.push(Placed {
            offset: self.written_bytes,
            size_bytes: slot.gzip.len() as u64,
            tar_bytes: tar_bytes as u64,
            digest,
            input,
        });
        self.written_bytes += slot.gzip.len() as u64;
        let written = digests::Written {
            slot,
            known: same_start.map(|from| from.states),
            unread_bytes: (!has_tar).then_some(tar_bytes as u64),
        };
        self.send_written
            .send(written)
            .expect("the digests end after us");
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

    fn finish(mut self) -> Result<Collected<W>, Error> {
        self.out.flush().map_err(Error::WriteSlug)?;
        Ok(Collected {
            out: self.out,
            members: self.members,
            copied_members: self.copied_members,
            unread_members: self.unread_members,
            stat_cache: self.stat_cache,
        })
    }
}
