//! Which app a command is about: `--app`, else `SLUGLINE_APP`, else the work tree's git remote.
//!
//! Of the remotes the one named `slugline` counts first, wherever it points; then those whose URL
//! is the server's, if they name one app.

use anyhow::Result;

use super::client::ClientError;
use super::environment::Environment;
use super::git::{self, REMOTE, Remote};
use super::server_url::{ServerUrl, app_at_end};
use crate::app::AppName;

/// The option of all commands that are about an app.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AppOption {
    /// The app [default: SLUGLINE_APP, else the app of the git remote `slugline`]
    #[arg(short, long, value_name = "NAME")]
    pub app: Option<AppName>,
}

impl AppOption {
    /// The app that is meant.
    ///
    /// # Errors
    /// The caller's: nothing names one, or what does names none that can be.
    pub fn choose(&self, environment: &Environment, server: &ServerUrl) -> Result<AppName> {
        choose(self.app.as_ref(), environment, server, git::remotes)
    }
}

/// The options of lists of what an app has.
#[derive(Debug, clap::Args)]
pub struct ListOptions {
    #[command(flatten)]
    pub app: AppOption,
    /// Print the API's JSON
    #[arg(long)]
    pub json: bool,
}

fn choose(
    asked: Option<&AppName>,
    environment: &Environment,
    server: &ServerUrl,
    remotes: impl FnOnce() -> Vec<Remote>,
) -> Result<AppName> {
    if let Some(app) = asked {
        return Ok(app.clone());
    }
    if let Some(app) = &environment.app {
        return Ok(app.parse()?);
    }
    Ok(of_remotes(&remotes(), server)?)
}

fn of_remotes(remotes: &[Remote], server: &ServerUrl) -> Result<AppName, ClientError> {
    let ours = remotes.iter().find(|remote| remote.name == REMOTE);
    if let Some(app) = ours.and_then(|remote| app_at_end(&remote.url)) {
        return Ok(app);
    }
    let found: Vec<(&str, AppName)> = remotes
        .iter()
        .filter_map(|remote| Some((remote.name.as_str(), server.app_of(&remote.url)?)))
        .collect();
    match found.as_slice() {
        [] => Err(ClientError::NoApp),
        [(_, app), others @ ..] if others.iter().all(|(_, other)| other == app) => Ok(app.clone()),
        several => Err(ClientError::SeveralApps {
            remotes: several
                .iter()
                .map(|(remote, app)| ((*remote).to_owned(), app.to_string()))
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "http://127.0.0.1:7007";

    fn remote(name: &str, url: &str) -> Remote {
        Remote {
            name: name.into(),
            url: url.into(),
        }
    }

    fn chosen(asked: Option<&str>, variable: Option<&str>, remotes: &[Remote]) -> Result<String> {
        let environment = Environment {
            app: variable.map(str::to_owned),
            ..Environment::default()
        };
        let asked = asked.map(|name| name.parse().unwrap());
        let server = SERVER.parse().unwrap();
        let chosen = choose(asked.as_ref(), &environment, &server, || remotes.to_vec());
        chosen.map(|app| app.to_string())
    }

    #[test]
    fn the_option_the_variable_the_remote() {
        let remotes = [remote("slugline", "http://127.0.0.1:7007/of-remote.git")];
        let both = chosen(Some("of-option"), Some("of-variable"), &remotes);
        assert_eq!(both.unwrap(), "of-option");
        let variable = chosen(None, Some("of-variable"), &remotes);
        assert_eq!(variable.unwrap(), "of-variable");
        assert_eq!(chosen(None, None, &remotes).unwrap(), "of-remote");
    }

    #[test]
    fn a_variable_that_names_no_app_is_not_passed_over() {
        let remotes = [remote("slugline", "http://127.0.0.1:7007/of-remote.git")];
        assert!(chosen(None, Some("Bad_Name"), &remotes).is_err());
    }

    #[test]
    fn the_remote_named_slugline_comes_first() {
        let remotes = [
            remote("origin", "git@example.com:me/work.git"),
            remote("staging", "http://127.0.0.1:7007/hello-staging.git"),
            remote("slugline", "http://localhost:7007/hello.git"),
        ];
        assert_eq!(chosen(None, None, &remotes).unwrap(), "hello");
        assert_eq!(chosen(None, None, &remotes[..2]).unwrap(), "hello-staging");
    }

    #[test]
    fn none_and_several_are_errors() {
        let elsewhere = [remote("origin", "git@example.com:me/work.git")];
        let error = chosen(None, None, &elsewhere).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(ClientError::NoApp)));
        let mut two = [
            remote("staging", "http://127.0.0.1:7007/hello-staging.git"),
            remote("production", "http://127.0.0.1:7007/hello.git"),
        ];
        let error = chosen(None, None, &two).unwrap_err();
        let Some(ClientError::SeveralApps { remotes }) = error.downcast_ref() else {
            panic!("{error:?}");
        };
        assert_eq!(remotes[1], ("production".into(), "hello".into()));
        two[0].url = two[1].url.clone();
        assert_eq!(chosen(None, None, &two).unwrap(), "hello");
    }
}
