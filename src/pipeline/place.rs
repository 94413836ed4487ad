//! Where an app is built, and how its tree comes there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};

use super::submodules::Submodules;
use super::{Error, Machine, Source};
use crate::app::{AppRoot, BuildDir, Layout};
use crate::checkout::{self, Directory};
use crate::sandbox::{self, Root};

/// The build dir of apps that are not built at `/app`, below the root. The same for every build,
/// since builds write paths down. Source: facts on Heroku's builds, §2.1: `/tmp/build_<8 hex>`.
const SEPARATE: &str = "tmp/build_51096a9e";

/// Where the whole tree of a repository lies whose app is one of its directories; in that
/// directory's place there is a link to the build dir.
const WHOLE_TREE: &str = "tmp/source";

/// The build dir.
#[derive(Debug)]
pub(super) struct Place {
    /// As the server sees it.
    pub host: PathBuf,
    /// As the build sees it.
    pub inside: String,
    name: &'static str,
}

impl Place {
    pub fn new(layout: &Layout, root: &Root) -> Self {
        let name = match layout.build_dir {
            BuildDir::App => "app",
            BuildDir::Separate => SEPARATE,
        };
        Self {
            host: root.path().join(name),
            inside: format!("/{name}"),
            name,
        }
    }

    /// Writes the source's files.
    pub fn fill(
        &self,
        source: &mut Source<'_>,
        layout: &Layout,
        root: &Root,
        machine: &Machine,
        scratch: &Path,
        stop: &AtomicBool,
    ) -> Result<Directory> {
        let make = |dir: &Path| match fs::create_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            made => made.with_context(|| format!("making {}", dir.display())),
        };
        make(&self.host)?;
        let Some(of) = &layout.root else {
            return fetch(source, &self.host, machine, scratch, stop);
        };
        let whole = root.path().join(WHOLE_TREE);
        make(&whole)?;
        let fetched = fetch(source, &whole, machine, scratch, stop)?;
        self.take(of, &whole)?;
        Ok(fetched)
    }

    /// Makes one directory of the tree the build dir, and leaves a link in its place.
    fn take(&self, of: &AppRoot, whole: &Path) -> Result<()> {
        let mut dir = whole.to_owned();
        for name in of.as_str().split('/') {
            dir.push(name);
            // Never through a link: it could lead out.
            if !fs::symlink_metadata(&dir).is_ok_and(|meta| meta.is_dir()) {
                return Err(Error::NoRoot {
                    root: of.to_string(),
                }
                .into());
            }
        }
        fs::rename(&dir, &self.host)
            .and_then(|()| std::os::unix::fs::symlink(&self.inside, &dir))
            .with_context(|| format!("moving {of} to the build dir"))
    }

    /// Checks that the build has not put something else in its place.
    pub fn require(&self) -> Result<(), sandbox::Error> {
        if fs::symlink_metadata(&self.host).is_ok_and(|meta| meta.is_dir()) {
            return Ok(());
        }
        Err(sandbox::Error::Replaced { name: self.name })
    }
}

fn fetch(
    source: &mut Source<'_>,
    to: &Path,
    machine: &Machine,
    scratch: &Path,
    stop: &AtomicBool,
) -> Result<Directory> {
    let limits = &machine.limits;
    let whole = |checkout| Directory {
        checkout,
        changed: 0,
    };
    match source {
        Source::Commit {
            repository,
            quarantine,
            commit,
        } => {
            let limits = limits.checkout.clone();
            let (quarantine, commit) = (*quarantine, *commit);
            let mut checkout = checkout::commit(repository, quarantine, commit, to, &limits, stop)
                .with_context(|| format!("checking out {commit}"))?;
            let env = machine.env.iter();
            let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let env = env.collect::<Vec<_>>();
            let mut submodules = Submodules {
                scratch,
                env: &env,
                rules: &machine.sandbox.policy().rules,
                limits,
                stop,
                fetched: 0,
            };
            submodules.fill(&mut checkout, to, None, 0)?;
            Ok(whole(checkout))
        }
        Source::Archive(reader) => checkout::archive(reader, to, &limits.checkout, stop)
            .map(whole)
            .context("unpacking the source archive"),
        Source::Directory { dir, except } => {
            { checkout::directory(dir, except, to, &limits.checkout, stop) }
                .with_context(|| format!("copying {}", dir.display()))
        }
    }
}
