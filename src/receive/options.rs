//! `git push -o NAME`: what a pusher may ask for beside the push itself.
//!
//! An allow-list: every option is foreign until it has been found here, and one that is not known
//! is refused with those that are, since a typing mistake would otherwise deploy.

use std::io::BufRead;

use gix_packetline::PacketLineRef;
use gix_packetline::blocking_io::StreamingPeekableIter;

use super::request::{read_error, shown};
use super::{Error, Limits};

/// The options of one push.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Says what would be built, and changes nothing.
    pub plan: bool,
    /// Builds and moves the refs, and makes no release.
    pub no_release: bool,
    /// Shows how long each phase took.
    pub trace: bool,
}

impl PushOptions {
    /// The names that there are.
    pub const NAMES: [&str; 3] = ["no-release", "plan", "trace"];

    /// Reads the options that follow the commands, up to their end.
    ///
    /// # Errors
    /// The caller's fault: an unknown option, or too many.
    pub(super) fn read(reader: &mut dyn BufRead, limits: &Limits) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut lines = StreamingPeekableIter::new(reader, &[PacketLineRef::Flush], false);
        let mut count = 0;
        while let Some(line) = lines.read_line() {
            let line = line
                .map_err(read_error)?
                .map_err(|source| Error::PacketLine { source })?;
            count += 1;
            if count > limits.push_options {
                let limit = limits.push_options;
                return Err(Error::PushOptions { limit });
            }
            let line = line.as_slice().unwrap_or_default();
            options.take(line.strip_suffix(b"\n").unwrap_or(line))?;
        }
        Ok(options)
    }

    /// Adds one option.
    ///
    /// # Errors
    /// The caller's fault: it is unknown.
    pub(super) fn take(&mut self, name: &[u8]) -> Result<(), Error> {
        match name {
            b"no-release" => self.no_release = true,
            b"plan" => self.plan = true,
            b"trace" => self.trace = true,
            other => return Err(Error::PushOption { got: shown(other) }),
        }
        Ok(())
    }
}
