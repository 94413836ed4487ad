//! Releases: numbered from 1 without a gap, never changed but for their status.
//!
//! A new release builds on the newest that has not failed.

use rusqlite::Connection;

use super::error::LedgerError;
use super::rows::ReleaseRow;
use super::{Ledger, apps, new_id, slugs, sql};
use crate::config::ConfigVars;
use crate::platform::clock;
use crate::release::{Status, Version};

pub(super) struct NewRelease<'a> {
    pub app_id: &'a str,
    pub slug_id: Option<&'a str>,
    pub config: ConfigVars,
    pub description: &'a str,
    pub status: Status,
    pub user: &'a str,
}

/// Gives the release the next number.
pub(super) fn add_release(c: &Connection, new: NewRelease<'_>) -> Result<ReleaseRow, LedgerError> {
    let now = clock::now();
    if sql::touch_app(c, new.app_id, now)? == 0 {
        return Err(LedgerError::NotFound {
            what: "app",
            name: new.app_id.to_owned(),
        });
    }
    // A release command runs first, whatever has made the release.
    let slug = new
        .slug_id
        .map(|id| sql::slug(c, id))
        .transpose()?
        .flatten();
    let owes_phase = slug.is_some_and(|slug| slug.record.process_types.contains_key("release"));
    let status = if owes_phase {
        Status::Pending
    } else {
        new.status
    };
    let release = ReleaseRow {
        id: new_id(),
        app_id: new.app_id.to_owned(),
        version: Version(sql::last_version(c, new.app_id)? + 1),
        slug_id: new.slug_id.map(str::to_owned),
        config: new.config,
        description: new.description.to_owned(),
        status,
        owes_phase,
        current: status == Status::Succeeded,
        user: new.user.to_owned(),
        created_at: now,
        updated_at: now,
    };
    sql::insert_release(c, &release)?;
    Ok(release)
}

/// Finds a release by `v12`, `12` or its id.
fn find(c: &Connection, app_id: &str, reference: &str) -> Result<ReleaseRow, LedgerError> {
    let found = match reference.parse::<Version>() {
        Ok(version) => sql::release_of_version(c, app_id, version)?,
        Err(_) => sql::release_of_id(c, app_id, reference)?,
    };
    found.ok_or_else(|| not_found(reference))
}

/// The release that the next one builds on.
pub(super) fn newest(c: &Connection, app_id: &str) -> Result<ReleaseRow, LedgerError> {
    sql::newest_release(c, app_id)?.ok_or_else(|| not_found("current"))
}

fn not_found(reference: &str) -> LedgerError {
    LedgerError::NotFound {
        what: "release",
        name: reference.to_owned(),
    }
}

impl Ledger {
    /// The releases of an app, oldest first.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn releases(&self, app_id: &str) -> Result<Vec<ReleaseRow>, LedgerError> {
        self.read(|c| sql::releases(c, &apps::find(c, app_id)?.id))
    }

    /// Finds a release of an app by `v12`, `12` or its id.
    ///
    /// # Errors
    /// The caller's fault: there is no such app or release.
    pub fn release(&self, app_id: &str, reference: &str) -> Result<ReleaseRow, LedgerError> {
        self.read(|c| find(c, &apps::find(c, app_id)?.id, reference))
    }

    /// The newest release that succeeded: the one that runs.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn current_release(&self, app_id: &str) -> Result<ReleaseRow, LedgerError> {
        self.read(|c| {
            let app = apps::find(c, app_id)?;
            sql::current_release(c, &app.id)?.ok_or_else(|| not_found("current"))
        })
    }

    /// Releases once more what an earlier release had: its slug and its config vars.
    ///
    /// # Errors
    /// The caller's fault: there is no such app or release, or the release has no slug or has not
    /// succeeded.
    pub fn rollback(
        &self,
        app_id: &str,
        version: Version,
        user: &str,
    ) -> Result<ReleaseRow, LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app_id)?;
            let earlier = find(c, &app.id, &version.to_string())?;
            if earlier.status != Status::Succeeded {
                return Err(LedgerError::NotSucceeded {
                    version,
                    status: earlier.status,
                });
            }
            if earlier.slug_id.is_none() {
                return Err(LedgerError::NoSlug { version });
            }
            add_release(
                c,
                NewRelease {
                    app_id: &app.id,
                    slug_id: earlier.slug_id.as_deref(),
                    config: earlier.config,
                    description: &format!("Rollback to {version}"),
                    status: Status::Succeeded,
                    user,
                },
            )
        })
    }

    /// Releases a slug that is recorded already, with the config vars of now. A slug of another
    /// app is recorded for this app first, so that the other one can be destroyed.
    ///
    /// # Errors
    /// The caller's fault: there is no such app or slug.
    pub fn release_slug(
        &self,
        app_id: &str,
        slug_id: &str,
        description: &str,
        user: &str,
    ) -> Result<ReleaseRow, LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app_id)?;
            let mut slug = slugs::find(c, slug_id)?;
            if slug.app_id != app.id {
                slug = slugs::add(c, &app.id, &slug.record)?;
            }
            add_release(
                c,
                NewRelease {
                    app_id: &app.id,
                    slug_id: Some(&slug.id),
                    config: newest(c, &app.id)?.config,
                    description,
                    status: Status::Succeeded,
                    user,
                },
            )
        })
    }
}

impl Ledger {
    /// Records how a release's command has ended.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn finish_phase(&self, id: &str, status: Status) -> Result<(), LedgerError> {
        self.write(|c| {
            sql::set_release_status(c, id, status, clock::now())?;
            sql::set_phase_done(c, id)
        })
    }

    /// Marks the releases as failed whose command a server has not run to its end; gives their apps'
    /// ids and how many there were. To be called when none is running.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn fail_owed_phases(&self) -> Result<Vec<String>, LedgerError> {
        self.write(|c| {
            let owed = sql::owed_phases(c)?;
            for (id, _) in &owed {
                sql::set_release_status(c, id, Status::Failed, clock::now())?;
                sql::set_phase_done(c, id)?;
            }
            Ok(owed.into_iter().map(|(_, app)| app).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{app, ledger, record};
    use super::super::{Deploy, SourceKind};
    use super::*;

    fn set(ledger: &Ledger, value: &str) {
        let change = [("FOO".to_owned(), Some(value.to_owned()))];
        ledger.set_config("demo", &change, "me").unwrap().unwrap();
    }

    fn deploy(ledger: &Ledger, content: &str) -> ReleaseRow {
        let build = ledger
            .create_build("demo", SourceKind::Api, None, None, "me")
            .unwrap();
        let deploy = Deploy {
            build_id: &build.id,
            record: &record(content),
            description: "Deploy",
            refs: None,
        };
        ledger.commit_deploy(&deploy).unwrap().release
    }

    #[test]
    fn a_release_is_found_by_its_number_and_its_id() {
        let ledger = ledger();
        app(&ledger, "demo");
        app(&ledger, "other");
        set(&ledger, "1");
        let release = ledger.release("demo", "v2").unwrap();
        assert_eq!(ledger.release("demo", "2").unwrap(), release);
        assert_eq!(ledger.release("demo", &release.id).unwrap(), release);
        for (app, reference) in [("demo", "v3"), ("demo", "x"), ("other", &release.id)] {
            assert!(matches!(
                ledger.release(app, reference),
                Err(LedgerError::NotFound {
                    what: "release",
                    ..
                })
            ));
        }
    }

    #[test]
    fn a_rollback_brings_back_slug_and_config() {
        let ledger = ledger();
        app(&ledger, "demo");
        set(&ledger, "old");
        let earlier = deploy(&ledger, "old");
        set(&ledger, "new");
        deploy(&ledger, "new");
        let release = ledger.rollback("demo", earlier.version, "me").unwrap();
        assert_eq!(release.description, "Rollback to v3");
        assert_eq!(release.version, Version(6));
        assert_eq!(release.slug_id, earlier.slug_id);
        assert_eq!(release.config, earlier.config);
        assert!(matches!(
            ledger.rollback("demo", Version(1), "me"),
            Err(LedgerError::NoSlug {
                version: Version(1)
            })
        ));
        assert!(matches!(
            ledger.rollback("demo", Version(99), "me"),
            Err(LedgerError::NotFound { .. })
        ));
    }

    #[test]
    fn a_rollback_to_a_failed_release_is_refused_and_its_config_forgotten() {
        let ledger = ledger();
        app(&ledger, "demo");
        deploy(&ledger, "one");
        set(&ledger, "1");
        let id = ledger.release("demo", "v3").unwrap().id;
        ledger
            .write(|c| sql::set_release_status(c, &id, Status::Failed, clock::now()))
            .unwrap();
        assert!(matches!(
            ledger.rollback("demo", Version(3), "me"),
            Err(LedgerError::NotSucceeded { .. })
        ));
        assert!(ledger.config("demo").unwrap().is_empty());
        // Its number is not given again.
        assert_eq!(deploy(&ledger, "two").version, Version(4));
    }

    #[test]
    fn a_release_with_a_command_is_pending_until_that_has_ended() {
        let ledger = ledger();
        app(&ledger, "demo");
        let first = deploy(&ledger, "one");
        let build = ledger
            .create_build("demo", SourceKind::Api, None, None, "me")
            .unwrap();
        let mut record = record("two");
        let command = ("release".to_owned(), "./migrate".to_owned());
        record.process_types.extend([command]);
        let deploy = Deploy {
            build_id: &build.id,
            record: &record,
            description: "Deploy",
            refs: None,
        };
        let second = ledger.commit_deploy(&deploy).unwrap().release;
        assert!(second.owes_phase && second.status == Status::Pending);
        assert_eq!(ledger.current_release("demo").unwrap().id, first.id);
        ledger.finish_phase(&second.id, Status::Succeeded).unwrap();
        let current = ledger.current_release("demo").unwrap();
        assert!(current.id == second.id && !current.owes_phase);
        // A change of config vars runs it again; one that a server's end has cut has failed.
        set(&ledger, "1");
        assert_eq!(ledger.current_release("demo").unwrap().id, second.id);
        assert_eq!(ledger.fail_owed_phases().unwrap().len(), 1);
        let cut = ledger.release("demo", "v4").unwrap();
        assert!(cut.status == Status::Failed && !cut.owes_phase);
        assert!(ledger.fail_owed_phases().unwrap().is_empty());
        assert!(ledger.config("demo").unwrap().is_empty());
    }

    #[test]
    fn a_slug_can_be_released_to_another_app() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let other = app(&ledger, "other");
        let slug = ledger.record_slug(&demo.id, &record("slug")).unwrap();
        let own = ledger
            .release_slug("demo", &slug.id, "Deploy", "me")
            .unwrap();
        assert_eq!(own.slug_id.as_ref(), Some(&slug.id));
        let copy = ledger
            .release_slug("other", &slug.id, "Promote", "me")
            .unwrap();
        assert_ne!(copy.slug_id, own.slug_id);
        assert_eq!(ledger.destroy_app(&demo.id).unwrap(), []);
        let kept = ledger.slug(&copy.slug_id.unwrap()).unwrap();
        assert_eq!((kept.record, kept.app_id), (record("slug"), other.id));
        assert!(matches!(
            ledger.release_slug("other", &slug.id, "Deploy", "me"),
            Err(LedgerError::NotFound { what: "slug", .. })
        ));
    }
}
