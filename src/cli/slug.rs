//! `slugline slug`: what a slug's file holds, and whether it is what it should be.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::build::beside;
use super::print;
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
    Ok(BufReader::new(
        File::open(path).with_context(|| path.display().to_string())?,
    ))
}

fn inspect(file: &Path, json: bool) -> Result<()> {
    let manifest = pack::manifest_of(open(file)?)?;
    let printed = if json {
        print::print(manifest.json())
    } else {
        print::print(listing(&manifest))
    };
    Ok(printed?)
}

/// The manifest for people.
fn listing(manifest: &Manifest) -> String {
    let sizes = format!(
        "{} ({} unpacked)",
        human_size(manifest.size_bytes),
        human_size(manifest.tar_bytes)
    );
    let mut lines = vec![
        format!("digest   {}", manifest.digest),
        format!("diff id  {}", manifest.diff_id),
        format!("format   {}", manifest.format),
        format!("size     {sizes}"),
        format!("entries  {}", manifest.entries.len()),
        String::new(),
    ];
    lines.extend(manifest.entries.iter().map(|entry| match &entry.kind {
        EntryKind::File {
            mode, size_bytes, ..
        } => format!("{mode} {size_bytes:>10} {}", entry.path),
        EntryKind::Directory => format!("755          - {}/", entry.path),
        EntryKind::Symlink { target } => format!("link         - {} -> {target}", entry.path),
    }));
    lines.join("\n") + "\n"
}

fn verify(file: &Path, manifest: Option<&Path>) -> Result<()> {
    let path = manifest.map_or_else(|| beside(file, "manifest.json"), Path::to_owned);
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let manifest: Manifest =
        serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    pack::verify(open(file)?, &manifest)?;
    Ok(print::print(format!(
        "{} is {}: {} entries verified\n",
        file.display(),
        manifest.digest,
        manifest.entries.len()
    ))?)
}

fn extract(file: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let done = pack::extract(open(file)?, dir)?;
    Ok(print::print(format!(
        "{} entries in {}\n",
        done.entries,
        dir.display()
    ))?)
}
