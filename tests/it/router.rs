//! The router: what passes, how it is changed, what goes wrong, and what hostile clients get.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::dynos::{deployed, get, logged};
use crate::site::{Site, agent, eventually};

pub fn connect(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", site.router_port())).unwrap();
    let longest = Some(Duration::from_secs(60));
    stream.set_read_timeout(longest).unwrap();
    stream
}

/// All that the router answers to some bytes, until it closes the connection.
pub fn raw(site: &Site, request: &str) -> String {
    let mut stream = connect(site);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A connection that is reset has ended as well.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

pub const HOST: &str = "Host: hello.localhost\r\n";
pub const CLOSE: &str = "Connection: close\r\n\r\n";

#[test]
fn requests_and_answers_pass_both_ways() {
    let site = Site::new();
    deployed(&site, "hello");
    // Headers.
    let request = format!(
        "GET /headers HTTP/1.1\r\n{HOST}X-Forwarded-For: 1.2.3.4\r\nX-Request-Id: 0123456789abcdefghij\r\nX-Own: a\r\nConnection: close, X-Own\r\n\r\n"
    );
    let answer = raw(&site, &request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nvia: 1.1 slugline"), "{head}");
    let headers: Vec<(String, String)> = serde_json::from_str(body).unwrap();
    let value = |name: &str| {
        let mut found = headers.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    };
    assert_eq!(value("host"), Some("hello.localhost"));
    assert_eq!(value("x-forwarded-for"), Some("1.2.3.4, 127.0.0.1"));
    assert_eq!(value("x-forwarded-proto"), Some("http"));
    assert_eq!(
        value("x-forwarded-port"),
        Some(&*site.router_port().to_string())
    );
    assert_eq!(value("x-request-id"), Some("0123456789abcdefghij"));
    assert_eq!(value("via"), Some("1.1 slugline"));
    assert!(value("x-request-start").unwrap().parse::<u64>().is_ok());
    assert_eq!((value("x-own"), value("connection")), (None, None));

    // Bodies, of known length and not.
    let url = format!("http://127.0.0.1:{}/", site.router_port());
    let post = agent().post(&url).header("Host", "hello.localhost");
    let text = post
        .send(vec![7_u8; 3 << 20])
        .unwrap()
        .body_mut()
        .read_to_string();
    assert_eq!(text.unwrap(), "3145728 bytes");
    let chunked = format!(
        "POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n{CLOSE}5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"
    );
    assert!(raw(&site, &chunked).ends_with("8 bytes"));
    let expecting =
        format!("POST / HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 2\r\n{CLOSE}ab");
    let answer = raw(&site, &expecting);
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue") && answer.ends_with("2 bytes"),
        "{answer}"
    );
    let zeros = get(&site, "hello", "/zeros/10000000");
    assert_eq!((zeros.0, zeros.1.len()), (200, 10_000_000));
    let head = raw(&site, &format!("HEAD / HTTP/1.1\r\n{HOST}{CLOSE}"));
    assert!(
        head.contains("content-length: 17\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let old = raw(&site, &format!("GET / HTTP/1.0\r\n{HOST}\r\n"));
    assert!(
        status(&old) == "200" && old.ends_with("Hello from web.1\n"),
        "{old}"
    );

    // As it comes: a line is there before the next is written.
    let mut stream = connect(&site);
    let request = format!("GET /stream/3 HTTP/1.1\r\n{HOST}{CLOSE}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut pieces = 0;
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).unwrap() > 0 {
        pieces += 1;
    }
    assert!(pieces >= 3, "{pieces} pieces");
    logged(
        &site,
        "hello",
        "heroku[router]: at=info method=GET path=\"/stream/3\" host=hello.localhost request_id=",
    );
}

#[test]
fn many_requests_on_one_connection() {
    let site = Site::new();
    deployed(&site, "hello");
    let one = format!("GET /env/DYNO HTTP/1.1\r\n{HOST}\r\n");
    let last = format!("GET / HTTP/1.1\r\n{HOST}{CLOSE}");
    let answer = raw(&site, &(one.repeat(5) + &last));
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 6, "{answer}");
    assert!(answer.ends_with("Hello from web.1\n"));
}

#[test]
fn an_upgraded_connection_is_passed_on() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    app.write(
        "echo.py",
        r#"
import os, socket, threading
server = socket.create_server(("0.0.0.0", int(os.environ["PORT"])))
def talk(peer):
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        head += peer.recv(4096)
    if b"upgrade: echo" not in head.lower():
        peer.sendall(b"HTTP/1.1 426 Upgrade Required\\r\\nContent-Length: 0\\r\\n\\r\\n")
        return
    peer.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nConnection: upgrade\\r\\nUpgrade: echo\\r\\n\\r\\nhi ")
    while data := peer.recv(65536):
        peer.sendall(data)
    peer.close()
while True:
    peer, _ = server.accept()
    threading.Thread(target=talk, args=(peer,), daemon=True).start()
"#
        .replace("\\\\", "\\").as_str(),
    );
    app.write("Procfile", "web: exec /usr/bin/python3 echo.py\n");
    app.commit("Echo");
    app.push().success();
    let mut stream = connect(&site);
    let request = format!("GET / HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\nhi ") {
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&head)
        );
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
    let sent = (0..200_000_u32)
        .flat_map(u32::to_le_bytes)
        .collect::<Vec<_>>();
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), sent.len());
        assert!(got == sent);
    });
    logged(&site, "hello", "status=101 bytes=800003");
    assert_eq!(
        status(&raw(&site, &format!("GET / HTTP/1.1\r\n{HOST}{CLOSE}"))),
        "426"
    );
}

#[test]
fn what_goes_wrong_has_its_code() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    assert_eq!(get(&site, "hello", "/close").0, 503);
    logged(
        &site,
        "hello",
        r#"at=error code=H13 desc="Connection closed without response" method=GET path="/close""#,
    );
    let cut = raw(&site, &format!("GET /cut HTTP/1.1\r\n{HOST}{CLOSE}"));
    assert!(cut.ends_with("\r\n\r\nshort"), "{cut}");
    logged(
        &site,
        "hello",
        r#"at=error code=H18 desc="Server Request Interrupted" method=GET path="/cut""#,
    );
    // A client that leaves.
    let mut stream = connect(&site);
    let request = format!("GET /sleep/30 HTTP/1.1\r\n{HOST}{CLOSE}");
    stream.write_all(request.as_bytes()).unwrap();
    logged(&site, "hello", "about to sleep");
    drop(stream);
    logged(
        &site,
        "hello",
        r#"at=warning code=H27 desc="Client Request Interrupted" method=GET path="/sleep/30""#,
    );
    // A dyno that is starting is waited for.
    app.slugline(&["config:set", "BOOT_SECONDS=2"]).success();
    app.slugline(&["ps:stop", "web"]).success();
    app.slugline(&["ps:restart", "web"]).success();
    assert_eq!(get(&site, "hello", "/").0, 200);
}

/// Each request, the status that the router gives it, and whether nginx gives the same.
const HOSTILE: [(&str, &str, &str, bool); 22] = [
    ("no host", "GET / HTTP/1.1\r\n\r\n", "400", true),
    (
        "two hosts",
        "GET / HTTP/1.1\r\nHost: hello.localhost\r\nHost: other.localhost\r\n\r\n",
        "400",
        true,
    ),
    (
        "an empty host",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "400",
        true,
    ),
    (
        "a host with a slash",
        "GET / HTTP/1.1\r\nHost: hello.localhost/x\r\n\r\n",
        "400",
        true,
    ),
    (
        "a host with a user",
        "GET / HTTP/1.1\r\nHost: a@hello.localhost\r\n\r\n",
        "400",
        false,
    ),
    (
        "a blank before the colon",
        "GET / HTTP/1.1\r\nHost : hello.localhost\r\n\r\n",
        "400",
        true,
    ),
    (
        "a folded header",
        "GET / HTTP/1.1\r\nHost: hello.localhost\r\nX-A: 1\r\n 2\r\n\r\n",
        "400",
        true,
    ),
    (
        "a NUL in a header",
        "GET / HTTP/1.1\r\nHost: hello.localhost\r\nX-A: a\0b\r\n\r\n",
        "400",
        true,
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "400",
        true,
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 1, 2\r\n\r\nab",
        "400",
        true,
    ),
    (
        "a length with a sign",
        "POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: +1\r\n\r\na",
        "400",
        true,
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: -1\r\n\r\na",
        "400",
        true,
    ),
    (
        "a huge length",
        "POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 99999999999999999999\r\n\r\na",
        "400",
        true,
    ),
    (
        "an encoding that is none",
        "POST / HTTP/1.1\r\nHost: hello.localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "400",
        false,
    ),
    (
        "chunked, and then another",
        "POST / HTTP/1.1\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "400",
        false,
    ),
    (
        "CONNECT",
        "CONNECT hello.localhost:80 HTTP/1.1\r\nHost: hello.localhost\r\n\r\n",
        "405",
        false,
    ),
    (
        "TRACE",
        "TRACE / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n",
        "405",
        true,
    ),
    (
        "no version of HTTP",
        "GET / HTTP/9.9\r\nHost: hello.localhost\r\n\r\n",
        "400",
        false,
    ),
    ("no request at all", "hello\r\n\r\n", "400", true),
    (
        "a method with a blank",
        "GE T / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n",
        "400",
        true,
    ),
    (
        "no path",
        "GET HTTP/1.1\r\nHost: hello.localhost\r\n\r\n",
        "400",
        true,
    ),
    (
        "a line end inside of the path",
        "GET /a\rb HTTP/1.1\r\nHost: hello.localhost\r\n\r\n",
        "400",
        true,
    ),
];

#[test]
fn hostile_requests_get_the_right_status() {
    let site = Site::new();
    deployed(&site, "hello");
    for (what, request, expected, _) in HOSTILE {
        let request = request.replacen(
            "\r\n\r\n",
            "\r\nConnection: close\r\n\r\n",
            usize::from(!request.contains("Connection")),
        );
        let answer = raw(&site, &request);
        assert_eq!(status(&answer), expected, "{what}: {answer}");
    }
    // Floods of headers.
    let long = format!(
        "GET / HTTP/1.1\r\n{HOST}X-A: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    assert_eq!(status(&raw(&site, &long)), "431");
    let many = format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "X-A: 1\r\n".repeat(2000));
    assert_eq!(status(&raw(&site, &many)), "431");
    let path = format!("GET /{} HTTP/1.1\r\n{HOST}\r\n", "a".repeat(70_000));
    assert!(["414", "431"].contains(&status(&raw(&site, &path))));
    assert_eq!(get(&site, "hello", "/").0, 200);
}

/// A request that hides another reaches its own app as one, with its body as its body.
#[test]
fn nothing_is_smuggled_to_an_app() {
    let site = Site::new();
    deployed(&site, "hello");
    let hidden = "GET /say/smuggled HTTP/1.1\r\nHost: other.localhost\r\n\r\n";
    let lengths = format!("Content-Length: {}\r\n", hidden.len() + 5);
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (first, second) in [(lengths.as_str(), chunked), (chunked, lengths.as_str())] {
        let request = format!("POST / HTTP/1.1\r\n{HOST}{first}{second}\r\n0\r\n\r\n{hidden}");
        let mut stream = connect(&site);
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        // Either refused, or taken as its chunks say; what follows is then the client's own next
        // request on its own connection, never a part of what the dyno got.
        assert!(["200", "400"].contains(&status(&answer)), "{answer}");
    }
    for bad in ["5;\nx", "0x5", "-5", "5 5", "ffffffffffffffffff", "5\n"] {
        let request =
            format!("POST / HTTP/1.1\r\n{HOST}{chunked}{CLOSE}{bad}\r\nhello\r\n0\r\n\r\n");
        let answer = raw(&site, &request);
        assert_ne!(status(&answer), "200", "{bad:?}: {answer}");
    }
    // The absolute form names the app, whatever the header says.
    let absolute = raw(
        &site,
        &format!("GET http://hello.localhost/headers HTTP/1.1\r\nHost: other.localhost\r\n{CLOSE}"),
    );
    let headers: Value = serde_json::from_str(absolute.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let hosts = headers
        .as_array()
        .unwrap()
        .iter()
        .filter(|pair| pair[0] == "host");
    assert_eq!(
        hosts.map(|pair| pair[1].clone()).collect::<Vec<_>>(),
        ["hello.localhost"]
    );
    let other = raw(
        &site,
        &format!("GET http://other.localhost/ HTTP/1.1\r\n{HOST}{CLOSE}"),
    );
    assert_eq!(status(&other), "404");
    // Nothing of what was hidden has come to the dyno.
    let lines = crate::dynos::log(&site, "hello");
    assert!(
        !lines.iter().any(|line| line.contains("smuggled")),
        "{lines:#?}"
    );
}

/// A dyno that answers twice poisons nobody's next answer, whether the second comes with the first or
/// while nobody uses the connection. (One that comes after the next request has been sent cannot be
/// told from its answer.)
#[test]
fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let site = Site::new();
    deployed(&site, "hello");
    for _ in 0..10 {
        assert_eq!(get(&site, "hello", "/extra").1, "first");
        assert_eq!(get(&site, "hello", "/env/DYNO").1, "web.1");
    }
    let log = || crate::dynos::log(&site, "hello");
    for round in 1..=5 {
        assert_eq!(get(&site, "hello", "/extra/0.05").1, "first");
        eventually("the second answer", || {
            let lines = log();
            let twice = lines.iter().filter(|line| line.contains("answered twice"));
            twice.count() == round
        });
        assert_eq!(get(&site, "hello", "/env/DYNO").1, "web.1");
    }
    let lines = log();
    assert!(
        !lines.iter().any(|line| line.contains("code=H")),
        "{lines:#?}"
    );
}

/// nginx, as a reverse proxy of the same app, is the oracle.
#[test]
fn nginx_refuses_what_the_router_refuses() {
    let site = Site::without_server();
    let backend = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = backend.local_addr().unwrap().port();
    let front = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = front.local_addr().unwrap().port();
    drop(front);
    let dir = site.path("nginx");
    std::fs::create_dir(&dir).unwrap();
    let dir = dir.display();
    let config = format!(
        "daemon off; pid {dir}/pid; error_log {dir}/error.log;\nevents {{}}\nhttp {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\nserver {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }} }}\n"
    );
    std::fs::write(site.path("nginx.conf"), config).unwrap();
    let program = ["/usr/sbin/nginx", "nginx"].into_iter();
    let program = program
        .map(std::path::Path::new)
        .find(|path| path.is_file());
    let program = program.expect("this test compares with nginx: apt-get install nginx-light");
    let mut nginx = site.command(program);
    let conf = site.path("nginx.conf");
    nginx.args([
        "-e",
        &format!("{dir}/error.log"),
        "-c",
        conf.to_str().unwrap(),
    ]);
    let mut nginx = nginx.spawn().unwrap();
    crate::site::eventually("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut failures = Vec::new();
    for (what, request, expected, same) in HOSTILE {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        let _ = stream.read_exact(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        if (status(&answer) == expected) != same {
            failures.push(format!("{what}: {answer:?}"));
        }
    }
    let id = nix::unistd::Pid::from_raw(nginx.id().cast_signed());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    nginx.wait().unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
}
