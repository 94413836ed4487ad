//! Packages from registries that want a secret, which a config var holds: they are installed, and
//! the secret is not in the slug.

use std::fs;

use serde_json::json;

use crate::fixture_app::FixtureApp;
use crate::registry::{Registry, run, wheel};
use crate::site::Ran;

/// What is in the slug, unpacked, as one text.
fn unpacked(app: &FixtureApp) -> String {
    let dir = app.unpacked();
    let files = crate::site::files_below(&dir).into_iter();
    let texts =
        files.map(|path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    texts.map(Result::unwrap_or_default).collect()
}

/// Builds with a way to the registry, which is none of the public network's.
fn allowing(app: &FixtureApp, address: &str, arguments: &[&str]) -> Ran {
    app.build_with(&[("SLUGLINE_NETWORK_ALLOW", address)], arguments)
}

#[test]
fn a_token_for_npm() {
    let app = FixtureApp::new("nodejs_no_dependencies");
    let work = app.site.path("work");
    fs::create_dir_all(work.join("package")).unwrap();
    fs::write(
        work.join("package/package.json"),
        r#"{"name":"@own/greeting","version":"1.0.0"}"#,
    )
    .unwrap();
    fs::write(
        work.join("package/index.js"),
        r#"module.exports = "Hello from afar";"#,
    )
    .unwrap();
    run(&work, "tar", &["-czf", "greeting.tgz", "package"]);
    let tarball = fs::read(work.join("greeting.tgz")).unwrap();
    let registry = Registry::start(Some("Bearer s3cret-of-npm"), |address| {
        let url = format!("http://{address}/greeting.tgz");
        let manifest =
            json!({ "name": "@own/greeting", "version": "1.0.0", "dist": { "tarball": url } });
        let document = json!({
            "name": "@own/greeting", "dist-tags": { "latest": "1.0.0" }, "versions": { "1.0.0": manifest },
        });
        let document = document.to_string().into_bytes();
        [
            ("/@own%2fgreeting".to_owned(), document),
            ("/greeting.tgz".to_owned(), tarball),
        ]
        .into()
    });
    let address = &registry.address;
    let npmrc =
        format!("@own:registry=http://{address}/\n//{address}/:_authToken=${{NPM_TOKEN}}\n");
    fs::write(app.site.path("app/.npmrc"), npmrc).unwrap();
    let manifest = r#"{"name":"hello","version":"1.0.0","scripts":{"start":"node server.js"},"dependencies":{"@own/greeting":"1.0.0"}}"#;
    fs::write(app.site.path("app/package.json"), manifest).unwrap();
    let server = fs::read_to_string(app.site.path("app/server.js")).unwrap();
    let server = server.replace("\"Hello from Slugline\"", "require(\"@own/greeting\")");
    fs::write(app.site.path("app/server.js"), server).unwrap();

    let refused = allowing(&app, address, &["--env", "NPM_TOKEN=wrong"])
        .failure(1)
        .stderr;
    assert!(refused.contains("The registry refused access"), "{refused}");
    allowing(&app, address, &["--env", "NPM_TOKEN=s3cret-of-npm"]).success();
    assert_eq!(app.answer(), (200, "Hello from afar".to_owned()));
    assert!(!unpacked(&app).contains("s3cret-of-npm"));
}

#[test]
fn an_extra_index_for_pip() {
    let app = FixtureApp::with_installer("python_standard_library");
    let work = app.site.path("work");
    fs::create_dir(&work).unwrap();
    let text = "TEXT = \"Hello from afar\"\n";
    let (name, wheel) = wheel(&work, "own-greeting", "1.0.0", text, &[]);
    // Of `user:s3cret-of-pip`.
    let registry = Registry::start(Some("Basic dXNlcjpzM2NyZXQtb2YtcGlw"), |_| {
        let page =
            format!("<!DOCTYPE html><html><body><a href=\"/{name}\">{name}</a></body></html>");
        [
            ("/simple/own-greeting/".to_owned(), page.into_bytes()),
            (format!("/{name}"), wheel),
        ]
        .into()
    });
    let address = &registry.address;
    fs::write(
        app.site.path("app/requirements.txt"),
        "own-greeting==1.0.0\n",
    )
    .unwrap();
    let server = fs::read_to_string(app.site.path("app/app.py")).unwrap();
    let server = server
        .replace("import os\n", "import os\n\nimport own_greeting\n")
        .replace("b\"Hello from Slugline\"", "own_greeting.TEXT.encode()");
    fs::write(app.site.path("app/app.py"), server).unwrap();

    let index = |user: &str| format!("PIP_EXTRA_INDEX_URL=http://{user}@{address}/simple");
    for installer in ["uv", "pip"] {
        let installer = format!("SLUGLINE_PYTHON_INSTALLER={installer}");
        let env = index("user:s3cret-of-pip");
        let built = allowing(&app, address, &["--env", &env, "--env", &installer]).success();
        assert!(!built.stderr.contains("s3cret-of-pip"), "{}", built.stderr);
        assert_eq!(app.answer(), (200, "Hello from afar".to_owned()));
        assert!(!unpacked(&app).contains("s3cret-of-pip"));
        fs::remove_dir_all(app.site.path("unpacked")).unwrap();
    }
    let env = index("user:wrong");
    let refused = allowing(&app, address, &["--env", &env]).failure(1).stderr;
    assert!(
        refused.contains("Unable to install dependencies"),
        "{refused}"
    );
}
