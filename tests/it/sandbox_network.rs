//! What builds reach by way of the proxy, what is kept of it, and names that change their address.

use std::io::{Read, Write};
use std::net::TcpListener;
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
}
