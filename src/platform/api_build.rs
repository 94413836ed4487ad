//! A build asked for by HTTP: the source is an archive behind a URL.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Context, Result, bail};

use super::Platform;
use super::deploy::Job;
use super::ledger::{App, Build, Deploy, SourceKind};
use super::push::other_pushes;
use super::scratch::Scratch;
use crate::buildpack::Reference;
use crate::digest::{Digest, Hashing};
use crate::fetch::{self, FetchError};
use crate::output::Output;
use crate::pipeline::{self, Source};
use crate::sandbox::Cancel;

/// What the caller asks for. Source: the Platform API's schema, `build.source_blob`.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    pub from: From,
    /// `SHA256:<hex>` of the archive's bytes.
    pub checksum: Option<String>,
    pub version: Option<String>,
    pub buildpacks: Vec<Reference>,
}

/// Most sources that are fetched at once: each may have a gigabyte.
pub(super) const FETCHES: usize = 8;

/// Where the archive is.
#[derive(Debug, Clone)]
pub enum From {
    /// The URL of a tarball, http or https.
    Url(String),
    /// The id of a source of this server's own.
    Source(String),
}

/// Most builds of one app that have been asked for here and have not ended.
pub const MOST_PENDING: usize = 20;

/// Why a build is not even recorded.
#[derive(Debug, thiserror::Error)]
#[error("{MOST_PENDING} builds of this app are under way or wait for their turn")]
pub struct TooManyBuilds;

impl Platform {
    /// Starts a build and returns its record at once; its log can be followed from now on.
    ///
    /// # Errors
    /// The caller's: too many of them wait. The platform's: the build could not be recorded or its
    /// log not be started.
    pub fn start_build(
        self: &Arc<Self>,
        app: &App,
        request: BuildRequest,
        user: &str,
    ) -> Result<Build> {
        // Each has a thread, which unlike a push no connection pays for.
        if self.ledger.pending_builds(&app.id, SourceKind::Api)? >= MOST_PENDING {
            return Err(TooManyBuilds.into());
        }
        let version = request.version.as_deref();
        let build = self
            .ledger
            .create_build(&app.id, SourceKind::Api, None, version, user)?;
        let (tell, started) = channel();
        let (platform, app, own) = (self.clone(), app.clone(), build.clone());
        thread::Builder::new()
            .name("build".to_owned())
            .spawn(move || {
                let cancel = Cancel::default();
                let _under_way = platform.under_way(&own.id, &cancel);
                let mut nobody = io::sink();
                let mut log = match platform.logs.start(&own.id, &mut nobody) {
                    Ok(log) => log,
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        return;
                    }
                };
                // The caller waits for this, so that the log is there when it answers.
                let _ = tell.send(Ok(()));
                let mut out = Output::new(&mut log);
                if let Err(error) = platform.build_archive(&app, &own, request, &cancel, &mut out) {
                    platform.fail_build(&own, &error, &mut out);
                }
            })
            .context("starting a build's thread")?;
        match started.recv() {
            Ok(Ok(())) => Ok(build),
            Ok(Err(error)) => Err(error).context("starting the build's log"),
            Err(_) => bail!("the build's thread ended before it began"),
        }
    }

    /// Takes what was put to a source, as it is now.
    fn take_source(&self, id: &str, expected: Option<Digest>, to: &Path) -> Result<()> {
        let put = match File::open(self.data.source(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FetchError::NotPut.into());
            }
            put => put.context("opening the source")?,
        };
        let file = File::create_new(to).with_context(|| to.display().to_string())?;
        let mut file = Hashing::new(file);
        io::copy(&mut &put, &mut file).context("reading the source")?;
        let (_, got, _) = file.finish();
        match expected {
            Some(expected) if expected != got => Err(FetchError::Checksum { expected, got }.into()),
            _ => Ok(()),
        }
    }

    fn build_archive(
        &self,
        app: &App,
        record: &Build,
        request: BuildRequest,
        cancel: &Cancel,
        out: &mut Output<'_>,
    ) -> Result<()> {
        out.line(&format!("Build {}", record.id))?;
        // First of all: what nobody can build yet costs neither disk nor the way out. A slow host
        // keeps those waiting who build this app, and nobody else.
        let _turn = self.apps.of(&app.id).enter(cancel, |ahead| {
            out.line(&format!(
                "Waiting for {} to {}.",
                other_pushes(ahead),
                app.name
            ))
        })?;
        // It may have been destroyed while this build waited.
        let app = &self.ledger.app(&app.id)?;
        let scratch =
            Scratch::create(&self.data.scratch()).context("making a directory for the source")?;
        let archive = scratch.path().join("source");
        let checksum = request.checksum.as_deref();
        let checksum = checksum.map(fetch::parse_checksum).transpose()?;
        match &request.from {
            From::Url(url) => {
                let _turn = self.fetches.enter(cancel, |_| Ok(()))?;
                let rules = &self.options.machine.fetch_from;
                pipeline::fetch_archive(url, checksum, &archive, rules, cancel)?;
            }
            From::Source(id) => self.take_source(id, checksum, &archive)?,
        }
        out.line("Building source:")?;
        out.line("")?;
        let reader = File::open(&archive).context("opening the fetched source")?;
        let version = request.version.clone();
        let job = Job {
            app,
            source: Source::Archive(Box::new(reader)),
            version: request.version,
            buildpacks: request.buildpacks,
            user: &record.user,
            cancel,
        };
        let built = self.build(&record.id, job, out)?;
        let short = version
            .unwrap_or_else(|| built.record.digest.hex())
            .chars()
            .take(8)
            .collect::<String>();
        let deployed = self.ledger.commit_deploy(&Deploy {
            build_id: &record.id,
            record: &built.record,
            description: &format!("Deploy {short}"),
            refs: None,
        });
        let deployed = match deployed {
            Ok(deployed) => deployed,
            Err(error) => {
                self.forget_slug(&built.record)?;
                return Err(error.into());
            }
        };
        self.pin(app, &built);
        // The release is made, whether or not its log can be written.
        let _ = self.launch(app, &deployed.release, &built.record, out);
        Ok(())
    }
}
