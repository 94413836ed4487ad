//! Drains at a real receiver: Debian's rsyslog, by TCP with octet counting and by TLS.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::drains::site;
use crate::dynos::{deployed, get};
use crate::site::{Site, eventually};

const PROGRAM: &str = "/usr/sbin/rsyslogd";

/// An rsyslogd of the test's own, which ends with it.
struct Rsyslog {
    child: Child,
    port: u16,
    out: PathBuf,
}

impl Rsyslog {
    fn start(site: &Site, name: &str, tls: bool) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "no {PROGRAM}: apt-get install rsyslog rsyslog-gnutls"
        );
        let dir = site.path(name);
        std::fs::create_dir(&dir).unwrap();
        let at = |file: &str| dir.join(file).display().to_string();
        let (certificate, key) = (site.path("logs.pem"), site.path("logs.key"));
        let (global, input) = if tls {
            (
                format!(
                    "defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{0}\" \
                     defaultNetstreamDriverCertFile=\"{0}\" defaultNetstreamDriverKeyFile=\"{1}\"",
                    certificate.display(),
                    key.display()
                ),
                "streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\"",
            )
        } else {
            (String::new(), "")
        };
        let config = format!(
            "global(workDirectory=\"{work}\" maxMessageSize=\"64k\" {global})\n\
             module(load=\"imtcp\" {input})\n\
             template(name=\"line\" type=\"string\" string=\"%pri% %protocol-version% %hostname% %app-name% %procid% %structured-data% %msg%\\n\")\n\
             ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{out}\" template=\"line\") }}\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"0\" listenPortFileName=\"{port}\" ruleset=\"all\")\n",
            work = dir.display(),
            out = at("out"),
            port = at("port"),
        );
        std::fs::write(dir.join("conf"), config).unwrap();
        let said = std::fs::File::create(dir.join("said")).unwrap();
        let mut command = site.command(Path::new(PROGRAM));
        command.args(["-n", "-f", &at("conf"), "-i", &at("pid")]);
        let child = command.stdin(Stdio::null()).stderr(said).spawn().unwrap();
        let mut started = Self {
            child,
            port: 0,
            out: dir.join("out"),
        };
        eventually("rsyslog's port", || {
            if let Some(status) = started.child.try_wait().unwrap() {
                let said = std::fs::read_to_string(dir.join("said")).unwrap();
                panic!("{status}: {said}");
            }
            let port = std::fs::read_to_string(dir.join("port")).unwrap_or_default();
            started.port = port.trim().parse().unwrap_or_default();
            started.port > 0
        });
        started
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.out).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn rsyslog_reads_every_field_by_tcp_and_tls() {
    let site = site();
    let app = deployed(&site, "hello");
    let receivers = [
        ("syslog", Rsyslog::start(&site, "plain", false)),
        ("syslog+tls", Rsyslog::start(&site, "secure", true)),
    ];
    for (scheme, receiver) in &receivers {
        let url = format!("{scheme}://127.0.0.1:{}", receiver.port);
        app.slugline(&["drains:add", &url]).success();
    }
    let listed = app.slugline(&["drains"]).success().stdout;
    let tokens = listed.lines().map(|line| {
        let (_, token) = line.rsplit_once(" (d.").unwrap();
        format!("d.{}", token.trim_end_matches(')'))
    });
    get(&site, "hello", "/say/gr%C3%BC%C3%9Fe%20%3C1%3E");
    // As long as a line can be, and many at once: lengths have to be right for each.
    let flood =
        "head -c 9000 /dev/zero | tr '\\0' x; echo; for n in $(seq 500); do echo number $n; done";
    app.slugline(&["run", "-d", "--", flood]).success();
    for ((scheme, receiver), token) in receivers.iter().zip(tokens) {
        eventually("the last line", || {
            receiver
                .lines()
                .iter()
                .any(|line| line.ends_with(" number 500"))
        });
        let lines = receiver.lines();
        let has = |wanted: &str| {
            assert!(
                lines.iter().any(|line| line.starts_with(wanted)),
                "{scheme}: {wanted}: {lines:#?}"
            );
        };
        has(&format!("190 1 {token} app web.1 - grüße <1>"));
        has(&format!(
            "158 1 {token} heroku router - at=info method=GET path="
        ));
        has(&format!(
            "45 1 {token} heroku run.1 - Starting process with command"
        ));
        has(&format!("190 1 {token} app run.1 - {}", "x".repeat(9000)));
        let numbers = lines
            .iter()
            .filter(|line| line.contains(" app run.1 - number "));
        let wanted = (1..=500).map(|n| format!("190 1 {token} app run.1 - number {n}"));
        assert!(numbers.cloned().eq(wanted), "{scheme}: {lines:#?}");
    }
}
