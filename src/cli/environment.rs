//! The process's environment: which server, which app, with which token, from which directory.
//!
//! The only place that reads it. A variable that is set to nothing counts as not set.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::client::{ClientError, Token};
use super::server_url::ServerUrl;
use crate::fault::Faults;
use crate::platform::data::ADMIN_TOKEN;

/// The server that is called where `SLUGLINE_URL` names none.
const DEFAULT_URL: &str = "http://127.0.0.1:7007";

/// What the commands take from the environment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `SLUGLINE_APP`.
    pub(super) app: Option<String>,
    /// `SLUGLINE_URL`.
    pub(super) url: Option<String>,
    pub(super) token: Option<Token>,
    /// `SLUGLINE_DATA`.
    pub(super) data: Option<PathBuf>,
    pub(super) default_data: Option<PathBuf>,
}

/// The variables of the environment that are text, as a server's settings are read from them.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    let all = std::env::vars_os();
    all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that reads the environment"
)]
fn text_of(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The terminal's kind.
pub(super) fn term() -> Option<String> {
    text_of("TERM")
}

/// The port that a web process is to listen on.
pub(super) fn port() -> Option<String> {
    text_of("PORT")
}

/// The home directory of whoever runs this.
pub(super) fn home() -> Option<PathBuf> {
    text_of("HOME").map(PathBuf::from)
}

/// What the server logs, in `tracing`'s words: `info`, `slugline=debug`.
pub(super) fn log_filter() -> String {
    text_of("SLUGLINE_LOG").unwrap_or_else(|| "info".to_owned())
}

/// The step of a push at which a test wants the server to die.
#[cfg(debug_assertions)]
pub(super) fn faults() -> Faults {
    let step = text_of("SLUGLINE_FAULT").and_then(|name| name.parse().ok());
    step.map_or_else(Faults::default, Faults::at)
}

/// Nobody asks for a death in a build that people use.
#[cfg(not(debug_assertions))]
pub(super) fn faults() -> Faults {
    Faults::default()
}

/// This program's file.
pub(super) fn binary() -> Result<PathBuf> {
    std::env::current_exe().context("finding this program's own file")
}

/// The host's git.
///
/// # Errors
/// The caller's: there is none in `PATH`.
pub(super) fn git() -> Result<PathBuf, ClientError> {
    let path = text_of("PATH").unwrap_or_default();
    let found = path
        .split(':')
        .map(|dir| Path::new(dir).join("git"))
        .find(|file| file.is_file());
    found.ok_or(ClientError::NoGit)
}

impl Environment {
    /// Reads the environment of the process.
    #[must_use]
    pub fn read() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place that reads the environment"
        )]
        let variable = |name: &str| std::env::var_os(name);
        Self::of(variable, nix::unistd::geteuid().is_root())
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name: &str| variable(name).map(PathBuf::from);
        let default_data = if is_root {
            Some(PathBuf::from("/var/lib/slugline"))
        } else {
            // Source: XDG Base Directory Specification, which has a relative path ignored.
            path("XDG_DATA_HOME")
                .filter(|dir| dir.is_absolute())
                .or_else(|| Some(path("HOME")?.join(".local/share")))
                .map(|dir| dir.join("slugline"))
        };
        Self {
            app: text("SLUGLINE_APP"),
            url: text("SLUGLINE_URL"),
            token: text("SLUGLINE_TOKEN").map(|text| Token::of_variable(&text)),
            data: path("SLUGLINE_DATA"),
            default_data,
        }
    }

    /// The same with another server and data directory, where they are given.
    #[must_use]
    pub(super) fn with(mut self, url: Option<&str>, data: Option<&Path>) -> Self {
        self.url = url.map(str::to_owned).or(self.url);
        self.data = data.map(Path::to_owned).or(self.data);
        self
    }

    /// The server to call.
    ///
    /// # Errors
    /// The caller's: `SLUGLINE_URL` is no address of a server.
    pub(super) fn server(&self) -> Result<ServerUrl, ClientError> {
        self.url.as_deref().unwrap_or(DEFAULT_URL).parse()
    }

    /// The data directory of this machine's server.
    ///
    /// # Errors
    /// The caller's: neither it nor a home directory is named.
    pub fn data_dir(&self) -> Result<&Path, ClientError> {
        let dir = self.data.as_deref().or(self.default_data.as_deref());
        dir.ok_or(ClientError::NoDataDir)
    }

    /// The token to call `server` with.
    ///
    /// The token of the data directory goes to a server on this machine, or to any if the directory
    /// was named for it: a default must not hand a local server's token to a foreign one.
    ///
    /// # Errors
    /// The caller's: there is none.
    pub(super) fn token(&self, server: &ServerUrl) -> Result<Token, ClientError> {
        if let Some(token) = &self.token {
            return token.checked();
        }
        let path = self.data_dir()?.join(ADMIN_TOKEN);
        if self.data.is_none() && !server.is_loopback() {
            return Err(ClientError::NoTokenForServer {
                server: server.to_string(),
            });
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => Token::of_file(&text, &path).checked(),
            Err(source) => Err(ClientError::NoToken { path, source }),
        }
    }

    /// The options that make [`with`](Self::with) give this environment's server and data directory
    /// to a process that does not have its variables.
    pub(super) fn as_options(&self) -> Vec<(&'static str, PathBuf)> {
        let url = self.url.as_deref().filter(|url| *url != DEFAULT_URL);
        let absolute = |dir: &Path| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let data = self.data.as_deref().map(absolute);
        let url = url.map(|url| ("--url", PathBuf::from(url)));
        url.into_iter()
            .chain(data.map(|data| ("--data", data)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], is_root: bool) -> Environment {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
        Environment::of(|name| find(name).map(|(_, value)| value.into()), is_root)
    }

    #[test]
    fn the_data_directory_is_found_as_the_server_finds_it() {
        let dir = |variables: &[(&str, &str)], is_root| {
            of(variables, is_root).data_dir().unwrap().to_owned()
        };
        let home = ("HOME", "/home/me");
        assert_eq!(dir(&[home], true), Path::new("/var/lib/slugline"));
        assert_eq!(
            dir(&[home], false),
            Path::new("/home/me/.local/share/slugline")
        );
        assert_eq!(
            dir(&[home, ("XDG_DATA_HOME", "/xdg")], false),
            Path::new("/xdg/slugline")
        );
        assert_eq!(
            dir(&[home, ("XDG_DATA_HOME", "xdg")], false),
            Path::new("/home/me/.local/share/slugline")
        );
        assert_eq!(dir(&[("SLUGLINE_DATA", "/d")], true), Path::new("/d"));
        assert!(matches!(
            of(&[], false).data_dir(),
            Err(ClientError::NoDataDir)
        ));
    }

    #[test]
    fn nothing_is_as_good_as_not_set() {
        let empty = of(&[("SLUGLINE_URL", ""), ("SLUGLINE_APP", "")], true);
        assert_eq!(empty.server().unwrap().as_str(), DEFAULT_URL);
        assert_eq!(empty.app, None);
    }

    #[test]
    fn the_variable_goes_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ADMIN_TOKEN), "of-file\n").unwrap();
        let data = ("SLUGLINE_DATA", dir.path().to_str().unwrap());
        let server = DEFAULT_URL.parse().unwrap();
        let both = of(&[data, ("SLUGLINE_TOKEN", "of-variable")], false);
        assert_eq!(both.token(&server).unwrap().expose(), "of-variable");
        let file = of(&[data], false);
        assert_eq!(file.token(&server).unwrap().expose(), "of-file");
        std::fs::remove_file(dir.path().join(ADMIN_TOKEN)).unwrap();
        let error = file.token(&server).unwrap_err();
        assert!(matches!(error, ClientError::NoToken { path, .. } if path.starts_with(dir.path())));
    }

    #[test]
    fn a_local_token_is_not_given_to_a_foreign_server_by_default() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join(".local/share/slugline");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join(ADMIN_TOKEN), "secret\n").unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        let foreign = "https://paas.example.com".parse().unwrap();
        let local = "http://localhost:7007".parse().unwrap();
        let environment = of(&[home], false);
        assert!(matches!(
            environment.token(&foreign),
            Err(ClientError::NoTokenForServer { .. })
        ));
        assert_eq!(environment.token(&local).unwrap().expose(), "secret");
        let named = environment.with(None, Some(&data));
        assert_eq!(named.token(&foreign).unwrap().expose(), "secret");
    }

    #[test]
    fn only_what_is_not_the_default_becomes_an_option() {
        assert!(
            of(&[("SLUGLINE_URL", DEFAULT_URL)], true)
                .as_options()
                .is_empty()
        );
        let environment = of(
            &[("SLUGLINE_URL", "http://x:1"), ("SLUGLINE_DATA", "/d")],
            true,
        );
        assert_eq!(
            environment.as_options(),
            [("--url", "http://x:1".into()), ("--data", "/d".into())]
        );
    }

    #[test]
    fn debug_shows_no_token() {
        let environment = of(&[("SLUGLINE_TOKEN", "hunter2")], true);
        assert!(!format!("{environment:?}").contains("hunter2"));
    }
}
