//! Which buildpacks build an app: the configured ones, or the first built-in one that says yes.

use std::path::Path;

use anyhow::Result;

use super::{Error, Machine};
use crate::buildpack::{self, Reference, Staged};
use crate::detect;
use crate::output::Output;
use crate::sandbox::{Root, Watch};

/// Stages the buildpacks and asks them: all configured ones must say yes, of the built-in ones the first.
pub(super) fn choose(
    configured: &[Reference],
    root: &Root,
    env: &[(String, String)],
    machine: &Machine,
    watch: &Watch,
    out: &mut Output<'_>,
) -> Result<Vec<(Staged, String)>> {
    let stage = |place: usize, reference: &Reference| {
        buildpack::stage(reference, place, &root.app(), &root.buildpacks())
    };
    let ask = |staged: &Staged| detect::ask(&machine.sandbox, root, staged, env, &watch.cancel);
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
    if !configured.is_empty() {
        let staged = configured
            .iter()
            .enumerate()
            .map(|(place, reference)| stage(place, reference))
            .collect::<Result<Vec<_>, _>>()?;
        root.hand_over()?;
        let answer = |staged: Staged| {
            let answer = ask(&staged)?;
            let label = answer.label.ok_or_else(|| Error::NotCompatible {
                buildpack: staged.reference.to_string(),
                explanation: answer.explanation,
            })?;
            Ok((staged, label))
        };
        return staged.into_iter().map(answer).collect();
    }
    let builtin = buildpack::builtin_references();
    let staged = builtin
        .iter()
        .enumerate()
        .map(|(place, reference)| stage(place, reference))
        .collect::<Result<Vec<_>, _>>()?;
    root.hand_over()?;
    let mut willing = Vec::new();
    for staged in staged {
        if let Some(label) = ask(&staged)?.label {
            willing.push((staged, label));
        }
    }
    if willing.len() > 1 {
        let labels = willing
            .iter()
            .map(|(_, label)| label.as_str())
            .collect::<Vec<_>>()
            .join(",");
        out.problem("Warning: Multiple default buildpacks reported the ability to handle this app. The first buildpack in the list below will be used.")?;
        out.line(&format!("\t\t\tDetected buildpacks: {labels}"))?;
    }
    let chosen = willing
        .into_iter()
        .next()
        .ok_or_else(|| Error::NoLanguage {
            asked: builtin.iter().map(ToString::to_string).collect(),
            found: listing(&root.app()),
        })?;
    Ok(vec![chosen])
}

/// The names at the app's root, directories with a slash, at most twenty.
fn listing(app: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(app).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| {
        let slash = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            "/"
        } else {
            ""
        };
        format!(
            "{}{slash}",
            entry.file_name().to_string_lossy().escape_debug()
        )
    };
    let mut names = entries.map(name).collect::<Vec<_>>();
    names.sort();
    if names.len() > 20 {
        let more = names.len() - 20;
        names.truncate(20);
        names.push(format!("and {more} more"));
    }
    names
}
