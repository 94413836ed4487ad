//! `slugline rollback`: makes a new release with the slug and config vars of an earlier one.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::answers::Release;
use super::app_choice::AppOption;
use super::client::{Client, ClientError, of};
use super::environment::Environment;
use super::print::{Step, remark};
use super::releases;
use crate::release::Version;

/// How far back to look for a release to go back to, where none is named.
const LOOKED_AT: usize = 1000;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The release to go back to, such as v12 [default: the one before the current]
    #[arg(value_name = "RELEASE")]
    release: Option<Version>,
    #[command(flatten)]
    app: AppOption,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let client = Client::new(environment)?;
    let app = args.app.choose(environment, client.server())?;
    let all = releases::newest_of(&client, &app, LOOKED_AT)?;
    let current = all.iter().find(|release| release.current);
    let current = current.map(|release| release.version);
    let target: Release = match args.release {
        Some(Version(number)) => of(&client.get(&format!("/apps/{app}/releases/{number}"))?)?,
        None => earlier(all).ok_or_else(|| ClientError::NoEarlierRelease {
            app: app.to_string(),
        })?,
    };
    let step = Step::begin(&format!("Rolling back {app} to v{}", target.version));
    let path = format!("/apps/{app}/releases");
    let made: Release = of(&client.post(&path, &json!({ "release": target.id }))?)?;
    step.done_with(&format!("v{}", made.version));
    remark("Slug and config vars are those of that release.");
    if let Some(current) = current {
        remark(&format!("To undo: slugline rollback v{current} -a {app}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest release before the current one that can be gone back to.
fn earlier(releases: Vec<Release>) -> Option<Release> {
    let current = releases.iter().find(|release| release.current)?.version;
    releases
        .into_iter()
        .filter(|release| release.version < current && release.eligible_for_rollback)
        .max_by_key(|release| release.version)
}

#[cfg(test)]
mod tests {
    use super::super::testing::release;
    use super::*;

    #[test]
    fn the_newest_that_can_be_gone_back_to() {
        let releases = |current: u64| {
            let mut all = vec![
                release(5, true),
                release(4, false),
                release(3, true),
                release(2, true),
                release(1, false),
            ];
            for release in &mut all {
                release.current = release.version == current;
            }
            all
        };
        let version = |current| earlier(releases(current)).map(|release| release.version);
        assert_eq!(version(5), Some(3));
        assert_eq!(version(3), Some(2));
        assert_eq!(version(2), None);
        assert_eq!(version(9), None);
    }
}
