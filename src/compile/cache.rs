//! The cache dir of an app between builds.
//!
//! A build works on a private copy; the copy replaces the kept one only after the build has
//! succeeded, together with a note of what made it, by one exchange of two directories: a failed
//! build changes nothing, and nobody ever sees half a cache, whenever the server is killed. Never
//! hard links: a build could write through them into what the next one gets.
//!
//! A kept cache is a directory with `current/files`, `current/note.json`, what others keep beside them,
//! and, while one is saved, `new`.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde::{Deserialize, Serialize};

use super::{Error, io_error};
use crate::sandbox::remove_tree;
use crate::stack::Stack;

/// What made a cache, and so decides who can use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// The stack's name, for messages.
    stack: String,
    /// Name, root file system and architecture.
    stack_key: String,
    /// The names of the buildpacks, in their order.
    buildpacks: Vec<String>,
}

impl Maker {
    /// A build on a stack by these buildpacks.
    pub fn new(stack: &Stack, buildpacks: Vec<String>) -> Self {
        Self {
            stack: stack.name.to_string(),
            stack_key: stack.key(),
            buildpacks,
        }
    }

    /// Says why what `before` made is of no use to this one.
    fn discards(&self, before: &Self) -> Option<String> {
        if self.stack != before.stack {
            return Some(format!(
                "Stack changed from {} to {}",
                before.stack, self.stack
            ));
        }
        if self.stack_key != before.stack_key {
            return Some(format!("The stack {} has changed", self.stack));
        }
        // One that stays finds its own again; what the others have left does no harm.
        let stays = |name: &String| self.buildpacks.contains(name);
        let listed = |names: &[String]| names.join(", ");
        (!before.buildpacks.is_empty() && !before.buildpacks.iter().any(stays)).then(|| {
            let (from, to) = (listed(&before.buildpacks), listed(&self.buildpacks));
            format!("Buildpacks changed from {from} to {to}")
        })
    }
}

/// What became of the kept cache.
#[derive(Debug, PartialEq, Eq)]
pub enum Restored {
    /// It is in the build's cache dir; nothing kept is an empty cache.
    Yes,
    /// It was left alone, for this reason.
    Discarded(String),
}

/// Copies the kept cache into a build's empty cache dir, unless another kind of build made it.
///
/// # Errors
/// The platform's: a file could not be copied. [`Error::Cancelled`] soon after `stop` is set.
pub fn restore(
    kept: &Path,
    cache_dir: &Path,
    maker: &Maker,
    stop: &AtomicBool,
) -> Result<Restored, Error> {
    let current = kept.join(CURRENT);
    let files = current.join(FILES);
    if !files.is_dir() {
        return Ok(Restored::Yes);
    }
    let note = fs::read(current.join(NOTE)).ok();
    let note = note.and_then(|text| serde_json::from_slice::<Maker>(&text).ok());
    let reason = match note {
        Some(before) => maker.discards(&before),
        None => Some("It is not known what made it".to_owned()),
    };
    if let Some(reason) = reason {
        return Ok(Restored::Discarded(reason));
    }
    copy_tree(&files, cache_dir, LEVELS, stop)?;
    Ok(Restored::Yes)
}

/// A file that was kept with a cache, where there is one.
#[must_use]
pub fn beside(kept: &Path, name: &str) -> Option<File> {
    File::open(kept.join(CURRENT).join(name)).ok()
}

/// A build's cache dir, whole and beside the kept cache. Dropped without [`Saved::commit`] it leaves
/// nothing behind.
#[derive(Debug)]
#[must_use]
pub struct Saved {
    new: PathBuf,
    current: PathBuf,
}

impl Saved {
    /// Keeps a file beside it, for [`beside`].
    ///
    /// # Errors
    /// The platform's.
    pub fn add(
        &self,
        name: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let path = self.new.join(name);
        let written = File::create_new(&path).and_then(|mut file| write(&mut file));
        written.map_err(io_error(&path))
    }

    /// Keeps it in place of the one before.
    ///
    /// # Errors
    /// The platform's: the kept cache is then the old one.
    pub fn commit(self) -> Result<(), Error> {
        exchange(&self.new, &self.current).map_err(io_error(&self.current))
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.new) {
            tracing::warn!(path = %self.new.display(), %error, "a cache stays behind");
        }
    }
}

/// Takes a build's cache dir, to be kept.
///
/// # Errors
/// The platform's: the kept cache is then the old one, as it is after [`Error::Cancelled`].
pub fn save(
    cache_dir: &Path,
    kept: &Path,
    maker: &Maker,
    stop: &AtomicBool,
) -> Result<Saved, Error> {
    if !is_shallow(cache_dir, LEVELS)? {
        return Err(Error::CacheTooDeep { limit: LEVELS });
    }
    let (current, new) = (kept.join(CURRENT), kept.join(NEW));
    // What a killed server has left.
    remove_tree(&new).map_err(io_error(&new))?;
    let saved = Saved { new, current };
    let new = &saved.new;
    fs::create_dir_all(new).map_err(io_error(new))?;
    // What a build has put there is for no other user's eyes, nor to be started by them.
    fs::set_permissions(new, fs::Permissions::from_mode(0o700)).map_err(io_error(new))?;
    let files = new.join(FILES);
    // Another file system cannot be renamed to.
    if fs::rename(cache_dir, &files).is_err() {
        fs::create_dir(&files).map_err(io_error(&files))?;
        copy_tree(cache_dir, &files, LEVELS, stop)?;
    }
    let note = new.join(NOTE);
    let text = serde_json::to_vec(maker).map_err(|error| io_error(&note)(error.into()))?;
    fs::write(&note, text).map_err(io_error(&note))?;
    Ok(saved)
}

/// Puts `new` in the place of `current`, and what was there in its own.
fn exchange(new: &Path, current: &Path) -> io::Result<()> {
    if !current.exists() {
        return fs::rename(new, current);
    }
    let flags = RenameFlags::RENAME_EXCHANGE;
    if renameat2(AT_FDCWD, new, AT_FDCWD, current, flags).is_ok() {
        return Ok(());
    }
    // Some network file systems cannot: then there is none for a moment, but never half of one.
    remove_tree(current)?;
    fs::rename(new, current)
}

/// Removes what a killed server has left beside a kept cache.
///
/// # Errors
/// Something could not be removed.
pub fn sweep(kept: &Path) -> io::Result<()> {
    remove_tree(&kept.join(NEW))
}

/// Removes a kept cache.
///
/// # Errors
/// Something could not be removed.
pub fn purge(kept: &Path) -> io::Result<()> {
    remove_tree(kept)
}

const CURRENT: &str = "current";
const NEW: &str = "new";
const FILES: &str = "files";
const NOTE: &str = "note.json";

/// Deepest cache that is kept. A build can make a tree so deep that no path reaches its end.
const LEVELS: usize = 100;

/// Copies content, modes, symlinks and modification times; set-id bits stay behind.
fn copy_tree(from: &Path, to: &Path, levels: usize, stop: &AtomicBool) -> Result<(), Error> {
    for entry in fs::read_dir(from).map_err(io_error(from))? {
        if stop.load(Ordering::SeqCst) {
            return Err(Error::Cancelled);
        }
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
            copy_tree(&source, &dest, levels, stop)?;
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

    static GO: AtomicBool = AtomicBool::new(false);

    fn maker(stack: &str, buildpacks: &[&str]) -> Maker {
        let stack = Stack::of_host(stack.parse().unwrap());
        Maker::new(
            &stack,
            buildpacks.iter().map(|name| (*name).to_owned()).collect(),
        )
    }

    /// A cache dir with one file.
    fn built(dir: &Path) -> PathBuf {
        let built = dir.join("built");
        fs::create_dir(&built).unwrap();
        fs::write(built.join("file"), "1").unwrap();
        built
    }

    fn is_empty(dir: &Path) -> bool {
        fs::read_dir(dir).unwrap().next().is_none()
    }

    #[test]
    fn a_saved_cache_is_restored_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let maker = maker("one", &["lang"]);
        let names = ["first", "second", "kept"].map(|name| dir.path().join(name));
        let [first, second, kept] = &names;
        fs::create_dir_all(first.join("sub")).unwrap();
        fs::write(first.join("sub/file"), "1").unwrap();
        symlink("sub/file", first.join("link")).unwrap();
        fs::create_dir(second).unwrap();
        restore(kept, second, &maker, &GO).unwrap();
        assert!(is_empty(second));
        save(first, kept, &maker, &GO).unwrap().commit().unwrap();
        restore(kept, second, &maker, &GO).unwrap();
        assert_eq!(fs::read_to_string(second.join("link")).unwrap(), "1");
        fs::write(second.join("sub/file"), "2").unwrap();
        let kept_file = kept.join("current/files/sub/file");
        assert_eq!(fs::read_to_string(&kept_file).unwrap(), "1");
        // Nobody sees what is not committed.
        drop(save(&built(dir.path()), kept, &maker, &GO).unwrap());
        assert_eq!(fs::read_to_string(&kept_file).unwrap(), "1");
        save(second, kept, &maker, &GO).unwrap().commit().unwrap();
        assert_eq!(fs::read_to_string(&kept_file).unwrap(), "2");
        assert_eq!(fs::read_dir(kept).unwrap().count(), 1, "no leftovers");
    }

    #[test]
    fn what_another_kind_of_build_made_is_not_restored() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        save(&built(dir.path()), &kept, &maker("one", &["a", "b"]), &GO)
            .unwrap()
            .commit()
            .unwrap();
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        for (other, reason) in [
            (maker("two", &["a", "b"]), "Stack changed from one to two"),
            (maker("one", &["c"]), "Buildpacks changed from a, b to c"),
        ] {
            let restored = restore(&kept, &empty, &other, &GO).unwrap();
            assert_eq!(restored, Restored::Discarded(reason.to_owned()));
            assert!(is_empty(&empty));
        }
        let restored = restore(&kept, &empty, &maker("one", &["c", "b"]), &GO).unwrap();
        assert_eq!(restored, Restored::Yes);
        assert!(!is_empty(&empty));
        purge(&kept).unwrap();
        purge(&kept).unwrap();
        assert!(!kept.exists());
    }

    #[test]
    fn what_a_killed_server_left_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, maker) = (dir.path().join("kept"), maker("one", &["a"]));
        save(&built(dir.path()), &kept, &maker, &GO)
            .unwrap()
            .commit()
            .unwrap();
        // It died while it saved.
        let half = kept.join("new/files/half");
        fs::create_dir_all(&half).unwrap();
        let restored = dir.path().join("restored");
        fs::create_dir(&restored).unwrap();
        restore(&kept, &restored, &maker, &GO).unwrap();
        assert_eq!(fs::read_dir(&restored).unwrap().count(), 1);
        save(&restored, &kept, &maker, &GO)
            .unwrap()
            .commit()
            .unwrap();
        assert!(!kept.join("new").exists());
        fs::create_dir_all(&half).unwrap();
        sweep(&kept).unwrap();
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 1);
    }

    #[test]
    fn a_cancelled_copy_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, maker) = (dir.path().join("kept"), maker("one", &["a"]));
        save(&built(dir.path()), &kept, &maker, &GO)
            .unwrap()
            .commit()
            .unwrap();
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let stopped = restore(&kept, &empty, &maker, &AtomicBool::new(true));
        assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    }
}
