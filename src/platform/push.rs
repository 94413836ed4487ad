//! A push, from its commands to its report.
//!
//! All or nothing: the pack waits in a quarantine while the build runs. Then, in this order: the
//! slug is stored; one ledger transaction records the release and what the refs owe (the commit
//! point); the pack is promoted; the refs move; the debt is closed. A push that ends before the
//! commit point leaves no object and no ref; one that is cut after it is completed at the next start.

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, Result};

use super::Platform;
use super::deploy::{Job, announce_slug};
use super::ledger::{App, Deploy, Intent, RefCommand, RefIntent, SourceKind};
use super::queue::Left;
use crate::fault::Step;
use crate::output::Output;
use crate::pipeline::Source;
use crate::receive::{self, Command, PushOptions, Quarantine, Request, Status};
use crate::sandbox::Cancel;

/// One push to an app.
pub struct Push<'a> {
    pub app: &'a App,
    /// The name of the pusher's token.
    pub user: &'a str,
    pub request: &'a Request,
    /// What follows the commands.
    pub pack: &'a mut dyn BufRead,
    pub cancel: &'a Cancel,
}

/// What became of a push.
#[derive(Debug)]
pub struct Pushed {
    /// Of the pack: the reason why it was refused.
    pub unpack: Result<(), String>,
    /// Of each command, in their order.
    pub statuses: Vec<Status>,
}

/// What git says for a push whose build failed.
const DECLINED: &str = "pre-receive hook declined";

/// What git says for a push that asked what it would do.
const PLAN_ONLY: &str = "plan only";

impl Platform {
    /// Carries a push out; what the pusher should read while it lasts goes to `progress`.
    pub fn push(&self, push: Push<'_>, progress: &mut dyn Write) -> Pushed {
        let commands = push.request.commands.len();
        match self.try_push(push, progress) {
            Ok(statuses) => Pushed {
                unpack: Ok(()),
                statuses,
            },
            Err(error) => {
                let failure = (self.options.explain)(&error);
                tracing::info!(
                    failure = failure.id,
                    error = format!("{error:#}"),
                    "push refused"
                );
                let mut out = Output::new(progress);
                // The pusher may be gone.
                let _ = out.failure(&failure);
                Pushed {
                    unpack: Err(failure.summary),
                    statuses: vec![Err("unpacker error".to_owned()); commands],
                }
            }
        }
    }

    fn try_push(&self, push: Push<'_>, progress: &mut dyn Write) -> Result<Vec<Status>> {
        let Push {
            app,
            user,
            request,
            pack,
            cancel,
        } = push;
        let mut trace = Trace::new(request.options.trace);
        let _turn = self.apps.of(&app.id).enter(cancel, |ahead| {
            let line = format!("Waiting for {} to {}.", other_pushes(ahead), app.name);
            Output::new(progress).line(&line)
        })?;
        trace.phase("wait", &mut Output::new(progress))?;
        // It may have been destroyed while this push waited.
        let app = &self.ledger.app(&app.id)?;
        let repository = self.data.repository(&app.id);
        receive::init(&repository, app.object_format.hash())?;
        self.complete_owed(&app.id)?;
        let mut statuses = receive::check(&repository, request)?;
        if statuses.iter().all(Result::is_err) {
            return Ok(statuses);
        }
        let signer = self.verify(request)?;
        let (limits, faults) = (&self.options.receive, self.options.faults);
        faults.reach(Step::Commands);
        let stop = cancel.flag();
        let mut quarantine = Quarantine::receive(&repository, pack, request, limits, stop, faults)
            .context("receiving the pack")?;
        trace.phase("receive", &mut Output::new(progress))?;
        quarantine.check_kinds(request, &mut statuses);
        if statuses.iter().all(Result::is_err) {
            return Ok(statuses);
        }
        if let Some(certificate) = &request.certificate {
            let text = &certificate.text;
            self.ledger
                .record_signed_push(&app.id, signer.as_deref(), text, user)?;
        }
        let allowed = request
            .commands
            .iter()
            .zip(&statuses)
            .filter(|(_, status)| status.is_ok());
        let allowed = allowed
            .map(|(command, _)| command.clone())
            .collect::<Vec<_>>();

        let Some(target) = receive::to_build(&allowed) else {
            if request.options.plan {
                let line = "Nothing would be built: only main and master are.";
                Output::new(progress).line(line).map_err(Left::Output)?;
                let planned = |before: Status| before.and(Err(PLAN_ONLY.to_owned()));
                return Ok(statuses.into_iter().map(planned).collect());
            }
            skip_notice(&allowed, &mut Output::new(progress))?;
            quarantine.promote()?;
            receive::apply(&repository, &allowed, faults)?;
            faults.reach(Step::Closed);
            trace.phase("move refs", &mut Output::new(progress))?;
            return Ok(statuses);
        };
        let commit = target.new.expect("a command that builds has a new value");
        let release = Release {
            app,
            user,
            commit,
            allowed: &allowed,
            options: request.options,
            cancel,
        };
        if request.options.plan {
            let status = match self.plan_push(&release, &mut quarantine, &mut trace, progress) {
                Ok(()) => PLAN_ONLY,
                Err(Refused) => DECLINED,
            };
            let planned = |before: Status| before.and(Err(status.to_owned()));
            return Ok(statuses.into_iter().map(planned).collect());
        }
        if self
            .release(&release, quarantine, &mut trace, progress)
            .is_ok()
        {
            return Ok(statuses);
        }
        // The pusher has read why.
        let declined = |status: Status| status.and(Err(DECLINED.to_owned()));
        Ok(statuses.into_iter().map(declined).collect())
    }

    /// Finds who has signed a push, where it is signed and signers are named.
    fn verify(&self, request: &Request) -> Result<Option<String>> {
        match (&request.certificate, &self.options.signers) {
            (Some(certificate), Some(signers)) => {
                Ok(signers.verify(certificate, &self.data.scratch())?)
            }
            _ => Ok(None),
        }
    }

    /// Builds the pushed commit, releases it and moves the refs.
    fn release(
        &self,
        release: &Release<'_>,
        quarantine: Quarantine,
        trace: &mut Trace,
        progress: &mut dyn Write,
    ) -> Result<(), Refused> {
        let commit = release.commit.to_string();
        let created = self.ledger.create_build(
            &release.app.id,
            SourceKind::Push,
            Some(&commit),
            None,
            release.user,
        );
        let build = created.map_err(|error| self.refuse(&error.into(), progress))?;
        self.options.faults.reach(Step::Build);
        let _under_way = self.under_way(&build.id, release.cancel);
        let mut log = match self.logs.start(&build.id, progress) {
            Ok(log) => log,
            Err(error) => {
                let error = anyhow::Error::new(error).context("starting the build's log");
                let mut sink = std::io::sink();
                self.fail_build(&build, &error, &mut Output::new(&mut sink));
                return Err(Refused);
            }
        };
        let mut out = Output::new(&mut log);
        match self.build_and_move(release, &build.id, quarantine, trace, &mut out) {
            Ok(Moved::Yes) => Ok(()),
            Ok(Moved::NotYet) => Err(Refused),
            Err(error) => {
                self.fail_build(&build, &error, &mut out);
                // Source: facts on Heroku's builds, §1.5. The pusher may be gone.
                let rejected = format!("!\tPush rejected to {}.", release.app.name);
                for line in ["Verifying deploy...", "", &rejected] {
                    let _ = out.line(line);
                }
                Err(Refused)
            }
        }
    }

    fn build_and_move(
        &self,
        release: &Release<'_>,
        build_id: &str,
        mut quarantine: Quarantine,
        trace: &mut Trace,
        out: &mut Output<'_>,
    ) -> Result<Moved> {
        let repository = self.data.repository(&release.app.id);
        out.line(&format!("Build {build_id}"))?;
        out.line("Building source:")?;
        out.line("")?;
        let objects = quarantine.objects_dir()?.to_owned();
        let job = Job {
            app: release.app,
            source: Source::Commit {
                repository: &repository,
                quarantine: Some(&objects),
                commit: release.commit,
            },
            version: None,
            buildpacks: Vec::new(),
            user: release.user,
            cancel: release.cancel,
        };
        let built = self.build(build_id, job, out)?;
        self.options.faults.reach(Step::Slug);
        trace.phase("build", out)?;

        quarantine.keep()?;
        let commands = release.allowed.iter().map(ref_command).collect::<Vec<_>>();
        let short = &release.commit.to_string()[..8];
        let refs = RefIntent {
            quarantine: quarantine.name(),
            commands: &commands,
        };
        let committed = if release.options.no_release {
            self.ledger
                .commit_slug(build_id, &built.record, &refs)
                .map(|(slug, intent)| (None, slug, Some(intent)))
        } else {
            let deploy = Deploy {
                build_id,
                record: &built.record,
                description: &format!("Deploy {short}"),
                refs: Some(refs),
            };
            self.ledger
                .commit_deploy(&deploy)
                .map(|deployed| (Some(deployed.release), deployed.slug, deployed.intent))
        };
        let (released, slug, intent) = match committed {
            Ok(committed) => committed,
            Err(error) => {
                quarantine.discard()?;
                self.forget_slug(&built.record)?;
                return Err(error.into());
            }
        };
        self.options.faults.reach(Step::Committed);
        self.pin(release.app, &built);
        // From here on the deploy is a fact: what fails now is completed by the app's next push or
        // the next start, and nobody need listen any more.
        let intent = intent.as_ref();
        if let Err(error) = self.move_refs(&repository, quarantine, release.allowed, intent) {
            let what = released.map_or(format!("The slug {}", slug.id), |release| {
                release.version.to_string()
            });
            tracing::error!(
                what,
                error = format!("{error:#}"),
                "a push waits for the next start"
            );
            let _ = out.problem(&format!(
                "{what} is recorded, but the branch could not be moved."
            ));
            let _ = out.problem("Push again once the server is well: that completes it.");
            return Ok(Moved::NotYet);
        }
        // The release is made, whether or not anybody reads of it.
        let _ = trace.phase("release", out);
        let _ = match &released {
            Some(released) => self.launch(release.app, released, &built.record, out),
            None => announce_slug(release.app, &slug, out),
        };
        Ok(Moved::Yes)
    }

    /// Says what a build of the pushed commit would be; nothing is kept of it.
    fn plan_push(
        &self,
        release: &Release<'_>,
        quarantine: &mut Quarantine,
        trace: &mut Trace,
        progress: &mut dyn Write,
    ) -> Result<(), Refused> {
        // No build, but it is waited for and cancelled like one.
        let _under_way = self.under_way(quarantine.name(), release.cancel);
        let repository = self.data.repository(&release.app.id);
        let objects = quarantine.objects_dir();
        let objects = objects.map_err(|error| self.refuse(&error.into(), progress))?;
        let job = Job {
            app: release.app,
            source: Source::Commit {
                repository: &repository,
                quarantine: Some(objects),
                commit: release.commit,
            },
            version: None,
            buildpacks: Vec::new(),
            user: release.user,
            cancel: release.cancel,
        };
        let planned = self.plan(job, &mut Output::new(progress));
        planned.map_err(|error| {
            let failure = (self.options.explain)(&error);
            let _ = Output::new(progress).failure(&failure);
            Refused
        })?;
        let _ = trace.phase("plan", &mut Output::new(progress));
        Ok(())
    }

    fn move_refs(
        &self,
        repository: &std::path::Path,
        quarantine: Quarantine,
        commands: &[Command],
        intent: Option<&Intent>,
    ) -> Result<()> {
        quarantine.promote()?;
        receive::apply(repository, commands, self.options.faults)?;
        if let Some(intent) = intent {
            self.ledger.close_intent(&intent.id)?;
        }
        self.options.faults.reach(Step::Closed);
        Ok(())
    }

    fn refuse(&self, error: &anyhow::Error, progress: &mut dyn Write) -> Refused {
        let failure = (self.options.explain)(error);
        tracing::error!(error = format!("{error:#}"), "a build could not be started");
        // The pusher may be gone.
        let _ = Output::new(progress).failure(&failure);
        Refused
    }
}

/// Tells how long each phase took, where the pusher asked for it.
struct Trace {
    wanted: bool,
    since: Instant,
}

impl Trace {
    fn new(wanted: bool) -> Self {
        let since = Instant::now();
        Self { wanted, since }
    }

    /// Ends a phase; the next begins.
    fn phase(&mut self, name: &str, out: &mut Output<'_>) -> Result<(), Left> {
        let took = self.since.elapsed();
        self.since = Instant::now();
        if self.wanted {
            out.line(&format!("trace: {name} {} ms", took.as_millis()))
                .map_err(Left::Output)?;
        }
        Ok(())
    }
}

/// Whether the refs of a recorded release are where they should be.
enum Moved {
    Yes,
    NotYet,
}

/// The pusher has been told why.
struct Refused;

struct Release<'a> {
    app: &'a App,
    user: &'a str,
    commit: gix::ObjectId,
    allowed: &'a [Command],
    options: PushOptions,
    cancel: &'a Cancel,
}

/// `1 other push`, `2 other pushes`.
pub(super) fn other_pushes(count: usize) -> String {
    match count {
        1 => "1 other push".to_owned(),
        n => format!("{n} other pushes"),
    }
}

fn ref_command(command: &Command) -> RefCommand {
    let hex = |id: Option<gix::ObjectId>| {
        let kind = command
            .new
            .or(command.old)
            .map_or(gix::hash::Kind::Sha1, |id| id.kind());
        id.unwrap_or_else(|| kind.null()).to_string()
    };
    RefCommand {
        name: command.name.clone(),
        old: hex(command.old),
        new: hex(command.new),
    }
}

/// One line for branches that are stored and not built.
fn skip_notice(commands: &[Command], out: &mut Output<'_>) -> Result<(), Left> {
    let branch =
        |command: &&Command| command.name.starts_with("refs/heads/") && command.new.is_some();
    if commands.iter().any(|command| branch(&command)) {
        out.line("Pushed to non-main branch, skipping build.")
            .map_err(Left::Output)?;
        out.line("To deploy a branch, push it to main: git push slugline BRANCH:main")
            .map_err(Left::Output)?;
    }
    Ok(())
}
