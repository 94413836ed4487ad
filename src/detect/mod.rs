//! Asks buildpacks whether an app is theirs.
//!
//! In: staged buildpacks in order, and a root directory with the app in it. Out: the answer of
//! each. `bin/detect BUILD_DIR` says yes by exit code 0 and names the language on standard output;
//! what it writes on standard error is kept for a failure that a person reads.

use std::time::{Duration, Instant};

use crate::buildpack::Staged;
use crate::sandbox::{self, Cancel, Ended, Profile, Root, Sandbox, Spec, Watch};

/// Longest time that one `bin/detect` may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Most bytes that are kept of what one `bin/detect` prints.
const OUTPUT_LIMIT_BYTES: usize = 16 * 1024;

/// Longest label that is shown, in characters.
const LABEL_LIMIT: usize = 60;

/// What one buildpack answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The language, such as `Python`; none where the app is not for this buildpack.
    pub label: Option<String>,
    /// What it had to say on standard error.
    pub explanation: String,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the buildpack {buildpack} took longer than {limit_seconds} s for bin/detect")]
    TimedOut {
        buildpack: String,
        limit_seconds: u64,
    },
    #[error("the build was cancelled")]
    Cancelled,
    #[error("running bin/detect of the buildpack {buildpack}")]
    Sandbox {
        buildpack: String,
        source: sandbox::Error,
    },
}

/// Asks one buildpack.
///
/// # Errors
/// The buildpack's or the platform's: see [`Error`].
pub fn ask(
    sandbox: &Sandbox,
    root: &Root,
    buildpack: &Staged,
    env: &[(String, String)],
    cancel: &Cancel,
) -> Result<Answer, Error> {
    let name = buildpack.reference.to_string();
    let spec = Spec {
        argv: vec![buildpack.script("detect"), "/app".to_owned()],
        env: env.to_vec(),
        cwd: "/".to_owned(),
        profile: Profile::Inspect,
    };
    let watch = Watch {
        deadline: Some(Instant::now() + TIME_LIMIT),
        cancel: cancel.clone(),
    };
    let captured = sandbox
        .capture(root, &spec, &watch, OUTPUT_LIMIT_BYTES)
        .map_err(|source| Error::Sandbox {
            buildpack: name.clone(),
            source,
        })?;
    let explanation = String::from_utf8_lossy(&captured.stderr).trim().to_owned();
    match captured.ended {
        Ended::Exited(exit) => Ok(Answer {
            label: exit.is_success().then(|| label(&captured.stdout, &name)),
            explanation,
        }),
        Ended::TimedOut => Err(Error::TimedOut {
            buildpack: name,
            limit_seconds: TIME_LIMIT.as_secs(),
        }),
        Ended::Cancelled => Err(Error::Cancelled),
    }
}

/// The last line that is not blank, without control characters; the buildpack's name where there is none.
fn label(stdout: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(stdout);
    let line = text
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or(name);
    line.chars()
        .filter(|c| !c.is_control())
        .take(LABEL_LIMIT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_clean_line() {
        assert_eq!(label(b"Python\n", "x"), "Python");
        assert_eq!(label(b"", "x"), "x");
        assert_eq!(label(b"noise\n\x1b[1mRuby\r\n\n", "x"), "[1mRuby");
        assert_eq!(label(&[b'a'; 500], "x").len(), LABEL_LIMIT);
    }
}
