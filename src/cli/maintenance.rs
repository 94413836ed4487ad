//! `slugline maintenance`: lets the router answer in an app's place.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::app_choice::AppOption;
use super::client::Client;
use super::environment::Environment;
use super::print::{Step, print};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show visitors a page in the app's place
    On(AppOption),
    /// Let the app answer again
    Off(AppOption),
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let (app, on) = match &args.command {
        None => (&args.app, None),
        Some(Command::On(app)) => (app, Some(true)),
        Some(Command::Off(app)) => (app, Some(false)),
    };
    let app = app.choose(environment, client.server())?;
    let path = format!("/apps/{app}");
    if let Some(on) = on {
        let verb = if on { "Enabling" } else { "Disabling" };
        let step = Step::begin(&format!("{verb} maintenance mode of {app}"));
        client.patch(&path, &json!({ "maintenance": on }))?;
        step.done();
    } else {
        let shown = client.get(&path)?["maintenance"] == true;
        print(if shown { "on\n" } else { "off\n" })?;
    }
    Ok(ExitCode::SUCCESS)
}
