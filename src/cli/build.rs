//! `slugline build`: the pipeline of a push, with no server and no ledger.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::environment::{self, Environment};
use super::interrupt::on_interrupt;
use super::outputs::{beside, put};
use super::report::exit_code;
use super::{machine, print};
use crate::app::{AppRoot, BuildDir, Layout};
use crate::buildpack::Reference;
use crate::compile;
use crate::config::{ConfigVars, parse_assignment};
use crate::failure::explain;
use crate::output::{Output, human_size};
use crate::pipeline::{self, Built, Source};
use crate::platform::data::RUNTIMES;
use crate::sandbox::{Cancel, Watch, own_mounts, remove_tree};
use crate::slug::SlugRecord;
use crate::stack::StackName;
use crate::store::Store;

/// Builds a slug from a directory, a tarball or a git repository.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory (of a git work tree: its tracked files), a tarball, or a git URL with `#REF`.
    #[arg(value_name = "DIR|TARBALL|GIT_URL[#REF]")]
    pub source: String,
    /// Write the slug here; its manifest and record go beside it.
    #[arg(long, short, value_name = "FILE", default_value = "slug.tgz")]
    pub output: PathBuf,
    /// Print one JSON object, also for a failure.
    #[arg(long)]
    pub json: bool,
    /// Use this buildpack: a built-in one's name, `inline`, a directory, a tarball, a git URL with
    /// `#REF`, or the URL of a `.tgz`. May be repeated.
    #[arg(long, value_name = "REF")]
    pub buildpack: Vec<Reference>,
    /// Build at /app, where the app will run, or in a separate directory below /tmp.
    #[arg(long, value_name = "app|separate", default_value = "app")]
    pub build_dir: BuildDir,
    /// The directory of the source that is the app, such as services/api.
    #[arg(long, value_name = "DIR")]
    pub root: Option<AppRoot>,
    /// Build on this stack, which `slugline stack import` has made [default: this machine's own].
    #[arg(long, value_name = "NAME")]
    pub stack: Option<StackName>,
    /// What buildpacks see as STACK [default: the stack's name].
    #[arg(long, value_name = "NAME")]
    pub stack_env: Option<StackName>,
    /// Set a config var for the build. May be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Read config vars from a file of NAME=VALUE lines.
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Keep the build cache here between builds.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The build's failure; with `--json` it is printed instead, and the exit code says whose fault it is.
pub fn run(args: &Args) -> Result<ExitCode> {
    own_mounts();
    let done = build(args, &args.output, None);
    if !args.json {
        let (built, output) = done?;
        return print_summary(&built, &output).map(|()| ExitCode::SUCCESS);
    }
    let (document, code) = match &done {
        Ok((built, output)) => (summary(built, output), ExitCode::SUCCESS),
        Err(error) => {
            let failure = explain(error);
            let document = json!({ "id": failure.id, "message": failure.message(), "url": null });
            (document, exit_code(failure.blame))
        }
    };
    print::json(&document)?;
    Ok(code)
}

/// Builds, and says where the slug is. What an earlier build has put at `earlier` is no source;
/// `repeated` is the slug that is to be made again, if one is.
pub(super) fn build(
    args: &Args,
    earlier: &Path,
    repeated: Option<&SlugRecord>,
) -> Result<(Built, PathBuf)> {
    let cancel = Cancel::default();
    let cancelled = cancel.clone();
    on_interrupt(move |_| cancelled.cancel())?;
    // Known before the work of a build, not after it.
    let dir = args
        .output
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = dir.filter(|dir| !dir.is_dir()) {
        bail!(OutputError {
            dir: dir.to_owned()
        });
    }
    let settings = machine::settings(None, [])?;
    let config = read_config(&args.env, args.env_file.as_deref())?;
    let work = Work::create()?;
    let runtimes = runtimes_dir(&Environment::read(), work.path());
    let machine = machine::machine(&settings, machine::Whose::Own, &runtimes)?;
    machine.sandbox.probe(work.path())?;
    let store = Store::open(&work.path().join("store"))?;
    let source = find_source(&args.source, earlier, work.path(), &cancel)?;
    // Parts of it are mounted into the build, which is no matter of the current directory.
    let cache = args.cache.as_deref().map(std::path::absolute);
    let cache = cache.transpose().context("finding the cache")?;
    let scratch = work.path().join("build");
    fs::create_dir(&scratch).with_context(|| scratch.display().to_string())?;
    let job = pipeline::Build {
        source: source.source(),
        stack: super::stack::stacks(&Environment::read())?.find(args.stack.as_ref())?,
        version: None,
        buildpacks: args.buildpack.clone(),
        read_declared: true,
        layout: Layout {
            build_dir: args.build_dir,
            root: args.root.clone(),
            stack: args.stack.clone(),
            stack_env: args.stack_env.clone(),
        },
        fetched: None,
        config: &config,
        cache: cache.as_deref(),
        // Where a build is repeated, what it wrote before.
        last: Some(pipeline::Last {
            slug: args.output.clone(),
            manifest: beside(&args.output, "manifest.json"),
            manifest_digest: None,
        }),
        others: Vec::new(),
        repeated,
        scratch: &scratch,
    };
    let watch = Watch {
        deadline: Some(Instant::now() + settings.build_timeout),
        cancel,
    };
    let mut stderr = io::stderr();
    let built = pipeline::build(job, &machine, &store, &watch, &mut Output::new(&mut stderr))?;
    let output = deliver(&built, &store, &args.output)?;
    Ok((built, output))
}

/// Where language runtimes are kept: in the data directory, where that can be made; else they are
/// had anew for each build.
fn runtimes_dir(environment: &Environment, work: &Path) -> PathBuf {
    let kept = environment.data_dir().ok().map(|dir| dir.join(RUNTIMES));
    let kept = kept.filter(|dir| fs::create_dir_all(dir).is_ok());
    kept.unwrap_or_else(|| work.join(RUNTIMES))
}

/// The directory of this command, removed at its end.
pub(super) struct Work(PathBuf);

impl Work {
    pub(super) fn create() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("slugline-")
            .tempdir()
            .context("making a temporary directory")?;
        Ok(Self(dir.keep()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.0) {
            // The build itself is unaffected.
            print::remark(&format!("{} stays behind: {error}", self.0.display()));
        }
    }
}

/// A source that was found, with what must outlive the build.
enum Found {
    Directory {
        dir: PathBuf,
        /// Outputs of earlier builds in it.
        except: Vec<PathBuf>,
    },
    Archive(File),
    Repository {
        dir: PathBuf,
        commit: gix::ObjectId,
    },
}

impl Found {
    fn source(&self) -> Source<'_> {
        match self {
            Self::Directory { dir, except } => Source::Directory { dir, except },
            Self::Archive(file) => Source::Archive(Box::new(file)),
            Self::Repository { dir, commit } => Source::Commit {
                repository: dir,
                quarantine: None,
                commit: *commit,
            },
        }
    }
}

fn find_source(text: &str, earlier: &Path, work: &Path, cancel: &Cancel) -> Result<Found> {
    let path = Path::new(text);
    if path.is_dir() {
        let dir = fs::canonicalize(path).with_context(|| text.to_owned())?;
        let except = outputs(earlier, &dir);
        return Ok(Found::Directory { dir, except });
    }
    if path.is_file() {
        return Ok(Found::Archive(
            File::open(path).with_context(|| text.to_owned())?,
        ));
    }
    let (url, reference) = text.split_once('#').unwrap_or((text, "HEAD"));
    let is_url = ["https://", "http://", "ssh://", "git://", "file://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
        || url
            .split_once(':')
            .is_some_and(|(host, _)| host.contains('@') && !host.contains('/'));
    if !is_url || reference.starts_with('-') || reference.is_empty() {
        bail!(SourceError {
            text: text.to_owned()
        });
    }
    clone(url, reference, &work.join("clone.git"), cancel)
}

/// What was named is nothing that can be built.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is neither a directory, nor a tarball, nor a git URL")]
pub struct SourceError {
    pub text: String,
}

/// There is no directory to write the slug into.
#[derive(Debug, thiserror::Error)]
#[error("there is no directory {}", dir.display())]
pub struct OutputError {
    pub dir: PathBuf,
}

/// A `git` command that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("git could not fetch {reference} from {url}")]
pub struct CloneError {
    pub url: String,
    pub reference: String,
}

fn clone(url: &str, reference: &str, dir: &Path, cancel: &Cancel) -> Result<Found> {
    let git = environment::git()?;
    let run = |arguments: &[&str]| -> Result<bool> {
        let mut command = Command::new(&git);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(io::stderr());
        let mut child = command.spawn().context("running git")?;
        loop {
            if let Some(status) = child.try_wait().context("running git")? {
                return Ok(status.success());
            }
            if cancel.is_cancelled() {
                // An error means that it has ended already.
                let _ = child.kill();
                let _ = child.wait();
                bail!(compile::Error::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let dir_text = dir
        .to_str()
        .context("the temporary directory's name is no text")?;
    let fetched = run(&["init", "--quiet", "--bare", "--", dir_text])?
        // A commit's id may not be asked for everywhere: then all branches are fetched.
        && (run(&["-C", dir_text, "fetch", "--quiet", "--depth=1", "--no-tags", "--", url, &format!("{reference}:refs/heads/build")])?
            || run(&["-C", dir_text, "fetch", "--quiet", "--", url, "refs/heads/*:refs/remotes/origin/*", "refs/tags/*:refs/tags/*"])?);
    let error = || CloneError {
        url: url.to_owned(),
        reference: reference.to_owned(),
    };
    if !fetched {
        bail!(error());
    }
    for name in ["refs/heads/build", reference] {
        let output = Command::new(&git)
            .args([
                "-C",
                dir_text,
                "rev-parse",
                "--quiet",
                "--verify",
                "--end-of-options",
            ])
            .arg(format!("{name}^{{commit}}"))
            .output()
            .context("running git rev-parse")?;
        if output.status.success() {
            let commit = gix::ObjectId::from_hex(output.stdout.trim_ascii())
                .context("reading git's answer")?;
            return Ok(Found::Repository {
                dir: dir.to_owned(),
                commit,
            });
        }
    }
    bail!(error())
}

/// Config vars of the command line: a file's lines, then single assignments.
pub(super) fn read_config(assignments: &[String], file: Option<&Path>) -> Result<ConfigVars> {
    let mut config = ConfigVars::default();
    if let Some(path) = file {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            let (name, value) =
                parse_assignment(line).with_context(|| path.display().to_string())?;
            config.set(name, value)?;
        }
    }
    for assignment in assignments {
        let (name, value) = parse_assignment(assignment)?;
        config.set(name, value)?;
    }
    Ok(config)
}

/// Puts the slug where it was asked for, with its manifest and record beside it.
fn deliver(built: &Built, store: &Store, output: &Path) -> Result<PathBuf> {
    let blob = store.path_of(&built.record.digest);
    let new = beside(output, "new");
    fs::copy(&blob, &new).with_context(|| new.display().to_string())?;
    let manifest = beside(output, "manifest.json");
    fs::copy(store.path_of(&built.record.manifest), &manifest)
        .with_context(|| manifest.display().to_string())?;
    make_readable(&manifest)?;
    let record = serde_json::to_string_pretty(&built.record)? + "\n";
    fs::write(beside(output, "record.json"), record)
        .with_context(|| output.display().to_string())?;
    make_readable(&new)?;
    put(&new, output).with_context(|| output.display().to_string())?;
    fs::canonicalize(output).with_context(|| output.display().to_string())
}

/// The files that a build to `output` has left in a directory, by their whole paths.
fn outputs(output: &Path, dir: &Path) -> Vec<PathBuf> {
    let beside = ["manifest.json", "record.json", "new"].map(|suffix| beside(output, suffix));
    let files = beside.iter().map(PathBuf::as_path).chain([output]);
    // What is not there is nobody's source.
    files
        .filter_map(|file| fs::canonicalize(file).ok())
        .filter(|file| file.starts_with(dir))
        .collect()
}

/// A blob of a store is closed to others; a file that a person asked for is like any other.
fn make_readable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        .with_context(|| path.display().to_string())
}

fn summary(built: &Built, output: &Path) -> Value {
    let record = &built.record;
    let timings = built
        .timings
        .iter()
        .map(|(name, time)| ((*name).to_owned(), json!(millis(*time))))
        .collect::<serde_json::Map<_, _>>();
    json!({
        "digest": record.digest,
        "size_bytes": record.size_bytes,
        "process_types": record.process_types,
        "buildpacks": record.buildpacks,
        "network": built.contacts,
        "timings_ms": timings,
        "path": output,
        "manifest": record.manifest,
        "stack": record.stack,
        "source": record.source,
    })
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn print_summary(built: &Built, output: &Path) -> Result<()> {
    let (record, shown) = (&built.record, output.display());
    if !io::stdout().is_terminal() {
        // For scripts: the digest and where it is.
        return Ok(print::print(format!("{}  {shown}\n", record.digest))?);
    }
    let what = record
        .process_types
        .keys()
        .next()
        .map_or("-- COMMAND", String::as_str);
    let size = human_size(record.size_bytes);
    Ok(print::print(format!(
        "\n{}\n{shown} ({size})\nRun it with: slugline run {shown} {what}\n",
        record.digest
    ))?)
}
