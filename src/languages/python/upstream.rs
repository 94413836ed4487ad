//! The list of python-build-standalone's archives, as the package `pbs-installer` of PyPI has it.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::super::Dotted;
use crate::runtime::{Release, Source};

/// The package with the list, and the list's file in it.
pub const RELEASES_PACKAGE: &str = "pbs-installer";
pub const RELEASES_FILE: &str = "pbs_installer/versions.json";

/// The oldest line that is listed.
const OLDEST: (u32, u32) = (3, 10);
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

#[derive(Deserialize)]
struct Listed {
    python_version: Version,
    files: Vec<Archive>,
}

#[derive(Deserialize)]
struct Version {
    implementation: String,
    major: u32,
    minor: u32,
    micro: u32,
    freethreaded: bool,
}

#[derive(Deserialize)]
struct Archive {
    platform: String,
    arch: String,
    install_only: bool,
    filename: String,
    url: String,
    sha256: Option<String>,
}

/// Reads the list; archives without a digest are left out. The newest comes first.
///
/// # Errors
/// It has another form.
pub fn releases(list: &[u8]) -> Result<Vec<Release>> {
    let listed = serde_json::from_slice::<Vec<Listed>>(list).context("reading the list")?;
    let mut releases = Vec::new();
    for Listed {
        python_version: version,
        files,
    } in listed
    {
        let line = (version.major, version.minor);
        if version.implementation != "cpython" || version.freethreaded || line < OLDEST {
            continue;
        }
        let Version {
            major,
            minor,
            micro,
            ..
        } = version;
        for arch in ARCHITECTURES {
            let fits = |file: &&Archive| {
                file.platform == "linux"
                    && file.arch == arch
                    && file.install_only
                    && file.filename.contains("linux-gnu")
                    && file.filename.ends_with(".tar.gz")
            };
            let sources = files.iter().filter(fits).filter_map(|file| {
                Some(Source::Url {
                    url: file.url.clone(),
                    sha256: file.sha256.clone()?,
                })
            });
            let sources = sources.collect::<Vec<_>>();
            if !sources.is_empty() {
                releases.push(Release {
                    version: format!("{major}.{minor}.{micro}"),
                    arch: arch.to_owned(),
                    sources,
                });
            }
        }
    }
    releases.sort_by_key(|release| std::cmp::Reverse(release.version.parse::<Dotted>().ok()));
    Ok(releases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_that_can_be_verified_are_listed() {
        let list = r#"[
            {"python_version": {"implementation": "cpython", "major": 3, "minor": 9, "micro": 1, "freethreaded": false}, "files": []},
            {"python_version": {"implementation": "cpython", "major": 3, "minor": 13, "micro": 2, "freethreaded": false}, "files": [
              {"platform": "linux", "arch": "x86_64", "install_only": true, "filename": "c-x86_64-unknown-linux-gnu-install_only.tar.gz", "url": "https://example.com/a", "sha256": "00"},
              {"platform": "linux", "arch": "x86_64", "install_only": true, "filename": "c-x86_64-unknown-linux-musl-install_only.tar.gz", "url": "https://example.com/b", "sha256": "00"},
              {"platform": "linux", "arch": "aarch64", "install_only": true, "filename": "c-aarch64-unknown-linux-gnu-install_only.tar.gz", "url": "https://example.com/c", "sha256": null}]},
            {"python_version": {"implementation": "pypy", "major": 3, "minor": 11, "micro": 2, "freethreaded": false}, "files": []}
        ]"#;
        let found = releases(list.as_bytes()).unwrap();
        assert_eq!(
            found,
            [Release {
                version: "3.13.2".into(),
                arch: "x86_64".into(),
                sources: vec![Source::Url {
                    url: "https://example.com/a".into(),
                    sha256: "00".into()
                }],
            }]
        );
        assert!(releases(b"{}").is_err());
    }
}
