//! The table of attacks that `doctor` prints, row by row and level by level, and what else it says.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::attack::{Attack, Level, NOBODY, levels, running};
use crate::site::{Ran, Site, eventually};

const PROBE: &str = include_str!("attacks/probe.py");

fn all_levels() -> Vec<Level> {
    levels().iter().copied().chain([Level::Landlock]).collect()
}

/// What there is to reach, for as long as it lives.
struct Targets {
    text: String,
    victim: Child,
    _server: Site,
    _listener: TcpListener,
    _abstract: UnixListener,
}

impl Targets {
    fn of(attack: &Attack) -> Self {
        let out = attack.site.path("out");
        let other = out.join("other-build");
        fs::create_dir(&other).unwrap();
        let (file, home) = (out.join("file"), out.join("home"));
        fs::write(&file, "").unwrap();
        fs::write(&home, "hunter2").unwrap();
        for path in [&other, &file, &home] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
            if attack.drops() {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        // A process of the very user that builds.
        let mut victim = attack.site.command("setpriv".as_ref());
        if attack.drops() {
            victim.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        let victim = victim.args(["sleep", "600"]).spawn().unwrap();
        let server = Site::new();
        let port = server.url().rsplit_once(':').unwrap().1;
        let listener = TcpListener::bind("[::]:0").unwrap();
        let name = format!("slugline-test-{}", out.display());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let text = json!({
            "victim": victim.id(),
            "homes": ["/root", out, home],
            "data": server.data(),
            "other": other,
            "file": file,
            "server": port.parse::<u16>().unwrap(),
            "listener": listener.local_addr().unwrap().port(),
            "abstract": name,
        });
        Self {
            text: text.to_string(),
            victim,
            _server: server,
            _listener: listener,
            _abstract: UnixListener::bind_addr(&address).unwrap(),
        }
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// Runs the probe with a descriptor open that leads to a secret; gives its verdict for each row.
fn probe(attack: &Attack, env: &[(&str, &str)]) -> BTreeMap<String, bool> {
    let targets = Targets::of(attack);
    let files = [("probe.py", PROBE), ("targets.json", &targets.text)];
    let command = attack.command("python3 \"$1/probe.py\" \"$1/targets.json\"", &files);
    let mut shell = Command::new("bash");
    shell
        .args(["-c", "exec 9<\"$0\"; exec \"$@\"", "/etc/hostname"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .envs(env.iter().copied())
        .stdin(Stdio::null());
    let ran = Ran::new(shell.output().unwrap());
    let verdict = |line: &str| {
        let line = line.trim().strip_prefix("!").unwrap_or(line).trim();
        let denied = line
            .strip_prefix("denied ")
            .map(|name| (name.to_owned(), true));
        let reached = line
            .strip_prefix("REACHED ")
            .and_then(|rest| rest.split_once(": "));
        denied.or(reached.map(|(name, _)| (name.to_owned(), false)))
    };
    let said = ran
        .stderr
        .lines()
        .filter_map(verdict)
        .collect::<BTreeMap<_, _>>();
    assert!(!said.is_empty(), "{:?}: {}", attack.level, ran.stderr);
    said
}

/// The doctor's table: for each attack its outcomes at levels 1, 2 and 3.
fn table() -> BTreeMap<String, [String; 3]> {
    let said = Attack::new(levels()[0]).slugline().arg("doctor").output();
    let said = Ran::new(said.unwrap()).stdout;
    let rows = said.lines().skip_while(|line| !line.contains("attacks:"));
    let row = |line: &str| {
        let mut words = line.split_whitespace().rev();
        let mut outcomes = [(); 3].map(|()| words.next().unwrap_or_default().to_owned());
        outcomes.reverse();
        let name = words.rev().collect::<Vec<_>>().join(" ");
        ["denied", "limited", "ended", "OPEN"]
            .contains(&outcomes[0].as_str())
            .then_some((name, outcomes))
    };
    let table = rows.filter_map(row).collect::<BTreeMap<_, _>>();
    assert!(table.len() > 20, "{said}");
    table
}

/// Level 1 is the first column of the table.
fn column(level: Level) -> usize {
    match level {
        Level::Root => 0,
        Level::PlainUser => 1,
        Level::Landlock => 2,
    }
}

#[test]
fn the_doctor_s_table_of_attacks_is_true() {
    let table = table();
    for level in all_levels() {
        let said = probe(&Attack::new(level), &[]);
        for (name, denied) in &said {
            let outcome = table.get(name).map(|row| row[column(level)].as_str());
            assert_eq!(outcome, denied.then_some("denied"), "{level:?}: {name}");
        }
        // What the probe does not try has a test of its own, below or in `sandbox_attacks`.
        let others = table.keys().filter(|name| !said.contains_key(*name));
        let others = others.map(String::as_str).collect::<Vec<_>>();
        assert_eq!(
            others,
            [
                "fill the disk",
                "fork bomb",
                "leave a daemon that ignores SIGTERM",
                "make files without end",
                "memory hog",
                "outlive a killed server",
                "print without end",
            ]
        );
    }
}

/// The probe would reach what the table denies, if nothing kept it back.
#[test]
fn without_isolation_the_same_attacks_succeed() {
    let attack = Attack::new(Level::PlainUser);
    let said = probe(&attack, &[("SLUGLINE_SANDBOX", "none")]);
    let reached = said.iter().filter(|(_, denied)| !**denied);
    let reached = reached.map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    for name in [
        "change the mode of files outside",
        "connect to a listener on loopback",
        "connect to an abstract unix socket",
        "connect to the server's port",
        "make a user namespace",
        "read a home directory",
        "read another build's directory",
        "see the host's processes",
        "signal another process",
        "write outside of its own directories",
    ] {
        assert!(reached.contains(&name), "{name} in {reached:?}");
    }
}

#[test]
fn the_doctor_says_what_is_enforced() {
    for level in all_levels() {
        let said = Attack::new(level).slugline().arg("doctor").output();
        let said = Ran::new(said.unwrap());
        if level == Level::Landlock {
            let said = said.failure(3).stdout;
            assert!(said.contains("missing  sandbox"), "{said}");
            assert!(
                said.contains("sysctl -w user.max_user_namespaces"),
                "{said}"
            );
            continue;
        }
        let said = said.success().stdout;
        for subject in ["files", "kernel", "network", "memory", "tasks", "disk"] {
            let is = |line: &str| line.split_whitespace().next() == Some(subject);
            assert!(said.lines().any(is), "{level:?}: {subject} in {said}");
        }
    }
}

/// A detect at level 3 that is to run into a limit or to be ended.
fn detect(script: &str, limits: &[(&str, &str)]) -> String {
    let attack = Attack::new(Level::Landlock);
    let mut command = attack.command(script, &[]);
    command.envs(limits.iter().copied());
    Ran::new(command.output().unwrap()).failure(1).stderr
}

#[test]
fn limits_hold_at_level_3() {
    // Slow enough to be seen between the limit and twice that, where the kernel refuses more.
    let hog = "python3 -c 'import time\nx = []\nwhile True: x.append(bytearray(b\"x\") * 10_000_000); time.sleep(0.1)'; sleep 20";
    let said = detect(hog, &[("SLUGLINE_BUILD_MEMORY_BYTES", "200000000")]);
    assert!(said.contains("build_memory_bytes: 200000000"), "{said}");

    let bomb = "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 20";
    let said = detect(bomb, &[("SLUGLINE_BUILD_PROCESSES", "100")]);
    assert!(said.contains("build_processes: 100"), "{said}");

    let fill = "for n in 1 2 3 4 5; do head -c 30000000 /dev/zero >$TMPDIR/$n; done; sleep 20";
    let said = detect(fill, &[("SLUGLINE_BUILD_DISK_BYTES", "100000000")]);
    assert!(said.contains("build_disk_bytes: 100000000"), "{said}");

    let files = "for n in {1..3000}; do echo >$TMPDIR/$n; done; sleep 20";
    let said = detect(files, &[("SLUGLINE_BUILD_DISK_FILES", "1000")]);
    assert!(said.contains("build_disk_files: 1000"), "{said}");

    let said = detect("head -c 50000000 /dev/zero >&1", &[]);
    assert!(said.len() < 10_000_000, "{} bytes", said.len());
}

/// Processes of the user that are not the command's are not counted for it.
#[test]
fn processes_of_others_do_not_count_at_level_3() {
    let attack = Attack::new(Level::Landlock);
    let script = "for n in 1 2 3 4 5 6 7 8; do sleep 1 & done; (echo a | cat | cat) && wait && echo all of them";
    let plain = attack.command(script, &[]);
    let crowded = |argument: &str| {
        argument.replace(
            "exec \"$@\"",
            "{ for n in $(seq 90); do sleep 20 & done; exec \"$@\"; }",
        )
    };
    let mut command = Command::new(plain.get_program());
    command
        .args(plain.get_args().map(|a| crowded(a.to_str().unwrap())))
        .env_clear()
        .envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("SLUGLINE_BUILD_PROCESSES", "64")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    // The others have its standard error, so that its end is not that of the file.
    let log = attack.site.path("log");
    command.stderr(fs::File::create(&log).unwrap());
    assert!(command.status().unwrap().code().is_some());
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("all of them"), "{said}");
}

#[test]
fn what_a_detect_leaves_running_is_ended_at_level_3() {
    let daemon = "(setsid bash -c 'trap \"\" TERM HUP; exec -a slugline-landlock-left sleep 77' &) ; sleep 0.5; echo started";
    assert!(detect(daemon, &[]).contains("started"));
    assert_eq!(running("slugline-landlock-left"), 0);

    // And where the builder is killed meanwhile.
    let attack = Attack::new(Level::Landlock);
    let daemon =
        "(setsid bash -c 'trap \"\" TERM; exec -a slugline-landlock-kill sleep 77' &); sleep 77";
    let mut builder = attack.command(daemon, &[]);
    let mut builder = builder.stderr(Stdio::null()).spawn().unwrap();
    eventually("it runs", || running("slugline-landlock-kill") == 1);
    builder.kill().unwrap();
    builder.wait().unwrap();
    eventually("it is gone", || running("slugline-landlock-kill") == 0);
}
