//! An app's log as a stream, behind a signed URL that a log session gives.

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::ACCEPT;
use percent_encoding::percent_decode_str;

use super::Server;
use super::bridge::{BodyWriter, channel};
use super::reply::{Reply, not_found, stream};
use super::streams::{allowed, refused};
use crate::platform::log_stream::{Filter, KEPT, Line, Reader};
use crate::sandbox::Cancel;

/// Lines of a session that names no number. Source: Heroku's default.
const LINES: usize = 100;

/// What is sent into silence, so that a client that has gone is noticed: an empty comment of the
/// event stream, nothing to see in a text.
const KEEP_ALIVE: &[u8] = b":\n";

/// `GET /logs/APP?lines=N&tail=true&source=S&dyno=D`, as text, or as events for who asks for them.
pub(super) async fn read(server: &Server, app_id: &str, request: &Request<Incoming>) -> Reply {
    if !allowed(server, request).await {
        return refused();
    }
    let Ok(app) = server.platform.ledger.app(app_id) else {
        return not_found("There is no such app.");
    };
    let query = request.uri().query().unwrap_or_default();
    let field = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(key, _)| *key == name);
        let decoded = percent_decode_str(found.next()?.1).decode_utf8().ok()?;
        (!decoded.is_empty()).then(|| decoded.into_owned())
    };
    let lines = field("lines").and_then(|lines| lines.parse().ok());
    let filter = Filter {
        source: field("source").and_then(|source| source.parse().ok()),
        process: field("dyno"),
    };
    let tail = field("tail").is_some_and(|tail| tail == "true");
    let accept = request.headers().get(ACCEPT);
    let events = accept.is_some_and(|accept| accept.as_bytes() == b"text/event-stream");
    let log = server.platform.streams.of(&app.id);
    let reader = log.read(lines.unwrap_or(LINES).min(KEPT), filter);
    let (writer, body) = channel(KEEP_ALIVE, Cancel::default());
    if tail && events {
        writer.enable_keep_alive();
    }
    tokio::spawn(write(reader, writer, tail, events));
    let content_type = if events {
        "text/event-stream"
    } else {
        "text/plain; charset=utf-8"
    };
    stream(content_type, body)
}

async fn write(mut reader: Reader, writer: BodyWriter, tail: bool, events: bool) {
    let mut number = 0_u64;
    let mut text_of = |lines: &[std::sync::Arc<Line>], missed: u64| {
        let mut text = String::new();
        if missed > 0 {
            let notice = format!(
                "heroku[logs]: Error L11 (Tail buffer overflow) -> This tail session dropped {missed} lines."
            );
            text += &shown(&notice, events, &mut number);
        }
        for line in lines {
            text += &shown(line.text(), events, &mut number);
        }
        text
    };
    if !writer.send(text_of(&reader.take_first(), 0)).await || !tail {
        return;
    }
    loop {
        tokio::select! {
            news = reader.next() => {
                let Some(news) = news else { return };
                if !writer.send(text_of(&news.lines, news.missed)).await {
                    return;
                }
            }
            () = writer.left() => return,
        }
    }
}

fn shown(line: &str, events: bool, number: &mut u64) -> String {
    if !events {
        return format!("{line}\n");
    }
    *number += 1;
    format!("id: {number}\ndata: {line}\n\n")
}
