//! Shows what the ledger remembers as the Platform API's JSON.
//!
//! In go rows and what only the server knows (its URL, its stack), out come JSON objects with
//! every field that the API's schema names for the resource; what Slugline does not have is null.
//! Some fields are our own: an app's `build_dir`, `root` and `stack_env`, a build's `failure` and `cancelled`, a
//! slug's `record`.
//!
//! Source: the Platform API's schema, version 3.

use serde_json::{Value, json};

use super::collect::{Collected, CollectedRepository};
use super::dynos::DynoRow;
use super::ledger::{App, Build, Domain, Drain, ReleaseRow, SignedPush, Slug, Token};
use super::running::TypeRow;
use super::token::Secret;
use crate::app::AppRoot;
use crate::buildpack::Reference;
use crate::config::ConfigVars;
use crate::digest::Digest;
use crate::receive;
use crate::release::Status;
use crate::stack::StackName;

/// What the resources say of the server they come from.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// `https://paas.example.com`, without a `/` at the end.
    pub url: &'a str,
    pub stack: &'a str,
    /// Who owns all apps; a client takes those as its own whose owner is its account.
    pub owner: &'a str,
}

/// An app. The repository's size is the caller's to measure.
pub fn app(site: &Site<'_>, app: &App, repo_size_bytes: Option<u64>, web_url: &str) -> Value {
    json!({
        "acm": false,
        "archived_at": null,
        "build_dir": app.layout.build_dir.as_str(),
        "build_stack": named("stack", app.layout.stack.as_ref().map_or(site.stack, StackName::as_str)),
        "buildpack_provided_description": app.buildpacks,
        "created_at": app.created_at.to_string(),
        "generation": named("generation", "cedar"),
        "git_url": format!("{}/{}.git", site.url, app.name),
        "id": app.id,
        "internal_routing": null,
        "maintenance": app.maintenance,
        "name": app.name,
        "object_format": app.object_format.as_str(),
        "organization": null,
        "owner": user(site.owner),
        "region": named("region", "local"),
        "released_at": app.released_at.map(|time| time.to_string()),
        "repo_size": repo_size_bytes,
        "rollback_on_crash": app.rollback_on_crash,
        "root": app.layout.root.as_ref().map(AppRoot::as_str),
        "slug_size": app.slug_size_bytes,
        "space": null,
        "stack": named("stack", app.layout.stack.as_ref().map_or(site.stack, StackName::as_str)),
        "stack_env": app.layout.stack_env,
        "team": null,
        "updated_at": app.updated_at.to_string(),
        "web_url": web_url,
    })
}

/// Who may change an app: its owner.
pub fn owner(site: &Site<'_>, app: &App) -> Value {
    let created_at = app.created_at.to_string();
    json!({
        "app": { "id": app.id, "name": app.name },
        "created_at": created_at,
        "id": stable_id("collaborator", &app.id),
        "permissions": [],
        "role": "owner",
        "updated_at": created_at,
        "user": user(site.owner),
    })
}

/// A stack; `usual` is that of apps that name none.
pub fn stack(name: &str, usual: &str) -> Value {
    json!({
        "default": name == usual,
        "id": stable_id("stack", name),
        "name": name,
        "state": "public",
    })
}

/// A push that its pusher has signed.
pub fn signed_push(push: &SignedPush) -> Value {
    json!({
        "certificate": push.certificate,
        "created_at": push.created_at.to_string(),
        "id": push.id,
        "signer": push.signer,
        "user": user(&push.user),
    })
}

/// What cleaning up has changed.
pub fn collected(collected: &Collected) -> Value {
    let size = |size: &receive::Size| json!({ "packs": size.packs, "bytes": size.bytes });
    let repository = |one: &CollectedRepository| {
        json!({
            "after": size(&one.after),
            "app": { "id": one.app.id, "name": one.app.name },
            "before": size(&one.before),
        })
    };
    let repositories = collected.repositories.iter().map(repository);
    json!({
        "blobs": {
            "kept": collected.blobs.kept,
            "removed": collected.blobs.removed,
            "removed_bytes": collected.blobs.removed_bytes,
        },
        "repositories": repositories.collect::<Vec<_>>(),
    })
}

/// A build, with the address of its output.
pub fn build(site: &Site<'_>, build: &Build, output_stream_url: &str) -> Value {
    let id = |id: &Option<String>| id.as_ref().map(|id| json!({ "id": id }));
    let failure = build
        .failure
        .as_ref()
        .map(|failure| json!({ "id": failure.id, "message": failure.message() }));
    json!({
        "app": { "id": build.app_id },
        "buildpacks": null,
        "cancelled": build.cancelled,
        "created_at": build.created_at.to_string(),
        "failure": failure,
        "id": build.id,
        "output_stream_url": output_stream_url,
        "release": id(&build.release_id),
        "slug": id(&build.slug_id),
        "source_blob": {
            "checksum": null,
            "url": null,
            "version": build.version.as_ref().or(build.commit.as_ref()),
            "version_description": null,
        },
        "stack": site.stack,
        "status": build.status,
        "updated_at": build.updated_at.to_string(),
        "user": user(&build.user),
    })
}

/// A slug, with the address of its bytes.
pub fn slug(slug: &Slug, blob_url: &str) -> Value {
    let record = &slug.record;
    json!({
        "blob": { "method": "get", "url": blob_url },
        "buildpack_provided_description": slug.buildpack_labels(),
        "checksum": format!("SHA256:{}", record.digest.hex()),
        "commit": record.source.commit,
        "commit_description": null,
        "created_at": slug.created_at.to_string(),
        "id": slug.id,
        "process_types": record.process_types,
        "record": record,
        "size": record.size_bytes,
        "stack": named("stack", &record.stack),
        "updated_at": slug.created_at.to_string(),
    })
}

/// A release of an app, with the address of its command's output, if it has one. Its config vars are
/// not shown: they are a resource of their own.
pub fn release(app: &App, release: &ReleaseRow, output_stream_url: Option<&str>) -> Value {
    let slug = release.slug_id.as_ref();
    let artifacts: Vec<Value> = slug
        .map(|id| json!({ "id": id, "type": "slug" }))
        .into_iter()
        .collect();
    json!({
        "addon_plan_names": [],
        "app": { "id": app.id, "name": app.name },
        "artifacts": artifacts,
        "created_at": release.created_at.to_string(),
        "current": release.current,
        "description": release.description,
        "eligible_for_rollback": slug.is_some() && release.status == Status::Succeeded,
        "id": release.id,
        "output_stream_url": output_stream_url,
        "slug": slug.map(|id| json!({ "id": id })),
        "status": release.status,
        "updated_at": release.updated_at.to_string(),
        "user": user(&release.user),
        "version": release.version,
    })
}

/// An app's buildpacks, each with its place. A built-in one's URL is Heroku's name for its own.
pub fn buildpack_installations(references: &[Reference]) -> Value {
    let one = |(ordinal, reference): (usize, &Reference)| {
        let name = reference.to_string();
        let url = match reference {
            Reference::Builtin(_) => format!("urn:buildpack:{name}"),
            _ => name.clone(),
        };
        json!({ "buildpack": { "name": name, "url": url }, "ordinal": ordinal })
    };
    references.iter().enumerate().map(one).collect()
}

/// A process type of an app.
pub fn formation(app: &App, row: &TypeRow) -> Value {
    json!({
        "app": { "id": app.id, "name": app.name },
        "command": row.command,
        "created_at": app.created_at.to_string(),
        "dyno_size": named("dyno-size", &row.size),
        "id": stable_id("formation", &format!("{} {}", app.id, row.kind)),
        "quantity": row.quantity,
        "size": row.size,
        "type": row.kind,
        "updated_at": app.updated_at.to_string(),
    })
}

/// The host name that an app has by itself; Heroku's word for such is `heroku`.
pub fn own_domain(app: &App, host: &str) -> Value {
    json!({
        "acm_status": null,
        "acm_status_reason": null,
        "app": { "id": app.id, "name": app.name },
        "cname": null,
        "created_at": app.created_at.to_string(),
        "hostname": host,
        "id": stable_id("domain", host),
        "kind": "heroku",
        "sni_endpoint": null,
        "status": "succeeded",
        "updated_at": app.created_at.to_string(),
    })
}

/// A custom domain; `own_host` is what its DNS record is to name.
pub fn domain(app: &App, domain: &Domain, own_host: &str) -> Value {
    json!({
        "acm_status": null,
        "acm_status_reason": null,
        "app": { "id": app.id, "name": app.name },
        "cname": own_host,
        "created_at": domain.created_at.to_string(),
        "hostname": domain.hostname.as_str(),
        "id": domain.id,
        "kind": "custom",
        "sni_endpoint": null,
        "status": "succeeded",
        "updated_at": domain.created_at.to_string(),
    })
}

/// A dyno of an app; a client is attached to it at the URL, where there is one.
pub fn dyno(app: &App, row: &DynoRow, attach_url: Option<&str>) -> Value {
    json!({
        "app": { "id": app.id, "name": app.name },
        "attach_url": attach_url,
        "command": row.command,
        "created_at": row.since.to_string(),
        "id": row.id,
        "name": row.name,
        "release": { "id": null, "version": row.version },
        "size": row.size,
        "state": row.state.to_string(),
        "type": row.kind,
        "updated_at": row.since.to_string(),
    })
}

/// A drain of an app's log.
pub fn drain(drain: &Drain) -> Value {
    let created_at = drain.created_at.to_string();
    json!({
        "addon": null,
        "created_at": created_at,
        "id": drain.id,
        "token": drain.token,
        "updated_at": created_at,
        "url": drain.url,
    })
}

/// A log session, with the address of its lines.
pub fn log_session(logplex_url: &str) -> Value {
    let now = super::clock::now().to_string();
    json!({
        "created_at": now,
        "id": uuid::Uuid::new_v4().to_string(),
        "logplex_url": logplex_url,
        "updated_at": now,
    })
}

/// Config vars, as a flat object.
pub fn config_vars(config: &ConfigVars) -> Value {
    config.iter().collect()
}

/// A source: where to put an archive, and where a build gets it.
pub fn source(get_url: &str, put_url: &str) -> Value {
    json!({ "source_blob": { "get_url": get_url, "put_url": put_url } })
}

/// A token. Its secret is shown once, by the request that makes it.
pub fn authorization(site: &Site<'_>, token: &Token, secret: Option<&Secret>) -> Value {
    let access_token = secret
        .map(|secret| json!({ "expires_in": null, "id": token.id, "token": secret.expose() }));
    let updated_at = token.revoked_at.unwrap_or(token.created_at);
    json!({
        "access_token": access_token,
        "client": null,
        "created_at": token.created_at.to_string(),
        "description": token.name,
        "grant": null,
        "id": token.id,
        "apps": token.scope.apps,
        "refresh_token": null,
        "scope": [if token.scope.read_only { "read" } else if token.scope.apps.is_some() { "write" } else { "global" }],
        "session": null,
        "updated_at": updated_at.to_string(),
        "user": user(site.owner),
    })
}

/// A user, who has a name and no account: the API's `email` is the name.
pub fn user(name: &str) -> Value {
    json!({ "email": name, "id": stable_id("user", name) })
}

fn named(kind: &str, name: &str) -> Value {
    json!({ "id": stable_id(kind, name), "name": name })
}

/// An id for what has only a name: a UUID that depends on kind and name alone.
fn stable_id(kind: &str, name: &str) -> String {
    let hex = Digest::of(format!("{kind} {name}").as_bytes()).hex();
    let number = u128::from_str_radix(&hex[..32], 16).expect("a digest is written in hex digits");
    uuid::Builder::from_custom_bytes(number.to_be_bytes())
        .into_uuid()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Layout, ObjectFormat};
    use crate::output::{Blame, Failure};
    use crate::platform::ledger::testing::record;
    use crate::platform::ledger::{Scope, SourceKind};
    use crate::release::Version;

    const SITE: Site<'_> = Site {
        url: "http://127.0.0.1:7007",
        stack: "debian-12",
        owner: "admin",
    };

    fn id(number: u128) -> String {
        uuid::Uuid::from_u128(number).to_string()
    }

    fn time(text: &str) -> jiff::Timestamp {
        text.parse().unwrap()
    }

    fn an_app() -> App {
        App {
            id: id(1),
            name: "demo".parse().unwrap(),
            created_at: time("2026-01-01T00:00:00Z"),
            updated_at: time("2026-01-02T00:00:00Z"),
            released_at: Some(time("2026-01-02T00:00:00Z")),
            slug_size_bytes: Some(1234),
            buildpacks: Some("Lang".into()),
            layout: Layout::default(),
            object_format: ObjectFormat::default(),
            maintenance: false,
            rollback_on_crash: false,
        }
    }

    fn a_release() -> ReleaseRow {
        let mut config = ConfigVars::default();
        config.set("API_KEY", "hunter2").unwrap();
        ReleaseRow {
            id: id(2),
            app_id: id(1),
            version: Version(12),
            slug_id: Some(id(3)),
            config,
            description: "Deploy 4b825dc6".into(),
            status: Status::Succeeded,
            owes_phase: false,
            current: true,
            user: "laptop".into(),
            created_at: time("2026-01-02T00:00:00Z"),
            updated_at: time("2026-01-02T00:00:01Z"),
        }
    }

    fn a_build() -> Build {
        Build {
            id: id(4),
            app_id: id(1),
            status: Status::Failed,
            source: SourceKind::Push,
            commit: Some("4b825dc642cb6eb9a060e54bf8d69288fbee4904".into()),
            version: None,
            slug_id: None,
            release_id: None,
            failure: Some(Failure {
                id: "no_language_detected".into(),
                blame: Blame::App,
                summary: "No default language could be detected for this app.".into(),
                found: vec!["Found at the root: README.md.".into()],
                remedy: vec!["Commit the file that marks your language.".into()],
            }),
            user: "laptop".into(),
            cancelled: false,
            created_at: time("2026-01-02T00:00:00Z"),
            updated_at: time("2026-01-02T00:00:09Z"),
        }
    }

    fn pretty(value: &Value) -> String {
        serde_json::to_string_pretty(value).unwrap()
    }

    #[test]
    fn apps() {
        insta::assert_snapshot!(pretty(&app(
            &SITE,
            &an_app(),
            Some(567),
            "http://demo.localhost:7080/"
        )));
    }

    #[test]
    fn builds() {
        let url = "http://127.0.0.1:7007/output/4";
        insta::assert_snapshot!(pretty(&build(&SITE, &a_build(), url)));
        let done = Build {
            status: Status::Succeeded,
            slug_id: Some(id(3)),
            release_id: Some(id(2)),
            failure: None,
            version: Some("v1.0".into()),
            ..a_build()
        };
        let shown = build(&SITE, &done, url);
        assert_eq!(shown["slug"]["id"], id(3));
        assert_eq!(shown["release"]["id"], id(2));
        assert_eq!(shown["source_blob"]["version"], "v1.0");
        assert_eq!(shown["failure"], Value::Null);
    }

    #[test]
    fn slugs() {
        let row = Slug {
            id: id(3),
            app_id: id(1),
            record: record("slug"),
            created_at: time("2026-01-02T00:00:00Z"),
        };
        let url = "http://127.0.0.1:7007/blobs/3";
        insta::assert_snapshot!(pretty(&slug(&row, url)));
    }

    #[test]
    fn releases_show_no_config() {
        let text = pretty(&release(&an_app(), &a_release(), None));
        assert!(!text.contains("hunter2"));
        insta::assert_snapshot!(text);
        let first = ReleaseRow {
            slug_id: None,
            ..a_release()
        };
        let shown = release(&an_app(), &first, None);
        assert_eq!(shown["slug"], Value::Null);
        assert_eq!(shown["eligible_for_rollback"], false);
    }

    #[test]
    fn a_token_shows_its_secret_only_where_it_is_given() {
        let token = Token {
            id: id(5),
            name: "laptop".into(),
            scope: Scope::default(),
            created_at: time("2026-01-02T00:00:00Z"),
            last_used_at: None,
            revoked_at: None,
        };
        insta::assert_snapshot!(pretty(&authorization(&SITE, &token, None)));
        let secret = Secret::generate().unwrap();
        let shown = authorization(&SITE, &token, Some(&secret));
        assert_eq!(shown["access_token"]["token"], secret.expose());
    }

    #[test]
    fn domains() {
        let row = Domain {
            id: id(6),
            app_id: id(1),
            hostname: "www.example.com".parse().unwrap(),
            created_at: time("2026-01-02T00:00:00Z"),
        };
        let shown = domain(&an_app(), &row, "demo.localhost");
        insta::assert_snapshot!(pretty(&shown));
        let own = own_domain(&an_app(), "demo.localhost");
        assert_eq!(
            (&own["kind"], &own["cname"]),
            (&json!("heroku"), &Value::Null)
        );
        let fields = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(fields(&own), fields(&shown));
    }

    #[test]
    fn config_vars_are_flat() {
        assert_eq!(
            config_vars(&a_release().config),
            json!({ "API_KEY": "hunter2" })
        );
    }

    #[test]
    fn a_name_always_has_the_same_id() {
        assert_eq!(user("a"), user("a"));
        assert_ne!(user("a")["id"], user("b")["id"]);
        assert_ne!(stable_id("user", "a"), stable_id("stack", "a"));
    }
}
