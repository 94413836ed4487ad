//! What the objects of a push must be before anything may build on them: well formed, and with
//! everything that they name either among them or in the repository already.
//!
//! Looking at the new objects alone is enough, since what is in the repository came the same way:
//! each object that it has, it has with all that it names.

use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use gix::ObjectId;
use gix::objs::{Find as _, FindHeader as _, Kind};
use gix::progress::Discard;
use gix_pack::index::traverse::{SafetyCheck, with_index};

use super::special::Special;
use super::{Command, Error, Limits, fsck, git_error, ingest, tree};

/// Checks every object of the pack with this index; gives those of the commits `shallow` whose
/// parents nobody has.
///
/// `odb` has the objects of the pack and of the repository.
///
/// # Errors
/// The caller's fault: an object is malformed, or names one that is missing or of another kind.
pub(super) fn check_pack(
    index: &Path,
    hash: gix::hash::Kind,
    odb: &gix::odb::HandleArc,
    shallow: &[ObjectId],
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<Vec<ObjectId>, Error> {
    let bundle = gix_pack::Bundle::at(index, hash).map_err(git_error("opening", index))?;
    let count = bundle.index.num_objects() as usize;
    let pack = Pack {
        index: &bundle.index,
        is: std::iter::repeat_with(AtomicU8::default)
            .take(count)
            .collect(),
        named_as: std::iter::repeat_with(AtomicU8::default)
            .take(count)
            .collect(),
        special: Mutex::default(),
        shallow: shallow.iter().copied().collect(),
        borders: Mutex::default(),
        first_error: Mutex::new(None),
    };
    let visitor = Visitor {
        pack: &pack,
        odb: odb.clone(),
        known: HashSet::new(),
    };
    let options = with_index::Options {
        thread_limit: ingest::threads(count as u64),
        // The ingest has just made the checksums from these bytes.
        check: SafetyCheck::SkipFileAndObjectChecksumVerification,
        alloc_limit_bytes: Some(limits.object_bytes),
    };
    // The traversal may set the flag for itself; the caller's is only read.
    let stopped = AtomicBool::new(false);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut visitor = visitor.clone();
        bundle.index.traverse_with_index(
            &bundle.pack,
            move |kind, data, entry, _progress| {
                let result = if stop.load(Ordering::Relaxed) {
                    Err(Error::Stopped)
                } else {
                    visitor.visit(kind, data, entry.oid)
                };
                result.map_err(|error| visitor.pack.fail(error))
            },
            &mut Discard,
            &stopped,
            options,
        )
    }));
    if let Some(error) = pack
        .first_error
        .lock()
        .ok()
        .and_then(|mut error| error.take())
    {
        return Err(error);
    }
    result
        .map_err(|_| Error::Unreadable)?
        .map_err(|source| Error::Pack {
            limit_bytes: limits.object_bytes,
            source,
        })?;
    pack.check_kinds()?;
    pack.check_special(odb)?;
    let borders = pack
        .borders
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(borders.into_iter().collect())
}

/// Checks that what each ref is to name exists; gives the refs that cannot name it, with the reason:
/// branches name commits.
///
/// # Errors
/// The caller's fault: an object is missing.
pub(super) fn check_tips(
    commands: &[Command],
    odb: &gix::odb::HandleArc,
    repo_dir: &Path,
) -> Result<Vec<(String, String)>, Error> {
    let mut refused = Vec::new();
    for Command { name, new, .. } in commands {
        let Some(id) = *new else { continue };
        let header = odb
            .try_header(&id)
            .map_err(git_error("reading the objects of", repo_dir))?;
        let name = name.clone();
        match header {
            None => return Err(Error::TipMissing { name, id }),
            Some(header) if header.kind != Kind::Commit && name.starts_with("refs/heads/") => {
                let reason = format!("{id} is a {}, and a branch names a commit", header.kind);
                refused.push((name, reason));
            }
            Some(_) => {}
        }
    }
    Ok(refused)
}

/// The new objects, seen by all threads.
struct Pack<'a> {
    index: &'a gix_pack::index::File,
    /// The kind of each object, as a bit, in the order of the index.
    is: Vec<AtomicU8>,
    /// The kinds, as bits, that other objects name each as.
    named_as: Vec<AtomicU8>,
    /// Files that git itself reads, by their ids.
    special: Mutex<HashSet<(ObjectId, Special)>>,
    /// Commits that may be without their parents, since the client's history ends there.
    shallow: HashSet<ObjectId>,
    /// Those of them that are.
    borders: Mutex<BTreeSet<ObjectId>>,
    first_error: Mutex<Option<Error>>,
}

impl Pack<'_> {
    /// Keeps the error for later, since the traversal can only carry one of its own.
    fn fail(&self, error: Error) -> gix::Error {
        if let Ok(mut first) = self.first_error.lock() {
            first.get_or_insert(error);
        }
        gix::Error::from_error(std::io::Error::from(std::io::ErrorKind::InvalidData))
    }

    /// Looks into the files that git itself reads; after all have been visited.
    fn check_special(&self, odb: &gix::odb::HandleArc) -> Result<(), Error> {
        let mut special = self.special.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = Vec::new();
        for (id, special) in special.drain() {
            let malformed = |kind: Kind, reason: String| Error::Object { kind, id, reason };
            let found = odb
                .try_find(&id, &mut buffer)
                .map_err(|source| malformed(Kind::Blob, source.to_string()))?;
            // What is missing was missed before.
            let Some(object) = found else { continue };
            if object.kind != Kind::Blob {
                let reason = "it stands where git reads a file".to_owned();
                return Err(malformed(object.kind, reason));
            }
            special
                .check(object.data)
                .map_err(|reason| malformed(Kind::Blob, reason))?;
        }
        Ok(())
    }

    /// Compares what the objects are with what they are named as; after all have been visited.
    fn check_kinds(&self) -> Result<(), Error> {
        for (position, (is, named_as)) in (0..).zip(self.is.iter().zip(&self.named_as)) {
            let is = is.load(Ordering::Relaxed);
            if named_as.load(Ordering::Relaxed) & !is != 0 {
                let id = self.index.oid_at_index(position).to_owned();
                let kind = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag]
                    .into_iter()
                    .find(|kind| bit(*kind) == is)
                    .unwrap_or(Kind::Blob);
                return Err(Error::WrongKind { id, kind });
            }
        }
        Ok(())
    }
}

fn bit(kind: Kind) -> u8 {
    match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 4,
        Kind::Tag => 8,
    }
}

/// One thread's look at some of the new objects.
#[derive(Clone)]
struct Visitor<'a> {
    pack: &'a Pack<'a>,
    odb: gix::odb::HandleArc,
    /// Objects of the repository that have been looked up, with their kinds as bits.
    known: HashSet<(ObjectId, u8)>,
}

impl Visitor<'_> {
    fn visit(&mut self, kind: Kind, data: &[u8], id: ObjectId) -> Result<(), Error> {
        if let Some(position) = self.pack.index.lookup(id) {
            self.pack.is[position as usize].store(bit(kind), Ordering::Relaxed);
        }
        let malformed = |reason: String| Error::Object { kind, id, reason };
        match kind {
            Kind::Blob => Ok(()),
            Kind::Tree => tree::check(data, id.kind(), |entry| {
                if let Some(kind) = entry.kind {
                    self.require(&entry.id, kind, id)?;
                    self.note_special(&entry);
                }
                Ok(())
            })
            .map_err(|error| match error {
                tree::Error::Form(reason) => malformed(reason),
                tree::Error::Entry(error) => error,
            }),
            Kind::Commit => {
                let commit =
                    fsck::commit(data, id.kind()).map_err(|reason| malformed(reason.to_owned()))?;
                self.require(&commit.tree, Kind::Tree, id)?;
                for parent in commit.parents {
                    match self.require(&parent, Kind::Commit, id) {
                        Err(Error::Missing { .. }) if self.pack.shallow.contains(&id) => {
                            let borders = self.pack.borders.lock();
                            let mut borders = borders.unwrap_or_else(PoisonError::into_inner);
                            borders.insert(id);
                        }
                        checked => checked?,
                    }
                }
                Ok(())
            }
            Kind::Tag => {
                let tag =
                    fsck::tag(data, id.kind()).map_err(|reason| malformed(reason.to_owned()))?;
                self.require(&tag.target, tag.kind, id)
            }
        }
    }

    fn note_special(&self, entry: &tree::Entry<'_>) {
        if let Some(special) = Special::of(entry.name) {
            let mut all = self
                .pack
                .special
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all.insert((entry.id, special));
        }
    }

    /// Requires that an object which `by` names exists and is of the kind that it is named as.
    fn require(&mut self, id: &gix::oid, kind: Kind, by: ObjectId) -> Result<(), Error> {
        if let Some(position) = self.pack.index.lookup(id) {
            // Its kind may not be known yet.
            self.pack.named_as[position as usize].fetch_or(bit(kind), Ordering::Relaxed);
            return Ok(());
        }
        let id = id.to_owned();
        if self.known.contains(&(id, bit(kind))) {
            return Ok(());
        }
        // Git has the empty tree without storing it.
        if id.is_empty_tree() && kind == Kind::Tree {
            return Ok(());
        }
        let header = self.odb.try_header(&id).map_err(|source| Error::Object {
            kind,
            id,
            reason: source.to_string(),
        })?;
        match header {
            None => Err(Error::Missing { id, by }),
            Some(header) if header.kind != kind => Err(Error::WrongKind {
                id,
                kind: header.kind,
            }),
            Some(_) => {
                self.known.insert((id, bit(kind)));
                Ok(())
            }
        }
    }
}
