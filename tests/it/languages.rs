//! Fixture apps that fail before anything is installed, and some that succeed: one for each way in
//! which an app says what it needs. The others are among the long tests.

use crate::fixture_app::FixtureApp;
use crate::fixtures;

fixtures! { new:
    python_committed_runtime,
    python_committed_venv,
    python_misspelt_requirements,
    python_misspelt_version_file,
    python_multiple_managers,
    python_no_requirements,
    python_pdm,
    python_pipfile_lock_bad_version,
    python_pipfile_lock_broken,
    python_pipfile_without_lock,
    python_pre_compile_fails,
    python_pylock_only,
    python_pyproject_without_lock,
    python_runtime_txt_invalid,
    python_runtime_txt_with_uv,
    python_setup_py_only,
    python_unknown_version,
    python_uv_without_version,
    python_version_end_of_life,
    python_version_file_empty,
    python_version_file_invalid,
    python_version_file_multiple,
    python_version_file_not_utf8,
}

fixtures! { new:
    nodejs_bad_package_json,
    nodejs_build_fails,
    nodejs_cleanup_fails,
    nodejs_directory_taken,
    nodejs_environment,
    nodejs_git_over_ssh,
    nodejs_invalid_nvmrc,
    nodejs_invalid_range,
    nodejs_iojs,
    nodejs_lockfile_of_another,
    nodejs_mcp,
    nodejs_multiple_lockfiles,
    nodejs_multiple_managers,
    nodejs_no_dependencies,
    nodejs_no_start,
    nodejs_no_such_version,
    nodejs_not_an_object,
    nodejs_nvmrc_against_engines,
    nodejs_prebuild_fails,
    nodejs_scripts_in_order,
    nodejs_server_js_alone,
    nodejs_shrinkwrap_conflict,
    nodejs_unknown_manager,
}

fixtures! { with_installer:
    python_standard_library,
}

/// What was installed once is not installed again: there is no network for it.
#[test]
fn a_second_build_installs_nothing() {
    let app = FixtureApp::new("nodejs_build_script");
    app.build(&[]).success();
    let first = app.digest();
    let again = app.build_offline().stderr;
    assert!(again.contains("Nothing to install"), "{again}");
    assert!(again.contains("The same as in the last build"), "{again}");
    assert_eq!(app.digest(), first);
}
