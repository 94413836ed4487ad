//! Config vars: those of an app's newest release that has not failed.
//!
//! A change of them is a new release with the same slug; the change is worked out in the
//! transaction that records it, so that none is lost.

use std::collections::BTreeMap;

use super::error::LedgerError;
use super::releases::{NewRelease, add_release, newest};
use super::rows::ReleaseRow;
use super::{Ledger, apps};
use crate::config::{ConfigVars, check_name};
use crate::release::Status;

impl Ledger {
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

    use super::super::testing::{app, ledger};
    use super::*;
    use crate::config::MAX_TOTAL_BYTES;
    use crate::release::Version;

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
