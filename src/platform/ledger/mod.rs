//! The ledger: apps, tokens, builds, slugs, releases and the ref updates they owe.
//!
//! In goes a path, out come plain structs. Each method is one transaction: it happens
//! wholly or not at all, and once it has returned it survives a crash and the loss of power.
//! [`Ledger::commit_deploy`] is the commit point of a push.
//!
//! The ledger is a SQLite file that only its owner can read. Nothing of SQLite shows outside: all
//! SQL is in `sql.rs`, so that another database can take its place.

mod apps;
mod buildpacks;
mod builds;
mod config;
mod deploy;
mod domains;
mod drains;
mod error;
mod formations;
mod migrate;
mod releases;
mod rows;
mod signed_pushes;
mod slugs;
mod sources;
mod sql;
#[cfg(test)]
pub(crate) mod testing;
mod tokens;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use deploy::{Deploy, Deployed, RefIntent};
pub use domains::MOST_DOMAINS;
pub use drains::MOST_DRAINS;
pub use error::LedgerError;
pub use formations::Chosen;
pub use rows::{
    App, Build, Domain, Drain, Intent, RefCommand, ReleaseRow, Scope, SignedPush, Slug, Source,
    SourceKind, Token, UnusedSlug,
};

/// Owner reads and writes: config vars are in it.
const FILE_MODE: u32 = 0o600;

/// What the platform remembers; clones share one connection.
#[derive(Clone)]
pub struct Ledger {
    connection: Arc<Mutex<Connection>>,
}

impl Ledger {
    /// Opens the ledger's file, makes it if need be and brings it up to date.
    ///
    /// # Errors
    /// The platform's fault: the file cannot be made, is no ledger, or is newer than this binary.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let error = |source: Box<dyn std::error::Error + Send + Sync>| LedgerError::Open {
            path: path.to_owned(),
            source,
        };
        make_private_file(path).map_err(|source| error(source.into()))?;
        let connection = Connection::open(path).map_err(|source| error(source.into()))?;
        Self::over(connection, path)
    }

    fn over(mut connection: Connection, path: &Path) -> Result<Self, LedgerError> {
        sql::set_up(&connection).map_err(|source| LedgerError::Open {
            path: path.to_owned(),
            source: source.into(),
        })?;
        migrate::up_to_date(&mut connection, migrate::MIGRATIONS, path)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Runs `work` in a transaction that no other writer can interleave with; its error undoes all.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.transaction(TransactionBehavior::Immediate, work)
    }

    /// Runs `work`, which only reads, over one state of the ledger.
    fn read<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.transaction(TransactionBehavior::Deferred, work)
    }

    fn transaction<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        // A panic in `work` has rolled its transaction back, so the connection is sound.
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(behavior)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

/// Makes the file before SQLite does, so that it is never readable by others; SQLite gives the
/// files beside it the same mode.
fn make_private_file(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != FILE_MODE {
        fs::set_permissions(path, Permissions::from_mode(FILE_MODE))?;
    }
    // The file's name must survive the loss of power as its contents do.
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// A new id.
fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let ledger = Ledger::open(&path).unwrap();
        ledger
            .create_app(&"demo".parse().unwrap(), "admin")
            .unwrap();
        for entry in fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, FILE_MODE, "{:?}", entry.file_name());
        }
    }

    #[test]
    fn a_commit_survives_the_loss_of_power() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        let connection = ledger.connection.lock().unwrap();
        let pragma = |name| -> rusqlite::types::Value {
            let value = connection.pragma_query_value(None, name, |row| row.get(0));
            value.unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
        // 2 is FULL.
        assert_eq!(pragma("synchronous"), 2.into());
        assert_eq!(pragma("foreign_keys"), 1.into());
    }

    #[test]
    fn a_file_that_is_no_ledger_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        fs::write(&path, "name: demo\n".repeat(1000)).unwrap();
        let error = Ledger::open(&path).map(|_| ()).unwrap_err();
        assert!(matches!(error, LedgerError::Open { .. }), "{error:?}");
        let missing = dir.path().join("no/such/ledger.db");
        let error = Ledger::open(&missing).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("no/such/ledger.db"), "{error}");
    }

    #[test]
    fn a_panic_in_a_transaction_undoes_it_and_spares_the_ledger() {
        let ledger = testing::ledger();
        let other = ledger.clone();
        let panicked = std::thread::spawn(move || {
            other.write(|c| -> Result<(), LedgerError> {
                sql::insert_app(
                    c,
                    "id",
                    &"demo".parse().unwrap(),
                    crate::app::ObjectFormat::default(),
                    crate::platform::clock::now(),
                )?;
                panic!("on purpose");
            })
        })
        .join();
        assert!(panicked.is_err());
        assert_eq!(ledger.apps().unwrap(), []);
    }

    #[test]
    fn a_ledger_can_go_to_any_thread() {
        fn takes<T: Send + Sync + Clone>() {}
        takes::<Ledger>();
    }
}
