//! Builds that are ended from outside: by whoever asked for them, by their time, by the server's end.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;

use crate::attack::running;
use crate::failures::assert_nothing_left;
use crate::site::{Repository, Site, eventually};

/// An app of no language whose own `bin/compile` is `script`.
fn app<'a>(site: &'a Site, script: &str) -> Repository<'a> {
    let app = site.app("hello", "inline_shell");
    app.write("bin/compile", &format!("#!/bin/sh\n{script}\n"));
    app.commit("Script");
    app.slugline(&["buildpacks:set", "inline"]).success();
    app
}

/// The newest build's id and log, once it has said something.
fn says(site: &Site, what: &str) -> (String, String) {
    let (mut id, mut log) = (String::new(), String::new());
    eventually(what, || {
        let builds = site.api("GET", "/apps/hello/builds", None).1;
        let newest = builds.as_array().and_then(|all| all.last().cloned());
        id = newest.map_or(String::new(), |one| one["id"].as_str().unwrap().to_owned());
        log =
            std::fs::read_to_string(site.data().join(format!("logs/{id}.log"))).unwrap_or_default();
        log.contains(what)
    });
    (id, log)
}

/// A push with a process group of its own, as one at a terminal.
fn start(app: &Repository<'_>) -> Child {
    let mut push = app.git_command(&["push", "slugline", "main"]);
    push.stderr(Stdio::null()).process_group(0).spawn().unwrap()
}

fn failure_of(site: &Site, id: &str) -> String {
    eventually("the build has ended", || {
        site.api("GET", &format!("/apps/hello/builds/{id}"), None).1["status"] != "pending"
    });
    std::fs::read_to_string(site.data().join(format!("logs/{id}.log"))).unwrap()
}

#[track_caller]
fn assert_swept(site: &Site) {
    assert_nothing_left(site, "hello");
    eventually("the scratch directory is empty", || {
        let scratch = site.data().join("scratch");
        std::fs::read_dir(scratch).unwrap().count() == 0
    });
    let caches = site.data().join("caches").join(site.app_id("hello"));
    assert!(!caches.join("current").exists() && !caches.join("new").exists());
}

/// Takes a minute to be packed, and no room on the disk.
const SLOW_TO_PACK: &str = "touch $2/cached; cd $1; truncate -s 6G one two";

#[test]
fn a_pusher_who_leaves_ends_the_packing() {
    let site = Site::new();
    let app = app(&site, SLOW_TO_PACK);
    let mut push = start(&app);
    let (id, _) = says(&site, "Compressing...");
    let group = Pid::from_raw(i32::try_from(push.id()).unwrap());
    killpg(group, Signal::SIGINT).unwrap();
    push.wait().unwrap();
    let log = failure_of(&site, &id);
    assert!(!log.contains("Done:"), "{log}");
    assert_swept(&site);
}

#[test]
fn a_cancelled_build_is_packed_no_further() {
    let site = Site::new();
    let app = app(&site, SLOW_TO_PACK);
    let mut push = start(&app);
    let (id, _) = says(&site, "Compressing...");
    site.slugline(&["builds", "cancel", &id, "-a", "hello"])
        .success();
    assert!(!push.wait().unwrap().success());
    let log = failure_of(&site, &id);
    assert!(log.contains("The build was cancelled."), "{log}");
    assert!(!log.contains("Done:"), "{log}");
    assert_swept(&site);
}

#[test]
fn a_cancelled_build_leaves_nothing_running() {
    let site = Site::new();
    let app = app(
        &site,
        "setsid bash -c 'trap \"\" TERM HUP; (exec -a slugline-cancelled sleep 600) & exec -a slugline-cancelled sleep 600' &\n\
         trap '' TERM; echo begun; while :; do sleep 1; done",
    );
    let mut push = start(&app);
    let (id, _) = says(&site, "begun");
    eventually("all of it runs", || running("slugline-cancelled") == 2);
    site.slugline(&["builds", "cancel", &id, "-a", "hello"])
        .success();
    assert!(!push.wait().unwrap().success());
    failure_of(&site, &id);
    eventually("nothing is left", || running("slugline-cancelled") == 0);
    assert_swept(&site);
}

#[test]
fn a_cancelled_build_does_not_wait_for_a_slow_host() {
    let site = Site::that_fetches_from_loopback();
    let app = app(&site, ":");
    // It accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/source.tgz", silent.local_addr().unwrap());
    let source = json!({ "source_blob": { "url": url } });
    let build = site.api("POST", "/apps/hello/builds", Some(source)).1;
    let (mut asked, _) = silent.accept().unwrap();
    let mut byte = [0];
    asked.read_exact(&mut byte).unwrap();
    let id = build["id"].as_str().unwrap();
    site.slugline(&["builds", "cancel", id, "-a", "hello"])
        .success();
    let log = failure_of(&site, id);
    assert!(log.contains("The build was cancelled."), "{log}");
    // The same of a buildpack.
    let url = url.replace("source", "pack");
    app.slugline(&["buildpacks:set", &url]).success();
    let mut push = start(&app);
    let (mut asked, _) = silent.accept().unwrap();
    asked.read_exact(&mut byte).unwrap();
    let (id, _) = says(&site, "Using buildpack");
    site.slugline(&["builds", "cancel", &id, "-a", "hello"])
        .success();
    assert!(!push.wait().unwrap().success());
    assert_swept(&site);
}

#[test]
fn a_detect_has_its_own_time() {
    let site = Site::new();
    let app = app(&site, ":");
    app.write("bin/detect", "#!/bin/sh\ntrap '' TERM; sleep 600 & wait\n");
    app.commit("Slow");
    let said = app.push().failure(1).stderr;
    assert!(
        said.contains("Timed out asking the buildpack inline about the app."),
        "{said}"
    );
    assert!(
        said.contains("Its bin/detect ran for more than 30 seconds."),
        "{said}"
    );
    assert_swept(&site);
}

#[test]
fn a_build_is_followed_by_whoever_comes_later() {
    let site = Site::new();
    let app = app(
        &site,
        "echo first; until test -e /tmp/../cache/go; do sleep 0.1; done; echo last",
    );
    let mut push = start(&app);
    let (id, _) = says(&site, "first");
    let follow = || {
        let mut command = site.command(crate::site::SLUGLINE.as_ref());
        command
            .args(["builds", "output", &id, "-a", "hello"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    // One goes away in the middle, which is nothing to the build.
    let mut gone = follow();
    let mut stays = follow();
    for follower in [&mut gone, &mut stays] {
        let mut seen = String::new();
        let out = follower.stdout.as_mut().unwrap();
        while !seen.contains("first\n") {
            let mut byte = [0];
            out.read_exact(&mut byte).unwrap();
            seen.push(char::from(byte[0]));
        }
        assert!(seen.contains("Building source:"), "{seen}");
    }
    gone.kill().unwrap();
    gone.wait().unwrap();
    let scratch = site.seen_by_server(&site.data().join("scratch"));
    let build = std::fs::read_dir(scratch)
        .unwrap()
        .flatten()
        .next()
        .unwrap();
    std::fs::write(build.path().join("root/cache/go"), "").unwrap();
    assert!(push.wait().unwrap().success());
    let ended = stays.wait_with_output().unwrap();
    assert!(ended.status.success());
    let rest = String::from_utf8(ended.stdout).unwrap();
    assert!(
        rest.contains("last\n") && rest.contains("Released v2"),
        "{rest}"
    );
    // And again when it is over.
    let read = app.slugline(&["builds", "output", &id]).success().stdout;
    assert!(read.ends_with(&rest) && read.contains("first"), "{read}");
}
