//! A site of its own for a test: data directory, home, server on a free port, real git.
//!
//! Nothing of the developer's own configuration reaches it, and it ends what it started.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use slugline::runtime::{Recipe, Source, parse_releases, write_releases};
use tempfile::TempDir;

use crate::redaction::redact;

/// The binary under test.
pub const SLUGLINE: &str = env!("CARGO_BIN_EXE_slugline");

/// A commit's dates: part of its id.
const DATE: &str = "2026-01-01T00:00:00Z";

/// Where language runtimes are kept for all tests. Node.js comes from npm's packages; of Python there is
/// what this machine has, whatever else could be reached from it.
pub fn runtimes() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runtimes");
        let lists = dir.join("inventory");
        fs::create_dir_all(&lists).unwrap();
        for (recipe, releases) in slugline::buildpack::builtin_runtimes() {
            let name = Recipe::parse(recipe).unwrap().name;
            let mut releases = parse_releases(releases).unwrap();
            for release in &mut releases {
                let of_npm = |source: &Source| matches!(source, Source::Npm { .. });
                release.sources.retain(of_npm);
            }
            releases.retain(|release| !release.sources.is_empty());
            let list = write_releases(&releases);
            // Others read it meanwhile.
            let mut new = tempfile::NamedTempFile::new_in(&lists).unwrap();
            new.write_all(list.as_bytes()).unwrap();
            new.persist(lists.join(format!("{name}.releases.toml")))
                .unwrap();
        }
        dir
    })
}

/// The folder of a fixture app.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/apps")
        .join(name)
}

/// A site, and a server if one was started.
pub struct Site {
    dir: TempDir,
    server: Option<Child>,
    url: String,
    router_port: u16,
    /// Where TLS for apps is spoken, and where numbers are.
    router_tls_port: u16,
    metrics: String,
    /// Whether the server is to run as a plain user, who owns its data.
    is_plain: bool,
}

impl Site {
    /// A site with a running server.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// A site whose server gets these arguments besides.
    pub fn with(arguments: &[&str]) -> Self {
        let mut site = Self::without_server();
        site.start(arguments);
        site
    }

    /// A site whose server may fetch from this machine.
    pub fn that_fetches_from_loopback() -> Self {
        Self::with_env(&[("SLUGLINE_NETWORK_ALLOW", "127.0.0.1")])
    }

    /// A site whose server has this environment besides.
    pub fn with_env(env: &[(&str, &str)]) -> Self {
        let mut site = Self::without_server();
        let listens = site.try_start(&[], env);
        assert!(listens, "no server: {}", site.server_log());
        site
    }

    /// A site whose server runs as a plain user: dynos and builds are then at level 2.
    pub fn of_plain_user() -> Self {
        let mut site = Self::without_server();
        site.is_plain = nix::unistd::geteuid().is_root();
        fs::create_dir(site.data()).unwrap();
        if site.is_plain {
            std::os::unix::fs::chown(site.data(), Some(65534), Some(65534)).unwrap();
            // Where the binary lies a plain user may not look.
            fs::copy(SLUGLINE, site.path("slugline")).unwrap();
        }
        site.start(&[]);
        site
    }

    /// A site for local commands.
    pub fn without_server() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("slugline-test-")
            .tempdir()
            .unwrap();
        // A build's user must be able to see nothing of it, and its owner everything.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        Self {
            dir,
            server: None,
            url: String::new(),
            router_port: 0,
            router_tls_port: 0,
            metrics: String::new(),
            is_plain: false,
        }
    }

    /// Starts the server, on a free port, and waits until it listens.
    pub fn start(&mut self, arguments: &[&str]) {
        let listens = self.try_start(arguments, &[]);
        assert!(listens, "no server: {}", self.server_log());
    }

    /// Starts the server with more environment; says whether it lived until it listened.
    pub fn try_start(&mut self, arguments: &[&str], env: &[(&str, &str)]) -> bool {
        let mut server = if self.is_plain {
            let mut server = self.command(Path::new("setpriv"));
            server
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(self.path("slugline"))
                .env("HOME", self.data())
                // Where the tests' runtimes lie he may not look either.
                .env_remove("SLUGLINE_RUNTIME_DIR")
                .env("SLUGLINE_RUNTIME_OFFLINE", "true");
            server
        } else {
            self.command(Path::new(SLUGLINE))
        };
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.path("server.log"))
            .unwrap();
        server
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments);
        server
            .env("SLUGLINE_LOG", "debug")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut server = server.spawn().unwrap();
        let lines = BufReader::new(server.stdout.take().unwrap()).lines();
        for line in lines.map(Result::unwrap) {
            if let Some(url) = line.strip_prefix("Slugline listens on ") {
                url.clone_into(&mut self.url);
            }
            if let Some(url) = line.strip_prefix("Numbers are at http://") {
                url.trim_end_matches("/metrics")
                    .clone_into(&mut self.metrics);
            }
            if let Some(urls) = line.strip_prefix("Apps answer at ") {
                let mut ports = urls.split(" and ").map(|url| {
                    let (_, port) = url.trim_end_matches('/').rsplit_once(':').unwrap();
                    port.parse().unwrap()
                });
                self.router_port = ports.next().unwrap();
                self.router_tls_port = ports.next().unwrap_or_default();
                self.server = Some(server);
                return true;
            }
        }
        self.server = Some(server);
        false
    }

    /// Waits until the server has ended by itself, and gives the signal that ended it.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.server.take().unwrap().wait().unwrap();
        status.signal()
    }

    /// Runs git in one of the site's directories, with the admin token.
    pub fn git_in(&self, dir: &Path, arguments: &[&str]) -> Ran {
        Ran::new(self.git_command_in(dir, arguments).output().unwrap())
    }

    /// The same, to be run by the caller.
    pub fn git_command_in(&self, dir: &Path, arguments: &[&str]) -> Command {
        let mut command = self.command(Path::new("git"));
        let header = format!("http.extraHeader=Authorization: Bearer {}", self.token());
        command
            .current_dir(dir)
            .args(["-c", &header])
            .args(arguments);
        command
    }

    /// Sends the server a signal and waits for its end.
    pub fn stop(&mut self, signal: nix::sys::signal::Signal) {
        let mut server = self.server.take().unwrap();
        let id = nix::unistd::Pid::from_raw(i32::try_from(server.id()).unwrap());
        nix::sys::signal::kill(id, signal).unwrap();
        server.wait().unwrap();
    }

    /// The server's process.
    pub fn server_id(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// A path as the server sees it, whose mounts are its own.
    pub fn seen_by_server(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.server_id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    /// What the server has logged.
    pub fn server_log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    /// Where apps answer.
    pub fn router_port(&self) -> u16 {
        self.router_port
    }

    pub fn router_tls_port(&self) -> u16 {
        self.router_tls_port
    }

    pub fn metrics(&self) -> String {
        self.metrics.clone()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A path of the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The server's data directory.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The admin token's secret.
    pub fn token(&self) -> String {
        fs::read_to_string(self.data().join("admin-token"))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// A command with the site's environment and no other.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_AUTHOR_NAME", "Ada")
            .env("GIT_AUTHOR_EMAIL", "ada@example.com")
            .env("GIT_AUTHOR_DATE", DATE)
            .env("GIT_COMMITTER_NAME", "Ada")
            .env("GIT_COMMITTER_EMAIL", "ada@example.com")
            .env("GIT_COMMITTER_DATE", DATE)
            .env("SLUGLINE_DATA", self.data())
            .env("SLUGLINE_RUNTIME_DIR", runtimes())
            .current_dir(self.dir.path());
        if !self.url.is_empty() {
            command.env("SLUGLINE_URL", &self.url);
        }
        command
    }

    /// Runs `slugline` in the site's directory.
    pub fn slugline(&self, arguments: &[&str]) -> Ran {
        let output = self
            .command(Path::new(SLUGLINE))
            .args(arguments)
            .output()
            .unwrap();
        Ran::new(output)
    }

    /// Makes a repository `name` of a fixture's files, one commit on `main`.
    pub fn repository(&self, name: &str, fixture_name: &str) -> Repository<'_> {
        let dir = self.path(name);
        copy_dir(&fixture(fixture_name), &dir);
        let repository = Repository { site: self, dir };
        repository
            .git(&["init", "--quiet", "--initial-branch=main"])
            .success();
        repository.commit("First");
        repository
    }

    /// A repository that a script of `fixtures/repos` makes.
    pub fn scripted(&self, name: &str, script: &str, arguments: &[&str]) -> Repository<'_> {
        let dir = self.path(name);
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/repos")
            .join(script);
        let output = self
            .command(&script)
            .arg(&dir)
            .args(arguments)
            .output()
            .unwrap();
        Ran::new(output).success();
        Repository { site: self, dir }
    }

    /// The same, with an app of that name and its remote.
    pub fn app(&self, name: &str, fixture_name: &str) -> Repository<'_> {
        let repository = self.repository(name, fixture_name);
        repository.slugline(&["apps", "create", name]).success();
        repository
    }

    /// The id of an app.
    pub fn app_id(&self, name: &str) -> String {
        self.api("GET", &format!("/apps/{name}"), None).1["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The bare repository of an app.
    pub fn bare(&self, name: &str) -> PathBuf {
        self.data()
            .join("repositories")
            .join(format!("{}.git", self.app_id(name)))
    }

    /// The slugs and manifests in the store.
    pub fn blobs(&self) -> usize {
        files_below(&self.data().join("slugs"))
            .into_iter()
            .filter(|path| path.contains("/sha256/"))
            .count()
    }

    /// A request to the API with the admin token.
    pub fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let token = self.token();
        self.api_as(&token, method, path, body)
    }

    /// A request to the API with any token.
    pub fn api_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("Authorization", format!("Bearer {token}"))
            .header("Accept", "application/vnd.heroku+json; version=3")
            .header("Content-Type", "application/json")
            .body(body)
            .unwrap();
        let mut response = agent().run(request).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (
            response.status().as_u16(),
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }
}

/// An HTTP client that gives every status back.
pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true);
    ureq::Agent::new_with_config(config.build())
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        if std::thread::panicking() {
            eprintln!("server log:\n{}", self.server_log());
        }
    }
}

/// A work tree of the site.
pub struct Repository<'a> {
    site: &'a Site,
    pub dir: PathBuf,
}

impl Repository<'_> {
    pub fn git(&self, arguments: &[&str]) -> Ran {
        Ran::new(self.git_command(arguments).output().unwrap())
    }

    pub fn git_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.site.command(Path::new("git"));
        command.current_dir(&self.dir).args(arguments);
        command
    }

    pub fn slugline(&self, arguments: &[&str]) -> Ran {
        let mut command = self.site.command(Path::new(SLUGLINE));
        Ran::new(
            command
                .current_dir(&self.dir)
                .args(arguments)
                .output()
                .unwrap(),
        )
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Commits everything.
    pub fn commit(&self, message: &str) {
        self.git(&["add", "--all"]).success();
        self.git(&["commit", "--quiet", "--message", message])
            .success();
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
            .success()
            .stdout
            .trim()
            .to_owned()
    }

    pub fn push(&self) -> Ran {
        self.git(&["push", "slugline", "main"])
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn new(output: Output) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = output;
        Self {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn success(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    #[track_caller]
    pub fn failure(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// What the pusher read: `remote: ` lines and git's own, with what differs from run to run
    /// replaced.
    pub fn transcript(&self, site: &Site) -> String {
        let text = redact(&self.stderr)
            .replace(site.url(), "http://127.0.0.1:7007")
            .replace(
                &format!(".localhost:{}", site.router_port()),
                ".localhost:7080",
            );
        text.lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Builds with `slugline build`, buildpacks in order; gives what it said.
pub fn build(site: &Site, app: &Repository<'_>, arguments: &[&str]) -> Ran {
    let out = site.path("slug.tgz");
    let mut all = vec![
        "build",
        app.dir.to_str().unwrap(),
        "--output",
        out.to_str().unwrap(),
    ];
    all.extend(arguments);
    site.slugline(&all)
}

/// All files below a directory, sorted.
pub fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// Copies a tree of files, directories and modes.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let dest = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &dest);
        } else {
            fs::copy(entry.path(), dest).unwrap();
        }
    }
}

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
