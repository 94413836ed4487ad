//! `slugline drains`: where an app's log goes besides.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

use super::app_choice::{AppOption, ListOptions};
use super::client::{Client, of, segment};
use super::environment::Environment;
use super::print::{self, Step, print, remark};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: ListOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them
    List(ListOptions),
    /// Send the log there, too: syslog://, syslog+tls:// or https://
    Add(OneArgs),
    /// Send it there no longer
    Remove(OneArgs),
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    #[command(flatten)]
    app: AppOption,
    /// Such as syslog+tls://logs.example.com:6514; to remove one, its token does as well
    url: String,
}

/// A drain of the API.
#[derive(Debug, Deserialize)]
struct Drain {
    url: String,
    token: String,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let path = |app: &AppOption| -> Result<_> {
        let app = app.choose(environment, client.server())?;
        Ok((format!("/apps/{app}/log-drains"), app))
    };
    match &args.command {
        None => list(&client, &path(&args.list.app)?.0, args.list.json)?,
        Some(Command::List(args)) => list(&client, &path(&args.app)?.0, args.json)?,
        Some(Command::Add(args)) => {
            let (path, app) = path(&args.app)?;
            let step = Step::begin(&format!("Adding a drain to {app}"));
            let added: Drain = of(&client.post(&path, &json!({ "url": args.url }))?)?;
            step.done_with(&added.token);
        }
        Some(Command::Remove(args)) => {
            let (path, app) = path(&args.app)?;
            let step = Step::begin(&format!("Removing a drain of {app}"));
            client.delete(&format!("{path}/{}", segment(&args.url)))?;
            step.done();
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(client: &Client, path: &str, as_json: bool) -> Result<()> {
    let document = client.get(path)?;
    if as_json {
        print::json(&document)?;
        return Ok(());
    }
    let all: Vec<Drain> = of(&document)?;
    if all.is_empty() {
        remark("The log goes nowhere else. `slugline drains add URL` changes that.");
    }
    for drain in all {
        print(format!("{} ({})\n", drain.url, drain.token))?;
    }
    Ok(())
}
