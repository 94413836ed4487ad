//! What is in a slug.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::outputs::beside;
use super::super::print;
use super::{SlugError, buffered, open};
use crate::output::human_size;
use crate::pack::{self, Cat};
use crate::slug::{self, Change, Entry, EntryKind, Manifest};

pub(super) fn inspect(file: &Path, json: bool) -> Result<()> {
    let manifest = pack::manifest_of(buffered(file)?)?;
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
    lines.extend(manifest.entries.iter().map(line));
    lines.join("\n") + "\n"
}

/// An entry for people.
fn line(entry: &Entry) -> String {
    let Entry { path, kind, .. } = entry;
    match kind {
        EntryKind::File { size_bytes, .. } => format!("{} {size_bytes:>10} {path}", kind.mode()),
        EntryKind::Directory => format!("755          - {path}/"),
        EntryKind::Symlink { target } => format!("link         - {path} -> {target}"),
    }
}

pub(super) fn ls(file: &Path, path: Option<&str>) -> Result<()> {
    let manifest = pack::manifest_of(buffered(file)?)?;
    let wanted = path.map(|path| path.trim_matches('/'));
    let below = |entry: &&Entry| {
        wanted.is_none_or(|wanted| {
            let rest = entry.path.strip_prefix(wanted);
            wanted.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let lines = manifest
        .entries
        .iter()
        .filter(below)
        .map(|entry| line(entry) + "\n")
        .collect::<Vec<_>>();
    if let Some(path) = path
        && lines.is_empty()
    {
        let path = path.to_owned();
        return Err(SlugError::NoEntry { path }.into());
    }
    Ok(print::print(lines.concat())?)
}

pub(super) fn cat(file: &Path, path: &str) -> Result<()> {
    let stdout = io::stdout().lock();
    let wanted = path.trim_start_matches('/').as_bytes();
    let path = path.to_owned();
    match pack::cat(open(file)?, wanted, stdout) {
        Ok(Cat::Written) => Ok(()),
        Ok(Cat::NoFile) => Err(SlugError::NoFile { path }.into()),
        Ok(Cat::Missing) => Err(SlugError::NoEntry { path }.into()),
        Err(pack::Error::WriteSlug(error)) => Err(print::PrintError::from(error).into()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn diff(from: &Path, to: &Path) -> Result<()> {
    let before = pack::manifest_of(buffered(from)?)?;
    let after = pack::manifest_of(buffered(to)?)?;
    let lines = slug::diff(&before, &after).into_iter().map(|change| {
        let size = |entry: &Entry| human_size(entry.kind.size_bytes());
        match change {
            Change::Added(entry) => format!("+ {} ({})\n", entry.path, size(entry)),
            Change::Removed(entry) => format!("- {} ({})\n", entry.path, size(entry)),
            Change::Changed(was, is) => format!("~ {} {}\n", is.path, changed(was, is)),
        }
    });
    Ok(print::print(lines.collect::<String>())?)
}

/// What of an entry changed.
fn changed(was: &Entry, is: &Entry) -> String {
    let (old, new) = (was.kind.size_bytes(), is.kind.size_bytes());
    match (&was.kind, &is.kind) {
        (EntryKind::File { .. }, EntryKind::File { .. }) if new > old => {
            format!(
                "(grown by {} to {})",
                human_size(new - old),
                human_size(new)
            )
        }
        (EntryKind::File { .. }, EntryKind::File { .. }) if new < old => {
            format!(
                "(shrunk by {} to {})",
                human_size(old - new),
                human_size(new)
            )
        }
        (EntryKind::File { .. }, EntryKind::File { .. }) if was.kind.mode() != is.kind.mode() => {
            format!("(mode {} to {})", was.kind.mode(), is.kind.mode())
        }
        (EntryKind::File { .. }, EntryKind::File { .. }) => "(same size)".to_owned(),
        (EntryKind::Symlink { target: old }, EntryKind::Symlink { target: new }) => {
            format!("(link to {old}, now to {new})")
        }
        _ => "(of another type)".to_owned(),
    }
}

/// Checks a slug and gives back what it should be.
pub(super) fn verify(file: &Path, manifest: Option<&Path>) -> Result<Manifest> {
    let path = manifest.map_or_else(|| beside(file, "manifest.json"), Path::to_owned);
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let manifest: Manifest =
        serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    pack::verify(buffered(file)?, &manifest)?;
    print::print(format!(
        "{} is {}: {} entries verified\n",
        file.display(),
        manifest.summary.digest,
        manifest.entries.len()
    ))?;
    Ok(manifest)
}
