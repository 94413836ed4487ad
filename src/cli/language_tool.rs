//! `slugline buildpack-tool python|node`: what the buildpacks ask of an app's files, inside.
//!
//! In: the app in the current directory. Out: on stdout assignments that the buildpack's shell
//! evaluates, or lines; on stderr what the pusher is to read. Exit 1 where the app has to change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Subcommand, builder::PossibleValuesParser};

use super::buildpack_tool::recorded;
use super::print::{print, remark};
use super::runtime_tool;
use crate::languages::python::Fingerprint;
use crate::languages::{Candidate, Facts, Notice, Outcome, name_recorded, node, python, report};
use crate::platform::clock;

#[derive(Debug, Subcommand)]
pub enum Language {
    /// Ask about a Python app
    #[command(subcommand)]
    Python(Python),
    /// Ask about a Node.js app
    #[command(subcommand)]
    Node(Node),
}

#[derive(Debug, Subcommand)]
pub enum Python {
    /// The package manager and the version that the app asks for
    Plan,
    /// Of the Pythons there are, the one that the app gets
    Choose {
        /// What the app asks for
        #[arg(long, default_value = "")]
        wanted: String,
        /// The file that asks
        #[arg(long, default_value = "")]
        by: String,
        /// The version of the app's last build
        #[arg(long, default_value = "")]
        last: String,
        /// Only choose, and fetch nothing
        #[arg(long)]
        plan: bool,
    },
    /// What the installed dependencies depend on
    Fingerprint {
        #[arg(value_parser = PossibleValuesParser::new(["pip", "pipenv", "poetry", "uv"]))]
        manager: String,
    },
    /// What is locked, as a requirements file
    Requirements {
        #[arg(value_parser = PossibleValuesParser::new(["pipenv", "poetry"]))]
        manager: String,
    },
    /// The packages that are installed in a directory, as YAML
    Packages { site_packages: PathBuf },
    /// Where a slug is made again, its versions as constraints; exit code 1 elsewhere
    Recorded,
    /// Where a slug is made again, whether the packages in a directory are those that it has
    Compare { site_packages: PathBuf },
    /// What the log of a failed installation means
    Explain {
        #[arg(value_parser = PossibleValuesParser::new(["pip", "pipenv", "poetry", "uv"]))]
        manager: String,
        log: PathBuf,
        /// The Python's version
        python: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Node {
    /// The package manager, the scripts and the version that the app asks for
    Plan,
    /// Of the Node.js there are, the one that the app gets
    Choose {
        /// Let ranges reach beyond the long-term line
        #[arg(long)]
        wide: bool,
        /// Only choose, and fetch nothing
        #[arg(long)]
        plan: bool,
    },
    /// What the installed modules depend on
    Fingerprint {
        #[arg(value_parser = PossibleValuesParser::new(["npm", "yarn", "berry", "pnpm", "bun"]))]
        manager: String,
        #[arg(default_value = "")]
        lockfile: String,
    },
    /// The packages that are installed, as YAML
    Packages {
        #[arg(value_parser = PossibleValuesParser::new(["npm", "yarn", "berry", "pnpm", "bun"]))]
        manager: String,
        /// The lockfile, which has the digests
        #[arg(default_value = "")]
        lockfile: String,
        /// Report the lockfile, too: the app has none itself
        #[arg(long)]
        with_lock: bool,
    },
    /// What the log of a failed step means
    Explain {
        #[arg(value_parser = PossibleValuesParser::new(["npm", "yarn", "berry", "pnpm", "bun"]))]
        manager: String,
        log: PathBuf,
        #[arg(long, default_value = "")]
        lockfile: String,
        /// The script that failed, where it was one
        #[arg(long)]
        script: Option<String>,
    },
}

/// Answers one question.
pub fn run(language: &Language) -> Result<ExitCode> {
    let app = Path::new(".");
    let answer = match language {
        Language::Python(question) => python_answer(question, app)?,
        Language::Node(question) => node_answer(question, app)?,
    };
    match answer {
        Ok(answer) => {
            for warning in &answer.warnings {
                remark(warning.to_string().trim_end_matches('\n'));
            }
            if !answer.warnings.is_empty() {
                remark("");
            }
            print(answer.text)?;
            Ok(ExitCode::from(answer.code))
        }
        Err(notice) => {
            remark(notice.to_string().trim_end_matches('\n'));
            remark("");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What the buildpack gets, and what the pusher reads besides.
#[derive(Default)]
struct Answer {
    text: String,
    warnings: Vec<Notice>,
    code: u8,
}

impl Answer {
    /// For a question that only some builds have an answer to.
    fn nothing() -> Self {
        Self {
            code: 1,
            ..Self::default()
        }
    }

    fn facts(facts: &Facts, warnings: Vec<Notice>) -> Self {
        Self {
            text: facts.to_string(),
            warnings,
            code: 0,
        }
    }

    fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

/// What a language chose of the runtimes there are.
struct Choice {
    version: String,
    facts: Facts,
    warnings: Vec<Notice>,
}

/// Chooses among all that can be had and has it; where that cannot be had now, chooses among the
/// others. Adds to the facts where the tree is, where it came from, and what went wrong before.
fn had(
    runtime: &str,
    title: &str,
    only_plan: bool,
    choose: impl Fn(&[Candidate]) -> Outcome<Choice>,
) -> Result<Outcome<Answer>> {
    // Of what was tried in vain the first says enough.
    let mut first = None::<String>;
    let mut candidates = runtime_tool::candidates(runtime)?;
    loop {
        let mut choice = match (choose(&candidates), &first) {
            (Ok(choice), _) => choice,
            (Err(notice), None) => return Ok(Err(notice)),
            (Err(_), Some(reason)) => return Ok(Err(not_had(title, reason))),
        };
        if only_plan {
            return Ok(Ok(Answer::facts(&choice.facts, choice.warnings)));
        }
        match runtime_tool::get(runtime, &choice.version)? {
            Ok(got) => {
                let note = first.or(got.notes.into_iter().next());
                let facts = &mut choice.facts;
                facts.set("runtime_path", got.path);
                facts.set("runtime_origin", got.origin);
                facts.set("runtime_note", note.unwrap_or_default());
                return Ok(Ok(Answer::facts(facts, choice.warnings)));
            }
            Err(reason) => first = first.or(Some(reason)),
        }
        candidates.retain(|one| one.version.to_string() != choice.version);
    }
}

/// There are versions that would do, and none can be had now.
fn not_had(title: &str, reason: &str) -> Notice {
    Notice::new(format!("Error: Unable to download {title}."))
        .gap()
        .line(reason)
        .gap()
        .line("Push again later. An operator can name a mirror, or bring one:")
        .line("slugline runtime import NAME VERSION PATH")
}

fn python_answer(question: &Python, app: &Path) -> Result<Outcome<Answer>> {
    Ok(match question {
        Python::Plan => python::plan(app).map(|plan| Answer::facts(&plan.facts(), plan.warnings)),
        Python::Choose {
            wanted,
            by,
            last,
            plan,
        } => {
            let request = (!wanted.is_empty()).then(|| python::Request {
                text: wanted.clone(),
                by: by.clone(),
            });
            let last = (!last.is_empty()).then_some(last.as_str());
            had("python", "Python", *plan, |candidates| {
                let chosen = python::choose(request.as_ref(), last, candidates, &today())?;
                Ok(Choice {
                    version: chosen.candidate.version.to_string(),
                    facts: chosen.facts(),
                    warnings: chosen.warnings,
                })
            })?
        }
        Python::Fingerprint { manager } => {
            python::fingerprint(app, python_manager(manager)).map(|found| fingerprint(&found))
        }
        Python::Requirements { manager } => {
            python::requirements(app, python_manager(manager)).map(Answer::text)
        }
        Python::Packages { site_packages } => {
            Ok(Answer::text(report(&python::packages(site_packages), None)))
        }
        Python::Recorded => match recorded()? {
            Some(recorded) => python::constraints(app, &recorded.packages).map(Answer::text),
            None => Ok(Answer::nothing()),
        },
        Python::Compare { site_packages } => match recorded()? {
            Some(recorded) => python::compare(site_packages, &recorded.packages),
            None => Ok(()),
        }
        .map(|()| Answer::default()),
        Python::Explain {
            manager,
            log,
            python,
        } => {
            let log = log_text(log)?;
            let notice = python::explain(python_manager(manager), &log, python);
            Err(of_recorded(notice, &log)?)
        }
    })
}

fn node_answer(question: &Node, app: &Path) -> Result<Outcome<Answer>> {
    Ok(match question {
        Node::Plan => node::plan(app).map(|plan| Answer::facts(&plan.facts(), plan.warnings)),
        Node::Choose { wide, plan } => match node::plan(app) {
            Ok(asked) => had("node", "Node.js", *plan, |candidates| {
                let request = asked.request.as_ref();
                let chosen = node::choose(request, candidates, *wide, &today())?;
                Ok(Choice {
                    version: chosen.candidate.version.to_string(),
                    facts: chosen.facts(),
                    warnings: chosen.warnings,
                })
            })?,
            Err(notice) => Err(notice),
        },
        Node::Fingerprint { manager, lockfile } => {
            node::fingerprint(app, node_manager(manager), lockfile).map(|found| fingerprint(&found))
        }
        Node::Packages {
            manager,
            lockfile,
            with_lock,
        } => {
            // Without a lockfile there are packages all the same, and no digests.
            let lock = fs::read(lockfile).unwrap_or_default();
            let lock = String::from_utf8_lossy(&lock);
            let packages = node::packages(app, node_manager(manager), &lock);
            let lock = (*with_lock && !lock.is_empty()).then_some(&*lock);
            Ok(Answer::text(report(&packages, lock)))
        }
        Node::Explain {
            manager,
            log,
            lockfile,
            script,
        } => {
            let step = match script {
                Some(script) => node::Step::Script(script.clone()),
                None => node::Step::Install,
            };
            let log = log_text(log)?;
            let notice = node::explain(node_manager(manager), &step, lockfile, &log);
            Err(match step {
                node::Step::Install => of_recorded(notice, &log)?,
                node::Step::Script(_) => notice,
            })
        }
    })
}

/// Says of a failed installation that it had to be that of a slug's record, where it had.
fn of_recorded(notice: Notice, log: &str) -> Result<Notice> {
    Ok(match recorded()? {
        Some(recorded) => name_recorded(notice, log, &recorded.packages),
        None => notice,
    })
}

// The arguments' parser lets no other name through.
fn python_manager(name: &str) -> python::Manager {
    python::Manager::named(name).unwrap_or(python::Manager::Pip)
}

fn node_manager(name: &str) -> node::Manager {
    node::Manager::named(name).unwrap_or(node::Manager::Npm)
}

fn fingerprint(found: &Fingerprint) -> Answer {
    let mut facts = Facts::default();
    let (digest, reason) = match found {
        Fingerprint::Of(digest) => (digest.as_str(), ""),
        Fingerprint::None { reason } => ("", reason.as_str()),
    };
    facts.set("fingerprint", digest);
    facts.set("uncacheable_reason", reason);
    Answer::facts(&facts, Vec::new())
}

fn log_text(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| log.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The day, for ends of life.
fn today() -> String {
    clock::now().to_string().chars().take(10).collect()
}
