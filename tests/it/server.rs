//! The server: its data directory, its options, its end, and what the next one makes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::site::{Ran, SLUGLINE, Site, eventually};

#[test]
fn one_server_has_the_data_directory() {
    let site = Site::new();
    let second = site
        .slugline(&["serve", "--listen", "127.0.0.1:0"])
        .failure(2);
    assert!(
        second.stderr.contains("is in use by process"),
        "{}",
        second.stderr
    );
}

#[test]
fn secrets_are_closed_to_others() {
    let site = Site::new();
    for name in ["admin-token", "signing-key", "ledger.db"] {
        let mode = fs::metadata(site.data().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    assert_eq!(
        fs::metadata(site.data()).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let ledger = fs::read(site.data().join("ledger.db")).unwrap();
    let token = site.token();
    assert!(
        !ledger
            .windows(token.len())
            .any(|bytes| bytes == token.as_bytes()),
        "the ledger keeps digests only"
    );
    assert!(!site.server_log().contains(&token));
}

#[test]
fn options_stand_in_a_file_a_variable_or_an_argument() {
    let site = Site::without_server();
    fs::create_dir(site.data()).unwrap();
    let serve = |file: &str, variable: Option<(&str, &str)>, arguments: &[&str]| {
        fs::write(site.data().join("slugline.yml"), file).unwrap();
        let mut command = site.command(Path::new(SLUGLINE));
        command.arg("serve").args(arguments);
        if let Some((name, value)) = variable {
            command.env(name, value);
        }
        Ran::new(command.output().unwrap())
    };
    let unknown = serve("max_build: 2\n", None, &[]).failure(2).stderr;
    assert!(unknown.contains("did you mean `max_builds`?"), "{unknown}");
    let unknown = serve("", Some(("SLUGLINE_MAX_BUILD", "2")), &[])
        .failure(2)
        .stderr;
    assert!(unknown.contains("SLUGLINE_MAX_BUILDS"), "{unknown}");
    let wrong = serve("max_builds: none\n", None, &[]).failure(2).stderr;
    assert!(wrong.contains("max_builds"), "{wrong}");
    serve("", None, &["--max-builds", "0"]).failure(2);
    let exposed = serve("", None, &["--listen", "0.0.0.0:0"])
        .failure(2)
        .stderr;
    assert!(exposed.contains("--behind-proxy"), "{exposed}");
    // Later ones go over earlier ones: the port of the argument is the one that is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = serve(
        "listen: 127.0.0.1:1\n",
        Some(("SLUGLINE_LISTEN", "127.0.0.1:2")),
        &["--listen", &address],
    )
    .failure(3);
    assert!(refused.stderr.contains(&address), "{}", refused.stderr);
}

#[test]
fn a_log_of_one_object_a_line() {
    let site = Site::with(&["--log-format", "json"]);
    site.slugline(&["apps", "create", "hello"]).success();
    eventually("the log has lines", || {
        site.server_log().lines().count() > 1
    });
    for line in site.server_log().lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            entry["timestamp"].is_string() && entry["level"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn what_was_deployed_is_there_after_a_restart() {
    let mut site = Site::new();
    site.app("hello", "nodejs_http").push().success();
    site.stop(Signal::SIGTERM);
    site.start(&[]);
    let release = site.api("GET", "/apps/hello/releases/current", None).1;
    assert_eq!(release["version"], 2);
    assert_eq!(site.blobs(), 2);
}

#[test]
fn sigterm_lets_a_build_finish() {
    let mut site = Site::new();
    {
        let app = site.app("hello", "nodejs_build_script");
        app.write("build.js", "require('fs').mkdirSync('dist'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3000)");
        app.commit("Slow");
    }
    let dir = site.path("hello");
    let mut push = site.command(Path::new("git"));
    push.current_dir(&dir)
        .args(["push", "slugline", "main"])
        .stderr(std::process::Stdio::piped());
    let push = push.spawn().unwrap();
    eventually("the build runs", || {
        let builds = site.api("GET", "/apps/hello/builds", None).1;
        builds[0]["status"] == "pending"
    });
    site.stop(Signal::SIGTERM);
    let push = Ran::new(push.wait_with_output().unwrap()).success();
    assert!(push.stderr.contains("Released v2"), "{}", push.stderr);
    site.start(&[]);
    assert_eq!(
        site.api("GET", "/apps/hello/releases/current", None).1["version"],
        2
    );
}

#[test]
fn a_killed_server_leaves_nothing_half_done() {
    let mut site = Site::new();
    {
        let app = site.app("hello", "nodejs_build_script");
        app.write("build.js", "console.log('waiting'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600000)");
        app.commit("Endless");
    }
    let dir = site.path("hello");
    let bare = site.bare("hello");
    let mut push = site.command(Path::new("git"));
    let mut push = push
        .current_dir(&dir)
        .args(["push", "slugline", "main"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let scratch = site.data().join("scratch");
    let mut id = String::new();
    eventually("the build runs", || {
        let builds = site.api("GET", "/apps/hello/builds", None).1;
        id = builds[0]["id"].as_str().unwrap_or_default().to_owned();
        fs::read_to_string(site.data().join(format!("logs/{id}.log")))
            .is_ok_and(|log| log.contains("waiting"))
    });
    site.stop(Signal::SIGKILL);
    push.wait().unwrap();
    // The build's processes die with the server.
    eventually("nothing of the build runs", || {
        let marker = scratch.to_string_lossy().into_owned();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        !processes.into_iter().any(|process| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&marker)
        })
    });
    site.start(&[]);
    let build = site.api("GET", &format!("/apps/hello/builds/{id}"), None).1;
    assert_eq!(
        (build["status"].as_str(), build["failure"]["id"].as_str()),
        (Some("failed"), Some("server_stopped"))
    );
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    assert!(
        !crate::site::files_below(&bare)
            .iter()
            .any(|path| path.contains("incoming-"))
    );
    assert_eq!(site.blobs(), 0);
    // The same push then goes through.
    fs::write(dir.join("build.js"), "require('fs').mkdirSync('dist')").unwrap();
    for arguments in [
        &["commit", "--quiet", "-am", "Mend"][..],
        &[
            "remote",
            "set-url",
            "slugline",
            &format!("{}/hello.git", site.url()),
        ],
    ] {
        assert!(
            site.command(Path::new("git"))
                .current_dir(&dir)
                .args(arguments)
                .status()
                .unwrap()
                .success()
        );
    }
    let helper = format!(
        "credential.helper=!'{SLUGLINE}' git-credential --url {}",
        site.url()
    );
    let mut again = site.command(Path::new("git"));
    let again = again
        .current_dir(&dir)
        .args(["-c", &helper, "push", "slugline", "main"])
        .output()
        .unwrap();
    assert!(Ran::new(again).success().stderr.contains("Released v2"));
}
