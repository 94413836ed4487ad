//! `slugline token`: lists, makes and revokes the tokens of a server.
//!
//! A token's secret is printed by `create` alone: on stdout, alone on its line.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use super::answers::Authorization;
use super::client::{Client, ClientError, of, segment};
use super::environment::Environment;
use super::print::{self, Step, print, remark};
use super::table;
use crate::app::AppName;

const PATH: &str = "/oauth/authorizations";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the tokens, without their secrets
    List(ListArgs),
    /// Make a token and print it, this once
    Create(CreateArgs),
    /// Make a token useless
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Who or what will use it, such as laptop
    name: String,
    /// Let it look and not change anything
    #[arg(long)]
    read_only: bool,
    /// Let it see this app alone; can be repeated
    #[arg(short, long = "app", value_name = "NAME")]
    apps: Vec<AppName>,
}

#[derive(Debug, clap::Args)]
struct RevokeArgs {
    /// The token, by its id or its name
    #[arg(value_name = "ID_OR_NAME")]
    id_or_name: String,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    match &args.command {
        None => list(&args.list, environment),
        Some(Command::List(args)) => list(args, environment),
        Some(Command::Create(args)) => create(args, environment),
        Some(Command::Revoke(args)) => revoke(args, environment),
    }
}

fn list(args: &ListArgs, environment: &Environment) -> Result<ExitCode> {
    let documents = Client::new(environment)?.list(PATH, None, usize::MAX)?;
    if args.json {
        print::json(&Value::from(documents))?;
    } else {
        print(shown(&of::<Vec<Authorization>>(&documents.into())?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn create(args: &CreateArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let scope = match (args.read_only, args.apps.is_empty()) {
        (true, _) => "read",
        (false, false) => "write",
        (false, true) => "global",
    };
    let mut asked = json!({ "description": args.name, "scope": [scope] });
    if !args.apps.is_empty() {
        asked["apps"] = json!(args.apps);
    }
    let made: Authorization = of(&client.post(PATH, &asked)?)?;
    let secret = made.access_token.ok_or_else(|| ClientError::NotAServer {
        url: client.server().to_string(),
        status: None,
    })?;
    remark(&format!(
        "This is the token {}. It is shown this once; keep it where only its user reads it.\n\
         Use it as SLUGLINE_TOKEN, or as git's password.",
        made.description
    ));
    print(format!("{}\n", secret.token))?;
    Ok(ExitCode::SUCCESS)
}

fn revoke(args: &RevokeArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let step = Step::begin(&format!("Revoking {}", args.id_or_name));
    client.delete(&format!("{PATH}/{}", segment(&args.id_or_name)))?;
    step.done();
    Ok(ExitCode::SUCCESS)
}

fn shown(tokens: &[Authorization]) -> String {
    let row = |token: &Authorization| {
        [
            token.description.clone(),
            token.id.clone(),
            table::time(&token.created_at),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    table::heading("Tokens") + &table::columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_never_shows_a_secret() {
        let tokens = json!([{
            "id": "5",
            "description": "laptop",
            "created_at": "2026-01-02T00:00:00Z",
            "access_token": { "token": "hunter2" },
        }]);
        insta::assert_snapshot!(shown(&of::<Vec<Authorization>>(&tokens).unwrap()), @r"
        === Tokens

        laptop  5  2026/01/02 00:00:00 +0000
        ");
    }
}
