//! `slugline git-credential`: gives git the token of the server, and of no other.
//!
//! git writes `key=value` lines on stdin and reads the same form from stdout. Only `get` is
//! answered, and only for the server's own protocol, host and port; to all else the answer is
//! nothing, and git asks elsewhere.
//!
//! Source: git-credential(1), "Input/output format".

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::environment::Environment;
use super::print::print;
use super::server_url::ServerUrl;

/// Most bytes of a question; git's are a few hundred.
const QUESTION_LIMIT_BYTES: u64 = 64 * 1024;

/// The user that goes with a token. The server does not look at it.
const USER: &str = "slugline";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What git asks for
    operation: Operation,
    /// The server that is answered for [default: SLUGLINE_URL]
    #[arg(long)]
    url: Option<String>,
    /// The data directory with the server's token [default: SLUGLINE_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Operation {
    Get,
    Store,
    Erase,
}

pub fn run(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let mut question = Vec::new();
    io::stdin()
        .lock()
        .take(QUESTION_LIMIT_BYTES)
        .read_to_end(&mut question)
        .context("reading git's question")?;
    let environment = environment
        .clone()
        .with(args.url.as_deref(), args.data.as_deref());
    let server = environment.server()?;
    if args.operation == Operation::Get && is_for(&question, &server) {
        let token = environment.token(&server)?;
        print(format!("username={USER}\npassword={}\n", token.expose()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether git asks about this server.
fn is_for(question: &[u8], server: &ServerUrl) -> bool {
    let Ok(question) = std::str::from_utf8(question) else {
        return false;
    };
    let value = |key: &str| {
        let mut pairs = question.lines().filter_map(|line| line.split_once('='));
        // Of several lines with one key, git takes the last.
        pairs
            .rfind(|(name, _)| *name == key)
            .map(|(_, value)| value)
    };
    match (value("protocol"), value("host")) {
        (Some(protocol), Some(host)) => server.is_at(protocol, host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_itself_is_answered_for() {
        let server: ServerUrl = "http://127.0.0.1:7007".parse().unwrap();
        for question in [
            "protocol=http\nhost=127.0.0.1:7007\n\n",
            "capability[]=authtype\nprotocol=http\nhost=127.0.0.1:7007\npath=hello.git\nwwwauth[]=Basic realm=\"x\"\n",
            "host=evil.example.com\nhost=127.0.0.1:7007\nprotocol=http\n",
        ] {
            assert!(is_for(question.as_bytes(), &server), "{question}");
        }
        for question in [
            "",
            "\n",
            "protocol=http\n",
            "host=127.0.0.1:7007\n",
            "protocol=https\nhost=127.0.0.1:7007\n",
            "protocol=http\nhost=127.0.0.1\n",
            "protocol=http\nhost=evil.example.com\npath=127.0.0.1:7007\n",
            "protocol=http\nhost=127.0.0.1:7007\nhost=evil.example.com\n",
        ] {
            assert!(!is_for(question.as_bytes(), &server), "{question}");
        }
        assert!(!is_for(b"protocol=http\nhost=\xff\n", &server));
    }
}
