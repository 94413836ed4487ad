//! `slugline buildpack-tool`: what buildpacks ask of the server, from inside of a build.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;

use super::language_tool::{self, Language};
use super::print::print;
use super::runtime_tool::{self, RuntimeCommand};
use crate::checkout;
use crate::compile::Report;
use crate::sandbox::TOOL_DIR;
use crate::tool::{self, Answer, Key, RECORDED, Request, SOCKET};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep directories for the app's later builds
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Have a language's runtime
    #[command(subcommand)]
    Runtime(RuntimeCommand),
    /// What the calling buildpack has reported, where a slug is made again; exit code 1 elsewhere
    ///
    /// A buildpack then installs these versions instead of those that are the newest now.
    Recorded {
        #[command(subcommand)]
        what: Option<Recorded>,
    },
    #[command(flatten)]
    Language(Language),
}

#[derive(Debug, Subcommand)]
enum Recorded {
    /// The version of a runtime
    Runtime { name: String },
    /// The text that it has reported as its lock
    Lock,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Keep a directory as it is now under a key, whatever becomes of the build
    Save(CacheArgs),
    /// Make a directory as it was saved under a key; exit code 1 where nothing was
    ///
    /// A large tree is shown as an overlay where the kernel allows it: what is written to it stays
    /// in the build. It is then a mount: it cannot be moved or removed itself, and links and
    /// renames do not cross its border.
    Restore(RestoreArgs),
}

#[derive(Debug, clap::Args)]
struct RestoreArgs {
    #[command(flatten)]
    what: CacheArgs,
    /// Never as an overlay
    #[arg(long)]
    copy: bool,
}

#[derive(Debug, clap::Args)]
struct CacheArgs {
    /// Such as a lockfile's digest; one stack's keys are not another's
    key: Key,
    /// A directory; `restore` makes it, and it must not be there
    path: PathBuf,
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("the server refused: {message}")]
    Refused { message: String },
    #[error("no {name} {version}: {message}")]
    Runtime {
        name: String,
        version: String,
        message: String,
    },
    #[error("the path {} is no directory", path.display())]
    NoDirectory { path: PathBuf },
    #[error("the path {} is there already", path.display())]
    Exists { path: PathBuf },
}

/// Runs the command.
///
/// # Errors
/// There is no build around it, the server refuses, or the directory is none that can be kept or made.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Cache(CacheCommand::Save(args)) => save(args),
        Command::Cache(CacheCommand::Restore(args)) => restore(args),
        Command::Runtime(command) => runtime_tool::run(command),
        Command::Recorded { what } => print_recorded(what.as_ref()),
        Command::Language(language) => language_tool::run(language),
    }
}

pub(super) fn socket() -> PathBuf {
    Path::new(TOOL_DIR).join(SOCKET)
}

/// What the buildpack has reported of the slug that is made again, where one is.
///
/// # Errors
/// It cannot be read.
pub(super) fn recorded() -> Result<Option<Report>> {
    let path = Path::new(TOOL_DIR).join(RECORDED);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| path.display().to_string())?,
    };
    let report = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    Ok(Some(report))
}

fn print_recorded(what: Option<&Recorded>) -> Result<ExitCode> {
    let report = recorded()?;
    let text = match (report, what) {
        (Some(report), None) => Some(serde_json::to_string(&report)? + "\n"),
        (Some(mut report), Some(Recorded::Runtime { name })) => {
            report.runtimes.remove(name).map(|version| version + "\n")
        }
        (Some(report), Some(Recorded::Lock)) => report.lock,
        (None, _) => None,
    };
    let Some(text) = text else {
        return Ok(ExitCode::from(1));
    };
    print(text)?;
    Ok(ExitCode::SUCCESS)
}

fn save(args: &CacheArgs) -> Result<ExitCode> {
    // A link would be saved as what it leads to.
    if !fs::symlink_metadata(&args.path).is_ok_and(|meta| meta.is_dir()) {
        return Err(ToolError::NoDirectory {
            path: args.path.clone(),
        }
        .into());
    }
    let key = args.key.clone();
    let send = |to: &mut dyn Write| checkout::write_archive(&args.path, to, &|_| true);
    match tool::call(&socket(), Request::CacheSave { key }, Some(&send))? {
        Answer::Saved { .. } => Ok(ExitCode::SUCCESS),
        other => Err(refused(other).into()),
    }
}

fn restore(args: &RestoreArgs) -> Result<ExitCode> {
    let RestoreArgs { what, copy } = args;
    let (to, mut made) = (&what.path, Vec::new());
    if let Ok(meta) = fs::symlink_metadata(to) {
        let is_empty = meta.is_dir() && fs::read_dir(to).is_ok_and(|mut all| all.next().is_none());
        if !is_empty {
            return Err(ToolError::Exists { path: to.clone() }.into());
        }
    }
    // What is not needed after all is not left behind.
    for dir in to.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
        if dir.exists() {
            break;
        }
        made.push(dir);
    }
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    let over = fs::canonicalize(to).with_context(|| to.display().to_string())?;
    let over = over.to_str().filter(|_| !copy).map(str::to_owned);
    let key = what.key.clone();
    let from = match tool::call(&socket(), Request::CacheRestore { key, over }, None) {
        Ok(Answer::Found { path }) => PathBuf::from(path),
        Ok(Answer::Laid) => return Ok(ExitCode::SUCCESS),
        other => {
            for dir in made {
                fs::remove_dir(dir).with_context(|| dir.display().to_string())?;
            }
            return match other? {
                Answer::Missing => Ok(ExitCode::from(1)),
                other => Err(refused(other).into()),
            };
        }
    };
    // Under its own name only once it is whole.
    let mut part = to.as_os_str().to_owned();
    part.push(".slugline-part");
    let part = PathBuf::from(part);
    crate::sandbox::remove_tree(&part).with_context(|| part.display().to_string())?;
    copy_tree(&from, &part)?;
    fs::rename(&part, to).with_context(|| to.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn refused(answer: Answer) -> ToolError {
    let message = match answer {
        Answer::Refused { message } => message,
        other => format!("it answered {other:?}"),
    };
    ToolError::Refused { message }
}

/// Copies a tree with its modes and times; where the file system can share blocks, it does.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry.with_context(|| from.display().to_string())?;
        let (source, dest) = (entry.path(), to.join(entry.file_name()));
        let copied = || -> io::Result<()> {
            let meta = entry.metadata()?;
            if meta.is_symlink() {
                return symlink(fs::read_link(&source)?, &dest);
            }
            fs::copy(&source, &dest)?;
            let times = FileTimes::new().set_modified(meta.modified()?);
            File::open(&dest)?.set_times(times)
        };
        if entry.file_type()?.is_dir() {
            copy_tree(&source, &dest)?;
        } else {
            copied().with_context(|| dest.display().to_string())?;
        }
    }
    Ok(())
}
