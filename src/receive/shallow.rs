//! The borders of a repository's history: commits whose parents it does not have, since they were
//! pushed from a shallow clone.
//!
//! Source: gitprotocol-pack(5), "shallow"; gitrepository-layout(5), `shallow`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use gix::ObjectId;

use super::{Error, io_error, sync_dir, sync_file};

const NAME: &str = "shallow";

/// The borders that a directory names; none where it names none.
///
/// # Errors
/// The machine's fault.
pub(super) fn read(dir: &Path) -> Result<BTreeSet<ObjectId>, Error> {
    let path = dir.join(NAME);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(source) => return Err(io_error("reading", &path)(source)),
    };
    let ids = text.split(|byte| *byte == b'\n');
    Ok(ids.filter_map(|id| ObjectId::from_hex(id).ok()).collect())
}

/// Notes the borders that a push brings, in its quarantine.
///
/// # Errors
/// The machine's fault.
pub(super) fn write(dir: &Path, borders: &[ObjectId]) -> Result<(), Error> {
    if borders.is_empty() {
        return Ok(());
    }
    let path = dir.join(NAME);
    fs::write(&path, text(borders)).map_err(io_error("writing", &path))
}

fn text<'a>(borders: impl IntoIterator<Item = &'a ObjectId>) -> String {
    let lines = borders.into_iter().map(|id| format!("{id}\n"));
    lines.collect()
}

/// Makes the note durable, where there is one.
///
/// # Errors
/// The machine's fault.
pub(super) fn sync(dir: &Path) -> Result<(), Error> {
    let path = dir.join(NAME);
    if path.exists() {
        sync_file(&path)?;
    }
    Ok(())
}

/// Adds borders to the repository's, durably. Can be repeated.
///
/// # Errors
/// The machine's fault.
pub(super) fn join(new: BTreeSet<ObjectId>, repo_dir: &Path) -> Result<(), Error> {
    if new.is_empty() {
        return Ok(());
    }
    let mut all = read(repo_dir)?;
    let before = all.len();
    all.extend(new);
    if all.len() == before {
        return Ok(());
    }
    // The lock that git takes; what a dead process has left of it is swept at the start.
    let (path, lock) = (repo_dir.join(NAME), repo_dir.join("shallow.lock"));
    fs::write(&lock, text(&all)).map_err(io_error("writing", &lock))?;
    sync_file(&lock)?;
    fs::rename(&lock, &path).map_err(io_error("writing", &path))?;
    sync_dir(repo_dir)
}
