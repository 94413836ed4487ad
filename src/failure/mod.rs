//! Every failure a person can see: its id, whose fault it is, what was found, what to do.
//!
//! In: an error chain. Out: one [`Failure`], which becomes the ` !     ` block of a push, the
//! `{id, message}` of the API and the exit code of a command. The stages' errors are matched without
//! a wildcard: a new variant does not compile until somebody has written its remedy.

mod build;
mod command;
mod platform;
mod runtime;
mod source;

use crate::output::{Blame, Failure};

/// Explains an error chain by the first of its errors that has a meaning of its own.
pub fn explain(error: &anyhow::Error) -> Failure {
    let known = error.chain().find_map(|cause| {
        build::explain(cause)
            .or_else(|| source::explain(cause))
            .or_else(|| platform::explain(cause))
            .or_else(|| runtime::explain(cause))
            .or_else(|| command::explain(cause))
    });
    known.unwrap_or_else(|| internal(error))
}

/// An error that nobody foresaw: the platform's fault, with the whole chain for its operator.
fn internal(error: &anyhow::Error) -> Failure {
    Draft::platform("internal_error", "Something went wrong inside of Slugline.")
        .found(format!("{error:#}."))
        .remedy("Try again. If it stays, tell the server's operator; the server's log has more.")
        .into()
}

/// A failure while it is being written.
struct Draft(Failure);

impl Draft {
    fn new(blame: Blame, id: &str, summary: impl Into<String>) -> Self {
        Self(Failure {
            id: id.to_owned(),
            blame,
            summary: summary.into(),
            found: Vec::new(),
            remedy: Vec::new(),
        })
    }

    fn app(id: &str, summary: impl Into<String>) -> Self {
        Self::new(Blame::App, id, summary)
    }

    fn caller(id: &str, summary: impl Into<String>) -> Self {
        Self::new(Blame::Caller, id, summary)
    }

    fn platform(id: &str, summary: impl Into<String>) -> Self {
        Self::new(Blame::Platform, id, summary)
    }

    fn found(mut self, text: impl Into<String>) -> Self {
        self.0.found.push(text.into());
        self
    }

    fn remedy(mut self, text: impl Into<String>) -> Self {
        self.0.remedy.push(text.into());
        self
    }
}

impl From<Draft> for Failure {
    fn from(draft: Draft) -> Self {
        draft.0
    }
}

/// The first letter in upper case and a full stop: an error's `Display` as a sentence.
fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let end = if text.ends_with(['.', '?']) { "" } else { "." };
    // The name of a ref or a file stays as it is written.
    if text
        .split(' ')
        .next()
        .is_some_and(|word| word.contains('/'))
    {
        return format!("{text}{end}");
    }
    let mut chars = text.chars();
    let first = chars
        .next()
        .map(|c| c.to_uppercase().to_string())
        .unwrap_or_default();
    format!("{first}{}{end}", chars.as_str())
}

/// A chain of causes in one line, for failures that are the machine's.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    format!("{text}.")
}

/// A file system or a process that did not do what it should.
fn machine(what: &str, error: &dyn std::error::Error) -> Draft {
    Draft::platform("machine_error", what.to_owned())
        .found(chain(error))
        .remedy("Look at the server's disk space, permissions and log, then try again.")
}

fn cancelled() -> Draft {
    Draft::caller("cancelled", "The build was cancelled.")
        .remedy("Nothing was changed; push again when you like.")
}

fn nobody_reads() -> Draft {
    Draft::caller(
        "disconnected",
        "The client left before the build ended, so the build was cancelled.",
    )
    .remedy("Nothing was changed; push again.")
}
