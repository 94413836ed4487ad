//! The command line against a running server.

use std::path::Path;

use crate::site::{SLUGLINE, Site};

#[test]
fn apps_create_sets_a_remote_and_no_secret() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    let config = std::fs::read_to_string(app.dir.join(".git/config")).unwrap();
    assert!(
        config.contains(&format!("url = {}/hello.git", site.url())),
        "{config}"
    );
    assert!(config.contains("git-credential"), "{config}");
    assert!(!config.contains(&site.token()), "{config}");
    // A remote that is there is not overwritten.
    let again = app.slugline(&["apps", "create", "other"]);
    assert!(again.stderr.contains("hello"), "{}", again.stderr);
    assert!(
        std::fs::read_to_string(app.dir.join(".git/config"))
            .unwrap()
            .contains("/hello.git")
    );
}

#[test]
fn the_credential_helper_answers_for_its_server_only() {
    let site = Site::new();
    let ask = |host: &str| {
        let mut helper = site.command(Path::new(SLUGLINE));
        helper
            .args(["git-credential", "get"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut helper = helper.spawn().unwrap();
        std::io::Write::write_all(
            &mut helper.stdin.take().unwrap(),
            format!("protocol=http\nhost={host}\n\n").as_bytes(),
        )
        .unwrap();
        String::from_utf8(helper.wait_with_output().unwrap().stdout).unwrap()
    };
    let host = site.url().trim_start_matches("http://");
    assert!(ask(host).contains(&format!("password={}", site.token())));
    assert_eq!(ask("evil.example.com"), "");
}

#[test]
fn lists_are_for_people_and_json_for_programs() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    app.slugline(&["config:set", "A=1"]).success();
    let said = |arguments: &[&str]| app.slugline(arguments).success().stdout;
    assert!(said(&["apps"]).contains("hello"));
    assert!(said(&["config"]).contains("A: 1"), "{}", said(&["config"]));
    assert!(said(&["releases"]).contains("Set A config vars"));
    assert!(said(&["releases", "info", "v2"]).contains("Deploy"));
    assert!(
        said(&["builds"]).contains("succeeded"),
        "{}",
        said(&["builds"])
    );
    let output = said(&["builds", "output"]);
    assert!(output.contains("-----> Node.js app detected"), "{output}");
    for arguments in [
        &["apps", "--json"][..],
        &["config", "--json"],
        &["releases", "--json"],
        &["builds", "--json"],
    ] {
        serde_json::from_str::<serde_json::Value>(&said(arguments)).unwrap();
    }
}

#[test]
fn a_server_that_is_not_there() {
    let site = Site::without_server();
    std::fs::create_dir(site.data()).unwrap();
    std::fs::write(site.data().join("admin-token"), "x\n").unwrap();
    let mut command = site.command(Path::new(SLUGLINE));
    let output = command
        .env("SLUGLINE_URL", "http://127.0.0.1:1")
        .arg("apps")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("slugline serve"), "{said}");
}

#[test]
fn doctor_knows_this_machine() {
    let site = Site::without_server();
    let said = site.slugline(&["doctor"]).success().stdout;
    assert!(said.contains("ok       sandbox"), "{said}");
}

#[test]
fn an_interrupted_clone_ends_and_leaves_nothing() {
    let site = crate::site::Site::without_server();
    let tmp = site.path("tmp");
    std::fs::create_dir(&tmp).unwrap();
    // Accepts and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x.git", listener.local_addr().unwrap());
    let mut command = site.command(std::path::Path::new(crate::site::SLUGLINE));
    command.args(["build", &url]).env("TMPDIR", &tmp);
    let mut build = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let _asked = listener.accept().unwrap();
    let id = nix::unistd::Pid::from_raw(build.id().cast_signed());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(!build.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0);
}
