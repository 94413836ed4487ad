//! Drains: an app's log at receivers elsewhere, by syslog over TCP and TLS and by HTTPS.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::dynos::{deployed, get, log, logged};
use crate::site::{Site, eventually};

/// A receiver of its own process, which ends with its test.
struct Receiver {
    child: Child,
    port: u16,
    out: PathBuf,
}

impl Receiver {
    fn start(site: &Site, kind: &str, port: u16) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/drains.py");
        let out = site.path(&format!("{kind}.out"));
        let mut python = site.command(Path::new("/usr/bin/python3"));
        python.arg(script).args([kind, &port.to_string()]).arg(&out);
        python.args([site.path("logs.pem"), site.path("logs.key")]);
        let mut child = python.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { child, port, out }
    }

    fn ask(&self, name: &str, value: &str) {
        std::fs::write(format!("{}.{name}", self.out.display()), value).unwrap();
    }

    fn messages(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[track_caller]
    fn gets(&self, from: &str, text: &str) -> Value {
        let mut found = None;
        eventually(text, || {
            let fits = |message: &Value| {
                message["from"] == from && message["text"].as_str().unwrap().contains(text)
            };
            found = self.messages().into_iter().find(fits);
            found.is_some()
        });
        found.unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A site that trusts the receivers' certificate, and may connect to this machine.
pub fn site() -> Site {
    let mut site = Site::without_server();
    let (certificate, _) = crate::receiver_tls::certificate(&site, "logs");
    let env = [
        ("SLUGLINE_NETWORK_ALLOW", "127.0.0.1"),
        ("SSL_CERT_FILE", certificate.to_str().unwrap()),
    ];
    assert!(site.try_start(&[], &env), "{}", site.server_log());
    site
}

#[test]
fn lines_reach_receivers_of_every_kind() {
    let site = site();
    let app = deployed(&site, "hello");
    let receivers = ["syslog", "tls", "https"].map(|kind| Receiver::start(&site, kind, 0));
    let urls = [
        format!("syslog://127.0.0.1:{}", receivers[0].port),
        format!("syslog+tls://127.0.0.1:{}", receivers[1].port),
        format!("https://me:secret@127.0.0.1:{}/in?a=b", receivers[2].port),
    ];
    for url in &urls {
        app.slugline(&["drains:add", url]).success();
    }
    let listed = app.slugline(&["drains"]).success().stdout;
    let tokens = listed.lines().map(|line| {
        let (_, token) = line.rsplit_once(" (d.").unwrap();
        format!("d.{}", token.trim_end_matches(')'))
    });
    let tokens = tokens.collect::<Vec<_>>();
    assert!(urls.iter().all(|url| listed.contains(url)), "{listed}");
    get(&site, "hello", "/say/gr%C3%BC%C3%9Fe%20%3C1%3E");
    for (receiver, token) in receivers.iter().zip(&tokens) {
        let said = receiver.gets("app[web.1]", "grüße <1>");
        let routed = receiver.gets("heroku[router]", "at=info method=GET");
        let is_http = said["path"].is_string();
        assert_eq!((&said["pri"], &routed["pri"]), (&json!(190), &json!(158)));
        assert_eq!(said["structured"], !is_http);
        if is_http {
            assert_eq!(said["host"], "host");
            assert_eq!(
                (&said["token"], &said["path"]),
                (&json!(token), &json!("/in?a=b"))
            );
            assert_eq!(said["user"], "Basic bWU6c2VjcmV0");
        } else {
            assert_eq!(said["host"], *token);
        }
    }
    // In order, each once.
    for n in 0..200 {
        get(&site, "hello", &format!("/say/number%20{n}."));
    }
    let wanted = (0..200).map(|n| format!("number {n}.")).collect::<Vec<_>>();
    for receiver in &receivers {
        receiver.gets("app[web.1]", "number 199.");
        let all = receiver.messages().into_iter();
        let texts = all.filter_map(|m| Some(m["text"].as_str()?.to_owned()));
        let numbers = texts
            .filter(|text| text.starts_with("number "))
            .collect::<Vec<_>>();
        assert_eq!(numbers, wanted);
    }
    // By token and by URL; the others go on.
    app.slugline(&["drains:remove", &tokens[0]]).success();
    app.slugline(&["drains:remove", &urls[2]]).success();
    get(&site, "hello", "/say/last");
    receivers[1].gets("app[web.1]", "last");
    for receiver in [&receivers[0], &receivers[2]] {
        assert!(!receiver.messages().iter().any(|m| m["text"] == "last"));
    }
}

#[test]
fn a_receiver_that_was_away_or_is_slow_is_told_of_its_loss() {
    let mut site = site();
    drop(deployed(&site, "hello"));
    let receiver = Receiver::start(&site, "syslog", 0);
    let port = receiver.port;
    drop(receiver);
    let url = format!("syslog://127.0.0.1:{port}");
    site.slugline(&["drains", "add", "-a", "hello", &url])
        .success();
    // Until its drain has begun, and holds what it could not send.
    eventually("an attempt", || {
        get(&site, "hello", "/say/first");
        let said = log(&site, "hello");
        said.iter()
            .any(|line| line.contains("cannot be reached at 127.0.0.1"))
    });
    // More than is kept.
    let flood = "for n in $(seq 4000); do echo number $n; done";
    site.slugline(&["run", "-a", "hello", "-d", "--", flood])
        .success();
    logged(&site, "hello", "number 4000");
    let receiver = Receiver::start(&site, "syslog", port);
    receiver.gets("app[run.1]", "number 4000");
    let held = |message: &Value| message["text"].as_str().unwrap().contains("first");
    assert!(receiver.messages().iter().any(held));
    let told = receiver.gets("heroku[logplex]", "Error L10 (Drain buffer overflow)");
    let count = told["text"]
        .as_str()
        .unwrap()
        .split("dropped ")
        .nth(1)
        .unwrap();
    let count = count.split(' ').next().unwrap().parse::<usize>().unwrap();
    let all = receiver.messages();
    let numbers = all
        .iter()
        .filter(|m| m["text"].as_str().unwrap().starts_with("number "));
    let missing = 4000 - numbers.count();
    assert!(
        (missing..missing + 100).contains(&count),
        "{count} of {missing}"
    );
    // The log itself has waited for nobody, and a server's restart brings the drain back.
    site.stop(Signal::SIGKILL);
    let env = [("SLUGLINE_NETWORK_ALLOW", "127.0.0.1")];
    assert!(site.try_start(&[], &env));
    eventually("an answer", || get(&site, "hello", "/say/back").0 == 200);
    eventually("the drain", || {
        get(&site, "hello", "/say/again");
        receiver.messages().iter().any(|m| m["text"] == "again")
    });
}

#[test]
fn answers_decide_what_is_sent_again() {
    let site = site();
    let app = deployed(&site, "hello");
    let receiver = Receiver::start(&site, "https", 0);
    receiver.ask("status", "503");
    let url = format!("https://127.0.0.1:{}/", receiver.port);
    app.slugline(&["drains:add", &url]).success();
    get(&site, "hello", "/say/kept");
    logged(&site, "hello", "answers 503");
    receiver.ask("status", "200");
    receiver.gets("app[web.1]", "kept");
    // What is refused is counted as lost.
    receiver.ask("status", "404");
    get(&site, "hello", "/say/refused");
    logged(&site, "hello", "answers 404");
    receiver.ask("status", "200");
    get(&site, "hello", "/say/taken");
    receiver.gets("app[web.1]", "taken");
    receiver.gets("heroku[logplex]", "Error L10 (Drain buffer overflow)");
    assert!(!receiver.messages().iter().any(|m| m["text"] == "refused"));
    // One that takes seconds for each request loses lines, and nobody waits for it.
    receiver.ask("delay", "3");
    get(&site, "hello", "/say/slow");
    let flood = "for n in $(seq 8000); do echo number $n; done";
    app.slugline(&["run", "-d", "--", flood]).success();
    logged(&site, "hello", "number 8000");
    receiver.gets("app[run.1]", "number 8000");
    let received = receiver.messages().len();
    assert!(received < 7000, "{received}");
}

#[test]
fn urls_that_lead_where_nobody_may_go() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    for url in [
        format!("syslog://127.0.0.1:{}", site.router_port()),
        "https://localhost/".to_owned(),
        "syslog+tls://10.0.0.1:6514".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://[::1]:8443/".to_owned(),
        "https://[::ffff:127.0.0.1]/".to_owned(),
    ] {
        let refused = app.slugline(&["drains:add", &url]).failure(2);
        assert!(refused.stderr.contains("network_allow"), "{refused:?}");
    }
    for url in [
        "logs.example.com:514",
        "syslog+udp://x",
        "file:///etc/passwd",
    ] {
        let wrong = app.slugline(&["drains:add", url]).failure(2);
        assert!(wrong.stderr.contains("syslog+tls://HOST:PORT"), "{wrong:?}");
    }
    let (status, all) = site.api("GET", "/apps/hello/log-drains", None);
    assert_eq!((status, all), (200, json!([])));
    assert_eq!(
        site.api("DELETE", "/apps/hello/log-drains/d.1", None).0,
        404
    );
}
