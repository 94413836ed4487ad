//! The imported stacks of a data directory.
//!
//! `DATA/stacks/NAME.json` says which root file system a name stands for; those lie below
//! `DATA/stacks/roots`, each by the digest of its content. Importing needs no server and does not
//! disturb one: a new root is there before its name is, and one that no name stands for any more is
//! removed when a server starts, since a build may still be in it.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread;

use serde::{Deserialize, Serialize};

use super::clock;
use crate::checkout;
use crate::digest::Digest;
use crate::sandbox::remove_tree;
use crate::stack::{Image, Stack, StackName};

/// How large a root file system may be: a million files and 16 GiB.
pub const LIMITS: checkout::Limits = checkout::Limits {
    files: 1_000_000,
    bytes: 16 << 30,
};

/// Directories whose content is the running system's: what a tarball has in them is left out.
const RUNNING: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// Why there is no such stack, or a root file system cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error("there is no stack {name}")]
    Unknown { name: StackName, known: Vec<String> },
    #[error("{name} is this machine's own stack, which is not imported")]
    OfHost { name: StackName },
    #[error("{} is neither a tarball nor a directory", path.display())]
    Source { path: PathBuf },
    /// It has no shell at `/bin/sh`, or a link stands where a directory must be.
    #[error("this is no root file system: {what}")]
    NoRoot { what: String },
    #[error("unpacking {}", path.display())]
    Unpack {
        path: PathBuf,
        source: checkout::Error,
    },
    #[error("reading the directory {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StackError {
    let path = path.to_owned();
    move |source| StackError::Io { path, source }
}

/// What is recorded of an imported stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    pub name: StackName,
    pub digest: Digest,
    pub files: usize,
    pub bytes: u64,
    pub imported_at: String,
}

/// The stacks of one directory.
#[derive(Debug, Clone)]
pub struct Stacks {
    dir: PathBuf,
    /// This machine's own.
    host: StackName,
}

impl Stacks {
    /// The stacks in `dir`, which need not be there, beside the host's own.
    pub fn new(dir: PathBuf, host: StackName) -> Self {
        Self { dir, host }
    }

    /// Finds a stack; none named is the host's own.
    ///
    /// # Errors
    /// The caller's: [`StackError::Unknown`].
    pub fn find(&self, name: Option<&StackName>) -> Result<Stack, StackError> {
        let Some(name) = name.filter(|name| **name != self.host) else {
            return Ok(Stack::of_host(self.host.clone()));
        };
        let found = self.read(name)?.ok_or_else(|| StackError::Unknown {
            name: name.clone(),
            known: self.names(),
        })?;
        Ok(Stack {
            name: found.name,
            image: Some(Image {
                root: self.root(&found.digest),
                digest: found.digest,
            }),
        })
    }

    /// The host's own.
    pub fn host(&self) -> &StackName {
        &self.host
    }

    /// The imported ones, by name.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Imported>, StackError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_error(&self.dir))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(io_error(&self.dir))?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|end| end == "json")
                && let Some(Ok(name)) = name.map(str::parse)
            {
                all.extend(self.read(&name)?);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Imports a root file system under a name; builds that are under way keep the one before.
    ///
    /// # Errors
    /// The caller's: what is at `source`. The platform's: it cannot be kept.
    pub fn import(
        &self,
        name: &StackName,
        source: &Path,
        stop: &AtomicBool,
    ) -> Result<Imported, StackError> {
        if *name == self.host {
            return Err(StackError::OfHost { name: name.clone() });
        }
        let roots = self.dir.join("roots");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&roots);
        made.map_err(io_error(&roots))?;
        // A server that starts meanwhile must not sweep what has no name yet.
        let lock = self.lock()?;
        lock.lock_shared().map_err(io_error(&self.dir))?;
        let new = tempfile::Builder::new().prefix("new-").tempdir_in(&roots);
        let new = new.map_err(io_error(&roots))?.keep();
        let unpacked = unpack(source, &new, stop).and_then(|whole| {
            require_root(&new)?;
            Ok(whole)
        });
        let whole = match unpacked {
            Ok(whole) => whole,
            Err(error) => {
                // What matters is why.
                let _ = remove_tree(&new);
                return Err(error);
            }
        };
        let kept = self.root(&whole.digest);
        fs::set_permissions(&new, Permissions::from_mode(0o755)).map_err(io_error(&new))?;
        if kept.is_dir() {
            remove_tree(&new).map_err(io_error(&new))?;
        } else {
            fs::rename(&new, &kept).map_err(io_error(&kept))?;
        }
        let imported = Imported {
            name: name.clone(),
            digest: whole.digest,
            files: whole.files,
            bytes: whole.bytes,
            imported_at: clock::now().to_string(),
        };
        let path = self.record(name);
        let text = serde_json::to_vec_pretty(&imported).map_err(|e| io_error(&path)(e.into()))?;
        let part = path.with_extension("new");
        fs::write(&part, text).map_err(io_error(&part))?;
        fs::rename(&part, &path).map_err(io_error(&path))?;
        Ok(imported)
    }

    /// Forgets a name; its root goes when a server starts.
    ///
    /// # Errors
    /// The caller's: [`StackError::Unknown`].
    pub fn remove(&self, name: &StackName) -> Result<(), StackError> {
        let path = self.record(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StackError::Unknown {
                name: name.clone(),
                known: self.names(),
            }),
            removed => removed.map_err(io_error(&path)),
        }
    }

    /// Removes the roots that no name stands for. To be called while no build is under way.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn sweep(&self) -> Result<(), StackError> {
        let roots = self.dir.join("roots");
        let Ok(entries) = fs::read_dir(&roots) else {
            return Ok(());
        };
        let lock = self.lock()?;
        if lock.try_lock().is_err() {
            // One is being imported; the next start sweeps.
            return Ok(());
        }
        let named = self.list()?.into_iter().map(|one| self.root(&one.digest));
        let named = named.collect::<HashSet<_>>();
        for path in entries.flatten().map(|entry| entry.path()) {
            if !named.contains(&path)
                && let Err(error) = remove_tree(&path)
            {
                tracing::warn!(path = %path.display(), %error, "an unused stack stays behind");
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<File, StackError> {
        let path = self.dir.join("lock");
        File::create(&path).map_err(io_error(&path))
    }

    fn names(&self) -> Vec<String> {
        let imported = self.list().unwrap_or_default();
        let names = imported.into_iter().map(|one| one.name.to_string());
        std::iter::once(self.host.to_string())
            .chain(names)
            .collect()
    }

    fn read(&self, name: &StackName) -> Result<Option<Imported>, StackError> {
        let path = self.record(name);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path)(error)),
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| io_error(&path)(error.into())),
        }
    }

    fn record(&self, name: &StackName) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    fn root(&self, digest: &Digest) -> PathBuf {
        self.dir.join("roots").join(digest.hex())
    }
}

/// Writes the files of a tarball or a directory into an empty one.
fn unpack(source: &Path, to: &Path, stop: &AtomicBool) -> Result<checkout::Whole, StackError> {
    let keep = |path: &Path| {
        let mut parts = path.components();
        let top = parts.next().map(Component::as_os_str);
        !RUNNING.iter().any(|name| top == Some(name.as_ref())) || parts.next().is_none()
    };
    let write = |reader: &mut dyn Read| {
        let written = checkout::whole_archive(reader, to, &LIMITS, stop, &keep);
        written.map_err(|error| StackError::Unpack {
            path: source.to_owned(),
            source: error,
        })
    };
    if source.is_file() {
        return write(&mut File::open(source).map_err(io_error(source))?);
    }
    if !source.is_dir() {
        return Err(StackError::Source {
            path: source.to_owned(),
        });
    }
    // By way of a tar stream, so that a directory's files are checked as a tarball's are.
    let (mut reader, writer) = io::pipe().map_err(io_error(source))?;
    thread::scope(|scope| {
        let pack = scope.spawn(move || checkout::write_archive(source, writer, &keep));
        let written = write(&mut reader);
        // A reader that has given up ends the other side.
        drop(reader);
        let packed = pack
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        let written = written?;
        packed.map_err(|error| StackError::Read {
            path: source.to_owned(),
            source: error,
        })?;
        Ok(written)
    })
}

/// Checks that builds can run in a root file system, and that nothing of it that the server looks
/// into leads elsewhere.
fn require_root(root: &Path) -> Result<(), StackError> {
    let kind = |path: &str| fs::symlink_metadata(root.join(path)).ok();
    let refused = |what: &str| {
        Err(StackError::NoRoot {
            what: what.to_owned(),
        })
    };
    for name in ["etc", "usr"] {
        if kind(name).is_some_and(|meta| !meta.is_dir()) {
            return refused(&format!("/{name} is no directory"));
        }
    }
    if ["bin/sh", "usr/bin/sh"]
        .iter()
        .all(|path| kind(path).is_none())
    {
        return refused("it has no /bin/sh");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO: AtomicBool = AtomicBool::new(false);

    fn stacks(dir: &Path) -> Stacks {
        Stacks::new(dir.join("stacks"), "host-1".parse().unwrap())
    }

    fn rootfs(dir: &Path, text: &str) -> PathBuf {
        let root = dir.join(format!("root-{text}"));
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("etc/empty")).unwrap();
        fs::create_dir_all(root.join("dev")).unwrap();
        fs::write(root.join("bin/sh"), text).unwrap();
        // Made before, where the root is asked for again.
        let _ = std::os::unix::fs::symlink("/etc/passwd", root.join("etc/absolute"));
        root
    }

    #[test]
    fn a_directory_is_imported_found_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let stacks = stacks(dir.path());
        let name = "small".parse().unwrap();
        assert!(stacks.list().unwrap().is_empty());
        let error = stacks.find(Some(&name)).unwrap_err();
        assert!(matches!(error, StackError::Unknown { known, .. } if known == ["host-1"]));
        let first = stacks.import(&name, &rootfs(dir.path(), "1"), &GO).unwrap();
        let found = stacks.find(Some(&name)).unwrap().image.unwrap();
        assert_eq!(found.digest, first.digest);
        assert_eq!(fs::read_to_string(found.root.join("bin/sh")).unwrap(), "1");
        assert!(found.root.join("etc/empty").is_dir());
        assert_eq!(
            fs::read_link(found.root.join("etc/absolute")).unwrap(),
            Path::new("/etc/passwd")
        );
        let again = stacks.import(&name, &rootfs(dir.path(), "1"), &GO).unwrap();
        assert_eq!(again.digest, first.digest);
        let second = stacks.import(&name, &rootfs(dir.path(), "2"), &GO).unwrap();
        assert_ne!(second.digest, first.digest);
        assert!(found.root.exists(), "a build may be in it");
        stacks.sweep().unwrap();
        assert!(!found.root.exists());
        assert!(
            stacks
                .find(Some(&name))
                .unwrap()
                .image
                .unwrap()
                .root
                .exists()
        );
        stacks.remove(&name).unwrap();
        assert!(stacks.remove(&name).is_err());
        assert_eq!(stacks.find(None).unwrap().image, None);
    }

    #[test]
    fn what_is_no_root_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let stacks = stacks(dir.path());
        let name: StackName = "bad".parse().unwrap();
        let empty = dir.path().join("empty");
        fs::create_dir_all(empty.join("etc")).unwrap();
        fs::write(empty.join("file"), "").unwrap();
        for (what, source) in [("no shell", empty), ("nothing", dir.path().join("none"))] {
            assert!(stacks.import(&name, &source, &GO).is_err(), "{what}");
        }
        let linked = rootfs(dir.path(), "3");
        remove_tree(&linked.join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc", linked.join("etc")).unwrap();
        let error = stacks.import(&name, &linked, &GO).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this is no root file system: /etc is no directory"
        );
        let host = "host-1".parse().unwrap();
        assert!(stacks.import(&host, &linked, &GO).is_err());
        let roots = dir.path().join("stacks/roots");
        assert_eq!(fs::read_dir(roots).unwrap().count(), 0);
        assert!(stacks.list().unwrap().is_empty());
    }

    /// One entry besides a shell: kind, path, link's target.
    fn tarball(kind: tar::EntryType, path: &str, target: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o755);
        header.set_cksum();
        builder
            .append_data(&mut header, "bin/sh", &b""[..])
            .unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_size(0);
        header.set_mode(0o6755);
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn hostile_tarballs_are_refused() {
        use tar::EntryType as T;
        let dir = tempfile::tempdir().unwrap();
        let stacks = stacks(dir.path());
        let name: StackName = "bad".parse().unwrap();
        let import = |kind, path: &str, target: &str| {
            let file = dir.path().join("rootfs.tar");
            fs::write(&file, tarball(kind, path, target)).unwrap();
            stacks.import(&name, &file, &GO)
        };
        for (kind, path, target) in [
            (T::Regular, "../outside", ""),
            (T::Regular, "/etc/cron.d/x", ""),
            (T::Regular, "a/../../outside", ""),
            (T::Char, "etc/sda", ""),
            (T::Block, "sda", ""),
            (T::Fifo, "var/pipe", ""),
            (T::Link, "etc/shadow", "/etc/shadow"),
            (T::Link, "etc/shadow", "../../../etc/shadow"),
            (T::Regular, "bin/sh/below", ""),
            (T::Regular, "bin/sh", ""),
        ] {
            let error = import(kind, path, target).unwrap_err();
            assert!(
                matches!(error, StackError::Unpack { .. }),
                "{path}: {error}"
            );
        }
        assert!(!dir.path().join("outside").exists());
        // What a running system has in /dev is left out, and set-id bits are.
        import(T::Char, "./dev/sda", "").unwrap();
        let root = stacks.find(Some(&name)).unwrap().image.unwrap().root;
        assert!(!root.join("dev").exists());
        import(T::Regular, "bin/su", "").unwrap();
        let root = stacks.find(Some(&name)).unwrap().image.unwrap().root;
        let mode = fs::metadata(root.join("bin/su"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}
