//! A directory beside the repository's objects where those of one push wait until it is decided.
//!
//! In: the pack. Out: on demand a directory that reads like the repository with the new objects in
//! it, and later the objects at their place. Guaranteed: the repository's own files are first touched by
//! [`Quarantine::promote`].

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use gix::objs::Kind;

use crate::digest::hex;
use crate::fault::{Faults, Step};

use super::pack::{self, Bytes, Known, Pack};
use super::{
    Command, Error, Limits, Request, Status, checks, io_error, shallow, sync_dir, sync_file,
};

const PREFIX: &str = "incoming-";

/// What a pack's files are called before they are whole and durable; git leaves such, too.
const UNFINISHED: &str = "tmp_";

/// The objects of one push that are not part of the repository yet.
///
/// A small pack is in memory for as long as nobody else has to read it; a large one, and any that
/// has been asked for by [`Quarantine::objects_dir`], is in the directory. Dropping it removes the
/// objects, unless it was kept.
#[derive(Debug)]
pub struct Quarantine {
    repo_dir: PathBuf,
    /// `objects/<name>`.
    dir: PathBuf,
    /// `incoming-<random>`.
    name: String,
    /// What was received, as long as the directory does not have it.
    pack: Option<Pack>,
    /// Whether the directory is there, and reads like the repository.
    made: bool,
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
        let mut quarantine = Self::new(repo_dir)?.with_faults(faults);
        faults.reach(Step::Quarantine);
        if !request.has_pack() {
            pack::require_no_pack(reader)?;
            return Ok(quarantine);
        }
        let hash = request.hash();
        let commits = checks::present_commits(repo_dir, request)?;
        let mut known = Known::new(repo_dir, hash, commits);
        let tips = request.commands.iter().filter_map(|command| command.new);
        let context = pack::Context {
            hash,
            limits,
            stop,
            until: Instant::now() + limits.time,
            shallow: &request.shallow,
            tips: &tips.collect::<Vec<_>>(),
            dir: &quarantine.dir,
        };
        let pack = pack::receive(reader, &context, &mut known)?;
        faults.reach(Step::Pack);
        quarantine.refused = check_tips(&request.commands, pack.as_ref(), &mut known)?;
        quarantine.pack = pack;
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
            pack: None,
            made: true,
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

    /// The directory from which the new objects and those of the repository can be read; it is
    /// made now if it was not needed before.
    ///
    /// # Errors
    /// The machine's fault.
    pub fn objects_dir(&mut self) -> Result<&Path, Error> {
        if !self.made {
            self.make_dir()?;
            self.made = true;
        }
        Ok(&self.dir)
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
        self.objects_dir()?;
        self.sync_files()?;
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
        if !self.made {
            return self.promote_unmade();
        }
        if !self.kept {
            // The directory itself need not outlive a power cut: its files are about to leave it.
            self.sync_files()?;
            self.kept = true;
            self.faults.reach(Step::Kept);
        }
        // Before the commits are there: git takes no offence at borders of unknown commits.
        shallow::join(shallow::read(&self.dir)?, &self.repo_dir)?;
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

    /// The same without a detour by the directory, as nobody has read from it.
    ///
    /// The pack is durable before it has its name, and its name before a ref needs it. Should a power
    /// cut leave an index without its pack, the next start removes it.
    fn promote_unmade(mut self) -> Result<(), Error> {
        let Some(pack) = self.pack.take() else {
            self.kept = true;
            return Ok(());
        };
        let to = self.objects().join("pack");
        let new = |kind: &str| to.join(format!("{UNFINISHED}{kind}_{}", pack.checksum));
        let (new_pack, new_index) = (new("pack"), new("idx"));
        let new_pack = match &pack.bytes {
            Bytes::Memory(bytes) => {
                write(&new_pack, bytes, true)?;
                new_pack
            }
            Bytes::File(path) => {
                sync_file(path)?;
                path.clone()
            }
        };
        write(&new_index, &pack.index, true)?;
        self.faults.reach(Step::Kept);
        shallow::join(pack.borders.iter().copied().collect(), &self.repo_dir)?;
        for (from, suffix, step) in [
            (&new_pack, "pack", Step::PackMoved),
            (&new_index, "idx", Step::IndexMoved),
        ] {
            let to = to.join(format!("pack-{}.{suffix}", pack.checksum));
            fs::rename(from, to).map_err(io_error("promoting", from))?;
            self.faults.reach(step);
        }
        sync_dir(&to)?;
        self.kept = true;
        if matches!(pack.bytes, Bytes::File(_)) {
            fs::remove_dir_all(&self.dir).map_err(io_error("removing", &self.dir))?;
        }
        self.faults.reach(Step::Promoted);
        Ok(())
    }

    /// Makes the packs' bytes durable.
    fn sync_files(&self) -> Result<(), Error> {
        for name in self.files("pack")?.iter().chain(&self.files("idx")?) {
            sync_file(&self.pack_dir().join(name))?;
        }
        Ok(())
    }

    fn new(repo_dir: &Path) -> Result<Self, Error> {
        let mut random = [0; 16];
        let objects = repo_dir.join("objects");
        getrandom::fill(&mut random)
            .map_err(|error| io_error("naming a directory in", &objects)(error.into()))?;
        let name = format!("{PREFIX}{}", hex(&random));
        Ok(Self {
            repo_dir: repo_dir.to_owned(),
            dir: objects.join(&name),
            name,
            pack: None,
            made: false,
            kept: false,
            adopted: false,
            refused: Vec::new(),
            faults: Faults::default(),
        })
    }

    /// Makes the directory, with all that was received.
    fn make_dir(&mut self) -> Result<(), Error> {
        for dir in [self.pack_dir(), self.dir.join("info")] {
            fs::create_dir_all(&dir).map_err(io_error("making", &dir))?;
        }
        // Relative to this directory, so that the repository can be moved.
        write(&self.dir.join("info/alternates"), b"..\n", false)?;
        let Some(pack) = self.pack.take() else {
            return Ok(());
        };
        let named = |suffix: &str| {
            let name = format!("pack-{}.{suffix}", pack.checksum);
            self.pack_dir().join(name)
        };
        match &pack.bytes {
            Bytes::Memory(bytes) => write(&named("pack"), bytes, false)?,
            Bytes::File(path) => {
                fs::rename(path, named("pack")).map_err(io_error("renaming", path))?;
            }
        }
        write(&named("idx"), &pack.index, false)?;
        shallow::write(&self.dir, &pack.borders)
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

/// Checks that what each ref is to name exists; gives the refs that cannot name it, with the reason:
/// branches name commits.
fn check_tips(
    commands: &[Command],
    pack: Option<&Pack>,
    known: &mut Known,
) -> Result<Vec<(String, String)>, Error> {
    let mut refused = Vec::new();
    for Command { name, new, .. } in commands {
        let Some(id) = *new else { continue };
        let kind = match pack.and_then(|pack| pack.tips.get(&id)) {
            Some(kind) => Some(*kind),
            None => known.kind_of(&id)?,
        };
        let name = name.clone();
        match kind {
            None => return Err(Error::TipMissing { name, id }),
            Some(kind) if kind != Kind::Commit && name.starts_with("refs/heads/") => {
                let reason = format!("{id} is a {kind}, and a branch names a commit");
                refused.push((name, reason));
            }
            Some(_) => {}
        }
    }
    Ok(refused)
}

/// Writes a file as git has packs and what belongs to them: they never change.
fn write(path: &Path, bytes: &[u8], durably: bool) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    let file = match options.write(true).create_new(true).mode(0o444).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // What an attempt before this one has left.
            fs::remove_file(path).map_err(io_error("removing", path))?;
            options.open(path)
        }
        opened => opened,
    };
    file.and_then(|mut file| {
        file.write_all(bytes)?;
        if durably { file.sync_all() } else { Ok(()) }
    })
    .map_err(io_error("writing", path))
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
    let packs = list(&objects.join("pack"))?;
    for path in &packs {
        let name = path.file_name().unwrap_or_default();
        let unfinished = name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes());
        let is_index = path.extension().is_some_and(|suffix| suffix == "idx");
        if unfinished || is_index && !path.with_extension("pack").exists() {
            fs::remove_file(path).map_err(io_error("removing", path))?;
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
