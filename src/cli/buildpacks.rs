//! `slugline buildpacks`: shows and changes an app's ordered list of buildpacks.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use super::answers::Installation;
use super::app_choice::AppOption;
use super::client::{Client, ClientError, of};
use super::environment::Environment;
use super::print::{self, Step, print, remark};
use super::table;
use crate::app::AppName;

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
    /// List the buildpacks, in the order in which they run
    List(ListArgs),
    /// Set the buildpack, or put one in the place of another
    Set(OneArgs),
    /// Add a buildpack, at the end or at a place
    Add(OneArgs),
    /// Remove a buildpack, by its name or by its place
    Remove(RemoveArgs),
    /// Remove all buildpacks: the next build detects one
    Clear(ClearArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    /// A built-in one's name, `inline`, a git URL with `#REF`, or the URL of a `.tgz`
    buildpack: String,
    /// Its place, from 1
    #[arg(short, long, value_name = "PLACE", value_parser = clap::value_parser!(u32).range(1..))]
    index: Option<u32>,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// The buildpack
    #[arg(required_unless_present = "index", conflicts_with = "index")]
    buildpack: Option<String>,
    /// Its place, from 1
    #[arg(short, long, value_name = "PLACE", value_parser = clap::value_parser!(u32).range(1..))]
    index: Option<u32>,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct ClearArgs {
    #[command(flatten)]
    app: AppOption,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    match &args.command {
        None => list(&args.list, environment),
        Some(Command::List(args)) => list(args, environment),
        Some(Command::Set(args)) => change(&args.app, environment, "set", |names| {
            match args.index {
                Some(index) if place(index) < names.len() => {
                    names[place(index)].clone_from(&args.buildpack);
                }
                Some(_) => names.push(args.buildpack.clone()),
                // As Heroku's: the first is replaced, the others stay.
                None if names.is_empty() => names.push(args.buildpack.clone()),
                None => names[0].clone_from(&args.buildpack),
            }
            true
        }),
        Some(Command::Add(args)) => change(&args.app, environment, "added", |names| {
            let at = args.index.map_or(names.len(), place).min(names.len());
            names.insert(at, args.buildpack.clone());
            true
        }),
        Some(Command::Remove(args)) => change(&args.app, environment, "removed", |names| {
            let at = match (&args.buildpack, args.index) {
                (Some(name), _) => names.iter().position(|known| is_same(known, name)),
                (None, Some(index)) => Some(place(index)).filter(|at| *at < names.len()),
                (None, None) => None,
            };
            at.map(|at| names.remove(at)).is_some()
        }),
        Some(Command::Clear(args)) => change(&args.app, environment, "cleared", |names| {
            names.clear();
            true
        }),
    }
}

/// The index of a place that counts from 1.
fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX) - 1
}

/// Built-in ones have a short name and one with Heroku's namespace.
fn is_same(known: &str, name: &str) -> bool {
    known == name || known.strip_prefix("heroku/") == Some(name)
}

fn path(app: &AppName) -> String {
    format!("/apps/{app}/buildpack-installations")
}

fn names_of(document: &Value) -> Result<Vec<String>, ClientError> {
    let mut installed: Vec<Installation> = of(document)?;
    installed.sort_by_key(|one| one.ordinal);
    Ok(installed
        .into_iter()
        .map(|one| one.buildpack.name)
        .collect())
}

fn list(args: &ListArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let document = client.get(&path(&app))?;
    if args.json {
        print::json(&document)?;
    } else {
        print(shown(&app, &names_of(&document)?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(app: &AppName, names: &[String]) -> String {
    if names.is_empty() {
        return format!("{app} has no buildpack: its next build detects one.\n");
    }
    let heading = if names.len() == 1 {
        "Buildpack"
    } else {
        "Buildpacks"
    };
    let number = names.len() > 1;
    let row = |(index, name): (usize, &String)| {
        let number = if number {
            format!("{}. ", index + 1)
        } else {
            String::new()
        };
        [format!("{number}{name}")]
    };
    let rows = names.iter().enumerate().map(row).collect::<Vec<_>>();
    table::heading(&format!("{app} {heading}")) + &table::columns(&rows)
}

fn change(
    app: &AppOption,
    environment: &Environment,
    done: &str,
    edit: impl FnOnce(&mut Vec<String>) -> bool,
) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = app.choose(environment, client.server())?;
    let mut names = names_of(&client.get(&path(&app))?)?;
    if !edit(&mut names) {
        return Err(ClientError::NoBuildpack {
            app: app.to_string(),
        }
        .into());
    }
    let updates: Vec<Value> = names
        .iter()
        .map(|name| json!({ "buildpack": name }))
        .collect();
    let step = Step::begin(&format!("Changing the buildpacks of {app}"));
    let document = client.put(&path(&app), &json!({ "updates": updates }))?;
    step.done_with(done);
    let names = names_of(&document)?;
    print(shown(&app, &names))?;
    remark("The next build uses them: git push slugline main");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_several_and_none() {
        let app = "hello".parse().unwrap();
        let names = ["heroku/lang", "https://example.com/b#v1"].map(str::to_owned);
        insta::assert_snapshot!(shown(&app, &names), @r"
        === hello Buildpacks

        1. heroku/lang
        2. https://example.com/b#v1
        ");
        insta::assert_snapshot!(shown(&app, &names[..1]), @r"
        === hello Buildpack

        heroku/lang
        ");
        assert!(shown(&app, &[]).contains("no buildpack"));
    }

    #[test]
    fn a_short_name_is_the_same() {
        assert!(is_same("heroku/lang", "lang") && is_same("heroku/lang", "heroku/lang"));
        assert!(!is_same("lang", "heroku/lang"));
    }
}
