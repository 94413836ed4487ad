//! Builds: started, then ended once, by a failure here or by [`Ledger::commit_deploy`].

use rusqlite::Connection;

use super::error::LedgerError;
use super::rows::{Build, SourceKind};
use super::{Ledger, apps, new_id, sql};
use crate::output::Failure;
use crate::platform::clock;
use crate::release::Status;
use crate::sandbox::Contact;

/// Finds a build that has no end yet.
pub(super) fn pending(c: &Connection, id: &str) -> Result<Build, LedgerError> {
    let build = find(c, id)?;
    if build.status != Status::Pending {
        return Err(LedgerError::BuildEnded {
            id: build.id,
            status: build.status,
        });
    }
    Ok(build)
}

fn find(c: &Connection, id: &str) -> Result<Build, LedgerError> {
    sql::build(c, id)?.ok_or_else(|| LedgerError::NotFound {
        what: "build",
        name: id.to_owned(),
    })
}

fn fail(c: &Connection, mut build: Build, failure: &Failure) -> Result<Build, LedgerError> {
    build.status = Status::Failed;
    build.failure = Some(failure.clone());
    build.updated_at = clock::now();
    sql::update_build(c, &build)?;
    Ok(build)
}

impl Ledger {
    /// Records that a build starts.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn create_build(
        &self,
        app_id: &str,
        source: SourceKind,
        commit: Option<&str>,
        version: Option<&str>,
        user: &str,
    ) -> Result<Build, LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app_id)?;
            let now = clock::now();
            let build = Build {
                id: new_id(),
                app_id: app.id,
                status: Status::Pending,
                source,
                commit: commit.map(str::to_owned),
                version: version.map(str::to_owned),
                slug_id: None,
                release_id: None,
                failure: None,
                user: user.to_owned(),
                cancelled: false,
                created_at: now,
                updated_at: now,
            };
            sql::insert_build(c, &build)?;
            Ok(build)
        })
    }

    /// How many builds of an app have no end yet.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn pending_builds(&self, app_id: &str, source: SourceKind) -> Result<usize, LedgerError> {
        let of_app = |build: &&Build| build.app_id == app_id && build.source == source;
        self.read(|c| Ok(sql::pending_builds(c)?.iter().filter(of_app).count()))
    }

    /// The builds of an app, oldest first.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn builds(&self, app_id: &str) -> Result<Vec<Build>, LedgerError> {
        self.read(|c| sql::builds(c, &apps::find(c, app_id)?.id))
    }

    /// Finds a build.
    ///
    /// # Errors
    /// The caller's fault: there is no such build.
    pub fn build(&self, id: &str) -> Result<Build, LedgerError> {
        self.read(|c| find(c, id))
    }

    /// Asks for a build's end: from here on it cannot be released.
    ///
    /// # Errors
    /// The caller's fault: there is no such build, or it has ended.
    pub fn cancel_build(&self, id: &str) -> Result<Build, LedgerError> {
        self.write(|c| {
            let mut build = pending(c, id)?;
            build.cancelled = true;
            build.updated_at = clock::now();
            sql::update_build(c, &build)?;
            Ok(build)
        })
    }

    /// The hosts that a build has asked the proxy for; none while it is under way.
    ///
    /// # Errors
    /// The caller's fault: there is no such build.
    pub fn contacts(&self, id: &str) -> Result<Vec<Contact>, LedgerError> {
        self.read(|c| {
            sql::contacts(c, id)?.ok_or_else(|| LedgerError::NotFound {
                what: "build",
                name: id.to_owned(),
            })
        })
    }

    /// Keeps them with the build, however it ends.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn set_contacts(&self, id: &str, contacts: &[Contact]) -> Result<(), LedgerError> {
        self.write(|c| sql::set_contacts(c, id, contacts))
    }

    /// Ends a build with a failure.
    ///
    /// # Errors
    /// The caller's fault: there is no such build, or it has ended.
    pub fn finish_build_failed(&self, id: &str, failure: &Failure) -> Result<Build, LedgerError> {
        self.write(|c| fail(c, pending(c, id)?, failure))
    }

    /// Ends all builds that are pending, with one failure; for the start of a server, where none
    /// can be under way.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn fail_pending_builds(&self, failure: &Failure) -> Result<Vec<Build>, LedgerError> {
        self.write(|c| {
            let builds = sql::pending_builds(c)?;
            builds
                .into_iter()
                .map(|build| fail(c, build, failure))
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{app, ledger, record};
    use super::super::{Deploy, Ledger};
    use super::*;
    use crate::output::Blame;

    fn failure() -> Failure {
        Failure {
            id: "server_stopped".into(),
            blame: Blame::Platform,
            summary: "The server stopped during the build.".into(),
            found: vec![],
            remedy: vec!["Push again.".into()],
        }
    }

    fn build(ledger: &Ledger, app_id: &str) -> Build {
        ledger
            .create_build(app_id, SourceKind::Api, Some("4b825dc"), Some("v1.0"), "me")
            .unwrap()
    }

    #[test]
    fn a_build_reads_back_as_it_was_made() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let (one, two) = (build(&ledger, &demo.id), build(&ledger, &demo.id));
        assert_eq!(ledger.build(&one.id).unwrap(), one);
        assert_eq!(ledger.builds("demo").unwrap(), [one, two]);
        assert!(ledger.build("none").is_err());
        assert!(matches!(
            ledger.create_build("none", SourceKind::Push, None, None, "me"),
            Err(LedgerError::NotFound { what: "app", .. })
        ));
    }

    #[test]
    fn a_build_ends_once() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let build = build(&ledger, &demo.id);
        let failed = ledger.finish_build_failed(&build.id, &failure()).unwrap();
        assert_eq!(failed.status, Status::Failed);
        assert_eq!(ledger.build(&build.id).unwrap().failure, Some(failure()));
        assert!(matches!(
            ledger.finish_build_failed(&build.id, &failure()),
            Err(LedgerError::BuildEnded { .. })
        ));
        assert!(ledger.cancel_build(&build.id).is_err());
    }

    #[test]
    fn a_cancelled_build_is_never_released() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let build = build(&ledger, &demo.id);
        assert!(ledger.cancel_build(&build.id).unwrap().cancelled);
        let error = ledger
            .commit_deploy(&Deploy {
                build_id: &build.id,
                record: &record("slug"),
                description: "Deploy",
                refs: None,
            })
            .unwrap_err();
        assert!(matches!(error, LedgerError::BuildCancelled { .. }));
        assert_eq!(ledger.releases(&demo.id).unwrap().len(), 1);
        ledger.finish_build_failed(&build.id, &failure()).unwrap();
    }

    #[test]
    fn a_server_that_starts_fails_what_was_pending() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let (one, two) = (build(&ledger, &demo.id), build(&ledger, &demo.id));
        ledger.finish_build_failed(&one.id, &failure()).unwrap();
        let failed = ledger.fail_pending_builds(&failure()).unwrap();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0], ledger.build(&two.id).unwrap());
        assert_eq!(ledger.fail_pending_builds(&failure()).unwrap(), []);
    }
}
