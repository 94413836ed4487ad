//! One-off dynos: commands that run in the server's sandbox, attached to a client or left to themselves.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;

use crate::dynos::{deployed, log, logged, reaches, states};
use crate::site::{Ran, SLUGLINE, Site, agent, eventually};

fn run(site: &Site, command: &str) -> Command {
    let mut run = site.command(Path::new(SLUGLINE));
    run.args(["run", "-a", "hello", "--", command]);
    run.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    run
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

#[test]
fn a_command_runs_in_the_server_s_sandbox() {
    for site in [Site::new(), Site::of_plain_user()] {
        let app = deployed(&site, "hello");
        app.slugline(&["config:set", "VERSION=two"]).success();
        let ran = site.slugline(&[
            "run",
            "-a",
            "hello",
            "--env",
            "WORD=mine",
            "--",
            "echo $DYNO $PWD $(id -u) $VERSION $WORD $PROFILED; ls server.py; echo apart >&2; exit 7",
        ]);
        let ran = ran.failure(7);
        assert_eq!(
            ran.stdout,
            "run.1 /app 1000 two mine by .profile.d\nserver.py\n"
        );
        assert_eq!(ran.stderr, "apart\n");
        // Arguments as they are, and files that are opened by name.
        let ran = app.slugline(&["run", "--", "printf", "%s|", "a b", "$HOME"]);
        assert_eq!(ran.success().stdout, "a b|$HOME|");
        let ran = app.slugline(&[
            "run",
            "--",
            "echo out > /dev/stdout; echo err > /dev/stderr",
        ]);
        assert_eq!(ran.success().stdout, "out\n");
        // Input to its end, and more of it than fits anywhere.
        let mut child = run(&site, "wc -c; echo then").spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&vec![b'x'; 3_000_000]).unwrap();
        drop(input);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(ended.stdout).unwrap(), "3000000\nthen\n");
        // Much output.
        let ran = app.slugline(&["run", "--", "head -c 5000000 /dev/zero"]);
        assert_eq!(ran.success().stdout.len(), 5_000_000);
        // One that reads nothing ends all the same.
        let mut child = run(&site, "exec 0<&-; sleep 0.2; exit 4").spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(&vec![0; 1_000_000]);
        assert_eq!(child.wait().unwrap().code(), Some(4));
        for line in [
            "by user admin",
            "heroku[run.1]: Awaiting client",
            "heroku[run.1]: State changed from starting to up",
            "heroku[run.1]: Process exited with status 7",
            "heroku[run.1]: State changed from up to complete",
        ] {
            logged(&site, "hello", line);
        }
        let own = |line: &String| line.starts_with("app[run.1]");
        assert!(!log(&site, "hello").iter().any(own), "it was attached");
        assert_eq!(states(&site, "hello"), ["web.1 up"]);
    }
}

#[test]
fn what_cannot_be_run() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    let none = app.slugline(&["run", "-a", "hello"]).failure(2);
    assert!(
        none.stderr.contains("a command after two dashes"),
        "{none:?}"
    );
    let size = app.slugline(&["run", "--size", "huge", "--", "true"]);
    assert!(size.failure(2).stderr.contains("standard-1x, standard-2x"));
    app.slugline(&["run", "--", "nothing-like-this"])
        .failure(127);
    let post = |body| site.api("POST", "/apps/hello/dynos", Some(body)).0;
    for body in [
        json!({}),
        json!({ "command": " " }),
        json!({ "command": "true", "env": ["A"] }),
        json!({ "command": "true", "env": { "A-B": "1" } }),
        json!({ "command": "true", "time_to_live": 0 }),
    ] {
        assert_eq!(post(body.clone()), 422, "{body}");
    }
    let body = json!({ "command": "sleep 1000", "attach": true });
    for _ in 0..50 {
        assert_eq!(post(body.clone()), 201);
    }
    assert_eq!(post(body.clone()), 422, "one too many");
    app.slugline(&["ps:stop", "run"]).success();
    eventually("none", || states(&site, "hello") == ["web.1 up"]);
    // Nobody is attached by guessing, nor twice.
    let read = |path: &str| {
        let token = site.token();
        let request = crate::site::agent()
            .get(format!("{}{path}", site.url()))
            .header("Authorization", format!("Bearer {token}"))
            .header("Connection", "Upgrade")
            .header("Upgrade", "slugline-run/1");
        request.call().unwrap().status().as_u16()
    };
    assert_eq!(read("/attach/slugline_0000"), 404);
    // Tokens that may look alone run nothing.
    let token = site
        .slugline(&["token", "create", "looker", "--read-only"])
        .success();
    let refused = site.api_as(token.stdout.trim(), "POST", "/apps/hello/dynos", Some(body));
    assert_eq!(refused.0, 403);
}

#[test]
fn one_that_nobody_comes_to_ends() {
    let site = Site::with_env(&[("SLUGLINE_RUN_ATTACH_SECONDS", "1")]);
    drop(deployed(&site, "hello"));
    let body = json!({ "command": "echo never", "attach": true });
    let (status, dyno) = site.api("POST", "/apps/hello/dynos", Some(body));
    assert_eq!((status, &dyno["name"]), (201, &json!("run.1")));
    logged(
        &site,
        "hello",
        "heroku[run.1]: Error R13 (Attach error) -> Failed to attach to process",
    );
    reaches(&site, "hello", &["web.1 up"]);
    let log = log(&site, "hello");
    assert!(
        !log.iter().any(|line| line.ends_with("]: never")),
        "{log:?}"
    );
    // Whoever comes later finds nobody.
    let secret = dyno["attach_url"].as_str().unwrap().rsplit('/').next();
    let late = agent().get(format!("{}/attach/{}", site.url(), secret.unwrap()));
    let late = late
        .header("Upgrade", "slugline-run/1")
        .header("Connection", "Upgrade");
    assert_eq!(late.call().unwrap().status().as_u16(), 404);
}

#[test]
fn a_detached_one_writes_to_the_log() {
    let mut site = Site::new();
    let app = deployed(&site, "hello");
    let ran = app
        .slugline(&["run", "--detached", "--", "echo at work; exec sleep 1000"])
        .success();
    assert_eq!(ran.stdout, "run.1\n");
    logged(&site, "hello", "app[run.1]: at work");
    assert_eq!(states(&site, "hello"), ["web.1 up", "run.1 up"]);
    let shown = app.slugline(&["ps"]).success().stdout;
    assert!(
        shown.contains("=== run (standard-1x): echo at work; exec sleep 1000 (1)"),
        "{shown}"
    );
    app.slugline(&["ps:stop", "run.1"]).success();
    for line in [
        "heroku[run.1]: Stopping all processes with SIGTERM",
        "heroku[run.1]: Process exited with status 143",
    ] {
        logged(&site, "hello", line);
    }
    eventually("its end", || states(&site, "hello") == ["web.1 up"]);
    // A process type, the time that was given, and the limits of its size.
    let body = json!({ "command": "worker", "time_to_live": 1 });
    let (status, dyno) = site.api("POST", "/apps/hello/dynos", Some(body));
    assert_eq!((status, &dyno["attach_url"]), (201, &json!(null)));
    logged(&site, "hello", "app[run.1]: working as run.1");
    logged(&site, "hello", "app[run.1]: worker got signal 15");
    // Nothing of it is left by a server's end, nor comes back with the next.
    app.slugline(&["run", "-d", "--", "sleep 1001"]).success();
    eventually("two", || states(&site, "hello").len() == 2);
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        site.stop(signal);
        eventually("no process", || processes_with("sleep 1001") == 0);
        site.start(&[]);
        eventually("the formation", || states(&site, "hello") == ["web.1 up"]);
        site.slugline(&["run", "-a", "hello", "-d", "--", "sleep 1001"])
            .success();
    }
}

/// Processes of this machine whose arguments are these words.
fn processes_with(words: &str) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let wanted = words.replace(' ', "\0") + "\0";
    lines.filter(|line| line == wanted.as_bytes()).count()
}

#[test]
fn who_leaves_ends_his_dyno() {
    let mut site = Site::without_server();
    std::fs::create_dir_all(site.data()).unwrap();
    // Long enough for a busy machine to hear a connection close before.
    let options = "run_idle_seconds: 8\nstop_timeout_seconds: 1\n";
    std::fs::write(site.data().join("slugline.yml"), options).unwrap();
    site.start(&[]);
    let _app = deployed(&site, "hello");
    let mut child = run(&site, "echo ready; exec sleep 1002").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    for line in [
        "heroku[run.1]: Client connection closed. Sending SIGHUP to all processes",
        "heroku[run.1]: Process exited with status 129",
    ] {
        logged(&site, "hello", line);
    }
    eventually("its end", || processes_with("sleep 1002") == 0);
    // One that will not hear, and says nothing.
    let stubborn = "trap '' HUP; echo ready; while :; do sleep 1003; done";
    let ended = run(&site, stubborn).spawn().unwrap();
    let ended = ended.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(137));
    for line in [
        "heroku[run.1]: Client connection idle. Sending SIGHUP to all processes",
        "heroku[run.1]: Error R12 (Exit timeout)",
    ] {
        logged(&site, "hello", line);
    }
    eventually("its end", || processes_with("sleep 1003") == 0);
}

#[test]
fn signals_without_a_terminal() {
    let site = Site::new();
    let _app = deployed(&site, "hello");
    for (sent, name) in [
        (Signal::SIGINT, "INT"),
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGHUP, "HUP"),
    ] {
        let command =
            format!("trap 'echo got it; exit 5' {name}; echo ready; while :; do sleep 0.1; done");
        let mut child = run(&site, &command).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        signal(&child, sent);
        assert_eq!(lines.next().unwrap().unwrap(), "got it");
        assert_eq!(child.wait().unwrap().code(), Some(5));
    }
    // Though the dyno reads nothing of what it is sent.
    let mut child = run(
        &site,
        "trap 'exit 6' INT; echo ready; while :; do sleep 0.1; done",
    )
    .spawn()
    .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || while input.write_all(&[b'y'; 4096]).is_ok() {});
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(6));
    writer.join().unwrap();
}

/// A terminal, and `slugline run` on it.
struct Terminal {
    master: std::fs::File,
    child: Child,
    seen: String,
}

impl Terminal {
    fn start(site: &Site, command: &str) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        let mut terminal = Self {
            master: master.into(),
            child: {
                let mut run = site.command(Path::new("setsid"));
                run.args([
                    "--ctty", "--wait", SLUGLINE, "run", "-a", "hello", "--", command,
                ])
                .env("TERM", "vt100")
                .stdin(slave.try_clone().unwrap())
                .stdout(slave.try_clone().unwrap())
                .stderr(slave);
                run.spawn().unwrap()
            },
            seen: String::new(),
        };
        terminal.resize(100, 30);
        terminal
    }

    fn resize(&mut self, columns: u16, lines: u16) {
        let size = Winsize {
            ws_row: lines,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).unwrap();
    }

    #[track_caller]
    fn expect(&mut self, wanted: &str) {
        let mut buffer = [0; 4096];
        let start = Instant::now();
        while !self.seen.contains(wanted) {
            match self.master.read(&mut buffer) {
                Ok(count @ 1..) => self.seen += &String::from_utf8_lossy(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let long = start.elapsed() > Duration::from_secs(60);
                    assert!(!long, "never {wanted:?}: {:?}", self.seen);
                    std::thread::sleep(Duration::from_millis(10));
                }
                // The end of a terminal is an error.
                _ => panic!("no {wanted:?}: {:?}", self.seen),
            }
        }
        let at = self.seen.find(wanted).unwrap() + wanted.len();
        self.seen.drain(..at);
    }

    fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }
}

#[test]
fn a_terminal_is_passed_on_whole() {
    for site in [Site::new(), Site::of_plain_user()] {
        let _app = deployed(&site, "hello");
        let mut terminal = Terminal::start(
            &site,
            "tty -s && echo $TERM; read -r line; echo \"got $line\"; \
             until [ \"$(stty size)\" = '45 123' ]; do sleep 0.05; done; echo resized; \
             cat; trap 'echo interrupted; exit 9' INT; echo wait; while :; do sleep 0.05; done",
        );
        terminal.expect("vt100\r\n");
        terminal.send("hello\r");
        // The terminal's own echo is the dyno's.
        terminal.expect("hello\r\ngot hello\r\n");
        terminal.resize(123, 45);
        terminal.expect("resized\r\n");
        terminal.send("\u{4}");
        terminal.expect("wait\r\n");
        terminal.send("\u{3}");
        terminal.expect("interrupted\r\n");
        assert_eq!(terminal.child.wait().unwrap().code(), Some(9));

        // A shell with its jobs, as people use one.
        let mut terminal = Terminal::start(&site, "bash");
        terminal.expect("~ $ ");
        terminal.send("stty size; sleep 1004\r");
        terminal.expect("30 100\r\n");
        eventually("a process", || processes_with("sleep 1004") == 1);
        terminal.send("\u{1a}");
        terminal.expect("Stopped");
        terminal.send("kill -9 %1; wait; echo $((40 + 2)) > /dev/tty\r");
        terminal.expect("42\r\n");
        terminal.send("exit 3\r");
        assert_eq!(terminal.child.wait().unwrap().code(), Some(3));
        eventually("nothing", || processes_with("sleep 1004") == 0);
    }
}

#[test]
fn heroku_s_rendezvous() {
    let mut site = Site::new();
    drop(deployed(&site, "hello"));
    site.stop(Signal::SIGTERM);
    let (certificate, key) = crate::receiver_tls::certificate(&site, "server");
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    site.start(&["--tls-cert", certificate, "--tls-key", key]);
    let site = &site;
    let start = |body: serde_json::Value| {
        let mut curl = site.command(Path::new("curl"));
        curl.args(["--silent", "--show-error", "--cacert", certificate])
            .args(["--user", &format!(":{}", site.token())])
            .args(["--data", &body.to_string()])
            .arg(format!("{}/apps/hello/dynos", site.url()));
        let answer = Ran::new(curl.output().unwrap()).success().stdout;
        let dyno = serde_json::from_str::<serde_json::Value>(&answer).unwrap();
        let url = dyno["attach_url"].as_str();
        url.unwrap_or_else(|| panic!("{dyno}")).to_owned()
    };
    let client = |url: &str, input: &str| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/rendezvous.py");
        let mut python = site.command(Path::new("/usr/bin/python3"));
        let ran = python.arg(script).args([url, certificate, input]).output();
        Ran::new(ran.unwrap()).success().stdout
    };
    // On a terminal, whose size the client has told.
    let url = start(json!({
        "command": "stty size; read line; echo \"got $line\"",
        "attach": true,
        "env": { "TERM": "xterm", "COLUMNS": "99", "LINES": "33" },
    }));
    let host = site.url().trim_start_matches("https://");
    assert!(url.starts_with(&format!("rendezvous://{host}/")), "{url}");
    // When the echo comes is the terminal's affair.
    let told = client(&url, "hello\\r");
    assert!(
        told.contains("33 99\r\n") && told.ends_with("got hello\r\n"),
        "{told}"
    );
    // On pipes: the end of the input is a byte, with what came before it or after.
    for input in ["one two\\x04", "one two|\\x04"] {
        let url = start(json!({ "command": "wc -w", "attach": true, "force_no_tty": true }));
        assert_eq!(client(&url, input), "2\n");
    }
    let url = start(json!({ "command": "od -An -c", "attach": true, "force_no_tty": true }));
    assert_eq!(client(&url, "a\\x04|b|\\x04").trim(), "a 004   b");
    // A second client finds nobody.
    assert_eq!(client(&url, ""), "");
    // Our own client, over the same port.
    let mut own = run(site, "cat; exit 8");
    let mut own = own.env("SSL_CERT_FILE", certificate).spawn().unwrap();
    own.stdin.take().unwrap().write_all(b"by TLS").unwrap();
    let ended = own.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(8), "{told}");
    assert_eq!(ended.stdout, b"by TLS");
}
