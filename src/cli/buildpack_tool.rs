//! `slugline buildpack-tool`: what buildpacks ask of the server, from inside of a build.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

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
    /// Have what another build of this machine has fetched, or hand it over
    #[command(subcommand)]
    Handed(HandedCommand),
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
enum HandedCommand {
    /// Print where it is, which is not to be changed; exit code 1 where nobody has handed it over
    Find {
        /// As a built-in buildpack's handed.toml has it
        name: String,
    },
    /// Hand a directory over, which must have the digest that is listed
    Over { name: String, path: PathBuf },
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
    Save(SaveArgs),
    /// Make a directory as it was saved under a key; exit code 1 where nothing was
    ///
    /// A large tree is shown as an overlay where the kernel allows it: what is written to it stays
    /// in the build. It is then a mount: it cannot be moved or removed itself, and links and
    /// renames do not cross its border.
    Restore(RestoreArgs),
}

#[derive(Debug, clap::Args)]
struct SaveArgs {
    #[command(flatten)]
    what: CacheArgs,
    /// Do not wait until it is kept, nor say why it cannot be
    #[arg(long)]
    later: bool,
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
        Command::Handed(HandedCommand::Find { name }) => find_handed(name),
        Command::Handed(HandedCommand::Over { name, path }) => {
            let name = name.clone();
            send(path, Request::HandOver { name })
        }
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

fn save(args: &SaveArgs) -> Result<ExitCode> {
    let SaveArgs { what: args, later } = args;
    let key = args.key.clone();
    send(&args.path, Request::CacheSave { key, later: *later })
}

fn find_handed(name: &str) -> Result<ExitCode> {
    let name = name.to_owned();
    match tool::call(&socket(), Request::HandedFind { name }, None)? {
        Answer::Found { path } => print(format!("{path}\n"))?,
        Answer::Missing => return Ok(ExitCode::from(1)),
        other => return Err(refused(other).into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends a directory to be kept.
fn send(path: &Path, request: Request) -> Result<ExitCode> {
    // A link would be saved as what it leads to.
    if !fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        return Err(ToolError::NoDirectory {
            path: path.to_owned(),
        }
        .into());
    }
    let send = |to: &mut dyn Write| checkout::write_archive(path, to, &|_| true);
    match tool::call(&socket(), request, Some(&send))? {
        Answer::Saved { .. } | Answer::Taken => Ok(ExitCode::SUCCESS),
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

/// What is to be copied, and to where.
type Copy = (PathBuf, PathBuf);

/// Copies a tree with its modes and times, on all processors: most of it is the kernel's work, a
/// file at a time. Where the file system can share blocks, large files do.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let mut files = Vec::new();
    make_dirs(from, to, &mut files)?;
    let next = AtomicUsize::new(0);
    let copy = || -> Result<()> {
        while let Some((source, dest)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            copy_file(source, dest).with_context(|| dest.display().to_string())?;
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        let started = (1..threads).map(|_| scope.spawn(copy)).collect::<Vec<_>>();
        let mut done = copy();
        for thread in started {
            done = done.and(thread.join().expect("a copying thread does not panic"));
        }
        done
    })
}

/// Makes the directories of a tree and names its files.
fn make_dirs(from: &Path, to: &Path, files: &mut Vec<Copy>) -> Result<()> {
    fs::create_dir(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry.with_context(|| from.display().to_string())?;
        let (source, dest) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            make_dirs(&source, &dest, files)?;
        } else {
            files.push((source, dest));
        }
    }
    Ok(())
}

/// From this size on copying is left to the kernel.
const LARGE_BYTES: u64 = 256 << 10;

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if meta.len() >= LARGE_BYTES {
        fs::copy(from, to)?;
        let times = FileTimes::new().set_modified(meta.modified()?);
        return File::open(to)?.set_times(times);
    }
    let bytes = fs::read(from)?;
    let mut file = File::create_new(to)?;
    file.write_all(&bytes)?;
    // Whatever the mask of new files is.
    file.set_permissions(meta.permissions())?;
    file.set_times(FileTimes::new().set_modified(meta.modified()?))
}
