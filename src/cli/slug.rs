//! `slugline slug`: what a slug's file holds, and whether it is what it should be.

use std::fs::{self, File};
use std::io::BufReader;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::build::beside;
use super::print;
use crate::output::human_size;
use crate::pack::{self, LastSlug};
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
    /// Packs a directory as it is, without a build; its manifest goes beside it.
    Pack {
        dir: PathBuf,
        #[arg(long, short, value_name = "FILE", default_value = "slug.tgz")]
        output: PathBuf,
        /// Copy what did not change from this slug, whose manifest is beside it.
        #[arg(long, value_name = "FILE")]
        last: Option<PathBuf>,
        /// Compress in half the time, a tenth larger.
        #[arg(long)]
        fast: bool,
        /// Threads to compress with; by default all. The slug is the same.
        #[arg(long, value_name = "N")]
        threads: Option<NonZeroUsize>,
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
        SlugCommand::Pack {
            dir,
            output,
            last,
            fast,
            threads,
        } => {
            let last = last.as_deref().map(open_last).transpose()?;
            let defaults = pack::Options::default();
            let options = pack::Options {
                level: if *fast {
                    pack::Level::Fast
                } else {
                    pack::Level::Small
                },
                threads: threads.unwrap_or(defaults.threads),
                last: last.as_ref(),
                ..defaults
            };
            pack(dir, output, &options)?;
        }
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
        human_size(manifest.summary.size_bytes),
        human_size(manifest.summary.tar_bytes)
    );
    let mut lines = vec![
        format!("digest   {}", manifest.summary.digest),
        format!("diff id  {}", manifest.summary.diff_id),
        format!("format   {}", manifest.format),
        format!("size     {sizes}"),
        format!("members  {}", manifest.members.len()),
        format!("entries  {}", manifest.entries.len()),
        String::new(),
    ];
    lines.extend(manifest.entries.iter().map(|entry| match &entry.kind {
        EntryKind::File { size_bytes, .. } => {
            format!("{} {size_bytes:>10} {}", entry.kind.mode(), entry.path)
        }
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
        manifest.summary.digest,
        manifest.entries.len()
    ))?)
}

fn open_last(file: &Path) -> Result<LastSlug> {
    let manifest = beside(file, "manifest.json");
    let manifest = File::open(&manifest).with_context(|| manifest.display().to_string())?;
    let slug = File::open(file).with_context(|| file.display().to_string())?;
    LastSlug::new(BufReader::new(manifest), slug).with_context(|| file.display().to_string())
}

/// By way of other names, so that the last slug may be replaced by the new one.
fn pack(dir: &Path, output: &Path, options: &pack::Options<'_>) -> Result<()> {
    let paths = [output.to_owned(), beside(output, "manifest.json")];
    let new = paths.clone().map(|path| beside(&path, "new"));
    let create = |path: &Path| File::create(path).with_context(|| path.display().to_string());
    let packed = pack::pack_streamed(dir, create(&new[0])?, create(&new[1])?, options)?;
    for skipped in &packed.skipped {
        print::remark(&format!("Left out of the slug: {skipped}"));
    }
    for (new, path) in new.iter().zip(&paths) {
        fs::rename(new, path).with_context(|| path.display().to_string())?;
    }
    Ok(print::print(format!(
        "{}  {}\n",
        packed.summary.digest,
        output.display()
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
