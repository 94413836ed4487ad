//! Moving the refs, after their objects are in the repository.

mod packed;
mod read;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::fault::{Faults, Step};

use super::{Command, Error, checks, io_error, sync_dir, sync_file};
pub(super) use read::Refs;

/// Moves the refs, and then deletes those that are to go; makes that durable. Of the moves all are
/// done or none, but where the machine fails between two of them.
///
/// A ref that already is where it should be is left alone, so that this can be repeated after a
/// crash. To be called under the caller's lock on the repository.
///
/// # Errors
/// A ref is neither where its command saw it nor where it should go, or the machine's fault.
pub fn apply(repo_dir: &Path, commands: &[Command], faults: Faults) -> Result<(), Error> {
    let refs = Refs::of(repo_dir);
    let (mut moves, mut deletes) = (Vec::new(), Vec::new());
    for command in commands {
        let torn = remove_torn(repo_dir, &command.name)?;
        let current = refs.current(&command.name)?;
        if current == command.new {
            continue;
        }
        if current != command.old && !torn {
            return Err(Error::Stale {
                name: command.name.clone(),
            });
        }
        match command.new {
            Some(_) => moves.push(command),
            None => deletes.push(&*command.name),
        }
    }
    write(repo_dir, &moves)?;
    delete(repo_dir, &deletes)?;
    faults.reach(Step::Refs);
    // Those as well that an attempt before this one has moved.
    let mut dirs = BTreeSet::new();
    for command in commands {
        let top = repo_dir.join("refs");
        let above = Path::new(&command.name).ancestors().skip(1);
        let above = above.map(|dir| repo_dir.join(dir));
        dirs.extend(above.take_while(|dir| *dir != top));
    }
    for dir in dirs.iter().rev() {
        match sync_dir(dir) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            synced => synced?,
        }
    }
    point_head(repo_dir)?;
    faults.reach(Step::RefsSynced);
    Ok(())
}

/// Writes refs: each beside its place and durably, under the lock that git takes, and then all to
/// their places.
fn write(repo_dir: &Path, moves: &[&Command]) -> Result<(), Error> {
    let mut locks = Locks(Vec::new());
    for command in moves {
        let Some(new) = command.new else { continue };
        let path = repo_dir.join(&command.name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(io_error("making", dir))?;
        }
        // Left by refs below it that are gone.
        if path.is_dir() {
            remove_empty(&path)?;
        }
        let lock = repo_dir.join(format!("{}.lock", command.name));
        let mut file = File::create_new(&lock).map_err(io_error("locking", &lock))?;
        locks.0.push((lock.clone(), path));
        file.write_all(format!("{new}\n").as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io_error("writing", &lock))?;
    }
    for (lock, path) in &locks.0 {
        fs::rename(lock, path).map_err(io_error("writing", path))?;
    }
    locks.0.clear();
    Ok(())
}

/// Locks, and the files whose they are; those that stay are removed.
struct Locks(Vec<(PathBuf, PathBuf)>);

impl Drop for Locks {
    fn drop(&mut self) {
        for (lock, _) in &self.0 {
            // Or nobody else could go on.
            let _ = fs::remove_file(lock);
        }
    }
}

/// Removes a directory in which there are but directories.
fn remove_empty(dir: &Path) -> Result<(), Error> {
    let failed = || io_error("removing", dir);
    for entry in fs::read_dir(dir).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        if path.is_dir() {
            remove_empty(&path)?;
        }
    }
    fs::remove_dir(dir).map_err(failed())
}

/// Deletes refs: from `packed-refs` first, or an older value would come to light there.
fn delete(repo_dir: &Path, names: &[&str]) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    packed::remove(repo_dir, names)?;
    for name in names {
        let path = repo_dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            removed => removed.map_err(io_error("removing", &path))?,
        }
        // Directories of their own go with the last ref in them.
        let above = Path::new(name).ancestors().skip(1);
        for dir in above.take_while(|dir| dir.components().count() > 2) {
            if fs::remove_dir(repo_dir.join(dir)).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Lets `HEAD` name the branch that is deployed, so that a clone checks it out: `master` where only
/// that one was pushed.
fn point_head(repo_dir: &Path) -> Result<(), Error> {
    let refs = Refs::of(repo_dir);
    let mut branches = checks::BRANCHES.iter();
    let there = |name: &&&str| matches!(refs.current(name), Ok(Some(_)));
    let Some(branch) = branches.find(there) else {
        return Ok(());
    };
    let (head, text) = (repo_dir.join("HEAD"), format!("ref: {branch}\n"));
    if fs::read(&head).is_ok_and(|content| content == text.as_bytes()) {
        return Ok(());
    }
    let new = repo_dir.join("HEAD.new");
    fs::write(&new, text).map_err(io_error("writing", &new))?;
    sync_file(&new)?;
    fs::rename(&new, &head).map_err(io_error("writing", &head))?;
    sync_dir(repo_dir)
}

/// Removes a ref's file that a power cut left without its content, and says whether it did.
///
/// Such a file was renamed into place by an earlier try and its bytes were not written yet. What it
/// held before is gone, so the command cannot be compared with it.
fn remove_torn(repo_dir: &Path, name: &str) -> Result<bool, Error> {
    let path = repo_dir.join(name);
    match fs::read(&path) {
        Ok(content) if content.iter().all(|byte| *byte == 0) => {
            fs::remove_file(&path).map_err(io_error("removing", &path))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
