//! Repositories stay healthy: many packs become few, what nobody reaches goes, nothing else does.

use std::path::Path;

use crate::site::{Site, eventually, files_below};

fn packs(bare: &Path) -> usize {
    let files = files_below(&bare.join("objects/pack"));
    files.iter().filter(|path| path.ends_with(".pack")).count()
}

fn push(site: &Site, dir: &Path, refs: &[&str]) {
    let url = format!("{}/hello.git", site.url());
    site.git_in(dir, &[&["push", "--quiet", "--force", &url], refs].concat())
        .success();
}

#[test]
fn many_small_pushes_are_repacked_behind_the_pusher_s_back() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    push(&site, &app.dir, &["main:refs/heads/topic"]);
    let bare = site.bare("hello");
    // As after sixty pushes: each has left a pack of its own.
    for n in 0..60 {
        let blob = app.dir.join("blob");
        std::fs::write(&blob, format!("{n}\n")).unwrap();
        let id = site
            .git_in(&bare, &["hash-object", "-w", blob.to_str().unwrap()])
            .success()
            .stdout;
        let name = format!("refs/tags/{n}");
        site.git_in(&bare, &["update-ref", &name, id.trim()])
            .success();
        site.git_in(&bare, &["repack", "-d", "-q"]).success();
    }
    std::fs::remove_file(app.dir.join("blob")).unwrap();
    assert!(packs(&bare) > 50, "{}", packs(&bare));
    let refs = site.git_in(&bare, &["for-each-ref"]).success().stdout;
    app.write("note", "one more\n");
    app.commit("One more");
    push(&site, &app.dir, &["main:refs/heads/topic"]);
    eventually("the packs are joined", || packs(&bare) < 10);
    eventually("git has ended", || {
        site.server_log().contains("tidied a repository")
    });
    site.git_in(&bare, &["fsck", "--strict"]).success();
    let now = site.git_in(&bare, &["for-each-ref"]).success().stdout;
    assert_eq!(now.lines().count(), refs.lines().count());
    // Pushes and clones find all they need in what is left.
    app.write("note", "after it\n");
    app.commit("After it");
    push(&site, &app.dir, &["main:refs/heads/topic"]);
    let url = format!("{}/hello.git", site.url());
    site.git_in(
        &site.path(""),
        &["clone", "--quiet", "-b", "topic", &url, "clone"],
    )
    .success();
}

#[test]
fn gc_keeps_what_refs_reach_and_nothing_else() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    push(&site, &app.dir, &["main"]);
    let first = app.head();
    app.write("secret", "pushed by mistake\n");
    app.commit("Mistake");
    let mistake = app.head();
    push(&site, &app.dir, &["main:refs/heads/topic"]);
    push(&site, &app.dir, &[":topic"]);
    app.git(&["reset", "--quiet", "--hard", &first]).success();
    app.git(&["tag", "-a", "-m", "one", "v1"]).success();
    push(&site, &app.dir, &["v1"]);
    let bare = site.bare("hello");
    let has = |id: &str| site.git_in(&bare, &["cat-file", "-e", id]).code == Some(0);
    assert!(has(&mistake));
    // What a push that was cut has left behind goes, too.
    let left = bare.join("objects/incoming-0123456789abcdef");
    std::fs::create_dir_all(left.join("pack")).unwrap();
    let said = site.slugline(&["gc"]).success();
    assert!(
        said.stdout.contains("hello") && said.stdout.contains("now  1 pack, "),
        "{}",
        said.stdout
    );
    assert!(has(&first) && !has(&mistake) && !left.exists());
    assert_eq!(packs(&bare), 1);
    site.git_in(&bare, &["fsck", "--strict"]).success();
    // A thin pack builds on what was repacked, and the deployed slug is still there.
    app.write("note", "after it\n");
    app.commit("After it");
    push(&site, &app.dir, &["main"]);
    assert_eq!(
        site.api("GET", "/apps/hello/releases/current", None).1["version"],
        3
    );
}
