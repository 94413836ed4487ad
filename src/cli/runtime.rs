//! `slugline runtime`: lists, fetches, imports and forgets language runtimes, and brings their
//! inventories up to date.
//!
//! It works on the data directory itself, beside a server that runs or with none.

pub mod update;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::{Value, json};

use super::environment::Environment;
use super::interrupt::on_interrupt;
use super::print::{self, Step, print, remark};
use super::{machine, table};
use crate::buildpack::Offer;
use crate::output::human_size;
use crate::pipeline::{Machine, import_runtime, obtain_runtime};
use crate::platform::clock;
use crate::platform::data::RUNTIMES;
use crate::runtime::{self, Obtained, Runtimes, Way};
use crate::sandbox::{Cancel, own_mounts};

const DAY_HOURS: u64 = 24;

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
    /// List what can be had, and what is here
    List(ListArgs),
    /// Fetch a version before a build asks for it
    Fetch(FetchArgs),
    /// Take an installed or unpacked directory for a version
    Import(ImportArgs),
    /// Remove what no build has used for a while; what was imported stays
    Gc(GcArgs),
    /// Write a new list of releases from what upstream has now
    Update(update::Args),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only this one's, all its versions
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct FetchArgs {
    /// Such as python or node
    name: String,
    /// Whole, such as 3.13.2, or the newest of a line: 3.13
    #[arg(value_name = "VERSION")]
    release: String,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    name: String,
    /// What its program says, or the first numbers of it
    #[arg(value_name = "VERSION")]
    release: String,
    /// The directory with `bin`
    path: PathBuf,
}

#[derive(Debug, clap::Args)]
struct GcArgs {
    /// Keep what was used in the last hours; builds that are under way must not use what goes
    #[arg(long, value_name = "HOURS", default_value_t = 30 * DAY_HOURS)]
    grace_hours: u64,
}

/// No version of a line can be had.
#[derive(Debug, thiserror::Error)]
#[error("there is no {name} {version}")]
pub struct NoVersion {
    pub name: String,
    pub version: String,
    pub nearest: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// There is no such runtime, or it cannot be had; the data directory cannot be written.
pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    own_mounts();
    let environment = environment.clone().with(None, args.data.as_deref());
    let (machine, dir) = own_machine(&environment)?;
    let runtimes = &machine.runtimes.runtimes;
    match &args.command {
        None => list(&args.list, runtimes)?,
        Some(Command::List(args)) => list(args, runtimes)?,
        Some(Command::Fetch(args)) => fetch(args, &machine)?,
        Some(Command::Import(args)) => import(args, &machine)?,
        Some(Command::Gc(args)) => gc(args, runtimes)?,
        Some(Command::Update(args)) => update::run(args, &machine, &dir)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The machine as its person sees it, and where its runtimes are kept.
pub(super) fn own_machine(environment: &Environment) -> Result<(Machine, PathBuf)> {
    let settings = machine::settings_of(environment.data_dir()?, [])?;
    let dir = environment.data_dir()?.join(RUNTIMES);
    let machine = machine::machine(&settings, machine::Whose::Own, &dir)?;
    Ok((machine, settings.runtime_dir.unwrap_or(dir)))
}

fn list(args: &ListArgs, runtimes: &Runtimes) -> Result<()> {
    let names = match &args.name {
        Some(name) => vec![name.as_str()],
        None => runtimes.names().collect(),
    };
    let kept = runtimes.kept()?;
    let is_here = |name: &str, version: &str| {
        let mut kept = kept.iter().map(|(kept, _)| kept);
        kept.any(|kept| kept.name == name && kept.version == version)
    };
    let mut document = Vec::new();
    let mut text = String::new();
    for name in names {
        let mut offers = runtimes.offers(name, false, None)?;
        offers.sort_by_key(|offer| std::cmp::Reverse(numbers(&offer.version)));
        if args.json {
            document.extend(offers.iter().map(|offer| {
                json!({
                    "name": name,
                    "version": offer.version,
                    "end_of_life": offer.end_of_life,
                    "origin": offer.origin,
                    "here": is_here(name, &offer.version),
                })
            }));
            continue;
        }
        if args.name.is_none() {
            offers = newest_of_lines(offers, runtimes.line_numbers(name)?);
        }
        let rows = offers.iter().map(|offer| {
            let here = if is_here(name, &offer.version) {
                "here"
            } else {
                ""
            };
            let end = offer.end_of_life.as_deref();
            [
                offer.version.clone(),
                here.to_owned(),
                end.map_or_else(String::new, |end| format!("until {end}")),
                offer.origin.clone(),
            ]
        });
        text += &table::heading(name);
        text += &table::columns(&rows.collect::<Vec<_>>());
    }
    if args.json {
        return Ok(print::json(&Value::from(document))?);
    }
    Ok(print(text)?)
}

/// The newest of each line, of versions in descending order.
fn newest_of_lines(offers: Vec<Offer>, line_numbers: usize) -> Vec<Offer> {
    let mut seen = Vec::<Vec<u64>>::new();
    let mut newest = |offer: &Offer| {
        let line = numbers(&offer.version).into_iter().take(line_numbers);
        let line = line.collect::<Vec<_>>();
        let is_new = !seen.contains(&line);
        seen.push(line);
        is_new
    };
    offers.into_iter().filter(|offer| newest(offer)).collect()
}

fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split('.');
    parts.map(|part| part.parse().unwrap_or_default()).collect()
}

fn fetch(args: &FetchArgs, machine: &Machine) -> Result<()> {
    let cancel = cancel()?;
    let version = whole(&machine.runtimes.runtimes, &args.name, &args.release)?;
    let step = Step::begin(&format!("Fetching {} {version}", args.name));
    let obtained = obtain_runtime(machine, &args.name, &version, &cancel)?;
    step.done();
    say(&obtained)
}

/// The newest version that begins with what was named.
fn whole(runtimes: &Runtimes, name: &str, version: &str) -> Result<String, anyhow::Error> {
    let mut offers = runtimes.offers(name, false, None)?;
    let fits = |offer: &&Offer| {
        offer.version == version || offer.version.starts_with(&format!("{version}."))
    };
    let found = offers
        .iter()
        .filter(fits)
        .max_by_key(|offer| numbers(&offer.version));
    if let Some(found) = found {
        return Ok(found.version.clone());
    }
    offers.sort_by_key(|offer| std::cmp::Reverse(numbers(&offer.version)));
    let newest = newest_of_lines(offers, runtimes.line_numbers(name)?);
    Err(NoVersion {
        name: name.to_owned(),
        version: version.to_owned(),
        nearest: newest.into_iter().map(|offer| offer.version).collect(),
    }
    .into())
}

fn import(args: &ImportArgs, machine: &Machine) -> Result<()> {
    let cancel = cancel()?;
    let path = std::path::absolute(&args.path).with_context(|| args.path.display().to_string())?;
    let step = Step::begin(&format!("Importing {} {}", args.name, args.release));
    let imported = import_runtime(machine, &args.name, &args.release, &path, &cancel)?;
    step.done();
    say(&imported)
}

fn cancel() -> Result<Cancel> {
    let cancel = Cancel::default();
    let cancelled = cancel.clone();
    on_interrupt(move |_| cancelled.cancel())?;
    Ok(cancel)
}

fn say(obtained: &Obtained) -> Result<()> {
    let Obtained { kept, notes, .. } = obtained;
    for note in notes {
        remark(note);
    }
    print(format!("{}\n", kept.tree))?;
    let how = match kept.way {
        Way::Fetched => "fetched: ",
        Way::Imported => "",
        Way::Host => "copied: ",
    };
    remark(&format!(
        "{} {} ({}), {how}{}",
        kept.name,
        kept.version,
        human_size(kept.bytes),
        kept.origin
    ));
    Ok(())
}

fn gc(args: &GcArgs, runtimes: &Runtimes) -> Result<()> {
    let grace = Duration::from_secs(args.grace_hours.saturating_mul(3600));
    let before = clock::system_now().checked_sub(grace);
    let gone = runtimes.sweep(before.unwrap_or(SystemTime::UNIX_EPOCH))?;
    for kept in &gone {
        print(format!(
            "removed {} {} ({})\n",
            kept.name,
            kept.version,
            human_size(kept.bytes)
        ))?;
    }
    if gone.is_empty() {
        remark("Nothing is old enough.");
    }
    Ok(())
}

/// Where a new list of releases goes over the buildpack's own.
pub(super) fn releases_path(dir: &Path, name: &str) -> PathBuf {
    runtime::inventory_path(dir, name)
}
