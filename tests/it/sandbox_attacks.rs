//! Attacks by the code of an app, each at level 1 (as root) and at level 2 (as a plain user).
//!
//! Where the tests themselves run as a plain user there is level 2 alone.

use std::fs;
use std::process::Command;

use crate::attack::{Attack, Level, levels, running};
use crate::site::Ran;

const CALLS: &str = include_str!("attacks/calls.c");

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

#[test]
fn addresses_that_are_not_for_builds() {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let script = format!(
        "for url in http://127.0.0.1:{port}/ http://localhost:{port}/ http://[::1]:{port}/ http://0.0.0.0:{port}/ http://2130706433:{port}/ \
         http://169.254.169.254/ http://10.0.0.1/ http://$(hostname):{port}/ http://[fd00:ec2::254]/; do \
         curl -sS -m 5 --noproxy '*' $url && echo \"REACHED $url\"; \
         curl -sS -m 5 -p --noproxy none $url && echo \"REACHED $url\"; \
         curl -sS -m 5 --noproxy none -w '%{{http_code}}\\n' $url; done; \
         curl -sS -m 5 --noproxy '*' http://1.1.1.1/ && echo REACHED without the proxy; \
         for name in /run/*.sock /var/run/docker.sock /tmp/.X11-unix; do [ -e $name ] && echo \"REACHED $name\"; done; \
         grep -v 00000000:0000 /proc/net/unix | grep '@' && echo REACHED abstract sockets; echo end"
    );
    for level in levels() {
        let seen = Attack::new(*level).run(&script, &[]).success().stderr;
        assert!(!seen.contains("REACHED"), "{level:?}: {seen}");
        assert!(seen.contains("end"), "{level:?}: {seen}");
        assert!(
            seen.contains("Not connected to 127.0.0.1:") && seen.contains("is a loopback address"),
            "{level:?}: {seen}"
        );
        assert!(
            seen.contains("169.254.169.254 is a link-local address"),
            "{level:?}: {seen}"
        );
        assert!(listener.accept().is_err(), "{level:?}: somebody came");
    }
}

#[test]
fn an_operator_s_exceptions_and_modes() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nmirror";
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            std::io::Write::write_all(&mut stream, answer).unwrap();
        }
    });
    let place = format!("127.0.0.1:{port}");
    let script =
        format!("curl -sS -m 5 --noproxy none http://{place}/; echo; echo code $?; exit 0");
    for level in levels() {
        let attack = Attack::new(*level);
        let run = |name: &str, value: &str| {
            let mut command = attack.command(&script, &[]);
            Ran::new(command.env(name, value).output().unwrap())
                .success()
                .stderr
        };
        assert!(run("SLUGLINE_NETWORK_ALLOW", &place).contains("mirror"));
        assert!(run("SLUGLINE_NETWORK", "host").contains("mirror"));
        assert!(!run("SLUGLINE_NETWORK", "off").contains("mirror"));
        let said = run("SLUGLINE_NETWORK_ONLY", "packages.example");
        assert!(said.contains("it is not in `network_only`"), "{said}");
    }
}

#[test]
fn descriptors_of_the_caller() {
    for level in levels() {
        let attack = Attack::new(*level);
        let secret = attack.site.path("secret");
        fs::write(&secret, "hunter2").unwrap();
        // The shell leaves descriptor 9 open for what it starts.
        let command = attack.command("ls -l /proc/self/fd; cat <&9; echo end", &[]);
        let mut shell = Command::new("bash");
        shell
            .args(["-c", "exec 9<\"$0\"; exec \"$@\"", secret.to_str().unwrap()])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let seen = Ran::new(shell.output().unwrap()).success().stderr;
        assert!(!seen.contains("hunter2"), "{level:?}: {seen}");
        assert!(seen.contains("9: Bad file descriptor"), "{level:?}: {seen}");
    }
}

#[test]
fn a_daemon_that_ignores_sigterm_and_holds_stdout() {
    let script = "(setsid bash -c 'trap \"\" TERM HUP INT; exec -a slugline-daemon sleep 77' & ) & sleep 0.2; echo started";
    for level in levels() {
        let start = std::time::Instant::now();
        let seen = Attack::new(*level).run(script, &[]).success().stderr;
        assert!(seen.contains("started"), "{level:?}: {seen}");
        assert!(start.elapsed().as_secs() < 30, "{level:?}: held up");
        assert_eq!(running("slugline-daemon"), 0, "{level:?}");
    }
}

#[test]
fn what_is_required_and_not_given_stops_a_build() {
    for level in levels() {
        let attack = Attack::new(*level);
        let mut command = attack.command("echo built", &[]);
        let ran = Ran::new(
            command
                .env("SLUGLINE_SANDBOX_REQUIRE", "root")
                .output()
                .unwrap(),
        );
        match level {
            Level::Root => assert!(ran.success().stderr.contains("Isolation: level 1 (root)")),
            Level::PlainUser | Level::Landlock => {
                let said = ran.failure(3).stderr;
                assert!(said.contains("sandbox_require asks for level 1"), "{said}");
                assert!(!said.contains("----->"), "{said}");
            }
        }
    }
}
