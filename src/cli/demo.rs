//! `slugline demo`: all of it, on this machine, in a temporary directory: a server, a repository
//! made by real git, a push, the release's process, and an HTTP answer from it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::build::Work;
use super::{environment, machine, print};

/// Longest time from the process's start to its first answer.
const BOOT_TIME_LIMIT: Duration = Duration::from_secs(60);

/// The demo's app.
const FILES: [(&str, &str); 4] = [
    ("app.py", include_str!("demo/app.py")),
    ("requirements.txt", include_str!("demo/requirements.txt")),
    ("Procfile", "web: gunicorn app:app --bind 0.0.0.0:$PORT\n"),
    (".gitignore", "__pycache__/\n"),
];

/// Shows a deploy from beginning to end.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// A step failed; its own output has been shown.
pub fn run(_args: &Args) -> Result<ExitCode> {
    let work = Work::create()?;
    machine::sandbox().probe_for_builds(work.path())?;
    let demo = Demo::start(work.path())?;
    demo.say("A server, with its data in a temporary directory:")?;
    demo.say(&format!(
        "  $ slugline serve --data {} --listen {}",
        demo.data.display(),
        demo.url.trim_start_matches("http://")
    ))?;

    demo.say("\nAn app: Flask, one file.")?;
    for (name, text) in FILES {
        fs::write(demo.app.join(name), text).with_context(|| name.to_owned())?;
    }
    demo.git(&["init", "--quiet", "--initial-branch=main"])?;
    demo.git(&["add", "."])?;
    demo.git(&["commit", "--quiet", "--message=Hello"])?;
    demo.slugline(&["apps", "create", "hello"])?;
    demo.slugline(&["config", "set", "GREETING=Hello from a slug", "-a", "hello"])?;
    demo.say("\nThe deploy:")?;
    demo.git(&["push", "slugline", "main"])?;
    demo.slugline(&["releases", "-a", "hello"])?;
    demo.say("\nThe release's web process:")?;
    let answer = demo.request()?;
    demo.say(&format!("  $ curl -i {}\n{answer}", demo.web_url))?;
    demo.say(NEXT)?;
    demo.say(&format!("(slugline is {})", demo.binary.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// What to try after the demo.
const NEXT: &str = "\
Next, with an app of your own:
  slugline serve                    in one terminal; then, in your app's repository:
  slugline apps create my-app
  git push slugline main
  slugline run -a my-app web";

struct Demo {
    server: Child,
    url: String,
    web_port: u16,
    web_url: String,
    binary: PathBuf,
    home: PathBuf,
    data: PathBuf,
    app: PathBuf,
}

impl Demo {
    /// Starts the server and waits until it listens.
    fn start(work: &Path) -> Result<Self> {
        let [home, data, app] = ["home", "data", "hello"].map(|name| work.join(name));
        for dir in [&home, &app] {
            fs::create_dir(dir).with_context(|| dir.display().to_string())?;
        }
        let binary = environment::binary()?;
        let mut server = Command::new(&binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .env("SLUGLINE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the server")?;
        let mut line = String::new();
        let stdout = server
            .stdout
            .take()
            .context("the server's output was piped")?;
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("waiting for the server")?;
        let Some(url) = line.trim().strip_prefix("Slugline listens on ") else {
            let _ = server.kill();
            let _ = server.wait();
            bail!("the server did not start; its message is above");
        };
        let web_port = free_port()?;
        Ok(Self {
            url: url.to_owned(),
            web_port,
            web_url: format!("http://127.0.0.1:{web_port}/"),
            server,
            binary,
            home,
            data,
            app,
        })
    }

    #[expect(
        clippy::unused_self,
        reason = "reads as the demo's own voice at each call"
    )]
    fn say(&self, text: &str) -> Result<()> {
        Ok(print::print(format!("{text}\n"))?)
    }

    /// A command in the app's directory, in an environment that nobody's configuration reaches.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.app)
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env("SLUGLINE_URL", &self.url)
            .env("SLUGLINE_DATA", &self.data)
            .env_remove("SLUGLINE_TOKEN")
            .env_remove("SLUGLINE_APP");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "Demo")
                .env(format!("GIT_{role}_EMAIL"), "demo@localhost");
        }
        command
    }

    fn git(&self, arguments: &[&str]) -> Result<()> {
        self.show("git", &environment::git()?, arguments)
    }

    fn slugline(&self, arguments: &[&str]) -> Result<()> {
        self.show("slugline", &self.binary, arguments)
    }

    /// Runs a command with its output on the terminal.
    fn show(&self, name: &str, program: &Path, arguments: &[&str]) -> Result<()> {
        let shown = arguments.iter().map(|text| {
            if text.contains(' ') {
                format!("'{text}'")
            } else {
                (*text).to_owned()
            }
        });
        self.say(&format!(
            "  $ {name} {}",
            shown.collect::<Vec<_>>().join(" ")
        ))?;
        let status = self
            .command(program)
            .args(arguments)
            .status()
            .with_context(|| format!("running {name}"))?;
        if !status.success() {
            bail!("{name} ended with {status}; its message is above");
        }
        Ok(())
    }

    /// Starts the release's web process, asks it for `/` and ends it.
    fn request(&self) -> Result<String> {
        let arguments = ["run", "-a", "hello", "web"];
        self.say(&format!(
            "  $ PORT={} slugline {}",
            self.web_port,
            arguments.join(" ")
        ))?;
        let mut web = self
            .command(&self.binary)
            .args(arguments)
            .env("PORT", self.web_port.to_string())
            .stdin(Stdio::null())
            .spawn()
            .context("starting the web process")?;
        let answer = self.poll(&mut web);
        stop(&mut web);
        answer
    }

    fn poll(&self, web: &mut Child) -> Result<String> {
        let start = Instant::now();
        loop {
            if let Ok(mut response) = ureq::get(&self.web_url).call() {
                let body = response
                    .body_mut()
                    .read_to_string()
                    .context("reading the answer")?;
                return Ok(format!("HTTP/1.1 {}\n\n{body}", response.status()));
            }
            if let Some(status) = web.try_wait().context("watching the web process")? {
                bail!("the web process ended with {status} before it answered");
            }
            if start.elapsed() > BOOT_TIME_LIMIT {
                bail!(
                    "the web process did not answer within {} seconds",
                    BOOT_TIME_LIMIT.as_secs()
                );
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        stop(&mut self.server);
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener
        .local_addr()
        .context("looking for a free port")?
        .port())
}

/// SIGTERM, and the end waited for.
fn stop(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // An error means that it has ended already.
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
    let _ = child.wait();
}
