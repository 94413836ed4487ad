//! What builds reach by way of the proxy, what is kept of it, and names that change their address.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::attack::{Attack, Level, levels};
use crate::site::{Ran, Site};

/// A server that answers every connection's requests with one text, and keeps what it was sent.
struct Answering {
    port: u16,
    heard: Arc<Mutex<String>>,
}

impl Answering {
    fn new(text: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(String::new()));
        let hear = heard.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, hear) = (stream.unwrap(), hear.clone());
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(n @ 1..) = stream.read(&mut buffer) {
                        let request = String::from_utf8_lossy(&buffer[..n]).into_owned();
                        hear.lock().unwrap().push_str(&request);
                        let answer = if request.starts_with("CONNECT") {
                            "HTTP/1.1 200 Connected\r\n\r\n".to_owned()
                        } else {
                            let length = text.len();
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}")
                        };
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                });
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }

    fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

#[test]
fn builds_go_through_the_server_s_own_proxy() {
    let upstream = Answering::new("by the upstream");
    let direct = Answering::new("without it");
    let script = format!(
        "curl -sS http://plain.example/path; echo; \
         curl -sS --proxytunnel http://tunnel.example:8443/; echo; \
         curl -sS --noproxy none http://{}/; echo; \
         curl -sS --noproxy none -o /dev/null -w '%{{http_code}}\\n' http://169.254.169.254/; \
         env | grep -c s3cret; cat /proc/1/environ; echo end",
        direct.place()
    );
    for level in levels() {
        let attack = Attack::new(*level);
        let proxy = format!("http://ada:s3cret@{}", upstream.place());
        let mut command = attack.command(&script, &[]);
        command
            .env("HTTPS_PROXY", &proxy)
            .env("HTTP_PROXY", &proxy)
            .env("NO_PROXY", "127.0.0.1")
            .env("SLUGLINE_NETWORK_ALLOW", direct.place());
        let seen = Ran::new(command.output().unwrap()).success().stderr;
        let lines = seen.lines().map(str::trim).collect::<Vec<_>>();
        let times = |text: &str| lines.iter().filter(|line| **line == text).count();
        assert_eq!(times("by the upstream"), 2, "{level:?}: {seen}");
        assert_eq!(times("without it"), 1, "{level:?}: {seen}");
        // Refused by us, whatever the upstream would say.
        assert_eq!(times("403"), 1, "{level:?}: {seen}");
        assert_eq!(times("0"), 1, "{level:?}: the password is seen: {seen}");
        let heard = upstream.heard();
        for request in [
            "GET http://plain.example/path HTTP/1.1",
            "CONNECT tunnel.example:8443 HTTP/1.1",
        ] {
            assert!(heard.contains(request), "{level:?}: {request} in {heard}");
        }
        let authorization = "proxy-authorization: basic ywrhonmzy3jlda==";
        assert_eq!(
            heard.to_lowercase().matches(authorization).count(),
            2 * (1 + levels().iter().position(|l| l == level).unwrap()),
            "{heard}"
        );
        assert!(!heard.contains("169.254"), "{heard}");
    }
}

#[test]
fn what_a_build_has_asked_for_is_kept_with_it() {
    let mirror = Answering::new("mirror");
    let mut site = Site::without_server();
    let allow = [("SLUGLINE_NETWORK_ALLOW", mirror.place())];
    let allow = allow
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert!(site.try_start(&[], &allow), "{}", site.server_log());
    let app = site.app("asks", "inline_shell");
    let place = mirror.place();
    app.write(
        "bin/compile",
        &format!("#!/bin/sh\ncurl -sS --noproxy none http://{place}/ && curl -sS http://10.1.2.3/\nexit 1\n"),
    );
    app.commit("Ask");
    app.slugline(&["buildpacks", "set", "inline"]).success();
    app.push().failure(1);
    // Of a build that failed, too.
    let shown = app.slugline(&["builds", "info"]).success().stdout;
    let row = |start: &str| {
        let found = shown.lines().find(|line| line.starts_with(start));
        found
            .unwrap_or_else(|| panic!("{start} in {shown}"))
            .to_owned()
    };
    assert!(row(&place).contains("1 connection"), "{shown}");
    let refused = row("10.1.2.3:80");
    assert!(
        refused.contains("refused: 10.1.2.3 is a private address"),
        "{shown}"
    );
    let json = app.slugline(&["builds", "info", "--json"]).success().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let network = json["network"].as_array().unwrap();
    let of = |port: u16| {
        network
            .iter()
            .find(|contact| contact["port"] == port)
            .unwrap()
    };
    assert!(
        of(mirror.port)["received_bytes"].as_u64().unwrap() > 6,
        "{json}"
    );
    assert!(
        of(mirror.port)["sent_bytes"].as_u64().unwrap() > 16,
        "{json}"
    );
    assert_eq!(of(80)["connections"], 0);
}

#[test]
fn every_tool_is_told_of_the_proxy() {
    for level in levels() {
        let seen = Attack::new(*level).run("env", &[]).success().stderr;
        let lines = seen.lines().map(str::trim).collect::<Vec<_>>();
        for line in [
            "HTTPS_PROXY=http://127.0.0.1:3128",
            "http_proxy=http://127.0.0.1:3128",
            "no_proxy=localhost,127.0.0.1,::1",
            "JAVA_TOOL_OPTIONS=-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=3128 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=3128",
            "PIP_CERT=/etc/ssl/certs/ca-certificates.crt",
            "GIT_SSL_CAINFO=/etc/ssl/certs/ca-certificates.crt",
        ] {
            assert!(lines.contains(&line), "{level:?}: {line} in {seen}");
        }
    }
}

/// A resolver whose one name changes its address with each question.
const REBINDING: &str = include_str!("attacks/rebinding.py");

#[test]
fn a_name_that_changes_its_address_reaches_nothing() {
    if !nix::unistd::geteuid().is_root() {
        return; // A resolver of one's own, at the port of resolvers, takes root.
    }
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
fn on_a_host(attack: &Attack, command: &Command) -> Command {
    let dir = attack.site.path("networks");
    fs::create_dir_all(&dir).unwrap();
    let script = dir.join("direct.sh");
    fs::write(&script, include_str!("attacks/direct.sh")).unwrap();
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
    if !nix::unistd::geteuid().is_root() {
        return; // Level 1 alone has it; the next test is of level 2.
    }
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
    if !nix::unistd::geteuid().is_root() {
        return; // As above.
    }
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
fn direct_says_what_it_lacks() {
    let attack = Attack::new(Level::PlainUser);
    let mut command = attack.command("true", &[]);
    let said = Ran::new(command.env("SLUGLINE_NETWORK", "direct").output().unwrap()).failure(3);
    assert!(
        said.stderr.contains("it takes root") && said.stderr.contains("network: proxy"),
        "{}",
        said.stderr
    );
    if nix::unistd::geteuid().is_root() {
        let attack = Attack::new(Level::Root);
        let mut command = attack.command("true", &[]);
        command
            .env("SLUGLINE_NETWORK", "direct")
            .env("SLUGLINE_NETWORK_ONLY", "packages.example");
        let said = Ran::new(command.output().unwrap()).failure(3).stderr;
        assert!(said.contains("network_only"), "{said}");
    }
}
