//! `slugline slug`: what a slug's file holds, whether it is what it should be, and how it is made
//! from another one.

mod look;
mod make;
mod rebuild;

use std::fs::File;
use std::io::BufReader;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::digest::Digest;

/// Looks into slugs.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub command: SlugCommand,
}

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum SlugCommand {
    /// Prints the digest, the sizes and the entries of a slug.
    Inspect {
        file: PathBuf,
        /// Print the manifest.
        #[arg(long)]
        json: bool,
    },
    /// Lists the entries of a slug, all or those below a path.
    Ls { file: PathBuf, path: Option<String> },
    /// Prints a file of a slug.
    Cat { file: PathBuf, path: String },
    /// Names what was added (+), removed (-) or changed (~) from one slug to another.
    Diff { from: PathBuf, to: PathBuf },
    /// Checks a slug against its manifest: digest, sizes, members and every entry.
    Verify {
        file: PathBuf,
        /// The manifest; by default FILE.manifest.json.
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
        /// Build it once more from its source, with what FILE.record.json says.
        #[arg(long, value_name = "SOURCE")]
        rebuild: Option<String>,
        /// Set a config var for the rebuild. May be repeated.
        #[arg(long, value_name = "NAME=VALUE", requires = "rebuild")]
        env: Vec<String>,
    },
    /// Packs a directory as it is, without a build; its manifest goes beside it.
    Pack(Pack),
    /// Unpacks a slug into a new or empty directory.
    Extract {
        file: PathBuf,
        dir: PathBuf,
        /// FILE is a delta from this slug.
        #[arg(long, value_name = "FROM")]
        base: Option<PathBuf>,
    },
    /// Writes what makes one slug into another: the members that the first one lacks.
    Delta {
        from: PathBuf,
        to: PathBuf,
        #[arg(long, short, value_name = "FILE", default_value = "slug.delta")]
        output: PathBuf,
    },
    /// Makes the newer slug from the older one and a delta.
    Patch {
        from: PathBuf,
        delta: PathBuf,
        #[arg(long, short, value_name = "FILE", default_value = "slug.tgz")]
        output: PathBuf,
    },
}

/// Read at once of a slug or a manifest.
const READ_BYTES: usize = 256 << 10;

/// Packs a directory.
#[derive(Debug, clap::Args)]
pub struct Pack {
    pub dir: PathBuf,
    #[arg(long, short, value_name = "FILE", default_value = "slug.tgz")]
    pub output: PathBuf,
    /// Copy what did not change from this slug, whose manifest is beside it. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub last: Vec<PathBuf>,
    /// Copy without reading it what has not changed since this file was written, as far as inodes and
    /// times tell; it is written anew, and made where there is none.
    #[arg(long, value_name = "FILE")]
    pub stat_cache: Option<PathBuf>,
    /// Compress in less time, a tenth larger.
    #[arg(long)]
    pub fast: bool,
    /// Threads to compress with; by default all. The slug is the same.
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

/// What a slug is not, or has not.
#[derive(Debug, thiserror::Error)]
pub enum SlugError {
    #[error("there is no {path} in the slug")]
    NoEntry { path: String },
    #[error("{path} is no file")]
    NoFile { path: String },
    #[error("the delta is of {expected}, and the slug is {got}")]
    OtherBase { expected: Digest, got: Digest },
    #[error("the slug was built with {name} of {expected}, which is {got} here")]
    OtherBuildpack {
        name: String,
        expected: String,
        got: String,
    },
    #[error("the slug was built from the commit {expected}, and the source is {got}")]
    OtherSource { expected: String, got: String },
    #[error("the rebuild has other packages than the slug")]
    OtherPackages {
        /// What the slug has (-) and what the rebuild has (+).
        others: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// The file is no slug, or not the one that its manifest describes.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        SlugCommand::Inspect { file, json } => look::inspect(file, *json)?,
        SlugCommand::Ls { file, path } => look::ls(file, path.as_deref())?,
        SlugCommand::Cat { file, path } => look::cat(file, path)?,
        SlugCommand::Diff { from, to } => look::diff(from, to)?,
        SlugCommand::Verify {
            file,
            manifest,
            rebuild,
            env,
        } => {
            let manifest = look::verify(file, manifest.as_deref())?;
            if let Some(source) = rebuild {
                rebuild::rebuild(file, &manifest, source, env)?;
            }
        }
        SlugCommand::Pack(args) => make::pack(args)?,
        SlugCommand::Extract { file, dir, base } => make::extract(file, dir, base.as_deref())?,
        SlugCommand::Delta { from, to, output } => make::delta(from, to, output)?,
        SlugCommand::Patch {
            from,
            delta,
            output,
        } => make::patch(from, delta, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| path.display().to_string())
}

fn buffered(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::with_capacity(READ_BYTES, open(path)?))
}
