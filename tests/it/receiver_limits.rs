//! What one client may cost the others.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::site::{Site, eventually};
use crate::wire::{authorization, connect};

#[test]
fn too_many_connections_are_told_so() {
    let site = Site::new();
    let mut held = Vec::new();
    for _ in 0..256 {
        held.push(connect(&site));
    }
    let mut answer = String::new();
    connect(&site).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("Try again later."), "{answer}");
    drop(held);
    eventually("there are places again", || {
        let mut connection = connect(&site);
        connection
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        // Nothing is said to whoever has a place and asks for nothing.
        connection.read(&mut [0; 1]).is_err()
    });
    assert_eq!(site.api("GET", "/apps", None).0, 200);
}

#[test]
fn a_token_has_so_many_requests_at_once() {
    let site = Site::new();
    site.slugline(&["apps", "create", "hello"]).success();
    let made = site.slugline(&["token", "create", "other"]).success();
    let other = format!("Authorization: Bearer {}\r\n", made.stdout.trim());
    let status = |authorization: &str| {
        let mut connection = connect(&site);
        let head = format!(
            "GET /hello.git/info/refs?service=git-receive-pack HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer[9..12].to_owned()
    };
    let mine = authorization(&site);
    // Pushes that have begun and do not go on.
    let hold = || {
        let mut connection = connect(&site);
        let head = format!(
            "POST /hello.git/git-receive-pack HTTP/1.1\r\nHost: x\r\n{mine}Content-Length: 1000\r\n\r\n00"
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection
    };
    let mut held: Vec<_> = (0..64).map(|_| hold()).collect();
    eventually("the token's places are taken", || {
        let taken = status(&mine) == "429";
        // One that found them taken by a look at them did not try again.
        if !taken {
            held.push(hold());
        }
        taken
    });
    assert_eq!(status(&other), "200");
    drop(held);
    eventually("they are given back", || status(&mine) == "200");
}

#[test]
fn wrong_tokens_have_to_wait() {
    let site = Site::new();
    let wrong = |name: &str| {
        let start = Instant::now();
        assert_eq!(site.api_as(name, "GET", "/apps", None).0, 401);
        start.elapsed()
    };
    for n in 0..20 {
        wrong(&format!("wrong-{n}"));
    }
    assert!(wrong("wrong-20") >= Duration::from_secs(1));
    // The right one waits, too, and is let in.
    let start = Instant::now();
    assert_eq!(site.api("GET", "/apps", None).0, 200);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_proxy_names_the_client() {
    let site = Site::with(&["--behind-proxy"]);
    let wrong = |address: &str| {
        let mut connection = connect(&site);
        let head = format!(
            "GET /apps HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer wrong\r\nX-Forwarded-For: 203.0.113.1, {address}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    };
    for _ in 0..21 {
        wrong("192.0.2.1");
    }
    wrong("192.0.2.2");
    let waited = |address| {
        let log = site.server_log();
        let mut lines = log.lines().filter(|line| line.contains("has to wait"));
        lines.any(|line| line.contains(address))
    };
    assert!(waited("192.0.2.1"));
    assert!(!waited("192.0.2.2") && !waited("203.0.113.1"));
}

#[test]
fn a_document_over_its_limit_is_refused_as_that() {
    let site = Site::new();
    let request = |bytes: usize| {
        let name = "x".repeat(bytes);
        site.api("POST", "/apps", Some(serde_json::json!({ "name": name })))
    };
    let (status, answer) = request((1 << 20) + 1);
    assert_eq!((status, &answer["id"]), (413, &"request_too_large".into()));
    // One that is a little smaller is read, and refused for what it says.
    assert_eq!(request((1 << 20) - 100).0, 422);
}
