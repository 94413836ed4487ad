//! Fixture apps whose packages come from PyPI and npm.
//!
//! Each that succeeds is built twice from nothing and gives the same slug; one app of each package
//! manager is also built again from what the first build has kept, with the network off.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::bare::runs_elsewhere;
use crate::fixture_app::FixtureApp;
use crate::site::{copy_dir, files_below};
use crate::{fixtures, rebuilt_fixtures};

fixtures! { with_installer:
    python_collectstatic_fails,
    python_committed_venv_without_dot,
    python_conflict,
    python_editable,
    python_django_static,
    python_environment,
    python_fastapi,
    python_hooks,
    python_includes_and_constraints,
    python_invalid_requirement,
    python_missing_include,
    python_native,
    python_no_version,
    python_pipfile_lock_stale,
    python_poetry_hash_mismatch,
    python_poetry_lock_broken,
    python_runtime_txt,
    python_uv_no_dependencies,
    python_uv_stale_lock,
    python_version_other_patch,
}

rebuilt_fixtures! { with_installer:
    python_flask,
    python_pipenv,
    python_poetry,
    python_uv,
}

rebuilt_fixtures! { new:
    nodejs_build_script,
    nodejs_bun,
    nodejs_pnpm,
    nodejs_yarn,
    nodejs_yarn_berry,
    nodejs_yarn_pnp,
}

fixtures! { new:
    nodejs_bun_lock_out_of_sync,
    nodejs_checked_in_modules,
    nodejs_express,
    nodejs_http,
    nodejs_lock_out_of_sync,
    nodejs_native,
    nodejs_no_lockfile,
    nodejs_node_version_file,
    nodejs_no_such_package,
    nodejs_no_such_package_version,
    nodejs_nvmrc,
    nodejs_peer_conflict,
    nodejs_pnpm_lock_out_of_sync,
    nodejs_postinstall,
    nodejs_typescript,
    nodejs_typescript_broken,
    nodejs_workspace,
    nodejs_yarn_lock_out_of_sync,
    nodejs_yarn_no_such_package,
}

/// Next.js draws an id and secrets for each build: the entries that have them differ, and nothing
/// else does but the order of names in its JSON, where it writes pages as they are done.
#[test]
fn nodejs_next() {
    let [app, other] = [(); 2].map(|()| FixtureApp::new("nodejs_next"));
    let account = app.account(&[]);
    other.build(&[]).success();
    runs_elsewhere(&app);
    let [app, other] = [app, other].map(|app| Drawn::of(&app));
    // Where its directory stands in the listing depends on the id.
    let lines = account
        .lines()
        .filter(|line| !line.starts_with(&format!(".next/static/{}", app.id)));
    let lines = lines.map(|line| untimed(line).replace(&app.id, BUILD_ID));
    insta::assert_snapshot!("nodejs_next", lines.collect::<Vec<_>>().join("\n"));
    let paths = app.files.keys().chain(other.files.keys());
    let differing = paths.filter_map(|path| {
        let of_id = path.contains(BUILD_ID) || app.without_id(path) == other.without_id(path);
        let is_same = !path.contains(BUILD_ID) && app.files.get(path) == other.files.get(path);
        let why = if of_id { "the id" } else { "secrets" };
        (!is_same).then(|| format!("{path}: {why}"))
    });
    let differing = differing.collect::<BTreeSet<_>>();
    let differing = differing.into_iter().collect::<Vec<_>>();
    insta::assert_snapshot!("nodejs_next_differing", differing.join("\n"));
}

const BUILD_ID: &str = "[build id]";

/// A slug of Next.js by its paths, with the id it has drawn.
struct Drawn {
    id: String,
    files: BTreeMap<String, Vec<u8>>,
}

impl Drawn {
    fn of(app: &FixtureApp) -> Self {
        let dir = app.unpacked();
        let id = fs::read_to_string(dir.join(".next/BUILD_ID")).unwrap();
        let files = files_below(&dir).into_iter().map(|path| {
            let bytes = fs::read(&path).unwrap();
            let path = Path::new(&path).strip_prefix(&dir).unwrap();
            let bytes = match serde_json::from_slice::<serde_json::Value>(&bytes) {
                Ok(value) => value.to_string().into_bytes(),
                Err(_) => bytes,
            };
            (path.display().to_string().replace(&id, BUILD_ID), bytes)
        });
        Self {
            files: files.collect(),
            id,
        }
    }

    fn without_id(&self, path: &str) -> Option<String> {
        let text = String::from_utf8_lossy(self.files.get(path)?);
        Some(text.replace(&self.id, BUILD_ID))
    }
}

/// A line of the table of pages, which says how long one took where that was long.
fn untimed(line: &str) -> String {
    if !line.trim_start().starts_with(['┌', '├', '└', '+']) && !line.contains("Route (pages)")
    {
        return line.to_owned();
    }
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.split_once(" (").zip(words.split_once(" ms) ")) {
        Some(((before, _), (_, after))) => format!("{before} {after}"),
        None => words,
    }
}

/// Requirements without a version are said to be such.
#[test]
fn what_is_not_pinned_is_said() {
    let app = FixtureApp::with_installer("python_unpinned");
    let built = app.build(&[]).success();
    let line = "Not pinned: click, itsdangerous. Each build with changed requirements takes the newest that fit.";
    assert!(built.stderr.contains(line), "{}", built.stderr);
    assert_eq!(app.answer(), (200, "Hello from Slugline".to_owned()));
    app.assert_same_as(&FixtureApp::with_installer("python_unpinned"));
}

/// pip itself installs the same packages as uv's interface.
#[test]
fn pip_is_one_setting_away() {
    let app = FixtureApp::new("python_flask");
    let built = app
        .build(&["--env", "SLUGLINE_PYTHON_INSTALLER=pip"])
        .success();
    assert!(
        built
            .stderr
            .contains("using 'pip install -r requirements.txt'"),
        "{}",
        built.stderr
    );
    let packages = |app: &FixtureApp| {
        let record = fs::read_to_string(app.site.path("slug.tgz.record.json")).unwrap();
        let record = serde_json::from_str::<serde_json::Value>(&record).unwrap();
        let packages = record["packages"].as_array().unwrap().iter();
        let packages = packages.map(|one| format!("{} {}", one["name"], one["version"]));
        packages
            .filter(|one| !one.contains("setuptools"))
            .collect::<Vec<_>>()
    };
    assert_eq!(app.answer(), (200, "Hello from Slugline".to_owned()));
    let other = FixtureApp::with_installer("python_flask");
    other.build(&[]).success();
    assert_eq!(other.answer(), (200, "Hello from Slugline".to_owned()));
    assert_eq!(packages(&app), packages(&other));
}

/// A second time in one build, as a copy of the built-in one, it has nowhere to install to.
#[test]
fn the_python_buildpack_runs_once() {
    let app = FixtureApp::with_installer("python_standard_library");
    let (copy, own) = (
        app.site.path("copy"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("buildpacks"),
    );
    copy_dir(&own.join("python"), &copy);
    copy_dir(&own.join("lib"), &copy.join("lib"));
    let copy = copy.to_str().unwrap();
    let twice = ["--buildpack", "python", "--buildpack", copy];
    let failed = app.build(&twice).failure(1).stderr;
    let headline = "Error: The Python buildpack has already been run this build.";
    assert!(failed.contains(headline), "{failed}");
}
