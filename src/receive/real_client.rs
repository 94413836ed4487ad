//! Tests: real git as the client, over pipes in place of HTTP.
//!
//! `git send-pack --stateless-rpc` is what git's HTTP helper runs: it reads the advertisement,
//! writes the request's body wrapped in packets, and reads the answer.

use std::io::{BufRead as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::fault::Faults;
use crate::fixture::{commit_file, git, git_command, git_line, source_repo};

/// What the client printed, for programs and for people.
struct Said {
    status: String,
    progress: String,
}

struct Case {
    dir: tempfile::TempDir,
    repo: PathBuf,
    source: PathBuf,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("app.git");
        init(&repo, gix::hash::Kind::Sha1).unwrap();
        let source = source_repo(dir.path());
        Self { dir, repo, source }
    }

    fn push(&self, args: &[&str]) -> Said {
        self.push_from(&self.source, args)
    }

    fn push_from(&self, source: &Path, args: &[&str]) -> Said {
        let mut command = git_command(source, &["send-pack", "--stateless-rpc", "--helper-status"]);
        let mut client = command
            .args(args.iter().filter(|arg| arg.starts_with("--")))
            .arg("app")
            .args(args.iter().filter(|arg| !arg.starts_with("--")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("git is installed: apt-get install git");
        let mut to = client.stdin.take().unwrap();
        let mut from = std::io::BufReader::new(client.stdout.take().unwrap());
        let mut advertisement = Vec::new();
        advertise(&self.repo, gix::hash::Kind::Sha1, None, &mut advertisement).unwrap();
        // Only HTTP has the line of the service and the flush after it.
        to.write_all(&advertisement[35..]).unwrap();
        if !from.fill_buf().unwrap().is_empty() {
            let body = unwrapped(&mut from);
            let mut answer = Vec::new();
            serve(&self.repo, &body, &mut answer);
            to.write_all(&answer).unwrap();
        }
        drop(to);
        let mut status = String::new();
        from.read_to_string(&mut status).unwrap();
        // The end of what it would have gone on to send.
        let status = status.trim_start_matches("0000");
        // Refs that the push does not name are listed as well.
        let status = status
            .split_inclusive('\n')
            .filter(|line| !line.ends_with(" no match\n"))
            .collect();
        let output = client.wait_with_output().unwrap();
        let progress = String::from_utf8(output.stderr).unwrap();
        Said { status, progress }
    }

    fn id(&self, name: &str) -> String {
        git_line(&self.repo, &["rev-parse", name], b"")
    }
}

/// The bytes in packets up to a flush.
fn unwrapped(from: &mut impl Read) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length).unwrap();
        let length = std::str::from_utf8(&length).unwrap();
        match usize::from_str_radix(length, 16).unwrap() {
            0 => return body,
            length => {
                let mut part = vec![0; length - 4];
                from.read_exact(&mut part).unwrap();
                body.extend(part);
            }
        }
    }
}

/// One push from its body to its answer.
fn serve(repo: &Path, body: &[u8], answer: &mut Vec<u8>) {
    let limits = Limits::default();
    let mut reader = body;
    let request = Request::read(&mut reader, gix::hash::Kind::Sha1, &limits)
        .unwrap()
        .unwrap();
    let mut statuses = check(repo, &request).unwrap();
    let stop = AtomicBool::new(false);
    let received = Quarantine::receive(
        repo,
        &mut reader,
        &request,
        &limits,
        &stop,
        Faults::default(),
    );
    let unpack = received.as_ref().map(drop).map_err(Error::one_line);
    let mut progress = SideBand::new(&mut *answer, request.side_band);
    match received {
        Ok(quarantine) => {
            let moved: Vec<_> = std::iter::zip(&request.commands, &statuses)
                .filter(|(_, status)| status.is_ok())
                .map(|(command, _)| command.clone())
                .collect();
            quarantine.promote().unwrap();
            apply(repo, &moved, Faults::default()).unwrap();
            writeln!(progress, "-----> Received").unwrap();
        }
        Err(_) => statuses.fill(Err("unpacker error".to_owned())),
    }
    progress.finish().unwrap().extend_from_slice(KEEP_ALIVE);
    let statuses: Vec<_> = request
        .commands
        .iter()
        .map(|command| command.name.as_str())
        .zip(statuses)
        .collect();
    let unpack = unpack.as_ref().map(drop).map_err(String::as_str);
    report(answer, &request, unpack, &statuses).unwrap();
    git(repo, &["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn pushes_follow_one_another() {
    let case = Case::new();
    let said = case.push(&["main"]);
    assert_eq!(said.status, "ok refs/heads/main\n");
    assert!(said.progress.contains("remote: -----> Received"));
    let big: Vec<_> = (0..3000).map(|n| (n * 7919 % 3001).to_string()).collect();
    commit_file(&case.source, "big", &big.join("\n"));
    case.push(&["main"]);
    let last = commit_file(&case.source, "big", &format!("0\n{}", big.join("\n")));
    let said = case.push(&[
        "--thin",
        "main",
        "main:refs/heads/topic",
        "main:refs/tags/v1",
    ]);
    assert_eq!(said.status.matches("ok ").count(), 3, "{}", said.status);
    assert_eq!((case.id("main"), case.id("v1")), (last.clone(), last));
    let said = case.push(&[":refs/heads/topic"]);
    assert_eq!(said.status, "ok refs/heads/topic\n");
}

#[test]
fn history_can_be_moved_back() {
    let case = Case::new();
    let first = git_line(&case.source, &["rev-parse", "main"], b"");
    commit_file(&case.source, "x", "x");
    case.push(&["main"]);
    let said = case.push(&["--force", &format!("{first}:refs/heads/main")]);
    assert_eq!(said.status, "ok refs/heads/main\n");
    assert_eq!(case.id("main"), first);
}

#[test]
fn refusals_are_shown() {
    let case = Case::new();
    case.push(&["main"]);
    let said = case.push(&[":refs/heads/main", "main:refs/heads/a", "main:refs/notes/x"]);
    insta::assert_snapshot!(said.status, @r"
    error refs/heads/main refusing to delete main: the app is deployed from it
    ok refs/heads/a
    error refs/notes/x only branches and tags can be pushed
    ");
    let said = case.push(&["--atomic", "main:refs/heads/b", "main:refs/heads/a/b"]);
    insta::assert_snapshot!(said.status, @r"
    error refs/heads/b atomic push failure
    error refs/heads/a/b cannot exist beside refs/heads/a; delete that first
    ");
}

#[test]
fn a_shallow_clone_pushes_its_borders() {
    let case = Case::new();
    commit_file(&case.source, "x", "x");
    let clone = case.dir.path().join("clone");
    let url = format!("file://{}", case.source.display());
    let path = clone.to_str().unwrap();
    git(case.dir.path(), &["clone", "-q", "--depth=1", &url, path]);
    let said = case.push_from(&clone, &["main"]);
    assert_eq!(said.status, "ok refs/heads/main\n");
    let border = case.id("main");
    let shallow = std::fs::read_to_string(case.repo.join("shallow")).unwrap();
    assert_eq!(shallow, format!("{border}\n"));
    git(&case.repo, &["fsck", "--strict"]);
    // Whoever has more may push on, and a clone of it is shallow.
    let longer = commit_file(&case.source, "z", "z");
    assert_eq!(case.push(&["main"]).status, "ok refs/heads/main\n");
    assert_eq!(case.id("main"), longer);
    git(&case.repo, &["fsck", "--strict"]);
    let again = case.dir.path().join("again");
    let url = format!("file://{}", case.repo.display());
    git(
        case.dir.path(),
        &["clone", "-q", &url, again.to_str().unwrap()],
    );
    assert_eq!(
        git(&again, &["rev-parse", "--is-shallow-repository"]),
        "true\n"
    );
    // A client with the whole history takes the server's for whole, too, and leaves out what is
    // below the border, as it does with git's own server.
    let said = case.push(&["main~2:refs/heads/old"]);
    assert_eq!(said.status, "error refs/heads/old unpacker error\n");
    git(&case.repo, &["fsck", "--strict"]);
}

#[test]
fn a_shallow_clone_pushes_on_what_is_known() {
    let case = Case::new();
    commit_file(&case.source, "x", "x");
    let clone = case.dir.path().join("clone");
    let url = format!("file://{}", case.source.display());
    let path = clone.to_str().unwrap();
    git(case.dir.path(), &["clone", "-q", "--depth=1", &url, path]);
    case.push(&["main"]);
    let next = commit_file(&clone, "y", "y");
    assert_eq!(
        case.push_from(&clone, &["main"]).status,
        "ok refs/heads/main\n"
    );
    assert_eq!(case.id("main"), next);
}
