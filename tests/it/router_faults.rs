//! What goes wrong on the way to a dyno and back: each code with its status, its page and its line.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::dynos::{deployed, get, log, logged, states};
use crate::router::{CLOSE, HOST, connect, raw, status};
use crate::site::{Site, eventually};

/// A site whose router has less patience.
fn impatient(settings: &[(&str, &str)]) -> Site {
    let mut site = Site::without_server();
    let all = [
        ("SLUGLINE_ROUTER_FIRST_BYTE_SECONDS", "2"),
        ("SLUGLINE_ROUTER_SILENCE_SECONDS", "3"),
    ];
    let listens = site.try_start(&[], &[&all, settings].concat());
    assert!(listens, "no server: {}", site.server_log());
    site
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{HOST}{CLOSE}")
}

/// The answer has this status and a page that says this.
#[track_caller]
fn shows(answer: &str, code: &str, page: &str) {
    assert_eq!(status(answer), code, "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("content-type: text/html; charset=utf-8"),
        "{head}"
    );
    assert!(head.contains("cache-control: no-cache, no-store"), "{head}");
    assert!(body.contains(&format!("<h1>{page}</h1>")), "{body}");
}

const ERROR: &str = "Application error";

#[test]
fn h10_h14_h80_h81_nobody_answers() {
    let site = Site::new();
    let app = site.app("hello", "inline_dynos");
    app.slugline(&["buildpacks", "set", "inline"]).success();
    shows(
        &raw(&site, &request("/")),
        "502",
        "There is nothing here yet",
    );
    logged(
        &site,
        "hello",
        r#"heroku[router]: at=info code=H81 desc="Blank app" method=GET path="/" host=hello.localhost"#,
    );
    logged(
        &site,
        "hello",
        "dyno= connect= service= status=502 bytes= protocol=http",
    );
    app.slugline(&["config:set", "CRASH=1"]).success();
    app.push().success();
    shows(&raw(&site, &request("/crashed")), "503", ERROR);
    logged(
        &site,
        "hello",
        r#"at=error code=H10 desc="App crashed" method=GET path="/crashed""#,
    );
    app.slugline(&["ps:scale", "web=0"]).success();
    eventually("no dyno", || states(&site, "hello").is_empty());
    shows(&raw(&site, &request("/none")), "503", ERROR);
    logged(
        &site,
        "hello",
        r#"at=error code=H14 desc="No web processes running" method=GET path="/none""#,
    );
    app.slugline(&["maintenance:on"]).success();
    shows(
        &raw(&site, &request("/closed")),
        "503",
        "Offline for maintenance",
    );
    logged(
        &site,
        "hello",
        r#"at=info code=H80 desc="Maintenance mode" method=GET path="/closed""#,
    );
    app.slugline(&["maintenance:off"]).success();
    app.slugline(&["config:unset", "CRASH"]).success();
    app.slugline(&["ps:scale", "web=1"]).success();
    eventually("the app", || get(&site, "hello", "/").0 == 200);
}

#[test]
fn h12_h15_h18_h13_the_dyno_is_too_slow_or_breaks_off() {
    let site = impatient(&[]);
    deployed(&site, "hello");
    shows(&raw(&site, &request("/sleep/20")), "503", ERROR);
    logged(
        &site,
        "hello",
        r#"at=error code=H12 desc="Request timeout" method=GET path="/sleep/20""#,
    );
    let line = log(&site, "hello")
        .into_iter()
        .find(|line| line.contains("H12"))
        .unwrap();
    assert!(
        line.contains(" dyno=web.1 connect=")
            && line.ends_with("ms status=503 bytes=0 protocol=http"),
        "{line}"
    );
    // An answer that has begun and then says nothing.
    let stalled = raw(&site, &request("/stall/20"));
    assert!(
        status(&stalled) == "200" && stalled.ends_with("\r\n\r\nshort"),
        "{stalled}"
    );
    logged(
        &site,
        "hello",
        r#"at=error code=H15 desc="Idle connection" method=GET path="/stall/20""#,
    );
    logged(&site, "hello", "status=503 bytes=5 protocol=http");
    let cut = raw(&site, &request("/cut"));
    assert!(
        status(&cut) == "200" && cut.ends_with("\r\n\r\nshort"),
        "{cut}"
    );
    logged(
        &site,
        "hello",
        r#"sock=backend at=error code=H18 desc="Server Request Interrupted" method=GET path="/cut""#,
    );
    shows(&raw(&site, &request("/close")), "503", ERROR);
    logged(
        &site,
        "hello",
        r#"at=error code=H13 desc="Connection closed without response" method=GET path="/close""#,
    );
    // A slow body is no slow dyno.
    let mut stream = connect(&site);
    let head = format!("POST /slow HTTP/1.1\r\n{HOST}Content-Length: 6\r\n{CLOSE}");
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..6 {
        sleep(Duration::from_millis(400));
        stream.write_all(b"x").unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        status(&answer) == "200" && answer.ends_with("6 bytes"),
        "{answer}"
    );
    // One that goes on says something often enough, however long it takes.
    let began = Instant::now();
    let long = raw(&site, &request("/stream/20"));
    assert!(
        began.elapsed() > Duration::from_secs(3) && long.ends_with("0\r\n\r\n"),
        "{long}"
    );
}

#[test]
fn h27_h28_h26_the_client_leaves_stops_or_sends_too_much() {
    let site = impatient(&[
        ("SLUGLINE_ROUTER_BODY_BYTES", "1000"),
        ("SLUGLINE_ROUTER_FIRST_BYTE_SECONDS", "30"),
    ]);
    deployed(&site, "hello");
    let mut stream = connect(&site);
    stream.write_all(request("/sleep/30").as_bytes()).unwrap();
    logged(&site, "hello", "about to sleep");
    drop(stream);
    logged(
        &site,
        "hello",
        r#"sock=client at=warning code=H27 desc="Client Request Interrupted" method=GET path="/sleep/30""#,
    );
    let line = log(&site, "hello")
        .into_iter()
        .find(|line| line.contains("H27"))
        .unwrap();
    assert!(
        line.ends_with("ms status=499 bytes= protocol=http"),
        "{line}"
    );
    // It has announced more than it sends; the dyno's time for its answer has not begun.
    let half = format!("POST /half HTTP/1.1\r\n{HOST}Content-Length: 50\r\n{CLOSE}0123456789");
    assert_eq!(status(&raw(&site, &half)), "499");
    logged(
        &site,
        "hello",
        r#"at=warning code=H28 desc="Client Connection Idle" method=POST path="/half""#,
    );
    // As much as is allowed, and a byte more: announced, and not.
    let body = |count: usize| {
        format!(
            "POST /large HTTP/1.1\r\n{HOST}Content-Length: {count}\r\n{CLOSE}{}",
            "x".repeat(count)
        )
    };
    assert!(raw(&site, &body(1000)).ends_with("1000 bytes"));
    shows(&raw(&site, &body(1001)), "413", "Request too large");
    logged(
        &site,
        "hello",
        r#"at=error code=H26 desc="Request Error" method=POST path="/large""#,
    );
    let chunked = |count: usize| {
        format!(
            "POST /chunked HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n{CLOSE}{count:x}\r\n{}\r\n0\r\n\r\n",
            "x".repeat(count)
        )
    };
    assert!(raw(&site, &chunked(1000)).ends_with("1000 bytes"));
    shows(&raw(&site, &chunked(1001)), "413", "Request too large");
    logged(
        &site,
        "hello",
        r#"code=H26 desc="Request Error" method=POST path="/chunked""#,
    );
    assert_eq!(get(&site, "hello", "/").0, 200);
}

#[test]
fn h20_a_dyno_that_starts_for_too_long() {
    let site = impatient(&[("SLUGLINE_ROUTER_BOOT_SECONDS", "1")]);
    let app = deployed(&site, "hello");
    app.slugline(&["ps:stop", "web"]).success();
    app.slugline(&["config:set", "BOOT_SECONDS=50"]).success();
    eventually("a start", || states(&site, "hello") == ["web.1 starting"]);
    shows(&raw(&site, &request("/early")), "503", ERROR);
    logged(
        &site,
        "hello",
        r#"at=error code=H20 desc="App boot timeout" method=GET path="/early""#,
    );
}

#[test]
fn a_dyno_that_starts_is_waited_for() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    app.slugline(&["config:set", "BOOT_SECONDS=2"]).success();
    app.slugline(&["ps:stop", "web"]).success();
    app.slugline(&["ps:restart", "web"]).success();
    assert_eq!(get(&site, "hello", "/").0, 200);
}

/// Nothing has been sent to a dyno that refuses: the next one gets all of it.
#[test]
fn h21_a_dyno_that_refuses_is_passed_over() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    app.slugline(&["ps:scale", "web=2"]).success();
    eventually("two dynos", || {
        states(&site, "hello") == ["web.1 up", "web.2 up"]
    });
    assert_eq!(raw(&site, &request("/deaf")).lines().last(), Some("deaf"));
    // No connection is kept for as long.
    sleep(Duration::from_secs(2));
    let post = format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\n{CLOSE}hello");
    for _ in 0..16 {
        assert!(raw(&site, &post).ends_with("5 bytes"));
    }
    assert!(
        !log(&site, "hello")
            .iter()
            .any(|line| line.contains("code=H"))
    );
    // And then the other one.
    eventually("both deaf", || {
        raw(&site, &request("/deaf")).contains("503")
    });
    // Another thread of the router may have a connection that it keeps.
    sleep(Duration::from_secs(2));
    shows(&raw(&site, &request("/nobody")), "503", ERROR);
    logged(
        &site,
        "hello",
        r#"at=error code=H21 desc="Backend connection refused" method=GET path="/nobody""#,
    );
    let lines = log(&site, "hello");
    let line = lines.iter().find(|line| line.contains("/nobody")).unwrap();
    assert!(
        line.ends_with("ms service= status=503 bytes= protocol=http"),
        "{line}"
    );
}

/// Who sends headers drop by drop, bodies byte by byte, or reads nothing, holds up nobody else, and
/// not for long.
#[test]
fn slow_clients_starve_nobody() {
    let site = impatient(&[("SLUGLINE_ROUTER_HEADER_SECONDS", "3")]);
    deployed(&site, "hello");
    let head = format!("GET / HTTP/1.1\r\n{HOST}X-Slow: ");
    let mut slow = (0..300)
        .map(|n| {
            let mut stream = connect(&site);
            let text = match n % 3 {
                0 => head.clone(),
                1 => format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 1000\r\n\r\n"),
                _ => request("/zeros/100000000"),
            };
            // Some have been closed by the time that the last are opened.
            let _ = stream.write_all(text.as_bytes());
            stream
        })
        .collect::<Vec<_>>();
    for _ in 0..20 {
        // The app itself, which has two hundred of them, may be late on a busy machine.
        eventually("an answer", || get(&site, "hello", "/").0 == 200);
    }
    // Those that send go on sending; the headers have their time all the same.
    for _ in 0..8 {
        for (n, stream) in slow.iter_mut().enumerate() {
            if n % 3 == 0 {
                let _ = stream.write_all(b"x");
            }
        }
        sleep(Duration::from_millis(500));
    }
    // On a busy machine the app comes to the last of them when the first are closed.
    eventually("the end of all who read nothing", || {
        let lines = log(&site, "hello").into_iter();
        let ended = lines.filter(|line| line.contains(r#"path="/zeros/100000000""#));
        ended.count() == 100
    });
    // A connection that was closed can be read to its end.
    for (n, mut stream) in slow.into_iter().enumerate() {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 50_000_000, "{n}: {} bytes", rest.len());
    }
    logged(
        &site,
        "hello",
        r#"at=error code=H15 desc="Idle connection" method=GET path="/zeros/100000000""#,
    );
    assert_eq!(get(&site, "hello", "/").0, 200);
}
