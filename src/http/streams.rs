//! What goes over the wire as a stream, behind signed URLs: build output, slugs, sources.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Request, StatusCode};
use tempfile::NamedTempFile;

use super::bridge::{BodyReader, BodyWriter, channel};
use super::reply::{Reply, failed, json_reply, not_found, stream, text};
use super::{Server, auth};
use crate::digest::Digest;
use crate::platform::ledger::{Scope, Token};
use crate::platform::logs::{LogReader, Piece};
use crate::sandbox::Cancel;
use crate::store;

/// How often a log is looked at that its build still writes.
const LOOK: Duration = Duration::from_millis(100);

/// Largest source that can be put.
const SOURCE_LIMIT_BYTES: u64 = 1 << 30;

/// Whether the request carries a signature or a token of its own.
pub(super) async fn allowed<B>(server: &Server, request: &Request<B>) -> bool {
    let uri = request.uri();
    let signed = server.signer.allows(
        request.method().as_str(),
        uri.path(),
        uri.query().unwrap_or_default(),
    );
    // Without a signature, a token of the whole server: whose a blob is, is not looked up.
    let whole = |token: Token| token.scope == Scope::default();
    signed
        || auth::token(server, request)
            .await
            .is_ok_and(|token| token.is_some_and(whole))
}

pub(super) fn refused() -> Reply {
    text(
        StatusCode::FORBIDDEN,
        "This link is not valid, or has expired. Ask for the resource again to get a new one.",
    )
}

/// `GET /builds/ID/output`: the build's log, followed to its end.
pub(super) async fn build_output(server: &Server, id: &str, request: &Request<Incoming>) -> Reply {
    if !allowed(server, request).await {
        return refused();
    }
    // The ledger knows the id: it cannot name a file elsewhere.
    if server.platform.ledger.build(id).is_err() {
        return not_found("There is no such build.");
    }
    match server.platform.logs.read(id) {
        Ok(log) => follow(log),
        Err(_) => not_found("The log of this build is no more."),
    }
}

/// `GET /releases/ID/output`: what a release's command says, followed to its end.
pub(super) async fn release_output(
    server: &Server,
    id: &str,
    request: &Request<Incoming>,
) -> Reply {
    if !allowed(server, request).await {
        return refused();
    }
    // An id names no file elsewhere.
    let log = id.parse::<uuid::Uuid>().ok();
    match log.and_then(|id| server.platform.logs.read(&id.to_string()).ok()) {
        Some(log) => follow(log),
        None => not_found("The release command has not started yet."),
    }
}

/// `GET /blobs/DIGEST`: a slug or a manifest, verified while it is sent.
pub(super) async fn blob(server: &Server, digest: &str, request: &Request<Incoming>) -> Reply {
    if !allowed(server, request).await {
        return refused();
    }
    let Ok(digest) = digest.parse::<Digest>() else {
        return not_found("There is no such blob.");
    };
    let store = server.platform.store.clone();
    // It may have to be fetched from a bucket first.
    let opened = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let blob = store.read_verified(&digest)?;
        Ok((blob.size_bytes()?, blob))
    });
    let opened = opened.await.map_err(anyhow::Error::from);
    match opened.and_then(|opened| opened) {
        Ok((size, blob)) => send("application/gzip", Some(size), blob),
        Err(error) => match error.downcast_ref() {
            Some(store::Error::NotFound { .. }) => not_found("There is no such blob."),
            _ => failed(&server.explain(&error)),
        },
    }
}

/// `GET /sources/ID`: what was put there.
pub(super) async fn read_source(server: &Server, id: &str, request: &Request<Incoming>) -> Reply {
    if !allowed(server, request).await {
        return refused();
    }
    let known = server.platform.ledger.source(id).is_ok();
    match File::open(server.platform.data.source(id)) {
        Ok(file) if known => {
            let size = file.metadata().map(|meta| meta.len()).ok();
            send("application/gzip", size, file)
        }
        _ => not_found("Nothing was put to this source yet."),
    }
}

/// `PUT /sources/ID`: takes an archive.
pub(super) async fn write_source(server: &Server, id: &str, request: Request<Incoming>) -> Reply {
    if !allowed(server, &request).await {
        return refused();
    }
    if server.platform.ledger.source(id).is_err() {
        return not_found("There is no such source.");
    }
    let data = &server.platform.data;
    let (path, dir) = (data.source(id), data.sources());
    let body = BodyReader::new(request.into_body(), &server.limits);
    let written = tokio::task::spawn_blocking(move || -> io::Result<bool> {
        // Removed by itself if the upload is cut; the next start removes what a dead server left.
        let mut part = NamedTempFile::new_in(&dir)?;
        let mut body = body.take(SOURCE_LIMIT_BYTES + 1);
        let bytes = io::copy(&mut body, &mut part)?;
        if bytes > SOURCE_LIMIT_BYTES {
            io::copy(body.get_mut(), &mut io::sink())?;
            return Ok(false);
        }
        part.persist(&path)?;
        Ok(true)
    });
    match written.await {
        Ok(Ok(true)) => json_reply(StatusCode::OK, &serde_json::json!({})),
        Ok(Ok(false)) => text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "A source may have 1 GiB at most.",
        ),
        _ => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The source could not be written.",
        ),
    }
}

/// Sends a build's log to its end. No thread waits for a build: there may be many that follow one.
fn follow(mut log: LogReader) -> Reply {
    let (writer, body) = channel(b"", Cancel::default());
    tokio::spawn(async move {
        loop {
            let look = move || {
                let piece = log.piece();
                (log, piece)
            };
            let Ok((looked, piece)) = tokio::task::spawn_blocking(look).await else {
                return;
            };
            log = looked;
            match piece {
                Ok(Piece::Bytes(bytes)) => {
                    if !writer.send(bytes).await {
                        return;
                    }
                }
                Ok(Piece::NotYet) => tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = writer.left() => return,
                },
                // A file that cannot be read ends the answer, too.
                Ok(Piece::End) | Err(_) => return,
            }
        }
    });
    stream("text/plain; charset=utf-8", body)
}

/// Sends what a reader gives, read on a blocking thread.
pub(super) fn send(
    content_type: &'static str,
    size_bytes: Option<u64>,
    mut reader: impl Read + Send + 'static,
) -> Reply {
    let (mut writer, body) = channel(b"", Cancel::default());
    tokio::task::spawn_blocking(move || {
        // A client that leaves, or a blob that proves damaged, cuts the response short; with a
        // length announced the client sees that it is not whole.
        if let Err(error) = copy(&mut reader, &mut writer) {
            tracing::debug!(%error, "a stream was cut short");
        }
    });
    let mut reply = stream(content_type, body);
    if let Some(size) = size_bytes {
        reply
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    reply
}

/// Like `io::copy`, with larger pieces.
fn copy(reader: &mut impl Read, writer: &mut BodyWriter) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            n => writer.write_all(&buffer[..n])?,
        }
    }
}
