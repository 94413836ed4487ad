//! Slugs: what builds have made. Each belongs to one app; many may share one digest.

use rusqlite::Connection;

use super::error::LedgerError;
use super::rows::{Slug, UnusedSlug};
use super::{Ledger, apps, new_id, sql};
use crate::platform::clock;
use crate::slug::SlugRecord;

pub(super) fn find(c: &Connection, id: &str) -> Result<Slug, LedgerError> {
    sql::slug(c, id)?.ok_or_else(|| LedgerError::NotFound {
        what: "slug",
        name: id.to_owned(),
    })
}

pub(super) fn add(c: &Connection, app_id: &str, record: &SlugRecord) -> Result<Slug, LedgerError> {
    let slug = Slug {
        id: new_id(),
        app_id: app_id.to_owned(),
        record: record.clone(),
        created_at: clock::now(),
    };
    sql::insert_slug(c, &slug, &slug.buildpack_labels())?;
    Ok(slug)
}

impl Ledger {
    /// Records a slug that no build of this server made.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn record_slug(&self, app_id: &str, record: &SlugRecord) -> Result<Slug, LedgerError> {
        self.write(|c| add(c, &apps::find(c, app_id)?.id, record))
    }

    /// The blobs that slugs name, those of the newest first; any other blob of the store is nobody's.
    ///
    /// # Errors
    /// The platform's fault.
    pub fn slug_blobs(&self) -> Result<Vec<UnusedSlug>, LedgerError> {
        self.read(|c| sql::slug_blobs(c))
    }

    /// Finds a slug.
    ///
    /// # Errors
    /// The caller's fault: there is no such slug.
    pub fn slug(&self, id: &str) -> Result<Slug, LedgerError> {
        self.read(|c| find(c, id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{app, ledger, record};
    use super::*;

    #[test]
    fn a_slug_reads_back_as_it_was_recorded() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let slug = ledger.record_slug("demo", &record("slug")).unwrap();
        assert_eq!(ledger.slug(&slug.id).unwrap(), slug);
        assert_eq!((slug.app_id, slug.record), (demo.id, record("slug")));
        assert!(matches!(
            ledger.slug("none"),
            Err(LedgerError::NotFound { what: "slug", .. })
        ));
        assert!(ledger.record_slug("none", &record("slug")).is_err());
    }
}
