//! Moving the refs, after their objects are in the repository.

use std::fs;
use std::io;
use std::path::Path;

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};
use gix::refs::{FullName, Target};

use crate::fault::{Faults, Step};

use super::{Command, Error, checks, git_error, open, packed, sync_dir, sync_file};

/// Moves the refs, and then deletes those that are to go; makes that durable. Of the moves all are
/// done or none.
///
/// A ref that already is where it should be is left alone, so that this can be repeated after a
/// crash. To be called under the caller's lock on the repository.
///
/// # Errors
/// A ref is neither where its command saw it nor where it should go, or the machine's fault.
pub fn apply(repo_dir: &Path, commands: &[Command], faults: Faults) -> Result<(), Error> {
    let torn = commands
        .iter()
        .map(|command| remove_torn(repo_dir, &command.name))
        .collect::<Result<Vec<_>, _>>()?;
    let repo = open(repo_dir)?;
    let mut edits = Vec::new();
    for (command, torn) in commands.iter().zip(torn) {
        let current = checks::current(&repo, repo_dir, &command.name)?;
        if current == command.new {
            continue;
        }
        if current != command.old && !torn {
            return Err(Error::Stale {
                name: command.name.clone(),
            });
        }
        edits.push(edit(command, current)?);
    }
    let (deletes, moves): (Vec<_>, Vec<_>) = edits
        .into_iter()
        .partition(|edit| matches!(edit.change, Change::Delete { .. }));
    let failed = || git_error("moving the refs of", repo_dir);
    repo.edit_references_as(moves, None).map_err(failed())?;
    delete(repo_dir, deletes)?;
    faults.reach(Step::Refs);
    for command in commands {
        sync(repo_dir, &command.name)?;
    }
    point_head(repo_dir, &repo)?;
    faults.reach(Step::RefsSynced);
    Ok(())
}

/// Deletes refs: from `packed-refs` first, or an older value would come to light there.
fn delete(repo_dir: &Path, mut deletes: Vec<RefEdit>) -> Result<(), Error> {
    if deletes.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = deletes
        .iter()
        .map(|edit| edit.name.as_bstr().to_string())
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let packed = packed::remove(repo_dir, &names)?;
    // Those that were packed alone are gone with that.
    deletes.retain(|edit| {
        let name = edit.name.as_bstr().to_str_lossy();
        !packed.contains(&&*name) || repo_dir.join(&*name).is_file()
    });
    let repo = open(repo_dir)?;
    repo.edit_references_as(deletes, None)
        .map_err(git_error("moving the refs of", repo_dir))?;
    Ok(())
}

/// Lets `HEAD` name the branch that is deployed, so that a clone checks it out: `master` where only
/// that one was pushed.
fn point_head(repo_dir: &Path, repo: &gix::Repository) -> Result<(), Error> {
    let mut branches = checks::BRANCHES.iter();
    let there = |name: &&&str| matches!(checks::current(repo, repo_dir, name), Ok(Some(_)));
    let Some(branch) = branches.find(there) else {
        return Ok(());
    };
    let (head, text) = (repo_dir.join("HEAD"), format!("ref: {branch}\n"));
    if fs::read(&head).is_ok_and(|content| content == text.as_bytes()) {
        return Ok(());
    }
    let new = repo_dir.join("HEAD.new");
    fs::write(&new, text).map_err(super::io_error("writing", &new))?;
    sync_file(&new)?;
    fs::rename(&new, &head).map_err(super::io_error("writing", &head))?;
    sync_dir(repo_dir)
}

fn edit(command: &Command, current: Option<ObjectId>) -> Result<RefEdit, Error> {
    let name = FullName::try_from(command.name.as_str()).map_err(|error| Error::RefName {
        name: command.name.clone(),
        reason: error.to_string(),
    })?;
    let expected = match current {
        Some(id) => PreviousValue::MustExistAndMatch(Target::Object(id)),
        None => PreviousValue::MustNotExist,
    };
    let change = match command.new {
        Some(new) => Change::Update {
            log: LogChange::default(),
            expected,
            new: Target::Object(new),
        },
        None => Change::Delete {
            expected,
            log: RefLog::AndReference,
        },
    };
    Ok(RefEdit {
        change,
        name,
        deref: false,
    })
}

/// Removes a ref's file that a power cut left without its content, and says whether it did.
///
/// Such a file was renamed into place by an earlier try and its bytes were not written yet. What it
/// held before is gone, so the command cannot be compared with it.
fn remove_torn(repo_dir: &Path, name: &str) -> Result<bool, Error> {
    let path = repo_dir.join(name);
    match fs::read(&path) {
        Ok(content) if content.iter().all(|byte| *byte == 0) => {
            fs::remove_file(&path).map_err(super::io_error("removing", &path))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Makes a ref's file and the directories above it durable, as far as they are there; `refs` itself
/// is as old as the repository.
fn sync(repo_dir: &Path, name: &str) -> Result<(), Error> {
    let (mut path, top) = (repo_dir.join(name), repo_dir.join("refs"));
    while path != top {
        match sync_file(&path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
        path.pop();
    }
    Ok(())
}
