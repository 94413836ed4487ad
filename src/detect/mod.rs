//! Asks buildpacks whether an app is theirs.
//!
//! In: staged buildpacks in order, and a root directory with the app in it. Out: the answer of
//! each. `bin/detect BUILD_DIR` says yes by exit code 0 and names the language on standard output;
//! what it writes on standard error is kept for a failure that a person reads.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::buildpack::Staged;
use crate::sandbox::{self, Cancel, Ended, Profile, Root, Sandbox, Spec, Watch};

/// Longest time that one `bin/detect` may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What the asking itself may take besides.
const GRACE: Duration = Duration::from_secs(5);

/// Most bytes that one `bin/detect` may print.
const OUTPUT_LIMIT_BYTES: usize = 1 << 20;

/// Runs inside, where the answers lie until all are there.
const SCRIPT: &str = include_str!("script.sh");

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
    #[error("bin/detect of the buildpack {buildpack} printed more than {limit_bytes} bytes")]
    Flood {
        buildpack: String,
        limit_bytes: usize,
    },
    /// The stack lacks what the asking needs, or something has ended it.
    #[error("the buildpacks could not be asked: {reason}")]
    NoAnswer { reason: String },
    #[error("the build was cancelled")]
    Cancelled,
    #[error("running bin/detect of the buildpack {buildpack}")]
    Sandbox {
        buildpack: String,
        source: sandbox::Error,
    },
}

/// Asks buildpacks, all at once in one sandbox.
///
/// `build_dir` is the path inside; `root` shows it read-only.
///
/// # Errors
/// The buildpack's or the platform's: see [`Error`].
pub fn ask(
    sandbox: &Sandbox,
    root: &Root,
    buildpacks: &[Staged],
    build_dir: &str,
    env: &[(String, String)],
    cancel: &Cancel,
) -> Result<Vec<Answer>, Error> {
    let names = buildpacks.iter().map(|one| one.reference.to_string());
    let names = names.collect::<Vec<_>>();
    let all = || names.join(", ");
    let seconds = TIME_LIMIT.as_secs().to_string();
    let mut argv = ["/bin/sh", "-c", SCRIPT, "sh", &seconds, build_dir]
        .map(str::to_owned)
        .to_vec();
    argv.extend(buildpacks.iter().map(|one| one.inside.clone()));
    let spec = Spec {
        argv,
        env: env.to_vec(),
        cwd: "/".to_owned(),
        profile: Profile::Inspect,
    };
    let watch = Watch {
        deadline: Some(Instant::now() + TIME_LIMIT + GRACE),
        cancel: cancel.clone(),
    };
    let limit_bytes = OUTPUT_LIMIT_BYTES * buildpacks.len().max(1);
    let captured = sandbox
        .capture(root, &spec, &watch, limit_bytes)
        .map_err(|source| Error::Sandbox {
            buildpack: all(),
            source,
        })?;
    match captured.ended {
        Ended::Exited(exit) if !exit.is_success() => {
            return Err(Error::NoAnswer {
                reason: String::from_utf8_lossy(&captured.stderr).trim().to_owned(),
            });
        }
        Ended::Exited(_) => {}
        Ended::TimedOut => {
            return Err(Error::TimedOut {
                buildpack: all(),
                limit_seconds: TIME_LIMIT.as_secs(),
            });
        }
        Ended::Cancelled => return Err(Error::Cancelled),
    }
    if captured.stdout.len() >= limit_bytes {
        return Err(Error::Flood {
            buildpack: all(),
            limit_bytes,
        });
    }
    let answers = files(&captured.stdout).map_err(|error| Error::NoAnswer {
        reason: error.to_string(),
    })?;
    let text = |number: usize, what: &str| {
        let bytes = answers.get(&format!("{number}.{what}"));
        bytes.map(Vec::as_slice).unwrap_or_default()
    };
    let answer = |(number, name): (usize, &String)| match text(number, "code").trim_ascii() {
        // The exit of timeout(1) for what it ended, by TERM or by KILL.
        b"124" | b"137" => Err(Error::TimedOut {
            buildpack: name.clone(),
            limit_seconds: TIME_LIMIT.as_secs(),
        }),
        code => Ok(Answer {
            label: (code == b"0").then(|| label(text(number, "out"), name)),
            explanation: String::from_utf8_lossy(text(number, "err"))
                .trim()
                .to_owned(),
        }),
    };
    names.iter().enumerate().map(answer).collect()
}

/// The files of the script's tar, by their names.
fn files(tar: &[u8]) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        files.insert(name.trim_start_matches("./").to_owned(), bytes);
    }
    Ok(files)
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
