//! What of the ledger runs: an app's current release, in the formation that was chosen.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Platform;
use super::dynos::{AppDynos, Boot, DynoRow, Formation, Share, Size, Target};
use super::ledger::{App, Chosen, LedgerError, ReleaseRow};
use super::log_stream::Source;
use super::stacks::StackError;
use crate::output::Output;
use crate::release::{Status, Version};
use crate::slug::SlugRecord;
use crate::stack::Stack;

/// What the operator's address of apps is made of.
#[derive(Debug, Clone)]
pub struct Web {
    /// Apps are at `NAME.domain`.
    pub domain: String,
    /// Where the router listens, and where it speaks TLS for names below the domain.
    pub port: u16,
    pub tls_port: Option<u16>,
    /// The host of the server's own URL, where the operator has named it.
    pub own_host: Option<String>,
}

/// A number of dynos as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    Exactly(u32),
    More(u32),
    Fewer(u32),
}

/// What a request wants of a process type; what it does not name stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub quantity: Option<Quantity>,
    /// A size's name, in whatever case.
    pub size: Option<String>,
}

/// Most dynos of one type.
pub const MOST_DYNOS: u32 = 100;

/// Why a formation cannot be what was asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FormationError {
    #[error("there is no process type {kind}")]
    NoType { kind: String, known: Vec<String> },
    #[error("{kind} cannot have {got} dynos; the limit is {MOST_DYNOS}")]
    TooMany { kind: String, got: u32 },
    #[error("there is no dyno {name}")]
    NoDyno { name: String },
    #[error("there is no dyno size {name}")]
    NoSize { name: String, known: Vec<String> },
}

/// A process type of an app's current release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeRow {
    pub kind: String,
    pub command: String,
    pub quantity: u32,
    /// A size's name.
    pub size: String,
}

impl Platform {
    /// The address of an app.
    pub fn web_url(&self, app_name: &str) -> String {
        let web = &self.options.web;
        let domain = &web.domain;
        let (scheme, usual, port) = match web.tls_port {
            Some(port) => ("https", 443, port),
            None => ("http", 80, web.port),
        };
        if port == usual {
            return format!("{scheme}://{app_name}.{domain}/");
        }
        format!("{scheme}://{app_name}.{domain}:{port}/")
    }

    /// A line about what people and builds do with an app.
    pub fn say(&self, app_id: &str, text: &str) {
        self.streams.of(app_id).write(Source::App, "api", text);
    }

    /// Starts what should run, as a server does when it starts.
    ///
    /// # Errors
    /// The platform's: the ledger.
    pub fn start_dynos(&self) -> Result<()> {
        let apps = self.ledger.apps()?;
        for app in &apps {
            if let Err(error) = self.roll_out(app) {
                let error = format!("{error:#}");
                tracing::error!(app = %app.name, error, "an app's dynos could not be started");
                // Nobody waits for them any longer.
                self.app_dynos(app).look();
            }
        }
        self.forget_unpacked();
        Ok(())
    }

    /// Unpacks a slug for the dynos to come.
    pub(super) fn unpack(&self, record: &SlugRecord) -> Result<()> {
        self.unpacked.of(&record.digest, &self.store).map(drop)
    }

    /// Runs the app's current release in place of what runs; gives the number of the deploy, none
    /// where there is nothing to run.
    ///
    /// # Errors
    /// The platform's: the ledger, or the slug cannot be unpacked.
    pub fn roll_out(&self, app: &App) -> Result<Option<u64>> {
        let dynos = self.dynos.of(&app.id, app.name.as_str());
        // What is read after the turn is taken is the newest: whoever comes last runs the last.
        let _turn = dynos.turn();
        let Some((release, types)) = self.runnable(app)? else {
            return Ok(None);
        };
        let formation = self.wanted(&self.ledger.formation(&app.id)?);
        let runs =
            |(kind, share): (&String, &Share)| share.quantity > 0 && types.contains_key(kind);
        if !formation.iter().any(runs) {
            return Ok(Some(dynos.rest()));
        }
        let Some(target) = self.target_of(app, &release)? else {
            return Ok(None);
        };
        Ok(Some(dynos.deploy(&Arc::new(target), &formation)))
    }

    /// What was chosen, with the sizes that there are.
    fn wanted(&self, chosen: &BTreeMap<String, Chosen>) -> Formation {
        let sizes = &self.options.dynos.sizes;
        let share = |(kind, chosen): (&String, &Chosen)| {
            let share = Share {
                quantity: chosen.quantity,
                size: sizes.chosen(chosen.size.as_deref()),
            };
            (kind.clone(), share)
        };
        chosen.iter().map(share).collect()
    }

    /// Runs the current release where nobody waits for it.
    pub(super) fn roll_out_or_log(&self, app: &App) {
        if let Err(error) = self.roll_out(app) {
            let error = format!("{error:#}");
            tracing::error!(app = %app.name, error, "a release could not be run");
            self.say(&app.id, &format!("The release could not be run: {error}"));
        }
    }

    /// The current release and its process types; none where there is nothing to run.
    fn runnable(&self, app: &App) -> Result<Option<(ReleaseRow, BTreeMap<String, String>)>> {
        let release = match self.ledger.current_release(&app.id) {
            Ok(release) => release,
            Err(LedgerError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(slug) = &release.slug_id else {
            return Ok(None);
        };
        let types = self.ledger.slug(slug)?.record.process_types;
        Ok(Some((release, types)))
    }

    /// What a release would run; nothing where it has no slug.
    pub(super) fn target_of(&self, app: &App, release: &ReleaseRow) -> Result<Option<Target>> {
        let Some(slug_id) = &release.slug_id else {
            return Ok(None);
        };
        let record = self.ledger.slug(slug_id)?.record;
        let base = self.unpacked.of(&record.digest, &self.store);
        Ok(Some(Target {
            app_id: app.id.clone(),
            app_name: app.name.to_string(),
            version: release.version,
            base: base.context("unpacking the release's slug")?,
            stack: self.stack_of(app, &record)?,
            config: release.config.clone(),
            types: record.process_types,
        }))
    }

    /// The stack that a slug was built on; the host's own where that is not here any more.
    fn stack_of(&self, app: &App, record: &SlugRecord) -> Result<Stack> {
        match self.stacks.find(record.stack.parse().ok().as_ref()) {
            Err(StackError::Unknown { name, .. }) => {
                let host = self.stacks.host();
                self.say(
                    &app.id,
                    &format!("Built on the stack {name}, which is not here; it runs on {host}"),
                );
                Ok(self.stacks.find(None)?)
            }
            found => Ok(found?),
        }
    }

    /// Removes the unpacked slugs that are neither current nor in use.
    pub(super) fn forget_unpacked(&self) {
        let current = || -> Result<HashSet<_>, LedgerError> {
            let mut digests = HashSet::new();
            for app in self.ledger.apps()? {
                let Ok(release) = self.ledger.current_release(&app.id) else {
                    continue;
                };
                if let Some(slug) = &release.slug_id {
                    digests.insert(self.ledger.slug(slug)?.record.digest);
                }
            }
            Ok(digests)
        };
        match current() {
            Ok(digests) => self.unpacked.keep_only(&digests),
            Err(error) => tracing::warn!(%error, "unpacked slugs were not looked through"),
        }
    }

    /// The process types of the current release; none before the first deploy.
    ///
    /// # Errors
    /// The caller's: there is no such app.
    pub fn formation(&self, app: &App) -> Result<Vec<TypeRow>> {
        let chosen = self.ledger.formation(&app.id)?;
        let types = self.process_types(app)?.into_iter();
        let row = |(kind, command)| {
            let chosen = chosen.get(&kind).cloned().unwrap_or_default();
            let size = self.options.dynos.sizes.chosen(chosen.size.as_deref());
            TypeRow {
                quantity: chosen.quantity,
                size: size.name.clone(),
                kind,
                command,
            }
        };
        Ok(types.map(row).collect())
    }

    pub(super) fn process_types(&self, app: &App) -> Result<BTreeMap<String, String>> {
        Ok(self
            .runnable(app)?
            .map(|(_, types)| types)
            .unwrap_or_default())
    }

    /// Changes how many dynos an app has, and how large they are. Dynos of another size take over as
    /// those of a deploy do.
    ///
    /// # Errors
    /// The caller's: no such type or size, or too many.
    pub fn scale(&self, app: &App, wanted: &[(String, Change)], user: &str) -> Result<()> {
        let known = self.process_types(app)?;
        let dynos = self.dynos.of(&app.id, app.name.as_str());
        let turn = dynos.turn();
        let before = self.ledger.formation(&app.id)?;
        let mut changed = BTreeMap::new();
        for (kind, change) in wanted {
            if !known.contains_key(kind) {
                let (kind, known) = (kind.clone(), known.keys().cloned().collect());
                return Err(FormationError::NoType { kind, known }.into());
            }
            let mut chosen = before.get(kind).cloned().unwrap_or_default();
            chosen.quantity = match change.quantity {
                None => chosen.quantity,
                Some(Quantity::Exactly(count)) => count,
                Some(Quantity::More(count)) => chosen.quantity.saturating_add(count),
                Some(Quantity::Fewer(count)) => chosen.quantity.saturating_sub(count),
            };
            if chosen.quantity > MOST_DYNOS {
                let (kind, got) = (kind.clone(), chosen.quantity);
                return Err(FormationError::TooMany { kind, got }.into());
            }
            if let Some(name) = &change.size {
                chosen.size = Some(self.size(name)?.name.clone());
            }
            changed.insert(kind.clone(), chosen);
        }
        self.ledger.scale(&app.id, &changed)?;
        let (old, new) = (self.wanted(&before), self.wanted(&changed));
        let shown = new
            .iter()
            .map(|(kind, share)| format!("{kind}@{}:{}", share.quantity, share.size.name));
        let shown = shown.collect::<Vec<_>>().join(" ");
        self.say(&app.id, &format!("Scaled to {shown} by user {user}"));
        let resized = |(kind, share): (&String, &Share)| {
            let old = old.get(kind).filter(|old| old.quantity > 0);
            old.is_some_and(|old| old.size.name != share.size.name)
        };
        let mut all = old.clone();
        all.extend(new.clone());
        let is_empty = all.values().all(|share| share.quantity == 0);
        if dynos.has_target() && !is_empty && !new.iter().any(resized) {
            dynos.scale(&new);
            return Ok(());
        }
        drop(turn);
        self.roll_out(app).map(drop)
    }

    /// The size of this name.
    ///
    /// # Errors
    /// The caller's: there is none.
    pub(super) fn size(&self, name: &str) -> Result<Arc<Size>, FormationError> {
        let sizes = &self.options.dynos.sizes;
        sizes.find(name).ok_or_else(|| FormationError::NoSize {
            name: name.to_owned(),
            known: sizes.names(),
        })
    }

    /// The dynos of an app.
    pub fn dynos_of(&self, app: &App) -> Vec<DynoRow> {
        self.app_dynos(app).rows()
    }

    fn app_dynos(&self, app: &App) -> Arc<AppDynos> {
        self.dynos.of(&app.id, app.name.as_str())
    }

    /// Restarts one dyno by its name, all of a type, or all.
    ///
    /// # Errors
    /// The caller's: there is none of that name.
    pub fn restart(&self, app: &App, which: Option<&str>, user: &str) -> Result<()> {
        let count = if let Some(which) = which {
            self.app_dynos(app).restart(which)
        } else {
            // All of them: new ones first, as with a deploy.
            self.roll_out(app)?;
            1
        };
        known(count, which)?;
        let what = which.unwrap_or("all dynos");
        self.say(&app.id, &format!("Restart of {what} by user {user}"));
        Ok(())
    }

    /// Tells the router what an app's record says.
    pub fn set_maintenance(&self, app: &App) {
        self.app_dynos(app).route().set_maintenance(app.maintenance);
    }

    /// Stops one dyno by its name, or all of a type, until they are restarted or deployed again.
    ///
    /// # Errors
    /// The caller's: there is none of that name.
    pub fn stop(&self, app: &App, which: &str, user: &str) -> Result<()> {
        known(self.app_dynos(app).stop(which), Some(which))?;
        self.say(&app.id, &format!("Stop of {which} by user {user}"));
        Ok(())
    }

    /// Runs a release that has just been made, and tells the pusher where it answers.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(super) fn launch(
        &self,
        app: &App,
        release: &ReleaseRow,
        record: &SlugRecord,
        out: &mut Output<'_>,
    ) -> std::io::Result<()> {
        let types = &record.process_types;
        out.step("Launching...")?;
        out.detail(&format!("Released {}", release.version))?;
        self.tell_release(app, release);
        if release.owes_phase {
            out.problem("Release command declared: this new release will not be available until the command succeeds.")?;
            if !self.show_phase(app, release, out)? {
                return Ok(());
            }
        }
        let generation = match self.roll_out(app) {
            Ok(generation) => generation,
            Err(error) => {
                let failure = (self.options.explain)(&error);
                tracing::error!(app = %app.name, error = format!("{error:#}"), "a release could not be run");
                out.failure(&failure)?;
                return Ok(());
            }
        };
        if types.contains_key("web") {
            let url = self.web_url(app.name.as_str());
            out.detail(&format!("{url} deployed to Slugline"))?;
        } else if let Some(kind) = types.keys().find(|kind| *kind != "release") {
            out.detail(&format!(
                "Start its dynos with: slugline ps scale -a {} {kind}=1",
                app.name
            ))?;
        } else {
            out.detail(&format!(
                "Run a command with: slugline run -a {} -- COMMAND",
                app.name
            ))?;
        }
        out.line("")?;
        let boot = generation.map_or(Boot::Up, |generation| {
            let longest = self.dynos.options().boot_time + Duration::from_secs(5);
            self.app_dynos(app).wait_for_boot(generation, longest)
        });
        self.forget_unpacked();
        match boot {
            Boot::Up => out.line("Verifying deploy... done."),
            Boot::Crashed { dyno } => {
                self.tell_crash(app, release, &dyno, out)?;
                self.go_back(app, release, out)
            }
            Boot::Unknown => {
                out.line("Verifying deploy... not done: the web dynos do not listen yet.")
            }
        }
    }

    /// Undoes a deploy whose dynos have crashed, where the app wants that.
    fn go_back(
        &self,
        app: &App,
        release: &ReleaseRow,
        out: &mut Output<'_>,
    ) -> std::io::Result<()> {
        let before = || -> Result<Option<ReleaseRow>> {
            let all = self.ledger.releases(&app.id)?;
            let good = all.into_iter().rev().find(|one| {
                one.version < release.version
                    && one.status == Status::Succeeded
                    && one.slug_id.is_some()
            });
            let Some(good) = good.filter(|_| app.rollback_on_crash) else {
                return Ok(None);
            };
            let Version(number) = good.version;
            let user = &release.user;
            let made = self.ledger.rollback(&app.id, Version(number), user)?;
            self.tell_release(app, &made);
            // What its command did the first time is done.
            if made.owes_phase {
                self.ledger.finish_phase(&made.id, Status::Succeeded)?;
            }
            self.roll_out(app)?;
            Ok(Some(made))
        };
        match before() {
            Ok(None) => Ok(()),
            Ok(Some(made)) => {
                let (description, version) = (made.description, made.version);
                out.problem(&format!(
                    "{description}, as {version}: the app is set to roll back on a crash."
                ))
            }
            Err(error) => out.failure(&(self.options.explain)(&error)),
        }
    }

    pub(super) fn tell_release(&self, app: &App, release: &ReleaseRow) {
        let (version, user) = (release.version, &release.user);
        self.say(&app.id, &format!("{} by user {user}", release.description));
        self.say(
            &app.id,
            &format!("Release {version} created by user {user}"),
        );
    }

    fn tell_crash(
        &self,
        app: &App,
        release: &ReleaseRow,
        dyno: &str,
        out: &mut Output<'_>,
    ) -> std::io::Result<()> {
        out.line("Verifying deploy... failed.")?;
        out.problem(&format!(
            "{dyno} of {} crashed before it listened on $PORT.",
            release.version
        ))?;
        let filter = super::log_stream::Filter {
            process: Some(dyno.to_owned()),
            source: None,
        };
        let lines = self.streams.of(&app.id).read(8, filter).take_first();
        out.problem("")?;
        for line in lines {
            let (source, process) = (line.source(), line.process());
            out.problem(&format!("{source}[{process}]: {}", line.message()))?;
        }
        out.problem("")?;
        let name = &app.name;
        out.problem(
            "It is started again and again; dynos of the release before go on serving, if",
        )?;
        out.problem("there are any.")?;
        out.problem(&format!("More of its log: slugline logs -a {name}"))?;
        out.problem(&format!("To go back:      slugline rollback -a {name}"))
    }
}

fn known(count: usize, which: Option<&str>) -> Result<(), FormationError> {
    if count == 0
        && let Some(name) = which
    {
        let name = name.to_owned();
        return Err(FormationError::NoDyno { name });
    }
    Ok(())
}
