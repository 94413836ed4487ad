//! What the router does with hostile clients and dynos, beside nginx.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::dynos::{deployed, get, log};
use crate::router::{CLOSE, HOST, connect, raw, status};
use crate::site::{Site, eventually};

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
    let lines = log(&site, "hello");
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
    let said = || log(&site, "hello");
    for round in 1..=5 {
        assert_eq!(get(&site, "hello", "/extra/0.05").1, "first");
        eventually("the second answer", || {
            let lines = said();
            let twice = lines.iter().filter(|line| line.contains("answered twice"));
            twice.count() == round
        });
        assert_eq!(get(&site, "hello", "/env/DYNO").1, "web.1");
    }
    let lines = said();
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
    eventually("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
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
