//! How a build speaks to the server's side: `slugline buildpack-tool` inside, a socket between.
//!
//! A client connects to [`SOCKET`] and sends one request, a line of JSON; the answer is one line,
//! too. A request that carries files has them behind its line in chunks, each with its length
//! before it, the last of length zero: what a killed client leaves is never taken for the whole.
//! The server takes clients for hostile: lines, chunks, connections and waiting are limited, and
//! what a request may reach is the handler's to decide, which knows whose build it serves.

mod chunks;
mod client;
mod server;

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::buildpack::Offer;
use crate::digest::Digest;

pub use chunks::{Chunks, ChunksReader};
pub use client::{Files, call};
pub use server::{Handler, Server};

/// The version of the protocol; a client of another one is refused.
pub const VERSION: u32 = 1;

/// The socket's name in the directory that builds see.
pub const SOCKET: &str = "tool.sock";

/// The file's name there that holds what a buildpack has reported, where a slug is made again.
pub const RECORDED: &str = "recorded.json";

/// Longest line of a request, its end included.
pub const LINE_LIMIT_BYTES: u64 = 16 << 10;
/// The same of an answer, which may list hundreds of versions.
const ANSWER_LIMIT_BYTES: u64 = 1 << 20;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// What was saved under a key: shown over the empty directory `over`, a whole path, where that
    /// is of use and can be done, else where it is.
    CacheRestore {
        key: Key,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<String>,
    },
    /// Keep the tree that follows, a tar, under a key; `later` does so while the build goes on.
    CacheSave {
        key: Key,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        later: bool,
    },
    /// Which versions of a runtime there are; `here` leaves out what would have to be fetched.
    RuntimeList {
        name: String,
        #[serde(default)]
        here: bool,
    },
    /// A runtime's tree, shown over an empty directory where that is asked for and can be done.
    RuntimeGet {
        name: String,
        release: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        show: Option<Show>,
    },
    /// A tree that builds of this machine hand over to each other, by its name in a buildpack's list.
    HandedFind { name: String },
    /// Keep the tree that follows, a tar, under such a name.
    HandOver { name: String },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// The path, inside, of a tree that is not to be changed.
    Found { path: String },
    /// The directory shows it.
    Laid,
    /// There is nothing under that key.
    Missing,
    /// The tree is kept.
    Saved { digest: Digest },
    /// The tree is here, and will be kept if it can be.
    Taken,
    /// The versions there are, the preferred way to each first.
    Runtimes { offers: Vec<Offer> },
    /// A runtime's tree is at the path, inside, and is not to be changed.
    Runtime {
        path: String,
        origin: String,
        /// What went wrong before, where another way was taken.
        notes: Vec<String>,
    },
    /// This runtime cannot be had now; another one may.
    Unavailable { message: String },
    /// It cannot be done; the words are for a person.
    Refused { message: String },
}

/// Where a runtime's tree is to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Show {
    /// A directory of the tree; empty for all of it.
    pub part: String,
    /// The whole path of an empty directory.
    pub over: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    body: T,
}

/// A key of a snapshot: 1 to 200 letters, digits and `. _ - : / @ +`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

/// Why a text is no key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a key has 1 to 200 letters, digits and . _ - : / @ +")]
pub struct KeyError;

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Outside of a build there is nobody to ask.
    #[error("there is no build to serve: {socket} is not there")]
    NoServer { socket: String, source: io::Error },
    /// What was to be sent could not be read.
    #[error("reading what is to be sent")]
    Files(#[source] io::Error),
    #[error("asking the server")]
    Io(#[source] io::Error),
    #[error("the server's answer is none: {reason}")]
    Answer { reason: String },
}

impl Key {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@+".contains(&byte);
        if (1..=200).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(KeyError)
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain() {
        for text in ["a", "npm:0123", "node_modules/x@1+y", &"k".repeat(200)] {
            assert!(text.parse::<Key>().is_ok(), "{text}");
        }
        for text in ["", "a b", "a\n", "ä", "a\0", &"k".repeat(201)] {
            assert!(text.parse::<Key>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_protocol_is_what_it_was() {
        let request = Versioned {
            version: VERSION,
            body: Request::CacheRestore {
                key: "a".parse().unwrap(),
                over: None,
            },
        };
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"version":1,"command":"cache-restore","key":"a"}"#
        );
        let answer = Versioned {
            version: VERSION,
            body: Answer::Missing,
        };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"version":1,"answer":"missing"}"#
        );
    }
}
