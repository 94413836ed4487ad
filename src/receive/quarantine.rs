//! A directory beside the repository's objects where those of one push wait until it is decided.
//!
//! In: the pack. Out: a directory that reads like the repository with the new objects in it, and
//! later the objects at their place. Guaranteed: the repository's own files are first touched by
//! [`Quarantine::promote`].

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::fault::{Faults, Step};

use super::{
    Error, Limits, Request, Status, ingest, io_error, objects, open_objects, shallow, sync_dir,
    sync_file,
};

const PREFIX: &str = "incoming-";

/// The objects of one push that are not part of the repository yet.
///
/// Dropping it removes them, unless it was kept.
#[derive(Debug)]
pub struct Quarantine {
    repo_dir: PathBuf,
    /// `objects/<name>`.
    dir: PathBuf,
    /// `incoming-<random>`.
    name: String,
    kept: bool,
    /// Whether another process may have moved some of its files.
    adopted: bool,
    /// Refs that cannot name what they should, with the reason.
    refused: Vec<(String, String)>,
    faults: Faults,
}

impl Quarantine {
    /// Takes in the pack of a push and checks all of it.
    ///
    /// Reads `reader` to its end. Setting `stop` ends it early.
    ///
    /// # Errors
    /// The client's fault: the pack is damaged, over a limit, or not all that its refs need; or
    /// the machine's. Nothing is left behind.
    pub fn receive(
        repo_dir: &Path,
        reader: &mut dyn BufRead,
        request: &Request,
        limits: &Limits,
        stop: &AtomicBool,
        faults: Faults,
    ) -> Result<Self, Error> {
        let mut quarantine = Self::create(repo_dir)?.with_faults(faults);
        faults.reach(Step::Quarantine);
        if !request.has_pack() {
            ingest::require_no_pack(reader)?;
            return Ok(quarantine);
        }
        let hash = request.hash();
        let bases = open_objects(&repo_dir.join("objects"), hash)?;
        let index = ingest::ingest(reader, &quarantine.pack_dir(), bases, hash, limits, stop)?;
        faults.reach(Step::Pack);
        let odb = open_objects(&quarantine.dir, hash)?;
        if let Some(index) = index {
            let borders = objects::check_pack(&index, hash, &odb, &request.shallow, limits, stop)?;
            shallow::write(&quarantine.dir, &borders)?;
        }
        quarantine.refused = objects::check_tips(&request.commands, &odb, repo_dir)?;
        faults.reach(Step::Objects);
        Ok(quarantine)
    }

    /// Takes up a quarantine that a process which is no more has kept; `None` where it is not
    /// there, and that is: where it was promoted.
    #[must_use]
    pub fn adopt(repo_dir: &Path, name: &str) -> Option<Self> {
        let dir = repo_dir.join("objects").join(name);
        (is_name(name) && dir.is_dir()).then(|| Self {
            repo_dir: repo_dir.to_owned(),
            dir,
            name: name.to_owned(),
            kept: true,
            adopted: true,
            refused: Vec::new(),
            faults: Faults::default(),
        })
    }

    /// Dies where a test asks for it.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The directory from which the new objects and those of the repository can be read.
    #[must_use]
    pub fn objects_dir(&self) -> &Path {
        &self.dir
    }

    /// Takes back what [`check`](super::check) has allowed, where the objects turned out to be of
    /// another kind than their refs can name.
    pub fn check_kinds(&self, request: &Request, statuses: &mut [Status]) {
        let all = request.atomic && !self.refused.is_empty();
        for (command, status) in request.commands.iter().zip(statuses) {
            let refused = self.refused.iter().find(|(name, _)| *name == command.name);
            if status.is_err() {
                continue;
            }
            if let Some((_, reason)) = refused {
                *status = Err(reason.clone());
            } else if all {
                *status = Err("atomic push failure".to_owned());
            }
        }
    }

    /// Its name in the repository, for [`Quarantine::adopt`] and [`sweep`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes it durable and leaves it in place from now on, whatever happens to this process.
    ///
    /// To be called before the commit point, so that the objects outlive even a power cut there.
    ///
    /// # Errors
    /// The machine's fault.
    pub fn keep(&mut self) -> Result<(), Error> {
        self.finish_files()?;
        shallow::sync(&self.dir)?;
        for dir in [self.pack_dir(), self.dir.join("info")] {
            // Gone where the removal after a promotion was cut short.
            if dir.exists() {
                sync_dir(&dir)?;
            }
        }
        sync_dir(&self.dir)?;
        sync_dir(&self.objects())?;
        self.kept = true;
        self.faults.reach(Step::Kept);
        Ok(())
    }

    /// Removes it although it was kept: where the commit point was not reached.
    ///
    /// # Errors
    /// The machine's fault.
    pub fn discard(mut self) -> Result<(), Error> {
        self.kept = true;
        fs::remove_dir_all(&self.dir).map_err(io_error("removing", &self.dir))
    }

    /// Moves the objects into the repository and removes the quarantine.
    ///
    /// Can be repeated after it was cut short at any point, with [`Quarantine::adopt`] between.
    ///
    /// # Errors
    /// The machine's fault; the quarantine is then still there.
    pub fn promote(mut self) -> Result<(), Error> {
        if !self.kept {
            // The directory itself need not outlive a power cut: its files are about to leave it.
            self.finish_files()?;
            self.kept = true;
            self.faults.reach(Step::Kept);
        }
        // Before the commits are there: git takes no offence at borders of unknown commits.
        shallow::join(&self.dir, &self.repo_dir)?;
        let to = self.objects().join("pack");
        // A pack without an index is not seen; an index without its pack would be an error.
        for (suffix, step) in [("pack", Step::PackMoved), ("idx", Step::IndexMoved)] {
            let names = self.files(suffix)?;
            for name in &names {
                let from = self.pack_dir().join(name);
                fs::rename(&from, to.join(name)).map_err(io_error("promoting", &from))?;
            }
            if !names.is_empty() || self.adopted {
                sync_dir(&to)?;
            }
            self.faults.reach(step);
        }
        // Should it come to light again after a power cut, the next start sweeps it.
        fs::remove_dir_all(&self.dir).map_err(io_error("removing", &self.dir))?;
        self.faults.reach(Step::Promoted);
        Ok(())
    }

    /// Makes the packs' bytes durable, and their files as git has them: a pack never changes.
    fn finish_files(&self) -> Result<(), Error> {
        for name in self.files("pack")?.iter().chain(&self.files("idx")?) {
            let file = self.pack_dir().join(name);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o444))
                .map_err(io_error("making read-only", &file))?;
            sync_file(&file)?;
        }
        Ok(())
    }

    fn create(repo_dir: &Path) -> Result<Self, Error> {
        let objects = repo_dir.join("objects");
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(16)
            .tempdir_in(&objects)
            .map_err(io_error("making a directory in", &objects))?
            .keep();
        let name = dir.file_name().unwrap_or_default();
        let quarantine = Self {
            repo_dir: repo_dir.to_owned(),
            name: name.to_string_lossy().into_owned(),
            dir,
            kept: false,
            adopted: false,
            refused: Vec::new(),
            faults: Faults::default(),
        };
        for part in ["pack", "info"] {
            let dir = quarantine.dir.join(part);
            fs::create_dir(&dir).map_err(io_error("making", &dir))?;
        }
        // Relative to this directory, so that the repository can be moved.
        let alternates = quarantine.dir.join("info/alternates");
        fs::write(&alternates, "..\n").map_err(io_error("writing", &alternates))?;
        Ok(quarantine)
    }

    fn objects(&self) -> PathBuf {
        self.repo_dir.join("objects")
    }

    fn pack_dir(&self) -> PathBuf {
        self.dir.join("pack")
    }

    /// The names of the files that end like this.
    fn files(&self, suffix: &str) -> Result<Vec<OsString>, Error> {
        let dir = self.pack_dir();
        if !dir.exists() {
            // Its removal was cut short, and came after everything had been moved.
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for path in list(&dir)? {
            if path.extension().is_some_and(|found| found == suffix) {
                names.extend(path.file_name().map(OsStr::to_owned));
            }
        }
        Ok(names)
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        if !self.kept {
            // What stays is swept at the next start.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Removes what processes that are no more have left in the repository: quarantines, but for those
/// named in `keep`, and lock files. Gives the number of quarantines.
///
/// To be called at start-up, before anything else uses the repository.
///
/// # Errors
/// The machine's fault.
pub fn sweep(repo_dir: &Path, keep: &[&str]) -> Result<usize, Error> {
    let mut removed = 0;
    let objects = repo_dir.join("objects");
    for path in list(&objects)? {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if is_name(name) && !keep.contains(&name) {
            fs::remove_dir_all(&path).map_err(io_error("removing", &path))?;
            removed += 1;
        }
    }
    // No ref's name ends in `.lock`.
    let mut open = vec![repo_dir.join("refs")];
    let mut locks = vec![
        repo_dir.join("packed-refs.lock"),
        repo_dir.join("HEAD.lock"),
        repo_dir.join("shallow.lock"),
    ];
    while let Some(dir) = open.pop() {
        for path in list(&dir)? {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "lock") {
                locks.push(path);
            }
        }
    }
    for lock in locks {
        if lock.exists() {
            fs::remove_file(&lock).map_err(io_error("removing", &lock))?;
        }
    }
    Ok(removed)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(io_error("listing", dir))
}

/// Whether this is the name of a quarantine, and so no way out of the repository.
fn is_name(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}
