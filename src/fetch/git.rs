//! Commits of other repositories, by the host's `git` over http and https.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Longest time that one repository may take. Source: facts on Heroku's builds, §1.7: 90 s for
/// fetching a buildpack.
pub const TIME_LIMIT: Duration = Duration::from_secs(90);

/// The `PATH` of git, which starts its transports.
const GIT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Largest repository that is fetched, as it is sent.
const REPOSITORY_LIMIT_BYTES: u64 = 1 << 30;

/// Most bytes that are kept of what git prints.
const OUTPUT_LIMIT_BYTES: u64 = 4 << 20;

/// A variable of the operator's that git may see.
const CERTIFICATES: &str = "GIT_SSL_CAINFO";

/// Which commit of which repository.
#[derive(Debug, Clone, Copy)]
pub struct GitSource<'a> {
    /// Checked: http or https, no option, no credentials.
    pub url: &'a str,
    /// A branch, a tag or a commit; none is the default branch.
    pub reference: Option<&'a str>,
    /// The URL of a proxy that all of it goes by.
    pub proxy: Option<&'a str>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The caller knows the commit already; nothing was fetched.
    Known(gix::ObjectId),
    /// It is in the repository now.
    New(gix::ObjectId),
}

/// Why there is no commit.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git could not read {url}: {message}")]
    Failed { url: String, message: String },
    #[error("{url} has no branch, tag or commit {reference}")]
    NoReference { url: String, reference: String },
    #[error("fetching {url} took longer than {limit_seconds} s")]
    TimedOut { url: String, limit_seconds: u64 },
    #[error("{url} has more than {limit_bytes} bytes")]
    TooLarge { url: String, limit_bytes: u64 },
    /// Not by the other end, but by us.
    #[error("not connected to {reason}")]
    Refused { reason: String },
    #[error("the build was cancelled")]
    Cancelled,
    #[error("running git")]
    Run(#[source] io::Error),
}

/// Finds the commit that `source` names and fetches it into the new bare repository `dir`, unless
/// `known` says that its files are here.
///
/// # Errors
/// The caller's: the URL or the reference. The platform's: there is no git.
pub fn fetch_commit(
    source: &GitSource<'_>,
    env: &[(String, String)],
    dir: &Path,
    known: impl Fn(&gix::ObjectId) -> bool,
    cancel: &AtomicBool,
) -> Result<Fetched, GitError> {
    let git = Git {
        url: source.url,
        proxy: source.proxy,
        packs: &dir.join("objects/pack"),
        env,
        deadline: Instant::now() + TIME_LIMIT,
        cancel,
    };
    let named = source.reference.unwrap_or("HEAD");
    let whole_id = gix::ObjectId::from_hex(named.as_bytes()).ok();
    if let Some(id) = whole_id.filter(&known) {
        return Ok(Fetched::Known(id));
    }
    let found = match whole_id {
        Some(_) => None,
        None => git.find(named)?,
    };
    if let Some((_, id)) = found.as_ref().filter(|(_, id)| known(id)) {
        return Ok(Fetched::Known(*id));
    }
    let dir = dir.to_string_lossy();
    git.run(&["init", "--quiet", "--bare", "--", &dir])?;
    // A commit's id cannot be asked for everywhere, and not in short: then all branches and tags are.
    let wanted = found.map_or_else(|| named.to_owned(), |(name, _)| name);
    let one = git.run(&[
        "-C",
        &dir,
        "fetch",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--",
        source.url,
        &format!("+{wanted}:refs/heads/fetched"),
    ]);
    let name = match one {
        Ok(_) => "refs/heads/fetched",
        Err(GitError::Failed { .. }) => {
            git.run(&[
                "-C",
                &dir,
                "fetch",
                "--quiet",
                "--no-tags",
                "--",
                source.url,
                "+refs/heads/*:refs/heads/*",
                "+refs/tags/*:refs/tags/*",
            ])?;
            &wanted
        }
        Err(error) => return Err(error),
    };
    let no_reference = || GitError::NoReference {
        url: source.url.to_owned(),
        reference: named.to_owned(),
    };
    let commit = format!("{name}^{{commit}}");
    let printed = git.run(&[
        "-C",
        &dir,
        "rev-parse",
        "--quiet",
        "--verify",
        "--end-of-options",
        &commit,
    ]);
    let printed = match printed {
        Err(GitError::Failed { .. }) => return Err(no_reference()),
        printed => printed?,
    };
    let id = gix::ObjectId::from_hex(printed.trim().as_bytes()).map_err(|_| no_reference())?;
    Ok(Fetched::New(id))
}

/// git, and whose repository it reads.
struct Git<'a> {
    url: &'a str,
    proxy: Option<&'a str>,
    /// Where what is fetched grows.
    packs: &'a Path,
    env: &'a [(String, String)],
    deadline: Instant,
    cancel: &'a AtomicBool,
}

impl Git<'_> {
    /// The whole name of a branch, else of a tag, with its commit. None for what is neither: it may
    /// be a commit's short id.
    fn find(&self, name: &str) -> Result<Option<(String, gix::ObjectId)>, GitError> {
        let (head, tag) = (format!("refs/heads/{name}"), format!("refs/tags/{name}"));
        let peeled = format!("{tag}^{{}}");
        let patterns: Vec<&str> = match name {
            "HEAD" => vec!["HEAD"],
            _ => vec![&head, &tag, &peeled],
        };
        let arguments = ["ls-remote", "--quiet", "--", self.url];
        let listed = self.run(&[&arguments[..], &patterns].concat())?;
        let refs = listed.lines().filter_map(|line| line.split_once('\t'));
        let refs = refs.collect::<Vec<_>>();
        let id_of = |wanted: &str| {
            let (id, _) = refs.iter().find(|(_, name)| *name == wanted)?;
            gix::ObjectId::from_hex(id.as_bytes()).ok()
        };
        if name == "HEAD" {
            return Ok(id_of("HEAD").map(|id| ("HEAD".to_owned(), id)));
        }
        // Of an annotated tag the commit counts.
        let of_tag = || {
            id_of(&peeled)
                .or_else(|| id_of(&tag))
                .map(|id| (tag.clone(), id))
        };
        Ok(id_of(&head).map(|id| (head.clone(), id)).or_else(of_tag))
    }

    /// Runs git to its end and gives what it printed.
    fn run(&self, arguments: &[&str]) -> Result<String, GitError> {
        let mut command = Command::new("git");
        command
            .args([
                "-c",
                "credential.helper=",
                "-c",
                "http.followRedirects=initial",
            ])
            .args(["-c", "gc.auto=0"])
            .args(arguments)
            .env_clear()
            .envs(
                self.env
                    .iter()
                    .filter(|(name, _)| name == CERTIFICATES)
                    .map(|(name, value)| (name, value)),
            )
            .envs(self.proxy.map(|proxy| ("http_proxy", proxy)))
            .envs(self.proxy.map(|proxy| ("https_proxy", proxy)))
            .env("PATH", GIT_PATH)
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("GIT_ALLOW_PROTOCOL", "http:https")
            .current_dir("/")
            // Its transports are processes of their own: all of them end with it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(GitError::Run)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        thread::scope(|scope| {
            let out = scope.spawn(move || read_up_to(stdout));
            let err = scope.spawn(move || read_up_to(stderr));
            let ended = self.wait(&mut child);
            let (out, err) = (out.join(), err.join());
            if ended?.success() {
                return Ok(out.unwrap_or_default());
            }
            Err(GitError::Failed {
                url: self.url.to_owned(),
                message: last_line(&err.unwrap_or_default()),
            })
        })
    }

    fn is_too_large(&self) -> bool {
        let files = fs::read_dir(self.packs).into_iter().flatten().flatten();
        let sizes = files.map(|file| file.metadata().map_or(0, |meta| meta.len()));
        sizes.sum::<u64>() > REPOSITORY_LIMIT_BYTES
    }

    fn wait(&self, child: &mut Child) -> Result<std::process::ExitStatus, GitError> {
        const TICK: Duration = Duration::from_millis(20);
        loop {
            if let Some(status) = child.try_wait().map_err(GitError::Run)? {
                return Ok(status);
            }
            let error = if self.cancel.load(Ordering::SeqCst) {
                GitError::Cancelled
            } else if Instant::now() >= self.deadline {
                GitError::TimedOut {
                    url: self.url.to_owned(),
                    limit_seconds: TIME_LIMIT.as_secs(),
                }
            } else if self.is_too_large() {
                GitError::TooLarge {
                    url: self.url.to_owned(),
                    limit_bytes: REPOSITORY_LIMIT_BYTES,
                }
            } else {
                thread::sleep(TICK);
                continue;
            };
            let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
            // An error means that it has ended already.
            let _ = killpg(group, Signal::SIGKILL);
            child.wait().map_err(GitError::Run)?;
            return Err(error);
        }
    }
}

/// Reads to the end, keeping the beginning.
fn read_up_to(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What a broken pipe holds back is no more than a message.
        let _ = pipe
            .by_ref()
            .take(OUTPUT_LIMIT_BYTES)
            .read_to_end(&mut bytes);
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// git's last words, fit for a terminal.
fn last_line(text: &str) -> String {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    let line = line.unwrap_or("it did not say why");
    let line = line.strip_prefix("fatal: ").unwrap_or(line);
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_http_is_spoken() {
        let dir = tempfile::tempdir().unwrap();
        for url in ["file:///etc", "/etc", "ext::sh -c id", "ssh://127.0.0.1/x"] {
            let source = GitSource {
                url,
                reference: None,
                proxy: None,
            };
            let to = dir.path().join("x.git");
            let fetched = fetch_commit(&source, &[], &to, |_| false, &AtomicBool::new(false));
            assert!(
                matches!(fetched, Err(GitError::Failed { .. })),
                "{url}: {fetched:?}"
            );
        }
    }

    #[test]
    fn a_known_commit_is_not_asked_for() {
        let source = GitSource {
            url: "http://127.0.0.1:1/x",
            reference: Some("4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
            proxy: None,
        };
        let dir = Path::new("/nonexistent");
        let fetched = fetch_commit(&source, &[], dir, |_| true, &AtomicBool::new(false));
        assert!(matches!(fetched, Ok(Fetched::Known(_))), "{fetched:?}");
    }
}
