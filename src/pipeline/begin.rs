//! What a build and a plan of one begin with: the source in its place, the buildpacks chosen.

use anyhow::{Context, Result};

use super::choose::{Asking, Chosen, choose};
use super::declared::Declared;
use super::obtain::Supply;
use super::place::Place;
use super::process_types::read_procfile;
use super::runtimes::BuildRuntimes;
use super::tools::Tools;
use super::{Build, Machine, Phases};
use crate::checkout::{self, Checkout, Directory};
use crate::compile;
use crate::output::Output;
use crate::sandbox::{Root, Watch};

/// All that buildpacks run with. The snapshots of the app are in use for as long as it lives.
pub(super) struct Begun {
    pub root: Root,
    pub tools: Tools,
    pub place: Place,
    pub checkout: Checkout,
    pub declared: Declared,
    pub chosen: Vec<Chosen>,
    env: Vec<(String, String)>,
}

impl Begun {
    /// What buildpacks are asked with.
    pub fn asking<'a>(&'a self, machine: &'a Machine, watch: &'a Watch) -> Asking<'a> {
        Asking {
            root: &self.root,
            place: &self.place,
            env: &self.env,
            machine,
            watch,
        }
    }
}

/// Checks the source out and chooses the buildpacks. `doing` is what the log says of it, such as
/// `Building`.
pub(super) fn begin(
    doing: &str,
    job: &mut Build<'_>,
    machine: &Machine,
    watch: &Watch,
    phases: &mut Phases,
    out: &mut Output<'_>,
) -> Result<Begun> {
    let stack = &job.stack;
    let image = stack.image.as_ref().map(|image| image.root.as_path());
    let root = machine
        .sandbox
        .root_for_build(&job.scratch.join("root"), image);
    let mut root = root.context("preparing the build's root")?;
    out.step(&format!("{doing} on the {} stack", stack.name))?;
    let (level, network) = (machine.sandbox.level()?, machine.sandbox.network()?);
    out.detail(&format!("Isolation: {level}, network: {network}"))?;
    let trees = machine.runtimes.runtimes.trees();
    let trees = trees.context("preparing the runtimes")?;
    let repeated = job.repeated.map_or(&[][..], |record| &record.runtime_trees);
    let runtimes = BuildRuntimes::new(machine, stack, (&watch.cancel, job.scratch), repeated);
    let tools = Tools::new(
        &machine.sandbox,
        &mut root,
        job.scratch,
        job.cache,
        stack,
        (runtimes, trees),
    )?;
    let place = Place::new(&job.layout, &root);
    let Directory { checkout, changed } = phases.time("checkout", || {
        let stop = watch.cancel.flag();
        place.fill(
            &mut job.source,
            &job.layout,
            &root,
            machine,
            job.scratch,
            stop,
        )
    })?;
    name_changed(changed, out)?;
    prune(&place, out)?;
    // A malformed Procfile should not cost its author the time of a build.
    read_procfile(&place.host.join("Procfile"))?;
    let commit = checkout.commit.map(|id| id.to_string());
    let version = commit.or(job.version.clone()).unwrap_or_default();
    let of_app = job.layout.stack_env.as_ref();
    let env = compile::environment(of_app.unwrap_or(&stack.name), &version, &machine.env);
    let declared = Declared::of(&place.host, &job.buildpacks, job.read_declared, out)?;
    let mut begun = Begun {
        root,
        tools,
        place,
        checkout,
        declared,
        chosen: Vec::new(),
        env,
    };
    let supply = Supply {
        kept: job.fetched,
        scratch: job.scratch,
        env: &begun.env,
        cancel: &watch.cancel,
        rules: &machine.fetch_from,
    };
    let wanted = [&job.buildpacks[..], &begun.declared.buildpacks].concat();
    let asking = begun.asking(machine, watch);
    let chosen = phases.time("detect", || choose(&wanted, &supply, &asking, out))?;
    begun.chosen = chosen;
    Ok(begun)
}

/// Tells of files that a directory has otherwise than its last commit.
fn name_changed(changed: usize, out: &mut Output<'_>) -> Result<()> {
    let files = match changed {
        0 => return Ok(()),
        1 => "1 tracked file differs".to_owned(),
        several => format!("{several} tracked files differ"),
    };
    out.detail(&format!("{files} from HEAD; what is on disk is built"))?;
    Ok(())
}

/// Removes what does not belong into a build, with the lines that Heroku prints for it.
fn prune(place: &Place, out: &mut Output<'_>) -> Result<()> {
    let pruned = checkout::prune(&place.host)?;
    if pruned.desktop_files > 0 {
        out.step("Removing .DS_Store files")?;
    }
    if pruned.ignored > 0 {
        out.step(&format!(
            "Deleting {} files matching .slugignore patterns.",
            pruned.ignored
        ))?;
    }
    Ok(())
}
