//! Brings a ledger's file to the shape that this binary knows.
//!
//! Each migration has a number and a file, and is one transaction together with the number's
//! record in the file. A migration is never edited once it has been released: a new one follows.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::error::LedgerError;
use super::sql;

/// In order; the first takes an empty file to version 1.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_ledger.sql"),
    include_str!("migrations/0002_buildpacks.sql"),
    include_str!("migrations/0003_builds_without_release.sql"),
    include_str!("migrations/0004_object_format.sql"),
    include_str!("migrations/0005_stacks.sql"),
    include_str!("migrations/0006_contacts.sql"),
    include_str!("migrations/0007_formations.sql"),
    include_str!("migrations/0008_scopes_and_signed_pushes.sql"),
    include_str!("migrations/0009_release_phase.sql"),
    include_str!("migrations/0010_domains.sql"),
    include_str!("migrations/0011_dyno_sizes.sql"),
    include_str!("migrations/0012_drains.sql"),
];

/// Applies the migrations that the file has not seen yet.
pub(super) fn up_to_date(
    connection: &mut Connection,
    migrations: &[&str],
    path: &Path,
) -> Result<(), LedgerError> {
    let open_error = |source: rusqlite::Error| LedgerError::Open {
        path: path.to_owned(),
        source: source.into(),
    };
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    for (version, migration) in (1..).zip(migrations) {
        if sql::schema_version(connection).map_err(open_error)? >= version {
            continue;
        }
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(open_error)?;
        // Asked again inside of the transaction: another process may be at the same work.
        if sql::schema_version(&transaction).map_err(open_error)? < version {
            transaction.execute_batch(migration).map_err(open_error)?;
            sql::set_schema_version(&transaction, version).map_err(open_error)?;
        }
        transaction.commit().map_err(open_error)?;
    }
    let got = sql::schema_version(connection).map_err(open_error)?;
    if got > known {
        return Err(LedgerError::Newer {
            path: path.to_owned(),
            got,
            known,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Ledger;
    use super::*;

    #[test]
    fn an_empty_file_is_filled_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let ledger = Ledger::open(&path).unwrap();
        let app = ledger
            .create_app(&"demo".parse().unwrap(), "admin")
            .unwrap();
        drop(ledger);
        assert_eq!(Ledger::open(&path).unwrap().apps().unwrap(), [app]);
    }

    #[test]
    fn a_newer_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        drop(Ledger::open(&path).unwrap());
        sql::set_schema_version(&Connection::open(&path).unwrap(), 99).unwrap();
        let error = Ledger::open(&path).map(|_| ()).unwrap_err().to_string();
        let known = MIGRATIONS.len();
        assert_eq!(
            error.replace(&path.display().to_string(), "PATH"),
            format!("the ledger PATH is of version 99; this slugline knows versions up to {known}")
        );
    }

    #[test]
    fn a_migration_that_breaks_leaves_the_version_before() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("ledger.db");
        let broken = [
            "CREATE TABLE a (x TEXT);",
            "CREATE TABLE b (x TEXT); INSERT INTO nowhere VALUES (1);",
        ];
        assert!(up_to_date(&mut connection, &broken, path).is_err());
        assert_eq!(sql::schema_version(&connection).unwrap(), 1);
        let mended = [broken[0], "CREATE TABLE b (x TEXT);"];
        up_to_date(&mut connection, &mended, path).unwrap();
        assert_eq!(sql::schema_version(&connection).unwrap(), 2);
    }
}
