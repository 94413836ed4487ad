//! The buildpacks that a source names itself: `project.toml`, else `app.json`.
//!
//! Heroku reads `app.json` where an app is set up from a source, and `project.toml` where it builds
//! with its newer buildpacks; a plain push to an app reads neither. So they are read for builds
//! without an app and for the first build of an app that its push has made, and only mentioned
//! otherwise. Source: facts on Heroku's builds, §2.8.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use super::Error;
use crate::buildpack::Reference;
use crate::config::ConfigVars;
use crate::output::Output;

/// Largest of those files.
const LIMIT_BYTES: u64 = 1 << 20;

const PROJECT: &str = "project.toml";
const APP: &str = "app.json";

/// What a source asks for.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// The file; none where nothing was named.
    file: Option<&'static str>,
    pub buildpacks: Vec<Reference>,
    /// For builds alone.
    env: ConfigVars,
}

#[derive(Deserialize)]
struct AppJson {
    #[serde(default)]
    buildpacks: Vec<Buildpack>,
}

#[derive(Deserialize)]
struct Buildpack {
    url: String,
}

/// Source: the project descriptor's versions 0.1 (`build`) and 0.2 (`io.buildpacks`).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Project {
    io: Io,
    build: Wanted,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Io {
    buildpacks: Wanted,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wanted {
    #[serde(alias = "buildpacks")]
    group: Vec<Member>,
    env: Vec<Variable>,
    build: Env,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Env {
    env: Vec<Variable>,
}

#[derive(Deserialize)]
struct Member {
    id: Option<String>,
    uri: Option<String>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

impl Declared {
    /// What the source of a build asks for, where the build has no list of its own.
    ///
    /// # Errors
    /// As [`Declared::read`], where it is read and not only mentioned.
    pub fn of(
        app: &Path,
        chosen: &[Reference],
        is_read: bool,
        out: &mut Output<'_>,
    ) -> Result<Self> {
        if !chosen.is_empty() {
            return Ok(Self::default());
        }
        if !is_read {
            // What nobody asked to be read need not be in order.
            Self::read(app).unwrap_or_default().mention(out)?;
            return Ok(Self::default());
        }
        let declared = Self::read(app)?;
        declared.announce(out)?;
        Ok(declared)
    }

    /// An app's config vars, and under them those for builds.
    pub fn config(&self, of_app: &ConfigVars) -> Result<ConfigVars> {
        let mut config = self.env.clone();
        for (name, value) in of_app.iter() {
            config.set(name, value)?;
        }
        Ok(config)
    }

    /// Reads the files at the root of an app.
    ///
    /// # Errors
    /// The app's: one of them is none, or names a buildpack that cannot be one.
    pub fn read(app: &Path) -> Result<Self> {
        let mut declared = Self::default();
        if let Some(text) = text(app, PROJECT)? {
            let invalid = |reason: String| invalid(PROJECT, &reason);
            let project: Project =
                toml::from_str(&text).map_err(|error| invalid(error.message().to_owned()))?;
            let (io, old) = (project.io.buildpacks, project.build);
            for member in io.group.into_iter().chain(old.group) {
                let name = member.uri.or(member.id);
                let name = name.ok_or_else(|| invalid("a buildpack has no id".to_owned()))?;
                declared.add(PROJECT, &name)?;
            }
            for variable in io.build.env.into_iter().chain(old.env) {
                declared.env.set(&variable.name, &variable.value)?;
                declared.file = Some(PROJECT);
            }
        }
        if declared.buildpacks.is_empty()
            && let Some(text) = text(app, APP)?
        {
            let app: AppJson =
                serde_json::from_str(&text).map_err(|error| invalid(APP, &error.to_string()))?;
            for buildpack in app.buildpacks {
                declared.add(APP, &buildpack.url)?;
            }
        }
        Ok(declared)
    }

    fn add(&mut self, file: &'static str, name: &str) -> Result<()> {
        self.buildpacks.push(Reference::of_app(name)?);
        self.file = Some(file);
        Ok(())
    }

    /// Says that they are used.
    fn announce(&self, out: &mut Output<'_>) -> Result<()> {
        if let Some(file) = self.file {
            out.step(&format!("Reading {file}"))?;
        }
        Ok(())
    }

    /// Says, of an app that has no list of its own, that they are not used, and how they would be.
    fn mention(&self, out: &mut Output<'_>) -> Result<()> {
        let Some((first, rest)) = self.buildpacks.split_first() else {
            return Ok(());
        };
        let file = self.file.unwrap_or_default();
        out.detail(&format!("A push does not read {file}. For its buildpacks:"))?;
        out.detail(&format!("  slugline buildpacks set {first}"))?;
        for one in rest {
            out.detail(&format!("  slugline buildpacks add {one}"))?;
        }
        Ok(())
    }
}

fn invalid(file: &'static str, reason: &str) -> anyhow::Error {
    let reason = reason
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect();
    Error::Declared { file, reason }.into()
}

/// The text of an ordinary file; a link could show one of the server's.
fn text(app: &Path, name: &'static str) -> Result<Option<String>> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let opened = File::options()
        .read(true)
        .custom_flags(flags)
        .open(app.join(name));
    let Ok(file) = opened else { return Ok(None) };
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Ok(None);
    }
    let mut text = String::new();
    let read = file.take(LIMIT_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| invalid(name, &error.to_string()))?;
    if text.len() as u64 > LIMIT_BYTES {
        return Err(invalid(name, "it has more than 1 MiB"));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let declared = Declared::read(dir.path())?;
        let env = declared
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let buildpacks = declared.buildpacks.iter().map(ToString::to_string);
        Ok(buildpacks.chain(env).collect())
    }

    #[test]
    fn both_files_are_read_and_the_project_goes_first() {
        let app = (
            "app.json",
            r#"{"name": "x", "buildpacks": [{"url": "inline"}, {"url": "https://example.com/b.tgz"}]}"#,
        );
        assert_eq!(
            read(&[app]).unwrap(),
            ["inline", "https://example.com/b.tgz"]
        );
        let project = (
            "project.toml",
            "[_]\nschema-version = \"0.2\"\n[[io.buildpacks.group]]\nuri = \"https://example.com/c\"\n\
             [[io.buildpacks.build.env]]\nname = \"A\"\nvalue = \"b\"\n",
        );
        assert_eq!(
            read(&[app, project]).unwrap(),
            ["https://example.com/c", "A=b"]
        );
        let old = (
            "project.toml",
            "[[build.buildpacks]]\nid = \"inline\"\n[[build.env]]\nname = \"A\"\nvalue = \"b\"\n",
        );
        assert_eq!(read(&[old]).unwrap(), ["inline", "A=b"]);
        let env_alone = (
            "project.toml",
            "[[build.env]]\nname = \"A\"\nvalue = \"b\"\n",
        );
        assert_eq!(read(&[app, env_alone]).unwrap().len(), 3);
        assert!(read(&[("app.json", "{}")]).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (name, text) in [
            ("app.json", "{"),
            ("app.json", r#"{"buildpacks": "x"}"#),
            ("app.json", r#"{"buildpacks": [{"url": "/etc"}]}"#),
            ("app.json", r#"{"buildpacks": [{"url": "ext::sh -c id"}]}"#),
            ("project.toml", "[[io.buildpacks.group]]\n"),
            ("project.toml", "a = \n"),
            (
                "project.toml",
                "[[io.buildpacks.group]]\nuri = \"file:///etc\"\n",
            ),
        ] {
            assert!(read(&[(name, text)]).is_err(), "{text}");
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("app.json")).unwrap();
        assert!(Declared::read(dir.path()).unwrap().buildpacks.is_empty());
    }
}
