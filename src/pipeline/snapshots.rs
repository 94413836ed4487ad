//! Trees that buildpacks have saved for later builds of the same app.
//!
//! Each is kept once, by the digest of its content, and never changed: a build sees them read-only,
//! and copies what it wants, or has it under a writable layer. A key names one for one stack and architecture. They are there as soon
//! as they are saved, whatever becomes of the build; what is old or too much goes when a build ends.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};

use crate::checkout;
use crate::digest::Digest;
use crate::sandbox::remove_tree;
use crate::tool::{Answer, Key};

/// How large one snapshot may be.
const LIMITS: checkout::Limits = checkout::Limits {
    files: 500_000,
    bytes: 4 << 30,
};
/// Longest tar that waits to be unpacked: the bytes, and a kibibyte for each file.
const SPOOL_BYTES: u64 = LIMITS.bytes + (LIMITS.files as u64) * 1024;
/// Most snapshots of one app, and most bytes of all of them; those that were used last stay.
const KEPT: usize = 50;
const KEPT_BYTES: u64 = 8 << 30;

/// What a key stands for.
#[derive(Debug, Serialize, Deserialize)]
struct Named {
    key: String,
    digest: Digest,
    bytes: u64,
    #[serde(default)]
    files: usize,
}

/// A kept tree.
#[derive(Debug)]
pub(super) struct Found {
    pub tree: PathBuf,
    /// Its name among the trees.
    pub name: String,
    /// Files and symlinks.
    pub files: usize,
}

/// The snapshots of one app, for builds on one stack.
#[derive(Debug)]
pub(super) struct Snapshots {
    dir: PathBuf,
    stack_key: String,
    /// What is being kept while the build goes on.
    under_way: Mutex<Vec<JoinHandle<()>>>,
}

impl Snapshots {
    /// The snapshots in `dir`, which is made.
    pub fn open(dir: &Path, stack_key: String) -> io::Result<Self> {
        let new = dir.join("new");
        // What a killed server has left.
        remove_tree(&new)?;
        for made in [dir.join("trees"), dir.join("keys"), new] {
            fs::create_dir_all(&made)?;
            fs::set_permissions(&made, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            stack_key,
            under_way: Mutex::default(),
        })
    }

    /// Where the trees are, which builds may read.
    pub fn trees(&self) -> PathBuf {
        self.dir.join("trees")
    }

    /// Finds what a key stands for.
    pub fn find(&self, key: &Key) -> Option<Found> {
        self.finish();
        let path = self.name(key);
        let named = read(&path).filter(|named| self.tree(&named.digest).is_dir())?;
        // It was used now: others go before it.
        if let Err(error) = self.note(&path, &named) {
            tracing::warn!(%error, "a snapshot's last use is not noted");
        }
        Some(Found {
            tree: self.tree(&named.digest),
            name: named.digest.hex(),
            files: named.files,
        })
    }

    /// Keeps a tar's tree under a key, in place of what was there.
    pub fn save(&self, key: &Key, tar: &mut dyn Read) -> Answer {
        match self.try_save(key, tar) {
            Ok(digest) => Answer::Saved { digest },
            Err(error) => Answer::Refused {
                message: format!("{error:#}"),
            },
        }
    }

    /// Takes a tar and keeps its tree while the build goes on: making the files is most of the work.
    /// What cannot be kept is then made again by the next build. `then` gets the kept tree.
    pub fn save_later(
        own: &Arc<Self>,
        key: Key,
        tar: &mut dyn Read,
        then: impl FnOnce(&Path) + Send + 'static,
    ) -> Answer {
        let taken = tempfile::tempfile_in(own.dir.join("new")).and_then(|mut spool| {
            let copied = io::copy(&mut tar.take(SPOOL_BYTES), &mut spool)?;
            if copied == SPOOL_BYTES {
                return Err(io::Error::other("it is too large"));
            }
            spool.rewind()?;
            Ok(spool)
        });
        let mut spool = match taken {
            Ok(spool) => spool,
            Err(error) => {
                return Answer::Refused {
                    message: error.to_string(),
                };
            }
        };
        let keeper = own.clone();
        let keep = move || match keeper.try_save(&key, &mut spool) {
            Ok(digest) => then(&keeper.tree(&digest)),
            Err(error) => tracing::warn!(%key, "a snapshot is not kept: {error:#}"),
        };
        own.under_way().push(thread::spawn(keep));
        Answer::Taken
    }

    /// Waits for what is being kept.
    fn finish(&self) {
        let all = std::mem::take(&mut *self.under_way());
        for thread in all {
            if thread.join().is_err() {
                tracing::warn!("keeping a snapshot has panicked");
            }
        }
    }

    fn under_way(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn try_save(&self, key: &Key, tar: &mut dyn Read) -> anyhow::Result<Digest> {
        let new = tempfile::tempdir_in(self.dir.join("new"))?;
        let root = new.path().join("tree");
        fs::create_dir(&root)?;
        // The reader fails when the build ends.
        let go = AtomicBool::new(false);
        let whole = checkout::whole_archive(tar, &root, &LIMITS, &go, &|_| true)?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
        let kept = self.tree(&whole.digest);
        match fs::rename(&root, &kept) {
            // The same tree under another key.
            Err(_) if kept.is_dir() => {}
            renamed => renamed?,
        }
        let named = Named {
            key: key.to_string(),
            digest: whole.digest,
            bytes: whole.bytes,
            files: whole.files,
        };
        self.note(&self.name(key), &named)?;
        Ok(whole.digest)
    }

    /// Writes what a key stands for; the file's time is that of the last use.
    fn note(&self, path: &Path, named: &Named) -> io::Result<()> {
        let mut part = tempfile::NamedTempFile::new_in(self.dir.join("new"))?;
        serde_json::to_writer(&mut part, named)?;
        part.persist(path)?;
        Ok(())
    }

    /// Removes what is over the limits, the longest unused first, and trees without a key. To be
    /// called while no build of the app is under way.
    pub fn sweep(&self) -> io::Result<()> {
        self.finish();
        let mut keys = Vec::new();
        for entry in fs::read_dir(self.dir.join("keys"))? {
            let entry = entry?;
            keys.push((entry.metadata()?.modified()?, entry.path()));
        }
        keys.sort();
        let (mut used, mut bytes) = (HashSet::new(), 0_u64);
        for (place, (_, path)) in keys.into_iter().rev().enumerate() {
            let fits = |named: &Named| place < KEPT && bytes + named.bytes <= KEPT_BYTES;
            match read(&path).filter(fits) {
                Some(named) => {
                    if used.insert(named.digest.hex()) {
                        bytes += named.bytes;
                    }
                }
                None => fs::remove_file(path)?,
            }
        }
        for entry in fs::read_dir(self.trees())? {
            let entry = entry?;
            if !used.contains(&*entry.file_name().to_string_lossy()) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    fn tree(&self, digest: &Digest) -> PathBuf {
        self.trees().join(digest.hex())
    }

    fn name(&self, key: &Key) -> PathBuf {
        let name = Digest::of(format!("{}\n{key}", self.stack_key).as_bytes());
        self.dir.join("keys").join(name.hex())
    }
}

fn read(path: &Path) -> Option<Named> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            header.set_mtime(1_000_000_000);
            builder
                .append_data(&mut header, path, text.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn found(snapshots: &Snapshots, name: &str) -> Option<PathBuf> {
        snapshots.find(&key(name)).map(|found| found.tree)
    }

    #[test]
    fn what_is_saved_is_found_by_its_key_on_its_stack() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path(), "one".into()).unwrap();
        assert_eq!(found(&snapshots, "a"), None);
        let saved = snapshots.save(&key("a"), &mut &tar(&[("f", "1"), ("d/g", "2")])[..]);
        assert!(matches!(saved, Answer::Saved { .. }), "{saved:?}");
        let tree = found(&snapshots, "a").unwrap();
        assert_eq!(fs::read_to_string(tree.join("d/g")).unwrap(), "2");
        // The same content is there once.
        snapshots.save(&key("b"), &mut &tar(&[("f", "1"), ("d/g", "2")])[..]);
        assert_eq!(found(&snapshots, "b"), Some(tree.clone()));
        // A later one takes the key, and the tree of the one before stays as it is.
        snapshots.save(&key("a"), &mut &tar(&[("f", "3")])[..]);
        assert_ne!(found(&snapshots, "a").unwrap(), tree);
        assert_eq!(fs::read_to_string(tree.join("f")).unwrap(), "1");
        let other = Snapshots::open(dir.path(), "two".into()).unwrap();
        assert_eq!(found(&other, "a"), None);
        snapshots.sweep().unwrap();
        assert!(tree.is_dir());
        fs::remove_file(snapshots.name(&key("b"))).unwrap();
        snapshots.sweep().unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn what_is_kept_later_is_found_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Arc::new(Snapshots::open(dir.path(), "one".into()).unwrap());
        let tree = tar(&[("f", "1")]);
        let save = |name: &str, bytes: &[u8]| {
            Snapshots::save_later(&snapshots, key(name), &mut &*bytes, |_| ())
        };
        assert_eq!(save("a", &tree), Answer::Taken);
        assert!(found(&snapshots, "a").is_some());
        assert_eq!(save("b", b"no tar at all"), Answer::Taken);
        assert_eq!(found(&snapshots, "b"), None);
        assert_eq!(save("c", &tree), Answer::Taken);
        snapshots.sweep().unwrap();
        assert!(found(&snapshots, "c").is_some());
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 0);
    }

    #[test]
    fn half_a_tree_and_hostile_ones_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path(), "one".into()).unwrap();
        let whole = tar(&[("f", &"x".repeat(5000))]);
        let mut outside = tar(&[("xxxxxxx", "")]);
        outside[..7].copy_from_slice(b"../../x");
        let mut header = tar::Header::from_byte_slice(&outside[..512]).clone();
        header.set_cksum();
        outside[..512].copy_from_slice(header.as_bytes());
        for bytes in [&whole[..1000], &outside, b"no tar at all", b""] {
            let saved = snapshots.save(&key("a"), &mut &*bytes);
            assert!(matches!(saved, Answer::Refused { .. }), "{saved:?}");
        }
        assert_eq!(found(&snapshots, "a"), None);
        for name in ["trees", "keys", "new"] {
            let left = fs::read_dir(dir.path().join(name)).unwrap().count();
            assert_eq!(left, 0, "{name}");
        }
        assert!(!dir.path().join("x").exists());
    }
}
