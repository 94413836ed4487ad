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
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

/// The part of the answer that is shown.
#[derive(serde::Deserialize)]
struct Answer {
    repositories: Vec<Repository>,
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
    let answer: Value = client.post("/collections", &json!({}))?;
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
    print(table::heading("Repositories") + &table::columns(&rows))?;
    Ok(ExitCode::SUCCESS)
}
