//! What a build would be: source → checkout → detect → the versions that the buildpacks would use.
//!
//! Nothing is compiled, packed or kept.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::choose::{Asking, Chosen, choose};
use super::obtain::Supply;
use super::place::Place;
use super::process_types::read_procfile;
use super::tools::Tools;
use super::{Build, Machine, prune};
use crate::compile::cache::{self, Maker};
use crate::compile::{self, Compiler};
use crate::output::Output;
use crate::procfile;
use crate::sandbox::Watch;

/// Tells what a build of the source would use, as far as its buildpacks can tell beforehand.
///
/// # Errors
/// What would keep the build from beginning: the stage's error is in the chain.
pub fn plan(job: Build<'_>, machine: &Machine, watch: &Watch, out: &mut Output<'_>) -> Result<()> {
    let stack = &job.stack;
    let image = stack.image.as_ref().map(|image| image.root.as_path());
    let root = machine.sandbox.root_on(&job.scratch.join("root"), image);
    let mut root = root.context("preparing the build's root")?;
    // Buildpacks read an app's files by it; there is nothing to keep, and so nobody answers.
    let _tools = Tools::new(&machine.sandbox, &mut root, job.scratch, None, stack)?;
    out.step(&format!("Planning on the {} stack", stack.name))?;
    let place = Place::new(&job.layout, &root);
    let checkout = place
        .fill(
            job.source,
            &job.layout,
            &root,
            &machine.limits,
            watch.cancel.flag(),
        )?
        .checkout;
    prune(&place.host, out)?;
    let declared = read_procfile(&place.host.join("Procfile"))?;
    let version = checkout.commit.map(|id| id.to_string());
    let version = version.or(job.version).unwrap_or_default();
    let env = compile::environment(
        job.layout.stack_env.as_ref().unwrap_or(&stack.name),
        &version,
        &machine.env,
    );
    let supply = Supply {
        kept: job.fetched,
        scratch: job.scratch,
        env: &env,
        cancel: &watch.cancel,
    };
    let asking = Asking {
        root: &root,
        place: &place,
        env: &env,
        machine,
        watch,
    };
    let chosen = choose(&job.buildpacks, &supply, &asking, out)?;
    root.renew()?;
    compile::write_env_dir(&root.env(), job.config)?;
    if let Some(kept) = job.cache {
        let maker = Maker::new(stack, chosen.iter().map(Chosen::name).collect());
        cache::restore(kept, &root.cache(), &maker, watch.cancel.flag())
            .context("restoring the build cache")?;
    }
    root.hand_over_renewed()?;
    let compiler = Compiler {
        sandbox: &machine.sandbox,
        root: &root,
        build_dir: &place.inside,
        env: &env,
        watch,
        time_limit: machine.limits.time,
    };
    for one in &chosen {
        // A later one may need what an earlier one would have made, so its answer is not asked for.
        let label = one.label.clone();
        let label = label.unwrap_or_else(|| one.staged.reference.to_string());
        out.step(&format!("{label} app detected"))?;
        if !compiler.plan(&one.staged, &label, out)? {
            out.detail("This buildpack decides on versions only when it builds.")?;
        }
    }
    out.step("Discovering process types")?;
    for line in procfile::table(&declared.commands, &BTreeMap::new()) {
        out.detail(&line)?;
    }
    out.step("Nothing was built: the push asked for a plan")?;
    Ok(())
}
