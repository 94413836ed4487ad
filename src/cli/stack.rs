//! `slugline stack`: imports, lists and removes the root file systems that apps are built on.
//!
//! It works on the data directory itself, beside a server that runs or with none.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::environment::Environment;
use super::interrupt::on_interrupt;
use super::print::{self, Step, print, remark};
use super::{machine, table};
use crate::output::human_size;
use crate::platform::data::STACKS;
use crate::platform::stacks::Stacks;
use crate::sandbox::Cancel;
use crate::stack::StackName;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: ListArgs,
    /// The data directory [default: the one of this machine's server]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List this machine's own stack and the imported ones
    List(ListArgs),
    /// Import a root file system
    Import(ImportArgs),
    /// Forget an imported stack
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// What builds see as STACK, such as heroku-24
    name: StackName,
    /// A tarball, gzipped or plain, or a directory; only its system directories are used
    #[arg(value_name = "ROOTFS.tar|DIR")]
    source: PathBuf,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    name: StackName,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let environment = environment.clone().with(None, args.data.as_deref());
    let stacks = stacks(&environment)?;
    match &args.command {
        None => list(&args.list, &stacks)?,
        Some(Command::List(args)) => list(args, &stacks)?,
        Some(Command::Import(args)) => import(args, &stacks)?,
        Some(Command::Remove(args)) => {
            stacks.remove(&args.name)?;
            remark("Its files are removed when a server starts.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The stacks of this machine's data directory.
pub(super) fn stacks(environment: &Environment) -> Result<Stacks> {
    let host = machine::settings(None, [])?.stack.parse()?;
    Ok(Stacks::new(environment.data_dir()?.join(STACKS), host))
}

fn import(args: &ImportArgs, stacks: &Stacks) -> Result<()> {
    let cancel = Cancel::default();
    let cancelled = cancel.clone();
    on_interrupt(move |_| cancelled.cancel())?;
    let step = Step::begin(&format!("Importing {}", args.name));
    let imported = stacks.import(&args.name, &args.source, cancel.flag())?;
    step.done();
    print(format!("{}\n", imported.digest))?;
    remark(&format!(
        "Build an app on it with: slugline apps set NAME --stack {}",
        args.name
    ));
    Ok(())
}

fn list(args: &ListArgs, stacks: &Stacks) -> Result<()> {
    let imported = stacks.list()?;
    if args.json {
        let own = json!({ "name": stacks.host(), "default": true });
        let others = imported.iter().map(|one| {
            json!({
                "name": one.name,
                "default": false,
                "digest": one.digest,
                "files": one.files,
                "bytes": one.bytes,
                "imported_at": one.imported_at,
            })
        });
        return Ok(print::json(&std::iter::once(own).chain(others).collect())?);
    }
    let own = [
        stacks.host().to_string(),
        "this machine".to_owned(),
        String::new(),
    ];
    let others = imported.iter().map(|one| {
        let at = table::time(&one.imported_at);
        [one.name.to_string(), human_size(one.bytes), at]
    });
    let rows = std::iter::once(own).chain(others).collect::<Vec<_>>();
    Ok(print(table::heading("Stacks") + &table::columns(&rows))?)
}
