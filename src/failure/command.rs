//! Failures of the command line: the server that is called, sources, and what is to be run.

use std::error::Error;

use super::{Draft, sentence};
use crate::cli::build::{CloneError, SourceError};
use crate::cli::client::ClientError;
use crate::cli::run::RunError;
use crate::output::{Blame, Failure};

pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<Failure> {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return Some(client(error));
    }
    let draft = if let Some(error) = error.downcast_ref::<RunError>() {
        run(error)
    } else if let Some(error) = error.downcast_ref::<SourceError>() {
        Draft::caller("source_not_found", sentence(error)).remedy(
            "Name a directory, a tar archive, or a URL such as https://example.com/app.git#main.",
        )
    } else if let Some(error) = error.downcast_ref::<CloneError>() {
        Draft::caller("source_unreachable", sentence(error)).remedy(
            "git's own message is above. Look at the URL, the branch after #, and whether you may read it.",
        )
    } else {
        return None;
    };
    Some(draft.into())
}

fn run(error: &RunError) -> Draft {
    match error {
        RunError::NoType { known, .. } => Draft::caller("no_process_type", sentence(error))
            .found(if known.is_empty() {
                "There are none at all.".to_owned()
            } else {
                format!("There are: {}.", known.join(", "))
            })
            .remedy("Name one of them, or a command after two dashes: slugline run … -- COMMAND. A Procfile declares process types."),
        RunError::NothingDeployed { app } => Draft::caller("nothing_deployed", sentence(error))
            .remedy(format!("Deploy first: git push slugline main. `slugline builds -a {app}` shows what became of earlier pushes.")),
    }
}

/// Explains what went wrong between a command and its server.
fn client(error: &ClientError) -> Failure {
    use ClientError as E;
    let caller = |id: &str, remedy: &[&str]| explained(Blame::Caller, id, error, remedy);
    let platform = |id: &str, remedy: &[&str]| explained(Blame::Platform, id, error, remedy);
    match error {
        E::BadUrl { .. } => caller(
            "invalid_url",
            &[
                "Set SLUGLINE_URL to the server's address, such as http://127.0.0.1:7007 or https://paas.example.com.",
            ],
        ),
        E::UserInUrl => caller(
            "user_in_url",
            &["Remove them from SLUGLINE_URL, and give the token as SLUGLINE_TOKEN."],
        ),
        E::NoDataDir => caller(
            "no_data_dir",
            &["Set SLUGLINE_DATA to the server's data directory."],
        ),
        E::NoToken { .. } => caller(
            "no_token",
            &[
                "On the server's machine, start it with `slugline serve`: it writes this file. If it runs with another data directory or as another user, set SLUGLINE_DATA, or use a token.",
                "Elsewhere, set SLUGLINE_TOKEN. `slugline token create NAME` on the server's machine makes one.",
            ],
        ),
        E::NoTokenForServer { .. } => caller(
            "no_token",
            &[
                "Set SLUGLINE_TOKEN. `slugline token create NAME` on the server's machine makes one. If this is the server's machine, set SLUGLINE_DATA to its data directory.",
            ],
        ),
        E::BadToken { .. } => caller(
            "invalid_token",
            &["A token is one word without blanks. `slugline token create NAME` makes one."],
        ),
        E::Connect { .. } => platform(
            "cannot_connect",
            &[
                "Start the server: slugline serve. If it runs elsewhere, set SLUGLINE_URL to its address.",
            ],
        ),
        E::Interrupted { .. } => platform(
            "interrupted",
            &[
                "Look whether what you asked for was done before you ask again; the server's log has more.",
            ],
        ),
        E::NotAServer { status, .. } => {
            let is_gateway = status.is_some_and(|status| status >= 500);
            let mut failure = caller(
                "not_a_server",
                &[
                    "Look at SLUGLINE_URL: another program may answer at this address, or a proxy that does not reach the server.",
                ],
            );
            failure
                .found
                .extend(status.map(|status| format!("It answered with HTTP status {status}.")));
            if is_gateway {
                failure.blame = Blame::Platform;
            }
            failure
        }
        E::Form { .. } => platform(
            "unknown_answer",
            &["Look at the versions of the server and of this command: slugline --version."],
        ),
        E::Unauthorized { .. } => caller(
            "unauthorized",
            &[
                "It may be another server's, or revoked. On the server's machine the file admin-token of its data directory is a token, and `slugline token create NAME` makes more.",
                "Set SLUGLINE_TOKEN to one, or SLUGLINE_DATA to the data directory.",
            ],
        ),
        E::Refused {
            status,
            id,
            message,
            url,
        } => refused(*status, id, message, url.as_deref()),
        E::NoApp => caller(
            "no_app",
            &[
                "Name the app in one of three ways:\n  --app NAME\n  SLUGLINE_APP=NAME in the environment\n  a git remote of the work tree: git remote add slugline SERVER/NAME.git",
            ],
        ),
        E::SeveralApps { remotes } => {
            let mut failure = caller("several_apps", &["Say which: --app NAME."]);
            let lines = remotes
                .iter()
                .map(|(remote, app)| format!("\n  {remote}: {app}"));
            failure.found.push(format!(
                "Remotes of this server:{}",
                lines.collect::<String>()
            ));
            failure
        }
        E::NotConfirmed { app, got } => {
            let mut failure = caller(
                "not_confirmed",
                &[&format!("If you mean it: --confirm {app}")],
            );
            failure.found.extend(
                got.as_ref()
                    .map(|got| format!("The name that was given is {got:?}.")),
            );
            failure
        }
        E::NoConfigVar { app, .. } => caller(
            "no_config_var",
            &[&format!("Those that there are: slugline config -a {app}")],
        ),
        E::NoEarlierRelease { app } => caller(
            "no_earlier_release",
            &[&format!("Those that there are: slugline releases -a {app}")],
        ),
        E::NoBuild { .. } => caller("no_build", &["Push first: git push slugline main"]),
        E::NoGit => platform(
            "no_git",
            &["Install git, on Debian and Ubuntu with: sudo apt-get install git"],
        ),
        E::Git { .. } => platform(
            "git",
            &["Look at the repository's config, and that it can be written."],
        ),
    }
}

/// The server's own words: it has explained the failure already.
fn refused(status: u16, id: &str, message: &str, url: Option<&str>) -> Failure {
    let blame = if status >= 500 {
        Blame::Platform
    } else {
        Blame::Caller
    };
    let mut paragraphs = message.split("\n\n").map(str::to_owned);
    let summary = paragraphs.next().unwrap_or_default();
    let mut failure = failure(blame, id, summary);
    failure.found = paragraphs
        .flat_map(|text| [String::new(), text])
        .skip(1)
        .collect();
    failure.remedy.extend(url.map(|url| format!("See {url}")));
    failure
}

fn explained(blame: Blame, id: &str, error: &ClientError, remedy: &[&str]) -> Failure {
    let mut failure = failure(blame, id, sentence(error));
    let source = std::error::Error::source(error);
    failure.found.extend(source.map(|source| sentence(&source)));
    failure.remedy = remedy.iter().map(|&text| text.to_owned()).collect();
    failure
}

fn failure(blame: Blame, id: &str, summary: String) -> Failure {
    Failure {
        id: id.to_owned(),
        blame,
        summary,
        found: Vec::new(),
        remedy: Vec::new(),
    }
}
