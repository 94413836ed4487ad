//! Slugs made from directories and from other slugs.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use anyhow::{Context, Result};

use super::super::outputs::{beside, put};
use super::super::print;
use super::{Pack, SlugError, buffered, open};
use crate::digest::{Digest, Hashing};
use crate::output::human_size;
use crate::pack::{self, Level, Options, Patched, Reusable, StatCache};

/// By way of other names, so that the last slug may be replaced by the new one.
pub(super) fn pack(args: &Pack) -> Result<()> {
    let mut reusable = Reusable::default();
    for file in &args.last {
        let manifest = buffered(&beside(file, "manifest.json"))?;
        let added = reusable.add(manifest, open(file)?);
        added.with_context(|| file.display().to_string())?;
    }
    let stat_cache = args.stat_cache.as_deref().and_then(read_stat_cache);
    let options = Options {
        level: if args.fast { Level::Fast } else { Level::Small },
        threads: args.threads,
        reusable: Some(&reusable),
        stat_cache: stat_cache.as_ref(),
        ..Options::default()
    };
    let paths = [args.output.clone(), beside(&args.output, "manifest.json")];
    let new = paths.clone().map(|path| beside(&path, "new"));
    let packed = pack::pack_streamed(&args.dir, create(&new[0])?, create(&new[1])?, &options)?;
    for skipped in &packed.skipped {
        print::remark(&format!("Left out of the slug: {skipped}"));
    }
    for (new, path) in new.iter().zip(&paths) {
        put(new, path).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &args.stat_cache {
        let new = beside(path, "new");
        let written = packed.stat_cache.write(BufWriter::new(create(&new)?));
        let kept = written.and_then(|()| put(&new, path));
        kept.with_context(|| path.display().to_string())?;
    }
    Ok(print::print(format!(
        "{}  {}\n",
        packed.summary.digest,
        args.output.display()
    ))?)
}

/// Nothing is known where there is none, and none of use where it cannot be read.
fn read_stat_cache(path: &Path) -> Option<StatCache> {
    match File::open(path).and_then(StatCache::read) {
        Ok(known) => Some(known),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            print::remark(&format!(
                "{} is not used: {error}; all files are read.",
                path.display()
            ));
            None
        }
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| path.display().to_string())
}

pub(super) fn extract(file: &Path, dir: &Path, base: Option<&Path>) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let done = match base {
        None => pack::extract(buffered(file)?, dir)?,
        Some(base) => pack::extract(patched(base, file)?, dir)?,
    };
    Ok(print::print(format!(
        "{} entries in {}\n",
        done.entries,
        dir.display()
    ))?)
}

pub(super) fn delta(from: &Path, to: &Path, output: &Path) -> Result<()> {
    let before = pack::manifest_of(buffered(from)?)?;
    let after = pack::manifest_of(buffered(to)?)?;
    let mut out = Hashing::new(create(output)?);
    let head = pack::delta(&before, &after, &open(to)?, &mut out)?;
    Ok(print::print(format!(
        "{}  {} ({} of {})\n",
        head.to,
        output.display(),
        human_size(out.seen_bytes()),
        human_size(head.size_bytes)
    ))?)
}

pub(super) fn patch(from: &Path, delta: &Path, output: &Path) -> Result<()> {
    let mut slug = patched(from, delta)?;
    let new = beside(output, "new");
    io::copy(&mut slug, &mut create(&new)?).with_context(|| new.display().to_string())?;
    put(&new, output).with_context(|| output.display().to_string())?;
    Ok(print::print(format!(
        "{}  {}\n",
        slug.head().to,
        output.display()
    ))?)
}

/// Opens a delta and makes sure that it is one from that slug.
fn patched(from: &Path, delta: &Path) -> Result<Patched<BufReader<File>>> {
    let patched = Patched::new(open(from)?, buffered(delta)?)?;
    let got = digest(from)?;
    let expected = patched.head().from;
    if got != expected {
        return Err(SlugError::OtherBase { expected, got }.into());
    }
    Ok(patched)
}

fn digest(path: &Path) -> Result<Digest> {
    let mut file = Hashing::new(open(path)?);
    io::copy(&mut file, &mut io::sink()).with_context(|| path.display().to_string())?;
    Ok(file.digest())
}
