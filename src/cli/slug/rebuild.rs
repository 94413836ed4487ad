//! `slugline slug verify --rebuild`: the same slug once more, from its source.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::build::{self, Work, beside};
use super::super::print;
use super::{SlugError, buffered};
use crate::pack;
use crate::slug::{Manifest, SlugRecord, UsedBuildpack};

/// Builds a slug's source with the buildpacks of its record and compares what comes out.
///
/// The record names the commit and the buildpacks with their digests; where one of them is another
/// here, that is said instead. Config vars are no part of a record: those that the build has seen
/// must be given again.
pub(super) fn rebuild(
    file: &Path,
    manifest: &Manifest,
    source: &str,
    env: &[String],
) -> Result<()> {
    let path = beside(file, "record.json");
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let record: SlugRecord =
        serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let work = Work::create()?;
    let output = work.path().join("slug.tgz");
    let args = build::Args {
        source: source.to_owned(),
        output: output.clone(),
        json: false,
        buildpack: record
            .buildpacks
            .iter()
            .map(|used| {
                let name = used.pinned.as_ref().unwrap_or(&used.name);
                name.parse().with_context(|| name.clone())
            })
            .collect::<Result<_>>()?,
        build_dir: record.layout.build_dir,
        root: record.layout.root.clone(),
        stack: record.layout.stack.clone(),
        stack_env: record.layout.stack_env.clone(),
        env: env.to_vec(),
        env_file: None,
        cache: None,
        runtimes: record.runtime_trees.clone(),
    };
    let (built, _) = build::build(&args, file)?;
    let got = &built.record;
    if let (Some(expected), Some(got)) = (&record.source.commit, &got.source.commit)
        && expected != got
    {
        return Err(SlugError::OtherSource {
            expected: expected.clone(),
            got: got.clone(),
        }
        .into());
    }
    for (expected, got) in record.buildpacks.iter().zip(&got.buildpacks) {
        if expected.digest != got.digest {
            return Err(SlugError::OtherBuildpack {
                name: expected.name.clone(),
                expected: said(expected),
                got: said(got),
            }
            .into());
        }
    }
    pack::verify(buffered(&output)?, manifest)?;
    Ok(print::print(format!(
        "{} was built again from {source}: every byte is the same\n",
        manifest.summary.digest
    ))?)
}

fn said(buildpack: &UsedBuildpack) -> String {
    buildpack
        .digest
        .map_or_else(|| "no digest".to_owned(), |digest| digest.to_string())
}
