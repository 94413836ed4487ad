//! Puts buildpacks into a build's root, wherever their files come from.
//!
//! What is fetched is kept below the directory of fetched buildpacks under its commit or digest, and
//! is never fetched again as long as it is named by one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::buildpack::{self, Reference, Staged};
use crate::checkout;
use crate::digest::Digest;
use crate::fetch::{self, FetchError, Fetched, GitError, GitSource};
use crate::sandbox::{Cancel, Gate, Root, Rules};

/// How large a fetched buildpack may be, unpacked.
const LIMITS: checkout::Limits = checkout::Limits {
    files: 50_000,
    bytes: 512 << 20,
};

/// How often it is looked whether a fetch is still wanted.
const TICK: Duration = Duration::from_millis(100);

/// What buildpacks are fetched with.
pub(super) struct Supply<'a> {
    /// Where fetched ones stay; none keeps nothing.
    pub kept: Option<&'a Path>,
    /// This build's own directory.
    pub scratch: &'a Path,
    /// The operator's variables for builds: proxies, certificates.
    pub env: &'a [(String, String)],
    pub cancel: &'a Cancel,
    /// What may be fetched from.
    pub rules: &'a Arc<Rules>,
}

impl Supply<'_> {
    /// Makes a writable copy of a buildpack in the build's root.
    pub fn stage(
        &self,
        reference: &Reference,
        place: usize,
        app: &Path,
        root: &Root,
    ) -> Result<Staged> {
        let (files, pinned) = match reference {
            Reference::Builtin(_) | Reference::Inline | Reference::Directory(_) => {
                return Ok(buildpack::stage(reference, place, app, &root.buildpacks())?);
            }
            Reference::Git { url, reference } => self.git(url, reference.as_deref(), place)?,
            Reference::Tarball { url, checksum } => self.tarball(url, *checksum, place)?,
            Reference::Archive(path) => {
                let dir = self.scratch.join(format!("unpacked-{place}"));
                (self.unpack(path, &dir)?, None)
            }
        };
        let buildpacks = root.buildpacks();
        Ok(buildpack::stage_fetched(
            reference,
            place,
            &inner(&files),
            pinned,
            &buildpacks,
        )?)
    }

    fn git(
        &self,
        url: &str,
        reference: Option<&str>,
        place: usize,
    ) -> Result<(PathBuf, Option<String>)> {
        let repository = self.scratch.join(format!("fetched-{place}.git"));
        let gate = Gate::open(self.rules.clone()).context("opening the way out")?;
        let proxy = gate.url();
        let source = GitSource {
            url,
            reference,
            proxy: Some(&proxy),
        };
        let name = |id: &gix::ObjectId| format!("git-{id}");
        let known = |id: &gix::ObjectId| self.find(&name(id)).is_some();
        let fetched =
            fetch::fetch_commit(&source, self.env, &repository, known, self.cancel.flag())
                .map_err(|error| match gate.refused() {
                    Some(reason) => GitError::Refused { reason },
                    None => error,
                })
                .with_context(|| format!("fetching the buildpack {url}"))?;
        let (id, files) = match fetched {
            Fetched::Known(id) => (id, self.find(&name(&id))),
            Fetched::New(id) => {
                let dir = self.scratch.join(format!("unpacked-{place}"));
                fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
                let checkout =
                    checkout::commit(&repository, None, id, &dir, &LIMITS, self.cancel.flag())
                        .with_context(|| format!("checking out the buildpack {url}"))?;
                if let Some((path, _)) = checkout.submodules.into_iter().next() {
                    return Err(checkout::Error::Submodule { path }.into());
                }
                (id, Some(self.keep(dir, &name(&id))?))
            }
        };
        let files = files.context("a buildpack that was known has gone")?;
        Ok((files, Some(format!("{url}#{id}"))))
    }

    fn tarball(
        &self,
        url: &str,
        checksum: Option<Digest>,
        place: usize,
    ) -> Result<(PathBuf, Option<String>)> {
        let name = |digest: Digest| format!("tgz-{}", digest.hex());
        let pinned = |digest: Digest| Some(format!("{url}#{digest}"));
        if let Some(digest) = checksum
            && let Some(files) = self.find(&name(digest))
        {
            return Ok((files, pinned(digest)));
        }
        let archive = self.scratch.join(format!("fetched-{place}.tgz"));
        let digest = fetch_archive(url, checksum, &archive, self.rules, self.cancel)
            .with_context(|| format!("fetching the buildpack {url}"))?;
        let files = if let Some(files) = self.find(&name(digest)) {
            files
        } else {
            let dir = self.scratch.join(format!("unpacked-{place}"));
            self.keep(self.unpack(&archive, &dir)?, &name(digest))?
        };
        Ok((files, pinned(digest)))
    }

    fn unpack(&self, archive: &Path, dir: &Path) -> Result<PathBuf> {
        fs::create_dir(dir).with_context(|| dir.display().to_string())?;
        let file = File::open(archive).with_context(|| archive.display().to_string())?;
        let stop = self.cancel.flag();
        checkout::archive_as_it_is(file, dir, &LIMITS, stop).context("unpacking the buildpack")?;
        Ok(dir.to_owned())
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let dir = self.kept?.join(name);
        dir.is_dir().then_some(dir)
    }

    /// Moves files to where they stay. By one rename: nobody sees half of them.
    fn keep(&self, files: PathBuf, name: &str) -> Result<PathBuf> {
        let Some(kept) = self.kept else {
            return Ok(files);
        };
        let dir = kept.join(name);
        match fs::rename(&files, &dir) {
            // Another build was faster, with the same files.
            Err(_) if dir.is_dir() => Ok(files),
            moved => moved
                .map(|()| dir)
                .with_context(|| format!("keeping {name}")),
        }
    }
}

/// Fetches an archive, from where the rules allow it alone.
///
/// # Errors
/// The caller's: what is behind the URL, or that it is not allowed.
pub fn fetch_archive(
    url: &str,
    checksum: Option<Digest>,
    to: &Path,
    rules: &Arc<Rules>,
    cancel: &Cancel,
) -> Result<Digest> {
    let mut gate = Gate::open(rules.clone()).context("opening the way out")?;
    let proxy = gate.url();
    let (tell, told) = sync_channel(1);
    let fetched = thread::scope(|scope| {
        scope.spawn(|| {
            let fetched = fetch::fetch(url, checksum, to, Some(&proxy), cancel.flag());
            // It is waited for.
            let _ = tell.send(fetched);
        });
        loop {
            match told.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => gate.close(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Err(FetchError::Cancelled),
                Ok(_) if cancel.is_cancelled() => break Err(FetchError::Cancelled),
                Ok(fetched) => break fetched,
            }
        }
    });
    Ok(fetched.map_err(|error| match gate.refused() {
        Some(reason) => FetchError::Refused { reason },
        None => error,
    })?)
}

/// Where the files begin: archives of git hosts have one directory around everything.
fn inner(files: &Path) -> PathBuf {
    let mut entries = fs::read_dir(files).into_iter().flatten().flatten();
    match (entries.next(), entries.next()) {
        (Some(only), None)
            if only.file_name() != "bin" && only.file_type().is_ok_and(|kind| kind.is_dir()) =>
        {
            only.path()
        }
        _ => files.to_owned(),
    }
}
