//! bwrap as the oracle: what a command sees of the machine at level 2, beside what it sees there.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::attack::{Attack, Level};
use crate::site::Ran;

/// Prints one fact a line, as `KEY VALUE`.
const LOOK: &str = r#"
echo "pids $(ls /proc | grep -c '^[0-9]')"
echo "interfaces $(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | tr '\n' ',')"
echo "routes $(tail -n +2 /proc/net/route | grep -c .)"
echo "listeners $(tail -n +2 /proc/net/tcp | grep -c ' 0A ')"
echo "abstract $(grep -c '@' /proc/net/unix)"
echo "segments $(tail -n +2 /proc/sysvipc/shm | grep -c .)"
echo "queues $(tail -n +2 /proc/sysvipc/msg | grep -c .)"
echo "semaphores $(tail -n +2 /proc/sysvipc/sem | grep -c .)"
echo "capabilities $(grep CapEff /proc/self/status | cut -f2)"
echo "bounding $(grep CapBnd /proc/self/status | cut -f2)"
echo "privileges $(grep NoNewPrivs /proc/self/status | cut -f2)"
echo "groups $(cut -d: -f3 /proc/self/cgroup | sort -u | tr '\n' ',')"
for kind in user mnt pid net ipc uts cgroup; do echo "namespace-$kind $(readlink /proc/self/ns/$kind)"; done
for path in /root /home/* /etc/shadow /var/lib/dpkg /srv /boot /sys/class /run/* /tmp/* /mnt/* /media /opt /dev/sda /dev/vda /dev/kmsg /dev/loop0 /dev/fuse; do
  [ -e "$path" ] && echo "path-$path seen"; done
cut -d' ' -f5 /proc/self/mountinfo | sort -u | sed 's/^/mount-/; s/$/ seen/'
ls /dev | sed 's/^/device-/; s/$/ seen/'
echo "hostname $(hostname)"
"#;

fn facts(text: &str) -> BTreeMap<String, String> {
    let fact = |line: &str| {
        let (key, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        (key.to_owned(), value.to_owned())
    };
    text.lines().map(fact).collect()
}

fn bwrap(attack: &Attack) -> Command {
    let mut command = attack.site.command("setpriv".as_ref());
    if attack.drops() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.args([
        "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
    ]);
    command.args([
        "--hostname",
        "slugline",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
    ]);
    // The directories that ours shows, too.
    for dir in ["/usr", "/etc/ssl", "/etc/alternatives"] {
        command.args(["--ro-bind", dir, dir]);
    }
    for (target, link) in [
        ("usr/bin", "/bin"),
        ("usr/lib", "/lib"),
        ("usr/lib64", "/lib64"),
    ] {
        command.args(["--symlink", target, link]);
    }
    command
        .args(["--chdir", "/", "/bin/bash", "-c", LOOK])
        .stdin(Stdio::null());
    command
}

#[test]
fn level_2_hides_what_bwrap_hides() {
    let attack = Attack::new(Level::PlainUser);
    // What there is to be seen of the machine: a listener, and an abstract socket.
    let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Command::new("bash").args(["-c", LOOK]).output().unwrap();
    let host = facts(&Ran::new(host).stdout);
    let out = bwrap(&attack).output();
    let out = out.expect("bwrap, which apt-get install bubblewrap installs");
    let theirs = facts(&Ran::new(out).success().stdout);
    let network = [("SLUGLINE_NETWORK", "off")];
    let mut command = attack.command(&format!("exec 2>/dev/null\ncd /\n{LOOK}"), &[]);
    let ours = Ran::new(command.envs(network).output().unwrap())
        .success()
        .stderr;
    let ours = facts(&ours);

    // The same numbers, and both others than the machine's where that has something to show.
    for key in [
        "interfaces",
        "routes",
        "listeners",
        "abstract",
        "segments",
        "queues",
        "semaphores",
        "capabilities",
        "privileges",
        "groups",
        "hostname",
    ] {
        assert_eq!(
            ours.get(key),
            theirs.get(key),
            "{key}: {ours:#?} {theirs:#?}"
        );
    }
    assert_eq!(ours["interfaces"], "lo,");
    assert_ne!(ours["listeners"], host["listeners"]);
    // A shell, what it runs, pid 1; not more than one process apart.
    let count = |facts: &BTreeMap<String, String>| facts["pids"].parse::<i64>().unwrap();
    assert!(
        (count(&ours) - count(&theirs)).abs() <= 1,
        "{} {}",
        ours["pids"],
        theirs["pids"]
    );
    // Namespaces are named by inode: none is the machine's.
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let key = format!("namespace-{kind}");
        assert_ne!(ours[&key], host[&key], "{kind}");
        assert_ne!(theirs[&key], host[&key], "{kind}");
    }
    // bwrap leaves a bounding set that only its no_new_privs keeps from use.
    assert_eq!(ours["bounding"], "0000000000000000");
    // Of paths, mounts and devices ours shows what bwrap was told to show, and these, which are its own.
    let own = [
        "mount-/",
        "mount-/etc",
        "mount-/dev/pts",
        "mount-/dev/shm",
        "mount-/dev",
        "mount-/etc/ca-certificates",
        "mount-/etc/fonts",
        "mount-/etc/ld.so.conf.d",
        "mount-/etc/profile.d",
        "mount-/etc/pki",
        "mount-/etc/crypto-policies",
        "mount-/lib32",
        "mount-/lib64",
        "mount-/libx32",
        "mount-/dev/tty",
        // The build's tool: its program, its socket, its snapshots.
        "path-/run/slugline",
        "mount-/run/slugline",
        "mount-/run/slugline/bin/slugline",
        "mount-/run/slugline/runtimes",
        "mount-/run/slugline/snapshots",
        // Empty: it hides what overlays work with.
        "path-/mnt/work",
        "mount-/mnt/work",
    ];
    let shown = |key: &&String| {
        ["path-", "mount-", "device-"]
            .iter()
            .any(|kind| key.starts_with(kind))
    };
    let more = ours
        .keys()
        .filter(shown)
        .filter(|key| !theirs.contains_key(*key));
    let more = more
        .filter(|key| !own.contains(&key.as_str()) && !key.ends_with("-openjdk"))
        .collect::<Vec<_>>();
    assert!(more.is_empty(), "{more:?}\n{ours:#?}\n{theirs:#?}");
}
