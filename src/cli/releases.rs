//! `slugline releases`: lists and shows the releases of an app.

use std::io::{self, Read};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::{Value, json};

use super::answers::Release;
use super::app_choice::AppOption;
use super::client::{Client, ClientError, of};
use super::environment::Environment;
use super::print::{self, print, remark};
use super::table;
use crate::app::AppName;
use crate::release::Version;

/// As many as Heroku's CLI shows.
const SHOWN: usize = 15;

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
    /// List the newest releases
    List(ListArgs),
    /// Show a release
    Info(InfoArgs),
    /// Show what a release's command says or has said
    Output(OutputArgs),
    /// Release a slug of the app again, or for the first time
    Create(CreateArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// How many to list
    #[arg(short, long, value_name = "COUNT", default_value_t = SHOWN)]
    num: usize,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct InfoArgs {
    /// The release, such as v12 [default: the newest]
    #[arg(value_name = "RELEASE")]
    release: Option<Version>,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct OutputArgs {
    /// The release, such as v12 [default: the newest]
    #[arg(value_name = "RELEASE")]
    release: Option<Version>,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// The slug's id, as `slugline releases info --json` and builds show it
    #[arg(long, value_name = "ID")]
    slug: String,
    /// What the release is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    app: AppOption,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    match &args.command {
        None => list(&args.list, environment),
        Some(Command::List(args)) => list(args, environment),
        Some(Command::Info(args)) => info(args, environment),
        Some(Command::Output(args)) => output(args, environment),
        Some(Command::Create(args)) => create(args, environment),
    }
}

fn list(args: &ListArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let documents = newest_documents(&client, &app, args.num)?;
    if args.json {
        print::json(&Value::from(documents))?;
    } else {
        print(shown_list(&app, &of::<Vec<Release>>(&documents.into())?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn info(args: &InfoArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let document = named_or_newest(&client, &app, args.release)?;
    if args.json {
        print::json(&document)?;
    } else {
        print(shown(&of(&document)?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn named_or_newest(client: &Client, app: &AppName, release: Option<Version>) -> Result<Value> {
    Ok(match release {
        Some(Version(number)) => client.get(&format!("/apps/{app}/releases/{number}"))?,
        None => newest_documents(client, app, 1)?.pop().unwrap_or_default(),
    })
}

fn output(args: &OutputArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let release = named_or_newest(&client, &app, args.release)?;
    let Some(url) = release["output_stream_url"].as_str() else {
        let version = &release["version"];
        remark(&format!("The release v{version} has no release command."));
        return Ok(ExitCode::SUCCESS);
    };
    let mut output = client.open(url)?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return Ok(ExitCode::SUCCESS),
            Ok(count) => print(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("reading the output"),
        }
    }
}

fn create(args: &CreateArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let mut body = json!({ "slug": args.slug });
    if let Some(description) = &args.description {
        body["description"] = description.as_str().into();
    }
    let document = client.post(&format!("/apps/{app}/releases"), &body)?;
    if args.json {
        print::json(&document)?;
    } else {
        print(shown(&of(&document)?))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest release; each app has one from its beginning.
pub fn newest(client: &Client, app: &AppName) -> Result<Option<Release>, ClientError> {
    Ok(newest_of(client, app, 1)?.pop())
}

/// The `count` newest releases, newest first.
pub fn newest_of(
    client: &Client,
    app: &AppName,
    count: usize,
) -> Result<Vec<Release>, ClientError> {
    of(&newest_documents(client, app, count)?.into())
}

fn newest_documents(
    client: &Client,
    app: &AppName,
    count: usize,
) -> Result<Vec<Value>, ClientError> {
    // Source: the Platform API, "Ranges": a page has at most 1000 elements.
    let range = format!("version ..; order=desc, max={}", count.clamp(1, 1000));
    let path = format!("/apps/{app}/releases");
    let mut documents = client.list(&path, Some(&range), count)?;
    // A server that does not know ranges gives all, oldest first.
    let version = |document: &Value| document["version"].as_u64();
    documents.sort_by_key(|document| std::cmp::Reverse(version(document)));
    documents.truncate(count);
    Ok(documents)
}

fn shown_list(app: &AppName, releases: &[Release]) -> String {
    if releases.is_empty() {
        return format!("{app} has no releases.\n");
    }
    let current = releases.iter().find(|release| release.current);
    let current = current.map(|release| format!(" - Current: v{}", release.version));
    let heading = format!("{app} Releases{}", current.unwrap_or_default());
    let rows: Vec<_> = releases.iter().map(row).collect();
    table::heading(&heading) + &table::columns(&rows)
}

fn row(release: &Release) -> [String; 5] {
    let status = match release.status.as_str() {
        "succeeded" => "",
        status => status,
    };
    [
        format!("v{}", release.version),
        release.description.clone(),
        status.to_owned(),
        release.user.email.clone(),
        table::time(&release.created_at),
    ]
}

fn shown(release: &Release) -> String {
    let current = if release.current { ", current" } else { "" };
    let status = format!("{}{current}", release.status);
    let when = table::time(&release.created_at);
    let slug = release.slug.as_ref().map_or("none", |slug| &slug.id);
    let pairs = [
        ("By", &*release.user.email),
        ("Change", &release.description),
        ("Slug", slug),
        ("Status", &status),
        ("When", &when),
    ];
    table::heading(&format!("Release v{}", release.version)) + &table::pairs(pairs)
}

#[cfg(test)]
mod tests {
    use super::super::testing::release;
    use super::*;

    #[test]
    fn the_list_is_heroku_s() {
        let mut failed = release(3, true);
        failed.status = "failed".into();
        failed.current = false;
        failed.description = "Deploy 4b825dc6".into();
        let mut current = release(2, true);
        current.current = true;
        let releases = [failed, current, release(1, false)];
        insta::assert_snapshot!(shown_list(&"hello".parse().unwrap(), &releases), @r"
        === hello Releases - Current: v2

        v3  Deploy 4b825dc6  failed  laptop  2026/01/02 00:00:00 +0000
        v2  Change 2                 laptop  2026/01/02 00:00:00 +0000
        v1  Change 1                 laptop  2026/01/02 00:00:00 +0000
        ");
    }

    #[test]
    fn one_release() {
        let mut current = release(2, true);
        current.current = true;
        insta::assert_snapshot!(shown(&current), @r"
        === Release v2

        By:     laptop
        Change: Change 2
        Slug:   slug-2
        Status: succeeded, current
        When:   2026/01/02 00:00:00 +0000
        ");
    }
}
