//! `slugline buildpack-tool runtime`: what the server has of language runtimes, asked from inside of a
//! build. Where a buildpack is run by hand, outside of one, this machine answers itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::buildpack_tool::{ToolError, copy_tree, refused, socket};
use super::environment::Environment;
use super::print::{print, remark};
use super::runtime::own_machine;
use crate::buildpack::Offer;
use crate::languages::{Candidate, Facts};
use crate::pipeline::obtain_runtime;
use crate::runtime;
use crate::sandbox::Cancel;
use crate::tool::{self, Answer, Request, Show};

#[derive(Debug, Subcommand)]
pub enum RuntimeCommand {
    /// List the versions that can be had, one a line with where it comes from
    List {
        /// Such as python or node
        name: String,
        /// Leave out what would have to be fetched
        #[arg(long)]
        here: bool,
    },
    /// Have a version; prints where its tree is, which is not to be changed, as shell variables
    Get {
        name: String,
        #[arg(value_name = "VERSION")]
        release: String,
    },
    /// Have a version, and make the directory show its tree
    ///
    /// As an overlay where the kernel allows it: a mount, which cannot be moved or removed itself, and
    /// whose directories belong to nobody. Else it is a copy.
    Show {
        name: String,
        #[arg(value_name = "VERSION")]
        release: String,
        dir: PathBuf,
        /// Only this directory of the tree, such as bin
        #[arg(long, default_value = "")]
        part: String,
    },
}

/// A runtime as the server gives it to a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    /// Inside.
    pub path: String,
    pub origin: String,
    pub notes: Vec<String>,
}

pub(super) fn run(command: &RuntimeCommand) -> Result<ExitCode> {
    match command {
        RuntimeCommand::List { name, here } => {
            let lines = offers(name, *here)?.into_iter();
            let lines = lines.map(|offer| format!("{} {}\n", offer.version, offer.origin));
            print(lines.collect::<String>())?;
        }
        RuntimeCommand::Get { name, release } => match get(name, release)? {
            Ok(got) => {
                let mut facts = Facts::default();
                facts.set("runtime_path", &got.path);
                facts.set("runtime_origin", &got.origin);
                facts.set("runtime_notes", got.notes.join("\n"));
                print(facts.to_string())?;
            }
            Err(reason) => return Ok(unavailable(&reason)),
        },
        RuntimeCommand::Show {
            name,
            release,
            dir,
            part,
        } => return show(name, release, dir, part),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(name: &str, version: &str, dir: &Path, part: &str) -> Result<ExitCode> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let over = fs::canonicalize(dir).with_context(|| dir.display().to_string())?;
    let show = over.to_str().map(|over| Show {
        part: part.to_owned(),
        over: over.to_owned(),
    });
    match ask(name, version, show)? {
        Asked::Shown => {}
        Asked::Got(got) => {
            fs::remove_dir(dir).with_context(|| dir.display().to_string())?;
            copy_tree(&Path::new(&got.path).join(part), dir)?;
        }
        Asked::Unavailable(reason) => return Ok(unavailable(&reason)),
    }
    Ok(ExitCode::SUCCESS)
}

fn unavailable(reason: &str) -> ExitCode {
    remark(reason);
    ExitCode::FAILURE
}

fn offers(name: &str, here: bool) -> Result<Vec<Offer>> {
    let request = Request::RuntimeList {
        name: name.to_owned(),
        here,
    };
    match tool::call(&socket(), request, None) {
        Ok(Answer::Runtimes { offers }) => Ok(offers),
        Ok(other) => Err(refused(other).into()),
        Err(tool::Error::NoServer { .. }) => {
            let (machine, _) = own_machine(&Environment::read())?;
            Ok(machine.runtimes.runtimes.offers(name, here, None)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The versions there are, the preferred way to each first.
pub(super) fn candidates(name: &str) -> Result<Vec<Candidate>> {
    let offers = offers(name, false)?.into_iter();
    let candidates = offers.filter_map(|offer| {
        Some(Candidate {
            version: offer.version.parse().ok()?,
            end_of_life: offer.end_of_life,
            origin: offer.origin,
        })
    });
    Ok(candidates.collect())
}

/// What becomes of a request for a version.
enum Asked {
    Got(Got),
    /// The directory shows it.
    Shown,
    /// Why it cannot be had now.
    Unavailable(String),
}

/// Has a version; else says why it cannot be had now.
pub(super) fn get(name: &str, version: &str) -> Result<Result<Got, String>> {
    match ask(name, version, None)? {
        Asked::Got(got) => Ok(Ok(got)),
        Asked::Unavailable(reason) => Ok(Err(reason)),
        Asked::Shown => Err(refused(Answer::Laid).into()),
    }
}

fn ask(name: &str, version: &str, show: Option<Show>) -> Result<Asked> {
    let request = Request::RuntimeGet {
        name: name.to_owned(),
        release: version.to_owned(),
        show,
    };
    match tool::call(&socket(), request, None) {
        Ok(Answer::Runtime {
            path,
            origin,
            notes,
        }) => Ok(Asked::Got(Got {
            path,
            origin,
            notes,
        })),
        Ok(Answer::Laid) => Ok(Asked::Shown),
        Ok(Answer::Unavailable { message }) => Ok(Asked::Unavailable(message)),
        Ok(Answer::Refused { message }) => Err(ToolError::Runtime {
            name: name.to_owned(),
            version: version.to_owned(),
            message,
        }
        .into()),
        Ok(other) => Err(refused(other).into()),
        Err(tool::Error::NoServer { .. }) => of_machine(name, version),
        Err(error) => Err(error.into()),
    }
}

/// The same where there is no build around it.
fn of_machine(name: &str, version: &str) -> Result<Asked> {
    let (machine, _) = own_machine(&Environment::read())?;
    match obtain_runtime(&machine, name, version, &Cancel::default()) {
        Ok(obtained) => Ok(Asked::Got(Got {
            path: obtained.tree.display().to_string(),
            origin: obtained.kept.origin,
            notes: obtained.notes,
        })),
        Err(error @ runtime::Error::Unreachable { .. }) => {
            Ok(Asked::Unavailable(error.note().unwrap_or_default()))
        }
        Err(error) => Err(error.into()),
    }
}
