//! The runtimes that are here: trees by their digests, and what each is.
//!
//! `DIR/trees/HEX` is a tree, never changed; `DIR/kept/NAME-VERSION-ARCH.json` says which one a
//! version is. An entry is there only once its tree is whole. The time of an entry's file is that of
//! its last use.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};

use super::{Error, io_error, remove};
use crate::digest::Digest;

const TICK: Duration = Duration::from_millis(50);

/// How a runtime came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From a source of its inventory, against that source's digest.
    Fetched,
    /// By `slugline runtime import`.
    Imported,
    /// Copied from what this machine has.
    Host,
}

/// A runtime that is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub name: String,
    pub version: String,
    /// As `uname -m` says it.
    pub arch: String,
    pub tree: Digest,
    pub way: Way,
    /// Where it came from, in words.
    pub origin: String,
    /// Of the machine's own, what tells that it is still the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    pub files: usize,
    pub bytes: u64,
}

/// The cache of one directory.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The cache in `dir`, which need not be there.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where the trees are, which builds may read; made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn trees(&self) -> Result<PathBuf, Error> {
        let trees = self.dir.join("trees");
        fs::create_dir_all(&trees).map_err(io_error(&trees))?;
        for dir in [&self.dir, &trees] {
            let mode = fs::metadata(dir)
                .map_err(io_error(dir))?
                .permissions()
                .mode();
            // It may be another's, who shares it.
            if mode & 0o755 != 0o755 {
                let open = Permissions::from_mode(mode | 0o755);
                fs::set_permissions(dir, open).map_err(io_error(dir))?;
            }
        }
        Ok(trees)
    }

    /// The tree of an entry.
    pub fn tree(&self, kept: &Kept) -> PathBuf {
        self.dir.join("trees").join(kept.tree.hex())
    }

    /// A new empty directory on the trees' file system, which goes with what it gives.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn work(&self) -> Result<tempfile::TempDir, Error> {
        let new = self.dir.join("new");
        fs::create_dir_all(&new).map_err(io_error(&new))?;
        // Commands that run as others pass through it.
        let open = Permissions::from_mode(0o711);
        fs::set_permissions(&new, open).map_err(io_error(&new))?;
        tempfile::tempdir_in(&new).map_err(io_error(&new))
    }

    /// Waits until nobody else obtains the same; holds it until what it gives is dropped.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or the lock's file cannot be made.
    pub fn lock(&self, name: &str, version: &str, stop: &AtomicBool) -> Result<File, Error> {
        let locks = self.dir.join("locks");
        fs::create_dir_all(&locks).map_err(io_error(&locks))?;
        let path = locks.join(format!("{name}-{version}"));
        let file = File::create(&path).map_err(io_error(&path))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) if stop.load(Ordering::SeqCst) => {
                    return Err(Error::Cancelled);
                }
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(TICK),
                Err(fs::TryLockError::Error(error)) => return Err(io_error(&path)(error)),
            }
        }
    }

    /// Keeps a settled tree, which lies on the same file system, in place of what was there.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn keep(&self, tree: &Path, kept: &Kept) -> Result<(), Error> {
        self.trees()?;
        let to = self.tree(kept);
        match fs::rename(tree, &to) {
            // The same tree is there.
            Err(_) if to.is_dir() => {}
            renamed => renamed.map_err(io_error(&to))?,
        }
        let entries = self.dir.join("kept");
        fs::create_dir_all(&entries).map_err(io_error(&entries))?;
        let mut part = tempfile::NamedTempFile::new_in(&entries).map_err(io_error(&entries))?;
        serde_json::to_writer(&mut part, kept)
            .map_err(|error| io_error(&entries)(io::Error::from(error)))?;
        let path = self.path(&kept.name, &kept.version);
        part.persist(&path)
            .map_err(|error| io_error(&path)(error.error))?;
        Ok(())
    }

    /// What a version is, where it is here for this machine's architecture.
    pub fn find(&self, name: &str, version: &str) -> Option<Kept> {
        self.read(&self.path(name, version))
    }

    /// Notes that a runtime is in use.
    pub fn touch(&self, kept: &Kept) {
        let path = self.path(&kept.name, &kept.version);
        let now = TimeSpec::UTIME_NOW;
        let noted = File::open(&path).and_then(|file| Ok(futimens(file, &now, &now)?));
        if let Err(error) = noted {
            tracing::warn!(%error, "a runtime's last use is not noted");
        }
    }

    fn path(&self, name: &str, version: &str) -> PathBuf {
        let arch = std::env::consts::ARCH;
        self.dir
            .join("kept")
            .join(format!("{name}-{version}-{arch}.json"))
    }

    fn read(&self, path: &Path) -> Option<Kept> {
        let kept = serde_json::from_slice::<Kept>(&fs::read(path).ok()?).ok()?;
        self.tree(&kept).is_dir().then_some(kept)
    }

    /// All that is here, by name and version, each with the time of its last use.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<(Kept, SystemTime)>, Error> {
        let entries = self.dir.join("kept");
        let read = match fs::read_dir(&entries) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(io_error(&entries))?,
        };
        let mut all = Vec::new();
        for entry in read {
            let path = entry.map_err(io_error(&entries))?.path();
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            let used = fs::metadata(&path).and_then(|meta| meta.modified());
            if let Some(kept) = self.read(&path) {
                all.push((kept, used.unwrap_or(SystemTime::UNIX_EPOCH)));
            }
        }
        all.sort_by(|(a, _), (b, _)| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        Ok(all)
    }

    /// Removes what has not been used since `before`, but for what was imported, and trees and
    /// leavings of no entry that are as old; gives what it has removed.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn sweep(&self, before: SystemTime) -> Result<Vec<Kept>, Error> {
        let mut gone = Vec::new();
        let mut trees = Vec::new();
        for (kept, used) in self.list()? {
            if kept.way == Way::Imported || used >= before {
                trees.push(kept.tree.hex());
                continue;
            }
            let path = self.path(&kept.name, &kept.version);
            fs::remove_file(&path).map_err(io_error(&path))?;
            gone.push(kept);
        }
        for part in ["trees", "new"] {
            let dir = self.dir.join(part);
            let Ok(entries) = fs::read_dir(&dir) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let made = entry.metadata().and_then(|meta| meta.modified());
                let is_old = made.is_ok_and(|made| made < before);
                let name = entry.file_name();
                let is_known = trees.iter().any(|tree| name == tree.as_str());
                // What has just lost its entry is unused as long.
                let was_known = gone.iter().any(|kept| name == kept.tree.hex().as_str());
                if !is_known && (is_old || was_known) {
                    remove(&path).map_err(io_error(&path))?;
                }
            }
        }
        Ok(gone)
    }
}
