//! `slugline apps`: lists, makes, shows and destroys apps; `create` and `destroy` also stand alone.
//!
//! Making an app in a git work tree also adds the remote `slugline` and a credential helper for
//! this server, so that `git push slugline main` works.

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::{Value, json};

use super::app_choice::AppOption;
use super::client::{Client, ClientError, of};
use super::environment::Environment;
use super::git::{self, REMOTE};
use super::print::{self, Step, print, remark};
use super::server_url::ServerUrl;
use super::{answers, table};
use crate::app::{AppName, AppRoot, BuildDir, ObjectFormat};
use crate::output::human_size;

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
    /// List the apps of the server
    List(ListArgs),
    /// Make an app, and a git remote for it
    Create(CreateArgs),
    /// Show an app
    Info(InfoArgs),
    /// Change how an app is built
    Set(SetArgs),
    /// Destroy an app: its code, config vars, builds and releases
    Destroy(DestroyArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The app's name: 2 to 30 of a-z, 0-9 and - [default: a random one]
    name: Option<AppName>,
    /// The hash function of the app's repository, for good [default: sha1]
    #[arg(long, value_name = "sha1|sha256")]
    object_format: Option<ObjectFormat>,
}

#[derive(Debug, clap::Args)]
struct InfoArgs {
    /// The app; the same as --app
    #[arg(conflicts_with = "app")]
    name: Option<AppName>,
    #[command(flatten)]
    app: AppOption,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
struct SetArgs {
    /// The app; the same as --app
    #[arg(conflicts_with = "app")]
    name: Option<AppName>,
    #[command(flatten)]
    app: AppOption,
    /// Where it is built: `app` is /app, where it will run; `separate` is a directory below /tmp,
    /// for buildpacks that insist on an empty /app
    #[arg(long, value_name = "app|separate", group = "change")]
    build_dir: Option<BuildDir>,
    /// The directory of the repository that is the app, such as services/api; `/` for the
    /// repository's root
    #[arg(long, value_name = "DIR", group = "change")]
    root: Option<String>,
    /// The stack that it is built on; `default` for the server's own
    #[arg(long, value_name = "NAME", group = "change")]
    stack: Option<String>,
    /// What buildpacks see as STACK, such as heroku-24 for Heroku's own; `default` for the stack's
    /// name
    #[arg(long, value_name = "NAME", group = "change")]
    stack_env: Option<String>,
    /// Go back to the release before where the web dynos of a deploy crash
    #[arg(long, value_name = "true|false", group = "change", num_args = 0..=1, default_missing_value = "true")]
    rollback_on_crash: Option<bool>,
}

#[derive(Debug, clap::Args)]
pub struct DestroyArgs {
    /// The app
    #[arg(required_unless_present = "app", conflicts_with = "app")]
    name: Option<AppName>,
    /// The app; the same as NAME
    #[arg(short, long, value_name = "NAME")]
    app: Option<AppName>,
    /// The app's name again, instead of a question on the terminal
    #[arg(short, long, value_name = "NAME")]
    confirm: Option<String>,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    match &args.command {
        None => list(&args.list, environment),
        Some(Command::List(args)) => list(args, environment),
        Some(Command::Create(args)) => create(args, environment),
        Some(Command::Info(args)) => info(args, environment),
        Some(Command::Set(args)) => set(args, environment),
        Some(Command::Destroy(args)) => destroy(args, environment),
    }
}

fn list(args: &ListArgs, environment: &Environment) -> Result<ExitCode> {
    let apps = Client::new(environment)?.list("/apps", None, usize::MAX)?;
    if args.json {
        print::json(&Value::from(apps))?;
        return Ok(ExitCode::SUCCESS);
    }
    let apps: Vec<answers::App> = of(&Value::from(apps))?;
    if apps.is_empty() {
        remark("You have no apps. `slugline apps create NAME` makes one.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut names: Vec<[String; 1]> = apps.into_iter().map(|app| [app.name]).collect();
    names.sort();
    print(table::heading("Apps") + &table::columns(&names))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes an app.
pub fn create(args: &CreateArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => random_name()?,
    };
    let mut request = json!({ "name": name });
    if let Some(format) = args.object_format {
        request["object_format"] = format.as_str().into();
    }
    let step = Step::begin(&format!("Creating {name}"));
    let app: answers::App = of(&client.post("/apps", &request)?)?;
    step.done();
    let git_url = client.server().git_url(&name);
    let web_url = app.web_url.map(|url| format!("{url} | "));
    print(format!("{}{git_url}\n", web_url.unwrap_or_default()))?;
    if git::is_in_work_tree() {
        connect_work_tree(&git_url, client.server(), environment)?;
    } else {
        remark(&format!(
            "This is no git work tree. In the app's own: git remote add {REMOTE} {git_url}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Gives the work tree its remote and the server its credential helper.
fn connect_work_tree(git_url: &str, server: &ServerUrl, environment: &Environment) -> Result<()> {
    let remotes = git::remotes();
    match remotes.iter().find(|remote| remote.name == REMOTE) {
        None => {
            git::add_remote(git_url)?;
            remark(&format!("git remote {REMOTE} added"));
        }
        Some(remote) if remote.url == git_url => {}
        Some(remote) => {
            remark(&format!(
                "git remote {REMOTE} already is {}, and is left so. To change it:",
                remote.url
            ));
            remark(&format!("  git remote set-url {REMOTE} {git_url}"));
        }
    }
    let program = std::env::current_exe().context("finding this binary's path")?;
    let helper = git::credential_helper(&program, &environment.as_options());
    git::set_credential_helper(server, &helper)?;
    Ok(())
}

fn info(args: &InfoArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => args.app.choose(environment, client.server())?,
    };
    let document = client.get(&format!("/apps/{name}"))?;
    if args.json {
        print::json(&document)?;
    } else {
        print(shown(&of(&document)?, &client.server().git_url(&name)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn set(args: &SetArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => args.app.choose(environment, client.server())?,
    };
    let mut changes = serde_json::Map::new();
    if let Some(build_dir) = args.build_dir {
        changes.insert("build_dir".to_owned(), build_dir.as_str().into());
    }
    if let Some(root) = &args.root {
        changes.insert("root".to_owned(), root_of(root)?.into());
    }
    for (field, given) in [("build_stack", &args.stack), ("stack_env", &args.stack_env)] {
        if let Some(given) = given {
            let name = (given != "default").then_some(given.as_str());
            changes.insert(field.to_owned(), name.into());
        }
    }
    if let Some(on) = args.rollback_on_crash {
        changes.insert("rollback_on_crash".to_owned(), on.into());
    }
    let names = changes.keys().map(|name| match name.as_str() {
        "build_stack" => "stack".to_owned(),
        name => name.replace('_', " "),
    });
    let names = names.collect::<Vec<_>>().join(" and ");
    let step = Step::begin(&format!("Setting the {names} of {name}"));
    client.patch(&format!("/apps/{name}"), &Value::Object(changes))?;
    step.done();
    remark("The next push uses it: git push slugline main");
    Ok(ExitCode::SUCCESS)
}

/// The API's value: null is the root of the repository.
fn root_of(text: &str) -> Result<Option<String>> {
    if ["/", ".", "./"].contains(&text) {
        return Ok(None);
    }
    Ok(Some(text.parse::<AppRoot>()?.to_string()))
}

fn shown(app: &answers::App, git_url: &str) -> String {
    let size = |bytes: Option<u64>| bytes.map(human_size).unwrap_or_default();
    let (repo_size, slug_size) = (size(app.repo_size), size(app.slug_size));
    let created = table::time(&app.created_at);
    let released = app.released_at.as_deref().map(table::time);
    let separate = app.build_dir.as_deref().filter(|dir| *dir != "app");
    let fields = [
        ("Build Dir", separate.unwrap_or_default()),
        (
            "Buildpacks",
            app.buildpack_provided_description.as_deref().unwrap_or(""),
        ),
        ("Created", &created),
        ("Git URL", git_url),
        ("Owner", &app.owner.email),
        ("Released", released.as_deref().unwrap_or("")),
        ("Repo Size", &repo_size),
        ("Root", app.root.as_deref().unwrap_or("")),
        ("Slug Size", &slug_size),
        ("Stack", &app.stack.name),
        ("Stack Env", app.stack_env.as_deref().unwrap_or("")),
        ("Web URL", app.web_url.as_deref().unwrap_or("")),
    ];
    let known = fields.into_iter().filter(|(_, value)| !value.is_empty());
    table::heading(&app.name) + &table::pairs(known)
}

/// Destroys an app whose name was given twice.
pub fn destroy(args: &DestroyArgs, environment: &Environment) -> Result<ExitCode> {
    let app = args.name.as_ref().or(args.app.as_ref());
    let app = app.ok_or(ClientError::NoApp)?;
    let client = Client::new(environment)?;
    let path = format!("/apps/{app}");
    // An app that does not exist needs no confirmation.
    client.get(&path)?;
    confirm(app, args.confirm.as_deref())?;
    let step = Step::begin(&format!("Destroying {app}"));
    client.delete(&path)?;
    step.done();
    Ok(ExitCode::SUCCESS)
}

fn confirm(app: &AppName, given: Option<&str>) -> Result<()> {
    let answer = match given {
        Some(given) => Some(given.to_owned()),
        None if io::stdin().is_terminal() => Some(ask(app)?),
        None => None,
    };
    if answer.as_deref() == Some(app.as_str()) {
        return Ok(());
    }
    Err(ClientError::NotConfirmed {
        app: app.to_string(),
        got: answer,
    }
    .into())
}

fn ask(app: &AppName) -> Result<String> {
    remark(&format!(
        " !     This destroys {app}: its code, config vars, builds and releases.\n \
         !     To go on, type {app}; or use --confirm {app}."
    ));
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .context("reading the terminal")?;
    Ok(line.trim().to_owned())
}

/// A name such as `calm-river-1234`.
fn random_name() -> Result<AppName> {
    const ADJECTIVES: [&str; 32] = [
        "amber", "ancient", "bold", "brave", "bright", "calm", "clear", "cold", "crisp", "damp",
        "deep", "dry", "dusty", "early", "fair", "gentle", "green", "late", "light", "lively",
        "long", "mild", "misty", "pale", "proud", "quiet", "rapid", "round", "silent", "small",
        "sunny", "young",
    ];
    const NOUNS: [&str; 32] = [
        "bay", "beach", "bird", "breeze", "brook", "canyon", "cliff", "cloud", "coast", "dawn",
        "dune", "field", "flower", "forest", "garden", "glade", "harbor", "hill", "island", "lake",
        "leaf", "meadow", "moon", "peak", "pond", "rain", "river", "shore", "star", "stone",
        "stream", "valley",
    ];
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).context("taking random bytes")?;
    let word = |words: [&'static str; 32], byte: u8| words[usize::from(byte) % words.len()];
    let (adjective, noun) = (word(ADJECTIVES, bytes[0]), word(NOUNS, bytes[1]));
    let number = u16::from_be_bytes([bytes[2], bytes[3]]) % 10_000;
    Ok(format!("{adjective}-{noun}-{number:04}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_names_are_names() {
        for _ in 0..100 {
            random_name().unwrap();
        }
    }

    #[test]
    fn info_shows_what_is_known() {
        let app: answers::App = of(&json!({
            "name": "hello",
            "owner": { "email": "admin" },
            "stack": { "name": "debian-12" },
            "created_at": "2026-01-01T00:00:00Z",
            "released_at": "2026-01-02T00:00:00Z",
            "repo_size": null,
            "slug_size": 36_280_000,
            "web_url": null,
            "acm": false,
        }))
        .unwrap();
        insta::assert_snapshot!(shown(&app, "http://127.0.0.1:7007/hello.git"), @r"
        === hello

        Created:   2026/01/01 00:00:00 +0000
        Git URL:   http://127.0.0.1:7007/hello.git
        Owner:     admin
        Released:  2026/01/02 00:00:00 +0000
        Slug Size: 34.6M
        Stack:     debian-12
        ");
    }

    #[test]
    fn only_the_same_name_confirms() {
        let app: AppName = "hello".parse().unwrap();
        confirm(&app, Some("hello")).unwrap();
        let error = confirm(&app, Some("hallo")).unwrap_err();
        assert!(matches!(
            error.downcast_ref(),
            Some(ClientError::NotConfirmed { got: Some(got), .. }) if got == "hallo"
        ));
    }
}
