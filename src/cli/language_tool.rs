//! `slugline buildpack-tool python|node`: what the buildpacks ask of an app's files, inside.
//!
//! In: the app in the current directory. Out: on stdout assignments that the buildpack's shell
//! evaluates, or lines; on stderr what the pusher is to read. Exit 1 where the app has to change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Subcommand, builder::PossibleValuesParser};

use super::print::{print, remark};
use super::runtime_tool;
use crate::languages::python::Fingerprint;
use crate::languages::{Candidate, Facts, Notice, Outcome, node, python};
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
            Ok(ExitCode::SUCCESS)
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
}

impl Answer {
    fn facts(facts: &Facts, warnings: Vec<Notice>) -> Self {
        Self {
            text: facts.to_string(),
            warnings,
        }
    }

    fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            warnings: Vec::new(),
        }
    }
}

/// What a language chose of the runtimes there are.
struct Choice {
    version: String,
    facts: Facts,
    warnings: Vec<Notice>,
}

/// Chooses among all that can be had and has it; where that cannot be had now, chooses among what is
/// here. Adds to the facts where the tree is, where it came from, and what went wrong before.
fn had(
    runtime: &str,
    only_plan: bool,
    choose: impl Fn(&[Candidate]) -> Outcome<Choice>,
) -> Result<Outcome<Answer>> {
    let mut notes = Vec::new();
    for here in [false, true] {
        let mut choice = match choose(&runtime_tool::candidates(runtime, here)?) {
            Ok(choice) => choice,
            Err(notice) => return Ok(Err(with_notes(notice, &notes))),
        };
        if only_plan {
            return Ok(Ok(Answer::facts(&choice.facts, choice.warnings)));
        }
        match runtime_tool::get(runtime, &choice.version, here)? {
            Ok(got) => {
                notes.extend(got.notes);
                let facts = &mut choice.facts;
                facts.set("runtime_path", got.path);
                facts.set("runtime_origin", got.origin);
                facts.set("runtime_notes", notes.join("\n"));
                return Ok(Ok(Answer::facts(facts, choice.warnings)));
            }
            Err(reason) => notes.push(reason),
        }
    }
    let notice = Notice::new(format!("Error: Unable to install the runtime ({runtime})."));
    Ok(Err(with_notes(notice, &notes).gap().line(
        "Push again. An operator sees what there is with:  slugline runtime list",
    )))
}

/// A notice, with what went wrong before it.
fn with_notes(notice: Notice, notes: &[String]) -> Notice {
    let add = |notice: Notice, note: &String| notice.line(format!("Before that: {note}"));
    if notes.is_empty() {
        return notice;
    }
    notes.iter().fold(notice.gap(), add)
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
            had("python", *plan, |candidates| {
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
        Python::Packages { site_packages } => Ok(Answer::text(python::packages(site_packages))),
        Python::Explain {
            manager,
            log,
            python,
        } => Err(python::explain(
            python_manager(manager),
            &log_text(log)?,
            python,
        )),
    })
}

fn node_answer(question: &Node, app: &Path) -> Result<Outcome<Answer>> {
    Ok(match question {
        Node::Plan => node::plan(app).map(|plan| Answer::facts(&plan.facts(), plan.warnings)),
        Node::Choose { wide, plan } => match node::plan(app) {
            Ok(asked) => had("node", *plan, |candidates| {
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
            Err(node::explain(node_manager(manager), &step, lockfile, &log))
        }
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
