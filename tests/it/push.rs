//! Pushes that go well, and what the pusher reads.

use crate::site::{Ran, Site, eventually, files_below};
use std::path::Path;

#[test]
fn a_push_is_built_and_released() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    let push = app.push().success();
    insta::assert_snapshot!("good_push", push.transcript(&site));
    assert_eq!(
        app.git(&["ls-remote", "slugline", "main"])
            .success()
            .stdout
            .split_whitespace()
            .next()
            .unwrap(),
        app.head()
    );
    assert!(
        site.command(Path::new("git"))
            .args(["-C"])
            .arg(site.bare("hello"))
            .args(["fsck", "--strict"])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(site.blobs(), 2, "a slug and its manifest");
    let leftovers = files_below(&site.bare("hello").join("objects"));
    assert!(
        !leftovers.iter().any(|path| path.contains("incoming-")),
        "{leftovers:?}"
    );
    eventually("the scratch directory is empty", || {
        std::fs::read_dir(site.data().join("scratch"))
            .unwrap()
            .count()
            == 0
    });
}

#[test]
fn each_push_makes_a_release() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    app.write("server.js.note", "changed");
    app.commit("Second");
    let second = app.push().success();
    assert!(second.stderr.contains("Released v3"), "{}", second.stderr);

    let unchanged = app.push().success();
    assert_eq!(unchanged.stderr.trim(), "Everything up-to-date");
    let releases = site.api("GET", "/apps/hello/releases", None).1;
    let versions = releases
        .as_array()
        .unwrap()
        .iter()
        .map(|release| release["version"].as_u64().unwrap());
    assert_eq!(versions.max(), Some(3));
}

#[test]
fn another_branch_is_stored_and_not_built() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    let push = app.git(&["push", "slugline", "main:topic"]).success();
    insta::assert_snapshot!("other_branch", push.transcript(&site));
    assert_eq!(
        site.api("GET", "/apps/hello/builds", None)
            .1
            .as_array()
            .unwrap()
            .len(),
        0
    );
    assert_eq!(site.blobs(), 0);
    assert!(
        app.git(&["ls-remote", "slugline"])
            .success()
            .stdout
            .contains("refs/heads/topic")
    );
}

#[test]
fn a_clone_gives_the_history_back() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.write("more.txt", "more");
    app.commit("Second");
    app.git(&["tag", "v1.0"]).success();
    app.git(&["push", "slugline", "main", "v1.0"]).success();
    let url = format!("{}/hello.git", site.url());
    // The repository's own credential helper does not count outside of it.
    let helper = app
        .git(&[
            "config",
            "--get-all",
            &format!("credential.{}.helper", site.url()),
        ])
        .success()
        .stdout;
    let helper = helper.lines().last().unwrap().to_owned();
    let clone = site
        .command(Path::new("git"))
        .args([
            "-c",
            &format!("credential.{}.helper={helper}", site.url()),
            "clone",
            "--quiet",
            &url,
            "copy",
        ])
        .output()
        .unwrap();
    Ran::new(clone).success();
    let log = |dir: &Path| {
        let output = site
            .command(Path::new("git"))
            .current_dir(dir)
            .args(["log", "--format=%H %s"])
            .output()
            .unwrap();
        Ran::new(output).success().stdout
    };
    assert_eq!(log(&site.path("copy")), log(&app.dir));
    assert_eq!(log(&app.dir).lines().count(), 2);
}

#[test]
fn master_is_a_deployed_branch_and_is_what_a_clone_shows() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.git(&["push", "slugline", "main:master"]).success();
    let head = app
        .git(&["ls-remote", "--symref", "slugline", "HEAD"])
        .success()
        .stdout;
    assert!(head.starts_with("ref: refs/heads/master"), "{head}");
}

#[test]
fn main_is_forced_but_not_deleted() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    app.git(&["commit", "--quiet", "--amend", "--message", "Amended"])
        .success();
    app.push().failure(1);
    let forced = app.git(&["push", "--force", "slugline", "main"]).success();
    assert!(forced.stderr.contains("Released v3"));
    let deleted = app.git(&["push", "slugline", ":main"]).failure(1);
    assert!(
        deleted.stderr.contains("[remote rejected]"),
        "{}",
        deleted.stderr
    );
    assert!(
        app.git(&["ls-remote", "slugline", "main"])
            .success()
            .stdout
            .contains(&app.head())
    );
}

#[test]
fn a_large_push_is_sent_in_chunks() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    // Noise, so that the pack is over git's post buffer of 1 MiB.
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'!' + u8::try_from(state >> 58).unwrap())
    });
    app.write("noise.txt", &noise.take(6 << 20).collect::<String>());
    app.commit("Noise");
    let push = app.push().success();
    assert!(push.stderr.contains("Released v2"), "{}", push.stderr);
}

#[test]
fn a_waiting_pusher_sees_the_place_in_the_queue() {
    let site = Site::with(&["--max-builds", "1"]);
    let apps = ["one", "two"].map(|name| {
        let app = site.app(name, "nodejs_build_script");
        app.write("build.js", "require('fs').mkdirSync('dist'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4000)");
        app.commit("Slow");
        app
    });
    let [first, second] = &apps;
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| first.push());
        eventually("the first build is under way", || {
            let builds = site.api("GET", "/apps/one/builds", None).1;
            builds.as_array().is_some_and(|builds| !builds.is_empty())
        });
        let waited = second.push().success();
        assert!(
            waited
                .stderr
                .contains("Waiting for a build to end: 1 build is before this one."),
            "{}",
            waited.stderr
        );
        slow.join().unwrap().success();
    });
}

#[test]
fn the_first_push_makes_the_app_where_that_is_allowed() {
    let site = Site::with(&["--create-on-push"]);
    let app = site.app("hello", "nodejs_http");
    let url = format!("{}/newcomer.git", site.url());
    let push = app.git(&["push", &url, "main"]).success();
    assert!(push.stderr.contains("Released v2"), "{}", push.stderr);
    assert_eq!(site.api("GET", "/apps/newcomer", None).0, 200);
}

#[test]
fn a_flask_app_comes_from_pypi_with_its_record() {
    let site = Site::new();
    let app = site.app("flask", "python_flask");
    let push = app.push().success();
    assert!(
        push.stderr
            .contains("remote:        Procfile declares types -> web"),
        "{}",
        push.stderr
    );
    let build = &site.api("GET", "/apps/flask/builds", None).1[0];
    let slug = site
        .api(
            "GET",
            &format!(
                "/apps/flask/slugs/{}",
                build["slug"]["id"].as_str().unwrap()
            ),
            None,
        )
        .1;
    assert_eq!(slug["commit"], app.head().as_str());
    assert_eq!(slug["buildpack_provided_description"], "Python");
    let record = &slug["record"];
    assert!(
        record["packages"]
            .as_array()
            .unwrap()
            .iter()
            .any(|package| package["name"] == "Flask" && package["version"] == "3.1.3")
    );
    assert!(
        record["runtimes"]["python"]
            .as_str()
            .unwrap()
            .starts_with("3.11.")
    );
    assert_eq!(record["stack"], "debian-12");

    // The second build restores what the first one kept.
    app.write("note.txt", "changed");
    app.commit("Second");
    let second = app.push().success();
    assert!(
        second.stderr.contains("Using cached install of Python"),
        "{}",
        second.stderr
    );
}

#[test]
fn the_readme_shows_what_a_push_says() {
    let read = |name: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
    };
    let readme = read("README.md");
    let block = readme
        .split_once("$ git push slugline main\n")
        .unwrap()
        .1
        .split_once("\n\n$ curl http://hello.localhost:7080/\nHello from Slugline\n```")
        .unwrap()
        .0;
    let snapshot = read("tests/it/snapshots/it__push__good_push.snap");
    let snapshot = snapshot.splitn(3, "---\n").nth(2).unwrap();
    assert_eq!(crate::redaction::redact(block).trim(), snapshot.trim());
}

#[test]
fn pushes_to_one_app_go_one_by_one() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_build_script");
    app.write("build.js", "require('fs').mkdirSync('dist'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3000)");
    app.commit("Slow");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| app.push());
        eventually("the first push is under way", || {
            site.api("GET", "/apps/hello/builds", None).1[0]["status"] == "pending"
        });
        let second = app.git(&["push", "slugline", "main:topic"]).success();
        assert!(
            second.stderr.contains("Waiting for 1 other push to hello."),
            "{}",
            second.stderr
        );
        first.join().unwrap().success();
    });
    let refs = app.git(&["ls-remote", "slugline"]).success().stdout;
    assert!(
        refs.contains("refs/heads/main") && refs.contains("refs/heads/topic"),
        "{refs}"
    );
}
