//! Networks of the tests' own: a name that changes its address, and builds that are connected directly.

use std::fs;
use std::process::Command;

use crate::attack::{Attack, Level};
use crate::require_root;
use crate::site::{Ran, Site};

/// A resolver whose one name changes its address with each question.
const REBINDING: &str = include_str!("../it/attacks/rebinding.py");

#[test]
fn a_name_that_changes_its_address_reaches_nothing() {
    require_root();
    let site = Site::without_server();
    let (resolver, resolv, log) = (
        site.path("resolver.py"),
        site.path("resolv.conf"),
        site.path("reached"),
    );
    fs::write(&resolver, REBINDING).unwrap();
    fs::write(
        &resolv,
        "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n",
    )
    .unwrap();
    for level in [Level::Root, Level::PlainUser] {
        let attack = Attack::new(level);
        let build = attack.command(
            "for n in 1 2 3 4 5 6 7 8; do \
             curl -sS -m 9 -o /tmp/said -w '%{http_code} ' http://changing.example:8080/; cat /tmp/said; done; echo end",
            &[],
        );
        // A network of the test's own, with a listener at each address that the name takes.
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "sh", "-c"])
            .arg(
                "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && \
                 python3 \"$0\" \"$2\" & while ! [ -e \"$2\" ]; do sleep 0.05; done; shift 2; \"$@\"; \
                 code=$?; kill %1 2>/dev/null || kill $!; exit $code",
            )
            .args([&resolver, &resolv, &log])
            .arg(build.get_program())
            .args(build.get_args())
            .env_clear()
            .envs(build.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let seen = Ran::new(command.output().unwrap()).success().stderr;
        let heard = fs::read_to_string(&log).unwrap();
        assert!(
            heard.contains("asked 203.0.113.7") && heard.contains("asked 127.0.0.1"),
            "{heard}"
        );
        assert!(!heard.contains("reached"), "{level:?}: {heard}\n{seen}");
        assert!(
            seen.contains("403 ") && seen.contains("127.0.0.1 is a loopback address"),
            "{level:?}: {seen}"
        );
        fs::remove_file(&log).unwrap();
    }
}

/// Runs a command on a host of the test's own, with other networks around it.
pub fn on_a_host(attack: &Attack, command: &Command) -> Command {
    let dir = attack.site.path("networks");
    fs::create_dir_all(&dir).unwrap();
    let script = dir.join("direct.sh");
    fs::write(&script, include_str!("../it/attacks/direct.sh")).unwrap();
    let mut host = Command::new("timeout");
    host.args([
        "-k",
        "5",
        "100",
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
    ])
    .args(["--mount-proc", "sh"])
    .arg(script)
    .arg(dir)
    .arg(command.get_program())
    .args(command.get_args())
    .env_clear()
    .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
    .env("SLUGLINE_NETWORK", "direct");
    host
}

#[test]
fn direct_reaches_the_world_and_nothing_of_the_machine() {
    require_root();
    let attack = Attack::new(Level::Root);
    let script = "try() { for url; do echo \"$url $(curl -s -m 2 \"$url\" || echo denied)\"; done; }; \
        own=$(hostname -I 2>/dev/null | cut -d' ' -f1); \
        try http://203.0.113.2 http://name.example http://10.8.8.8 \
        http://203.0.113.1:7007 http://198.18.0.1:7007 http://198.18.0.5:7007 http://127.0.0.1:7007 http://127.0.0.1:8080 \
        http://10.9.9.9 http://172.16.9.9 http://192.168.9.9 http://169.254.169.254 http://100.100.100.200; \
        sysctl -w net.ipv4.ip_forward=0; ip route replace default via 10.9.9.9; ip addr add 203.0.113.77/24 dev eth0; \
        cat /etc/resolv.conf; echo end";
    let mut command = attack.command(script, &[]);
    command.env("SLUGLINE_NETWORK_ALLOW", "10.8.8.8:80");
    let said = Ran::new(on_a_host(&attack, &command).output().unwrap());
    let said = said.success().stderr;
    assert!(
        said.contains("Isolation: level 1 (root), network: direct"),
        "{said}"
    );
    let answers = said.lines().filter_map(|line| line.trim().split_once(' '));
    let answers = answers.filter(|(url, _)| url.starts_with("http://"));
    let mut count = 0;
    for (url, answer) in answers {
        let reached =
            ["203.0.113.2", "name.example", "10.8.8.8"].contains(&&url["http://".len()..]);
        assert_eq!(
            answer,
            if reached { "world" } else { "denied" },
            "{url}: {said}"
        );
        count += 1;
    }
    assert_eq!(count, 13, "{said}");
}

#[test]
fn builds_that_are_connected_directly_do_not_reach_each_other() {
    require_root();
    // The first build listens and reaches itself, at an address that the second does not reach.
    let (first, second) = (Attack::new(Level::Root), Attack::new(Level::Root));
    let every = "for n in $(seq 2 4 30); do echo \"198.18.0.$n $(curl -s -m 1 http://198.18.0.$n:9999 || echo denied)\"; done";
    let listens = format!(
        "cd /tmp; echo neighbour >index.html; python3 -m http.server 9999 >/dev/null 2>&1 & \
         until curl -s -o /dev/null http://127.0.0.1:9999; do sleep 0.1; done; {every}; echo all tried; sleep 60"
    );
    let listens = first.command(&listens, &[]);
    let tries = second.command(&format!("{every}; echo end"), &[]);
    let line = |command: &Command| {
        let names = ["TMPDIR", "HOME"];
        let env = command
            .get_envs()
            .filter_map(|(k, v)| Some((k.to_str()?, v?.to_str()?)));
        let env = env.filter(|(name, _)| names.contains(name));
        let env = env.map(|(name, value)| format!("{name}={value}"));
        let env = env.collect::<Vec<_>>().join(" ");
        let arguments = command
            .get_args()
            .map(|a| format!("'{}'", a.to_str().unwrap()));
        let program = command.get_program().to_str().unwrap();
        let arguments = arguments.collect::<Vec<_>>().join(" ");
        format!("env {env} {program} {arguments}")
    };
    let log = first.site.path("first.log");
    let mut both = Command::new("sh");
    both.arg("-c").arg(format!(
        "{} >{log} 2>&1 & until grep -q 'all tried' {log}; do sleep 0.1; done; {}; cat {log} >&1",
        line(&listens),
        line(&tries),
        log = log.display()
    ));
    for (name, value) in first.slugline().get_envs() {
        both.env(name, value.unwrap());
    }
    let ran = Ran::new(on_a_host(&first, &both).output().unwrap()).success();
    let of = |text: &str| {
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("198.18."));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (first, second) = (of(&ran.stdout), of(&ran.stderr));
    let reached = first
        .iter()
        .filter(|line| line.ends_with("neighbour"))
        .count();
    assert_eq!((reached, first.len()), (1, 8), "{first:?}");
    assert_eq!(second.len(), 8, "{second:?}");
    assert!(
        second.iter().all(|line| line.ends_with("denied")),
        "{second:?}"
    );
}

#[test]
fn an_allow_list_takes_the_proxy() {
    require_root();
    let attack = Attack::new(Level::Root);
    let mut command = attack.command("true", &[]);
    command
        .env("SLUGLINE_NETWORK", "direct")
        .env("SLUGLINE_NETWORK_ONLY", "packages.example");
    let said = Ran::new(command.output().unwrap()).failure(3).stderr;
    assert!(said.contains("network_only"), "{said}");
}
