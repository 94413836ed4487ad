//! The client against a server that answers what it is told to: who is to blame for what.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;

use serde_json::json;

use super::super::testing::{response, serve};
use super::*;

fn client(url: &str) -> Client {
    let server: ServerUrl = url.parse().unwrap();
    Client {
        agent: agent(&server),
        server,
        token: Token::of_file("hunter2", Path::new("/data/admin-token")),
    }
}

/// What a client makes of one answer.
fn got(answer: String) -> Result<Value, ClientError> {
    let (url, server) = serve(vec![answer]);
    let got = client(&url).get("/apps");
    server.join().unwrap();
    got
}

#[test]
fn a_request_carries_version_token_and_body() {
    let (url, server) = serve(vec![response("201 Created", "", r#"{"name":"hello"}"#)]);
    let made = client(&url)
        .post("/apps", &json!({ "name": "hello" }))
        .unwrap();
    assert_eq!(made["name"], "hello");
    let request = server.join().unwrap().remove(0).to_lowercase();
    for part in [
        "post /apps http/1.1\r\n",
        "accept: application/vnd.heroku+json; version=3\r\n",
        "authorization: bearer hunter2\r\n",
        "content-type: application/json\r\n",
        "\r\n\r\n{\"name\":\"hello\"}",
    ] {
        assert!(request.contains(part), "{part:?} in {request}");
    }
}

#[test]
fn a_list_is_read_page_by_page() {
    let (url, server) = serve(vec![
        response(
            "206 Partial Content",
            "next-range: name ]a..; max=1\r\n",
            "[1]",
        ),
        response("200 OK", "", "[2]"),
    ]);
    let all = client(&url).list("/apps", None, usize::MAX).unwrap();
    assert_eq!(all, [1, 2]);
    let requests = server.join().unwrap();
    assert!(!requests[0].contains("range: "));
    assert!(requests[1].contains("range: name ]a..; max=1\r\n"));
}

#[test]
fn enough_is_enough() {
    let answer = response("206 Partial Content", "next-range: x\r\n", "[1, 2]");
    let (url, server) = serve(vec![answer]);
    let some = client(&url).list("/apps", Some("name ..; max=2"), 2);
    assert_eq!(some.unwrap(), [1, 2]);
    assert!(server.join().unwrap()[0].contains("range: name ..; max=2\r\n"));
}

#[test]
fn the_server_s_refusal_is_passed_on() {
    let body = r#"{"id":"not_found","message":"Couldn't find that app.","url":"https://x/y"}"#;
    let error = got(response("404 Not Found", "", body)).unwrap_err();
    let ClientError::Refused {
        status,
        id,
        message,
        url,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((status, id.as_str()), (404, "not_found"));
    assert_eq!(message, "Couldn't find that app.");
    assert_eq!(url.as_deref(), Some("https://x/y"));
}

#[test]
fn a_refused_token_is_named_by_its_origin_and_not_shown() {
    let body = r#"{"id":"unauthorized","message":"Invalid credentials provided."}"#;
    let error = got(response("401 Unauthorized", "", body)).unwrap_err();
    let ClientError::Unauthorized { origin, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(origin, "the token in /data/admin-token");
    assert!(!format!("{error:?} {error}").contains("hunter2"));
}

#[test]
fn something_else_that_answers_is_no_server() {
    for (answer, expected) in [
        (response("200 OK", "", "<html>"), Some(200)),
        (response("404 Not Found", "", "nothing here"), Some(404)),
        (response("502 Bad Gateway", "", "<html>"), Some(502)),
        (
            response("302 Found", "location: http://127.0.0.1:1/\r\n", ""),
            Some(302),
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), None),
    ] {
        let error = got(answer.clone()).unwrap_err();
        let ClientError::NotAServer { status, .. } = error else {
            panic!("{answer:?}: {error:?}");
        };
        assert_eq!(status, expected, "{answer:?}");
    }
}

#[test]
fn a_cut_answer_is_interrupted() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1"] {
        let error = got(answer.to_owned()).unwrap_err();
        let interrupted = matches!(error, ClientError::Interrupted { .. });
        assert!(interrupted, "{answer:?}: {error:?}");
    }
}

#[test]
fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&url).get("/apps").unwrap_err();
    assert!(matches!(&error, ClientError::Connect { url: tried, .. } if *tried == url));
}

#[test]
fn an_empty_answer_is_no_document() {
    assert_eq!(got(response("202 Accepted", "", "")).unwrap(), Value::Null);
}

#[test]
fn a_stream_is_read_without_the_token() {
    let (url, server) = serve(vec![response("200 OK", "", "-----> Building\n")]);
    let mut text = String::new();
    let stream = client(&url).open(&format!("{url}/output?signature=x"));
    stream.unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "-----> Building\n");
    let request = server.join().unwrap().remove(0);
    assert!(!request.contains("hunter2"));
}

#[test]
fn a_refused_stream_says_what_the_server_says() {
    let (url, server) = serve(vec![response(
        "403 Forbidden",
        "",
        "This link has expired.\n",
    )]);
    let opened = client(&url).open(&format!("{url}/output"));
    let error = opened.map(drop).unwrap_err();
    server.join().unwrap();
    assert!(matches!(
        &error,
        ClientError::Refused { status: 403, message, .. } if message == "This link has expired."
    ));
}

#[test]
fn a_segment_of_a_path_is_one_whatever_it_holds() {
    assert_eq!(segment("laptop-1.x"), "laptop-1.x");
    assert_eq!(segment("my laptop/../ü?"), "my%20laptop%2F..%2F%C3%BC%3F");
}
