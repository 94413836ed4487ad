//! `slugline logs`: an app's log, its end or as it comes.

use std::io::{self, Read};
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;

use super::app_choice::AppOption;
use super::client::Client;
use super::environment::Environment;
use super::print::print;

/// Shows what dynos, the router and the platform say of an app.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    app: AppOption,
    /// Show so many lines
    #[arg(short = 'n', long = "num", value_name = "N")]
    lines: Option<u32>,
    /// Go on with what comes
    #[arg(short, long)]
    tail: bool,
    /// Show only lines of the app itself, or of the platform
    #[arg(short, long, value_name = "app|heroku", value_parser = ["app", "heroku"])]
    source: Option<String>,
    /// Show only lines of a dyno such as web.1, of a type, or of the router
    #[arg(short, long, value_name = "DYNO")]
    dyno: Option<String>,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let session = client.post(
        &format!("/apps/{app}/log-sessions"),
        &json!({
            "lines": args.lines.unwrap_or(100),
            "tail": args.tail,
            "source": args.source,
            "dyno": args.dyno,
        }),
    )?;
    let url = session["logplex_url"].as_str();
    let mut log = client.open(url.context("the answer names no logplex_url")?)?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match log.read(&mut buffer) {
            Ok(0) => return Ok(ExitCode::SUCCESS),
            Ok(count) => print(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("reading the log"),
        }
    }
}
