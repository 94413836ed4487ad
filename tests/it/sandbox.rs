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
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/slugline/bin",
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
    let slug = site.path("slug.tgz");
    std::fs::write(&slug, "not looked at").unwrap();
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["demo"],
        &["run", slug.to_str().unwrap(), "--", "true"],
    ] {
        let said = refused(arguments);
        assert!(
            said.contains("sudo sysctl -w user.max_user_namespaces"),
            "{said}"
        );
        assert!(!said.contains("----->"), "{said}");
    }
}

/// Builds as a plain user, who owns all that the build is shown; as root that is another user.
fn compile_as_plain_user(site: &Site, detect: &str, compile: &str) -> Ran {
    let app = site.repository("app", "inline_shell");
    app.write("bin/detect", &format!("#!/bin/sh\n{detect}\necho Shell\n"));
    app.write("bin/compile", &format!("#!/bin/sh\n{compile}\n"));
    app.commit("Attack");
    let out = site.path("plain");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("secret"), "the user's own file").unwrap();
    let binary = out.join("slugline");
    std::fs::copy(SLUGLINE, &binary).unwrap();
    let mut command = if nix::unistd::geteuid().is_root() {
        for path in [out.clone(), out.join("secret")] {
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        }
        let mut command = site.command("setpriv".as_ref());
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&binary);
        command
    } else {
        site.command(&binary)
    };
    command.args([
        "build",
        app.dir.to_str().unwrap(),
        "--buildpack",
        "inline",
        "--env",
        "SECRET=overwritten",
        "--output",
    ]);
    command
        .arg(out.join("slug.tgz"))
        .arg("--cache")
        .arg(out.join("cache"))
        .env("TMPDIR", &out);
    Ran::new(command.output().unwrap())
}

#[test]
fn a_build_cannot_lead_the_server_to_files_outside() {
    let site = Site::without_server();
    let plain = site.path("plain");
    let replaced = compile_as_plain_user(
        &site,
        ":",
        &format!("cd /; mv /app /tmp/app; ln -s {} /app", plain.display()),
    );
    assert!(
        replaced
            .failure(1)
            .stderr
            .contains("The build replaced the directory /app by something else.")
    );
    assert!(!plain.join("slug.tgz").exists());

    let site = Site::without_server();
    let plain = site.path("plain");
    let replaced = compile_as_plain_user(
        &site,
        ":",
        &format!("rmdir /cache; ln -s {} /cache", plain.display()),
    );
    assert!(replaced.failure(1).stderr.contains("/cache"));
    assert!(!plain.join("cache/current").exists());
}

#[test]
fn a_detect_cannot_lead_the_server_to_files_outside() {
    let site = Site::without_server();
    let secret = site.path("plain/secret");
    let detect = format!(
        "ln -s {} /env/SECRET 2>/dev/null; ln -s {0} /cache/x 2>/dev/null",
        secret.display()
    );
    let built =
        compile_as_plain_user(&site, &detect, "cat \"$3/SECRET\"; ls /cache; echo .").success();
    assert!(built.stderr.contains("overwritten"), "{}", built.stderr);
    assert_eq!(
        std::fs::read_to_string(&secret).unwrap(),
        "the user's own file"
    );
}
