//! All SQL of the ledger, and nothing but SQL: one function a statement.
//!
//! The statements are plain, so that another database can take this module's place. The functions
//! decide nothing: rules and transactions are their callers'.

use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use serde::de::DeserializeOwned;

use super::error::LedgerError;
use super::formations::Chosen;
use super::rows::{
    App, Build, Domain, Drain, Intent, ReleaseRow, Scope, SignedPush, Slug, Source, Token,
    UnusedSlug,
};
use crate::app::{AppName, AppRoot, Layout, ObjectFormat};
use crate::digest::Digest;
use crate::output::Failure;
use crate::release::{Status, Version};
use crate::sandbox::Contact;
use crate::stack::StackName;

type Result<T> = std::result::Result<T, LedgerError>;

/// How long a statement waits for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

// The file.

/// Sets what belongs to a connection and not to the file.
pub(super) fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is the commit point of a push: it must survive the loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

pub(super) fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

pub(super) fn set_schema_version(connection: &Connection, version: i64) -> rusqlite::Result<()> {
    connection.pragma_update(None, "user_version", version)
}

// Apps.

const APP: &str = "
    SELECT a.id AS id, a.name AS name, a.created_at AS created_at, a.updated_at AS updated_at,
        a.build_dir AS build_dir, a.root AS root, a.object_format AS object_format,
        a.stack AS stack, a.stack_env AS stack_env,
        a.maintenance AS maintenance, a.rollback_on_crash AS rollback_on_crash,
        r.created_at AS released_at, s.size_bytes AS size_bytes, s.buildpacks AS buildpacks
    FROM apps a
    LEFT JOIN releases r ON r.app_id = a.id AND r.version = (
        SELECT max(c.version) FROM releases c WHERE c.app_id = a.id AND c.status = 'succeeded')
    LEFT JOIN slugs s ON s.id = r.slug_id";

fn app_of(row: &Row<'_>) -> rusqlite::Result<App> {
    Ok(App {
        id: row.get("id")?,
        name: parsed(row, "name")?,
        created_at: parsed(row, "created_at")?,
        updated_at: parsed(row, "updated_at")?,
        released_at: parsed_option(row, "released_at")?,
        slug_size_bytes: row
            .get::<_, Option<i64>>("size_bytes")?
            .map(i64::unsigned_abs),
        buildpacks: row.get("buildpacks")?,
        layout: Layout {
            build_dir: parsed(row, "build_dir")?,
            root: parsed_option(row, "root")?,
            stack: parsed_option(row, "stack")?,
            stack_env: parsed_option(row, "stack_env")?,
        },
        object_format: parsed(row, "object_format")?,
        maintenance: row.get("maintenance")?,
        rollback_on_crash: row.get("rollback_on_crash")?,
    })
}

pub(super) fn insert_app(
    c: &Connection,
    id: &str,
    name: &AppName,
    format: ObjectFormat,
    now: Timestamp,
) -> Result<()> {
    run(
        c,
        "INSERT INTO apps (id, name, object_format, created_at, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?4)",
        params![id, name.as_str(), format.as_str(), now.to_string()],
    )?;
    Ok(())
}

/// A name is never as long as an id, so the two cannot be confused.
pub(super) fn app(c: &Connection, name_or_id: &str) -> Result<Option<App>> {
    let sql = format!("{APP} WHERE a.name = ?1 OR a.id = ?1");
    one(c, &sql, [name_or_id], app_of)
}

pub(super) fn apps(c: &Connection) -> Result<Vec<App>> {
    all(c, &format!("{APP} ORDER BY a.name"), [], app_of)
}

pub(super) fn touch_app(c: &Connection, id: &str, now: Timestamp) -> Result<usize> {
    run(
        c,
        "UPDATE apps SET updated_at = ?2 WHERE id = ?1",
        params![id, now.to_string()],
    )
}

pub(super) fn set_app_layout(c: &Connection, id: &str, layout: &Layout) -> Result<()> {
    run(
        c,
        "UPDATE apps SET build_dir = ?2, root = ?3, stack = ?4, stack_env = ?5 WHERE id = ?1",
        params![
            id,
            layout.build_dir.as_str(),
            layout.root.as_ref().map(AppRoot::as_str),
            layout.stack.as_ref().map(StackName::as_str),
            layout.stack_env.as_ref().map(StackName::as_str),
        ],
    )?;
    Ok(())
}

/// Takes all that belongs to the app along.
pub(super) fn delete_app(c: &Connection, id: &str) -> Result<()> {
    run(c, "DELETE FROM apps WHERE id = ?1", [id])?;
    Ok(())
}

/// The app's slugs whose digest no other app has.
pub(super) fn slugs_of_this_app_alone(c: &Connection, app_id: &str) -> Result<Vec<UnusedSlug>> {
    let sql = "
        SELECT DISTINCT s.digest AS digest, s.manifest AS manifest FROM slugs s
        WHERE s.app_id = ?1 AND NOT EXISTS (
            SELECT 1 FROM slugs o WHERE o.digest = s.digest AND o.app_id <> ?1)
        ORDER BY s.digest";
    all(c, sql, [app_id], |row| {
        Ok(UnusedSlug {
            digest: parsed(row, "digest")?,
            manifest: parsed(row, "manifest")?,
        })
    })
}

// Buildpacks.

/// In their order.
pub(super) fn buildpacks(c: &Connection, app_id: &str) -> Result<Vec<String>> {
    let sql = "SELECT reference FROM buildpacks WHERE app_id = ?1 ORDER BY ordinal";
    all(c, sql, [app_id], |row| row.get("reference"))
}

pub(super) fn delete_buildpacks(c: &Connection, app_id: &str) -> Result<()> {
    run(c, "DELETE FROM buildpacks WHERE app_id = ?1", [app_id])?;
    Ok(())
}

pub(super) fn insert_buildpack(
    c: &Connection,
    app_id: &str,
    ordinal: usize,
    reference: &str,
) -> Result<()> {
    let ordinal = i64::try_from(ordinal).unwrap_or(i64::MAX);
    run(
        c,
        "INSERT INTO buildpacks (app_id, ordinal, reference) VALUES (?1, ?2, ?3)",
        params![app_id, ordinal, reference],
    )?;
    Ok(())
}

// Formations.

pub(super) fn formation(c: &Connection, app_id: &str) -> Result<Vec<(String, Chosen)>> {
    let sql = "SELECT type, quantity, size FROM formations WHERE app_id = ?1";
    all(c, sql, [app_id], |row| {
        let chosen = Chosen {
            quantity: row.get("quantity")?,
            size: row.get("size")?,
        };
        Ok((row.get("type")?, chosen))
    })
}

pub(super) fn set_formation(
    c: &Connection,
    app_id: &str,
    kind: &str,
    chosen: &Chosen,
) -> Result<()> {
    run(
        c,
        "INSERT INTO formations (app_id, type, quantity, size) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (app_id, type) DO UPDATE SET quantity = ?3, size = ?4",
        params![app_id, kind, chosen.quantity, chosen.size],
    )?;
    Ok(())
}

// Domains.

pub(super) fn insert_drain(c: &Connection, drain: &Drain) -> Result<()> {
    run(
        c,
        "INSERT INTO drains (id, app_id, url, token, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            drain.id,
            drain.app_id,
            drain.url,
            drain.token,
            drain.created_at.to_string()
        ],
    )?;
    Ok(())
}

/// In the order in which they were added.
pub(super) fn drains(c: &Connection) -> Result<Vec<Drain>> {
    all(c, "SELECT * FROM drains ORDER BY rowid", [], |row| {
        Ok(Drain {
            id: row.get("id")?,
            app_id: row.get("app_id")?,
            url: row.get("url")?,
            token: row.get("token")?,
            created_at: parsed(row, "created_at")?,
        })
    })
}

pub(super) fn delete_drain(c: &Connection, id: &str) -> Result<usize> {
    run(c, "DELETE FROM drains WHERE id = ?1", [id])
}

pub(super) fn insert_domain(c: &Connection, domain: &Domain) -> Result<()> {
    run(
        c,
        "INSERT INTO domains (id, app_id, hostname, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![
            domain.id,
            domain.app_id,
            domain.hostname.as_str(),
            domain.created_at.to_string()
        ],
    )?;
    Ok(())
}

/// In the order in which they were added.
pub(super) fn domains(c: &Connection) -> Result<Vec<Domain>> {
    all(c, "SELECT * FROM domains ORDER BY rowid", [], |row| {
        Ok(Domain {
            id: row.get("id")?,
            app_id: row.get("app_id")?,
            hostname: parsed(row, "hostname")?,
            created_at: parsed(row, "created_at")?,
        })
    })
}

pub(super) fn delete_domain(c: &Connection, id: &str) -> Result<usize> {
    run(c, "DELETE FROM domains WHERE id = ?1", [id])
}

// Tokens.

fn token_of(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: row.get("id")?,
        name: row.get("name")?,
        scope: Scope {
            read_only: row.get("read_only")?,
            apps: json_option(row, "apps")?,
        },
        created_at: parsed(row, "created_at")?,
        last_used_at: parsed_option(row, "last_used_at")?,
        revoked_at: parsed_option(row, "revoked_at")?,
    })
}

pub(super) fn insert_token(
    c: &Connection,
    token: &Token,
    digest: Digest,
    adopted: bool,
) -> Result<()> {
    run(
        c,
        "INSERT INTO tokens (id, name, digest, adopted, read_only, apps, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            token.id,
            token.name,
            digest.to_string(),
            adopted,
            token.scope.read_only,
            token.scope.apps.as_ref().map(to_json).transpose()?,
            token.created_at.to_string()
        ],
    )?;
    Ok(())
}

/// Each token that is not revoked, with the digest of its secret.
pub(super) fn live_tokens_with_digests(c: &Connection) -> Result<Vec<(Token, String)>> {
    all(
        c,
        "SELECT * FROM tokens WHERE revoked_at IS NULL ORDER BY created_at, id",
        [],
        |row| Ok((token_of(row)?, row.get("digest")?)),
    )
}

pub(super) fn token_of_digest(c: &Connection, digest: Digest) -> Result<Option<Token>> {
    let sql = "SELECT * FROM tokens WHERE digest = ?1";
    one(c, sql, [digest.to_string()], token_of)
}

/// Oldest first, the revoked ones too.
pub(super) fn tokens(c: &Connection) -> Result<Vec<Token>> {
    let sql = "SELECT * FROM tokens ORDER BY created_at, name, id";
    all(c, sql, [], token_of)
}

pub(super) fn set_token_used(c: &Connection, id: &str, now: Timestamp) -> Result<()> {
    run(
        c,
        "UPDATE tokens SET last_used_at = ?2 WHERE id = ?1",
        params![id, now.to_string()],
    )?;
    Ok(())
}

pub(super) fn set_token_revoked(c: &Connection, id: &str, now: Timestamp) -> Result<()> {
    run(
        c,
        "UPDATE tokens SET revoked_at = ?2 WHERE id = ?1",
        params![id, now.to_string()],
    )?;
    Ok(())
}

/// Revokes what the administrator's file held before.
pub(super) fn revoke_adopted_tokens(c: &Connection, name: &str, now: Timestamp) -> Result<()> {
    run(
        c,
        "UPDATE tokens SET revoked_at = ?2
            WHERE name = ?1 AND adopted = 1 AND revoked_at IS NULL",
        params![name, now.to_string()],
    )?;
    Ok(())
}

// Signed pushes.

fn signed_push_of(row: &Row<'_>) -> rusqlite::Result<SignedPush> {
    Ok(SignedPush {
        id: row.get("id")?,
        app_id: row.get("app_id")?,
        signer: row.get("signer")?,
        certificate: row.get("certificate")?,
        user: row.get("user_name")?,
        created_at: parsed(row, "created_at")?,
    })
}

pub(super) fn insert_signed_push(c: &Connection, push: &SignedPush) -> Result<()> {
    run(
        c,
        "INSERT INTO signed_pushes (id, app_id, signer, certificate, user_name, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            push.id,
            push.app_id,
            push.signer,
            push.certificate,
            push.user,
            push.created_at.to_string(),
        ],
    )?;
    Ok(())
}

/// Newest first.
pub(super) fn signed_pushes(c: &Connection, app_id: &str) -> Result<Vec<SignedPush>> {
    let sql = "SELECT * FROM signed_pushes WHERE app_id = ?1 ORDER BY rowid DESC";
    all(c, sql, [app_id], signed_push_of)
}

// Slugs.

fn slug_of(row: &Row<'_>) -> rusqlite::Result<Slug> {
    Ok(Slug {
        id: row.get("id")?,
        app_id: row.get("app_id")?,
        record: json(row, "record")?,
        created_at: parsed(row, "created_at")?,
    })
}

pub(super) fn insert_slug(c: &Connection, slug: &Slug, labels: &str) -> Result<()> {
    run(
        c,
        "INSERT INTO slugs
            (id, app_id, digest, manifest, size_bytes, buildpacks, record, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            slug.id,
            slug.app_id,
            slug.record.digest.to_string(),
            slug.record.manifest.to_string(),
            integer(slug.record.size_bytes),
            labels,
            to_json(&slug.record)?,
            slug.created_at.to_string(),
        ],
    )?;
    Ok(())
}

pub(super) fn slug(c: &Connection, id: &str) -> Result<Option<Slug>> {
    one(c, "SELECT * FROM slugs WHERE id = ?1", [id], slug_of)
}

/// Digest and manifest of every slug, the newest first.
pub(super) fn slug_blobs(c: &Connection) -> Result<Vec<UnusedSlug>> {
    all(
        c,
        "SELECT digest, manifest FROM slugs GROUP BY digest, manifest ORDER BY MAX(created_at) DESC",
        [],
        |row| {
            Ok(UnusedSlug {
                digest: parsed(row, "digest")?,
                manifest: parsed(row, "manifest")?,
            })
        },
    )
}

// Releases.

const RELEASE: &str = "
    SELECT r.*, r.status = 'succeeded' AND NOT EXISTS (
        SELECT 1 FROM releases n
        WHERE n.app_id = r.app_id AND n.version > r.version AND n.status = 'succeeded') AS current
    FROM releases r";

fn release_of(row: &Row<'_>) -> rusqlite::Result<ReleaseRow> {
    Ok(ReleaseRow {
        id: row.get("id")?,
        app_id: row.get("app_id")?,
        version: Version(row.get::<_, i64>("version")?.unsigned_abs()),
        slug_id: row.get("slug_id")?,
        config: json(row, "config")?,
        description: row.get("description")?,
        status: parsed(row, "status")?,
        owes_phase: row.get("owes_phase")?,
        current: row.get("current")?,
        user: row.get("user_name")?,
        created_at: parsed(row, "created_at")?,
        updated_at: parsed(row, "updated_at")?,
    })
}

pub(super) fn insert_release(c: &Connection, release: &ReleaseRow) -> Result<()> {
    run(
        c,
        "INSERT INTO releases (id, app_id, version, slug_id, config, description, status,
            user_name, created_at, updated_at, owes_phase)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            release.id,
            release.app_id,
            integer(release.version.0),
            release.slug_id,
            to_json(&release.config)?,
            release.description,
            release.status.as_str(),
            release.user,
            release.created_at.to_string(),
            release.updated_at.to_string(),
            release.owes_phase,
        ],
    )?;
    Ok(())
}

/// Oldest first.
pub(super) fn releases(c: &Connection, app_id: &str) -> Result<Vec<ReleaseRow>> {
    let sql = format!("{RELEASE} WHERE r.app_id = ?1 ORDER BY r.version");
    all(c, &sql, [app_id], release_of)
}

pub(super) fn release_of_version(
    c: &Connection,
    app_id: &str,
    version: Version,
) -> Result<Option<ReleaseRow>> {
    let sql = format!("{RELEASE} WHERE r.app_id = ?1 AND r.version = ?2");
    one(c, &sql, params![app_id, integer(version.0)], release_of)
}

pub(super) fn release_of_id(c: &Connection, app_id: &str, id: &str) -> Result<Option<ReleaseRow>> {
    let sql = format!("{RELEASE} WHERE r.app_id = ?1 AND r.id = ?2");
    one(c, &sql, [app_id, id], release_of)
}

/// The newest release that succeeded.
pub(super) fn current_release(c: &Connection, app_id: &str) -> Result<Option<ReleaseRow>> {
    let sql = format!(
        "{RELEASE} WHERE r.app_id = ?1 AND r.status = 'succeeded' ORDER BY r.version DESC LIMIT 1"
    );
    one(c, &sql, [app_id], release_of)
}

/// The newest release that has not failed: the next one builds on it.
pub(super) fn newest_release(c: &Connection, app_id: &str) -> Result<Option<ReleaseRow>> {
    let sql = format!(
        "{RELEASE} WHERE r.app_id = ?1 AND r.status <> 'failed' ORDER BY r.version DESC LIMIT 1"
    );
    one(c, &sql, [app_id], release_of)
}

/// The highest number given, whatever became of it; 0 for none.
pub(super) fn last_version(c: &Connection, app_id: &str) -> Result<u64> {
    let sql = "SELECT coalesce(max(version), 0) AS last FROM releases WHERE app_id = ?1";
    let last = one(c, sql, [app_id], |row| row.get::<_, i64>("last"))?;
    Ok(last.unwrap_or(0).unsigned_abs())
}

pub(super) fn set_phase_done(c: &Connection, id: &str) -> Result<()> {
    run(c, "UPDATE releases SET owes_phase = 0 WHERE id = ?1", [id])?;
    Ok(())
}

/// The releases whose command is to be run, and whose refs have moved: by id, with their apps.
pub(super) fn owed_phases(c: &Connection) -> Result<Vec<(String, String)>> {
    let sql = "SELECT r.id AS id, r.app_id AS app_id FROM releases r
        WHERE r.owes_phase = 1 AND NOT EXISTS (
            SELECT 1 FROM intents i WHERE i.release_id = r.id)";
    all(c, sql, [], |row| Ok((row.get("id")?, row.get("app_id")?)))
}

pub(super) fn set_app_switches(
    c: &Connection,
    id: &str,
    maintenance: bool,
    rollback_on_crash: bool,
) -> Result<()> {
    run(
        c,
        "UPDATE apps SET maintenance = ?2, rollback_on_crash = ?3 WHERE id = ?1",
        params![id, maintenance, rollback_on_crash],
    )?;
    Ok(())
}

pub(super) fn set_release_status(
    c: &Connection,
    id: &str,
    status: Status,
    now: Timestamp,
) -> Result<()> {
    run(
        c,
        "UPDATE releases SET status = ?2, updated_at = ?3 WHERE id = ?1",
        params![id, status.as_str(), now.to_string()],
    )?;
    Ok(())
}

// Builds.

fn build_of(row: &Row<'_>) -> rusqlite::Result<Build> {
    Ok(Build {
        id: row.get("id")?,
        app_id: row.get("app_id")?,
        status: parsed(row, "status")?,
        source: parsed(row, "source_kind")?,
        commit: row.get("commit_id")?,
        version: row.get("version")?,
        slug_id: row.get("slug_id")?,
        release_id: row.get("release_id")?,
        failure: json_option(row, "failure")?,
        user: row.get("user_name")?,
        cancelled: row.get("cancelled")?,
        created_at: parsed(row, "created_at")?,
        updated_at: parsed(row, "updated_at")?,
    })
}

pub(super) fn insert_build(c: &Connection, build: &Build) -> Result<()> {
    run(
        c,
        "INSERT INTO builds (id, app_id, status, source_kind, commit_id, version, user_name,
            cancelled, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            build.id,
            build.app_id,
            build.status.as_str(),
            build.source.as_str(),
            build.commit,
            build.version,
            build.user,
            build.cancelled,
            build.created_at.to_string(),
            build.updated_at.to_string(),
        ],
    )?;
    Ok(())
}

pub(super) fn build(c: &Connection, id: &str) -> Result<Option<Build>> {
    one(c, "SELECT * FROM builds WHERE id = ?1", [id], build_of)
}

/// Oldest first.
pub(super) fn builds(c: &Connection, app_id: &str) -> Result<Vec<Build>> {
    let sql = "SELECT * FROM builds WHERE app_id = ?1 ORDER BY number";
    all(c, sql, [app_id], build_of)
}

/// Of all apps, oldest first.
pub(super) fn pending_builds(c: &Connection) -> Result<Vec<Build>> {
    let sql = "SELECT * FROM builds WHERE status = 'pending' ORDER BY number";
    all(c, sql, [], build_of)
}

/// The contacts of a build, as [`set_contacts`] has left them.
pub(super) fn contacts(c: &Connection, id: &str) -> Result<Option<Vec<Contact>>> {
    let sql = "SELECT contacts FROM builds WHERE id = ?1";
    one(c, sql, [id], |row| json(row, "contacts"))
}

pub(super) fn set_contacts(c: &Connection, id: &str, contacts: &[Contact]) -> Result<()> {
    let contacts = to_json(&contacts)?;
    let sql = "UPDATE builds SET contacts = ?2 WHERE id = ?1";
    run(c, sql, params![id, contacts])?;
    Ok(())
}

/// Writes what changes in a build's life.
pub(super) fn update_build(c: &Connection, build: &Build) -> Result<()> {
    let failure = build.failure.as_ref().map(to_json::<Failure>).transpose()?;
    run(
        c,
        "UPDATE builds SET status = ?2, slug_id = ?3, release_id = ?4, failure = ?5,
            cancelled = ?6, updated_at = ?7 WHERE id = ?1",
        params![
            build.id,
            build.status.as_str(),
            build.slug_id,
            build.release_id,
            failure,
            build.cancelled,
            build.updated_at.to_string(),
        ],
    )?;
    Ok(())
}

// Intents.

fn intent_of(row: &Row<'_>) -> rusqlite::Result<Intent> {
    Ok(Intent {
        id: row.get("id")?,
        release_id: row.get("release_id")?,
        app_id: row.get("app_id")?,
        quarantine: row.get("quarantine")?,
        commands: json(row, "commands")?,
        created_at: parsed(row, "created_at")?,
    })
}

pub(super) fn insert_intent(c: &Connection, intent: &Intent) -> Result<()> {
    run(
        c,
        "INSERT INTO intents (id, release_id, app_id, quarantine, commands, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            intent.id,
            intent.release_id,
            intent.app_id,
            intent.quarantine,
            to_json(&intent.commands)?,
            intent.created_at.to_string(),
        ],
    )?;
    Ok(())
}

pub(super) fn intent(c: &Connection, id: &str) -> Result<Option<Intent>> {
    one(c, "SELECT * FROM intents WHERE id = ?1", [id], intent_of)
}

/// Each app's in the order of their making.
pub(super) fn intents(c: &Connection) -> Result<Vec<Intent>> {
    let sql = "SELECT * FROM intents ORDER BY app_id, rowid";
    all(c, sql, [], intent_of)
}

pub(super) fn delete_intent(c: &Connection, id: &str) -> Result<()> {
    run(c, "DELETE FROM intents WHERE id = ?1", [id])?;
    Ok(())
}

// Sources.

fn source_of(row: &Row<'_>) -> rusqlite::Result<Source> {
    Ok(Source {
        id: row.get("id")?,
        created_at: parsed(row, "created_at")?,
    })
}

pub(super) fn insert_source(c: &Connection, source: &Source) -> Result<()> {
    run(
        c,
        "INSERT INTO sources (id, created_at) VALUES (?1, ?2)",
        params![source.id, source.created_at.to_string()],
    )?;
    Ok(())
}

pub(super) fn source(c: &Connection, id: &str) -> Result<Option<Source>> {
    one(c, "SELECT * FROM sources WHERE id = ?1", [id], source_of)
}

/// Oldest first.
pub(super) fn sources(c: &Connection) -> Result<Vec<Source>> {
    let sql = "SELECT * FROM sources ORDER BY created_at, id";
    all(c, sql, [], source_of)
}

pub(super) fn delete_source(c: &Connection, id: &str) -> Result<usize> {
    run(c, "DELETE FROM sources WHERE id = ?1", [id])
}

// Statements and columns.

fn run(c: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    Ok(c.prepare_cached(sql)?.execute(params)?)
}

fn one<T>(
    c: &Connection,
    sql: &str,
    params: impl Params,
    of: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    Ok(c.prepare_cached(sql)?.query_row(params, of).optional()?)
}

fn all<T>(
    c: &Connection,
    sql: &str,
    params: impl Params,
    of: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map(params, of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn parsed_option<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>>
where
    T: FromStr,
    T::Err: Into<Box<dyn Error + Send + Sync>>,
{
    let index = row.as_ref().column_index(column)?;
    row.get::<_, Option<String>>(index)?
        .map(|text| text.parse().map_err(|error: T::Err| bad(index, error)))
        .transpose()
}

fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: Into<Box<dyn Error + Send + Sync>>,
{
    parsed_option(row, column)?.ok_or_else(|| rusqlite::Error::InvalidColumnName(column.to_owned()))
}

fn json_option<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>> {
    let index = row.as_ref().column_index(column)?;
    row.get::<_, Option<String>>(index)?
        .map(|text| serde_json::from_str(&text).map_err(|error| bad(index, error)))
        .transpose()
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    json_option(row, column)?.ok_or_else(|| rusqlite::Error::InvalidColumnName(column.to_owned()))
}

fn bad(index: usize, error: impl Into<Box<dyn Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error.into())
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| LedgerError::Database(error.into()))
}

/// SQL has no unsigned integers; no size or version comes near the limit.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
