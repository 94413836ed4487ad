//! The peer: lighttpd runs `git http-backend` as CGI, and a pre-receive hook makes a tarball of
//! what was pushed, as small deploy servers do.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use slugline::buildpack::{self, Reference};
use slugline::compile::BUILD_PATH;

use crate::server::Server;
use crate::support::{self, git};

/// Where Debian puts it; the `PATH` of an account other than root does not have it.
const LIGHTTPD: [&str; 2] = ["lighttpd", "/usr/sbin/lighttpd"];

/// The hook leaves git's environment as it is: `GIT_QUARANTINE_PATH` and the object directories
/// that `receive-pack` sets are how `git archive` sees a commit that no ref has yet. Without
/// `receive.autogc` off, a push might leave a `git maintenance` behind that nobody waits for.
const HOOK: &str = r#"#!/bin/bash
set -euo pipefail
dir=$(mktemp -d "$TMPDIR/push-XXXXXX")
trap 'rm -rf "$dir"' EXIT
while read -r old new ref; do
  if [[ $ref != refs/heads/main || $new =~ ^0+$ ]]; then continue; fi
  mkdir "$dir/app"
  git archive "$new" | tar x -C "$dir/app"
  compile "$dir"
  tar cz -C "$dir/app" . | sha256sum
done
"#;

/// In the place of the hook's `compile`: nothing.
const NO_COMPILE: &str = "compile() { :; }\n";

/// In the place of the hook's `compile`: the buildpack's scripts, with the arguments and the
/// environment of a build; the cache is kept in the repository.
const COMPILE: &str = r#"compile() {
  local run=(env -i "PATH=@PATH@" "HOME=$1/app" "STACK=@STACK@" "SOURCE_VERSION=$new" DYNO=build.1 "SLUGLINE_DATA=@DATA@")
  mkdir -p "$PWD/build-cache" "$1/env"
  cp -r "@BUILDPACK@" "$1/buildpack"
  "${run[@]}" "$1/buildpack/bin/detect" "$1/app"
  "${run[@]}" "$1/buildpack/bin/compile" "$1/app" "$PWD/build-cache" "$1/env"
  "${run[@]}" "$1/buildpack/bin/report" "$1/app" "$PWD/build-cache" "$1/env" >"$1/report.yml"
  "${run[@]}" "$1/buildpack/bin/release" "$1/app" >"$1/release.yml"
}
"#;

/// What the hook does with a push.
#[derive(Clone, Copy)]
pub enum Work {
    Pack,
    CompileAndPack,
}

pub struct Peer {
    pub server: Server,
    dir: PathBuf,
    url: String,
}

impl Peer {
    /// Starts the server and waits until it listens.
    pub fn start(dir: &Path) -> Result<Self> {
        let lighttpd = find_lighttpd()?;
        let backend = find_backend()?;
        for name in ["repositories", "tmp", "home", "app"] {
            fs::create_dir_all(dir.join(name)).context("making a directory")?;
        }
        let reference = Reference::Builtin("nodejs".to_owned());
        buildpack::stage(&reference, 0, &dir.join("app"), dir)?;
        let listener = TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
        let address = listener.local_addr().context("looking for a free port")?;
        drop(listener);
        let configuration = dir.join("lighttpd.conf");
        let text = configure(dir, &backend, address.port());
        fs::write(&configuration, text).context("writing lighttpd's configuration")?;
        let server = Server::start(
            Command::new(lighttpd)
                .arg("-D")
                .arg("-f")
                .arg(&configuration)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if start.elapsed() > Duration::from_secs(10) {
                let log = fs::read_to_string(dir.join("error.log")).unwrap_or_default();
                bail!("lighttpd does not listen: {log}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self {
            server,
            dir: dir.to_owned(),
            url: format!("http://{address}/git"),
        })
    }

    /// Makes a repository that takes pushes and gives its URL.
    pub fn create(&self, app: &str, work: Work) -> Result<String> {
        let repository = self.dir.join("repositories").join(format!("{app}.git"));
        fs::create_dir(&repository).context("making a repository")?;
        for arguments in [
            &["init", "-q", "--bare", "-b", "main"][..],
            &["config", "http.receivepack", "true"],
            &["config", "receive.autogc", "false"],
        ] {
            git(&repository, arguments, b"");
        }
        let compile = match work {
            Work::Pack => NO_COMPILE.to_owned(),
            Work::CompileAndPack => COMPILE
                .replace("@PATH@", BUILD_PATH)
                .replace("@DATA@", path_text(&self.dir.join("runtimes-of"))?)
                .replace("@STACK@", support::machine().stack.as_str())
                .replace("@BUILDPACK@", path_text(&self.dir.join("nodejs"))?),
        };
        let (first, rest) = HOOK.split_once('\n').context("a line of its own")?;
        let hook = repository.join("hooks/pre-receive");
        fs::create_dir_all(repository.join("hooks")).context("making a hook")?;
        fs::write(&hook, format!("{first}\n{compile}{rest}")).context("writing a hook")?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).context("making a hook")?;
        Ok(format!("{}/{app}.git", self.url))
    }
}

/// Whether a pusher has read what `sha256sum` prints.
pub fn shows_digest(transcript: &str) -> bool {
    let digests = transcript.lines().filter_map(|line| {
        line.strip_prefix("remote: ")?
            .trim_end()
            .strip_suffix("  -")
    });
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digests.into_iter().any(is_digest)
}

fn find_lighttpd() -> Result<&'static str> {
    let works = |name: &&str| {
        let mut command = Command::new(name);
        command
            .arg("-v")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    LIGHTTPD
        .into_iter()
        .find(works)
        .context("lighttpd is not installed: apt-get install --no-install-recommends lighttpd")
}

fn find_backend() -> Result<PathBuf> {
    let output = git(Path::new("/"), &["--exec-path"], b"");
    let dir = str::from_utf8(&output).context("reading git's directory")?;
    let backend = Path::new(dir.trim()).join("git-http-backend");
    ensure!(
        backend.is_file(),
        "{} is missing: apt-get install git",
        backend.display()
    );
    Ok(backend)
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Source: git-http-backend(1), "Lighttpd".
fn configure(dir: &Path, backend: &Path, port: u16) -> String {
    let (dir, backend) = (dir.display(), backend.display());
    format!(
        r#"server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{dir}/home"
server.errorlog = "{dir}/error.log"
server.upload-dirs = ("{dir}/tmp")
server.modules = ("mod_alias", "mod_setenv", "mod_cgi")
alias.url = ("/git" => "{backend}")
$HTTP["url"] =~ "^/git/" {{
  cgi.assign = ("" => "")
  setenv.set-environment = (
    "PATH" => "{path}",
    "HOME" => "{dir}/home",
    "TMPDIR" => "{dir}/tmp",
    "GIT_CONFIG_NOSYSTEM" => "1",
    "GIT_PROJECT_ROOT" => "{dir}/repositories",
    "GIT_HTTP_EXPORT_ALL" => "1",
  )
}}
"#,
        path = support::path().display(),
    )
}
