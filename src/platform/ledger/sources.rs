//! Sources: places for the archives that clients upload before they ask for a build.
//!
//! The ledger knows that a place was given out; the bytes are elsewhere.

use super::error::LedgerError;
use super::rows::Source;
use super::{Ledger, new_id, sql};
use crate::platform::clock;

fn not_found(id: &str) -> LedgerError {
    LedgerError::NotFound {
        what: "source",
        name: id.to_owned(),
    }
}

impl Ledger {
    /// Gives out a place.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn create_source(&self) -> Result<Source, LedgerError> {
        let source = Source {
            id: new_id(),
            created_at: clock::now(),
        };
        self.write(|c| sql::insert_source(c, &source))?;
        Ok(source)
    }

    /// Finds a place that was given out.
    ///
    /// # Errors
    /// The caller's fault: there is no such source.
    pub fn source(&self, id: &str) -> Result<Source, LedgerError> {
        self.read(|c| sql::source(c, id)?.ok_or_else(|| not_found(id)))
    }

    /// All places given out, oldest first, so that old ones can be swept.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn sources(&self) -> Result<Vec<Source>, LedgerError> {
        self.read(|c| sql::sources(c))
    }

    /// Takes a place back.
    ///
    /// # Errors
    /// The caller's fault: there is no such source.
    pub fn delete_source(&self, id: &str) -> Result<(), LedgerError> {
        match self.write(|c| sql::delete_source(c, id))? {
            0 => Err(not_found(id)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::ledger;

    #[test]
    fn a_source_is_there_until_it_is_deleted() {
        let ledger = ledger();
        let source = ledger.create_source().unwrap();
        assert_eq!(ledger.source(&source.id).unwrap(), source);
        assert_eq!(ledger.sources().unwrap(), std::slice::from_ref(&source));
        ledger.delete_source(&source.id).unwrap();
        assert!(ledger.source(&source.id).is_err());
        assert!(ledger.delete_source(&source.id).is_err());
    }
}
