//! Which buildpacks build an app: the configured ones, or the first built-in one that says yes.

use std::path::Path;

use anyhow::Result;

use super::obtain::Supply;
use super::place::Place;
use super::{Error, Machine};
use crate::buildpack::{self, Reference, Staged, builtin_names};
use crate::compile::Compiler;
use crate::detect;
use crate::output::Output;
use crate::sandbox::{Root, Watch};

/// Most names that are looked at for a failure, at the root and in each of its directories.
const LOOK_LIMIT: usize = 1000;

/// A buildpack that is to run.
pub(super) struct Chosen {
    pub staged: Staged,
    /// What it calls the app. None where it is asked when its turn comes: the ones before it may
    /// write what it looks for.
    pub label: Option<String>,
}

impl Chosen {
    /// Its name, without the version that a URL asks for.
    pub fn name(&self) -> String {
        let name = self.staged.reference.to_string();
        name.split('#').next().unwrap_or_default().to_owned()
    }
}

/// What buildpacks are asked with.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub root: &'a Root,
    pub place: &'a Place,
    pub env: &'a [(String, String)],
    pub machine: &'a Machine,
    pub watch: &'a Watch,
}

/// Stages the buildpacks and asks them: all built-in ones at once, and the first that says yes is
/// chosen; of a configured list the first.
pub(super) fn choose(
    configured: &[Reference],
    supply: &Supply<'_>,
    asking: &Asking<'_>,
    out: &mut Output<'_>,
) -> Result<Vec<Chosen>> {
    let (root, app) = (asking.root, &asking.place.host);
    announce(configured, out)?;
    let builtin = buildpack::builtin_references();
    let wanted = if configured.is_empty() {
        &builtin
    } else {
        configured
    };
    let staged = wanted
        .iter()
        .enumerate()
        .map(|(place, reference)| supply.stage(reference, place, app, root))
        .collect::<Result<Vec<_>, _>>()?;
    root.hand_over()?;
    if !configured.is_empty() {
        let chosen = |(place, staged): (usize, Staged)| {
            let label = match place {
                0 => Some(asking.ask_configured(&staged, out)?),
                _ => None,
            };
            Ok(Chosen { staged, label })
        };
        return staged.into_iter().enumerate().map(chosen).collect();
    }
    let answers = asking.ask(&staged)?;
    let willing = staged.into_iter().zip(answers);
    let willing = willing.filter_map(|(staged, answer)| Some((staged, answer.label?)));
    let willing = willing.collect::<Vec<_>>();
    warn_of_several(&willing, out)?;
    match willing.into_iter().next() {
        Some((staged, label)) => Ok(vec![Chosen {
            staged,
            label: Some(label),
        }]),
        None => Err(no_language(app).into()),
    }
}

impl<'a> Asking<'a> {
    /// Runs their other scripts in the same surroundings.
    pub(super) fn compiler(self) -> Compiler<'a> {
        Compiler {
            sandbox: &self.machine.sandbox,
            root: self.root,
            build_dir: &self.place.inside,
            env: self.env,
            watch: self.watch,
            time_limit: self.machine.limits.time,
        }
    }

    fn ask(&self, staged: &[Staged]) -> Result<Vec<detect::Answer>> {
        let root = self.root.with_read_only(&self.place.host);
        let (sandbox, cancel) = (&self.machine.sandbox, &self.watch.cancel);
        let build_dir = &self.place.inside;
        Ok(detect::ask(
            sandbox, &root, staged, build_dir, self.env, cancel,
        )?)
    }

    /// Asks a configured buildpack, which must say yes. Source: facts on Heroku's builds, §1.5.
    pub(super) fn ask_configured(&self, staged: &Staged, out: &mut Output<'_>) -> Result<String> {
        let answer = self.ask(std::slice::from_ref(staged))?.pop();
        let (label, explanation) = answer.map_or((None, String::new()), |answer| {
            (answer.label, answer.explanation)
        });
        if let Some(label) = label {
            return Ok(label);
        }
        let buildpack = staged.reference.to_string();
        out.step(&format!("App not compatible with buildpack: {buildpack}"))?;
        for line in explanation.lines() {
            out.detail(line)?;
        }
        out.detail(
            "More info: https://devcenter.heroku.com/articles/buildpacks#detection-failure",
        )?;
        Err(Error::NotCompatible {
            buildpack,
            explanation,
        }
        .into())
    }
}

fn announce(configured: &[Reference], out: &mut Output<'_>) -> Result<()> {
    match configured {
        [] => out.step("Determining which buildpack to use for this app")?,
        [one] => out.step(&format!("Using buildpack: {one}"))?,
        several => {
            out.step("Using buildpacks:")?;
            for (place, reference) in several.iter().enumerate() {
                out.detail(&format!("{}. {reference}", place + 1))?;
            }
        }
    }
    Ok(())
}

/// Source: facts on Heroku's builds, §1.4.
fn warn_of_several(willing: &[(Staged, String)], out: &mut Output<'_>) -> Result<()> {
    if willing.len() < 2 {
        return Ok(());
    }
    let labels = willing.iter().map(|(_, label)| label.as_str());
    let labels = labels.collect::<Vec<_>>().join(",");
    out.problem("Warning: Multiple default buildpacks reported the ability to handle this app. The first buildpack in the list below will be used.")?;
    out.line(&format!("\t\t\tDetected buildpacks: {labels}"))?;
    out.line("\t\t\tSee https://devcenter.heroku.com/articles/buildpacks#buildpack-detect-order")?;
    Ok(())
}

fn no_language(app: &Path) -> Error {
    let names = names(app);
    let below = names.iter().filter(|name| name.ends_with('/'));
    let below = below.flat_map(|dir| {
        let inner = self::names(&app.join(dir)).into_iter();
        inner.map(move |name| format!("{dir}{name}"))
    });
    let below = below.collect::<Vec<_>>();
    Error::NoLanguage {
        asked: builtin_names().into_iter().map(str::to_owned).collect(),
        misspelt: buildpack::misspelt_markers(names.iter().map(String::as_str)),
        below: buildpack::markers_below(below.iter().map(String::as_str)),
        found: listing(names),
    }
}

/// The names in a directory of the app, directories with a slash, sorted. A link is not followed.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let slash = if is_dir { "/" } else { "" };
        format!("{}{slash}", entry.file_name().to_string_lossy())
    };
    let mut names = entries.take(LOOK_LIMIT).map(name).collect::<Vec<_>>();
    names.sort();
    names
}

/// At most twenty names, fit for a terminal.
fn listing(names: Vec<String>) -> Vec<String> {
    let more = names.len().saturating_sub(20);
    let names = names.into_iter().take(20);
    let mut shown = names
        .map(|name| name.escape_debug().to_string())
        .collect::<Vec<_>>();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown
}
