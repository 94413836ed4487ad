//! What the ledger remembers, as plain structs.
//!
//! Ids are UUIDs in text. No `Debug` shows a config var's value or a token's secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::{AppName, Layout, ObjectFormat};
use crate::config::ConfigVars;
use crate::digest::Digest;
use crate::domain::DomainName;
use crate::output::Failure;
use crate::release::{Status, Version};
use crate::slug::SlugRecord;

/// An app, with what its current release says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub id: String,
    pub name: AppName,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When the current release was made.
    pub released_at: Option<Timestamp>,
    /// Compressed size of the current release's slug.
    pub slug_size_bytes: Option<u64>,
    /// The labels of the buildpacks that made that slug.
    pub buildpacks: Option<String>,
    /// Where its builds happen, and of what.
    pub layout: Layout,
    /// Of its repository.
    pub object_format: ObjectFormat,
    /// The router answers in its place.
    pub maintenance: bool,
    /// A deploy whose web dynos crash is undone.
    pub rollback_on_crash: bool,
}

/// A drain of an app's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    pub id: String,
    pub app_id: String,
    /// May hold a password.
    pub url: String,
    /// Names the drain to its receiver: `d.` and an id.
    pub token: String,
    pub created_at: Timestamp,
}

/// A host name of an app besides its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub id: String,
    pub app_id: String,
    pub hostname: DomainName,
    pub created_at: Timestamp,
}

/// What a token may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Whether it may look and not change.
    pub read_only: bool,
    /// The ids of the apps that it sees, and nothing else of the server; `None` is all of it.
    pub apps: Option<Vec<String>>,
}

impl Scope {
    /// Whether an app is among those that are seen.
    pub fn sees(&self, app_id: &str) -> bool {
        let apps = self.apps.as_ref();
        apps.is_none_or(|apps| apps.iter().any(|id| id == app_id))
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub scope: Scope,
    pub created_at: Timestamp,
    /// To the hour.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// A push that its pusher has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPush {
    pub id: String,
    pub app_id: String,
    /// Whose signature it is; none where the server knows no signers to compare with.
    pub signer: Option<String>,
    /// What was signed and the signature, as git sent them.
    pub certificate: String,
    /// The name of the token that it was pushed with.
    pub user: String,
    pub created_at: Timestamp,
}

/// A slug: what one build of one app made. Many may share one digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slug {
    pub id: String,
    pub app_id: String,
    pub record: SlugRecord,
    pub created_at: Timestamp,
}

impl Slug {
    /// What the buildpacks call themselves, in the order they ran, comma-separated.
    pub fn buildpack_labels(&self) -> String {
        let labels: Vec<&str> = self
            .record
            .buildpacks
            .iter()
            .map(|buildpack| buildpack.label.as_str())
            .collect();
        labels.join(", ")
    }
}

/// A release: a slug and config vars under a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRow {
    pub id: String,
    pub app_id: String,
    pub version: Version,
    pub slug_id: Option<String>,
    pub config: ConfigVars,
    /// `Deploy 4b825dc6`, `Set FOO config vars`, …
    pub description: String,
    /// Pending while the refs of its push are not yet moved, or its release command has not ended.
    pub status: Status,
    /// Whether its release command is still to be run.
    pub owes_phase: bool,
    /// Whether it is the newest that succeeded: the one that runs.
    pub current: bool,
    /// The name of the token that made it.
    pub user: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// How the code of a build came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    Push,
    Api,
}

impl SourceKind {
    /// The word that the ledger keeps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Api => "api",
        }
    }
}

impl std::str::FromStr for SourceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "push" => Ok(Self::Push),
            "api" => Ok(Self::Api),
            other => Err(format!("{other:?} is no kind of source")),
        }
    }
}

/// A build, under way or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    pub id: String,
    pub app_id: String,
    pub status: Status,
    pub source: SourceKind,
    pub commit: Option<String>,
    /// What the caller of the API said of the source's version.
    pub version: Option<String>,
    /// Present once it has succeeded, as is `release_id` unless the push asked for no release.
    pub slug_id: Option<String>,
    pub release_id: Option<String>,
    /// Present once it has failed.
    pub failure: Option<Failure>,
    /// The name of the token that started it.
    pub user: String,
    /// Somebody asked for its end; it then fails as soon as its process is gone.
    pub cancelled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// One ref update, in git's words; `old` and `new` are object ids in hex, all zeros for none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefCommand {
    pub name: String,
    pub old: String,
    pub new: String,
}

/// The ref updates that a recorded build still owes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub id: String,
    /// The release that is pending until then; none where the push asked for none.
    pub release_id: Option<String>,
    pub app_id: String,
    /// The name of the quarantine that holds the push's objects.
    pub quarantine: String,
    pub commands: Vec<RefCommand>,
    pub created_at: Timestamp,
}

/// A place for a source archive that a client uploads before it asks for a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub id: String,
    pub created_at: Timestamp,
}

/// A slug that no app has any more: both blobs may be deleted from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedSlug {
    pub digest: Digest,
    /// Digest of the manifest's JSON.
    pub manifest: Digest,
}
