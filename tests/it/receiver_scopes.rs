//! Tokens for some apps and for reading alone; what they do not see is not there.

use base64::Engine as _;
use serde_json::json;

use crate::site::{Ran, Site};
use crate::wire::exchange;

fn token(site: &Site, arguments: &[&str]) -> String {
    let made = site.slugline(&[&["token", "create"], arguments].concat());
    made.success().stdout.trim().to_owned()
}

fn git(site: &Site, token: &str, dir: &std::path::Path, arguments: &[&str]) -> Ran {
    let header = format!("http.extraHeader=Authorization: Bearer {token}");
    let mut command = site.command(std::path::Path::new("git"));
    let command = command.current_dir(dir).args(["-c", &header]);
    Ran::new(command.args(arguments).output().unwrap())
}

#[test]
fn a_token_for_reading_changes_nothing() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    let reader = token(&site, &["reader", "--read-only"]);
    let url = format!("{}/hello.git", site.url());
    git(
        &site,
        &reader,
        &site.path(""),
        &["clone", "--quiet", &url, "clone"],
    )
    .success();
    let refused = git(&site, &reader, &app.dir, &["push", &url, "main:topic"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("403"), "{}", refused.stderr);
    let api = |method: &str, path: &str| site.api_as(&reader, method, path, Some(json!({}))).0;
    assert_eq!(api("GET", "/apps/hello/releases"), 200);
    for (method, path) in [
        ("POST", "/apps"),
        ("PATCH", "/apps/hello"),
        ("DELETE", "/apps/hello"),
        ("PATCH", "/apps/hello/config-vars"),
        ("POST", "/apps/hello/builds"),
        ("POST", "/oauth/authorizations"),
        ("POST", "/collections"),
        ("POST", "/sources"),
    ] {
        assert_eq!(api(method, path), 403, "{method} {path}");
    }
    assert_eq!(site.api("GET", "/apps/hello", None).0, 200);
}

#[test]
fn a_token_for_an_app_sees_no_other() {
    let site = Site::with(&["--create-on-push"]);
    let mine = site.app("mine", "nodejs_http");
    site.slugline(&["apps", "create", "other"]).success();
    let scoped = token(&site, &["ci", "--app", "mine"]);
    let api = |path: &str| site.api_as(&scoped, "GET", path, None);
    let names = api("/apps").1;
    assert_eq!(names.as_array().unwrap().len(), 1);
    assert_eq!(names[0]["name"], "mine");
    // An app that it does not see looks like one that there is not, by its name and by its id.
    for path in ["other", &site.app_id("other"), "nothing"] {
        let (status, answer) = api(&format!("/apps/{path}"));
        let message = format!("Couldn't find that app: {path}.");
        assert_eq!(status, 404);
        assert!(
            answer["message"].as_str().unwrap().starts_with(&message),
            "{answer}"
        );
    }
    for path in ["/oauth/authorizations", "/sources"] {
        let method = if path == "/sources" { "POST" } else { "GET" };
        assert_eq!(site.api_as(&scoped, method, path, None).0, 403);
    }
    let made = site.api_as(&scoped, "POST", "/apps", Some(json!({ "name": "new" })));
    assert_eq!(made.0, 403);
    let push = |app: &str| {
        let url = format!("{}/{app}.git", site.url());
        git(&site, &scoped, &mine.dir, &["push", &url, "main:topic"])
    };
    push("mine").success();
    let (other, nothing) = (push("other"), push("nothing"));
    for refused in [&other, &nothing] {
        assert!(refused.stderr.contains("not found"), "{}", refused.stderr);
    }
    assert_eq!(other.stderr.replace("other", "nothing"), nothing.stderr);
    let clone = format!("{}/other.git", site.url());
    let refused = git(&site, &scoped, &site.path(""), &["ls-remote", &clone]);
    assert!(refused.stderr.contains("not found"), "{}", refused.stderr);
}

#[test]
fn whether_there_is_an_app_cannot_be_told_by_any_answer() {
    let site = Site::new();
    for app in ["hello", "other"] {
        site.slugline(&["apps", "create", app]).success();
    }
    let scoped = token(&site, &["ci", "--app", "hello"]);
    let scoped = format!("Authorization: Bearer {scoped}\r\n");
    let wrong = "Authorization: Bearer slugline_wrong\r\n";
    let users = ["ada", "nobody"].map(|user| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:wrong"));
        format!("Authorization: Basic {pair}\r\n")
    });
    let answer = |line: &str, headers: &str| {
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        let answer = String::from_utf8(exchange(&site, head.as_bytes())).unwrap();
        let lines = answer.lines().filter(|line| {
            let name = line.to_ascii_lowercase();
            !name.starts_with("date:") && !name.starts_with("request-id:")
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let length = "Content-Length: 0\r\n";
    for (line, headers) in [
        ("GET /NAME.git/info/refs?service=git-receive-pack", ""),
        ("GET /NAME.git/info/refs?service=git-upload-pack", ""),
        ("POST /NAME.git/git-receive-pack", length),
        ("POST /NAME.git/git-upload-pack", length),
        ("GET /apps/NAME", ""),
        ("GET /apps/NAME/releases", ""),
    ] {
        for who in [&scoped, "", wrong] {
            let headers = format!("{who}{headers}");
            // The same work is done for both: one look for the name, of which nothing is said.
            let [there, not_there] = ["other", "nosuc"].map(|name| {
                let answer = answer(&line.replace("NAME", name), &headers);
                answer.replace(name, "NAME")
            });
            assert_eq!(there, not_there, "{line}");
            assert!(there.starts_with("HTTP/1.1 40"), "{there}");
        }
    }
    let line = "GET /hello.git/info/refs?service=git-receive-pack";
    let [one, another] = users.map(|user| answer(line, &user));
    assert_eq!(one, another);
}
