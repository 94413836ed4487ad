//! What a push and a build by the API share: a turn, the pipeline, and the lines around it.

use std::io;
use std::time::Instant;

use anyhow::{Context, Result};

use super::Platform;
use super::ledger::{App, Build, Slug};
use super::scratch::Scratch;
use crate::buildpack::Reference;
use crate::output::Output;
use crate::pipeline::{self, Built, Source};
use crate::sandbox::{Cancel, Traffic, Watch};

/// Slugs of the store that a build may copy from besides the app's own last one: each costs it some
/// milliseconds to look into.
const OTHER_SLUGS: usize = 8;

/// Where a build's tree comes from, what it is called, who builds it.
pub(super) struct Job<'a> {
    pub app: &'a App,
    pub source: Source<'a>,
    pub version: Option<String>,
    pub buildpacks: Vec<Reference>,
    /// The name of the token that asked for it.
    pub user: &'a str,
    pub cancel: &'a Cancel,
}

impl Platform {
    /// Registers a build as under way, so that it can be cancelled; dropping the value ends that.
    pub(super) fn under_way(&self, build_id: &str, cancel: &Cancel) -> UnderWay<'_> {
        self.running().insert(build_id.to_owned(), cancel.clone());
        if self.stopping.is_cancelled() {
            cancel.cancel();
        }
        UnderWay {
            platform: self,
            build_id: build_id.to_owned(),
        }
    }

    /// Waits for a turn and builds.
    pub(super) fn build(&self, id: &str, job: Job<'_>, out: &mut Output<'_>) -> Result<Built> {
        let app_id = &job.app.id;
        self.say(app_id, &format!("Build started by user {}", job.user));
        let traffic = Traffic::default();
        let built = self.with_turn(job, out, |build, machine, watch, out| {
            let mut machine = machine.clone();
            machine.sandbox = machine.sandbox.counting(&traffic);
            pipeline::build(build, &machine, &self.store, watch, out)
        });
        // Of a build that failed, too: that is when they are asked for.
        if let Err(error) = self.ledger.set_contacts(id, &traffic.contacts()) {
            tracing::error!(build = id, %error, "a build's contacts are not recorded");
        }
        let built = built?;
        self.say(app_id, "Build succeeded");
        // Before the release is made, so that nothing but the dyno's own start comes after it.
        self.unpack(&built.record)
            .context("unpacking the slug for its dynos")?;
        Ok(built)
    }

    /// Waits for a turn and says what would be built.
    pub(super) fn plan(&self, job: Job<'_>, out: &mut Output<'_>) -> Result<()> {
        self.with_turn(job, out, pipeline::plan)
    }

    fn with_turn<T>(
        &self,
        job: Job<'_>,
        out: &mut Output<'_>,
        run: impl FnOnce(pipeline::Build<'_>, &pipeline::Machine, &Watch, &mut Output<'_>) -> Result<T>,
    ) -> Result<T> {
        let wait = |ahead: usize| {
            out.line(&format!(
                "Waiting for a build to end: {} before this one.",
                count(ahead)
            ))
        };
        let _turn = self.builds.enter(job.cancel, wait)?;
        let scratch =
            Scratch::create(&self.data.scratch()).context("making a build's directory")?;
        let machine = &self.options.machine;
        let watch = Watch {
            deadline: Some(Instant::now() + machine.limits.time),
            cancel: job.cancel.clone(),
        };
        let config = self.ledger.config(&job.app.id)?;
        let buildpacks = if job.buildpacks.is_empty() {
            self.ledger.buildpacks(&job.app.id)?
        } else {
            job.buildpacks
        };
        let cache = self.data.cache(&job.app.id);
        let fetched = self.data.buildpacks();
        // As they are now: the build may have waited.
        let layout = self.ledger.app(&job.app.id)?.layout;
        let stack = self.stacks.find(layout.stack.as_ref())?;
        let (last, others) = self.reusable(job.app);
        let build = pipeline::Build {
            source: job.source,
            stack,
            version: job.version,
            buildpacks,
            // Where the push itself has set the app up.
            read_declared: self.options.create_on_push && last.is_none(),
            layout,
            fetched: Some(&fetched),
            config: &config,
            cache: Some(&cache),
            last,
            others,
            repeated: None,
            scratch: scratch.path(),
        };
        run(build, machine, &watch, out)
    }

    /// The slug of the app's current release, and the newest ones of the store besides.
    fn reusable(&self, app: &App) -> (Option<pipeline::Last>, Vec<pipeline::Last>) {
        let last = || {
            let release = self.ledger.current_release(&app.id).ok()?;
            Some(self.ledger.slug(&release.slug_id?).ok()?.record)
        };
        let last = last().map(|record| (record.digest, record.manifest));
        // Without them there is less to copy, that is all.
        let all = self.ledger.slug_blobs().unwrap_or_default();
        let others = all.iter().map(|slug| (slug.digest, slug.manifest));
        let others = others.filter(|slug| Some(*slug) != last).take(OTHER_SLUGS);
        let file = |(slug, manifest)| pipeline::Last {
            slug: self.store.path_of(&slug),
            manifest: self.store.path_of(&manifest),
            manifest_digest: Some(manifest),
        };
        (last.map(file), others.map(file).collect())
    }

    /// Keeps what detection has found as the app's own list, once its build is released: the next
    /// push must not be built as something else because of a new file.
    pub(super) fn pin(&self, app: &App, built: &Built) {
        if !built.found.is_empty()
            && let Err(error) = self.ledger.pin_buildpacks(&app.id, &built.found)
        {
            // The release stands; the next build asks again.
            tracing::error!(app = %app.name, %error, "the detected buildpack is not recorded");
        }
    }

    /// Ends a failed build: its lines, its record.
    pub(super) fn fail_build(&self, build: &Build, error: &anyhow::Error, out: &mut Output<'_>) {
        let failure = (self.options.explain)(error);
        tracing::info!(
            build = build.id,
            failure = failure.id,
            error = format!("{error:#}"),
            "build failed"
        );
        // Nobody may be listening any more; the log still gets the lines.
        let _ = out.failure(&failure);
        let _ = out.problem("");
        let _ = out.problem("Push failed");
        self.say(&build.app_id, "Build failed -- check your build output");
        if let Err(error) = self.ledger.finish_build_failed(&build.id, &failure) {
            tracing::error!(build = build.id, %error, "a failed build is not recorded");
        }
    }
}

fn count(builds: usize) -> String {
    match builds {
        1 => "1 build is".to_owned(),
        n => format!("{n} builds are"),
    }
}

/// The lines after a slug was made that is not released.
pub(super) fn announce_slug(app: &App, slug: &Slug, out: &mut Output<'_>) -> io::Result<()> {
    out.step("Not released, as the push asked")?;
    out.detail(&format!("Slug {}", slug.id))?;
    out.detail(&format!(
        "Release it with: slugline releases create -a {} --slug {}",
        app.name, slug.id
    ))?;
    out.line("")?;
    out.line("Verifying deploy... done.")
}

/// A build that can be cancelled.
pub(super) struct UnderWay<'a> {
    platform: &'a Platform,
    build_id: String,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.platform.running().remove(&self.build_id);
    }
}
