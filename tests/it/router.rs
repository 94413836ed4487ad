//! The router: what passes, and how it is changed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::dynos::{deployed, get, logged};
use crate::site::{Site, agent};

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
