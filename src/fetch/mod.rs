//! Fetches what a build needs from elsewhere, before the build: archives by http and https, commits
//! by the host's `git`.
//!
//! In: a URL that a stranger may have chosen. Out: a file, or a bare repository with one commit.
//! Nothing else than http and https is spoken, nothing is asked for on a terminal, and neither the
//! server's environment nor its user's git configuration takes part.

mod git;
mod http;

pub use git::{Fetched, GitError, GitSource, fetch_commit};
pub use http::{FetchError, LIMIT_BYTES, fetch, parse_checksum};
