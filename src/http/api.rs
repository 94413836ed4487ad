//! The Platform API: JSON in, JSON out. Source: the Platform API's schema, version 3.
//!
//! One function a resource's verb; each is blocking and is called on a blocking thread.

mod domains;
mod drains;
mod dynos;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::limits::Limits;
use super::reply::{Reply, failed, json_reply, not_found, too_large, unauthorized};
use super::{AccessError, Server, auth};
use crate::app::AppName;
use crate::buildpack::Reference;
use crate::digest::Digest;
use crate::platform::api_build::{BuildRequest, From};
use crate::platform::ledger::{App, Build, Scope, Token};
use crate::platform::resources::{self, Site};
use crate::platform::upkeep;
use crate::release::Version;
use crate::store;

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
        if self.token.scope.apps.is_some() && !matches!(segments, ["account"] | ["apps", ..])
            || self.token.scope.apps.is_some() && matches!(segments, ["apps"]) && post
        {
            return Err(AccessError::AppsAlone.into());
        }
        let answer = match segments {
            ["account"] if get => ok(resources::user(&self.token.name)),
            ["apps"] if get => ok(self.apps()?),
            ["apps"] if post => created(self.create_app()?),
            ["apps", app] if get => ok(self.show_app(&self.app(app)?)),
            ["apps", app] if change => ok(self.change_app(app)?),
            ["apps", app] if delete => ok(self.destroy_app(app)?),
            ["apps", app, "build-cache"] if delete => ok(self.purge_cache(app)?),
            ["apps", app, "buildpack-installations"] if get => ok(self.buildpacks(app)?),
            ["apps", app, "buildpack-installations"] if put => ok(self.set_buildpacks(app)?),
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
            // Certificates are the operator's; clients ask before they add a domain.
            ["apps", app, "sni-endpoints"] if get => {
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

    fn apps(&self) -> Result<Value> {
        let apps = self.server.platform.ledger.apps()?;
        let seen = apps.iter().filter(|app| self.token.scope.sees(&app.id));
        Ok(seen.map(|app| self.show_app(app)).collect())
    }

    fn show_app(&self, app: &App) -> Value {
        let web_url = self.server.platform.web_url(app.name.as_str());
        resources::app(&self.site(), app, None, &web_url)
    }

    fn create_app(&self) -> Result<Value> {
        let missing = ApiError::Field {
            field: "name",
            expected: "an app name",
        };
        let name = self.text("name")?.ok_or(missing)?.parse::<AppName>()?;
        let format = self.text("object_format")?.map(str::parse).transpose()?;
        let format = format.unwrap_or_default();
        let platform = &self.server.platform;
        let app = platform.create_app(&name, format, &self.token.name)?;
        Ok(self.show_app(&app))
    }

    /// `build_stack`, and our own fields: `build_dir`, `root` and `stack_env`.
    fn change_app(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let mut layout = app.layout.clone();
        if let Some(text) = self.text("build_dir")? {
            layout.build_dir = text.parse()?;
        }
        match &self.body["root"] {
            Value::Null if self.body.get("root").is_none() => {}
            Value::Null => layout.root = None,
            _ => layout.root = self.text("root")?.map(str::parse).transpose()?,
        }
        let stack = |field| -> Result<_> { Ok(self.text(field)?.map(str::parse).transpose()?) };
        if self.body.get("build_stack").is_some() {
            let found = self
                .server
                .platform
                .stacks
                .find(stack("build_stack")?.as_ref())?;
            layout.stack = found.image.map(|_| found.name);
        }
        if self.body.get("stack_env").is_some() {
            layout.stack_env = stack("stack_env")?;
        }
        let platform = &self.server.platform;
        platform.ledger.set_layout(&app.id, &layout)?;
        let switch = |field, now| match &self.body[field] {
            Value::Null => Ok(now),
            value => value.as_bool().ok_or(ApiError::Field {
                field,
                expected: "true or false",
            }),
        };
        let maintenance = switch("maintenance", app.maintenance)?;
        let rollback = switch("rollback_on_crash", app.rollback_on_crash)?;
        let app = platform
            .ledger
            .set_switches(&app.id, maintenance, rollback)?;
        platform.set_maintenance(&app);
        Ok(self.show_app(&app))
    }

    /// Our own, as are pins: Heroku has no such thing.
    fn collect(&self) -> Result<Value> {
        let field = |field, expected| ApiError::Field { field, expected };
        let grace = match &self.body["grace_seconds"] {
            Value::Null => upkeep::GRACE,
            value => {
                let seconds = value.as_u64();
                Duration::from_secs(seconds.ok_or(field("grace_seconds", "a number of seconds"))?)
            }
        };
        let dry_run = match &self.body["dry_run"] {
            Value::Null => false,
            value => value.as_bool().ok_or(field("dry_run", "true or false"))?,
        };
        let collected = self.server.platform.collect(grace, dry_run)?;
        Ok(resources::collected(&collected))
    }

    fn pins(&self) -> Result<Value> {
        let pins = self.server.platform.store.pins()?;
        let mut pins = pins.iter().map(ToString::to_string).collect::<Vec<_>>();
        pins.sort_unstable();
        Ok(json!(pins))
    }

    fn pin(&self, digest: &str) -> Result<Value> {
        let digest = digest_of(digest)?;
        self.server.platform.pin_blob(&digest)?;
        Ok(json!({ "digest": digest }))
    }

    fn unpin(&self, digest: &str) -> Result<Value> {
        let digest = digest_of(digest)?;
        if self.server.platform.unpin_blob(&digest)? {
            return Ok(json!({ "digest": digest }));
        }
        Err(store::Error::NotFound { digest }.into())
    }

    fn purge_cache(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        self.server.platform.purge_cache(&app)?;
        Ok(json!({ "app": { "id": app.id, "name": app.name } }))
    }

    fn buildpacks(&self, app: &str) -> Result<Value> {
        let list = self.server.platform.ledger.buildpacks(&self.app(app)?.id)?;
        Ok(resources::buildpack_installations(&list))
    }

    fn set_buildpacks(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let updates = self.body.get("updates").ok_or(ApiError::Field {
            field: "updates",
            expected: "a list",
        })?;
        let list = buildpacks(updates, "updates")?;
        let ledger = &self.server.platform.ledger;
        ledger.set_buildpacks(&app.id, &list)?;
        Ok(resources::buildpack_installations(&list))
    }

    fn destroy_app(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let shown = self.show_app(&app);
        self.server.platform.destroy_app(&app)?;
        Ok(shown)
    }

    fn config(&self, app: &str) -> Result<Value> {
        let config = self.server.platform.ledger.config(&self.app(app)?.id)?;
        Ok(resources::config_vars(&config))
    }

    fn change_config(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let fields = self
            .body
            .as_object()
            .ok_or_else(|| anyhow!("the body was checked to be an object"))?;
        let change = |(name, value): (&String, &Value)| match value {
            Value::Null => Ok((name.clone(), None)),
            Value::String(text) => Ok((name.clone(), Some(text.clone()))),
            _ => Err(ApiError::Field {
                field: "of a config var",
                expected: "a text or null",
            }),
        };
        let changes = fields.iter().map(change).collect::<Result<Vec<_>, _>>()?;
        let platform = &self.server.platform;
        let user = &self.token.name;
        if let Some(release) = platform.ledger.set_config(&app.id, &changes, user)? {
            platform.run_release(&app, &release);
        }
        let config = platform.ledger.config(&app.id)?;
        Ok(resources::config_vars(&config))
    }

    fn releases(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let releases = self.server.platform.ledger.releases(&app.id)?;
        Ok(releases
            .iter()
            .map(|release| self.show_release(&app, release))
            .collect())
    }

    fn release(&self, app: &str, release: &str) -> Result<Value> {
        let app = self.app(app)?;
        let release = self.find_release(&app, release)?;
        Ok(self.show_release(&app, &release))
    }

    /// With where its release command's output is, if it has one.
    fn show_release(&self, app: &App, release: &crate::platform::ledger::ReleaseRow) -> Value {
        let id = &release.id;
        let has_output = release.owes_phase || self.server.platform.logs.has(id);
        let output = has_output.then(|| self.link("GET", &format!("/releases/{id}/output")));
        resources::release(app, release, output.as_deref())
    }

    fn find_release(
        &self,
        app: &App,
        reference: &str,
    ) -> Result<crate::platform::ledger::ReleaseRow> {
        let ledger = &self.server.platform.ledger;
        Ok(match reference {
            "current" => ledger.current_release(&app.id)?,
            reference => ledger.release(&app.id, reference)?,
        })
    }

    fn release_config(&self, app: &str, release: &str) -> Result<Value> {
        let app = self.app(app)?;
        let release = self.find_release(&app, release)?;
        Ok(resources::config_vars(&release.config))
    }

    /// `{release}` rolls back to a release, `{slug}` releases a slug.
    fn create_release(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let ledger = &self.server.platform.ledger;
        let release = match (self.text("release")?, self.text("slug")?) {
            (Some(reference), None) => {
                let Version(number) = ledger.release(&app.id, reference)?.version;
                ledger.rollback(&app.id, Version(number), &self.token.name)?
            }
            (None, Some(slug)) => {
                let description = self.text("description")?.unwrap_or("Deploy of a slug");
                ledger.release_slug(&app.id, slug, description, &self.token.name)?
            }
            _ => return Err(ApiError::ReleaseOf.into()),
        };
        self.server.platform.run_release(&app, &release);
        Ok(self.show_release(&app, &release))
    }

    fn show_build(&self, build: &Build) -> Value {
        let output = self.link("GET", &format!("/builds/{}/output", build.id));
        resources::build(&self.site(), build, &output)
    }

    /// A build with what it has asked of the network, which a list leaves out.
    fn one_build(&self, app: &str, build: &str) -> Result<Value> {
        let build = self.build(app, build)?;
        let mut shown = self.show_build(&build);
        let contacts = self.server.platform.ledger.contacts(&build.id)?;
        shown["network"] = serde_json::to_value(contacts)?;
        Ok(shown)
    }

    fn builds(&self, app: &str) -> Result<Value> {
        let builds = self.server.platform.ledger.builds(&self.app(app)?.id)?;
        Ok(builds.iter().map(|build| self.show_build(build)).collect())
    }

    fn build(&self, app: &str, id: &str) -> Result<Build> {
        let app = self.app(app)?;
        let build = self.server.platform.ledger.build(id)?;
        if build.app_id != app.id {
            return Err(crate::platform::ledger::LedgerError::NotFound {
                what: "build",
                name: id.to_owned(),
            }
            .into());
        }
        Ok(build)
    }

    /// The source behind a link of ours, whatever the name under which the caller reaches us.
    fn own_source(&self, url: &str) -> Option<From> {
        let (_, rest) = url.split_once("://")?;
        let (path, query) = rest[rest.find('/')?..].split_once('?')?;
        let id = path.strip_prefix("/sources/")?;
        let known = self.server.platform.ledger.source(id).is_ok();
        (known && self.server.signer.allows("GET", path, query))
            .then(|| From::Source(id.to_owned()))
    }

    fn create_build(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let source = &self.body["source_blob"];
        let text = |field: &str| source[field].as_str().map(str::to_owned);
        let url = text("url").ok_or(ApiError::Field {
            field: "source_blob.url",
            expected: "a URL",
        })?;
        let request = BuildRequest {
            from: self.own_source(&url).unwrap_or(From::Url(url)),
            checksum: text("checksum"),
            version: text("version"),
            buildpacks: buildpacks(&self.body["buildpacks"], "buildpacks")?,
        };
        let build = self
            .server
            .platform
            .start_build(&app, request, &self.token.name)?;
        Ok(self.show_build(&build))
    }

    fn cancel_build(&self, app: &str, id: &str) -> Result<Value> {
        let build = self.build(app, id)?;
        let build = self.server.platform.ledger.cancel_build(&build.id)?;
        self.server.platform.cancel_build(&build.id);
        Ok(self.show_build(&build))
    }

    fn slug(&self, app: &str, id: &str) -> Result<Value> {
        let app = self.app(app)?;
        let slug = self.server.platform.ledger.slug(id)?;
        if slug.app_id != app.id {
            return Err(crate::platform::ledger::LedgerError::NotFound {
                what: "slug",
                name: id.to_owned(),
            }
            .into());
        }
        let url = self.link("GET", &format!("/blobs/{}", slug.record.digest));
        Ok(resources::slug(&slug, &url))
    }

    /// The stream's address says what is wanted of it. Clients name a dyno in two ways.
    fn create_log_session(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let mut url = self.link("GET", &format!("/logs/{}", app.id));
        if let Some(lines) = self.body["lines"].as_u64() {
            url = format!("{url}&lines={lines}");
        }
        if self.body["tail"].as_bool() == Some(true) {
            url += "&tail=true";
        }
        let dyno = match self.text("dyno")? {
            Some(dyno) => Some(dyno),
            None => self.text("dyno_name")?,
        };
        for (name, value) in [("dyno", dyno), ("source", self.text("source")?)] {
            if let Some(value) = value {
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                url = format!("{url}&{name}={value}");
            }
        }
        Ok(resources::log_session(&url))
    }

    fn create_source(&self) -> Result<Value> {
        let source = self.server.platform.ledger.create_source()?;
        let path = format!("/sources/{}", source.id);
        Ok(resources::source(
            &self.link("GET", &path),
            &self.link("PUT", &path),
        ))
    }

    fn tokens(&self) -> Result<Value> {
        let tokens = self.server.platform.ledger.tokens()?;
        // A revoked one is kept for the record only.
        let live = tokens.iter().filter(|token| token.revoked_at.is_none());
        Ok(live
            .map(|token| resources::authorization(&self.site(), token, None))
            .collect())
    }

    fn create_token(&self) -> Result<Value> {
        let name = self.text("description")?.unwrap_or("token");
        let scope = self.scope()?;
        let ledger = &self.server.platform.ledger;
        let (token, secret) = ledger.create_token_for(name, scope)?;
        Ok(resources::authorization(
            &self.site(),
            &token,
            Some(&secret),
        ))
    }

    /// `scope` in Heroku's words, and our own `apps`: names or ids.
    fn scope(&self) -> Result<Scope> {
        const WORDS: &str = "a list of one of global, write and read";
        let wrong = |field, expected| ApiError::Field { field, expected };
        let texts = |field, expected| match &self.body[field] {
            Value::Null => Ok(None),
            Value::Array(texts) => {
                let texts = texts.iter().map(Value::as_str);
                let texts = texts.collect::<Option<Vec<_>>>();
                texts.map(Some).ok_or(wrong(field, expected))
            }
            _ => Err(wrong(field, expected)),
        };
        let read_only = match texts("scope", WORDS)?.as_deref() {
            None | Some(["global" | "write"] | []) => false,
            Some(["read"]) => true,
            Some(_) => return Err(wrong("scope", WORDS).into()),
        };
        let apps = texts("apps", "a list of apps")?;
        let ids = apps.map(|apps| {
            let id = |app: &str| Ok(self.app(app)?.id);
            apps.into_iter().map(id).collect::<Result<Vec<_>>>()
        });
        let apps = ids.transpose()?;
        Ok(Scope { read_only, apps })
    }

    fn signed_pushes(&self, app: &str) -> Result<Value> {
        let app = self.app(app)?;
        let pushes = self.server.platform.ledger.signed_pushes(&app.id)?;
        Ok(pushes.iter().map(resources::signed_push).collect())
    }

    fn revoke_token(&self, token: &str) -> Result<Value> {
        let token = self.server.platform.ledger.revoke_token(token)?;
        Ok(resources::authorization(&self.site(), &token, None))
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

fn digest_of(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|_| ApiError::Field {
        field: "digest",
        expected: "sha256: and 64 hex digits",
    })
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
