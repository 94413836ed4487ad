//! The data directory: what lies where, and that one server at a time has it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another server has it.
    #[error("the data directory {} is in use by process {holder}", path.display())]
    Locked { path: PathBuf, holder: String },
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> DataError {
    let path = path.to_owned();
    move |source| DataError::Io { path, source }
}

/// The directory where a server keeps all that it must remember.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held for as long as this value lives; the kernel releases it when the process dies.
    _lock: File,
}

/// The file in a data directory that holds the admin token's secret.
pub const ADMIN_TOKEN: &str = "admin-token";
/// The directory of imported stacks.
pub const STACKS: &str = "stacks";
/// The directory of language runtimes.
pub const RUNTIMES: &str = "runtimes";

const DIRECTORIES: [&str; 12] = [
    "repositories",
    "slugs",
    "caches",
    "buildpacks",
    "logs",
    "sources",
    STACKS,
    RUNTIMES,
    "scratch",
    "app-logs",
    "dynos",
    "unpacked",
];

impl DataDir {
    /// Opens a data directory, making what is missing, and locks it.
    ///
    /// # Errors
    /// The caller's: another server has it. The platform's: it cannot be made or written.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        make_dirs(path)?;
        // The working directory may change; the data directory does not.
        let path = fs::canonicalize(path).map_err(io_error(path))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new();
        let lock = lock
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut lock = lock.open(&lock_path).map_err(io_error(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // A holder that has not yet written its number has none.
                let _ = lock.read_to_string(&mut holder);
                let holder = holder.trim().to_owned();
                return Err(DataError::Locked { path, holder });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(&lock_path)(source)),
        }
        lock.set_len(0).map_err(io_error(&lock_path))?;
        writeln!(lock, "{}", std::process::id()).map_err(io_error(&lock_path))?;
        for name in DIRECTORIES {
            make_dirs(&path.join(name))?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger.db")
    }

    /// The directory of the blob store.
    pub fn slugs(&self) -> PathBuf {
        self.path.join("slugs")
    }

    /// The bare repository of an app.
    pub fn repository(&self, app_id: &str) -> PathBuf {
        self.path.join("repositories").join(format!("{app_id}.git"))
    }

    /// The kept build cache of an app.
    pub fn cache(&self, app_id: &str) -> PathBuf {
        self.path.join("caches").join(app_id)
    }

    /// Fetched buildpacks, by commit or digest.
    pub fn buildpacks(&self) -> PathBuf {
        self.path.join("buildpacks")
    }

    /// The logs of builds.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The logs of apps.
    pub fn app_logs(&self) -> PathBuf {
        self.path.join("app-logs")
    }

    /// Where dynos write, as long as they run.
    pub fn dynos(&self) -> PathBuf {
        self.path.join("dynos")
    }

    /// Unpacked slugs, by digest.
    pub fn unpacked(&self) -> PathBuf {
        self.path.join("unpacked")
    }

    /// Where sources are uploaded to.
    pub fn sources(&self) -> PathBuf {
        self.path.join("sources")
    }

    /// An uploaded source archive.
    pub fn source(&self, id: &str) -> PathBuf {
        self.sources().join(format!("{id}.tgz"))
    }

    /// Imported stacks.
    pub fn stacks(&self) -> PathBuf {
        self.path.join(STACKS)
    }

    /// Where builds work; what a dead server has left there is swept at the start.
    pub fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// A secret kept in a file of mode 600, made by `make` at the first start.
    ///
    /// # Errors
    /// The platform's: it can be neither read nor written.
    pub fn secret(
        &self,
        name: &str,
        make: impl FnOnce() -> io::Result<String>,
    ) -> Result<String, DataError> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&path)(error));
            }
            _ => {}
        }
        let secret = make().map_err(io_error(&path))?;
        // By way of another name, so that no half-written secret is ever read.
        let new = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new).map_err(io_error(&new))?;
        writeln!(file, "{secret}")
            .and_then(|()| file.sync_all())
            .map_err(io_error(&new))?;
        fs::rename(&new, &path).map_err(io_error(&path))?;
        Ok(secret)
    }
}

fn make_dirs(path: &Path) -> Result<(), DataError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(io_error(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_at_a_time_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(
            matches!(&error, DataError::Locked { holder, .. } if *holder == std::process::id().to_string())
        );
        drop(held);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_secret_is_made_once_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(data.secret("s", || Ok("one".into())).unwrap(), "one");
        assert_eq!(data.secret("s", || Ok("two".into())).unwrap(), "one");
        let mode = fs::metadata(dir.path().join("s"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
