//! Runs buildpacks on an app: `bin/compile`, `bin/release` and `bin/report`.
//!
//! In: a root directory with the app in `/app`, staged buildpacks, config vars, a time limit. Out:
//! the build dir changed in place, the default process types, and what the buildpacks report of
//! runtimes and packages. Config vars reach a buildpack as files of the env dir and in no other
//! way; the environment is the documented one with constant values, so that equal inputs see equal
//! surroundings. Source: facts on Heroku's builds, §2.2 to §2.4.

pub mod cache;
mod flood;
mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flood::Bounded;
pub use flood::{LINE_LIMIT_BYTES, OUTPUT_LIMIT_BYTES};
use serde::{Deserialize, Serialize};

use crate::buildpack::{Reference, Staged};
use crate::config::ConfigVars;
use crate::output::Output;
use crate::sandbox::{self, Ended, Exit, Profile, Root, Sandbox, Spec, Watch};
use crate::slug::{Package, SlugRecord};
use crate::stack::StackName;

/// Most bytes that are read of what `bin/release` and `bin/report` print.
const YAML_LIMIT_BYTES: usize = 4 << 20;

/// The `PATH` of builds. Source: facts on Heroku's builds, §2.2.
/// At its end, where nothing of the stack is hidden by it, our own binary.
pub const BUILD_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/slugline/bin";

/// Names that a config var must not take in an env dir, since buildpacks export what they find.
/// Source: the documented exporter, facts on Heroku's builds, §2.3.
const KEPT_BACK: [&str; 6] = [
    "PATH",
    "GIT_DIR",
    "CPATH",
    "CPPATH",
    "LD_PRELOAD",
    "LIBRARY_PATH",
];

/// Why the app is not compiled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `bin/compile` said so, and has told the pusher why.
    #[error("bin/compile of the buildpack {buildpack} ended with {exit:?}")]
    Failed {
        buildpack: String,
        label: String,
        exit: Exit,
        /// The stack that its last words name, where Heroku's own buildpacks would not take it.
        stack: Option<StackName>,
    },
    #[error(
        "bin/compile of the buildpack {buildpack} ran into the build's time limit of {limit_seconds} s"
    )]
    TimedOut {
        buildpack: String,
        label: String,
        limit_seconds: u64,
        /// The build's share of the processors, where it was limited.
        cpu_percent: Option<u64>,
    },
    #[error("the build was cancelled")]
    Cancelled,
    /// `bin/release` failed or printed what is no YAML of the documented form.
    #[error("bin/release of the buildpack {buildpack} printed no valid YAML: {reason}")]
    Release { buildpack: String, reason: String },
    #[error("running {script} of the buildpack {buildpack}")]
    Sandbox {
        buildpack: String,
        script: &'static str,
        source: sandbox::Error,
    },
    /// The app's doing.
    #[error("the build cache has directories below more than {limit} others")]
    CacheTooDeep { limit: usize },
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

/// What a buildpack says it put into the slug.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub runtimes: BTreeMap<String, String>,
    pub packages: Vec<Package>,
    /// What makes it install the same packages again, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

impl Report {
    /// What the buildpack that stands at `place` has said when this slug was built. Runtimes have
    /// names that no two buildpacks share.
    pub fn of(record: &SlugRecord, place: usize) -> Option<Self> {
        let used = record.buildpacks.get(place)?;
        let is_own = |package: &&Package| {
            let by = package.buildpack.as_ref();
            by.is_none_or(|name| *name == used.name)
        };
        Some(Self {
            runtimes: record.runtimes.clone(),
            packages: record.packages.iter().filter(is_own).cloned().collect(),
            lock: used.lock.clone(),
        })
    }
}

/// The surroundings of a build: everything but the build dir's content.
#[derive(Debug)]
pub struct Compiler<'a> {
    pub sandbox: &'a Sandbox,
    pub root: &'a Root,
    /// Inside, such as `/app`.
    pub build_dir: &'a str,
    /// The whole environment of the scripts; see [`environment`].
    pub env: &'a [(String, String)],
    pub watch: &'a Watch,
    /// For the message of a build that took too long.
    pub time_limit: Duration,
}

/// The environment that buildpacks see, with constant values but for the stack, the version and
/// what the operator adds.
pub fn environment(
    stack: &StackName,
    source_version: &str,
    operator: &ConfigVars,
) -> Vec<(String, String)> {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut env = operator.iter().map(own).collect::<BTreeMap<_, _>>();
    for (name, value) in [
        ("DYNO", "build.1"),
        ("HOME", "/app"),
        ("PATH", BUILD_PATH),
        ("REQUEST_ID", "00000000-0000-4000-8000-000000000000"),
        ("SOURCE_VERSION", source_version),
        ("STACK", stack.as_str()),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    env.into_iter().collect()
}

/// Writes config vars as the files of an env dir, without a newline at their end.
///
/// # Errors
/// The platform's: a file could not be written.
pub fn write_env_dir(dir: &Path, config: &ConfigVars) -> Result<(), Error> {
    for (name, value) in config.iter().filter(|(name, _)| !KEPT_BACK.contains(name)) {
        let path = dir.join(name);
        // Never through a link that something run before could have left.
        let file = fs::File::create_new(&path);
        file.and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(io_error(&path))?;
    }
    Ok(())
}

impl Compiler<'_> {
    /// Runs `bin/compile BUILD_DIR CACHE_DIR ENV_DIR`, after the `export` files of the buildpacks before it.
    ///
    /// # Errors
    /// The app's: [`Error::Failed`], [`Error::TimedOut`]. The platform's: the others.
    pub fn compile(
        &self,
        buildpack: &Staged,
        label: &str,
        before: &[Staged],
        out: &mut Output<'_>,
    ) -> Result<(), Error> {
        self.run("compile", buildpack, label, before, out)
    }

    /// Runs `bin/plan BUILD_DIR CACHE_DIR ENV_DIR`, which says what `bin/compile` would use; says
    /// whether there is one.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn plan(
        &self,
        buildpack: &Staged,
        label: &str,
        out: &mut Output<'_>,
    ) -> Result<bool, Error> {
        let there = self.has(buildpack, "bin/plan");
        if there {
            self.run("plan", buildpack, label, &[], out)?;
        }
        Ok(there)
    }

    fn run(
        &self,
        script: &str,
        buildpack: &Staged,
        label: &str,
        before: &[Staged],
        out: &mut Output<'_>,
    ) -> Result<(), Error> {
        let spec = self.spec(self.after_exports(script, buildpack, before));
        let mut sink = Bounded::new(out.raw());
        let ended = self
            .sandbox
            .run(self.root, &spec, self.watch, &mut sink)
            .map_err(|source| self.sandbox_error(buildpack, "bin/compile", source))?;
        sink.end()
            .map_err(|e| self.sandbox_error(buildpack, "bin/compile", sandbox::Error::Output(e)))?;
        let name = buildpack.reference.to_string();
        match ended {
            Ended::Exited(exit) if exit.is_success() => Ok(()),
            Ended::Exited(exit) => Err(Error::Failed {
                buildpack: name,
                label: label.to_owned(),
                exit,
                stack: self.stack_at_fault(buildpack, sink.last_words()),
            }),
            Ended::TimedOut => Err(Error::TimedOut {
                buildpack: name,
                label: label.to_owned(),
                limit_seconds: self.time_limit.as_secs(),
                cpu_percent: self.sandbox.policy().limits.cpu_percent,
            }),
            Ended::Cancelled => Err(Error::Cancelled),
        }
    }

    /// Runs `bin/release BUILD_DIR` where there is one, and reads its `default_process_types`.
    ///
    /// # Errors
    /// The buildpack's: the script failed or printed no YAML mapping.
    pub fn release(&self, buildpack: &Staged) -> Result<BTreeMap<String, String>, Error> {
        let Some((exit, text)) =
            self.print(buildpack, "bin/release", vec![self.build_dir.to_owned()])?
        else {
            return Ok(BTreeMap::new());
        };
        let invalid = |reason: String| Error::Release {
            buildpack: buildpack.reference.to_string(),
            reason,
        };
        if !exit.is_success() {
            return Err(invalid(format!("it ended with {exit:?}")));
        }
        yaml::process_types(&text).map_err(invalid)
    }

    /// Runs `bin/report BUILD_DIR CACHE_DIR ENV_DIR` where there is one; a report that fails is empty.
    ///
    /// # Errors
    /// The platform's: the sandbox could not be made.
    pub fn report(&self, buildpack: &Staged) -> Result<Report, Error> {
        let printed = self.print(buildpack, "bin/report", self.arguments())?;
        let text = printed
            .filter(|(exit, _)| exit.is_success())
            .map(|(_, text)| text);
        Ok(text.map(|text| yaml::report(&text)).unwrap_or_default())
    }

    fn print(
        &self,
        buildpack: &Staged,
        script: &'static str,
        arguments: Vec<String>,
    ) -> Result<Option<(Exit, String)>, Error> {
        if !self.has(buildpack, script) {
            return Ok(None);
        }
        let inside = format!("{}/{script}", buildpack.inside);
        let spec = self.spec(std::iter::once(inside).chain(arguments).collect());
        let captured = self
            .sandbox
            .capture(self.root, &spec, self.watch, YAML_LIMIT_BYTES)
            .map_err(|source| self.sandbox_error(buildpack, script, source))?;
        match captured.ended {
            Ended::Exited(exit) => Ok(Some((
                exit,
                String::from_utf8_lossy(&captured.stdout).into_owned(),
            ))),
            Ended::TimedOut => Err(Error::TimedOut {
                buildpack: buildpack.reference.to_string(),
                label: buildpack.reference.to_string(),
                limit_seconds: self.time_limit.as_secs(),
                cpu_percent: self.sandbox.policy().limits.cpu_percent,
            }),
            Ended::Cancelled => Err(Error::Cancelled),
        }
    }

    /// Whether a buildpack has a script that it need not have.
    fn has(&self, buildpack: &Staged, script: &str) -> bool {
        let folder = buildpack.inside.trim_start_matches("/buildpacks/");
        let on_host = self.root.buildpacks().join(folder).join(script);
        fs::symlink_metadata(on_host).is_ok_and(|meta| meta.is_file())
    }

    /// The arguments that start a script: by way of bash where there is something to source.
    fn after_exports(&self, script: &str, buildpack: &Staged, before: &[Staged]) -> Vec<String> {
        let exports = before
            .iter()
            .map(|earlier| earlier.inside.trim_start_matches("/buildpacks/"))
            .filter(|folder| {
                let export = self.root.buildpacks().join(folder).join("export");
                fs::symlink_metadata(export).is_ok_and(|meta| meta.is_file())
            })
            .fold(String::new(), |script, folder| {
                script + ". /buildpacks/" + folder + "/export\n"
            });
        let mut argv = Vec::new();
        if !exports.is_empty() {
            argv.extend([
                "/bin/bash".to_owned(),
                "-c".to_owned(),
                format!("{exports}exec \"$0\" \"$@\""),
            ]);
        }
        argv.push(buildpack.script(script));
        argv.extend(self.arguments());
        argv
    }

    /// The stack, where a foreign buildpack has named it before it failed, and it is none that
    /// Heroku has.
    fn stack_at_fault(&self, buildpack: &Staged, last_words: &[u8]) -> Option<StackName> {
        if matches!(buildpack.reference, Reference::Builtin(_)) {
            return None;
        }
        let (_, stack) = self.env.iter().find(|(name, _)| name == "STACK")?;
        let named = String::from_utf8_lossy(last_words).contains(stack.as_str());
        let stack = stack.parse::<StackName>().ok()?;
        (named && !stack.is_heroku()).then_some(stack)
    }

    fn arguments(&self) -> Vec<String> {
        [self.build_dir, "/cache", "/env"]
            .map(str::to_owned)
            .to_vec()
    }

    fn spec(&self, argv: Vec<String>) -> Spec {
        Spec {
            argv,
            env: self.env.to_vec(),
            cwd: self.build_dir.to_owned(),
            profile: Profile::Build,
        }
    }

    #[expect(
        clippy::unused_self,
        reason = "reads as part of the compiler at each call"
    )]
    fn sandbox_error(
        &self,
        buildpack: &Staged,
        script: &'static str,
        source: sandbox::Error,
    ) -> Error {
        Error::Sandbox {
            buildpack: buildpack.reference.to_string(),
            script,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_env_dir_keeps_dangerous_names_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ConfigVars::default();
        config.set("GREETING", "hello\n").unwrap();
        config.set("LD_PRELOAD", "/app/evil.so").unwrap();
        write_env_dir(dir.path(), &config).unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join("GREETING")).unwrap(),
            "hello\n"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_operator_cannot_replace_the_documented_names() {
        let mut operator = ConfigVars::default();
        operator.set("HOME", "/x").unwrap();
        operator.set("MIRROR", "m").unwrap();
        let env = environment(&"debian-12".parse().unwrap(), "", &operator);
        assert!(env.contains(&("HOME".to_owned(), "/app".to_owned())));
        assert!(env.contains(&("MIRROR".to_owned(), "m".to_owned())));
    }
}
