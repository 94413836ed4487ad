//! Releases: numbered from 1 without a gap, never changed but for their status.
//!
//! An app's config vars are those of its newest release that has not failed; a change of them is a
//! new release with the same slug.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::error::LedgerError;
use super::rows::ReleaseRow;
use super::{Ledger, apps, deploy, new_id, sql};
use crate::config::{ConfigVars, check_name};
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
    let release = ReleaseRow {
        id: new_id(),
        app_id: new.app_id.to_owned(),
        version: Version(sql::last_version(c, new.app_id)? + 1),
        slug_id: new.slug_id.map(str::to_owned),
        config: new.config,
        description: new.description.to_owned(),
        status: new.status,
        current: new.status == Status::Succeeded,
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

fn newest(c: &Connection, app_id: &str) -> Result<ReleaseRow, LedgerError> {
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

    /// The config vars that the next release starts from.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn config(&self, app_id: &str) -> Result<ConfigVars, LedgerError> {
        self.read(|c| Ok(newest(c, &apps::find(c, app_id)?.id)?.config))
    }

    /// Sets and, where the value is none, removes config vars, all at once. Gives the new release,
    /// or none where nothing changes.
    ///
    /// # Errors
    /// The caller's fault: there is no such app, or a name, a value or the total size is refused.
    pub fn set_config(
        &self,
        app_id: &str,
        changes: &[(String, Option<String>)],
        user: &str,
    ) -> Result<Option<ReleaseRow>, LedgerError> {
        self.write(|c| {
            let app = apps::find(c, app_id)?;
            let base = newest(c, &app.id)?;
            let config = changed(&base.config, changes)?;
            let Some(description) = describe(&base.config, &config, changes) else {
                return Ok(None);
            };
            add_release(
                c,
                NewRelease {
                    app_id: &app.id,
                    slug_id: base.slug_id.as_deref(),
                    config,
                    description: &description,
                    status: Status::Succeeded,
                    user,
                },
            )
            .map(Some)
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
            let mut slug = deploy::find_slug(c, slug_id)?;
            if slug.app_id != app.id {
                slug = deploy::add_slug(c, &app.id, &slug.record)?;
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

/// Applies changes; of several for one name the last counts.
fn changed(
    base: &ConfigVars,
    changes: &[(String, Option<String>)],
) -> Result<ConfigVars, LedgerError> {
    let mut vars: BTreeMap<&str, &str> = base.iter().collect();
    for (name, value) in changes {
        check_name(name)?;
        match value {
            Some(value) => vars.insert(name, value),
            None => vars.remove(name.as_str()),
        };
    }
    // Set from nothing, so that a change which makes room for another needs no order.
    let mut config = ConfigVars::default();
    for (name, value) in vars {
        config.set(name, value)?;
    }
    Ok(config)
}

/// Names what is different, in the order it was asked for; none for no difference.
///
/// Source: the descriptions that Heroku gives, `Set FOO, BAR config vars`.
fn describe(
    base: &ConfigVars,
    config: &ConfigVars,
    changes: &[(String, Option<String>)],
) -> Option<String> {
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for (name, _) in changes {
        let now = config.value(name);
        let list = if now.is_some() {
            &mut set
        } else {
            &mut removed
        };
        if base.value(name) != now && !list.contains(&name.as_str()) {
            list.push(name.as_str());
        }
    }
    let (set, removed) = (set.join(", "), removed.join(", "));
    match (set.is_empty(), removed.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("Set {set} config vars")),
        (true, false) => Some(format!("Remove {removed} config vars")),
        (false, false) => Some(format!("Set {set}, remove {removed} config vars")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{app, ledger, record};
    use super::super::{Deploy, SourceKind};
    use super::*;
    use crate::config::MAX_TOTAL_BYTES;

    type Change = (String, Option<String>);

    fn set(name: &str, value: &str) -> Change {
        (name.to_owned(), Some(value.to_owned()))
    }

    fn unset(name: &str) -> Change {
        (name.to_owned(), None)
    }

    fn described(ledger: &Ledger, changes: &[Change]) -> Option<String> {
        let release = ledger.set_config("demo", changes, "me").unwrap();
        release.map(|release| release.description)
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
    fn a_change_of_config_is_a_release_that_names_it() {
        let ledger = ledger();
        app(&ledger, "demo");
        let described = |changes: &[Change]| described(&ledger, changes);
        assert_eq!(
            described(&[set("FOO", "1"), set("BAR", "2")]).unwrap(),
            "Set FOO, BAR config vars"
        );
        assert_eq!(described(&[set("FOO", "1"), unset("NONE")]), None);
        assert_eq!(described(&[]), None);
        assert_eq!(
            described(&[set("FOO", "1"), set("BAR", "3")]).unwrap(),
            "Set BAR config vars"
        );
        assert_eq!(
            described(&[set("BAZ", "1"), unset("FOO")]).unwrap(),
            "Set BAZ, remove FOO config vars"
        );
        assert_eq!(
            described(&[unset("BAR"), unset("BAZ"), unset("BAR")]).unwrap(),
            "Remove BAR, BAZ config vars"
        );
        let releases = ledger.releases("demo").unwrap();
        let versions: Vec<u64> = releases.iter().map(|release| release.version.0).collect();
        assert_eq!(versions, [1, 2, 3, 4, 5]);
        assert_eq!(releases.iter().filter(|release| release.current).count(), 1);
        assert!(releases[4].current && releases[4].config.is_empty());
        assert!(ledger.config("demo").unwrap().is_empty());
    }

    #[test]
    fn what_config_refuses_changes_nothing() {
        let ledger = ledger();
        app(&ledger, "demo");
        let half = "x".repeat(MAX_TOTAL_BYTES / 2 + 1);
        described(&ledger, &[set("A", &half)]);
        for bad in [
            set("A-B", "1"),
            unset("A-B"),
            set("B", "\0"),
            set("B", &half),
        ] {
            let error = ledger
                .set_config("demo", &[set("GOOD", "1"), bad], "me")
                .unwrap_err();
            assert!(matches!(error, LedgerError::Config(_)), "{error:?}");
        }
        assert_eq!(ledger.config("demo").unwrap().iter().count(), 1);
        // What is removed makes room for what is set, in any order.
        described(&ledger, &[set("B", &half), unset("A")]).unwrap();
        assert!(ledger.set_config("none", &[], "me").is_err());
    }

    #[test]
    fn threads_that_set_config_at_once_lose_nothing() {
        let ledger = ledger();
        app(&ledger, "demo");
        std::thread::scope(|scope| {
            for name in ["A", "B", "C", "D"] {
                let ledger = ledger.clone();
                scope.spawn(move || {
                    for round in 0..10 {
                        let change = [set(name, &round.to_string())];
                        ledger.set_config("demo", &change, "me").unwrap().unwrap();
                    }
                });
            }
        });
        let releases = ledger.releases("demo").unwrap();
        let versions: Vec<u64> = releases.iter().map(|release| release.version.0).collect();
        assert_eq!(versions, (1..=41).collect::<Vec<_>>());
        let config = ledger.config("demo").unwrap();
        assert_eq!(
            config.iter().collect::<Vec<_>>(),
            [("A", "9"), ("B", "9"), ("C", "9"), ("D", "9")]
        );
    }

    #[test]
    fn two_processes_that_set_config_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        app(&Ledger::open(&path).unwrap(), "demo");
        std::thread::scope(|scope| {
            for name in ["A", "B"] {
                // A connection of its own, as another process has.
                let ledger = Ledger::open(&path).unwrap();
                scope.spawn(move || {
                    for round in 0..5 {
                        let change = [set(name, &round.to_string())];
                        ledger.set_config("demo", &change, "me").unwrap().unwrap();
                    }
                });
            }
        });
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.releases("demo").unwrap().len(), 11);
        assert_eq!(ledger.config("demo").unwrap().iter().count(), 2);
    }

    #[test]
    fn a_release_is_found_by_its_number_and_its_id() {
        let ledger = ledger();
        app(&ledger, "demo");
        app(&ledger, "other");
        described(&ledger, &[set("FOO", "1")]);
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
        described(&ledger, &[set("FOO", "old")]);
        let earlier = deploy(&ledger, "old");
        described(&ledger, &[set("FOO", "new")]);
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
        described(&ledger, &[set("FOO", "1")]);
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

    #[test]
    fn debug_hides_the_values() {
        let ledger = ledger();
        app(&ledger, "demo");
        let release = ledger
            .set_config("demo", &[set("API_KEY", "hunter2")], "me")
            .unwrap();
        let text = format!("{release:?}");
        assert!(
            text.contains("API_KEY") && !text.contains("hunter2"),
            "{text}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Any sequence of changes leaves what the same sequence leaves of a map, and a release
        /// for each step that changed something.
        #[test]
        fn config_is_a_map(steps in prop::collection::vec(
            prop::collection::vec(("[A-D]", prop::option::of("[ab]?")), 0..4), 0..12,
        )) {
            let ledger = ledger();
            app(&ledger, "demo");
            let mut model = BTreeMap::new();
            let mut version = 1;
            for changes in steps {
                let before = model.clone();
                for (name, value) in &changes {
                    match value {
                        Some(value) => model.insert(name.clone(), value.clone()),
                        None => model.remove(name),
                    };
                }
                let release = ledger.set_config("demo", &changes, "me").unwrap();
                prop_assert_eq!(release.is_some(), model != before);
                version += u64::from(model != before);
                let config = ledger.config("demo").unwrap();
                let config = config.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
                prop_assert_eq!(config.collect::<BTreeMap<_, _>>(), model.clone());
            }
            prop_assert_eq!(ledger.current_release("demo").unwrap().version, Version(version));
        }
    }
}
