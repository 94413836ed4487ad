//! `slugline gc`: has a server remove what nobody needs any more.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::client::{Client, of};
use super::environment::Environment;
use super::print::{self, Step, print};
use super::table;
use crate::output::human_size;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep what was stored in the last hours, needed or not [default: 24]
    #[arg(long, value_name = "HOURS")]
    grace_hours: Option<u32>,
    /// Only say which slugs would go
    #[arg(long)]
    dry_run: bool,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

/// The part of the answer that is shown.
#[derive(serde::Deserialize)]
struct Answer {
    blobs: Blobs,
    repositories: Vec<Repository>,
}

#[derive(serde::Deserialize)]
struct Blobs {
    kept: u64,
    removed: Vec<String>,
    removed_bytes: u64,
}

#[derive(serde::Deserialize)]
struct Repository {
    app: App,
    before: Size,
    after: Size,
}

#[derive(serde::Deserialize)]
struct App {
    name: String,
}

#[derive(serde::Deserialize)]
struct Size {
    packs: u64,
    bytes: u64,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let step = Step::begin("Cleaning up");
    let mut asked = json!({ "dry_run": args.dry_run });
    if let Some(hours) = args.grace_hours {
        asked["grace_seconds"] = json!(u64::from(hours) * 3600);
    }
    let answer: Value = client.post("/collections", &asked)?;
    step.done();
    if args.json {
        print::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Answer = of(&answer)?;
    let row = |one: Repository| {
        let size = |size: &Size| {
            let packs = match size.packs {
                1 => "1 pack".to_owned(),
                n => format!("{n} packs"),
            };
            format!("{packs}, {}", human_size(size.bytes))
        };
        [
            one.app.name,
            size(&one.before),
            "now".to_owned(),
            size(&one.after),
        ]
    };
    let rows = answer.repositories.into_iter().map(row).collect::<Vec<_>>();
    let Blobs {
        kept,
        removed,
        removed_bytes,
    } = answer.blobs;
    let mut blobs = removed
        .into_iter()
        .map(|digest| [digest])
        .collect::<Vec<_>>();
    let verb = if args.dry_run { "to remove" } else { "removed" };
    let bytes = human_size(removed_bytes);
    let sum = format!("{} {verb} ({bytes}), {kept} kept", blobs.len());
    blobs.push([sum]);
    let mut shown = table::heading("Blobs") + &table::columns(&blobs);
    if !args.dry_run {
        shown += "\n";
        shown += &(table::heading("Repositories") + &table::columns(&rows));
    }
    print(shown)?;
    Ok(ExitCode::SUCCESS)
}
