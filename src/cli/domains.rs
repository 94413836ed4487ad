//! `slugline domains`: the host names by which an app can be reached.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

use super::app_choice::{AppOption, ListOptions};
use super::client::{Client, of, segment};
use super::environment::Environment;
use super::print::{self, Step, print, remark};
use super::table;

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
    /// List the app's own name and its custom domains
    List(ListOptions),
    /// Let the app answer at a host name, or with *.NAME at all below one
    Add(OneArgs),
    /// Let the app answer there no longer
    Remove(OneArgs),
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    #[command(flatten)]
    app: AppOption,
    /// The host name, such as www.example.com
    hostname: String,
}

/// A domain of the API.
#[derive(Debug, Deserialize)]
struct Domain {
    hostname: String,
    kind: String,
    cname: Option<String>,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let choose = |app: &AppOption| app.choose(environment, client.server());
    match &args.command {
        None => list(
            &client,
            &choose(&args.list.app)?.to_string(),
            args.list.json,
        )?,
        Some(Command::List(args)) => list(&client, &choose(&args.app)?.to_string(), args.json)?,
        Some(Command::Add(args)) => {
            let app = choose(&args.app)?;
            let step = Step::begin(&format!("Adding {} to {app}", args.hostname));
            let body = json!({ "hostname": args.hostname, "sni_endpoint": null });
            let added: Domain = of(&client.post(&format!("/apps/{app}/domains"), &body)?)?;
            step.done();
            let target = added.cname.unwrap_or_default();
            remark(&format!(
                "Point {} at this server in DNS, by CNAME {target} or by its address.",
                added.hostname
            ));
        }
        Some(Command::Remove(args)) => {
            let app = choose(&args.app)?;
            let step = Step::begin(&format!("Removing {} from {app}", args.hostname));
            let name = segment(&args.hostname);
            client.delete(&format!("/apps/{app}/domains/{name}"))?;
            step.done();
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(client: &Client, app: &str, as_json: bool) -> Result<()> {
    let document = client.get(&format!("/apps/{app}/domains"))?;
    if as_json {
        print::json(&document)?;
        return Ok(());
    }
    let all: Vec<Domain> = of(&document)?;
    let rows = all
        .into_iter()
        .map(|domain| {
            [
                domain.hostname,
                domain.kind,
                domain.cname.unwrap_or_default(),
            ]
        })
        .collect::<Vec<_>>();
    let text = table::heading(&format!("{app} domains")) + &table::columns(&rows);
    print(text)?;
    Ok(())
}
