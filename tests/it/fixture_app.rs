//! Builds a fixture app, runs its slug, and compares what a person reads and gets with a snapshot.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::redaction::redact;
use crate::running_slug::Running;
use crate::site::{Ran, SLUGLINE, Site, copy_dir, files_below, fixture};

/// A fixture of a site, with a cache of its own.
pub struct FixtureApp {
    pub site: Site,
}

impl FixtureApp {
    /// A copy of a fixture, with nothing in its cache.
    pub fn new(name: &str) -> Self {
        Self::new_from(&fixture(name))
    }

    /// The same of another directory.
    pub fn new_from(dir: &Path) -> Self {
        let site = Site::without_server();
        copy_dir(dir, &site.path("app"));
        name_indexes(&site.path("app"));
        fs::create_dir(site.path("cache")).unwrap();
        Self { site }
    }

    /// The same, with the installer of Python packages in its cache: the download of that is
    /// shared by all tests.
    pub fn with_installer(name: &str) -> Self {
        let app = Self::new(name);
        // What is kept has links, too.
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(installer().join("."));
        copy.arg(app.site.path("cache"));
        Ran::new(copy.output().unwrap()).success();
        app
    }

    /// Builds it; the slug is `slug.tgz` of the site.
    pub fn build(&self, arguments: &[&str]) -> Ran {
        self.build_with(&[], arguments)
    }

    /// Builds it again, with no network; it has to succeed.
    pub fn build_offline(&self) -> Ran {
        self.build_with(&[("SLUGLINE_NETWORK", "off")], &[])
            .success()
    }

    /// Builds it under other settings.
    pub fn build_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let [app, slug] = ["app", "slug.tgz"].map(|name| self.site.path(name));
        let mut build = self.site.command(Path::new(SLUGLINE));
        build.current_dir(self.site.path(""));
        build.arg("build").arg(app).arg("--output").arg(slug);
        build.args(["--cache", "cache"]).args(arguments);
        build.envs(settings.iter().copied());
        Ran::new(build.output().unwrap())
    }

    /// The digest of the slug.
    pub fn digest(&self) -> String {
        let record = fs::read_to_string(self.site.path("slug.tgz.record.json")).unwrap();
        let record = serde_json::from_str::<serde_json::Value>(&record).unwrap();
        record["digest"].as_str().unwrap().to_owned()
    }

    /// Whether a build has succeeded.
    pub fn has_slug(&self) -> bool {
        self.site.path("slug.tgz").exists()
    }

    /// Builds its twin, which has nothing kept but the installer, and compares the slugs.
    #[track_caller]
    pub fn assert_same_as(&self, twin: &Self) {
        twin.build(&[]).success();
        assert_eq!(twin.digest(), self.digest(), "a build from nothing");
    }

    /// The first answer of the slug's web process.
    pub fn answer(&self) -> (u16, String) {
        self.answer_with(&[], &[])
    }

    /// The same with more arguments and environment.
    pub fn answer_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> (u16, String) {
        let mut run = self.site.command(Path::new(SLUGLINE));
        run.arg("run").args(arguments).envs(env.iter().copied());
        run.arg(self.site.path("slug.tgz")).arg("web");
        Running::start(run).get("/")
    }

    /// The paths in the slug; of what was installed only the packages.
    pub fn listing(&self) -> String {
        let slug = self.site.path("slug.tgz");
        let listed = self.site.slugline(&["slug", "ls", slug.to_str().unwrap()]);
        let mut paths = listed
            .success()
            .stdout
            .lines()
            .filter_map(|line| {
                line.split_whitespace()
                    .find(|word| word.contains('/') || word.contains('.'))
            })
            .map(shortened)
            .collect::<Vec<_>>();
        paths.sort();
        paths.dedup();
        paths.join("\n")
    }

    /// Whether its slug has a web process, and that something to start.
    pub fn has_server(&self) -> bool {
        let record = fs::read_to_string(self.site.path("slug.tgz.record.json"));
        let record = record.and_then(|text| Ok(serde_json::from_str::<serde_json::Value>(&text)?));
        if !record.is_ok_and(|record| record["process_types"]["web"].is_string()) {
            return false;
        }
        let is_there = |name: &str| self.site.path("app").join(name).exists();
        let manifest = fs::read_to_string(self.site.path("app/package.json"));
        is_there("Procfile")
            || is_there("server.js")
            || manifest.is_ok_and(|text| text.contains("\"start\""))
    }

    /// All that a snapshot holds.
    pub fn account(&self, arguments: &[&str]) -> String {
        let built = self.build(arguments);
        let mut text = String::new();
        writeln!(text, "exit code {:?}", built.code).unwrap();
        for line in redact(&built.stderr)
            .lines()
            .filter(|line| !is_chance(line))
        {
            // npm says it in minutes, too.
            let time = if line.trim_start().starts_with("added ") {
                " in "
            } else {
                " in [time]"
            };
            let line = line.split(time).next().unwrap();
            // Sizes are those of this machine's Python.
            let line = match line.split_once("Done: ") {
                Some((before, _)) => format!("{before}Done: [size]"),
                None => line.to_owned(),
            };
            let line = line.replace(self.site.path("").to_str().unwrap(), "[site]/");
            writeln!(text, "{}", line.trim_end()).unwrap();
        }
        if built.code == Some(0) {
            writeln!(text, "\n{}", self.listing()).unwrap();
            if self.has_server() {
                let (status, body) = self.answer();
                writeln!(text, "\n{status}\n{body}").unwrap();
            }
        }
        text
    }
}

/// Whether a line depends on how fast something was, or on what was downloaded before.
fn is_chance(line: &str) -> bool {
    const BEGINNINGS: [&str; 8] = [
        "Downloading ",
        "Downloaded ",
        "Building ",
        "Built ",
        "Prepared ",
        "Checked ",
        "Audited ",
        "➤ YN0013",
    ];
    let line = line.trim_start();
    BEGINNINGS.iter().any(|one| line.starts_with(one)) || line.contains("404 Not Found - GET")
}

/// `node_modules/a/b/c` is `node_modules/a`, and so on.
fn shortened(path: &str) -> String {
    let parts = path.trim_start_matches("./").split('/').collect::<Vec<_>>();
    let end = parts
        .iter()
        .position(|part| ["node_modules", "site-packages"].contains(part));
    match end {
        Some(at) => parts[..parts.len().min(at + 2)].join("/"),
        None if parts.starts_with(&[".heroku", "python-runtime"]) => {
            ".heroku/python-runtime".into()
        }
        None if parts.starts_with(&[".heroku", "python"]) => parts[..parts.len().min(3)].join("/"),
        None => parts.join("/"),
    }
}

/// A cache with the uv that the buildpack fetches and nothing else, for all tests of this process.
fn installer() -> &'static Path {
    static SEED: OnceLock<(FixtureApp, PathBuf)> = OnceLock::new();
    let (_, path) = SEED.get_or_init(|| {
        let app = FixtureApp::new("python_standard_library");
        // Other requirements than those of any test, so that nobody finds them installed.
        fs::write(app.site.path("app/requirements.txt"), "# none\n").unwrap();
        app.build(&[]).success();
        let path = app.site.path("cache");
        fs::remove_dir_all(path.join("current")).unwrap();
        (app, path)
    });
    path
}

/// Lockfiles name the hosts that packages come from, and no file here does: the package manager
/// itself says which they are.
fn name_indexes(app: &Path) {
    let of_index = files_below(app)
        .into_iter()
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("https://PYPI/")));
    for path in of_index {
        let (index, files) = python_index();
        let text = fs::read_to_string(&path).unwrap();
        let text = text
            .replace("https://PYPI/", index)
            .replace("https://FILES.PYPI/", files);
        fs::write(&path, text).unwrap();
    }
}

/// The addresses that pip has built in.
fn python_index() -> &'static (String, String) {
    const SCRIPT: &str = "
import ensurepip, glob, os, sys
sys.path[:0] = glob.glob('/usr/share/python-wheels/pip-*.whl')
sys.path[:0] = glob.glob(os.path.dirname(ensurepip.__file__) + '/_bundled/pip-*.whl')
from pip._internal.models.index import PyPI
print(PyPI.url.rstrip('/') + '/', 'https://' + PyPI.file_storage_domain + '/')
";
    static INDEX: OnceLock<(String, String)> = OnceLock::new();
    INDEX.get_or_init(|| {
        let said = Command::new("/usr/bin/python3")
            .args(["-I", "-c", SCRIPT])
            .output();
        let said = Ran::new(said.unwrap()).success().stdout;
        let (index, files) = said.trim().split_once(' ').unwrap();
        (index.to_owned(), files.to_owned())
    })
}

/// A test for each fixture: what a person reads and gets, and that its slug, if it has one, is the
/// same again from nothing.
#[macro_export]
macro_rules! fixtures {
    ($make:ident: $($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                let app = $crate::fixture_app::FixtureApp::$make(stringify!($name));
                insta::assert_snapshot!(stringify!($name), app.account(&[]));
                if app.has_slug() {
                    let twin = $crate::fixture_app::FixtureApp::$make(stringify!($name));
                    app.assert_same_as(&twin);
                }
                $crate::runs_elsewhere(&app);
            }
        )+
    };
}
