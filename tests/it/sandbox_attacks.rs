//! Attacks by the code of an app, each at level 1 (as root) and at level 2 (as a plain user).
//!
//! Where the tests themselves run as a plain user there is level 2 alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::site::{Ran, SLUGLINE, Site};

const CALLS: &str = include_str!("attacks/calls.c");

/// The user that attacks at level 2.
const NOBODY: u32 = 65_534;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    PlainUser,
}

fn levels() -> &'static [Level] {
    if nix::unistd::geteuid().is_root() {
        &[Level::Root, Level::PlainUser]
    } else {
        &[Level::PlainUser]
    }
}

/// An app whose `bin/compile` is an attack, and the machine's user that builds it.
struct Attack {
    site: Site,
    level: Level,
}

impl Attack {
    fn new(level: Level) -> Self {
        let site = Site::without_server();
        let out = site.path("out");
        fs::create_dir(&out).unwrap();
        fs::set_permissions(&out, fs::Permissions::from_mode(0o700)).unwrap();
        let attack = Self { site, level };
        if attack.drops() {
            chown(&out, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        // The binary may lie where a plain user cannot look.
        fs::copy(SLUGLINE, attack.binary()).unwrap();
        attack
    }

    /// Whether the plain user is another than the one that runs the tests.
    fn drops(&self) -> bool {
        self.level == Level::PlainUser && nix::unistd::geteuid().is_root()
    }

    fn binary(&self) -> PathBuf {
        self.site.path("out/slugline")
    }

    fn command(&self, script: &str, files: &[(&str, &str)]) -> Command {
        let app = self.site.path("app");
        let bin = app.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let script = format!("#!/bin/bash\n{script}\n");
        for (name, text) in [
            ("bin/detect", "#!/bin/sh\necho Attack\n"),
            ("bin/compile", &script),
        ]
        .iter()
        .chain(files)
        {
            fs::write(app.join(name), text).unwrap();
            fs::set_permissions(app.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = self.site.command(if self.drops() {
            "setpriv".as_ref()
        } else {
            "env".as_ref()
        });
        if self.drops() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command
            .arg(self.binary())
            .args(["build", app.to_str().unwrap(), "--buildpack", "inline"])
            .arg("--output")
            .arg(self.site.path("out/slug.tgz"))
            .env("TMPDIR", self.site.path("out"))
            .env("HOME", self.site.path("out"))
            .env("DATABASE_URL", "postgres://secret@db/x")
            .stdin(Stdio::null());
        command
    }

    /// What the attack printed; its exit code is its own affair.
    fn run(&self, script: &str, files: &[(&str, &str)]) -> Ran {
        Ran::new(self.command(script, files).output().unwrap())
    }
}

#[test]
fn system_calls() {
    for level in levels() {
        let seen = Attack::new(*level)
            .run(
                "gcc -o /tmp/calls /app/calls.c && /tmp/calls && grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status",
                &[("calls.c", CALLS)],
            )
            .success()
            .stderr;
        assert!(!seen.contains("REACHED"), "{level:?}: {seen}");
        for line in [
            "ptrace EPERM",
            "mount EPERM",
            "unshare-user EPERM",
            "clone-user EPERM",
            "clone3 ENOSYS",
            "io_uring ENOSYS",
            "bpf EPERM",
            "userfaultfd EPERM",
            "keyctl EPERM",
            "socket-alg EPERM",
            "socket-vsock EPERM",
            "socket-raw EPERM",
            "terminal-input EPERM",
            "setuid EINVAL",
            "CapBnd:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(
                seen.lines().any(|l| l.trim() == line),
                "{level:?}: {line} in {seen}"
            );
        }
    }
}

#[test]
fn tools_of_builds_still_work() {
    let script = "set -e\n\
        python3 -c 'import subprocess, threading, socket, multiprocessing; print(subprocess.check_output([\"true\"]))'\n\
        python3 -m venv /tmp/venv && /tmp/venv/bin/pip --version\n\
        node -e 'require(\"fs\").promises.readFile(\"/etc/passwd\").then(() => require(\"os\").networkInterfaces())'\n\
        npm --version\n\
        echo 'int main(void) { return 0; }' >/tmp/x.c && gcc -pthread -o /tmp/x /tmp/x.c && /tmp/x\n\
        git init --quiet /tmp/git && make --version && perl -e 'print 1' && tar czf /tmp/x.tgz -C /usr/include stdio.h\n\
        echo all of them";
    for level in levels() {
        let seen = Attack::new(*level).run(script, &[]).success().stderr;
        assert!(seen.contains("all of them"), "{level:?}: {seen}");
    }
}

#[test]
fn secrets_of_the_machine() {
    for level in levels() {
        let attack = Attack::new(*level);
        let secret = attack.site.path("secret");
        fs::write(&secret, "hunter2").unwrap();
        let other = attack.site.path("out/other-build");
        fs::create_dir(&other).unwrap();
        let script = format!(
            "for path in /root /root/.bashrc /home/* /etc/shadow /etc/sudoers /var/lib /var/log /sys /boot /srv {} {} {} /proc/1/environ /proc/1/maps /proc/1/fd/0 /proc/1/root /proc/1/cwd /proc/kcore /dev/mem /dev/kmsg; do \
             head -c1 \"$path\" >/dev/null 2>&1 && echo \"READ $path\"; ls -A \"$path\"/ 2>/dev/null | sed 's/^/LISTED /'; done\n\
             for path in /usr/x /etc/x /bin/x /dev/x /x /run/x /proc/sys/kernel/hostname /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do \
             (echo x >\"$path\") 2>/dev/null && echo \"WROTE $path\"; done\n\
             ls /proc/self/fd; env; ls /proc | grep '^[0-9]'; cat /proc/self/mountinfo; echo end",
            secret.display(),
            attack.site.data().display(),
            other.display(),
        );
        let seen = attack.run(&script, &[]).success().stderr;
        for word in ["READ", "LISTED", "hunter2", "postgres://", "other-build"] {
            assert!(!seen.contains(word), "{level:?}: {word} in {seen}");
        }
        let wrote = seen.lines().filter(|l| l.contains("WROTE"));
        // The root itself is the build's own scratch directory.
        let beyond = wrote.filter(|l| !["WROTE /x", "WROTE /run/x"].contains(&l.trim()));
        assert_eq!(beyond.count(), 0, "{level:?}: {seen}");
        assert!(seen.contains("end"), "{level:?}: {seen}");
    }
}
