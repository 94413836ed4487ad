//! The cache dir of an app between builds.
//!
//! A build works on a private copy; the copy replaces the kept one only after the build has
//! succeeded, by two renames, so that a failed build changes nothing and nobody sees half a cache.
//! Never hard links: a build could write through them into what the next one gets.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Error, io_error};
use crate::sandbox::remove_tree;

/// What became of the kept cache.
#[derive(Debug, PartialEq, Eq)]
pub enum Restored {
    /// It is in the build's cache dir; nothing kept is an empty cache.
    Yes,
    /// It is of this other stack, whose programs need not run here, and was left alone.
    OfStack(String),
}

/// Copies the kept cache into a build's empty cache dir, unless it was saved on another stack.
///
/// # Errors
/// The platform's: a file could not be copied.
pub fn restore(kept: &Path, cache_dir: &Path, stack: &str) -> Result<Restored, Error> {
    if !kept.is_dir() {
        return Ok(Restored::Yes);
    }
    // A cache that came without its note, such as one that was put there by hand, is used.
    match fs::read_to_string(beside(kept, STACK)) {
        Ok(note) if note.trim() != stack => return Ok(Restored::OfStack(note.trim().to_owned())),
        _ => {}
    }
    copy_tree(kept, cache_dir, LEVELS)?;
    Ok(Restored::Yes)
}

/// Keeps a build's cache dir in place of the one before.
///
/// # Errors
/// The platform's: the kept cache is then the old one.
pub fn save(cache_dir: &Path, kept: &Path, stack: &str) -> Result<(), Error> {
    if !is_shallow(cache_dir, LEVELS)? {
        return Err(Error::CacheTooDeep { limit: LEVELS });
    }
    let (new, old) = (beside(kept, "slugline-new"), beside(kept, "slugline-old"));
    for leftover in [&new, &old] {
        remove_tree(leftover).map_err(io_error(leftover))?;
    }
    // Another file system cannot be renamed to.
    if fs::rename(cache_dir, &new).is_err() {
        fs::create_dir_all(&new).map_err(io_error(&new))?;
        copy_tree(cache_dir, &new, LEVELS)?;
    }
    // Until the end there is none: a note must never say of a cache what is true of another.
    let note = beside(kept, STACK);
    match fs::remove_file(&note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error(&note)(error));
        }
        _ => {}
    }
    if kept.exists() {
        fs::rename(kept, &old).map_err(io_error(kept))?;
    }
    // What a build has put there is for no other user's eyes, nor to be started by them.
    fs::set_permissions(&new, fs::Permissions::from_mode(0o700)).map_err(io_error(&new))?;
    fs::rename(&new, kept).map_err(io_error(kept))?;
    fs::write(&note, format!("{stack}\n")).map_err(io_error(&note))?;
    remove_tree(&old).map_err(io_error(&old))
}

/// Removes a kept cache with its note.
///
/// # Errors
/// Something could not be removed.
pub fn purge(kept: &Path) -> io::Result<()> {
    remove_tree(kept)?;
    match fs::remove_file(beside(kept, STACK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The end of the name of the file beside a kept cache that names its stack.
const STACK: &str = "slugline-stack";

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// Deepest cache that is kept. A build can make a tree so deep that no path reaches its end.
const LEVELS: usize = 100;

/// Copies content, modes, symlinks and modification times; set-id bits stay behind.
fn copy_tree(from: &Path, to: &Path, levels: usize) -> Result<(), Error> {
    for entry in fs::read_dir(from).map_err(io_error(from))? {
        let entry = entry.map_err(io_error(from))?;
        let (source, dest) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata().map_err(io_error(&source))?;
        let mode = fs::Permissions::from_mode(meta.permissions().mode() & 0o777);
        if meta.is_symlink() {
            let target = fs::read_link(&source).map_err(io_error(&source))?;
            symlink(target, &dest).map_err(io_error(&dest))?;
        } else if meta.is_dir() {
            let levels = levels
                .checked_sub(1)
                .ok_or(Error::CacheTooDeep { limit: LEVELS })?;
            fs::create_dir(&dest).map_err(io_error(&dest))?;
            copy_tree(&source, &dest, levels)?;
            let mode = fs::Permissions::from_mode(mode.mode() | 0o700);
            fs::set_permissions(&dest, mode).map_err(io_error(&dest))?;
        } else if meta.is_file() {
            let mut reader = File::open(&source).map_err(io_error(&source))?;
            let mut file = File::create_new(&dest).map_err(io_error(&dest))?;
            io::copy(&mut reader, &mut file).map_err(io_error(&source))?;
            let times = FileTimes::new().set_modified(meta.modified().map_err(io_error(&source))?);
            file.set_times(times).map_err(io_error(&dest))?;
            file.set_permissions(mode).map_err(io_error(&dest))?;
        }
    }
    Ok(())
}

/// Whether a tree can be copied again.
fn is_shallow(dir: &Path, levels: usize) -> Result<bool, Error> {
    for entry in fs::read_dir(dir).map_err(io_error(dir))? {
        let entry = entry.map_err(io_error(dir))?;
        if entry.file_type().map_err(io_error(dir))?.is_dir()
            && (levels == 0 || !is_shallow(&entry.path(), levels - 1)?)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_cache_is_restored_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second, kept) = (
            dir.path().join("a"),
            dir.path().join("b"),
            dir.path().join("kept"),
        );
        fs::create_dir_all(first.join("sub")).unwrap();
        fs::write(first.join("sub/file"), "1").unwrap();
        symlink("sub/file", first.join("link")).unwrap();
        fs::create_dir(&second).unwrap();
        restore(&kept, &second, "one").unwrap();
        assert_eq!(fs::read_dir(&second).unwrap().count(), 0);
        save(&first, &kept, "one").unwrap();
        restore(&kept, &second, "one").unwrap();
        assert_eq!(fs::read_to_string(second.join("link")).unwrap(), "1");
        fs::write(second.join("sub/file"), "2").unwrap();
        assert_eq!(fs::read_to_string(kept.join("sub/file")).unwrap(), "1");
        save(&second, &kept, "one").unwrap();
        assert_eq!(fs::read_to_string(kept.join("sub/file")).unwrap(), "2");
        let mut left = fs::read_dir(dir.path()).unwrap().flatten();
        assert!(
            left.all(
                |entry| entry.file_name().to_string_lossy().starts_with("kept")
                    || entry.file_name() == "a"
                    || entry.file_name() == "b"
            ),
            "no leftovers"
        );
    }

    #[test]
    fn a_cache_of_another_stack_is_not_restored() {
        let dir = tempfile::tempdir().unwrap();
        let (built, kept) = (dir.path().join("built"), dir.path().join("kept"));
        fs::create_dir(&built).unwrap();
        fs::write(built.join("file"), "1").unwrap();
        save(&built, &kept, "one").unwrap();
        fs::create_dir(&built).unwrap();
        let restored = restore(&kept, &built, "two").unwrap();
        assert_eq!(restored, Restored::OfStack("one".into()));
        assert_eq!(fs::read_dir(&built).unwrap().count(), 0);
        save(&built, &kept, "two").unwrap();
        fs::create_dir(&built).unwrap();
        assert_eq!(restore(&kept, &built, "two").unwrap(), Restored::Yes);
        purge(&kept).unwrap();
        purge(&kept).unwrap();
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "the build's own"
        );
    }
}
