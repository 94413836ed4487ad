//! Releases as images: `/v2/…`, the read-only half of OCI's distribution API.
//!
//! `HOST/APP:v3` is the image of a release, `HOST/APP:latest` that of the current one. The layers are
//! the store's own blobs, byte for byte; the two documents are made when they are asked for.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;
use std::sync::Arc;

use anyhow::Result;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, HeaderName, HeaderValue, RANGE};
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::reply::{Reply, bytes, failed, json_reply, unauthorized};
use super::{Server, auth, streams};
use crate::digest::Digest;
use crate::platform::image::{CONFIG_TYPE, Image, MANIFEST_TYPE};
use crate::platform::ledger::{App, ReleaseRow};
use crate::release::Status;
use crate::slug::SlugRecord;

const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What was asked for.
enum Found {
    Document(&'static str, Vec<u8>),
    Tags(Value),
    Blob(Digest, Blob),
    /// The code and what is said of it.
    Missing(&'static str, String),
}

/// Bytes to be sent.
struct Blob {
    size_bytes: u64,
    reader: Box<dyn Read + Send>,
    /// The same without a check, for a part of them.
    file: File,
}

/// Answers a request below `/v2/`.
pub(super) async fn answer(
    server: &Arc<Server>,
    path: &[&str],
    request: Request<Incoming>,
) -> Reply {
    let mut reply = match auth::token(server, &request).await {
        Ok(Some(_)) => answered(server, path, &request).await,
        Ok(None) => unauthorized(true),
        Err(error) => failed(&server.explain(&error.into())),
    };
    let version = HeaderValue::from_static("registry/2.0");
    reply.headers_mut().insert(VERSION, version);
    reply
}

async fn answered(server: &Arc<Server>, path: &[&str], request: &Request<Incoming>) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let message = "Images are made by pushing with git; this registry is only read.";
        return error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message);
    }
    if path.is_empty() {
        return json_reply(StatusCode::OK, &json!({}));
    }
    let own = server.clone();
    let path = path
        .iter()
        .map(|part| (*part).to_owned())
        .collect::<Vec<_>>();
    let found = tokio::task::spawn_blocking(move || own.find(&path)).await;
    match found.map_err(anyhow::Error::from).and_then(|found| found) {
        Ok(Found::Document(media_type, body)) => {
            let digest = Digest::of(&body);
            let mut reply = bytes(media_type, body);
            describe(&mut reply, &digest);
            reply
        }
        Ok(Found::Tags(tags)) => json_reply(StatusCode::OK, &tags),
        Ok(Found::Blob(digest, blob)) => {
            let mut reply = send(blob, request);
            describe(&mut reply, &digest);
            reply
        }
        Ok(Found::Missing(code, message)) => error(StatusCode::NOT_FOUND, code, &message),
        Err(error) => failed(&server.explain(&error)),
    }
}

impl Server {
    /// Finds what a path below `/v2/` names. Blocks.
    fn find(&self, path: &[String]) -> Result<Found> {
        let parts = path.iter().map(String::as_str).collect::<Vec<_>>();
        let [name, kind, reference] = parts[..] else {
            let message = "There is no such resource.".to_owned();
            return Ok(Found::Missing("NAME_UNKNOWN", message));
        };
        let Ok(app) = self.platform.ledger.app(name) else {
            let message = format!("There is no app {name}.");
            return Ok(Found::Missing("NAME_UNKNOWN", message));
        };
        match (kind, reference.parse::<Digest>()) {
            ("tags", _) if reference == "list" => self.tags(&app),
            ("manifests", Ok(digest)) => self.document(&app, digest, "MANIFEST_UNKNOWN"),
            ("manifests", Err(_)) => self.tagged(&app, reference),
            ("blobs", Ok(digest)) => self.blob(&app, digest),
            _ => {
                let message = format!("There is no {reference} of {name}.");
                Ok(Found::Missing("MANIFEST_UNKNOWN", message))
            }
        }
    }

    fn tags(&self, app: &App) -> Result<Found> {
        let releases = self.releases(app)?;
        let mut tags = releases
            .iter()
            .map(|release| release.version.to_string())
            .collect::<Vec<_>>();
        if !tags.is_empty() {
            tags.push("latest".to_owned());
        }
        Ok(Found::Tags(json!({ "name": app.name, "tags": tags })))
    }

    fn tagged(&self, app: &App, tag: &str) -> Result<Found> {
        let releases = self.releases(app)?;
        let release = releases.iter().find(|release| match tag {
            "latest" => release.current,
            tag => release.version.to_string() == tag,
        });
        let Some(slug) = release.and_then(|release| release.slug_id.as_ref()) else {
            let message = format!("There is no release {tag} of {} with a slug.", app.name);
            return Ok(Found::Missing("MANIFEST_UNKNOWN", message));
        };
        let slug = self.platform.ledger.slug(slug)?;
        let image = self.image(&slug.record);
        Ok(Found::Document(MANIFEST_TYPE, image.manifest))
    }

    /// A manifest or a config by its digest.
    fn document(&self, app: &App, digest: Digest, code: &'static str) -> Result<Found> {
        for slug in self.slugs(app)? {
            let image = self.image(&slug);
            if Digest::of(&image.manifest) == digest {
                return Ok(Found::Document(MANIFEST_TYPE, image.manifest));
            }
            if Digest::of(&image.config) == digest {
                return Ok(Found::Document(CONFIG_TYPE, image.config));
            }
        }
        let message = format!("There is no {digest} of {}.", app.name);
        Ok(Found::Missing(code, message))
    }

    fn blob(&self, app: &App, digest: Digest) -> Result<Found> {
        if let Some(stack) = self
            .stack_layer
            .as_ref()
            .filter(|stack| stack.digest == digest)
        {
            let file = File::open(&stack.path)?;
            let blob = Blob {
                size_bytes: stack.size_bytes,
                reader: Box::new(file.try_clone()?),
                file,
            };
            return Ok(Found::Blob(digest, blob));
        }
        if self.slugs(app)?.iter().any(|slug| slug.digest == digest) {
            let reader = self.platform.store.read_verified(&digest)?;
            let blob = Blob {
                size_bytes: reader.size_bytes()?,
                reader: Box::new(reader),
                file: self.platform.store.open_blob(&digest)?,
            };
            return Ok(Found::Blob(digest, blob));
        }
        self.document(app, digest, "BLOB_UNKNOWN")
    }

    fn image(&self, slug: &SlugRecord) -> Image {
        Image::of(slug, self.stack_layer.as_ref())
    }

    /// The releases that can run.
    fn releases(&self, app: &App) -> Result<Vec<ReleaseRow>> {
        let mut releases = self.platform.ledger.releases(&app.id)?;
        releases.retain(|release| release.slug_id.is_some() && release.status == Status::Succeeded);
        Ok(releases)
    }

    /// The slugs of the releases, each once.
    fn slugs(&self, app: &App) -> Result<Vec<SlugRecord>> {
        let mut ids = Vec::new();
        for release in self.releases(app)? {
            ids.extend(release.slug_id.filter(|id| !ids.contains(id)));
        }
        let slug = |id: &String| Ok(self.platform.ledger.slug(id)?.record);
        ids.iter().map(slug).collect()
    }
}

/// Sends a blob, or the part of it that was asked for.
fn send(blob: Blob, request: &Request<Incoming>) -> Reply {
    let size = blob.size_bytes;
    let (status, length, range) = match range(request, size) {
        None => (StatusCode::OK, size, None),
        Some(Ok(range)) => {
            let said = format!("bytes {}-{}/{size}", range.start(), range.end());
            let length = range.end() - range.start() + 1;
            (
                StatusCode::PARTIAL_CONTENT,
                length,
                Some((*range.start(), said)),
            )
        }
        Some(Err(())) => {
            let message = format!("The blob has {size} bytes.");
            let mut reply = error(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", &message);
            if let Ok(said) = HeaderValue::from_str(&format!("bytes */{size}")) {
                reply.headers_mut().insert(CONTENT_RANGE, said);
            }
            return reply;
        }
    };
    let media_type = "application/octet-stream";
    let mut reply = if request.method() == Method::HEAD {
        bytes(media_type, Vec::new())
    } else if let Some((start, _)) = range {
        match part(blob.file, start, length) {
            Ok(part) => streams::send(media_type, Some(length), part),
            Err(_gone) => return error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "It is gone."),
        }
    } else {
        streams::send(media_type, Some(length), blob.reader)
    };
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(said) = range.and_then(|(_, said)| HeaderValue::from_str(&said).ok()) {
        headers.insert(CONTENT_RANGE, said);
    }
    reply
}

fn part(mut file: File, start: u64, length: u64) -> io::Result<impl Read + Send + 'static> {
    file.seek(SeekFrom::Start(start))?;
    Ok(file.take(length))
}

/// The one range that a request asks for; all of it where it asks for something else. Source: RFC
/// 9110, 14.
fn range(request: &Request<Incoming>, size: u64) -> Option<Result<RangeInclusive<u64>, ()>> {
    let text = request.headers().get(RANGE)?.to_str().ok()?;
    parse_range(text, size)
}

fn parse_range(text: &str, size: u64) -> Option<Result<RangeInclusive<u64>, ()>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = size.checked_sub(1);
    let range = if first.is_empty() {
        let count = last.parse::<u64>().ok()?;
        (size.saturating_sub(count), end.filter(|_| count > 0))
    } else {
        let first = first.parse::<u64>().ok()?;
        let last = match last {
            "" => u64::MAX,
            last => last.parse().ok()?,
        };
        if last < first {
            return None;
        }
        (first, end.map(|end| end.min(last)))
    };
    Some(match range {
        (first, Some(last)) if first <= last => Ok(first..=last),
        _ => Err(()),
    })
}

fn describe(reply: &mut Reply, digest: &Digest) {
    if let Ok(digest) = HeaderValue::from_str(&digest.to_string()) {
        reply.headers_mut().insert(CONTENT_DIGEST, digest);
    }
}

/// An error in the registry's form.
fn error(status: StatusCode, code: &str, message: &str) -> Reply {
    let document = json!({ "errors": [{ "code": code, "message": message }] });
    json_reply(status, &document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        let of = |text| parse_range(text, 10);
        assert_eq!(of("bytes=0-3"), Some(Ok(0..=3)));
        assert_eq!(of("bytes=4-"), Some(Ok(4..=9)));
        assert_eq!(of("bytes=-3"), Some(Ok(7..=9)));
        assert_eq!(of("bytes=-30"), Some(Ok(0..=9)));
        assert_eq!(of("bytes=9-100"), Some(Ok(9..=9)));
        assert_eq!(of("bytes=10-"), Some(Err(())));
        assert_eq!(of("bytes=-0"), Some(Err(())));
        // What is no range, or more than one, is as if it were not there.
        for text in [
            "bytes=3-2",
            "bytes=x-",
            "lines=1-2",
            "bytes=1-2,4-5",
            "bytes",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Some(Err(())));
    }
}
