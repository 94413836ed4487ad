//! What benches share: real git, source trees, a buildpack that does nothing, the machine that
//! builds run on, and the numbers that are printed.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use nix::sys::statfs::{EXT4_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use slugline::buildpack::{Reference, builtin_runtimes};
use slugline::checkout;
use slugline::config::ConfigVars;
use slugline::pipeline::{Limits, Machine, RuntimeSupply};
use slugline::platform::settings::{self, Settings, stack_of_os_release};
use slugline::runtime::{Choice, Runtimes};
use slugline::sandbox::Sandbox;

/// The real binary: the sandbox's helper, and the server.
pub const SLUGLINE: &str = env!("CARGO_BIN_EXE_slugline");

/// A commit's dates: part of its id.
const DATE: &str = "2026-01-01T00:00:00Z";

/// Debian's certificates; builds that install dependencies need them.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The caller's `PATH`, for programs that get no other variable of the caller.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench is at the edge; its tools are found where the caller's are"
)]
pub fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// A git of which no configuration of the machine is known.
pub fn git_command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "Ada")
            .env(format!("GIT_{role}_EMAIL"), "ada@example.com")
            .env(format!("GIT_{role}_DATE"), DATE);
    }
    command
}

/// Runs git, which must succeed, and gives its standard output.
pub fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = git_command(dir)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git is installed: apt-get install git");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input).expect("git reads");
    drop(stdin);
    let output = child.wait_with_output().expect("git runs");
    assert!(output.status.success(), "git {args:?}");
    output.stdout
}

/// The folder of a fixture app.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/apps")
        .join(name)
}

/// Text that compresses about as source code does, another one for each `seed`.
pub fn text(seed: usize, bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "function ",
        "return ",
        "const ",
        "require(",
        "module",
        ".exports",
        " = ",
        ");\n",
        "if (",
        "value",
        "error",
        "=> {\n",
        "}\n",
        "'use strict'",
        "length",
        "0x",
    ];
    let mut state = u32::try_from(seed).expect("few files") | 1;
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(WORDS[(state >> 28) as usize].as_bytes());
        if (state >> 8).is_multiple_of(8) {
            text.extend_from_slice(format!("{:x}", state >> 12).as_bytes());
        }
    }
    text.truncate(bytes);
    text
}

/// Writes a source tree of `files` files of 200 to 8,200 bytes, twenty in a directory.
pub fn write_tree(dir: &Path, files: usize) {
    for n in 0..files {
        let path = dir.join(format!("src/part-{}/file-{n}.js", n / 20));
        fs::create_dir_all(path.parent().expect("below the tree")).expect("an empty disk");
        fs::write(path, text(n, 200 + n * 7919 % 8_000)).expect("an empty disk");
    }
}

/// Writes a buildpack that says yes, does nothing and names no process.
pub fn no_op_buildpack(dir: &Path) -> Reference {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).expect("an empty disk");
    for (name, body) in [
        ("detect", "echo Nothing"),
        ("compile", "echo \"-----> Nothing to do\""),
        ("release", "echo \"default_process_types: {}\""),
    ] {
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("an empty disk");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
    }
    Reference::Directory(dir.to_owned())
}

/// The machine that builds run on, as a server with default settings has it.
pub fn machine() -> Machine {
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let settings = Settings::defaults(&settings::Machine {
        cores: cores(),
        stack: stack_of_os_release(&os_release),
    });
    let mut env = ConfigVars::default();
    if Path::new(CA_BUNDLE).is_file() {
        for name in ["SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS"] {
            env.set(name, CA_BUNDLE).expect("a good name");
        }
    }
    let dir = Path::new(SLUGLINE).with_file_name("bench-runtimes");
    let choice = Choice::default();
    let runtimes = Runtimes::new(&dir, builtin_runtimes(), choice, &settings.stack, None);
    let runtimes = runtimes.expect("the embedded inventories");
    Machine {
        sandbox: Sandbox::new(SLUGLINE),
        stack: settings.stack.parse().expect("a name"),
        fetch_from: std::sync::Arc::default(),
        runtimes: RuntimeSupply {
            runtimes: std::sync::Arc::new(runtimes),
            fetch_from: std::sync::Arc::default(),
        },
        env,
        limits: Limits {
            time: settings.build_timeout,
            slug_bytes: settings.slug_limit_bytes,
            slug_warning_bytes: settings.slug_warning_bytes,
            checkout: checkout::Limits::default(),
        },
    }
}

/// The number of cores.
pub fn cores() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// What a figure depends on, in one line: processor, kernel, the file system of `dir`, load.
pub fn surroundings(dir: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let file_system = match statfs(dir).map(|answer| answer.filesystem_type()) {
        Ok(EXT4_SUPER_MAGIC) => "ext4",
        Ok(TMPFS_MAGIC) => "tmpfs",
        Ok(OVERLAYFS_SUPER_MAGIC) => "overlayfs",
        _ => "an unnamed file system",
    };
    format!(
        "{} cores of {processor}, Linux {}, {file_system}, load {}",
        cores(),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}

/// The middle value, or the mean of the two.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values = values.into_iter().collect::<Vec<_>>();
    assert!(!values.is_empty(), "a median of something");
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[half - 1], values[half])
    } else {
        values[half]
    }
}
