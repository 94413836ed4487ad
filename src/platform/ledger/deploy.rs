//! The commit point of a deploy, and the ref updates that a push still owes after it.
//!
//! Guarantees: before [`Ledger::commit_deploy`] returns, nothing of the deploy is in the ledger;
//! after it, slug, release, build and intent all are. A release with an intent is pending until
//! [`Ledger::close_intent`]; a server that starts carries out what [`Ledger::open_intents`] lists.

use rusqlite::Connection;

use super::error::LedgerError;
use super::releases::{NewRelease, add_release};
use super::rows::{Build, Intent, RefCommand, ReleaseRow, Slug};
use super::{Ledger, builds, new_id, slugs, sql};
use crate::platform::clock;
use crate::release::Status;
use crate::slug::SlugRecord;

/// A build that has succeeded and is to be released.
#[derive(Debug, Clone)]
pub struct Deploy<'a> {
    pub build_id: &'a str,
    pub record: &'a SlugRecord,
    /// The release's: `Deploy 4b825dc6`.
    pub description: &'a str,
    /// What a push still has to do; none for a build by the API.
    pub refs: Option<RefIntent<'a>>,
}

/// The ref updates of a push, which follow the commit point.
#[derive(Debug, Clone)]
pub struct RefIntent<'a> {
    /// The name of the quarantine that holds the push's objects.
    pub quarantine: &'a str,
    pub commands: &'a [RefCommand],
}

/// What the commit point has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    pub release: ReleaseRow,
    pub slug: Slug,
    /// To be closed by its id once the refs have moved.
    pub intent: Option<Intent>,
}

impl Ledger {
    /// Records a deploy, all in one transaction: the commit point.
    ///
    /// The release takes the config vars of the release before it as they are in this moment. It
    /// is pending where there are refs to move, else it has succeeded.
    ///
    /// # Errors
    /// The caller's fault: there is no such build (its app may be gone), it has ended, or it was
    /// cancelled. Nothing is recorded then.
    pub fn commit_deploy(&self, deploy: &Deploy<'_>) -> Result<Deployed, LedgerError> {
        self.write(|c| {
            let mut build = committable(c, deploy.build_id)?;
            let slug = slugs::add(c, &build.app_id, deploy.record)?;
            let status = match deploy.refs {
                Some(_) => Status::Pending,
                None => Status::Succeeded,
            };
            let newest = sql::newest_release(c, &build.app_id)?;
            let release = add_release(
                c,
                NewRelease {
                    app_id: &build.app_id,
                    slug_id: Some(&slug.id),
                    config: newest.map(|release| release.config).unwrap_or_default(),
                    description: deploy.description,
                    status,
                    user: &build.user,
                },
            )?;
            let intent = match &deploy.refs {
                Some(refs) => Some(add_intent(c, &build.app_id, Some(&release.id), refs)?),
                None => None,
            };
            build.release_id = Some(release.id.clone());
            succeed(c, build, &slug)?;
            Ok(Deployed {
                release,
                slug,
                intent,
            })
        })
    }

    /// Records a build that is not to be released: the commit point of its push.
    ///
    /// # Errors
    /// As [`Ledger::commit_deploy`].
    pub fn commit_slug(
        &self,
        build_id: &str,
        record: &SlugRecord,
        refs: &RefIntent<'_>,
    ) -> Result<(Slug, Intent), LedgerError> {
        self.write(|c| {
            let build = committable(c, build_id)?;
            let slug = slugs::add(c, &build.app_id, record)?;
            let intent = add_intent(c, &build.app_id, None, refs)?;
            succeed(c, build, &slug)?;
            Ok((slug, intent))
        })
    }

    /// Records that the refs of a push have moved: its release, if it has one, has succeeded.
    ///
    /// # Errors
    /// The caller's fault: there is no such intent.
    pub fn close_intent(&self, id: &str) -> Result<Option<ReleaseRow>, LedgerError> {
        self.write(|c| {
            let not_found = || LedgerError::NotFound {
                what: "intent",
                name: id.to_owned(),
            };
            let intent = sql::intent(c, id)?.ok_or_else(not_found)?;
            sql::delete_intent(c, id)?;
            let Some(release_id) = &intent.release_id else {
                return Ok(None);
            };
            let release = sql::release_of_id(c, &intent.app_id, release_id)?;
            // One with a release command is so until that has ended.
            if release.is_some_and(|release| !release.owes_phase) {
                sql::set_release_status(c, release_id, Status::Succeeded, clock::now())?;
            }
            sql::release_of_id(c, &intent.app_id, release_id)
        })
    }

    /// The intents that are not closed, each app's in the order of their making.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn open_intents(&self) -> Result<Vec<Intent>, LedgerError> {
        self.read(|c| sql::intents(c))
    }
}

/// A build that is under way and that nobody has cancelled.
fn committable(c: &Connection, build_id: &str) -> Result<Build, LedgerError> {
    let build = builds::pending(c, build_id)?;
    if build.cancelled {
        return Err(LedgerError::BuildCancelled { id: build.id });
    }
    Ok(build)
}

fn succeed(c: &Connection, mut build: Build, slug: &Slug) -> Result<(), LedgerError> {
    build.status = Status::Succeeded;
    build.slug_id = Some(slug.id.clone());
    build.updated_at = clock::now();
    sql::update_build(c, &build)
}

fn add_intent(
    c: &Connection,
    app_id: &str,
    release_id: Option<&str>,
    refs: &RefIntent<'_>,
) -> Result<Intent, LedgerError> {
    let intent = Intent {
        id: new_id(),
        release_id: release_id.map(str::to_owned),
        app_id: app_id.to_owned(),
        quarantine: refs.quarantine.to_owned(),
        commands: refs.commands.to_vec(),
        created_at: clock::now(),
    };
    sql::insert_intent(c, &intent)?;
    Ok(intent)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{app, ledger, record};
    use super::super::{App, Build, SourceKind};
    use super::*;
    use crate::release::Version;

    fn commands() -> Vec<RefCommand> {
        vec![RefCommand {
            name: "refs/heads/main".into(),
            old: "0".repeat(40),
            new: "4b825dc642cb6eb9a060e54bf8d69288fbee4904".into(),
        }]
    }

    fn build(ledger: &Ledger, app: &App) -> Build {
        ledger
            .create_build(&app.id, SourceKind::Push, Some("4b825dc"), None, "me")
            .unwrap()
    }

    fn push(ledger: &Ledger, build: &Build) -> Result<Deployed, LedgerError> {
        ledger.commit_deploy(&Deploy {
            build_id: &build.id,
            record: &record("slug"),
            description: "Deploy 4b825dc6",
            refs: Some(RefIntent {
                quarantine: "incoming-1",
                commands: &commands(),
            }),
        })
    }

    #[test]
    fn a_push_without_a_release_owes_its_refs_all_the_same() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let build = build(&ledger, &demo);
        let refs = RefIntent {
            quarantine: "incoming-1",
            commands: &commands(),
        };
        let record = record("slug");
        let (slug, intent) = ledger.commit_slug(&build.id, &record, &refs).unwrap();
        assert_eq!(
            ledger.open_intents().unwrap(),
            std::slice::from_ref(&intent)
        );
        let ended = ledger.build(&build.id).unwrap();
        assert_eq!(ended.status, Status::Succeeded);
        assert_eq!((ended.slug_id, ended.release_id), (Some(slug.id), None));
        assert_eq!(ledger.close_intent(&intent.id).unwrap(), None);
        assert!(ledger.open_intents().unwrap().is_empty());
        assert_eq!(ledger.releases(&demo.id).unwrap().len(), 1);
        assert!(ledger.commit_slug(&build.id, &record, &refs).is_err());
    }

    #[test]
    fn a_push_is_pending_until_its_refs_have_moved() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let set = [("A".to_owned(), Some("1".to_owned()))];
        ledger.set_config(&demo.id, &set, "me").unwrap();
        let build = build(&ledger, &demo);
        let deployed = push(&ledger, &build).unwrap();

        let release = &deployed.release;
        assert_eq!(release.version, Version(3));
        assert_eq!(release.status, Status::Pending);
        assert!(!release.current);
        assert_eq!(release.config.value("A"), Some("1"));
        assert_eq!(release.user, "me");
        assert_eq!(
            ledger.current_release(&demo.id).unwrap().version,
            Version(2)
        );
        let ended = ledger.build(&build.id).unwrap();
        assert_eq!(ended.status, Status::Succeeded);
        assert_eq!(ended.release_id.as_ref(), Some(&release.id));
        assert_eq!(ended.slug_id.as_ref(), Some(&deployed.slug.id));
        assert_eq!(ledger.slug(&deployed.slug.id).unwrap(), deployed.slug);

        let intent = deployed.intent.unwrap();
        assert_eq!(
            ledger.open_intents().unwrap(),
            std::slice::from_ref(&intent)
        );
        assert_eq!(intent.commands, commands());
        let closed = ledger.close_intent(&intent.id).unwrap().unwrap();
        assert_eq!(closed.status, Status::Succeeded);
        assert!(closed.current);
        assert_eq!(ledger.current_release(&demo.id).unwrap(), closed);
        assert_eq!(ledger.open_intents().unwrap(), []);
        assert!(ledger.close_intent(&intent.id).is_err());

        let shown = ledger.app("demo").unwrap();
        assert_eq!(shown.slug_size_bytes, Some(4));
        assert_eq!(shown.buildpacks.as_deref(), Some("Lang"));
    }

    #[test]
    fn a_build_without_refs_succeeds_at_once() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let build = build(&ledger, &demo);
        let deploy = Deploy {
            build_id: &build.id,
            record: &record("slug"),
            description: "Deploy",
            refs: None,
        };
        let deployed = ledger.commit_deploy(&deploy).unwrap();
        assert_eq!(deployed.intent, None);
        assert_eq!(ledger.current_release("demo").unwrap(), deployed.release);
        assert!(matches!(
            ledger.commit_deploy(&deploy),
            Err(LedgerError::BuildEnded { .. })
        ));
    }

    #[test]
    fn config_set_over_a_pending_release_keeps_its_slug() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let deployed = push(&ledger, &build(&ledger, &demo)).unwrap();
        let set = [("A".to_owned(), Some("1".to_owned()))];
        let release = ledger.set_config(&demo.id, &set, "me").unwrap().unwrap();
        assert_eq!(release.slug_id, Some(deployed.slug.id));
        ledger.close_intent(&deployed.intent.unwrap().id).unwrap();
        assert_eq!(ledger.current_release(&demo.id).unwrap().id, release.id);
    }

    #[test]
    fn a_step_that_fails_leaves_nothing_of_a_deploy() {
        for step in [
            "INSERT ON slugs",
            "INSERT ON releases",
            "INSERT ON intents",
            "UPDATE ON builds",
            "UPDATE ON apps",
        ] {
            let ledger = ledger();
            let demo = app(&ledger, "demo");
            let build = build(&ledger, &demo);
            let everything = || {
                let c = ledger.connection.lock().unwrap();
                let count = |table| -> i64 {
                    let sql = format!("SELECT count(*) FROM {table}");
                    c.query_row(&sql, [], |row| row.get(0)).unwrap()
                };
                ["slugs", "releases", "intents"].map(count)
            };
            let before = everything();
            let trigger = format!(
                "CREATE TRIGGER breaks BEFORE {step} BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            );
            let batch = |sql: &str| ledger.connection.lock().unwrap().execute_batch(sql);
            batch(&trigger).unwrap();
            let error = push(&ledger, &build).unwrap_err();
            assert!(matches!(error, LedgerError::Database(_)), "{step}");
            assert_eq!(everything(), before, "{step}");
            assert_eq!(ledger.build(&build.id).unwrap(), build, "{step}");
            assert_eq!(ledger.app("demo").unwrap(), demo, "{step}");

            batch("DROP TRIGGER breaks").unwrap();
            let deployed = push(&ledger, &build).unwrap();
            assert_eq!(deployed.release.version, Version(2), "{step}");
        }
    }

    #[test]
    fn intents_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let ledger = Ledger::open(&path).unwrap();
        let demo = app(&ledger, "demo");
        let first = push(&ledger, &build(&ledger, &demo)).unwrap();
        let second = push(&ledger, &build(&ledger, &demo)).unwrap();
        drop(ledger);
        let ledger = Ledger::open(&path).unwrap();
        let open = ledger.open_intents().unwrap();
        assert_eq!(open, [first.intent.unwrap(), second.intent.unwrap()]);
        for intent in open {
            ledger.close_intent(&intent.id).unwrap();
        }
        assert_eq!(ledger.current_release("demo").unwrap().version, Version(3));
    }

    #[test]
    fn a_deploy_of_an_app_that_is_gone_is_refused() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let build = build(&ledger, &demo);
        ledger.destroy_app(&demo.id).unwrap();
        assert!(matches!(
            push(&ledger, &build),
            Err(LedgerError::NotFound { what: "build", .. })
        ));
    }
}
