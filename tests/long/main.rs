//! Tests that take minutes: long histories, crashes at random moments, more languages' fixtures.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    dead_code,
    reason = "a test that cannot go on panics, and its site is its environment"
)]

mod bare;
mod builds;
mod built_again;
mod dynos;
#[path = "../it/fixture_app.rs"]
mod fixture_app;
mod floods;
mod heroku_client;
mod jvm;
mod languages;
mod private_registries;
mod rebuilds;
mod receiver_load;
mod receiver_oracle;
mod receiver_slow;
#[path = "../it/redaction.rs"]
mod redaction;
mod registry;
#[path = "../it/running_slug.rs"]
mod running_slug;
mod s3;
#[path = "../it/site.rs"]
mod site;
mod slug;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use bare::runs_elsewhere;
use site::{Ran, Repository, SLUGLINE, Site, agent, files_below};

/// The app's repository is sound, and what its refs, releases and slugs say agrees.
#[track_caller]
fn assert_sound(site: &Site, name: &str) {
    let bare = site.bare(name);
    let git = |arguments: &[&str]| {
        let output = site
            .command(Path::new("git"))
            .arg("-C")
            .arg(&bare)
            .args(arguments)
            .output()
            .unwrap();
        Ran::new(output).success().stdout
    };
    git(&["fsck", "--strict", "--no-dangling"]);
    assert!(
        !files_below(&bare)
            .iter()
            .any(|path| path.contains("incoming-"))
    );
    let main = git(&["for-each-ref", "--format=%(objectname)", "refs/heads/main"]);
    let releases = site.api("GET", &format!("/apps/{name}/releases"), None).1;
    let newest = releases
        .as_array()
        .unwrap()
        .iter()
        .max_by_key(|release| release["version"].as_u64())
        .unwrap()
        .clone();
    assert_eq!(newest["status"], "succeeded");
    if main.is_empty() {
        assert_eq!(newest["version"], 1, "a release without its ref");
        return;
    }
    let slug = site
        .api(
            "GET",
            &format!(
                "/apps/{name}/slugs/{}",
                newest["slug"]["id"].as_str().unwrap()
            ),
            None,
        )
        .1;
    assert_eq!(slug["commit"], main.trim());
    let blob = agent()
        .get(slug["blob"]["url"].as_str().unwrap())
        .call()
        .unwrap()
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_vec()
        .unwrap();
    assert_eq!(
        slug["checksum"],
        format!("SHA256:{}", slugline::digest::Digest::of(&blob).hex())
    );
}

#[test]
fn a_long_history_is_pushed_and_cloned() {
    let site = Site::new();
    let app = site.scripted("history", "many_commits.sh", &["5000"]);
    app.slugline(&["apps", "create", "history"]).success();
    app.git(&["push", "slugline", "main:archive"]).success();
    app.write("package.json", r#"{"name":"x","version":"1.0.0"}"#);
    app.write("package-lock.json", r#"{"name":"x","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"x","version":"1.0.0"}}}"#);
    app.commit("Make it an app");
    // A thin pack: its deltas build on what is there.
    app.push().success();
    assert_sound(&site, "history");
    app.git(&["fetch", "slugline"]).success();
    let count = app
        .git(&["rev-list", "--count", "slugline/main"])
        .success()
        .stdout;
    assert_eq!(count.trim(), "5001");
}

#[test]
fn a_server_killed_at_random_moments_is_always_sound() {
    let mut site = Site::new();
    {
        let app = site.app("hello", "nodejs_http");
        app.git(&[
            "config",
            "credential.helper",
            &format!(
                "!'{SLUGLINE}' git-credential --data '{}'",
                site.data().display()
            ),
        ])
        .success();
    }
    let dir = site.path("hello");
    let mut killed = 0;
    // A build takes about a second, most of it npm; the moments lie before, in and after it.
    for round in 0..40_u64 {
        std::fs::write(dir.join("round.txt"), round.to_string()).unwrap();
        let git = |arguments: &[&str]| {
            let mut command = site.command(Path::new("git"));
            command.current_dir(&dir).args(arguments);
            command
        };
        assert!(
            git(&[
                "remote",
                "set-url",
                "slugline",
                &format!("{}/hello.git", site.url())
            ])
            .status()
            .unwrap()
            .success()
        );
        assert!(git(&["add", "--all"]).status().unwrap().success());
        assert!(
            git(&["commit", "--quiet", "--message", &format!("Round {round}")])
                .status()
                .unwrap()
                .success()
        );
        let mut push = git(&["push", "--force", "slugline", "main"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(round * 61 % 1500));
        site.stop(Signal::SIGKILL);
        killed += usize::from(!push.wait().unwrap().success());
        site.start(&[]);
        assert_sound(&site, "hello");
    }
    assert!(killed > 5, "only {killed} pushes were cut");
    let git = site
        .command(Path::new("git"))
        .current_dir(&dir)
        .args([
            "push",
            "--force",
            &format!("{}/hello.git", site.url()),
            "main",
        ])
        .output()
        .unwrap();
    Ran::new(git).success();
    assert_sound(&site, "hello");
    assert_eq!(
        std::fs::read_dir(site.data().join("scratch"))
            .unwrap()
            .count(),
        0
    );
}

fn pushed(site: &Site, fixture: &str) -> String {
    let app: Repository<'_> = site.app("hello", fixture);
    app.push().success().stderr
}

#[test]
fn django_with_static_files() {
    let site = Site::new();
    let push = pushed(&site, "python_django_static");
    assert!(push.contains("collectstatic"), "{push}");
    let run = site.slugline(&[
        "run",
        "-a",
        "hello",
        "--",
        "test -d staticfiles || test -d static_root || ls",
    ]);
    run.success();
}

#[test]
fn hooks_of_an_app() {
    let site = Site::new();
    let push = pushed(&site, "python_hooks");
    assert!(
        push.contains("bin/pre_compile") && push.contains("bin/post_compile"),
        "{push}"
    );
}

#[test]
fn a_build_script_and_its_pruned_dependencies() {
    let site = Site::new();
    let push = pushed(&site, "nodejs_build_script");
    assert!(push.contains("-----> Pruning devDependencies"), "{push}");
    let run = site.slugline(&[
        "run",
        "-a",
        "hello",
        "--",
        "cat dist/page.txt && test ! -e node_modules/ms",
    ]);
    run.success();
}

#[test]
fn a_build_that_outlasts_the_grace_is_undone() {
    let mut site = Site::new();
    {
        let app = site.app("hello", "nodejs_build_script");
        app.write("build.js", "console.log('waiting'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600000)");
        app.commit("Endless");
    }
    let mut push = site.command(Path::new("git"));
    push.current_dir(site.path("hello"))
        .args(["push", "slugline", "main"])
        .stderr(Stdio::piped());
    let push = push.spawn().unwrap();
    site::eventually("the build runs", || {
        site.api("GET", "/apps/hello/builds", None).1[0]["status"] == "pending"
    });
    let start = std::time::Instant::now();
    site.stop(Signal::SIGTERM);
    let seconds = start.elapsed().as_secs();
    assert!((28..45).contains(&seconds), "the server took {seconds} s");
    let push = Ran::new(push.wait_with_output().unwrap()).failure(1);
    assert!(
        push.stderr.contains("The build was cancelled."),
        "{}",
        push.stderr
    );
    site.start(&[]);
    assert_sound(&site, "hello");
    assert_eq!(
        site.api("GET", "/apps/hello/builds", None).1[0]["status"],
        "failed"
    );
}
