//! `slugline pins`: blobs that a server keeps although no app has them any more.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::client::{Client, of};
use super::environment::Environment;
use super::print::{Step, print};
use crate::digest::Digest;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what is pinned
    List,
    /// Keep a slug or another blob, whatever becomes of the app
    Add { digest: Digest },
    /// Keep it no longer than others
    Remove { digest: Digest },
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    match &args.command {
        None | Some(Command::List) => {
            let digests: Vec<Digest> = of(&client.get("/pins")?)?;
            let lines = digests.iter().map(|digest| format!("{digest}\n"));
            print(lines.collect::<String>())?;
        }
        Some(Command::Add { digest }) => {
            let step = Step::begin(&format!("Pinning {digest}"));
            client.put(&format!("/pins/{digest}"), &json!({}))?;
            step.done();
        }
        Some(Command::Remove { digest }) => {
            let step = Step::begin(&format!("Unpinning {digest}"));
            client.delete(&format!("/pins/{digest}"))?;
            step.done();
        }
    }
    Ok(ExitCode::SUCCESS)
}
