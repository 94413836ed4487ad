//! `slugline serve` with its defaults, and apps that the command line makes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::server::Server;
use crate::support::{self, SLUGLINE};

pub struct Ours {
    pub server: Server,
    url: String,
    dir: PathBuf,
}

impl Ours {
    pub fn start(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("home")).context("making a directory")?;
        let log = File::create(dir.join("server.log")).context("making the server's log")?;
        let mut server = Server::start(
            command(dir)
                .args(["serve", "--listen", "127.0.0.1:0"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(log),
        )?;
        let stdout = server.0.stdout.take().context("it is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.trim().strip_prefix("Slugline listens on ");
        let url = url.map(str::to_owned).with_context(|| {
            let log = fs::read_to_string(dir.join("server.log"));
            format!("no server: {}", log.unwrap_or_default())
        })?;
        Ok(Self {
            server,
            url,
            dir: dir.to_owned(),
        })
    }

    /// Makes an app from inside its work tree, which adds the remote and the credential helper.
    pub fn create(&self, app: &str, tree: &Path) -> Result<()> {
        let output = command(&self.dir)
            .args(["apps", "create", app])
            .env("SLUGLINE_URL", &self.url)
            .current_dir(tree)
            .output()
            .context("running slugline apps create")?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "slugline apps create: {text}");
        Ok(())
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(SLUGLINE);
    command
        .env_clear()
        .env("PATH", support::path())
        .env("HOME", dir.join("home"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("SLUGLINE_DATA", dir.join("data"));
    command
}
