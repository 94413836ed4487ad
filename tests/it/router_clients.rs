//! Real clients of the router: what a dyno sees of their requests, WebSockets, and who counts them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::dynos::{deployed, get, logged};
use crate::router::{CLOSE, HOST, raw};
use crate::site::{Ran, Site, eventually};

/// Each header that a dyno gets, and each that a client gets back.
#[test]
fn the_headers_of_a_request_are_heroku_s() {
    let site = Site::new();
    deployed(&site, "hello");
    let ask = |more: &str| {
        let answer = raw(
            &site,
            &format!("GET /headers?x=1 HTTP/1.1\r\n{HOST}{more}{CLOSE}"),
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut headers: Vec<(String, String)> = serde_json::from_str(body).unwrap();
        headers.sort();
        let mut text = String::new();
        for (name, value) in headers {
            let is_new = name == "x-request-id" && value.len() == 36;
            let value = match name.as_str() {
                "x-request-start" => {
                    assert!(value.len() == 13 && value.parse::<u64>().is_ok(), "{value}");
                    "[ms]".to_owned()
                }
                "x-request-id" if is_new => "[id]".to_owned(),
                "x-forwarded-port" => value.replace(&site.router_port().to_string(), "[port]"),
                _ => value,
            };
            writeln!(text, "> {name}: {value}").unwrap();
        }
        for line in head.lines() {
            let shown = if line.starts_with("date:") {
                "date: [date]"
            } else {
                line
            };
            let shown = match line.split_once(": ") {
                Some(("server", _)) => "server: [app]",
                // The port's digits are a part of it.
                Some(("content-length", _)) => "content-length: [n]",
                _ => shown,
            };
            writeln!(text, "< {shown}").unwrap();
        }
        text
    };
    let plain = ask("");
    let all = ask(
        "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Port: 1\r\nX-Request-Id: 0123456789abcdefghij\r\n\
X-Request-Start: 1\r\nVia: 1.0 before\r\nX-Own: a\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nCookie: a=1; b=2\r\n",
    );
    insta::assert_snapshot!(format!("{plain}\n{all}"));
    // The line of such a request, whole.
    let log = crate::dynos::log(&site, "hello");
    let line = log
        .iter()
        .rfind(|line| line.contains("heroku[router]"))
        .unwrap();
    let words = line.split(' ').map(|word| match word.split_once('=') {
        Some((name @ ("connect" | "service" | "bytes"), _)) => format!("{name}=[n]"),
        _ => word.to_owned(),
    });
    insta::assert_snapshot!(words.collect::<Vec<_>>().join(" "), @r#"heroku[router]: at=info method=GET path="/headers?x=1" host=hello.localhost request_id=0123456789abcdefghij fwd="1.2.3.4,127.0.0.1" dyno=web.1 connect=[n] service=[n] status=200 bytes=[n] protocol=http"#);
}

/// The app of the next test, and its client: both are Python's `websockets`.
const APP: &str = r#"
import asyncio, os, websockets

async def talk(socket):
    await socket.send(f"hello from {os.environ['DYNO']} {socket.request_headers['X-Forwarded-Proto']}")
    async for message in socket:
        if message == "bye":
            await socket.close(4001, "as you like")
            return
        await socket.send(message)

async def main():
    async with websockets.serve(talk, "0.0.0.0", int(os.environ["PORT"]), max_size=None):
        await asyncio.Future()

asyncio.run(main())
"#;

const CLIENT: &str = r#"
import asyncio, os, sys, websockets

async def main(port):
    connect = lambda: websockets.connect(f"ws://hello.localhost:{port}/chat", host="127.0.0.1", port=port, max_size=None)
    async with connect() as socket:
        assert await socket.recv() == "hello from web.1 http"
        # Texts, bytes, and a message that is larger than any buffer; both sides at once.
        await socket.send("grüß dich")
        assert await socket.recv() == "grüß dich"
        big = os.urandom(5_000_000)
        await socket.send(big)
        assert await socket.recv() == big
        async def flood():
            for n in range(2000):
                await socket.send(str(n))
        sending = asyncio.create_task(flood())
        for n in range(2000):
            assert await socket.recv() == str(n)
        await sending
        # A ping of ours, and its answer.
        await asyncio.wait_for(await socket.ping(), 30)
        # The app closes.
        await socket.send("bye")
        try:
            await socket.recv()
            raise SystemExit("still open")
        except websockets.ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as you like"), closed
    # The client closes.
    async with connect() as socket:
        await socket.recv()
        await socket.close(1000, "done")
        assert socket.close_code == 1000
    # What is no WebSocket is refused by the app itself.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n")
    assert b" 426 " in (await reader.readline())
    print("done")

asyncio.run(main(int(sys.argv[1])))
"#;

#[test]
fn a_websocket_client_talks_with_its_app() {
    let site = Site::new();
    let app = site.app("hello", "inline_dynos");
    app.slugline(&["buildpacks", "set", "inline"]).success();
    app.write("talk.py", APP);
    app.write("Procfile", "web: exec /usr/bin/python3 talk.py\n");
    app.commit("WebSockets");
    app.push().success();
    let mut client = site.command(Path::new("/usr/bin/python3"));
    let port = site.router_port().to_string();
    let ran = client
        .args(["-c", CLIENT, &port])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = Ran::new(ran);
    assert!(
        !ran.stderr.contains("No module named"),
        "this test talks by Python's websockets: apt-get install python3-websockets"
    );
    assert_eq!(ran.success().stdout, "done\n");
    logged(&site, "hello", r#"at=info method=GET path="/chat""#);
    logged(&site, "hello", "status=101 bytes=");
}

fn numbers(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    std::io::read_to_string(stream).unwrap()
}

#[test]
fn requests_are_counted_by_app_and_status() {
    let site = Site::with(&["--metrics", "127.0.0.1:0"]);
    let address = site.metrics();
    for name in ["one", "two"] {
        deployed(&site, name);
    }
    for _ in 0..3 {
        get(&site, "one", "/");
    }
    get(&site, "one", "/env/NONE");
    get(&site, "two", "/close");
    get(&site, "none", "/");
    let wanted = [
        "# TYPE slugline_router_requests_total counter",
        r#"slugline_router_requests_total{app="one",status="200"} 3"#,
        r#"slugline_router_requests_total{app="one",status="404"} 1"#,
        r#"slugline_router_requests_total{app="two",status="503"} 1"#,
        r#"slugline_router_errors_total{app="two",code="H13"} 1"#,
        r#"slugline_router_response_bytes_total{app="one"} 51"#,
        r#"slugline_router_requests_under_way{app="one"} 0"#,
        "slugline_router_unrouted_requests_total 1",
        "# TYPE slugline_router_connections gauge",
    ];
    // A request is counted when its end is known.
    eventually("all are counted", || {
        let text = numbers(&address, "/metrics");
        wanted
            .iter()
            .all(|line| text.lines().any(|has| has == *line))
    });
    let text = numbers(&address, "/metrics");
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"),
        "{text}"
    );
    assert!(numbers(&address, "/").starts_with("HTTP/1.1 404 "));
    site.slugline(&["apps:destroy", "two", "--confirm", "two"])
        .success();
    assert!(!numbers(&address, "/metrics").contains("two"));
    // Nobody else's to read, and a reader that never asks keeps nobody from asking.
    let _silent = std::net::TcpStream::connect(&address).unwrap();
    assert!(numbers(&address, "/metrics").contains("app=\"one\""));
    let other = Site::without_server();
    let refused = other
        .slugline(&["serve", "--metrics", "0.0.0.0:0"])
        .failure(2);
    assert!(
        refused.stderr.contains("of this machine alone"),
        "{}",
        refused.stderr
    );
}
