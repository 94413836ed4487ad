//! The Platform API: JSON in, JSON out. Source: the Platform API's schema, version 3.
//!
//! One function a resource's verb, in a file for each group of resources; each is blocking and is
//! called on a blocking thread.

mod apps;
mod builds;
mod domains;
mod drains;
mod dynos;
mod logs;
mod range;
mod releases;
mod tokens;
mod upkeep;

use std::sync::Arc;

use anyhow::Result;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue, RANGE};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::time::timeout;

use self::range::Range;
use super::limits::Limits;
use super::reply::{Reply, failed, json_reply, not_found, too_large, unauthorized};
use super::{AccessError, Server, auth};
use crate::buildpack::Reference;
use crate::platform::ledger::{App, Token};
use crate::platform::resources::{self, Site};

/// Largest JSON document of a request.
const BODY_LIMIT_BYTES: usize = 1 << 20;

/// A request that cannot be carried out as it was sent.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the request's body is no JSON object: {reason}")]
    Body { reason: String },
    #[error("the field {field} is missing or is not {expected}")]
    Field {
        field: &'static str,
        expected: &'static str,
    },
    #[error("the request's path is no UTF-8")]
    Path,
    #[error("a release is made from either a slug or a release")]
    ReleaseOf,
    #[error("the field {field} cannot be changed")]
    Fixed { field: &'static str },
}

/// What a handler works with.
struct Call<'a> {
    server: &'a Arc<Server>,
    token: &'a Token,
    /// What URLs of ours begin with, such as `https://host`.
    url: String,
    body: Value,
}

/// Answers a request of the API.
pub(super) async fn answer(server: &Arc<Server>, request: Request<Incoming>) -> Reply {
    let token = match auth::token(server, &request).await {
        Ok(Some(token)) => token,
        Ok(None) => return unauthorized(true),
        Err(error) => return failed(&server.explain(&error.into())),
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let url = base_url(server, &request);
    let range = request.headers().get(RANGE);
    let range = range.and_then(|range| Range::parse(range.to_str().ok()?));
    let body = match read(request.into_body(), &server.limits).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return too_large(BODY_LIMIT_BYTES),
        Err(BodyError::Cut(reason)) => {
            return failed(&server.explain(&ApiError::Body { reason }.into()));
        }
    };
    let own = server.clone();
    let called = tokio::task::spawn_blocking(move || {
        let body = parse(&body)?;
        let call = Call {
            server: &own,
            token: &token,
            url,
            body,
        };
        // Each by itself: a drain is named by its URL.
        let segments = path.trim_matches('/').split('/');
        let segments = segments.map(|segment| percent_decode_str(segment).decode_utf8());
        let segments = segments.collect::<Result<Vec<_>, _>>();
        let segments = segments.map_err(|_| ApiError::Path)?;
        let segments = segments.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        call.route(&method, &segments)
    });
    match called
        .await
        .map_err(anyhow::Error::from)
        .and_then(|done| done)
    {
        Ok(Some((StatusCode::OK, Value::Array(list)))) => {
            let (status, list, next) = match range {
                Some(range) => range.of(list),
                None => (StatusCode::OK, list, None),
            };
            let mut reply = json_reply(status, &Value::Array(list));
            let next = next.and_then(|next| HeaderValue::from_str(&next).ok());
            next.map(|next| reply.headers_mut().insert("next-range", next));
            reply
        }
        Ok(Some((status, document))) => json_reply(status, &document),
        Ok(None) => not_found(
            "The requested API endpoint was not found. Are you using the right HTTP verb?",
        ),
        Err(error) => {
            let failure = server.explain(&error);
            tracing::info!(
                failure = failure.id,
                error = format!("{error:#}"),
                "request refused"
            );
            failed(&failure)
        }
    }
}

/// Why a request's document was not read to its end.
enum BodyError {
    TooLarge,
    Cut(String),
}

/// Reads a request's document; what is too much is taken and dropped, so that the client reads why.
async fn read(mut body: Incoming, limits: &Limits) -> Result<Vec<u8>, BodyError> {
    let mut document = Vec::new();
    let mut got_bytes = 0;
    loop {
        let frame = match timeout(limits.body_silence, body.frame()).await {
            Ok(None) => break,
            Ok(Some(frame)) => frame.map_err(|error| BodyError::Cut(error.to_string()))?,
            Err(_elapsed) => return Err(BodyError::Cut("it stopped coming".to_owned())),
        };
        let data = frame.into_data().unwrap_or_default();
        got_bytes += data.len();
        if got_bytes <= BODY_LIMIT_BYTES {
            document.extend_from_slice(&data);
        } else if got_bytes as u64 > limits.anonymous_drain_bytes {
            break;
        }
    }
    if got_bytes > BODY_LIMIT_BYTES {
        return Err(BodyError::TooLarge);
    }
    Ok(document)
}

fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    let reason = |reason: String| ApiError::Body { reason };
    let value: Value = serde_json::from_slice(body).map_err(|error| reason(error.to_string()))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(reason("it is something else".to_owned()))
    }
}

/// What URLs begin with: as the operator has it, else the name by which the caller reached us, if
/// it is one that can stand in a URL.
fn base_url(server: &Server, request: &Request<Incoming>) -> String {
    if let Some(url) = &server.public_url {
        return url.clone();
    }
    // HTTP/2 has no `Host`.
    let authority = request.uri().authority().map(Authority::as_str);
    let host = request.headers().get(HOST);
    let host = authority.or_else(|| host.and_then(|value| value.to_str().ok()));
    let clean = |host: &&str| {
        host.chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c))
    };
    let scheme = server.scheme();
    match host.filter(clean) {
        Some(host) if !host.is_empty() => format!("{scheme}://{host}"),
        _ => format!("{scheme}://{}", server.address),
    }
}

type Answer = (StatusCode, Value);

impl Call<'_> {
    fn route(&self, method: &Method, segments: &[&str]) -> Result<Option<Answer>> {
        let is = |verb: Method| *method == verb;
        let (get, post) = (is(Method::GET), is(Method::POST));
        let (put, change, delete) = (is(Method::PUT), is(Method::PATCH), is(Method::DELETE));
        // A log session only shows what there is.
        if !get && !matches!(segments, ["apps", _, "log-sessions"]) {
            auth::may_change(self.token)?;
        }
        // What is nobody's app is not for those who see some apps alone.
        if self.token.scope.apps.is_some()
            && !matches!(
                segments,
                ["account" | "addons" | "addon-attachments" | "stacks"]
                    | ["apps", ..]
                    | ["users", _, "apps"]
            )
            || self.token.scope.apps.is_some() && matches!(segments, ["apps"]) && post
        {
            return Err(AccessError::AppsAlone.into());
        }
        let answer = match segments {
            ["account"] if get => ok(resources::user(&self.token.name)),
            ["apps"] | ["users", _, "apps"] if get => ok(self.apps()?),
            ["apps"] if post => created(self.create_app()?),
            ["apps", app] if get => ok(self.show_app(&self.app(app)?)),
            ["apps", app] if change => ok(self.change_app(app)?),
            ["apps", app] if delete => ok(self.destroy_app(app)?),
            ["apps", app, "build-cache"] if delete => ok(self.purge_cache(app)?),
            ["apps", app, "buildpack-installations"] if get => ok(self.buildpacks(app)?),
            ["apps", app, "buildpack-installations"] if put => ok(self.set_buildpacks(app)?),
            ["apps", app, "collaborators"] if get => ok(self.collaborators(app)?),
            ["apps", app, "config-vars"] if get => ok(self.config(app)?),
            ["apps", app, "config-vars"] if change => ok(self.change_config(app)?),
            ["apps", app, "releases"] if get => ok(self.releases(app)?),
            ["apps", app, "releases"] if post => created(self.create_release(app)?),
            ["apps", app, "releases", release] if get => ok(self.release(app, release)?),
            ["apps", app, "releases", release, "config-vars"] if get => {
                ok(self.release_config(app, release)?)
            }
            ["apps", app, "builds"] if get => ok(self.builds(app)?),
            ["apps", app, "builds"] if post => created(self.create_build(app)?),
            ["apps", app, "builds", build] if get => ok(self.one_build(app, build)?),
            ["apps", app, "builds", build] if delete => ok(self.cancel_build(app, build)?),
            ["apps", app, "formation"] if get => ok(self.formation(app)?),
            ["apps", app, "formation"] if change => ok(self.scale(app, None)?),
            ["apps", app, "formation", kind] if change => ok(self.scale(app, Some(kind))?),
            ["apps", app, "domains"] if get => ok(self.domains(app)?),
            ["apps", app, "domains"] if post => created(self.add_domain(app)?),
            ["apps", app, "domains", domain] if get => ok(self.domain(app, domain)?),
            ["apps", app, "domains", domain] if delete => ok(self.remove_domain(app, domain)?),
            // There are none. Certificates are the operator's; clients ask for all of them before
            // they show an app or add a domain.
            ["addons" | "addon-attachments"] if get => ok(json!([])),
            [
                "apps",
                app,
                "addons" | "addon-attachments" | "sni-endpoints",
            ] if get => {
                self.app(app)?;
                ok(json!([]))
            }
            ["apps", app, "dynos"] if get => ok(self.dynos(app)?),
            ["apps", app, "dynos"] if post => created(self.run_dyno(app)?),
            ["apps", app, "dynos"] if delete => accepted(self.restart(app, None)?),
            ["apps", app, "dynos", dyno] if get => return Ok(self.dyno(app, dyno)?.map(ok)),
            ["apps", app, "dynos" | "formations", which] if delete => {
                accepted(self.restart(app, Some(which))?)
            }
            [
                "apps",
                app,
                "dynos" | "formations",
                which,
                "actions",
                "stop",
            ] if post => accepted(self.stop(app, which)?),
            ["apps", app, "log-drains"] if get => ok(self.drains(app)?),
            ["apps", app, "log-drains"] if post => created(self.add_drain(app)?),
            ["apps", app, "log-drains", drain] if get => ok(self.drain(app, drain)?),
            ["apps", app, "log-drains", drain] if delete => ok(self.remove_drain(app, drain)?),
            ["apps", app, "log-sessions"] if post => created(self.create_log_session(app)?),
            ["apps", app, "signed-pushes"] if get => ok(self.signed_pushes(app)?),
            ["apps", app, "slugs", slug] if get => ok(self.slug(app, slug)?),
            ["apps", app, "sources"] if post => {
                self.app(app)?;
                created(self.create_source()?)
            }
            ["collections"] if post => created(self.collect()?),
            ["pins"] if get => ok(self.pins()?),
            ["pins", digest] if put => ok(self.pin(digest)?),
            ["pins", digest] if delete => ok(self.unpin(digest)?),
            ["stacks"] if get => ok(self.stacks()?),
            ["sources"] if post => created(self.create_source()?),
            ["oauth", "authorizations"] if get => ok(self.tokens()?),
            ["oauth", "authorizations"] if post => created(self.create_token()?),
            ["oauth", "authorizations", token] if delete => ok(self.revoke_token(token)?),
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }

    fn site(&self) -> Site<'_> {
        Site {
            url: &self.url,
            stack: self.server.platform.stacks.host().as_str(),
            owner: &self.token.name,
        }
    }

    /// A URL of ours that works without a token.
    fn link(&self, method: &str, path: &str) -> String {
        format!("{}{}", self.url, self.server.signer.sign(method, path))
    }

    fn app(&self, name_or_id: &str) -> Result<App> {
        let found = self.server.platform.ledger.app(name_or_id);
        Ok(auth::visible(self.token, found, name_or_id)?)
    }

    fn text(&self, field: &'static str) -> Result<Option<&str>, ApiError> {
        match &self.body[field] {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(ApiError::Field {
                field,
                expected: "a text",
            }),
        }
    }
}

fn ok(document: Value) -> Answer {
    (StatusCode::OK, document)
}

fn accepted(document: Value) -> Answer {
    (StatusCode::ACCEPTED, document)
}

fn created(document: Value) -> Answer {
    (StatusCode::CREATED, document)
}

/// A buildpack as a request names it: its text, or an object with its `url` or `name`. A path of the
/// server is none of the caller's business.
fn buildpack(value: &Value) -> Result<&str, ApiError> {
    let text = value
        .as_str()
        .or(value["url"].as_str())
        .or(value["name"].as_str());
    text.ok_or(ApiError::Field {
        field: "buildpack",
        expected: "a name or a URL",
    })
}

/// A list of buildpacks. An element may be wrapped: `{"buildpack": …}`.
fn buildpacks(list: &Value, field: &'static str) -> Result<Vec<Reference>> {
    let list = match list {
        Value::Null => &Vec::new(),
        Value::Array(list) => list,
        _ => {
            return Err(ApiError::Field {
                field,
                expected: "a list",
            }
            .into());
        }
    };
    let text = |value: &'_ Value| -> Result<String, ApiError> {
        let inner = &value["buildpack"];
        buildpack(if inner.is_null() { value } else { inner }).map(str::to_owned)
    };
    let texts = list.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(Reference::list_of_app(texts.iter().map(String::as_str))?)
}
