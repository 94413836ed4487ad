//! Apps whose repositories are of git's other hash function.

use std::path::{Path, PathBuf};

use crate::site::{Ran, Site, copy_dir, fixture};

/// A repository of this object format with one commit of a fixture.
fn repository(site: &Site, name: &str, format: &str) -> PathBuf {
    let dir = site.path(name);
    copy_dir(&fixture("nodejs_http"), &dir);
    let init = [
        "init",
        "--quiet",
        "--initial-branch=main",
        "--object-format",
        format,
    ];
    site.git_in(&dir, &init).success();
    commit(site, &dir, "First");
    dir
}

fn commit(site: &Site, dir: &Path, message: &str) {
    site.git_in(dir, &["add", "--all"]).success();
    site.git_in(dir, &["commit", "--quiet", "-m", message])
        .success();
}

fn line(ran: Ran) -> String {
    ran.success().stdout.trim().to_owned()
}

#[test]
fn real_git_pushes_and_fetches_sha256() {
    let site = Site::new();
    let create = ["apps", "create", "hello", "--object-format", "sha256"];
    site.slugline(&create).success();
    let app = site.api("GET", "/apps/hello", None).1;
    assert_eq!(app["object_format"], "sha256");
    let dir = repository(&site, "work", "sha256");
    let url = format!("{}/hello.git", site.url());
    let git = |arguments: &[&str]| site.git_in(&dir, arguments);
    let bare = |arguments: &[&str]| site.git_in(&site.bare("hello"), arguments);

    // The whole, then a thin pack, a tag and a branch, and a deletion without a pack.
    std::fs::write(dir.join("large"), "line\n".repeat(5000)).unwrap();
    commit(&site, &dir, "Large");
    git(&["push", &url, "main"]).success();
    std::fs::write(dir.join("large"), "line\n".repeat(5000) + "one more\n").unwrap();
    commit(&site, &dir, "One line");
    let head = line(git(&["rev-parse", "HEAD"]));
    assert_eq!(head.len(), 64);
    let pushed = git(&["push", &url, "main"]).success();
    assert!(pushed.stderr.contains("Released v3"), "{}", pushed.stderr);
    git(&["tag", "-a", "-m", "one", "v1"]).success();
    git(&["push", &url, "v1", "HEAD~1:refs/heads/topic"]).success();
    git(&["push", &url, ":topic"]).success();
    // A new ref for what is known: an empty pack.
    git(&["push", &url, "HEAD~1:refs/heads/known"]).success();
    assert_eq!(line(bare(&["rev-parse", "main"])), head);
    bare(&["fsck", "--strict"]).success();
    assert_eq!(line(bare(&["tag"])), "v1");

    let root = site.path("");
    site.git_in(&root, &["clone", "--quiet", &url, "clone"])
        .success();
    let clone = site.path("clone");
    assert_eq!(line(site.git_in(&clone, &["rev-parse", "HEAD"])), head);
    std::fs::write(dir.join("note"), "new").unwrap();
    commit(&site, &dir, "Note");
    git(&["push", "--quiet", &url, "main"]).success();
    site.git_in(&clone, &["pull", "--quiet", "--ff-only"])
        .success();
    site.git_in(&clone, &["fsck", "--strict"]).success();
    site.git_in(&root, &["clone", "--quiet", "--depth=1", &url, "shallow"])
        .success();

    // The slug's record has the whole id.
    let release = site.api("GET", "/apps/hello/releases/current", None).1;
    let slug = release["slug"]["id"].as_str().unwrap();
    let slug = site
        .api("GET", &format!("/apps/hello/slugs/{slug}"), None)
        .1;
    assert_eq!(slug["commit"], line(git(&["rev-parse", "HEAD"])));
}

#[test]
fn the_two_do_not_mix() {
    let site = Site::new();
    let create = [
        "apps",
        "create",
        "two-five-six",
        "--object-format",
        "sha256",
    ];
    site.slugline(&create).success();
    site.slugline(&["apps", "create", "one"]).success();
    for (format, app) in [("sha1", "two-five-six"), ("sha256", "one")] {
        let dir = repository(&site, format, format);
        let url = format!("{}/{app}.git", site.url());
        let refused = site.git_in(&dir, &["push", &url, "main"]);
        assert_ne!(refused.code, Some(0));
        assert!(
            refused.stderr.contains("hash algorithm"),
            "{}",
            refused.stderr
        );
        let refs = site.git_in(&site.bare(app), &["for-each-ref"]).success();
        assert_eq!(refs.stdout, "");
    }
    let wrong = ["apps", "create", "other", "--object-format", "md5"];
    site.slugline(&wrong).failure(2);
    let request = serde_json::json!({ "name": "other", "object_format": "md5" });
    let (status, answer) = site.api("POST", "/apps", Some(request));
    assert_eq!((status, &answer["id"]), (422, &"invalid_params".into()));
}
