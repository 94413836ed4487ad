//! The end of a command that failed: one block on stderr, and an exit code that says whose fault.

use std::io;
use std::process::ExitCode;

use super::print::PrintError;
use crate::failure::explain;
use crate::output::{Blame, Output};

/// Says why a command failed. A reader that has left, as `head` does, is no failure.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let printing = error.downcast_ref::<PrintError>();
    if printing.is_some_and(PrintError::is_closed_pipe) {
        return ExitCode::SUCCESS;
    }
    let failure = explain(error);
    // Without a stderr the exit code is all that can be said.
    let _ = Output::new(&mut io::stderr().lock()).failure(&failure);
    exit_code(failure.blame)
}

/// The exit code that says whose fault a failure is.
pub fn exit_code(blame: Blame) -> ExitCode {
    ExitCode::from(match blame {
        Blame::App => 1,
        Blame::Caller => 2,
        Blame::Platform => 3,
    })
}
