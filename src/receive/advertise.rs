//! The first answer to `git push`: which refs there are and what the server can do.

use std::io::{self, Write};
use std::path::Path;

use gix_packetline::blocking_io::encode;

use super::refs::Refs;
use super::{Error, shallow};

/// `ofs-delta` is not only a saving: without it clients name a delta's base by id, and completing
/// such a pack from the repository costs several times its size.
const CAPABILITIES: &str =
    "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options";

const AGENT: &str = concat!("slugline/", env!("CARGO_PKG_VERSION"));

/// Writes the body of `GET info/refs?service=git-receive-pack`; a `nonce` offers signed pushes.
///
/// Source: gitprotocol-http(5), "Smart Server Response"; gitprotocol-capabilities(5).
///
/// # Errors
/// The machine's fault: the refs cannot be read, or nobody reads what is written.
pub fn advertise(
    repo_dir: &Path,
    hash: gix::hash::Kind,
    nonce: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut lines = Refs::of(repo_dir).lines()?;
    if lines.is_empty() {
        lines.push(format!("{} capabilities^{{}}", hash.null()).into_bytes());
    }
    for border in shallow::read(repo_dir)? {
        lines.push(format!("shallow {border}").into_bytes());
    }
    let signed = nonce.map_or_else(String::new, |nonce| format!(" push-cert={nonce}"));
    let capabilities = format!("{CAPABILITIES}{signed} object-format={hash} agent={AGENT}");
    write(&lines, &capabilities, out).map_err(|source| Error::Write { source })
}

fn write(lines: &[Vec<u8>], capabilities: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut body = Vec::new();
    encode::text_to_write(b"# service=git-receive-pack", &mut body)?;
    encode::flush_to_write(&mut body)?;
    for (index, line) in lines.iter().enumerate() {
        if index == 0 {
            let first = [line, &b"\0"[..], capabilities.as_bytes()].concat();
            encode::text_to_write(&first, &mut body)?;
        } else {
            encode::text_to_write(line, &mut body)?;
        }
    }
    encode::flush_to_write(&mut body)?;
    out.write_all(&body)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{git, source_repo};
    use crate::receive::init;

    fn advertised(repo_dir: &Path) -> String {
        let mut body = Vec::new();
        advertise(repo_dir, gix::hash::Kind::Sha1, None, &mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn an_empty_repository_still_has_capabilities() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("app.git");
        init(&repo, gix::hash::Kind::Sha1).unwrap();
        let text = advertised(&repo).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let (service, refs) = text.split_at(35);
        assert_eq!(service, "001f# service=git-receive-pack\n0000");
        insta::assert_snapshot!(refs[4..].replace('\0', "\\0"), @r"
        0000000000000000000000000000000000000000 capabilities^{}\0report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options object-format=sha1 agent=slugline/VERSION
        0000
        ");
    }

    #[test]
    fn refs_are_those_that_real_git_advertises() {
        let dir = tempfile::tempdir().unwrap();
        let repo = source_repo(dir.path());
        git(&repo, &["branch", "zebra"]);
        git(&repo, &["tag", "-a", "-m", "one", "v1"]);
        git(&repo, &["pack-refs", "--all"]);
        git(&repo, &["branch", "apple"]);
        let theirs = git(&repo, &["receive-pack", "--http-backend-info-refs", ".git"]);
        let refs = |text: &str| -> Vec<String> {
            text.lines()
                .filter_map(|line| line.split('\0').next()?.split_once(" refs/"))
                .map(|(id, name)| format!("{} {name}", &id[id.len() - 40..]))
                .collect()
        };
        let ours = advertised(&repo.join(".git"));
        assert_eq!(refs(&ours), refs(&theirs));
        assert_eq!(refs(&ours).len(), 4);
    }
}
