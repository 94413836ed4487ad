//! git's smart HTTP: who asks for which app, and what for.
//!
//! Pushes are taken in-process ([`super::push`]); clones and fetches are the host git's
//! ([`super::fetch`]).
//!
//! Source: gitprotocol-http(5).

use std::sync::Arc;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::limits::Limits;
use super::reply::{Reply, failed_text, text, too_many, unauthorized};
use super::{Server, auth, fetch, push};
use crate::app::AppName;
use crate::platform::ledger::{App, Scope, Token};

/// Of a body that is packed in a way that git does not know either.
pub(super) const UNKNOWN_ENCODING: &str =
    "The request's Content-Encoding is not supported; gzip is.";

/// Answers a request below `/NAME.git/`.
pub(super) async fn answer(
    server: &Arc<Server>,
    name: &str,
    rest: &str,
    request: Request<Incoming>,
) -> Reply {
    let token = match auth::token(server, &request).await {
        Ok(Some(token)) => token,
        // The probe of a large push carries no credentials and must be read whole, too.
        Ok(None) => {
            drain(request, &server.limits, server.limits.anonymous_drain_bytes).await;
            return unauthorized(false);
        }
        Err(error) => return failed_text(&server.explain(&error.into())),
    };
    let Some(place) = server.gate.request(&token.id) else {
        drain(request, &server.limits, server.limits.drain_bytes).await;
        return too_many();
    };
    let push =
        rest == "git-receive-pack" || request.uri().query() == Some("service=git-receive-pack");
    let app = match find_app(server, name, push, &token).await {
        Ok(app) => app,
        Err(error) => {
            drain(request, &server.limits, server.limits.drain_bytes).await;
            return failed_text(&server.explain(&error));
        }
    };
    match (request.method(), rest) {
        (&Method::GET, "info/refs") => match request.uri().query() {
            Some("service=git-receive-pack") => push::advertise(server, app).await,
            Some("service=git-upload-pack") => {
                fetch::advertise(server, app, fetch::protocol(&request)).await
            }
            _ => text(
                StatusCode::FORBIDDEN,
                "This server speaks git's smart protocol only. Use a git of version 1.6.6 or later.",
            ),
        },
        (&Method::POST, "git-receive-pack") => {
            push::receive_pack(server, app, token, request, place).await
        }
        (&Method::POST, "git-upload-pack") => fetch::upload_pack(server, app, request, place),
        _ => text(
            StatusCode::NOT_FOUND,
            "There is nothing here; the repository is at /NAME.git.",
        ),
    }
}

/// Reads a request's body to its end, so that the client gets to read the answer.
async fn drain(request: Request<Incoming>, limits: &Limits, limit_bytes: u64) {
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    let mut body = Limited::new(request.into_body(), limit);
    // A client that leaves meanwhile, or sends too much, needs no answer.
    while let Ok(Some(Ok(_))) = timeout(limits.body_silence, body.frame()).await {}
}

async fn find_app(
    server: &Arc<Server>,
    name: &str,
    push: bool,
    token: &Token,
) -> anyhow::Result<App> {
    let (platform, name, token) = (server.platform.clone(), name.to_owned(), token.clone());
    spawn_blocking(move || {
        let name = name.parse::<AppName>()?;
        let creates = push && token.scope == Scope::default();
        let app = if creates {
            platform.app_for_push(&name, &token.name)?
        } else {
            auth::visible(&token, platform.ledger.app(name.as_str()), name.as_str())?
        };
        if push {
            auth::may_change(&token)?;
        }
        Ok(app)
    })
    .await?
}
