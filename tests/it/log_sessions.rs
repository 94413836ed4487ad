//! Followers of a log that are too slow for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::dynos::{deployed, get, logged};
use crate::site::Site;

#[test]
fn a_follower_that_does_not_read_is_told_what_it_missed_and_slows_nobody() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    let body = json!({ "lines": 1, "tail": true });
    let session = site.api("POST", "/apps/hello/log-sessions", Some(body)).1;
    let url = session["logplex_url"].as_str().unwrap();
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut follower = TcpStream::connect(host).unwrap();
    write!(follower, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    // As many bytes as no socket's buffers hold, within what a dyno may write a second.
    let long = "a=$(printf %08000d 0); for n in 1 2 3 4; do for m in $(seq 1500); do echo $n $m $a; done; sleep 1; done; echo said";
    app.slugline(&["run", "-d", "--", long]).success();
    logged(&site, "hello", "app[run.1]: said");
    assert_eq!(get(&site, "hello", "/").0, 200);
    follower
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let (mut seen, mut piece) = (String::new(), vec![0; 1 << 16]);
    let mut is_told = false;
    while !(is_told && seen.contains("app[run.1]: said")) {
        let count = follower.read(&mut piece).unwrap();
        assert!(count > 0, "the session has ended");
        // What is looked for may lie across two pieces.
        seen = seen.split_off(seen.len().saturating_sub(1000));
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
        is_told |= seen.contains(
            "heroku[logs]: Error L11 (Tail buffer overflow) -> This tail session dropped ",
        );
    }
}
