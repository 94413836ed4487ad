//! `slugline demo`: all of it, on this machine, in a temporary directory: a server, a repository
//! made by real git, a push, and an HTTP answer from the app at the address that the push has printed.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::build::Work;
use super::{environment, machine, print};

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
    demo.say("\nThe app:")?;
    demo.slugline(&["ps", "-a", "hello"])?;
    demo.request()?;
    demo.slugline(&["logs", "-a", "hello", "-n", "4"])?;
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
  slugline logs -a my-app --tail";

struct Demo {
    server: Child,
    url: String,
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
        let stdout = server
            .stdout
            .take()
            .context("the server's output was piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut after = |beginning: &str| {
            let line = lines.next()?.ok()?;
            line.strip_prefix(beginning).map(str::to_owned)
        };
        let url = after("Slugline listens on ");
        let (Some(url), Some(apps)) = (url, after("Apps answer at ")) else {
            let _ = server.kill();
            let _ = server.wait();
            bail!("the server did not start; its message is above");
        };
        Ok(Self {
            url,
            web_url: apps.replace("NAME", "hello"),
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

    /// Asks the app for `/` at the address that the push has printed.
    fn request(&self) -> Result<()> {
        self.say(&format!("  $ curl --include {}", self.web_url))?;
        let curl = self
            .command(Path::new("curl"))
            .args(["--silent", "--show-error", "--include", &self.web_url])
            .status();
        match curl {
            Ok(status) if status.success() => return self.say(""),
            Ok(status) => bail!("curl ended with {status}"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("running curl"),
        }
        // Not every system looks names below localhost up as curl does.
        let address = self.web_url.replace("hello.localhost", "127.0.0.1");
        let request = ureq::get(&address).header("Host", "hello.localhost");
        let mut response = request.call().context("asking the app")?;
        let body = response.body_mut().read_to_string();
        let body = body.context("reading the answer")?;
        self.say(&format!("HTTP/1.1 {}\n\n{body}\n", response.status()))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        stop(&mut self.server);
    }
}

/// SIGTERM, and the end waited for.
fn stop(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // An error means that it has ended already.
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
    let _ = child.wait();
}
