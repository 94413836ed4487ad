//! Asks and tells the host's git about the work tree of the current directory.
//!
//! What is written: a remote, and a credential helper for one server's URL in the repository's own
//! config. No token is ever written.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::client::ClientError;
use super::server_url::ServerUrl;

/// The remote that we add and look for first.
pub const REMOTE: &str = "slugline";

/// A remote of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub name: String,
    pub url: String,
}

/// The remotes of the current directory's repository; none outside of one, or without a git.
pub fn remotes() -> Vec<Remote> {
    let answer = git(["remote", "-v"].map(OsStr::new)).ok();
    let text = answer.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    parse_remotes(&text.unwrap_or_default())
}

/// Reads `git remote -v`; the URLs for pushing are passed over.
fn parse_remotes(text: &str) -> Vec<Remote> {
    let parse = |line: &str| {
        let (name, rest) = line.split_once('\t')?;
        // After the URL there may stand a filter: `… (fetch) [blob:none]`.
        let (url, _) = rest.split_once(" (fetch)")?;
        Some(Remote {
            name: name.to_owned(),
            url: url.to_owned(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Whether the current directory is in a work tree.
pub fn is_in_work_tree() -> bool {
    let answer = git(["rev-parse", "--is-inside-work-tree"].map(OsStr::new));
    answer.is_ok_and(|output| output.stdout.starts_with(b"true"))
}

/// Adds the remote `slugline`.
///
/// # Errors
/// The machine's: git cannot write the repository's config.
pub fn add_remote(url: &str) -> Result<(), ClientError> {
    git(["remote", "add", REMOTE, url].map(OsStr::new)).map(drop)
}

/// Makes `helper` the one credential helper that this repository asks for the server.
///
/// # Errors
/// The machine's: git cannot write the repository's config.
pub fn set_credential_helper(server: &ServerUrl, helper: &OsStr) -> Result<(), ClientError> {
    let key = |name: &str| OsString::from(format!("credential.{server}.{name}"));
    let (name, use_path) = (key("helper"), key("useHttpPath"));
    let config = |arguments: &[&OsStr]| {
        let fixed = ["config", "--local"].map(OsStr::new);
        git(fixed.into_iter().chain(arguments.iter().copied()))
    };
    // An empty helper forgets those of the user's and the system's config.
    config(&[OsStr::new("--replace-all"), &name, OsStr::new("")])?;
    config(&[OsStr::new("--add"), &name, helper])?;
    // It fails where there is nothing to unset, which is what we want.
    let _ = config(&[OsStr::new("--unset-all"), &use_path]);
    Ok(())
}

/// The config's value that makes git run `program git-credential OPTIONS`.
///
/// Source: gitcredentials(7): what starts with `!` is given to a shell, with the operation added.
pub fn credential_helper(program: &Path, options: &[(&str, PathBuf)]) -> OsString {
    let mut line = b"!".to_vec();
    line.extend(quoted(program));
    line.extend(b" git-credential");
    for (name, value) in options {
        line.extend(format!(" {name} ").bytes());
        line.extend(quoted(value));
    }
    OsString::from_vec(line)
}

/// A path as one word of sh.
fn quoted(path: &Path) -> Vec<u8> {
    let mut word = b"'".to_vec();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'\'' => word.extend(br"'\''"),
            _ => word.push(byte),
        }
    }
    word.push(b'\'');
    word
}

fn git<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<Output, ClientError> {
    let arguments: Vec<&OsStr> = arguments.into_iter().collect();
    let error = |message: String| ClientError::Git {
        command: arguments.join(OsStr::new(" ")).display().to_string(),
        message,
    };
    let output = Command::new("git")
        .args(&arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| error(source.to_string()))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(error(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_read_once_each() {
        let text = "\
origin\tgit@example.com:me/work.git (fetch) [blob:none]
origin\tgit@example.com:me/work.git (push)
slugline\thttp://127.0.0.1:7007/hello.git (fetch)
slugline\thttps://elsewhere/hello.git (push)
";
        let remote = |name: &str, url: &str| Remote {
            name: name.into(),
            url: url.into(),
        };
        assert_eq!(
            parse_remotes(text),
            [
                remote("origin", "git@example.com:me/work.git"),
                remote("slugline", "http://127.0.0.1:7007/hello.git"),
            ]
        );
        assert_eq!(parse_remotes("origin\nx\t\n"), []);
    }

    #[test]
    fn a_helper_is_quoted_for_the_shell() {
        let options = [("--data", PathBuf::from("/it's; a $(test)"))];
        let line = credential_helper(Path::new("/opt/my bin/slugline"), &options);
        assert_eq!(
            line.to_str().unwrap(),
            r"!'/opt/my bin/slugline' git-credential --data '/it'\''s; a $(test)'"
        );
    }
}
