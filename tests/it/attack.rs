//! An attack: an app whose own code is hostile, and the user of the machine that builds it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::site::{Ran, SLUGLINE, Site};

/// The user that attacks at level 2.
pub const NOBODY: u32 = 65_534;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Root,
    PlainUser,
    /// Namespaces refused, as a user who is root of a namespace that allows no others.
    Landlock,
}

/// The levels at which builds run.
pub fn levels() -> &'static [Level] {
    if nix::unistd::geteuid().is_root() {
        &[Level::Root, Level::PlainUser]
    } else {
        &[Level::PlainUser]
    }
}

/// An app whose own scripts are an attack, and the machine's user that builds it.
pub struct Attack {
    pub site: Site,
    pub level: Level,
}

impl Attack {
    pub fn new(level: Level) -> Self {
        let site = Site::without_server();
        let out = site.path("out");
        fs::create_dir(&out).unwrap();
        fs::set_permissions(&out, fs::Permissions::from_mode(0o700)).unwrap();
        let attack = Self { site, level };
        if attack.drops() {
            chown(&out, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        // The binary may lie where a plain user cannot look. A copy made by this process could be
        // open for writing in what another test's thread forks meanwhile, and could not be started.
        let copied = Command::new("cp")
            .arg(SLUGLINE)
            .arg(attack.binary())
            .status();
        assert!(copied.unwrap().success());
        attack
    }

    /// Whether the plain user is another than the one that runs the tests.
    pub fn drops(&self) -> bool {
        self.level != Level::Root && nix::unistd::geteuid().is_root()
    }

    pub fn binary(&self) -> PathBuf {
        self.site.path("out/slugline")
    }

    /// `slugline`, run by the level's user.
    pub fn slugline(&self) -> Command {
        let mut line = Vec::new();
        if self.drops() {
            line.extend([
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
            ]);
        }
        if self.level == Level::Landlock {
            line.extend(["unshare", "--user", "--map-root-user", "sh", "-c"]);
            line.extend([
                "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"",
                "sh",
            ]);
        }
        line.push("env");
        let mut command = self.site.command(line[0].as_ref());
        command
            .args(&line[1..])
            .arg(self.binary())
            .env("TMPDIR", self.site.path("out"))
            .env("HOME", self.site.path("out"))
            // Where the tests' runtimes lie a plain user may not look: those of the machine will do.
            .env("SLUGLINE_RUNTIME_DIR", self.site.path("out/runtimes"))
            .env("SLUGLINE_RUNTIME_OFFLINE", "true")
            .env("DATABASE_URL", "postgres://secret@db/x")
            .stdin(Stdio::null());
        command
    }

    /// A build whose `bin/compile`, at level 3 `bin/detect`, is the attack.
    pub fn command(&self, script: &str, files: &[(&str, &str)]) -> Command {
        let app = self.site.path("app");
        fs::create_dir_all(app.join("bin")).unwrap();
        let (detect, compile) = if self.level == Level::Landlock {
            (
                format!("#!/bin/bash\n(\n{script}\n) >&2\nexit 1\n"),
                String::new(),
            )
        } else {
            let detect = "#!/bin/sh\necho Attack\n".to_owned();
            (detect, format!("#!/bin/bash\n{script}\n"))
        };
        for (name, text) in [("bin/detect", &*detect), ("bin/compile", &compile)]
            .iter()
            .chain(files)
        {
            fs::write(app.join(name), text).unwrap();
            fs::set_permissions(app.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = self.slugline();
        command
            .args(["build", app.to_str().unwrap(), "--buildpack", "inline"])
            .arg("--output")
            .arg(self.site.path("out/slug.tgz"));
        command
    }

    /// What the attack printed; its exit code is its own affair.
    pub fn run(&self, script: &str, files: &[(&str, &str)]) -> Ran {
        Ran::new(self.command(script, files).output().unwrap())
    }
}

/// Processes of the machine whose first argument is this.
pub fn running(name: &str) -> usize {
    let is = |entry: &fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).next() == Some(name.as_bytes())
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter(is).count()
}
