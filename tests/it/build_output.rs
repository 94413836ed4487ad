//! What builds print: who reads it, and how much of it.

use std::fs;

use crate::site::Site;

/// Pushes an app whose build prints what the script says; gives the log's bytes and what the
/// pusher has read.
fn printed(script: &str) -> (Vec<u8>, String) {
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    app.write("bin/compile", &format!("#!/bin/sh\n{script}\n"));
    app.commit("Print");
    app.slugline(&["buildpacks:set", "inline"]).success();
    let said = app.push().stderr;
    let id = site.api("GET", "/apps/hello/builds", None).1[0]["id"].clone();
    let log = site
        .data()
        .join(format!("logs/{}.log", id.as_str().unwrap()));
    (fs::read(log).unwrap(), said)
}

#[test]
fn a_log_flood_is_cut_and_the_end_is_still_read() {
    let (log, said) =
        printed("yes 'the same line again and again' | head -c 2G; echo because; exit 1");
    assert!(log.len() < 34 << 20, "{}", log.len());
    for text in [&said, &String::from_utf8_lossy(&log).into_owned()] {
        let end = &text[text.len().saturating_sub(2000)..];
        assert!(
            text.contains(
                "The output of this buildpack is longer than 32 MiB; the rest is not shown."
            ),
            "{end}"
        );
        assert!(end.contains("because"), "{end}");
        assert!(
            end.contains("Push rejected, failed to compile Shell app."),
            "{end}"
        );
    }
}

#[test]
fn a_line_without_end_is_cut() {
    let (log, said) = printed("head -c 1G /dev/zero | tr '\\0' x; echo; echo after");
    assert!(log.len() < 200 << 10, "{}", log.len());
    assert!(said.contains("This line is longer than 64 KiB; the rest of it is not shown."));
    assert!(said.contains("Released v2"));
}

#[test]
fn bytes_of_any_kind_survive() {
    let (log, said) = printed("printf '10%%\\r20%%\\r\\033[1mdone\\033[0m \\377\\376 caf\\351\\n'");
    let bytes = b"10%\r20%\r\x1b[1mdone\x1b[0m \xff\xfe caf\xe9\n";
    assert!(log.windows(bytes.len()).any(|part| part == bytes));
    assert!(said.contains("20%"), "{said}");
}

#[test]
fn many_who_follow_a_build_keep_nobody_waiting() {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    app.slugline(&["buildpacks:set", "inline"]).success();
    let go = "until test -e /cache/../tmp/go; do sleep 0.1; done";
    app.write(
        "bin/compile",
        &format!("#!/bin/sh\necho begun\n{go}\necho done\n"),
    );
    app.commit("Wait");
    let mut push = app.git_command(&["push", "slugline", "main"]);
    let push = push.stderr(std::process::Stdio::null()).spawn().unwrap();
    let build = || site.api("GET", "/apps/hello/builds", None).1[0].clone();
    crate::site::eventually("the build is there", || build()["id"].is_string());
    let url = build()["output_stream_url"].as_str().unwrap().to_owned();
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let followers = (0..100).map(|_| {
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET /{path} HTTP/1.0\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert!(first.ends_with(b" 200"), "{first:?}");
        stream
    });
    let mut followers = followers.collect::<Vec<_>>();
    // None of them holds a thread of the server for as long as the build takes; those that have had
    // a look wait for more work for ten seconds.
    let threads = || {
        fs::read_dir(format!("/proc/{}/task", site.server_id()))
            .unwrap()
            .count()
    };
    crate::site::eventually("the threads are few", || threads() < 60);
    let id = build()["id"].as_str().unwrap().to_owned();
    let cancelled = site.api("DELETE", &format!("/apps/hello/builds/{id}"), None);
    assert_eq!(cancelled.0, 200, "{}", cancelled.1);
    let mut text = String::new();
    followers.pop().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("The build was cancelled."), "{text}");
    push.wait_with_output().unwrap();
}
