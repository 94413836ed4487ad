//! What the commands read of the Platform API's resources; the rest of each is passed over.

use serde::Deserialize;

use crate::sandbox::Contact;

#[derive(Debug, Deserialize)]
pub struct App {
    pub name: String,
    pub owner: User,
    pub stack: Named,
    pub created_at: String,
    pub released_at: Option<String>,
    pub buildpack_provided_description: Option<String>,
    pub repo_size: Option<u64>,
    pub slug_size: Option<u64>,
    pub web_url: Option<String>,
    /// Our own fields; other servers do not have them.
    pub build_dir: Option<String>,
    pub root: Option<String>,
    pub stack_env: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Release {
    pub id: String,
    pub version: u64,
    pub description: String,
    pub status: String,
    pub current: bool,
    pub eligible_for_rollback: bool,
    pub user: User,
    pub created_at: String,
    pub slug: Option<Id>,
}

#[derive(Debug, Deserialize)]
pub struct Build {
    pub id: String,
    pub status: String,
    /// Our own field; other servers do not have it.
    #[serde(default)]
    pub cancelled: bool,
    pub source_blob: SourceBlob,
    pub output_stream_url: String,
    pub user: User,
    pub created_at: String,
    /// Our own field, of a build that is asked for alone.
    #[serde(default)]
    pub network: Vec<Contact>,
}

#[derive(Debug, Deserialize)]
pub struct SourceBlob {
    pub version: Option<String>,
}

/// A buildpack of an app, with its place.
#[derive(Debug, Deserialize)]
pub struct Installation {
    pub ordinal: u64,
    pub buildpack: Named,
}

/// A token; its secret is in the answer to its making alone.
#[derive(Deserialize)]
pub struct Authorization {
    pub id: String,
    pub description: String,
    pub created_at: String,
    pub access_token: Option<AccessToken>,
}

#[derive(Deserialize)]
pub struct AccessToken {
    pub token: String,
}

/// Who did it; a name where there are no accounts.
#[derive(Debug, Deserialize)]
pub struct User {
    pub email: String,
}

#[derive(Debug, Deserialize)]
pub struct Named {
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub struct Id {
    pub id: String,
}
