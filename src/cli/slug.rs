//! `slugline slug`: what a slug's file holds, and whether it is what it should be.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::build::beside;
use crate::output::human_size;
use crate::pack;
use crate::slug::{EntryKind, Manifest};

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
    /// Checks a slug against its manifest: digest, sizes and every entry.
    Verify {
        file: PathBuf,
        /// The manifest; by default FILE.manifest.json.
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
    },
    /// Unpacks a slug into a new or empty directory.
    Extract { file: PathBuf, dir: PathBuf },
}

/// Runs the command.
///
/// # Errors
/// The file is no slug, or not the one that its manifest describes.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        SlugCommand::Inspect { file, json } => inspect(file, *json)?,
        SlugCommand::Verify { file, manifest } => verify(file, manifest.as_deref())?,
        SlugCommand::Extract { file, dir } => extract(file, dir)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::new(File::open(path).with_context(|| path.display().to_string())?))
}

fn inspect(file: &Path, json: bool) -> Result<()> {
    let manifest = pack::manifest_of(open(file)?)?;
    let mut out = io::stdout().lock();
    if json {
        write!(out, "{}", manifest.json())?;
        return Ok(());
    }
    writeln!(out, "digest   {}", manifest.digest)?;
    writeln!(out, "diff id  {}", manifest.diff_id)?;
    writeln!(out, "format   {}", manifest.format)?;
    writeln!(out, "size     {} ({} unpacked)", human_size(manifest.size_bytes), human_size(manifest.tar_bytes))?;
    writeln!(out, "entries  {}", manifest.entries.len())?;
    writeln!(out)?;
    for entry in &manifest.entries {
        match &entry.kind {
            EntryKind::File { mode, size_bytes, .. } => writeln!(out, "{mode} {size_bytes:>10} {}", entry.path)?,
            EntryKind::Directory => writeln!(out, "755          - {}/", entry.path)?,
            EntryKind::Symlink { target } => writeln!(out, "lnk          - {} -> {target}", entry.path)?,
        }
    }
    Ok(())
}

fn verify(file: &Path, manifest: Option<&Path>) -> Result<()> {
    let path = manifest.map_or_else(|| beside(file, "manifest.json"), Path::to_owned);
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let manifest: Manifest = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    pack::verify(open(file)?, &manifest)?;
    writeln!(io::stdout(), "{} is {}: {} entries verified", file.display(), manifest.digest, manifest.entries.len())?;
    Ok(())
}

fn extract(file: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let done = pack::extract(open(file)?, dir)?;
    writeln!(io::stdout(), "{} entries in {}", done.entries, dir.display())?;
    Ok(())
}
