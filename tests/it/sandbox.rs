//! What a build sees, and what it is told where it cannot run.

use crate::site::{Ran, SLUGLINE, Site};

fn compile(script: &str) -> Ran {
    let site = Site::without_server();
    let app = site.repository("app", "inline_shell");
    app.write("bin/compile", &format!("#!/bin/sh\n{script}\n"));
    app.commit("Look around");
    let out = site.path("x.tgz");
    site.slugline(&[
        "build",
        app.dir.to_str().unwrap(),
        "--buildpack",
        "inline",
        "--output",
        out.to_str().unwrap(),
    ])
}

#[test]
fn a_build_has_the_documented_surroundings() {
    let seen = compile("env | sort; pwd; id -u; umask; echo \"$@\"").stderr;
    let lines = seen.lines().map(str::trim).collect::<Vec<_>>();
    for line in [
        "HOME=/app",
        "DYNO=build.1",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "STACK=debian-12",
        "/app",
        "1000",
        "0022",
        "/app /cache /env",
    ] {
        assert!(lines.contains(&line), "{line} in {seen}");
    }
    assert!(
        !seen.contains("SLUGLINE_") && !seen.contains("LC_ALL") && !seen.contains("TMPDIR"),
        "{seen}"
    );
}

#[test]
fn app_and_cache_are_on_one_mount() {
    let linked = compile("echo x >/app/a && ln /app/a /cache/a && mv /app/a /cache/b && ls /cache")
        .success();
    assert!(linked.stderr.contains("a\nb"), "{}", linked.stderr);
}

#[test]
fn nothing_of_the_host_but_its_system_is_seen() {
    let script = "for path in /root /home/* /etc/shadow /var/lib /work /tmp/slugline-* /proc/1/environ; do \
                  cat \"$path\" >/dev/null 2>&1 && echo \"read $path\"; ls \"$path\"/* 2>/dev/null; done; \
                  touch /usr/x /etc/x 2>/dev/null && echo wrote; ls /proc | grep -c '^[0-9]'; echo end";
    let seen = compile(script).success().stderr;
    assert!(
        !seen.contains("read /") && !seen.contains("wrote"),
        "{seen}"
    );
    assert!(seen.contains("end"), "{seen}");
}

#[test]
fn a_procfile_that_is_a_link_shows_no_file_of_the_server() {
    let failed = compile("ln -s /etc/passwd /app/Procfile").failure(1).stderr;
    assert!(
        failed.contains("The Procfile is a symbolic link, not a file."),
        "{failed}"
    );
}

#[test]
fn what_a_build_leaves_running_is_ended() {
    let site = Site::without_server();
    let app = site.repository("app", "inline_shell");
    app.write("bin/compile", "#!/bin/sh\n(setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; date >>/app/late; done' &) \nexit 0\n");
    app.commit("Leave a daemon");
    let out = site.path("x.tgz");
    let start = std::time::Instant::now();
    site.slugline(&[
        "build",
        app.dir.to_str().unwrap(),
        "--buildpack",
        "inline",
        "--output",
        out.to_str().unwrap(),
    ])
    .success();
    assert!(
        start.elapsed().as_secs() < 20,
        "the daemon held the build up"
    );
}

#[test]
fn where_namespaces_are_refused_the_remedy_is_named_before_any_work() {
    let site = Site::without_server();
    let app = site.repository("app", "inline_shell");
    // A user namespace that allows no further ones stands for a machine that allows none.
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"";
    let refused = |arguments: &[&str]| {
        let mut command = site.command("unshare".as_ref());
        command
            .args([
                "--user",
                "--map-root-user",
                "sh",
                "-c",
                script,
                "sh",
                SLUGLINE,
            ])
            .args(arguments);
        Ran::new(command.output().unwrap()).failure(3).stderr
    };
    let source = app.dir.to_str().unwrap();
    let built = refused(&["build", source, "--buildpack", "inline"]);
    insta::assert_snapshot!("namespaces_refused", built);
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["demo"],
        &["run", source, "--", "true"],
    ] {
        let said = refused(arguments);
        assert!(
            said.contains("sudo sysctl -w user.max_user_namespaces"),
            "{said}"
        );
        assert!(!said.contains("----->"), "{said}");
    }
}
