//! Responses: JSON for the API, plain text for git, streams for the rest.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::bridge::ChannelBody;
use crate::output::{Blame, Failure};

/// The body of every answer.
pub(super) type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;
/// What every handler returns.
pub(super) type Reply = Response<ReplyBody>;

fn full(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()).boxed_unsync());
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    no_cache(&mut reply);
    reply
}

fn no_cache(reply: &mut Reply) {
    reply.headers_mut().insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, max-age=0, must-revalidate"),
    );
}

/// A JSON document.
pub(super) fn json_reply(status: StatusCode, document: &Value) -> Reply {
    full(status, "application/json", document.to_string())
}

/// A text that git shows as `remote: …`.
pub(super) fn text(status: StatusCode, message: &str) -> Reply {
    full(status, "text/plain; charset=utf-8", format!("{message}\n"))
}

/// Bytes of a media type.
pub(super) fn bytes(content_type: &'static str, body: Vec<u8>) -> Reply {
    full(StatusCode::OK, content_type, body)
}

/// A body that is written while it is sent.
pub(super) fn stream(content_type: &'static str, body: ChannelBody) -> Reply {
    let mut reply = Response::new(body.boxed_unsync());
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    no_cache(&mut reply);
    reply
}

/// A failure in the Platform API's form: `{id, message}`.
pub(super) fn failed(failure: &Failure) -> Reply {
    let document = json!({ "id": failure.id, "message": failure.message() });
    json_reply(status_of(failure), &document)
}

/// The same failure for git, whose users read plain text.
pub(super) fn failed_text(failure: &Failure) -> Reply {
    text(status_of(failure), &failure.message())
}

/// The status that goes with a failure. Source: the Platform API's error table.
fn status_of(failure: &Failure) -> StatusCode {
    match (failure.id.as_str(), failure.blame) {
        ("not_found", _) => StatusCode::NOT_FOUND,
        ("unauthorized", _) => StatusCode::UNAUTHORIZED,
        ("forbidden", _) => StatusCode::FORBIDDEN,
        ("too_many_builds", _) => StatusCode::TOO_MANY_REQUESTS,
        ("bad_request", _) => StatusCode::BAD_REQUEST,
        (_, Blame::App | Blame::Caller) => StatusCode::UNPROCESSABLE_ENTITY,
        (_, Blame::Platform) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Asks for a token. git then asks its credential helper, or the person.
pub(super) fn unauthorized(json: bool) -> Reply {
    const MESSAGE: &str = "Invalid credentials provided. Send a token of this server: as the password of HTTP Basic, or as Bearer. \
        `slugline token create NAME` makes one.";
    let mut reply = if json {
        json_reply(
            StatusCode::UNAUTHORIZED,
            &json!({ "id": "unauthorized", "message": MESSAGE }),
        )
    } else {
        text(StatusCode::UNAUTHORIZED, MESSAGE)
    };
    reply.headers_mut().insert(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"Slugline\", charset=\"UTF-8\""),
    );
    reply
}

/// The token has as many requests under way as it may have.
pub(super) fn too_many() -> Reply {
    let mut reply = text(
        StatusCode::TOO_MANY_REQUESTS,
        "This token has too many pushes and fetches under way. Try again when one has ended.",
    );
    let headers = reply.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    reply
}

/// The request's document is longer than any that there is a use for.
pub(super) fn too_large(limit_bytes: usize) -> Reply {
    let message = format!("The request's body is over the limit of {limit_bytes} bytes.");
    json_reply(
        StatusCode::PAYLOAD_TOO_LARGE,
        &json!({ "id": "request_too_large", "message": message }),
    )
}

/// There is nothing here.
pub(super) fn not_found(what: &str) -> Reply {
    json_reply(
        StatusCode::NOT_FOUND,
        &json!({ "id": "not_found", "message": what }),
    )
}
