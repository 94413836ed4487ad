//! What this machine gives when it is asked, by a helper that tries.

use std::io;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::{Error, HELPER_COMMAND, Isolation, Level, Sandbox, helper};

/// The answer of the machine, and of its operator.
#[derive(Debug, Clone)]
pub(super) struct Found {
    isolation: Isolation,
    answer: Answer,
}

/// What the helper prints when it is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The step of making namespaces that was refused, and why.
    pub namespaces: Option<(String, String)>,
    /// The same for level 3.
    pub landlock: Option<(String, String)>,
}

impl Sandbox {
    /// What there is; the machine is asked at the first call.
    pub(super) fn found(&self) -> Result<Found, Error> {
        let isolation = self.policy.isolation;
        if isolation == Isolation::Off {
            let answer = Answer::default();
            return Ok(Found { isolation, answer });
        }
        if let Some(answer) = self.answer.get() {
            let answer = answer.clone();
            return Ok(Found { isolation, answer });
        }
        let answer = self.ask().map_err(self.helper_error())?;
        let answer = self.answer.get_or_init(|| answer).clone();
        Ok(Found { isolation, answer })
    }

    fn ask(&self) -> io::Result<Answer> {
        let output = Command::new(&self.helper)
            .args([HELPER_COMMAND, helper::PROBE])
            .env_clear()
            .stdin(Stdio::null())
            .output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

impl Found {
    /// The strongest level to be had, or the one that was asked for.
    pub fn level(&self) -> Result<Level, Error> {
        match (self.isolation, &self.answer) {
            (Isolation::Off, _) => Ok(Level::Off),
            (Isolation::Strongest, answer) if answer.namespaces.is_none() => {
                Ok(Level::with_namespaces())
            }
            (_, answer) if answer.landlock.is_none() => Ok(Level::Landlock),
            (Isolation::Landlock, answer) => Err(refused(answer.landlock.as_ref())),
            (Isolation::Strongest, answer) => Err(refused(answer.namespaces.as_ref())),
        }
    }

    /// Level 3 is for looking at an app: what an app's own code writes and starts would be bound
    /// too loosely.
    pub fn require_namespaces(&self) -> Result<(), Error> {
        match self.level()? {
            Level::Landlock => Err(refused(self.answer.namespaces.as_ref())),
            Level::Root | Level::Namespaces | Level::Off => Ok(()),
        }
    }

    /// A process of a slug expects to be at `/app`, with an `/etc/profile` of ours.
    pub fn require_own_root(&self) -> Result<(), Error> {
        self.require_namespaces()?;
        match self.level()? {
            Level::Off => Err(refused(None)),
            _ => Ok(()),
        }
    }
}

fn refused(why: Option<&(String, String)>) -> Error {
    let (step, reason) = why.cloned().unwrap_or_else(|| {
        (
            "make namespaces".to_owned(),
            "the configuration does without them".to_owned(),
        )
    });
    Error::Refused { step, reason }
}
