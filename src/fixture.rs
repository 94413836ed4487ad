//! Tests only: repositories that real git makes, with nothing of the user's own configuration.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command that sees no configuration but the repository's, and the same time on each call.
pub fn git_command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.com")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_NAME", "C")
        .env("GIT_COMMITTER_EMAIL", "c@example.com")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000");
    command
}

/// Runs git and gives what it printed; it has to succeed.
pub fn git(dir: &Path, args: &[&str]) -> String {
    String::from_utf8(git_with(dir, args, b"")).expect("git prints UTF-8")
}

/// Runs git with something to read and gives the bytes that it printed; it has to succeed.
pub fn git_with(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = git_command(dir, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git is installed: apt-get install git");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    // Git may print before it has read all: writing and reading must not wait for each other.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("git runs");
    writer.join().expect("the writer does not panic");
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The same with the line end cut off, for ids.
pub fn git_line(dir: &Path, args: &[&str], input: &[u8]) -> String {
    let bytes = git_with(dir, args, input);
    String::from_utf8(bytes)
        .expect("git prints UTF-8")
        .trim_end()
        .to_owned()
}

/// Makes `source` in `dir`: a work tree with one commit of `file` and `dir/script`, on `main`.
pub fn source_repo(dir: &Path) -> PathBuf {
    let repo = dir.join("source");
    std::fs::create_dir(&repo).expect("the directory is new");
    git(&repo, &["init", "-q", "-b", "main"]);
    commit_file(&repo, "file", "one\n");
    repo
}

/// Writes one file and commits all; gives the commit's id.
pub fn commit_file(repo: &Path, path: &str, content: &str) -> String {
    let file = repo.join(path);
    std::fs::create_dir_all(file.parent().expect("it is in the repository")).expect("made");
    std::fs::write(&file, content).expect("written");
    git(repo, &["add", "-A"]);
    git(repo, &["commit", "-q", "-m", path]);
    git_line(repo, &["rev-parse", "HEAD"], b"")
}

/// Every path below `dir` with its mode and content, to compare two states.
pub fn listing(dir: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("readable") {
            let path = entry.expect("readable").path();
            let meta = std::fs::symlink_metadata(&path).expect("there");
            let name = path.strip_prefix(dir).expect("below").to_owned();
            let content = if meta.is_dir() {
                open.push(path);
                Vec::new()
            } else if meta.is_symlink() {
                let target = std::fs::read_link(&path).expect("a link");
                target.into_os_string().into_encoded_bytes()
            } else {
                std::fs::read(&path).expect("readable")
            };
            found.push((name, meta.permissions().mode(), content));
        }
    }
    found.sort();
    found
}
