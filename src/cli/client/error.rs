//! What can go wrong between a command and its server, each with all that a person must be told.

use std::io;
use std::path::PathBuf;

/// Why a command that calls a server could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no git on this machine.
    #[error("there is no git in PATH")]
    NoGit,
    /// `SLUGLINE_URL` is no address.
    #[error("{url:?} is no address of a server")]
    BadUrl { url: String },
    /// `SLUGLINE_URL` holds a user or a password; it is not repeated here.
    #[error("the address of the server holds a user or a password")]
    UserInUrl,
    /// Neither `SLUGLINE_DATA` nor a home directory is known.
    #[error("no data directory is named, and there is no home directory")]
    NoDataDir,
    /// `SLUGLINE_TOKEN` is not set, and the data directory has no token that can be read.
    #[error("there is no token: SLUGLINE_TOKEN is not set, and no token is in {}", path.display())]
    NoToken { path: PathBuf, source: io::Error },
    /// `SLUGLINE_TOKEN` is not set, and the server is not on this machine.
    #[error("there is no token for {server}: SLUGLINE_TOKEN is not set")]
    NoTokenForServer { server: String },
    /// A token with characters that none has. `origin`: where it was found.
    #[error("{origin} is no token")]
    BadToken { origin: String },
    /// The server cannot be reached.
    #[error("cannot connect to {url}")]
    Connect { url: String, source: io::Error },
    /// The connection broke, or the server fell silent, before the answer was whole.
    #[error("the answer of {url} broke off")]
    Interrupted { url: String, source: io::Error },
    /// What answers there does not speak the Platform API.
    #[error("what answers at {url} is no Slugline server")]
    NotAServer { url: String, status: Option<u16> },
    /// The answer is JSON, and not of the form that was asked for.
    #[error("the server's answer has another form than the Platform API's")]
    Form { source: serde_json::Error },
    /// The server does not know the token. `origin`: where it was found.
    #[error("the server {server} does not accept {origin}")]
    Unauthorized { server: String, origin: String },
    /// The server said no, in its own words.
    #[error("{message}")]
    Refused {
        status: u16,
        id: String,
        message: String,
        url: Option<String>,
    },
    /// Nothing says which app is meant.
    #[error("no app was named")]
    NoApp,
    /// The git remotes name several apps of the server: name of the remote, and the app.
    #[error("the git remotes name several apps")]
    SeveralApps { remotes: Vec<(String, String)> },
    /// An app was not destroyed, since its name was not repeated.
    #[error("destroying {app} was not confirmed")]
    NotConfirmed { app: String, got: Option<String> },
    /// The app has no such config var.
    #[error("the app {app} has no config var {name}")]
    NoConfigVar { app: String, name: String },
    /// The app's list has no such buildpack.
    #[error("the app {app} has no such buildpack")]
    NoBuildpack { app: String },
    /// There is no release to go back to.
    #[error("the app {app} has no earlier release to go back to")]
    NoEarlierRelease { app: String },
    /// The app has no build.
    #[error("the app {app} has no builds")]
    NoBuild { app: String },
    /// The host's git did not do what it was asked to.
    #[error("`git {command}`: {message}")]
    Git { command: String, message: String },
}
