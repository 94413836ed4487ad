//! Fixture apps whose packages come from PyPI and npm, and what holds for all of them.

use std::fs;

use crate::fixture_app::FixtureApp;
use crate::fixtures;

fixtures! { with_installer:
    python_collectstatic_fails,
    python_committed_venv_without_dot,
    python_conflict,
    python_editable,
    python_django_static,
    python_environment,
    python_fastapi,
    python_flask,
    python_hooks,
    python_includes_and_constraints,
    python_invalid_requirement,
    python_missing_include,
    python_native,
    python_no_version,
    python_pipenv,
    python_pipfile_lock_stale,
    python_poetry,
    python_poetry_lock_broken,
    python_runtime_txt,
    python_uv,
    python_uv_no_dependencies,
    python_uv_stale_lock,
    python_version_other_patch,
}

fixtures! { new:
    nodejs_build_script,
    nodejs_bun,
    nodejs_checked_in_modules,
    nodejs_express,
    nodejs_http,
    nodejs_lock_out_of_sync,
    nodejs_native,
    nodejs_next,
    nodejs_no_lockfile,
    nodejs_node_version_file,
    nodejs_no_such_package,
    nodejs_no_such_package_version,
    nodejs_nvmrc,
    nodejs_pnpm,
    nodejs_postinstall,
    nodejs_typescript,
    nodejs_typescript_broken,
    nodejs_workspace,
    nodejs_yarn,
    nodejs_yarn_berry,
    nodejs_yarn_pnp,
}

/// Each of these, built with nothing kept, and again with what the first build has kept and with no
/// network, is the same slug.
#[test]
fn a_second_build_installs_nothing_and_is_the_same() {
    for name in [
        "python_flask",
        "python_pipenv",
        "python_poetry",
        "python_uv",
        "nodejs_build_script",
        "nodejs_bun",
        "nodejs_pnpm",
        "nodejs_yarn",
        "nodejs_yarn_berry",
        "nodejs_yarn_pnp",
    ] {
        let app = if name.starts_with("python") {
            FixtureApp::with_installer(name)
        } else {
            FixtureApp::new(name)
        };
        app.build(&[]).success();
        let first = app.digest();
        let again = app.build_offline();
        assert_eq!(app.digest(), first, "{name}: {}", again.stderr);
        // And with changed code.
        fs::write(app.site.path("app/changed.txt"), "1").unwrap();
        app.build_offline();
        assert_ne!(app.digest(), first, "{name}");
    }
}

/// Each of these, built twice from nothing, is the same slug.
#[test]
fn two_builds_from_nothing_are_the_same() {
    for name in [
        "python_flask",
        "python_django_static",
        "python_editable",
        "python_pipenv",
        "python_poetry",
        "python_uv",
        "nodejs_build_script",
        "nodejs_bun",
        "nodejs_no_lockfile",
        "nodejs_pnpm",
        "nodejs_yarn",
        "nodejs_yarn_berry",
        "nodejs_yarn_pnp",
    ] {
        let digest = || {
            let app = if name.starts_with("python") {
                FixtureApp::with_installer(name)
            } else {
                FixtureApp::new(name)
            };
            app.build(&[]).success();
            app.digest()
        };
        assert_eq!(digest(), digest(), "{name}");
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
