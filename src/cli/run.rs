//! `slugline run`: a process of an app in a one-off dyno of its server, or of a slug on this machine.
//!
//! Here the slug is unpacked at `/app` in a sandbox of its own; `bash --login` loads `.profile.d` and
//! runs the command. Source: facts on Heroku's runtime, §3.4.

mod dyno_client;
mod terminal;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::app_choice::AppOption;
use super::build::{Work, read_config};
use super::client::Client;
use super::environment::{self, Environment};
use super::interrupt::on_interrupt;
use super::outputs::beside;
use super::{machine, print};
use crate::config::ConfigVars;
use crate::digest::{Digest, Hashing};
use crate::dyno::{self, login};
use crate::pack;
use crate::platform::stacks::StackError;
use crate::procfile::Procfile;
use crate::sandbox::{Cancel, Profile, Spec};
use crate::slug::SlugRecord;
use crate::stack::StackName;

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// Runs a process of an app in a one-off dyno, or a slug's file on this machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A slug's file, or a process type of the app.
    #[arg(value_name = "FILE|TYPE")]
    pub first: Option<String>,
    /// The process type of a slug; web if nothing is said.
    #[arg(value_name = "TYPE")]
    pub second: Option<String>,
    /// Run this command instead of a process type.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    #[command(flatten)]
    pub app: AppOption,
    /// Run the app's release on this machine.
    #[arg(long, conflicts_with_all = ["detached", "size", "no_tty"])]
    pub local: bool,
    /// Leave it to itself: print its name, and let its output go to the app's log.
    #[arg(short, long)]
    pub detached: bool,
    /// Run a slug's file on this stack [default: the one that it was built on].
    #[arg(long, value_name = "NAME", conflicts_with_all = ["detached", "size", "no_tty"])]
    pub stack: Option<StackName>,
    /// The dyno's size.
    #[arg(short, long, value_name = "SIZE")]
    pub size: Option<String>,
    /// Use plain pipes, though there is a terminal.
    #[arg(long)]
    pub no_tty: bool,
    /// Set a config var. May be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Read config vars from a file of NAME=VALUE lines.
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
}

impl Args {
    /// A slug's file, where one is named.
    fn file(&self) -> Result<Option<&str>, RunError> {
        let Some(name) = self.first.as_deref() else {
            return Ok(None);
        };
        let is_file = Path::new(name).is_file();
        if (name.contains('/') || name.ends_with("gz")) && !is_file {
            let name = name.to_owned();
            return Err(RunError::NoFile { name });
        }
        Ok((self.app.app.is_none() && is_file).then_some(name))
    }
}

/// What cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("there is no process type {name:?}")]
    NoType { name: String, known: Vec<String> },
    /// What looks like a slug's file and is not there.
    #[error("there is no file {name}")]
    NoFile { name: String },
    #[error("the app {app} has no slug to run")]
    NothingDeployed { app: String },
    #[error("nothing is said that could be run")]
    NoCommand,
}

/// A slug's file and what goes with it.
struct Runnable {
    slug: PathBuf,
    types: BTreeMap<String, String>,
    config: ConfigVars,
    /// What it was built on, where that is known.
    stack: Option<StackName>,
}

/// Runs the command.
///
/// # Errors
/// There is nothing to run, or no sandbox to run it in. The command's own exit code is passed on.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.file()?.is_none() && !args.local {
        return dyno_client::run(args);
    }
    // Signals are blocked before the first thread starts, and unblocked again in the helper.
    let running = Arc::new(Running::default());
    let seen = running.clone();
    on_interrupt(move |_| seen.interrupt())?;
    match start(args, &running) {
        // As a shell has it for what Ctrl-C has ended.
        Err(_) if running.interrupted.is_cancelled() => Ok(ExitCode::from(130)),
        ended => ended,
    }
}

/// What a signal ends.
#[derive(Default)]
struct Running {
    /// The helper's process, once there is one.
    helper: OnceLock<u32>,
    interrupted: Cancel,
}

impl Running {
    fn interrupt(&self) {
        self.interrupted.cancel();
        if let Some(id) = self.helper.get() {
            end(*id);
        }
    }

    /// A reader that ends with the first signal.
    fn read<R: Read>(&self, inner: R) -> Interruptible<'_, R> {
        let interrupted = &self.interrupted;
        Interruptible { inner, interrupted }
    }
}

struct Interruptible<'a, R> {
    inner: R,
    interrupted: &'a Cancel,
}

impl<R: Read> Read for Interruptible<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.interrupted.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        self.inner.read(buf)
    }
}

fn start(args: &Args, running: &Running) -> Result<ExitCode> {
    let work = Work::create()?;
    let sandbox = machine::sandbox();
    sandbox.probe_for_builds(work.path())?;
    let (mut runnable, name) = match args.file()? {
        Some(file) => (from_file(Path::new(file))?, args.second.as_deref()),
        None => (
            from_app(&args.app, work.path(), running)?,
            args.first.as_deref(),
        ),
    };
    for (name, value) in read_config(&args.env, args.env_file.as_deref())?.iter() {
        runnable.config.set(name, value)?;
    }
    let name = name.unwrap_or("web");
    let (command, name) = if args.command.is_empty() {
        let known = || runnable.types.keys().cloned().collect();
        let command = runnable.types.get(name).ok_or_else(|| RunError::NoType {
            name: name.to_owned(),
            known: known(),
        })?;
        (command.clone(), format!("{name}.1"))
    } else {
        (quote(&args.command), "run.1".to_owned())
    };

    let image = match &args.stack {
        Some(name) => {
            let stacks = super::stack::stacks(&Environment::read())?;
            stacks.find(Some(name))?.image.map(|image| image.root)
        }
        None => image(runnable.stack.as_ref())?,
    };
    let root = sandbox.root_on(&work.path().join("root"), image.as_deref())?;
    let slug = File::open(&runnable.slug).with_context(|| runnable.slug.display().to_string())?;
    pack::extract(BufReader::new(running.read(slug)), &root.app())?;
    root.hand_over()?;
    let web = name.starts_with("web.");
    let port = web.then(web_port).transpose()?;
    let term = environment::term().map(|term| ("TERM".to_owned(), term));
    let spec = Spec {
        argv: login(&command),
        env: dyno::environment(&runnable.config, &name, port.as_deref(), term),
        cwd: "/app".to_owned(),
        profile: Profile::Run,
    };
    let launch = sandbox.attach(&root, &spec)?;
    running.helper.get_or_init(|| launch.id());
    if running.interrupted.is_cancelled() {
        end(launch.id());
    }
    let exit = launch.wait()?;
    Ok(ExitCode::from(u8::try_from(exit.code()).unwrap_or(1)))
}

/// The root file system of the stack that a slug was built on, where it was imported here.
fn image(stack: Option<&StackName>) -> Result<Option<PathBuf>> {
    let Some(name) = stack else { return Ok(None) };
    match super::stack::stacks(&Environment::read())?.find(Some(name)) {
        Ok(stack) => Ok(stack.image.map(|image| image.root)),
        Err(StackError::Unknown { known, .. }) => {
            let host = known.into_iter().next().unwrap_or_default();
            print::remark(&format!(
                "It was built on the stack {name}, which is not here; it runs on {host}."
            ));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// SIGTERM to all processes, SIGKILL after the grace, as a dyno manager does.
fn end(helper: u32) {
    let Ok(id) = i32::try_from(helper) else {
        return;
    };
    // An error means that it has ended already.
    let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    thread::spawn(move || {
        thread::sleep(GRACE);
        let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
    });
}

/// The port of a web process: the one that was asked for, else a free one, which is told.
fn web_port() -> Result<String> {
    if let Some(port) = environment::port() {
        return Ok(port);
    }
    let port = free_port()?;
    // Where a person or a program looks for it, and apart from the app's own output.
    print::remark(&format!("PORT={port}: http://127.0.0.1:{port}/"));
    Ok(port)
}

fn free_port() -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener
        .local_addr()
        .context("looking for a free port")?
        .port()
        .to_string())
}

/// Quotes arguments for the shell that runs them; one argument alone is taken as a shell's line.
fn quote(arguments: &[String]) -> String {
    if let [line] = arguments {
        return line.clone();
    }
    let quoted = arguments
        .iter()
        .map(|text| format!("'{}'", text.replace('\'', r"'\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

/// A slug's file: its process types stand in the record beside it, else in its own Procfile.
fn from_file(slug: &Path) -> Result<Runnable> {
    let recorded = fs::read(beside(slug, "record.json")).ok();
    let record = recorded.and_then(|text| serde_json::from_slice::<SlugRecord>(&text).ok());
    let (types, stack) = match record {
        Some(record) if record.digest == digest_of(slug)? => {
            (record.process_types, record.stack.parse().ok())
        }
        _ => (procfile_of(slug)?, None),
    };
    Ok(Runnable {
        slug: slug.to_owned(),
        types,
        config: ConfigVars::default(),
        stack,
    })
}

fn digest_of(slug: &Path) -> Result<Digest> {
    let mut reader = Hashing::new(File::open(slug).with_context(|| slug.display().to_string())?);
    io::copy(&mut reader, &mut io::sink()).with_context(|| slug.display().to_string())?;
    Ok(reader.finish().1)
}

/// The process types of the Procfile inside a slug.
fn procfile_of(slug: &Path) -> Result<BTreeMap<String, String>> {
    let work = Work::create()?;
    let dir = work.path().join("app");
    fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    pack::extract(
        BufReader::new(File::open(slug).with_context(|| slug.display().to_string())?),
        &dir,
    )?;
    let path = dir.join("Procfile");
    // A link could show a file of this machine.
    if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
        return Ok(BTreeMap::new());
    }
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(Procfile::parse(&bytes)?.commands)
}

/// The current release of an app, fetched from its server.
fn from_app(app: &AppOption, work: &Path, running: &Running) -> Result<Runnable> {
    let environment = Environment::read();
    let client = Client::new(&environment)?;
    let app = app.choose(&environment, client.server())?;
    let release = client.get(&format!("/apps/{app}/releases/current"))?;
    let Some(slug_id) = release["slug"]["id"].as_str() else {
        bail!(RunError::NothingDeployed {
            app: app.to_string()
        });
    };
    let version = release["version"].as_u64().unwrap_or_default();
    let config = client.get(&format!("/apps/{app}/releases/{version}/config-vars"))?;
    let slug = client.get(&format!("/apps/{app}/slugs/{slug_id}"))?;
    let path = work.join("slug.tgz");
    let mut file = Hashing::new(File::create(&path).with_context(|| path.display().to_string())?);
    let mut blob = running.read(client.open(text(&slug["blob"]["url"])?)?);
    io::copy(&mut blob, &mut file).context("downloading the slug")?;
    let (_, digest, _) = file.finish();
    let expected = text(&slug["checksum"])?;
    if expected != format!("SHA256:{}", digest.hex()) {
        bail!("the server sent a slug with the digest {digest}, and its checksum is {expected}");
    }
    Ok(Runnable {
        slug: path,
        types: serde_json::from_value(slug["process_types"].clone())
            .context("reading the process types")?,
        config: serde_json::from_value(config).context("reading the config vars")?,
        stack: text(&slug["stack"]["name"])?.parse().ok(),
    })
}

fn text(value: &Value) -> Result<&str> {
    value
        .as_str()
        .context("the server's answer is not of the Platform API's form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_for_the_shell() {
        let quoted = |arguments: &[&str]| {
            quote(
                &arguments
                    .iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(quoted(&["echo $HOME"]), "echo $HOME");
        assert_eq!(
            quoted(&["echo", "it's", "$HOME"]),
            r"'echo' 'it'\''s' '$HOME'"
        );
    }
}
