//! `slugline builds`: lists an app's builds, follows their output, cancels them, purges the cache.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use serde_json::Value;

use super::answers::{Build, Id};
use super::app_choice::AppOption;
use super::client::{Client, ClientError, of, segment};
use super::environment::Environment;
use super::print::{self, Step, print};
use super::table;
use crate::app::AppName;
use crate::output::human_size;
use crate::sandbox::Contact;

/// As many as `slugline releases` shows.
const SHOWN: usize = 15;

/// Characters of a commit that are shown.
const COMMIT_CHARS: usize = 8;

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
    /// List the newest builds
    List(ListArgs),
    /// Show a build and the hosts that it has asked for
    Info(InfoArgs),
    /// Print a build's output, to its end; exit code 1 if the build failed
    Output(OutputArgs),
    /// Cancel a build that is under way
    Cancel(CancelArgs),
    /// Look after the cache that an app's builds share
    #[command(subcommand)]
    Cache(CacheCommand),
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Empty the cache: the next build starts from nothing
    Purge(PurgeArgs),
}

#[derive(Debug, clap::Args)]
struct PurgeArgs {
    #[command(flatten)]
    app: AppOption,
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
    /// The build [default: the newest]
    id: Option<String>,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct OutputArgs {
    /// The build [default: the newest]
    id: Option<String>,
    #[command(flatten)]
    app: AppOption,
}

#[derive(Debug, clap::Args)]
struct CancelArgs {
    /// The build
    id: String,
    #[command(flatten)]
    app: AppOption,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    match &args.command {
        None => list(&args.list, environment),
        Some(Command::List(args)) => list(args, environment),
        Some(Command::Info(args)) => info(args, environment),
        Some(Command::Output(args)) => output(args, environment),
        Some(Command::Cancel(args)) => cancel(args, environment),
        Some(Command::Cache(CacheCommand::Purge(args))) => purge(args, environment),
    }
}

fn list(args: &ListArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let documents = newest(&client, &app, args.num)?;
    if args.json {
        print::json(&Value::from(documents))?;
    } else {
        print(shown(&app, &of::<Vec<Build>>(&documents.into())?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn output(args: &OutputArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let build: Build = of(&named_or_newest(&client, &app, args.id.as_deref())?)?;
    follow(&client, &build.output_stream_url)?;
    match ended(&client, &app, &build.id)?.status.as_str() {
        "succeeded" => Ok(ExitCode::SUCCESS),
        // The output has said why.
        _ => Ok(ExitCode::from(1)),
    }
}

fn info(args: &InfoArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let id: Id = of(&named_or_newest(&client, &app, args.id.as_deref())?)?;
    let document = client.get(&path(&app, &id.id))?;
    if args.json {
        print::json(&document)?;
    } else {
        print(described(&of(&document)?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn named_or_newest(client: &Client, app: &AppName, id: Option<&str>) -> Result<Value, ClientError> {
    match id {
        Some(id) => client.get(&path(app, id)),
        None => newest(client, app, 1)?
            .pop()
            .ok_or_else(|| ClientError::NoBuild {
                app: app.to_string(),
            }),
    }
}

fn described(build: &Build) -> String {
    let version = build.source_blob.version.as_deref().unwrap_or_default();
    let created = table::time(&build.created_at);
    let pairs = table::pairs([
        ("Status", status(build)),
        ("Version", version),
        ("By", &build.user.email),
        ("Created", &created),
    ]);
    let heading = table::heading(&format!("Build {}", build.id));
    if build.network.is_empty() {
        return heading + &pairs + "\nIt asked the proxy for no host.\n";
    }
    let row = |contact: &Contact| {
        let outcome = contact.refused.as_ref().map_or_else(
            || match contact.connections {
                1 => "1 connection".to_owned(),
                count => format!("{count} connections"),
            },
            |reason| format!("refused: {reason}"),
        );
        let bytes = |word: &str, bytes| format!("{word} {}", human_size(bytes));
        [
            format!("{}:{}", contact.host, contact.port),
            bytes("sent", contact.sent_bytes),
            bytes("received", contact.received_bytes),
            outcome,
        ]
    };
    let rows = build.network.iter().map(row).collect::<Vec<_>>();
    heading + &pairs + "\n" + &table::heading("Network") + &table::columns(&rows)
}

fn status(build: &Build) -> &str {
    if build.cancelled {
        "cancelled"
    } else {
        &build.status
    }
}

fn cancel(args: &CancelArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let step = Step::begin(&format!("Cancelling build {} on {app}", args.id));
    client.delete(&path(&app, &args.id))?;
    step.done();
    Ok(ExitCode::SUCCESS)
}

fn purge(args: &PurgeArgs, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let step = Step::begin(&format!("Purging the build cache of {app}"));
    client.delete(&format!("/apps/{app}/build-cache"))?;
    step.done();
    Ok(ExitCode::SUCCESS)
}

fn path(app: &AppName, id: &str) -> String {
    format!("/apps/{app}/builds/{}", segment(id))
}

/// The `count` newest builds, newest first.
fn newest(client: &Client, app: &AppName, count: usize) -> Result<Vec<Value>, ClientError> {
    let mut documents = client.list(&format!("/apps/{app}/builds"), None, usize::MAX)?;
    let created_at = |document: &Value| document["created_at"].as_str().map(str::to_owned);
    // The server lists the oldest first, and times are to the second: of equal ones the last counts.
    documents.reverse();
    documents.sort_by_key(|document| std::cmp::Reverse(created_at(document)));
    documents.truncate(count);
    Ok(documents)
}

/// Passes a stream on to stdout as it comes.
fn follow(client: &Client, url: &str) -> Result<()> {
    let mut stream = client.open(url)?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(source) => {
                return Err(ClientError::Interrupted {
                    url: client.server().to_string(),
                    source,
                }
                .into());
            }
        };
        print(&buffer[..n])?;
    }
}

/// The build once it has ended. Its output may end a moment before it.
fn ended(client: &Client, app: &AppName, id: &str) -> Result<Build> {
    const TRIES: usize = 20;
    const PAUSE: Duration = Duration::from_millis(100);
    for _ in 0..TRIES {
        let build: Build = of(&client.get(&path(app, id))?)?;
        if build.status != "pending" {
            return Ok(build);
        }
        std::thread::sleep(PAUSE);
    }
    Err(ClientError::Interrupted {
        url: client.server().to_string(),
        source: std::io::Error::other("the output ended, and the build is still under way"),
    }
    .into())
}

fn shown(app: &AppName, builds: &[Build]) -> String {
    if builds.is_empty() {
        return format!("{app} has no builds.\n");
    }
    let rows: Vec<_> = builds.iter().map(row).collect();
    table::heading(&format!("{app} Builds")) + &table::columns(&rows)
}

fn row(build: &Build) -> [String; 5] {
    let version = build.source_blob.version.as_deref().unwrap_or_default();
    let is_commit = version.len() >= 40 && version.bytes().all(|b| b.is_ascii_hexdigit());
    let version = if is_commit {
        &version[..COMMIT_CHARS]
    } else {
        version
    };
    [
        build.id.clone(),
        status(build).to_owned(),
        version.to_owned(),
        build.user.email.clone(),
        table::time(&build.created_at),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn build(id: &str, status: &str, version: &str) -> Value {
        json!({
            "id": id,
            "status": status,
            "source_blob": { "version": version },
            "output_stream_url": "http://127.0.0.1:7007/builds/x/output",
            "user": { "email": "laptop" },
            "created_at": "2026-01-02T00:00:00Z",
        })
    }

    #[test]
    fn one_with_its_contacts() {
        let mut failed = build("4", "failed", "v2");
        let contact = |host: &str, port: u16, connections: u64, refused: Value| {
            json!({
                "host": host, "port": port, "connections": connections,
                "sent_bytes": 800, "received_bytes": 3_000_000, "refused": refused,
            })
        };
        let refused = "169.254.169.254 is a link-local address";
        failed["network"] = json!([
            contact("packages.example", 443, 3, Value::Null),
            contact("169.254.169.254", 80, 0, refused.into()),
        ]);
        insta::assert_snapshot!(described(&of(&failed).unwrap()), @r"
        === Build 4

        Status:  failed
        Version: v2
        By:      laptop
        Created: 2026/01/02 00:00:00 +0000

        === Network

        packages.example:443  sent 1K  received 2.9M  3 connections
        169.254.169.254:80    sent 1K  received 2.9M  refused: 169.254.169.254 is a link-local address
        ");
        let quiet = described(&of(&build("5", "succeeded", "v2")).unwrap());
        assert!(
            quiet.ends_with("It asked the proxy for no host.\n"),
            "{quiet}"
        );
    }

    #[test]
    fn the_list() {
        let mut cancelled = build("3", "failed", "");
        cancelled["cancelled"] = true.into();
        let builds = json!([
            cancelled,
            build("22", "pending", "v1.0"),
            build("1", "succeeded", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
        ]);
        let text = shown(
            &"hello".parse().unwrap(),
            &of::<Vec<Build>>(&builds).unwrap(),
        );
        insta::assert_snapshot!(text, @r"
        === hello Builds

        3   cancelled            laptop  2026/01/02 00:00:00 +0000
        22  pending    v1.0      laptop  2026/01/02 00:00:00 +0000
        1   succeeded  4b825dc6  laptop  2026/01/02 00:00:00 +0000
        ");
    }
}
