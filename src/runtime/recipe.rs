//! How a runtime is had, as the file beside its buildpack says it, and the releases there are.
//!
//! Two TOML files: `NAME.toml`, written by people, tells what a tree of the runtime has, where this
//! machine may have one, and when lines end; `NAME.releases.toml`, written by `slugline runtime
//! update`, lists versions with their sources. `{line}` stands for the first numbers of a version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Error;

/// What people write of a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// As buildpacks ask for it, and as its files are called.
    pub name: String,
    /// As people read it.
    pub title: String,
    /// How many numbers of a version make a line: two of `3.13.0`, one of `22.23.3`.
    pub line_numbers: usize,
    /// What a tree has of what was unpacked or found: files and directories below its prefix, `*`
    /// for anything within a name.
    pub keep: Vec<String>,
    /// What it has not of these; a path without a `/` is one anywhere.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Symlinks that are made where they are not there.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// A file that a whole tree has. Where it lacks, a package is laid into the directory above it.
    #[serde(default)]
    pub completion: Option<Completion>,
    /// A command that is run in a new tree, in a sandbox, before it is kept.
    #[serde(default)]
    pub prepare: Vec<String>,
    pub host: Host,
    /// By line.
    #[serde(default)]
    pub lines: BTreeMap<String, Line>,
}

/// What a tree may lack.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// A file of a tree that needs none.
    pub file: String,
    /// The directory that the line's `completed_by` is laid into.
    pub into: String,
}

/// Where this machine may have the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Paths of the program; `{line}` stands for numbers and dots, `*` for a directory's name, `~`
    /// for the server's home.
    pub programs: Vec<String>,
    /// The program's arguments that have it print its version, with or without a `v`.
    pub version: Vec<String>,
}

/// What holds for a whole line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The day from which its makers mend nothing more, such as `2026-10-31`.
    #[serde(default)]
    pub end_of_life: Option<String>,
    #[serde(default)]
    pub completed_by: Option<Source>,
}

/// One release for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub version: String,
    /// As `uname -m` says it.
    pub arch: String,
    /// In the order in which they are tried.
    pub sources: Vec<Source>,
}

/// Where an archive comes from, and what it is: each source's has a digest of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// A gzipped tar by http, https or `file://`, whose one top directory is the prefix.
    Url {
        url: String,
        /// 64 hex digits.
        sha256: String,
    },
    /// A package of npm, `NAME@VERSION`, whose directory is the prefix.
    Npm {
        npm: String,
        /// In npm's words, of the packed package: `sha512-` and base64.
        integrity: String,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Releases {
    #[serde(default, rename = "release")]
    releases: Vec<Release>,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// Whoever wrote it: [`Error::Recipe`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| Error::Recipe {
            reason: error.to_string(),
        })
    }

    /// The line of a version: `3.13` of `3.13.0`.
    pub fn line_of(&self, version: &str) -> String {
        let numbers = version.split('.').take(self.line_numbers);
        numbers.collect::<Vec<_>>().join(".")
    }

    /// What is known of a version's line.
    pub fn line(&self, version: &str) -> Option<&Line> {
        self.lines.get(&self.line_of(version))
    }

    /// `{line}` in a text filled in.
    pub fn filled(&self, text: &str, version: &str) -> String {
        text.replace("{line}", &self.line_of(version))
    }
}

/// Reads a list of releases.
///
/// # Errors
/// Whoever wrote it: [`Error::Recipe`].
pub fn parse_releases(text: &str) -> Result<Vec<Release>, Error> {
    let read = toml::from_str::<Releases>(text).map_err(|error| Error::Recipe {
        reason: error.to_string(),
    })?;
    Ok(read.releases)
}

/// Writes a list of releases, a few lines each, the newest first as they come.
pub fn write_releases(releases: &[Release]) -> String {
    use std::fmt::Write as _;

    let mut text = String::from("# Written by `slugline runtime update`.\n");
    // Quoted as TOML and JSON do alike.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    for release in releases {
        let (version, arch) = (quoted(&release.version), quoted(&release.arch));
        let _ = write!(
            text,
            "\n[[release]]\nversion = {version}\narch = {arch}\nsources = [\n"
        );
        for source in &release.sources {
            let _ = match source {
                Source::Url { url, sha256 } => writeln!(
                    text,
                    "  {{ url = {}, sha256 = {} }},",
                    quoted(url),
                    quoted(sha256)
                ),
                Source::Npm { npm, integrity } => writeln!(
                    text,
                    "  {{ npm = {}, integrity = {} }},",
                    quoted(npm),
                    quoted(integrity)
                ),
            };
        }
        text.push_str("]\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = r#"
        name = "lang"
        title = "Lang"
        line_numbers = 2
        keep = ["bin/lang{line}"]
        [host]
        programs = ["/usr/bin/lang{line}"]
        version = ["--version"]
        [lines."1.2"]
        end_of_life = "2026-01-31"
    "#;

    #[test]
    fn a_recipe_knows_its_lines() {
        let recipe = Recipe::parse(RECIPE).unwrap();
        assert_eq!(recipe.line_of("1.2.3"), "1.2");
        assert_eq!(recipe.filled(&recipe.keep[0], "1.2.3"), "bin/lang1.2");
        let line = recipe.line("1.2.3").unwrap();
        assert_eq!(line.end_of_life.as_deref(), Some("2026-01-31"));
        assert!(recipe.line("1.3.0").is_none());
        let wrong = RECIPE.replace("keep", "keeep");
        assert!(matches!(Recipe::parse(&wrong), Err(Error::Recipe { .. })));
    }

    #[test]
    fn what_is_written_reads_back() {
        let releases = vec![Release {
            version: "1.2.3".into(),
            arch: "x86_64".into(),
            sources: vec![
                Source::Url {
                    url: "https://example.com/a \"b\".tgz".into(),
                    sha256: "00".repeat(32),
                },
                Source::Npm {
                    npm: "lang@1.2.3".into(),
                    integrity: "sha512-AA==".into(),
                },
            ],
        }];
        let text = write_releases(&releases);
        assert_eq!(parse_releases(&text).unwrap(), releases);
        assert!(parse_releases("[[release]]\nversion = 1").is_err());
    }
}
