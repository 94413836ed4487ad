//! `slugline ps`: shows an app's dynos, scales, restarts and stops them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::app_choice::{AppOption, ListOptions};
use super::client::{Client, of};
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
    /// Show the dynos
    List(ListOptions),
    /// Change how many dynos there are, and how large: web=2 worker+1 web=2:standard-2x
    Scale(ScaleArgs),
    /// Change how large dynos are: web=standard-2x, or one size for all types
    Type(TypeArgs),
    /// Restart one dyno, all of a type, or all
    Restart(RestartArgs),
    /// Stop one dyno or all of a type, until the next restart or deploy
    #[command(alias = "kill")]
    Stop(StopArgs),
}

#[derive(Debug, clap::Args)]
struct ScaleArgs {
    #[command(flatten)]
    app: AppOption,
    /// What to change; nothing shows what is
    #[arg(value_name = "TYPE=N[:SIZE]|TYPE+N|TYPE-N", value_parser = change)]
    changes: Vec<Change>,
}

/// A type, the API's text of a quantity, and a size.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    kind: String,
    quantity: String,
    size: Option<String>,
}

#[derive(Debug, clap::Args)]
struct TypeArgs {
    #[command(flatten)]
    app: AppOption,
    /// What to change; nothing shows what is
    #[arg(value_name = "SIZE|TYPE=SIZE")]
    changes: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct RestartArgs {
    #[command(flatten)]
    app: AppOption,
    /// A dyno such as web.1, or a type
    #[arg(value_name = "DYNO")]
    which: Option<String>,
}

#[derive(Debug, clap::Args)]
struct StopArgs {
    #[command(flatten)]
    app: AppOption,
    /// A dyno such as web.1, or a type
    #[arg(value_name = "DYNO")]
    which: String,
}

/// A dyno of the API.
#[derive(Debug, Deserialize)]
struct Dyno {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    command: String,
    size: String,
    state: String,
    updated_at: String,
    release: Release,
}

#[derive(Debug, Deserialize)]
struct Release {
    version: u64,
}

/// A process type of the API.
#[derive(Debug, Deserialize)]
struct Formation {
    #[serde(rename = "type")]
    kind: String,
    quantity: u32,
    size: String,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    match &args.command {
        None => list(&args.list, environment),
        Some(Command::List(args)) => list(args, environment),
        Some(Command::Scale(args)) => scale(args, environment),
        Some(Command::Type(args)) => resize(args, environment),
        Some(Command::Restart(args)) => restart(args, environment),
        Some(Command::Stop(args)) => stop(args, environment),
    }
}

/// `web=2`, `web+1`, `web-1`, `web=2:standard-2x`.
fn change(text: &str) -> Result<Change, String> {
    let wrong = || format!("{text:?} is not of the form web=2, web+1, web-1 or web=2:standard-2x");
    let (text, size) = match text.split_once(':') {
        Some((text, size)) => (text, Some(size.to_owned())),
        None => (text, None),
    };
    let end = text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let at = end.checked_sub(1).ok_or_else(wrong)?;
    if !text.is_char_boundary(at) || !text[at..].starts_with(['=', '+', '-']) {
        return Err(wrong());
    }
    let (kind, quantity) = text.split_at(at);
    let number = &quantity[1..];
    let is_empty = size.as_ref().is_some_and(String::is_empty);
    if kind.is_empty() || kind.ends_with('=') || number.parse::<u32>().is_err() || is_empty {
        return Err(wrong());
    }
    Ok(Change {
        kind: kind.to_owned(),
        quantity: quantity.strip_prefix('=').unwrap_or(quantity).to_owned(),
        size,
    })
}

fn list(args: &ListOptions, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let document = client.get(&format!("/apps/{app}/dynos"))?;
    if args.json {
        print::json(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    let dynos: Vec<Dyno> = of(&document)?;
    if dynos.is_empty() {
        remark(&format!(
            "{app} has no dynos. `slugline ps scale web=1` starts one of a deployed app."
        ));
    } else {
        print(shown(&dynos))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Heroku's form: a heading and its dynos for each type.
fn shown(dynos: &[Dyno]) -> String {
    let mut types = BTreeMap::<&str, Vec<&Dyno>>::new();
    for dyno in dynos {
        types.entry(&dyno.kind).or_default().push(dyno);
    }
    let mut text = String::new();
    for (kind, dynos) in types {
        let first = dynos.first();
        let command = first.map_or("", |dyno| &dyno.command);
        let size = first.map_or("", |dyno| &dyno.size);
        text += &table::heading(&format!("{kind} ({size}): {command} ({})", dynos.len()));
        for dyno in dynos {
            let since = table::time(&dyno.updated_at);
            let Dyno {
                name,
                state,
                release,
                ..
            } = dyno;
            let version = release.version;
            text += &[
                name,
                ": ",
                state,
                " ",
                &since,
                " (v",
                &version.to_string(),
                ")\n",
            ]
            .concat();
        }
        text.push('\n');
    }
    text
}

fn scale(args: &ScaleArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let path = format!("/apps/{app}/formation");
    if args.changes.is_empty() {
        let types: Vec<Formation> = of(&client.get(&path)?)?;
        print(line(&types) + "\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let updates = args.changes.iter().map(|change| {
        let Change {
            kind,
            quantity,
            size,
        } = change;
        json!({ "type": kind, "quantity": quantity, "size": size })
    });
    let step = Step::begin("Scaling dynos");
    let changed = client.patch(&path, &json!({ "updates": updates.collect::<Value>() }))?;
    step.done();
    let types: Vec<Formation> = of(&changed)?;
    remark(&format!("Now: {}", line(&types)));
    Ok(ExitCode::SUCCESS)
}

fn resize(args: &TypeArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let path = format!("/apps/{app}/formation");
    let types: Vec<Formation> = of(&client.get(&path)?)?;
    if args.changes.is_empty() {
        print(line(&types) + "\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let updates = args.changes.iter().flat_map(|change| {
        if let Some((kind, size)) = change.split_once('=') {
            return vec![json!({ "type": kind, "size": size })];
        }
        let all = types.iter();
        all.map(|one| json!({ "type": one.kind, "size": change }))
            .collect()
    });
    let step = Step::begin("Changing dyno sizes");
    let changed = client.patch(&path, &json!({ "updates": updates.collect::<Value>() }))?;
    step.done();
    let types: Vec<Formation> = of(&changed)?;
    remark(&format!("Now: {}", line(&types)));
    Ok(ExitCode::SUCCESS)
}

fn line(types: &[Formation]) -> String {
    let types = types
        .iter()
        .map(|one| format!("{}={}:{}", one.kind, one.quantity, one.size));
    types.collect::<Vec<_>>().join(" ")
}

fn restart(args: &RestartArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let what = args.which.as_deref().unwrap_or("all dynos");
    let step = Step::begin(&format!("Restarting {what} of {app}"));
    client.delete(&match &args.which {
        None => format!("/apps/{app}/dynos"),
        Some(which) if which.contains('.') => format!("/apps/{app}/dynos/{which}"),
        Some(which) => format!("/apps/{app}/formations/{which}"),
    })?;
    step.done();
    Ok(ExitCode::SUCCESS)
}

fn stop(args: &StopArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let which = &args.which;
    let step = Step::begin(&format!("Stopping {which} of {app}"));
    let group = if which.contains('.') {
        "dynos"
    } else {
        "formations"
    };
    let path = format!("/apps/{app}/{group}/{which}/actions/stop");
    client.post(&path, &json!({}))?;
    step.done();
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read() {
        let pair = |kind: &str, quantity: &str| {
            Ok(Change {
                kind: kind.to_owned(),
                quantity: quantity.to_owned(),
                size: None,
            })
        };
        assert_eq!(change("web=2"), pair("web", "2"));
        assert_eq!(change("web+1"), pair("web", "+1"));
        assert_eq!(change("my-worker-1"), pair("my-worker", "-1"));
        let sized = change("web=2:standard-2x").unwrap();
        assert_eq!(sized.size.as_deref(), Some("standard-2x"));
        for bad in [
            "web", "web=", "=2", "web=x", "web=-1", "", "web=2:", "web:x",
        ] {
            assert!(change(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_list_is_heroku_s() {
        let dyno = |name: &str, state: &str| Dyno {
            name: name.into(),
            kind: name.split('.').next().unwrap().into(),
            command: "run it".into(),
            size: "standard-1x".into(),
            state: state.into(),
            updated_at: "2026-01-02T00:00:00Z".into(),
            release: Release { version: 3 },
        };
        let dynos = [
            dyno("web.1", "up"),
            dyno("web.2", "starting"),
            dyno("worker.1", "crashed"),
        ];
        insta::assert_snapshot!(shown(&dynos), @r"
        === web (standard-1x): run it (2)

        web.1: up 2026/01/02 00:00:00 +0000 (v3)
        web.2: starting 2026/01/02 00:00:00 +0000 (v3)

        === worker (standard-1x): run it (1)

        worker.1: crashed 2026/01/02 00:00:00 +0000 (v3)
        ");
    }
}
