//! `slugline slug verify --rebuild`: the same slug once more, from its source.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::build::{self, Work};
use super::super::outputs::beside;
use super::super::print;
use super::{SlugError, buffered};
use crate::pack;
use crate::slug::{Manifest, Package, SlugRecord, UsedBuildpack};

/// Builds a slug's source with the buildpacks of its record and compares what comes out.
///
/// The record names the commit, the buildpacks and the packages with their digests; buildpacks are
/// given the packages to install the same ones. Where one of them is another here, that is said
/// instead. Config vars are no part of a record: those that the build has seen must be given again.
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
    };
    let (built, _) = build::build(&args, file, Some(&record))?;
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
    let others = other_packages(&record.packages, &got.packages);
    if !others.is_empty() {
        return Err(SlugError::OtherPackages { others }.into());
    }
    pack::verify(buffered(&output)?, manifest)?;
    Ok(print::print(format!(
        "{} was built again from {source}: every byte is the same\n",
        manifest.summary.digest
    ))?)
}

/// What differs between two lists of packages, a line each.
fn other_packages(expected: &[Package], got: &[Package]) -> Vec<String> {
    let said = |package: &Package| match &package.digest {
        Some(digest) => format!("{} {} ({digest})", package.name, package.version),
        None => format!("{} {}", package.name, package.version),
    };
    let named = |list: &[Package]| list.iter().map(said).collect::<BTreeSet<_>>();
    let (expected, got) = (named(expected), named(got));
    let gone = expected.difference(&got).map(|one| format!("- {one}"));
    let new = got.difference(&expected).map(|one| format!("+ {one}"));
    gone.chain(new).collect()
}

fn said(buildpack: &UsedBuildpack) -> String {
    buildpack
        .digest
        .map_or_else(|| "no digest".to_owned(), |digest| digest.to_string())
}
