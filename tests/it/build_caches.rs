//! The cache that an app's builds share.

use std::fs;
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use slugline::fault::Step;

use crate::site::{Ran, Site, eventually, files_below};

#[test]
fn a_purged_cache_is_empty() {
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    app.write(
        "bin/compile",
        "#!/bin/sh\nls \"$2\" | sed 's/^/cached: /'; touch \"$2/kept\"\n",
    );
    app.commit("Cache");
    app.slugline(&["buildpacks:set", "inline"]).success();
    let push = |text: &str| {
        app.write("text", text);
        app.commit("Change");
        app.push().success().stderr
    };
    push("1");
    let said = push("2");
    assert!(said.contains("cached: kept"), "{said}");
    app.slugline(&["builds:cache:purge"]).success();
    let said = push("3");
    assert!(!said.contains("cached: kept"), "{said}");
}

#[test]
fn a_cache_of_another_stack_is_discarded_with_a_line() {
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    app.write(
        "bin/compile",
        "#!/bin/sh\nls \"$2\" | sed 's/^/cached: /'; touch \"$2/kept\"\n",
    );
    app.commit("Cache");
    app.slugline(&["buildpacks:set", "inline"]).success();
    app.push().success();
    let kept = site.data().join("caches").join(site.app_id("hello"));
    let note = kept.join("current/note.json");
    let mut maker: Value = serde_json::from_str(&fs::read_to_string(&note).unwrap()).unwrap();
    maker["stack"] = "cedar-14".into();
    fs::write(&note, maker.to_string()).unwrap();
    app.write("more", "");
    app.commit("More");
    let said = app.push().success().stderr;
    assert!(
        said.contains("-----> Stack changed from cedar-14 to "),
        "{said}"
    );
    assert!(!said.contains("cached: kept"), "{said}");

    // What another buildpack kept is of no use either.
    let other = json!({ "updates": [{ "buildpack": "heroku/nodejs" }] });
    site.api("PUT", "/apps/hello/buildpack-installations", Some(other));
    app.write("package.json", "{}");
    app.commit("Node.js");
    let said = app.push().success().stderr;
    let line =
        "-----> Buildpacks changed from inline to heroku/nodejs: the build cache is discarded";
    assert!(said.contains(line), "{said}");
}

#[test]
fn a_build_that_empties_the_cache_and_fails_changes_nothing() {
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    let build = |script: &str| {
        app.write("bin/compile", &format!("#!/bin/sh\n{script}\n"));
        app.commit("Change");
        app.push()
    };
    app.slugline(&["buildpacks:set", "inline"]).success();
    build("echo good >\"$2/kept\"").success();
    build("rm -rf \"$2\"/* \"$2\"; exit 1").failure(1);
    build("echo evil >\"$2/kept\"; echo more >\"$2/new\"; exit 1").failure(1);
    let said = build("cat \"$2/kept\"; ls \"$2\" | wc -l").success().stderr;
    assert!(said.contains("remote: good"), "{said}");
    assert!(!said.contains("evil"), "{said}");
}

/// What a build finds in its cache: how many files, and what is in them.
fn found(said: &str) -> Vec<&str> {
    let line = said.lines().find_map(|line| line.split_once("found: "));
    line.unwrap_or_else(|| panic!("nothing found: {said}"))
        .1
        .split_whitespace()
        .collect()
}

/// `kill -9` of the server while a build writes into its cache, and when it has just been kept.
#[test]
fn a_killed_server_leaves_a_whole_cache() {
    let mut site = Site::new();
    let dir = site.app("hello", "inline_shell").dir;
    site.slugline(&["buildpacks:set", "-a", "hello", "inline"])
        .success();
    let build = |site: &Site, content: &str, after: &str| {
        let script = format!(
            "#!/bin/bash\necho \"found: $(ls $2 | wc -l) $(cat $2/* 2>/dev/null | sort -u)\"\n\
             for n in {{1..300}}; do echo {content} >$2/$n; done\n{after}\n"
        );
        fs::write(dir.join("bin/compile"), script).unwrap();
        site.git_in(&dir, &["commit", "--quiet", "--all", "--message", content])
            .success();
        let url = format!("{}/hello.git", site.url());
        site.git_command_in(&dir, &["push", &url, "main"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let said = |push: Child| Ran::new(push.wait_with_output().unwrap()).stderr;
    let text = said(build(&site, "one", ""));
    assert_eq!(found(&text), ["0"]);
    // Killed when half of it is written, and something has been left beside it.
    let push = build(&site, "two", "rm $2/1??; echo half; sleep 600");
    eventually("the build is in the middle", || {
        files_below(&site.data().join("logs"))
            .iter()
            .any(|log| fs::read_to_string(log).is_ok_and(|text| text.contains("half")))
    });
    let kept = site.data().join("caches").join(site.app_id("hello"));
    fs::create_dir_all(kept.join("new/files")).unwrap();
    fs::write(kept.join("new/files/1"), "half").unwrap();
    site.stop(Signal::SIGKILL);
    said(push);
    assert!(site.try_start(&[], &[("SLUGLINE_FAULT", Step::Slug.name())]));
    assert_eq!(
        fs::read_dir(&kept).unwrap().count(),
        2,
        "current and snapshots"
    );
    let scratch = fs::read_dir(site.data().join("scratch")).unwrap();
    assert_eq!(scratch.count(), 0);
    // Killed when the cache is kept and nothing is released yet.
    let text = said(build(&site, "three", ""));
    assert_eq!(found(&text), ["300", "one"]);
    assert_eq!(site.wait_for_end(), Some(9));
    site.start(&[]);
    let text = said(build(&site, "four", ""));
    assert_eq!(found(&text), ["300", "three"]);
    assert!(text.contains("Released v3"), "{text}");
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 2);
}
