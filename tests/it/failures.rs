//! Pushes that fail: what the pusher reads, and that nothing is left.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use base64::Engine as _;

use crate::site::{Ran, Repository, Site, eventually, files_below};

/// No ref, no object, no slug of the app; git finds the repository in order.
#[track_caller]
pub fn assert_nothing_left(site: &Site, name: &str) {
    let bare = site.bare(name);
    let refs = site
        .command(Path::new("git"))
        .arg("-C")
        .arg(&bare)
        .arg("for-each-ref")
        .output()
        .unwrap();
    assert_eq!(Ran::new(refs).success().stdout, "");
    let objects = files_below(&bare.join("objects"));
    assert!(
        objects
            .iter()
            .all(|path| path.ends_with("/info/alternates") || !path.contains("pack-")),
        "{objects:?}"
    );
    assert!(
        !objects.iter().any(|path| path.contains("incoming-")),
        "{objects:?}"
    );
    assert_eq!(site.blobs(), 0);
    let releases = site.api("GET", &format!("/apps/{name}/releases"), None).1;
    assert_eq!(
        releases.as_array().unwrap().len(),
        1,
        "only the initial release"
    );
}

fn failed_push(fixture: &str) -> (Site, String) {
    let site = Site::new();
    let transcript = {
        let app = site.app("hello", fixture);
        app.push().failure(1).transcript(&site)
    };
    assert_nothing_left(&site, "hello");
    let builds = site.api("GET", "/apps/hello/builds", None).1;
    assert_eq!(builds[0]["status"], "failed");
    // The log is kept, and is what the pusher has read.
    let log = site
        .slugline(&[
            "builds",
            "output",
            builds[0]["id"].as_str().unwrap(),
            "-a",
            "hello",
        ])
        .failure(1);
    for line in log.stdout.lines().filter(|line| line.starts_with(" !")) {
        assert!(
            transcript.contains(crate::redaction::redact(line).trim_end()),
            "{line:?} in {transcript}"
        );
    }
    (site, transcript)
}

#[test]
fn broken_requirements() {
    let (_, transcript) = failed_push("python_broken_requirements");
    // pip's list of versions grows with PyPI.
    let lines = transcript
        .lines()
        .filter(|line| !line.contains("from versions:"));
    insta::assert_snapshot!("broken_requirements", lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_syntax_error_in_the_procfile() {
    insta::assert_snapshot!(
        "procfile_syntax_error",
        failed_push("procfile_syntax_error").1
    );
}

#[test]
fn no_detectable_language() {
    insta::assert_snapshot!("no_language", failed_push("no_language").1);
}

#[test]
fn a_lockfile_out_of_sync() {
    let (_, transcript) = failed_push("nodejs_lock_out_of_sync");
    assert!(
        transcript.contains("npm lockfile is not in sync"),
        "{transcript}"
    );
    assert!(
        transcript.contains("Push rejected, failed to compile Node.js app."),
        "{transcript}"
    );
}

#[test]
fn a_failed_push_can_be_mended() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_bad_package_json");
    app.push().failure(1);
    app.write(
        "package.json",
        r#"{"name":"x","version":"1.0.0","scripts":{"start":"node server.js"}}"#,
    );
    app.commit("Mend");
    let push = app.push().success();
    assert!(push.stderr.contains("Released v2"), "{}", push.stderr);
}

#[test]
fn a_broken_push_leaves_the_release_that_is_there() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    let good = app.head();
    app.write("package.json", "{");
    app.commit("Break");
    app.push().failure(1);
    assert!(
        app.git(&["ls-remote", "slugline", "main"])
            .success()
            .stdout
            .contains(&good)
    );
    let current = site.api("GET", "/apps/hello/releases/current", None).1;
    assert_eq!(current["version"], 2);
    assert_eq!(site.blobs(), 2);
}

#[test]
fn an_app_that_does_not_exist() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.git(&[
        "remote",
        "set-url",
        "slugline",
        &format!("{}/helo.git", site.url()),
    ])
    .success();
    let push = app.push().failure(128);
    insta::assert_snapshot!("unknown_app", push.transcript(&site));
    assert_nothing_left(&site, "hello");
}

#[test]
fn a_wrong_token() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    let mut push = app.git_command(&["push", "slugline", "main"]);
    let push = Ran::new(
        push.env("SLUGLINE_TOKEN", "slugline_wrong")
            .output()
            .unwrap(),
    );
    insta::assert_snapshot!("wrong_token", push.failure(128).transcript(&site));
    assert_nothing_left(&site, "hello");
}

#[test]
fn a_revoked_token() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    let token = site
        .slugline(&["token", "create", "laptop"])
        .success()
        .stdout
        .trim()
        .to_owned();
    let push = |token: &str| {
        let mut push = app.git_command(&["push", "slugline", "main"]);
        Ran::new(push.env("SLUGLINE_TOKEN", token).output().unwrap())
    };
    push(&token).success();
    site.slugline(&["token", "revoke", "laptop"]).success();
    app.write("more.txt", "more");
    app.commit("More");
    push(&token).failure(128);
}

/// The body of a push as git sends it: commands and pack.
fn push_body(app: &Repository<'_>) -> Vec<u8> {
    let head = app.head();
    let zero = "0".repeat(40);
    let command =
        format!("{zero} {head} refs/heads/main\0 report-status side-band-64k object-format=sha1");
    let mut body = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
    let pack = app.git_command(&["pack-objects", "--revs", "--stdout", "--quiet"]);
    let mut pack = { pack };
    let mut child = pack
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(format!("{head}\n").as_bytes())
        .unwrap();
    body.extend(child.wait_with_output().unwrap().stdout);
    body
}

/// Text that a pack hardly makes smaller.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b' ' + (state >> 58) as u8)
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn a_push_killed_half_way() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    // What is small never leaves memory.
    app.write("noise.txt", &noise(4 << 20));
    app.commit("Noise");
    let body = push_body(&app);
    let address = site.url().trim_start_matches("http://").to_owned();
    let credentials =
        base64::engine::general_purpose::STANDARD.encode(format!("x:{}", site.token()));
    let mut connection = TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /hello.git/git-receive-pack HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(&body[..body.len() / 2]).unwrap();
    eventually("the server has begun to receive", || {
        files_below(&site.bare("hello").join("objects"))
            .iter()
            .any(|path| path.contains("incoming-"))
    });
    drop(connection);
    eventually("the quarantine is gone", || {
        !files_below(&site.bare("hello").join("objects"))
            .iter()
            .any(|path| path.contains("incoming-"))
    });
    assert_nothing_left(&site, "hello");
    // The same push, whole, goes through.
    app.push().success();
}

#[test]
fn a_pusher_who_leaves_ends_the_build() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_build_script");
    app.write(
        "build.js",
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600000)",
    );
    app.commit("Endless");
    let mut push = app.git_command(&["push", "slugline", "main"]);
    // git and its HTTP helper: a Ctrl-C reaches both.
    let mut push = push
        .stderr(std::process::Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    eventually("the build is under way", || {
        let builds = site.api("GET", "/apps/hello/builds", None).1;
        builds[0]["id"].as_str().is_some_and(|id| {
            let log = std::fs::read_to_string(site.data().join(format!("logs/{id}.log")));
            log.is_ok_and(|log| log.contains("Running build"))
        })
    });
    let group = nix::unistd::Pid::from_raw(i32::try_from(push.id()).unwrap());
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGINT).unwrap();
    push.wait().unwrap();
    eventually("the build has failed", || {
        site.api("GET", "/apps/hello/builds", None).1[0]["status"] == "failed"
    });
    assert_nothing_left(&site, "hello");
}

#[test]
fn a_truncated_request_is_no_request() {
    let site = Site::new();
    site.app("hello", "nodejs_http");
    let address = site.url().trim_start_matches("http://").to_owned();
    let credentials =
        base64::engine::general_purpose::STANDARD.encode(format!("x:{}", site.token()));
    let mut connection = TcpStream::connect(&address).unwrap();
    let body = "zzzz not a packet";
    let request = format!(
        "POST /hello.git/git-receive-pack HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {credentials}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(
        answer.contains("This is not git's push protocol."),
        "{answer}"
    );
}
