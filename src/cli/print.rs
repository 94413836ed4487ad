//! Writes to the terminal: a command's data to stdout, its remarks to stderr.
//!
//! Unlike `println!` this does not panic where nobody reads: that is [`PrintError`], and the edge
//! takes a closed pipe as success. Remarks that nobody reads are dropped.

use std::io::{self, Write};

use serde_json::Value;

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output")]
pub struct PrintError(#[from] io::Error);

impl PrintError {
    /// Whether the reader has left, as `head` does.
    pub fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes text to stdout as it is.
///
/// # Errors
/// Nobody reads any more.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), PrintError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref())?;
    out.flush()?;
    Ok(())
}

/// Writes a JSON document to stdout.
///
/// # Errors
/// Nobody reads any more.
pub fn json(document: &Value) -> Result<(), PrintError> {
    print(format!("{document:#}\n"))
}

/// Writes one remark to stderr.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Something under way: `Creating hello... `, and then `done`, or `!` where it is dropped.
pub struct Step {
    is_done: bool,
}

impl Step {
    /// Says on stderr what is begun.
    #[must_use]
    pub fn begin(text: &str) -> Self {
        let _ = write!(io::stderr().lock(), "{text}... ");
        Self { is_done: false }
    }

    /// Says that it is done.
    pub fn done(self) {
        self.done_with("");
    }

    /// Says that it is done, and what came of it: `done, v4`.
    pub fn done_with(mut self, result: &str) {
        let comma = if result.is_empty() { "" } else { ", " };
        remark(&format!("done{comma}{result}"));
        self.is_done = true;
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.is_done {
            remark("!");
        }
    }
}
