//! `slugline config`: shows and changes an app's config vars. A change makes a release.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Map, Value};

use super::app_choice::AppOption;
use super::client::{Client, ClientError, of};
use super::environment::Environment;
use super::print::{self, Step, print};
use super::{releases, table};
use crate::app::AppName;
use crate::config::{check_name, parse_assignment};

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
    /// Show all config vars
    List(ListArgs),
    /// Print the value of one config var
    Get(GetArgs),
    /// Set config vars
    Set(SetArgs),
    /// Remove config vars
    Unset(UnsetArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print the API's JSON
    #[arg(long, conflicts_with = "shell")]
    json: bool,
    /// Print lines of NAME=VALUE that a shell and an env file take
    #[arg(short, long)]
    shell: bool,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct GetArgs {
    /// The config var
    name: String,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct SetArgs {
    /// The config vars and their values
    #[arg(required = true, value_name = "NAME=VALUE")]
    assignments: Vec<String>,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct UnsetArgs {
    /// The config vars
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    app: AppOption,
}

type Vars = BTreeMap<String, String>;

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    match &args.command {
        None => list(&args.list, environment),
        Some(Command::List(args)) => list(args, environment),
        Some(Command::Get(args)) => get(args, environment),
        Some(Command::Set(args)) => {
            let changes = assigned(&args.assignments)?;
            change("Set", &changes, &args.app, environment)
        }
        Some(Command::Unset(args)) => {
            let changes = removed(&args.names)?;
            change("Unset", &changes, &args.app, environment)
        }
    }
}

fn list(args: &ListArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let document = client.get(&path(&app))?;
    if args.json {
        print::json(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    let vars: Vars = of(&document)?;
    if args.shell {
        print(shell_lines(&vars))?;
    } else {
        print(shown(&app, &vars))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn get(args: &GetArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let vars: Vars = of(&client.get(&path(&app))?)?;
    let value = vars.get(&args.name).ok_or(ClientError::NoConfigVar {
        app: app.to_string(),
        name: args.name.clone(),
    })?;
    print(format!("{value}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn change(
    verb: &str,
    changes: &Map<String, Value>,
    app: &AppOption,
    environment: &Environment,
) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = app.choose(environment, client.server())?;
    let names: Vec<&str> = changes.keys().map(String::as_str).collect();
    let before = releases::newest(&client, &app)?.map(|release| release.version);
    let step = Step::begin(&format!("{verb} {} on {app}", names.join(", ")));
    client.patch(&path(&app), &Value::Object(changes.clone()))?;
    match releases::newest(&client, &app)? {
        Some(release) if Some(release.version) == before => {
            step.done_with("nothing changed");
        }
        Some(release) => step.done_with(&format!("v{}", release.version)),
        None => step.done(),
    }
    Ok(ExitCode::SUCCESS)
}

fn path(app: &AppName) -> String {
    format!("/apps/{app}/config-vars")
}

/// The change that sets what `NAME=VALUE` says; of several for one name the last counts.
fn assigned(assignments: &[String]) -> Result<Map<String, Value>> {
    let mut changes = Map::new();
    for assignment in assignments {
        let (name, value) = parse_assignment(assignment)?;
        changes.insert(name.to_owned(), Value::from(value));
    }
    Ok(changes)
}

fn removed(names: &[String]) -> Result<Map<String, Value>> {
    let mut changes = Map::new();
    for name in names {
        check_name(name)?;
        changes.insert(name.clone(), Value::Null);
    }
    Ok(changes)
}

fn shown(app: &AppName, vars: &Vars) -> String {
    if vars.is_empty() {
        return format!("{app} has no config vars.\n");
    }
    let pairs = vars.iter().map(|(name, value)| (&**name, &**value));
    table::heading(&format!("{app} Config Vars")) + &table::pairs(pairs)
}

fn shell_lines(vars: &Vars) -> String {
    let line = |(name, value): (&String, &String)| format!("{name}={}\n", shell_word(value));
    vars.iter().map(line).collect()
}

/// A value as one word of sh, quoted only where it must be.
fn shell_word(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vars() -> Vars {
        [
            ("A", "1"),
            ("DATABASE_URL", "postgres://me:pw@db:5432/x?a=b"),
            ("EMPTY", ""),
            ("TEXT", "it's $HOME"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn the_list_is_heroku_s() {
        let app = "hello".parse().unwrap();
        insta::assert_snapshot!(shown(&app, &vars()), @r"
        === hello Config Vars

        A:            1
        DATABASE_URL: postgres://me:pw@db:5432/x?a=b
        EMPTY:
        TEXT:         it's $HOME
        ");
        assert_eq!(shown(&app, &Vars::new()), "hello has no config vars.\n");
    }

    #[test]
    fn shell_lines_are_safe_to_source() {
        insta::assert_snapshot!(shell_lines(&vars()), @r"
        A=1
        DATABASE_URL='postgres://me:pw@db:5432/x?a=b'
        EMPTY=''
        TEXT='it'\''s $HOME'
        ");
    }

    #[test]
    fn changes_are_checked_before_anything_is_sent() {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let changes = assigned(&texts(&["B=1", "A=x=y", "B=2"])).unwrap();
        assert_eq!(Value::from(changes), json!({ "A": "x=y", "B": "2" }));
        let changes = removed(&texts(&["A"])).unwrap();
        assert_eq!(Value::from(changes), json!({ "A": null }));
        assert!(assigned(&texts(&["A"])).is_err());
        assert!(assigned(&texts(&["A=1", "1A=2"])).is_err());
        assert!(removed(&texts(&["A=1"])).is_err());
    }
}
