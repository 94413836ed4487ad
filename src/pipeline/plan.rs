//! What a build would be: source → checkout → detect → the versions that the buildpacks would use.
//!
//! Nothing is compiled, packed or kept.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::begin::begin;
use super::choose::Chosen;
use super::process_types::read_procfile;
use super::{Build, Machine, Phases};
use crate::compile;
use crate::compile::cache::{self, Maker};
use crate::output::Output;
use crate::procfile;
use crate::sandbox::Watch;

/// Tells what a build of the source would use, as far as its buildpacks can tell beforehand.
///
/// # Errors
/// What would keep the build from beginning: the stage's error is in the chain.
pub fn plan(job: Build<'_>, machine: &Machine, watch: &Watch, out: &mut Output<'_>) -> Result<()> {
    let mut job = job;
    let mut phases = Phases::default();
    let begun = begin("Planning", &mut job, machine, watch, &mut phases, out)?;
    let (root, chosen) = (&begun.root, &begun.chosen);
    root.renew()?;
    compile::write_env_dir(&root.env(), &begun.declared.config(job.config)?)?;
    if let Some(kept) = job.cache {
        let maker = Maker::new(&job.stack, chosen.iter().map(Chosen::name).collect());
        cache::restore(kept, &root.cache(), &maker, watch.cancel.flag())
            .context("restoring the build cache")?;
    }
    root.hand_over_renewed()?;
    let _answering = begun.tools.start(root, &begun.place.host)?;
    let compiler = begun.asking(machine, watch).compiler();
    for one in chosen {
        // A later one may need what an earlier one would have made, so its answer is not asked for.
        let label = one.label.clone();
        let label = label.unwrap_or_else(|| one.staged.reference.to_string());
        out.step(&format!("{label} app detected"))?;
        if !compiler.plan(&one.staged, &label, out)? {
            out.detail("This buildpack decides on versions only when it builds.")?;
        }
    }
    out.step("Discovering process types")?;
    // As it is: nothing has been built that could have changed it.
    let declared = read_procfile(&begun.place.host.join("Procfile"))?;
    for line in procfile::table(&declared.commands, &BTreeMap::new()) {
        out.detail(&line)?;
    }
    out.step("Nothing was built: the push asked for a plan")?;
    Ok(())
}
