//! Apps: made with release v1, found by name or id, destroyed with all that is theirs.

use rusqlite::Connection;

use super::error::LedgerError;
use super::releases::{NewRelease, add_release};
use super::rows::{App, UnusedSlug};
use super::{Ledger, new_id, sql};
use crate::app::{AppName, Layout, ObjectFormat};
use crate::config::ConfigVars;
use crate::platform::clock;
use crate::release::Status;

/// Finds an app by its name or id.
pub(super) fn find(c: &Connection, name_or_id: &str) -> Result<App, LedgerError> {
    sql::app(c, name_or_id)?.ok_or_else(|| LedgerError::NotFound {
        what: "app",
        name: name_or_id.to_owned(),
    })
}

impl Ledger {
    /// Makes an app; its release v1 has no slug and no config vars, as Heroku's.
    ///
    /// # Errors
    /// The caller's fault: the name is taken.
    pub fn create_app(&self, name: &AppName, user: &str) -> Result<App, LedgerError> {
        self.create_app_of(name, ObjectFormat::default(), user)
    }

    /// The same with a repository of this object format.
    ///
    /// # Errors
    /// The caller's fault: the name is taken.
    pub fn create_app_of(
        &self,
        name: &AppName,
        format: ObjectFormat,
        user: &str,
    ) -> Result<App, LedgerError> {
        self.write(|c| {
            if sql::app(c, name.as_str())?.is_some() {
                return Err(LedgerError::Conflict {
                    what: "app",
                    name: name.to_string(),
                });
            }
            let id = new_id();
            sql::insert_app(c, &id, name, format, clock::now())?;
            add_release(
                c,
                NewRelease {
                    app_id: &id,
                    slug_id: None,
                    config: ConfigVars::default(),
                    description: "Initial release",
                    status: Status::Succeeded,
                    user,
                },
            )?;
            find(c, &id)
        })
    }

    /// Finds an app.
    ///
    /// # Errors
    /// The caller's fault: no app has this name or id.
    pub fn app(&self, name_or_id: &str) -> Result<App, LedgerError> {
        self.read(|c| find(c, name_or_id))
    }

    /// All apps, by name.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn apps(&self) -> Result<Vec<App>, LedgerError> {
        self.read(|c| sql::apps(c))
    }

    /// Changes how an app is laid out.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn set_layout(&self, app: &str, layout: &Layout) -> Result<App, LedgerError> {
        self.write(|c| {
            let app = find(c, app)?;
            sql::set_app_layout(c, &app.id, layout)?;
            sql::touch_app(c, &app.id, clock::now())?;
            find(c, &app.id)
        })
    }

    /// Changes what the router and a deploy do with an app.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn set_switches(
        &self,
        app: &str,
        maintenance: bool,
        rollback_on_crash: bool,
    ) -> Result<App, LedgerError> {
        self.write(|c| {
            let app = find(c, app)?;
            sql::set_app_switches(c, &app.id, maintenance, rollback_on_crash)?;
            sql::touch_app(c, &app.id, clock::now())?;
            find(c, &app.id)
        })
    }

    /// Forgets an app with its builds, slugs, releases and config vars. Gives the slugs that no
    /// other app has, for the caller to delete from the store.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn destroy_app(&self, id: &str) -> Result<Vec<UnusedSlug>, LedgerError> {
        self.write(|c| {
            let app = find(c, id)?;
            let unused = sql::slugs_of_this_app_alone(c, &app.id)?;
            sql::delete_app(c, &app.id)?;
            Ok(unused)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{app, ledger, record};
    use super::super::{Deploy, RefCommand, RefIntent, SourceKind};
    use super::*;
    use crate::app::BuildDir;
    use crate::digest::Digest;
    use crate::release::Version;

    #[test]
    fn an_app_starts_with_release_v1() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        assert_eq!(ledger.app("demo").unwrap(), demo);
        assert_eq!(ledger.app(&demo.id).unwrap(), demo);
        let releases = ledger.releases(&demo.id).unwrap();
        assert_eq!(releases.len(), 1);
        assert_eq!(releases[0].version, Version(1));
        assert_eq!(releases[0].description, "Initial release");
        assert!(releases[0].current && releases[0].config.is_empty());
        assert_eq!(demo.released_at, Some(releases[0].created_at));
    }

    #[test]
    fn a_name_is_taken_once_and_free_again_after_its_app() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let error = ledger
            .create_app(&"demo".parse().unwrap(), "admin")
            .unwrap_err();
        assert!(matches!(error, LedgerError::Conflict { what: "app", .. }));
        ledger.destroy_app(&demo.id).unwrap();
        assert!(matches!(
            ledger.app("demo"),
            Err(LedgerError::NotFound { what: "app", .. })
        ));
        assert_ne!(app(&ledger, "demo").id, demo.id);
    }

    #[test]
    fn an_object_format_is_kept() {
        let ledger = ledger();
        assert_eq!(app(&ledger, "one").object_format, ObjectFormat::Sha1);
        let name = "two".parse().unwrap();
        let made = ledger.create_app_of(&name, ObjectFormat::Sha256, "admin");
        assert_eq!(made.unwrap().object_format, ObjectFormat::Sha256);
        assert_eq!(
            ledger.app("two").unwrap().object_format,
            ObjectFormat::Sha256
        );
    }

    #[test]
    fn a_layout_is_the_default_until_it_is_set() {
        let ledger = ledger();
        assert_eq!(app(&ledger, "demo").layout, Layout::default());
        let layout = Layout {
            build_dir: BuildDir::Separate,
            root: Some("services/api".parse().unwrap()),
            stack: Some("small".parse().unwrap()),
            stack_env: Some("heroku-24".parse().unwrap()),
        };
        assert_eq!(ledger.set_layout("demo", &layout).unwrap().layout, layout);
        ledger.set_layout("demo", &Layout::default()).unwrap();
        assert_eq!(ledger.app("demo").unwrap().layout, Layout::default());
    }

    #[test]
    fn destroying_an_app_takes_all_and_tells_which_slugs_are_nobodys() {
        let ledger = ledger();
        let (one, two) = (app(&ledger, "one"), app(&ledger, "two"));
        let commands = [RefCommand {
            name: "refs/heads/main".into(),
            old: "0".repeat(40),
            new: "1".repeat(40),
        }];
        for (app, content) in [(&one, "own"), (&one, "own"), (&one, "both"), (&two, "both")] {
            let build = ledger
                .create_build(&app.id, SourceKind::Push, None, None, "admin")
                .unwrap();
            ledger
                .commit_deploy(&Deploy {
                    build_id: &build.id,
                    record: &record(content),
                    description: "Deploy",
                    refs: Some(RefIntent {
                        quarantine: "q",
                        commands: &commands,
                    }),
                })
                .unwrap();
        }
        let unused = ledger.destroy_app(&one.id).unwrap();
        let digests: Vec<Digest> = unused.iter().map(|slug| slug.digest).collect();
        assert_eq!(digests, [Digest::of(b"own")]);
        assert_eq!(unused[0].manifest, record("own").manifest);
        assert!(ledger.builds(&one.id).is_err());
        let left = ledger.open_intents().unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].app_id, two.id);
        assert!(ledger.destroy_app(&one.id).is_err());
    }
}
