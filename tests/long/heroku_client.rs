//! Heroku's own command line, unmodified, against our server: what this machine's formations, dynos,
//! releases, logs, drains and domains answer it. npm installs it once for each build directory.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::site::{Ran, SLUGLINE, Site, eventually, fixture};

const PACKAGE: &str = "heroku@11.10.0";

/// The directory that npm has installed the client to.
fn client() -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE);
    let programs = dir.join("node_modules/.bin");
    if programs.join("heroku").exists() {
        return programs;
    }
    // Elsewhere first: what was cut in between is no client.
    let part = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let npm = Command::new("npm")
        .args([
            "install",
            "--no-fund",
            "--no-audit",
            "--ignore-scripts",
            "--prefix",
        ])
        .arg(part.path())
        .arg(PACKAGE)
        .output()
        .expect("npm is installed: apt-get install npm");
    Ran::new(npm).success();
    fs::rename(part.keep(), &dir).unwrap();
    programs
}

/// A server with TLS, which this client insists on for a terminal, and an app.
struct Ours {
    site: Site,
    programs: PathBuf,
    certificate: PathBuf,
}

impl Ours {
    fn start() -> Self {
        let mut site = Site::without_server();
        let (certificate, key) = (site.path("server.pem"), site.path("server.key"));
        let made = site
            .command(Path::new("openssl"))
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args([
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-subj",
                "/CN=ours",
            ])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-out")
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key)
            .output()
            .expect("openssl is installed: apt-get install openssl");
        Ran::new(made).success();
        let tls = [
            "--tls-cert",
            certificate.to_str().unwrap(),
            "--tls-key",
            key.to_str().unwrap(),
        ];
        // The drain of this test is at an address of this machine.
        assert!(site.try_start(&tls, &[("SLUGLINE_NETWORK_ALLOW", "127.0.0.1")]));
        Self {
            programs: client(),
            site,
            certificate,
        }
    }

    /// A command in the app's work tree that knows our server, and nothing of Heroku's.
    fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = self.site.command(Path::new(program));
        command
            .current_dir(self.site.path("app"))
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("HEROKU_HOST", self.site.url())
            .env("HEROKU_API_KEY", self.site.token())
            .env("HEROKU_PARTICLEBOARD_URL", self.site.url())
            .env("HEROKU_SKIP_NEW_VERSION_CHECK", "true")
            .env("HEROKU_NOTIFICATIONS", "0")
            .env("HEROKU_NETRC_WRITE", "true")
            .env("DISABLE_TELEMETRY", "true")
            .env("NODE_EXTRA_CA_CERTS", &self.certificate)
            .env("GIT_SSL_CAINFO", &self.certificate)
            .env("SSL_CERT_FILE", &self.certificate);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command("heroku");
        Ran::new(
            command
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        )
    }

    /// Runs a command that succeeds; gives what it has written, errors after it.
    #[track_caller]
    fn said(&self, line: &str) -> String {
        let arguments = line.split(' ').collect::<Vec<_>>();
        let ran = self.run(&arguments).success();
        format!("{}{}", ran.stdout, ran.stderr)
    }

    #[track_caller]
    fn says(&self, line: &str, wanted: &[&str]) {
        let said = self.said(line);
        for text in wanted {
            assert!(said.contains(text), "heroku {line}: no {text} in {said}");
        }
    }

    fn get(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:{}{path}", self.site.router_port());
        let mut curl = self.site.command(Path::new("curl"));
        curl.args(["-s", "-H", "Host: hello.localhost", &url]);
        Ran::new(curl.output().unwrap()).success().stdout
    }
}

/// A server, and an app that was pushed to it with this client's credentials.
fn deployed() -> Ours {
    let ours = Ours::start();
    let app = ours.site.path("app");
    crate::site::copy_dir(&fixture("inline_dynos"), &app);
    let run = |program: &str, arguments: &[&str]| {
        Ran::new(ours.command(program).args(arguments).output().unwrap()).success()
    };
    run("git", &["init", "--quiet", "--initial-branch=main"]);
    run("git", &["add", "--all"]);
    run("git", &["commit", "--quiet", "--message", "First"]);
    let created = ours.said("create hello");
    assert!(created.contains("http://hello.localhost:"), "{created}");
    run(SLUGLINE, &["buildpacks", "set", "inline", "-a", "hello"]);
    let pushed = run("git", &["push", "heroku", "main"]).stderr;
    assert!(pushed.contains("Verifying deploy... done."), "{pushed}");
    ours
}

#[test]
fn heroku_s_client_manages_an_app() {
    let ours = deployed();
    manages_config(&ours);
    manages_dynos(&ours);
    manages_releases(&ours);
    manages_what_leads_there(&ours);

    ours.says("stack", &["* "]);
    ours.says("access", &["admin", "owner"]);
    ours.says("addons", &["No add-ons for app hello."]);
    ours.says("auth:whoami", &["admin"]);
    let refused = ours.run(&["apps:rename", "other"]);
    assert!(
        refused.code != Some(0) && refused.stderr.contains("name"),
        "{refused:?}"
    );
    ours.says(
        "apps:destroy hello --confirm hello",
        &["Destroying hello (including all add-ons)... done"],
    );
    ours.says("apps", &["You have no apps."]);
}

fn manages_config(ours: &Ours) {
    ours.says("apps", &["=== admin Apps", "hello (local)"]);
    ours.says(
        "apps:info",
        &[
            "=== hello",
            "Web URL:        http://hello.localhost:",
            "Owner:          admin",
            "Dynos:          web: 1",
        ],
    );
    ours.says(
        "config:set A=1 B=2",
        &[
            "Setting A, B and restarting hello... done, v3",
            "A: 1",
            "B: 2",
        ],
    );
    ours.says("config", &["A: 1", "B: 2"]);
    ours.says("config:get A", &["1\n"]);
    ours.says(
        "config:unset B",
        &["Unsetting B and restarting hello... done, v4"],
    );
}

fn manages_dynos(ours: &Ours) {
    ours.says(
        "ps",
        &[
            "=== web (standard-1x): exec /usr/bin/python3 -u server.py $PORT (1)",
            "web.1: up ",
        ],
    );
    ours.says(
        "ps:scale worker=1",
        &["now running worker at 1:standard-1x"],
    );
    ours.says(
        "ps:scale worker+1",
        &["now running worker at 2:standard-1x"],
    );
    ours.says("ps:scale", &["web=1:standard-1x worker=2:standard-1x"]);
    ours.says(
        "ps:scale worker=0",
        &["now running worker at 0:standard-1x"],
    );
    ours.says("ps:type web=standard-2x", &["web      standard-2x   1"]);
    ours.says(
        "ps:restart --dyno-name web.1",
        &["Restarting dyno web.1 on hello... done"],
    );
    ours.says(
        "ps:restart --process-type web",
        &["Restarting all web dynos on hello... done"],
    );
    ours.says("ps:restart", &["Restarting all dynos on hello... done"]);
    ours.said("ps:wait");
    ours.says(
        "ps:stop --dyno-name web.1",
        &["Stopping dyno web.1 on hello... done"],
    );
    eventually("the end of web.1", || {
        ours.said("ps").contains("web.1: down ")
    });
    ours.said("ps:restart --dyno-name web.1");
}

fn manages_releases(ours: &Ours) {
    ours.says(
        "releases",
        &[
            "=== hello Releases - Current: v4",
            "v4   Remove B config vars",
            "v2   Deploy ",
        ],
    );
    let newest = ours.said("releases -n 2");
    assert!(
        newest.contains("v4 ") && newest.contains("v3 ") && !newest.contains("v2 "),
        "{newest}"
    );
    ours.says(
        "releases:info",
        &["=== Release v4", "Eligible for Rollback?: Yes", "A: 1"],
    );
    ours.says("releases:output v2", &["has no release output available"]);
    ours.says("rollback", &["Rolling back hello to v3... done, v5"]);
    ours.says("rollback v2", &["Rolling back hello to v2... done, v6"]);
    eventually("v2's config", || ours.get("/env/A").is_empty());
}

fn manages_what_leads_there(ours: &Ours) {
    ours.says(
        "domains:add www.example.com",
        &[
            "Adding www.example.com to hello... done",
            "DNS Target hello.localhost",
        ],
    );
    ours.says("domains", &["hello.localhost", "www.example.com"]);
    ours.says(
        "domains:remove www.example.com",
        &["Removing www.example.com from hello... done"],
    );
    ours.says(
        "drains:add syslog://127.0.0.1:1",
        &["Successfully added drain syslog://127.0.0.1:1"],
    );
    ours.says("drains", &["syslog://127.0.0.1:1 (d."]);
    ours.says(
        "drains:remove syslog://127.0.0.1:1",
        &["Successfully removed drain"],
    );
    assert_eq!(ours.said("drains"), "");
    ours.says(
        "maintenance:on",
        &["Enabling maintenance mode for hello... done"],
    );
    ours.says("maintenance", &["on\n"]);
    assert!(ours.get("/").contains("Offline for maintenance"));
    ours.says(
        "maintenance:off",
        &["Disabling maintenance mode for hello... done"],
    );
}

#[test]
fn heroku_s_client_follows_logs_and_runs_commands() {
    let ours = deployed();
    ours.get("/say/first");
    eventually("a line", || {
        ours.said("logs").contains(" app[web.1]: first\n")
    });
    let routed = ours.said("logs -n 1 --source heroku --dyno-name router");
    assert!(
        routed.contains(" heroku[router]: at=info method=GET path=\"/say/first\""),
        "{routed}"
    );
    assert_eq!(routed.lines().count(), 1, "{routed}");
    assert!(!ours.said("logs --source app").contains(" heroku["));

    let followed = fs::File::create(ours.site.path("followed")).unwrap();
    let mut tail = ours.command("heroku");
    let mut tail = tail
        .args(["logs", "--tail", "-n", "1"])
        .stdout(followed)
        .spawn()
        .unwrap();
    eventually("a line of the future", || {
        ours.get("/say/later");
        let followed = fs::read_to_string(ours.site.path("followed")).unwrap();
        followed.contains(" app[web.1]: later\n")
    });
    tail.kill().unwrap();
    tail.wait().unwrap();

    let ran = ours
        .run(&["run", "--no-tty", "--", "echo $DYNO; id -u"])
        .success();
    assert_eq!(ran.stdout, "run.1\n1000\n");
    let mut counted = ours.command("heroku");
    counted.args(["run", "--no-tty", "--", "wc", "-l"]);
    let mut counted = counted
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    counted
        .stdin
        .take()
        .unwrap()
        .write_all(b"one\ntwo\n")
        .unwrap();
    let counted = Ran::new(counted.wait_with_output().unwrap()).success();
    assert_eq!(counted.stdout.trim(), "2");
    assert_eq!(
        ours.run(&["run", "--exit-code", "--", "false"]).code,
        Some(1)
    );
    ours.says(
        "run:detached -- echo detached",
        &["Running echo detached on hello... done, run."],
    );
    eventually("its line", || ours.said("logs").contains("]: detached\n"));

    // On a terminal: its size, keys that are signals, the end of the shell.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/long/heroku_terminal.py");
    let mut terminal = ours.command("/usr/bin/python3");
    let typed = Ran::new(terminal.arg(script).output().unwrap()).success();
    assert!(typed.stdout.ends_with("all said\n"), "{typed:?}");
}
