//! What a person is told of each [`ClientError`]: whose fault it is, what was found, what to do.
//!
//! Matched without a wildcard, so that a new error does not compile without its remedy.

use super::ClientError;
use crate::output::{Blame, Failure};

/// Explains what went wrong between a command and its server.
#[expect(clippy::too_many_lines, reason = "one arm an error")]
pub fn explain(error: &ClientError) -> Failure {
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
        E::NoBuildpack { app } => caller(
            "no_buildpack",
            &[&format!(
                "Those that there are: slugline buildpacks -a {app}"
            )],
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
    let mut paragraphs: Vec<String> = message.split("\n\n").map(str::to_owned).collect();
    let summary = paragraphs.remove(0);
    let mut failure = failure(blame, id, summary);
    // The server puts the remedy last.
    failure.remedy.extend(paragraphs.pop());
    failure.found = paragraphs;
    failure.remedy.extend(url.map(|url| format!("See {url}")));
    failure
}

fn explained(blame: Blame, id: &str, error: &ClientError, remedy: &[&str]) -> Failure {
    let mut failure = failure(blame, id, sentence(error));
    let source = std::error::Error::source(error);
    failure.found.extend(source.map(sentence));
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

/// An error's `Display` as a sentence.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::output::Output;

    fn block(error: &ClientError) -> String {
        let mut bytes = Vec::new();
        Output::new(&mut bytes).failure(&explain(error)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn nobody_there_says_where_and_what_starts_a_server() {
        let error = ClientError::Connect {
            url: "http://127.0.0.1:7007".into(),
            source: io::Error::from(io::ErrorKind::ConnectionRefused),
        };
        assert_eq!(explain(&error).blame, Blame::Platform);
        insta::assert_snapshot!(block(&error), @r"
         !     Cannot connect to http://127.0.0.1:7007.
         !
         !     Connection refused.
         !
         !     Start the server: slugline serve. If it runs elsewhere, set SLUGLINE_URL
         !     to its address.
        ");
    }

    #[test]
    fn a_refused_token_says_where_tokens_come_from() {
        let error = ClientError::Unauthorized {
            server: "http://127.0.0.1:7007".into(),
            origin: "the token in SLUGLINE_TOKEN".into(),
        };
        assert_eq!(explain(&error).blame, Blame::Caller);
        insta::assert_snapshot!(block(&error), @r"
         !     The server http://127.0.0.1:7007 does not accept the token in SLUGLINE_TOKEN.
         !
         !     It may be another server's, or revoked. On the server's machine the file
         !     admin-token of its data directory is a token, and `slugline token create
         !     NAME` makes more.
         !     Set SLUGLINE_TOKEN to one, or SLUGLINE_DATA to the data directory.
        ");
    }

    #[test]
    fn no_app_says_the_three_ways() {
        insta::assert_snapshot!(block(&ClientError::NoApp), @r"
         !     No app was named.
         !
         !     Name the app in one of three ways:
         !       --app NAME
         !       SLUGLINE_APP=NAME in the environment
         !       a git remote of the work tree: git remote add slugline SERVER/NAME.git
        ");
    }

    #[test]
    fn several_apps_are_listed() {
        let error = ClientError::SeveralApps {
            remotes: vec![
                ("staging".into(), "hello-staging".into()),
                ("production".into(), "hello".into()),
            ],
        };
        insta::assert_snapshot!(block(&error), @r"
         !     The git remotes name several apps.
         !
         !     Remotes of this server:
         !       staging: hello-staging
         !       production: hello
         !
         !     Say which: --app NAME.
        ");
    }

    #[test]
    fn the_server_s_words_stay_and_its_status_tells_whose_fault() {
        let refused = |status| ClientError::Refused {
            status,
            id: "no_slug".into(),
            message: "V1 has no slug.\n\nFound: nothing.\n\nDeploy first.".into(),
            url: None,
        };
        assert_eq!(explain(&refused(422)).blame, Blame::Caller);
        assert_eq!(explain(&refused(500)).blame, Blame::Platform);
        insta::assert_snapshot!(block(&refused(422)), @r"
         !     V1 has no slug.
         !
         !     Found: nothing.
         !
         !     Deploy first.
        ");
    }
}
