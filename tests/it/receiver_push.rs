//! What a push can ask for, and clones and fetches in all of git's ways.

use std::path::{Path, PathBuf};

use crate::site::{Ran, Site};

fn push(site: &Site, dir: &Path, arguments: &[&str]) -> Ran {
    let url = format!("{}/hello.git", site.url());
    let (options, refs) = arguments.split_at(arguments.len() - 1);
    site.git_in(dir, &[&["push"], options, &[&url], refs].concat())
}

#[test]
fn push_options_are_an_allow_list() {
    let site = Site::new();
    let dir = site.app("hello", "nodejs_http").dir;
    let typo = push(&site, &dir, &["-o", "trase", "main"]).failure(1);
    assert!(
        typo.stderr
            .contains("he push option \"trase\" is not known; known are: no-release, plan, trace"),
        "{}",
        typo.stderr
    );
    assert!(
        typo.stderr.contains("[remote rejected] main -> main"),
        "{}",
        typo.stderr
    );
    let many = ["-o", "trace"].repeat(10_000);
    let many = push(&site, &dir, &[&many[..], &["main"]].concat()).failure(1);
    assert!(
        many.stderr.contains("ore than 64 push options"),
        "{}",
        many.stderr
    );
    let evil = push(&site, &dir, &["-o", "--trace\u{1b}[2J", "main"]).failure(1);
    assert!(!evil.stderr.contains('\u{1b}'), "{}", evil.stderr);
    let traced = push(&site, &dir, &["-o", "trace", "main"]).success();
    for phase in ["wait", "receive", "build", "release"] {
        assert!(
            traced.stderr.contains(&format!("remote: trace: {phase} ")),
            "{}",
            traced.stderr
        );
    }
}

#[test]
fn a_plan_changes_nothing() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    let before = crate::site::files_below(&site.bare("hello"));
    for branch in ["main", "main:refs/heads/topic"] {
        let planned = push(&site, &app.dir, &["-o", "plan", branch]).failure(1);
        assert!(planned.stderr.contains("(plan only)"), "{}", planned.stderr);
        let builds = branch == "main";
        for line in ["Node.js app detected", "Using Node.js 24."] {
            assert_eq!(planned.stderr.contains(line), builds, "{}", planned.stderr);
        }
    }
    assert_eq!(crate::site::files_below(&site.bare("hello")), before);
    let list = |what: &str| site.api("GET", &format!("/apps/hello/{what}"), None).1;
    assert_eq!(list("builds").as_array().unwrap().len(), 0);
    assert_eq!(list("releases").as_array().unwrap().len(), 1);
    // What would keep the build from beginning is told in the same words.
    app.write("package.json", r#"{ "engines": { "node": "99.x" } }"#);
    app.commit("Another engine");
    let planned = push(&site, &app.dir, &["-o", "plan", "main"]).failure(1);
    assert!(
        planned.stderr.contains("asks for 99.x") && planned.stderr.contains("declined"),
        "{}",
        planned.stderr
    );
    let python = site.app("python", "python_flask");
    let url = format!("{}/python.git", site.url());
    let planned = site
        .git_in(&python.dir, &["push", "-o", "plan", &url, "main"])
        .failure(1);
    assert!(
        planned.stderr.contains("remote:        Python 3."),
        "{}",
        planned.stderr
    );
}

#[test]
fn a_push_can_be_released_later() {
    let mut site = Site::new();
    let dir = site.app("hello", "nodejs_http").dir;
    let pushed = push(&site, &dir, &["-o", "no-release", "main"]).success();
    let command = pushed
        .stderr
        .lines()
        .find_map(|line| line.split_once("slugline releases create "))
        .unwrap_or_else(|| panic!("{}", pushed.stderr))
        .1
        .trim();
    let (releases, head) = {
        let head = site.git_in(&dir, &["rev-parse", "HEAD"]).success().stdout;
        (site.api("GET", "/apps/hello/releases", None).1, head)
    };
    assert_eq!(releases.as_array().unwrap().len(), 1);
    let moved = site
        .git_in(&site.bare("hello"), &["rev-parse", "main"])
        .success();
    assert_eq!(moved.stdout, head);
    // A start keeps the slug, though no release has it.
    site.stop(nix::sys::signal::Signal::SIGTERM);
    site.start(&[]);
    let arguments = ["releases", "create"].into_iter().chain(command.split(' '));
    let made = site.slugline(&arguments.collect::<Vec<_>>()).success();
    assert!(made.stdout.contains("v2"), "{}", made.stdout);
    let current = site.api("GET", "/apps/hello/releases/current", None).1;
    assert!(command.ends_with(current["slug"]["id"].as_str().unwrap()));
}

#[test]
fn a_shallow_clone_deploys() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    for n in 0..3 {
        app.write("note", &format!("{n}\n"));
        app.commit(&format!("Commit {n}"));
    }
    let source = format!("file://{}", app.dir.display());
    let root = site.path("");
    site.git_in(
        &root,
        &["clone", "--quiet", "--depth=2", &source, "shallow"],
    )
    .success();
    let dir = site.path("shallow");
    push(&site, &dir, &["main"]).success();
    std::fs::write(dir.join("note"), "after\n").unwrap();
    site.git_in(&dir, &["commit", "--quiet", "-am", "After"])
        .success();
    let pushed = push(&site, &dir, &["main"]).success();
    assert!(pushed.stderr.contains("Released v3"), "{}", pushed.stderr);
    let bare = site.bare("hello");
    site.git_in(&bare, &["fsck", "--strict"]).success();
    let count = site.git_in(&bare, &["rev-list", "--count", "main"]);
    assert_eq!(count.success().stdout, "3\n");
}

#[test]
fn a_slug_can_be_released_again() {
    let site = Site::new();
    let dir = site.app("hello", "nodejs_http").dir;
    push(&site, &dir, &["main"]).success();
    let release = site.api("GET", "/apps/hello/releases/current", None).1;
    let slug = release["slug"]["id"].as_str().unwrap();
    let made = site
        .slugline(&["releases", "create", "-a", "hello", "--slug", slug])
        .success();
    assert!(made.stdout.contains("v3"), "{}", made.stdout);
    let current = site.api("GET", "/apps/hello/releases/current", None).1;
    assert_eq!(
        (&current["version"], &current["slug"]["id"]),
        (&3.into(), &slug.into())
    );
    site.slugline(&["releases", "create", "-a", "hello", "--slug", "0"])
        .failure(2);
}

/// A history with branches and tags, pushed to an app.
fn history(site: &Site) -> PathBuf {
    let app = site.app("hello", "nodejs_http");
    for n in 0..5 {
        app.write("note", &format!("{n}\n"));
        app.write(&format!("large/{n}"), &"x".repeat(10_000 + n));
        app.commit(&format!("Commit {n}"));
    }
    app.git(&["tag", "-a", "-m", "one", "v1", "HEAD~2"])
        .success();
    app.git(&["branch", "topic", "HEAD~1"]).success();
    let dir = app.dir.clone();
    push(site, &dir, &["main"]).success();
    push(site, &dir, &["topic"]).success();
    push(site, &dir, &["v1"]).success();
    dir
}

#[test]
fn fetches_are_those_of_git() {
    let site = Site::new();
    let dir = history(&site);
    let url = format!("{}/hello.git", site.url());
    let root = site.path("");
    let log = |dir: &Path, reference: &str| {
        site.git_in(dir, &["rev-list", "--objects", reference])
            .success()
            .stdout
    };
    for version in ["0", "1", "2"] {
        let protocol = format!("protocol.version={version}");
        let name = |what: &str| format!("{what}-{version}");
        let git =
            |arguments: &[&str]| site.git_in(&root, &[&["-c", &protocol], arguments].concat());
        let refs = |text: String| {
            let names = text.lines().filter_map(|line| line.split_once('\t'));
            names.map(|(_, name)| name.to_owned()).collect::<Vec<_>>()
        };
        let listed = refs(git(&["ls-remote", &url]).success().stdout);
        assert_eq!(
            listed,
            [
                "HEAD",
                "refs/heads/main",
                "refs/heads/topic",
                "refs/tags/v1",
                "refs/tags/v1^{}"
            ],
            "{version}"
        );
        let some = refs(git(&["ls-remote", &url, "topic"]).success().stdout);
        assert_eq!(some, ["refs/heads/topic"], "{version}");

        let clone = |what: &str, options: &[&str]| {
            let name = name(what);
            git(&[&["clone", "--quiet"], options, &[&url, &name]].concat()).success();
            let dir = site.path(&name);
            assert_eq!(
                site.git_in(&dir, &["symbolic-ref", "HEAD"])
                    .success()
                    .stdout
                    .trim(),
                "refs/heads/main"
            );
            dir
        };
        let whole = clone("whole", &[]);
        assert_eq!(log(&whole, "--all"), log(&dir, "--all"), "{version}");
        let count = |dir: &Path| {
            site.git_in(dir, &["rev-list", "--count", "HEAD"])
                .success()
                .stdout
                .trim()
                .to_owned()
        };
        let shallow = clone("shallow", &["--depth", "2"]);
        assert_eq!(count(&shallow), "2", "{version}");
        site.git_in(
            &shallow,
            &["-c", &protocol, "fetch", "--quiet", "--deepen", "1"],
        )
        .success();
        assert_eq!(count(&shallow), "3", "{version}");
        site.git_in(
            &shallow,
            &["-c", &protocol, "fetch", "--quiet", "--unshallow"],
        )
        .success();
        assert_eq!(log(&shallow, "HEAD"), log(&dir, "main"), "{version}");
        let single = clone("single", &["--single-branch", "--no-tags"]);
        assert_eq!(site.git_in(&single, &["tag"]).success().stdout, "");
        assert!(
            !site
                .git_in(&single, &["branch", "-r"])
                .success()
                .stdout
                .contains("topic")
        );
        let partial = clone("partial", &["--no-checkout", "--filter=blob:none"]);
        let missing = site.git_in(
            &partial,
            &["rev-list", "--objects", "--missing=print", "main"],
        );
        let missing = missing.success().stdout;
        assert!(
            missing.lines().any(|line| line.starts_with('?')),
            "{version}: {missing}"
        );
        if version == "2" {
            // What is missing is fetched when it is wanted.
            site.git_in(&partial, &["checkout", "--quiet", "main"])
                .success();
            site.git_in(&partial, &["show", "main:note"]).success();
        }
        for dir in [&whole, &shallow, &single] {
            site.git_in(dir, &["fsck", "--strict"]).success();
        }
    }
}

#[test]
fn a_fetch_brings_what_is_new() {
    let site = Site::new();
    let dir = history(&site);
    let url = format!("{}/hello.git", site.url());
    site.git_in(&site.path(""), &["clone", "--quiet", &url, "whole"])
        .success();
    // A fetch of what is new alone.
    let whole = site.path("whole");
    std::fs::write(dir.join("note"), "new").unwrap();
    site.git_in(&dir, &["commit", "--quiet", "-am", "New"])
        .success();
    push(&site, &dir, &["main"]).success();
    site.git_in(&whole, &["pull", "--quiet", "--ff-only"])
        .success();
    let head = |dir: &Path| site.git_in(dir, &["rev-parse", "HEAD"]).success().stdout;
    assert_eq!(head(&whole), head(&dir));
}
