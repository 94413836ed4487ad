//! `slugline gc` and `slugline pins` against a running server.

use std::fs;

use slugline::digest::Digest;
use slugline::output::human_size;
use slugline::store::Store;

use crate::site::{Repository, Site, eventually};

/// An app whose build is quick, or waits in its compile step.
fn pushed<'a>(site: &'a Site, name: &str, compile: &str) -> Repository<'a> {
    let app = site.app(name, "nodejs_http");
    for (script, text) in [
        ("bin/detect", "#!/bin/sh\necho Own\n"),
        ("bin/compile", compile),
        (
            "bin/release",
            "#!/bin/sh\necho 'default_process_types: {web: x}'\n",
        ),
    ] {
        app.write(script, text);
        let path = site.path(name).join(script);
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    app.write("own.txt", name);
    app.commit("Its own buildpack");
    app.slugline(&["buildpacks", "set", "inline"]).success();
    app
}

fn store(site: &Site) -> Store {
    Store::open(&site.data().join("slugs")).unwrap()
}

fn slug_digest(site: &Site, app: &str) -> Digest {
    let releases = site.api("GET", &format!("/apps/{app}/releases"), None).1;
    let releases = releases.as_array().unwrap().clone();
    let id = releases
        .iter()
        .find_map(|release| release["slug"]["id"].as_str());
    let path = format!("/apps/{app}/slugs/{}", id.unwrap());
    let slug = site.api("GET", &path, None).1;
    let checksum = slug["checksum"].as_str().unwrap().to_lowercase();
    checksum.parse().unwrap()
}

#[test]
fn what_nobody_needs_is_removed_after_its_grace() {
    let site = Site::new();
    pushed(&site, "kept", "#!/bin/sh\n").push().success();
    let store = store(&site);
    let [orphan, pinned] = [&b"nobody's"[..], b"pinned"].map(|bytes| store.put(bytes).unwrap());
    site.slugline(&["pins", "add", &pinned.to_string()])
        .success();
    let gc = |arguments: &[&str]| {
        let ran = site.slugline(&[&["gc"], arguments].concat()).success();
        ran.stdout
            .split("\n\n")
            .nth(1)
            .unwrap()
            .trim_end()
            .to_owned()
    };
    let (none, some) = (human_size(0), human_size(8));
    assert_eq!(gc(&[]), format!("0 removed ({none}), 4 kept"));
    let removed = format!("{orphan}\n1 to remove ({some}), 3 kept");
    assert_eq!(gc(&["--grace-hours", "0", "--dry-run"]), removed);
    assert!(store.contains(&orphan).unwrap());
    let removed = format!("{orphan}\n1 removed ({some}), 3 kept");
    assert_eq!(gc(&["--grace-hours", "0"]), removed);
    assert!(!store.contains(&orphan).unwrap());
    assert!(store.contains(&pinned).unwrap());
    let ran = site
        .slugline(&["pins", "add", &orphan.to_string()])
        .failure(2);
    assert!(ran.stderr.contains("No blob"), "{}", ran.stderr);
    assert_eq!(
        site.slugline(&["pins"]).success().stdout,
        format!("{pinned}\n")
    );
    // The release runs still.
    let slug = slug_digest(&site, "kept");
    assert!(store.contains(&slug).unwrap());
}

#[test]
fn a_pinned_slug_outlives_its_app_and_a_restart() {
    let mut site = Site::new();
    pushed(&site, "gone", "#!/bin/sh\n").push().success();
    let slug = slug_digest(&site, "gone");
    site.slugline(&["pins", "add", &slug.to_string()]).success();
    site.slugline(&["apps", "destroy", "gone", "--confirm", "gone"])
        .success();
    site.stop(nix::sys::signal::Signal::SIGTERM);
    site.start(&[]);
    site.slugline(&["gc", "--grace-hours", "0"]).success();
    let store = store(&site);
    assert!(store.contains(&slug).unwrap());
    // Its manifest, too.
    assert_eq!(site.blobs(), 2);
    site.slugline(&["pins", "remove", &slug.to_string()])
        .success();
    site.slugline(&["pins", "remove", &slug.to_string()])
        .failure(2);
    site.slugline(&["gc", "--grace-hours", "0"]).success();
    assert!(!store.contains(&slug).unwrap());
}

#[test]
fn while_a_build_runs_what_is_young_stays() {
    let site = Site::new();
    let app = pushed(&site, "slow", "#!/bin/sh\necho waiting\nexec sleep 600\n");
    let mut push = app
        .git_command(&["push", "slugline", "main"])
        .spawn()
        .unwrap();
    let builds = || site.api("GET", "/apps/slow/builds", None).1;
    eventually("the build runs", || {
        builds().as_array().is_some_and(|builds| !builds.is_empty())
    });
    // As if the build had stored it and not been recorded yet.
    let young = store(&site).put(b"a slug").unwrap();
    // Repositories would wait for the push.
    let would_go = || {
        let arguments = ["gc", "--grace-hours", "0", "--dry-run"];
        let ran = site.slugline(&arguments).success();
        ran.stdout.contains(&young.to_string())
    };
    assert!(!would_go());
    let id = builds()[0]["id"].as_str().unwrap().to_owned();
    site.api("DELETE", &format!("/apps/slow/builds/{id}"), None);
    assert!(!push.wait().unwrap().success());
    eventually("the build is over", would_go);
}
