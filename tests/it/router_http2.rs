//! HTTP/2 by the router: real clients, and frames that no honest client sends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::dynos::{deployed, get, log, logged};
use crate::router::connect;
use crate::router_tls::{curl, with_tls};
use crate::site::{Ran, Site};

fn of_nghttp2(program: &str) -> &Path {
    let found = std::process::Command::new(program)
        .arg("--version")
        .output();
    found.unwrap_or_else(|_| panic!("this test uses {program}: apt-get install nghttp2-client"));
    Path::new(program)
}

#[test]
fn real_clients_speak_it_with_tls_and_without() {
    let (site, dir) = with_tls();
    deployed(&site, "hello");
    let port = site.router_port();
    let prior = site
        .command(Path::new("curl"))
        .args([
            "--silent",
            "--http2-prior-knowledge",
            "--write-out",
            "%{http_version}",
        ])
        .args(["--resolve", &format!("hello.localhost:{port}:127.0.0.1")])
        .arg(format!("http://hello.localhost:{port}/"))
        .output()
        .unwrap();
    assert_eq!(Ran::new(prior).success().stdout, "Hello from web.1\n2");
    // Without it a plain connection is HTTP/1.1, whatever it would rather be.
    let asked = curl(
        &site,
        &dir.join("apps.pem"),
        &["--http2", "--write-out", "%{http_version}"],
        "hello.localhost",
        "/",
    );
    assert_eq!(asked.success().stdout, "Hello from web.1\n2");
    let nghttp = site
        .command(of_nghttp2("nghttp"))
        .args([
            "--stat",
            "--multiply=20",
            "--header=:authority: hello.localhost",
        ])
        .arg(format!("http://127.0.0.1:{port}/env/DYNO"))
        .output()
        .unwrap();
    let shown = Ran::new(nghttp).success().stdout;
    assert_eq!(shown.matches("web.1").count(), 20, "{shown}");
    let tls = site.router_tls_port();
    let h2load = site
        .command(of_nghttp2("h2load"))
        .args([
            "--requests=500",
            "--clients=5",
            "--max-concurrent-streams=20",
        ])
        .args(["--connect-to", &format!("127.0.0.1:{tls}")])
        .arg(format!("https://hello.localhost:{tls}/"))
        .output()
        .unwrap();
    let shown = Ran::new(h2load).success().stdout;
    assert!(
        shown.contains("500 succeeded, 0 failed, 0 errored"),
        "{shown}"
    );
    assert!(shown.contains("Application protocol: h2"), "{shown}");
}

#[test]
fn faults_have_their_pages_and_codes_as_in_http1() {
    let site = Site::new();
    deployed(&site, "hello");
    let port = site.router_port();
    let ask = |path: &str, more: &[&str]| {
        let output = site
            .command(Path::new("curl"))
            .args([
                "--silent",
                "--http2-prior-knowledge",
                "--write-out",
                "%{http_code}",
            ])
            .args(["--resolve", &format!("hello.localhost:{port}:127.0.0.1")])
            .args(more)
            .arg(format!("http://hello.localhost:{port}{path}"))
            .output()
            .unwrap();
        Ran::new(output)
    };
    assert!(ask("/close", &[]).success().stdout.ends_with("503"));
    logged(
        &site,
        "hello",
        r#"code=H13 desc="Connection closed without response" method=GET path="/close""#,
    );
    assert_ne!(ask("/cut", &[]).code, Some(0), "the stream is reset");
    logged(
        &site,
        "hello",
        r#"code=H18 desc="Server Request Interrupted" method=GET path="/cut""#,
    );
    assert_ne!(ask("/sleep/20", &["--max-time", "1"]).code, Some(0));
    logged(
        &site,
        "hello",
        r#"sock=client at=warning code=H27 desc="Client Request Interrupted" method=GET path="/sleep/20""#,
    );
    assert!(
        ask("/", &["--header", "Host: none.localhost"])
            .success()
            .stdout
            .ends_with("404")
    );
    let long = format!("X-Long: {}", "x".repeat(100_000));
    let refused = ask("/", &["--header", &long]);
    assert!(
        refused.stdout.ends_with("431") || refused.code != Some(0),
        "{refused:?}"
    );
    assert_eq!(ask("/", &[]).success().stdout, "Hello from web.1\n200");
}

/// A frame. Source: RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A request's header block: `GET /say/x` on hello.localhost, without compression. Source: RFC 7541.
fn block() -> Vec<u8> {
    // `:method: GET` and `:scheme: http` of the static table.
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(":path", "/say/x"), (":authority", "hello.localhost")] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

fn open(site: &Site) -> TcpStream {
    let mut stream = connect(site);
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream
}

/// The kinds of the frames that come until the connection is closed, and the last one's payload.
fn frames(mut stream: TcpStream) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    // A connection that is reset has ended as well.
    let _ = stream.read_to_end(&mut all);
    let mut rest = all.as_slice();
    let mut found = Vec::new();
    while rest.len() >= 9 {
        let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
        let end = (9 + length).min(rest.len());
        found.push((rest[3], rest[9..end].to_vec()));
        rest = &rest[end..];
    }
    found
}

/// CVE-2023-44487: requests that are taken back as soon as they are made.
#[test]
fn requests_that_are_taken_back_end_the_connection() {
    let site = Site::new();
    deployed(&site, "hello");
    let mut stream = open(&site);
    let mut sent = 0;
    for n in 0..20_000_u32 {
        let id = 2 * n + 1;
        let mut pair = frame(HEADERS, END_STREAM | END_HEADERS, id, &block());
        pair.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
        if stream.write_all(&pair).is_err() {
            break;
        }
        sent += 1;
    }
    let last = frames(stream);
    let goaway = last.iter().find(|(kind, _)| *kind == GOAWAY);
    // A reset may overtake it.
    if let Some((_, payload)) = goaway {
        assert_eq!(payload[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    } else {
        assert!(sent < 20_000, "all of them were taken");
    }
    // Few of them have reached the app, and others are served.
    assert_eq!(get(&site, "hello", "/").0, 200);
    let reached = log(&site, "hello")
        .iter()
        .filter(|line| line.contains("path=\"/say/x\""))
        .count();
    assert!(reached < 1000, "{reached}");
}

/// CVE-2024-27316: headers that never end.
#[test]
fn headers_that_never_end_end_the_connection() {
    let site = Site::new();
    deployed(&site, "hello");
    let mut stream = open(&site);
    stream
        .write_all(&frame(HEADERS, END_STREAM, 1, &block()))
        .unwrap();
    // A literal header of 8,000 bytes, again and again.
    let mut field = vec![0, 1, b'x', 0x7f];
    field.extend([0xc1, 0x3d]);
    field.extend(vec![b'a'; 0x7f + 0x41 + (0x3d << 7)]);
    let piece = frame(CONTINUATION, 0, 1, &field);
    let mut sent = 0;
    while sent < 64 << 20 && stream.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    assert!(sent < 64 << 20, "all of it was taken");
    assert_eq!(get(&site, "hello", "/").0, 200);
}

/// Streams beyond the limit are refused, and what is no HTTP/2 ends the connection.
#[test]
fn too_many_streams_and_wrong_frames_are_refused() {
    let site = Site::new();
    deployed(&site, "hello");
    let mut stream = open(&site);
    let mut path = vec![0x82, 0x86, 0, 5];
    path.extend(b":path\x09/sleep/60\x00\x0a:authority\x0fhello.localhost");
    for n in 0..300_u32 {
        let request = frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &path);
        if stream.write_all(&request).is_err() {
            break;
        }
    }
    // A refused stream is reset with REFUSED_STREAM; so many at once may end the connection.
    let mut head = [0; 9];
    let refused = loop {
        if stream.read_exact(&mut head).is_err() {
            break true;
        }
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).is_err() {
            break true;
        }
        if head[3] == GOAWAY || head[3] == RST_STREAM && payload == 7_u32.to_be_bytes() {
            break true;
        }
    };
    assert!(refused);
    drop(stream);
    for wrong in [
        // Data for nobody, a frame that is too large, a setting out of range, half a header block.
        frame(0, 0, 1, b"x"),
        frame(HEADERS, END_HEADERS, 1, &vec![0; 1 << 20]),
        frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff]),
        frame(HEADERS, END_STREAM | END_HEADERS, 2, &block()),
        frame(CONTINUATION, END_HEADERS, 1, &block()),
    ] {
        let mut stream = open(&site);
        let _ = stream.write_all(&wrong);
        let all = frames(stream);
        assert!(
            all.iter().all(|(kind, _)| *kind != HEADERS),
            "{:?}",
            &wrong[..9]
        );
    }
    assert_eq!(get(&site, "hello", "/").0, 200);
}
