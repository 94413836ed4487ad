//! `slugline runtime update`: a new list of releases, read from what upstream has now.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::super::build::Work;
use super::super::print::{Step, remark};
use super::{cancel, releases_path};
use crate::languages::{node, python};
use crate::pipeline::{Machine, fetch_archive};
use crate::runtime::{Release, Source, write_releases};
use crate::sandbox::Cancel;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Such as python or node
    name: String,
    /// Write the list here [default: the data directory's, which goes over the buildpack's own]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Nobody knows where this one's releases are listed.
#[derive(Debug, thiserror::Error)]
#[error("there is no list of {name}'s releases to read")]
pub struct NoUpstream {
    pub name: String,
}

pub(super) fn run(args: &Args, machine: &Machine, dir: &Path) -> Result<()> {
    let work = Work::create()?;
    let step = Step::begin(&format!("Reading what there is of {}", args.name));
    let upstream = Upstream {
        work: work.path(),
        machine,
        cancel: cancel()?,
    };
    let releases = match args.name.as_str() {
        "python" => upstream.python()?,
        "node" => upstream.node()?,
        _ => bail!(NoUpstream {
            name: args.name.clone()
        }),
    };
    step.done();
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| releases_path(dir, &args.name));
    if let Some(parent) = out.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    fs::write(&out, write_releases(&releases)).with_context(|| out.display().to_string())?;
    remark(&format!(
        "{} releases are listed in {}.",
        releases.len(),
        out.display()
    ));
    Ok(())
}

struct Upstream<'a> {
    work: &'a Path,
    machine: &'a Machine,
    cancel: Cancel,
}

impl Upstream<'_> {
    /// python-build-standalone's, by way of the package on PyPI that lists them with their digests.
    fn python(&self) -> Result<Vec<Release>> {
        let target = self.work.join("list");
        let into = target
            .to_str()
            .context("the temporary directory's name is no text")?;
        let arguments = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            into,
        ];
        ask(
            "python3",
            &[&arguments[..], &[python::RELEASES_PACKAGE]].concat(),
        )?;
        let path = target.join(python::RELEASES_FILE);
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        python::releases(&text)
    }

    /// npm's packages of Node.js, before them nodejs.org's archives, as far as both can be asked. Of
    /// archives that cannot, what was known stays.
    fn node(&self) -> Result<Vec<Release>> {
        let mut releases = match of_npm() {
            Ok(releases) => releases,
            Err(error) => {
                remark(&format!("\nWithout npm's packages: {error:#}."));
                let index = self.fetch(node::INDEX_URL, "index")?;
                node::index(&fs::read(index).context("reading the index")?)?
            }
        };
        let known = self.machine.runtimes.runtimes.releases("node")?;
        let is_archive = |source: &&Source| matches!(source, Source::Url { .. });
        let mut reached = true;
        for release in &mut releases {
            let name = format!("{}-{}", release.version, release.arch);
            let url = node::checksums_url(&release.version);
            let found = match reached.then(|| self.fetch(&url, &name)) {
                Some(Ok(path)) => {
                    let text = fs::read_to_string(path).unwrap_or_default();
                    node::archive(release, &text)
                }
                Some(Err(error)) => {
                    remark(&format!(
                        "\nnodejs.org is not asked: {:#}.",
                        error.root_cause()
                    ));
                    reached = false;
                    None
                }
                None => None,
            };
            let before = || {
                let mut known = known.iter();
                let same =
                    known.find(|one| one.version == release.version && one.arch == release.arch);
                same?.sources.iter().find(is_archive).cloned()
            };
            release.sources.splice(0..0, found.or_else(before));
        }
        releases.retain(|release| !release.sources.is_empty());
        Ok(releases)
    }

    fn fetch(&self, url: &str, name: &str) -> Result<PathBuf> {
        let path = self.work.join(name);
        let rules = &self.machine.runtimes.fetch_from;
        fetch_archive(url, None, &path, rules, &self.cancel)?;
        Ok(path)
    }
}

/// Has a package manager do something, and gives what it prints.
fn ask(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} ended with {}; its message is above",
            output.status
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// npm's packages of Node.js, for each architecture.
fn of_npm() -> Result<Vec<Release>> {
    let mut listed = Vec::new();
    for (arch, package) in node::PACKAGES {
        let wanted = format!("{package}@>={}", node::OLDEST);
        let arguments = ["view", &wanted, "version", "dist.integrity", "--json"];
        listed.push((arch, package, ask("npm", &arguments)?));
    }
    node::releases(&listed)
}
