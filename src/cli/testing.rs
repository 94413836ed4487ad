//! What the commands' tests share: answers, and a server that says what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::answers::{Id, Release, User};

/// A release that has succeeded.
pub fn release(version: u64, eligible_for_rollback: bool) -> Release {
    Release {
        id: format!("release-{version}"),
        version,
        description: format!("Change {version}"),
        status: "succeeded".into(),
        current: false,
        eligible_for_rollback,
        user: User {
            email: "laptop".into(),
        },
        created_at: "2026-01-02T00:00:00Z".into(),
        slug: Some(Id {
            id: format!("slug-{version}"),
        }),
    }
}

/// Gives each connection the next of `answers`, whole, and closes it. Gives the server's URL and,
/// at the end, the requests.
pub fn serve(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = std::thread::spawn(move || {
        let answer = |answer: String| {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request).unwrap() > 0 {}
            let length = request.to_lowercase();
            let length = length.split_once("content-length: ");
            let length =
                length.map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
            request + std::str::from_utf8(&body).unwrap()
        };
        answers.into_iter().map(answer).collect()
    });
    (url, requests)
}

/// An HTTP response.
pub fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}
