//! Packages from registries that want a secret, which a config var holds: they are installed, and
//! the secret is not in the slug.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use serde_json::json;

use crate::fixture_app::FixtureApp;
use crate::site::Ran;

/// Where registries listen: on this machine, but no build takes it for its own loopback, which it is
/// told to reach without the proxy.
const HOST: &str = "127.0.0.2:0";

/// Serves documents to those who have the secret; ends with the test's process.
struct Registry {
    address: String,
}

impl Registry {
    /// `documents` makes them, by path, of the address; `authorization` is the header to be sent.
    fn start(
        authorization: &'static str,
        documents: impl FnOnce(&str) -> BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let listener = TcpListener::bind(HOST).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let documents = Arc::new(documents(&address));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let documents = documents.clone();
                thread::spawn(move || {
                    // A client may leave in the middle.
                    let _ = answer(connection.unwrap(), authorization, &documents);
                });
            }
        });
        Self { address }
    }
}

fn answer(
    stream: TcpStream,
    authorization: &str,
    documents: &BTreeMap<String, Vec<u8>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let path = lines
        .first()
        .and_then(|line| line.split(' ').nth(1))
        .unwrap_or_default();
    let allowed = lines.iter().any(|line| {
        let header = line.split_once(": ");
        header.is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("authorization") && value == authorization
        })
    });
    let document = documents.get(path).filter(|_| allowed);
    let status = match (document, allowed) {
        (Some(_), _) => "200 OK",
        (None, true) => "404 Not Found",
        (None, false) => "401 Unauthorized",
    };
    let body = document.map(Vec::as_slice).unwrap_or_default();
    let kind = if path.ends_with('/') {
        "text/html"
    } else {
        "application/octet-stream"
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}

fn run(dir: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .current_dir(dir)
        .args(arguments)
        .output();
    Ran::new(output.unwrap()).success();
}

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
    let registry = Registry::start("Bearer s3cret-of-npm", |address| {
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
    const WHEEL: &str = "
import zipfile
with zipfile.ZipFile('own_greeting-1.0.0-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('own_greeting.py', 'TEXT = \"Hello from afar\"\\n')
    wheel.writestr('own_greeting-1.0.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: own-greeting\\nVersion: 1.0.0\\n')
    wheel.writestr('own_greeting-1.0.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: own\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr('own_greeting-1.0.0.dist-info/RECORD', 'own_greeting.py,,\\nown_greeting-1.0.0.dist-info/METADATA,,\\nown_greeting-1.0.0.dist-info/WHEEL,,\\nown_greeting-1.0.0.dist-info/RECORD,,\\n')
";
    let app = FixtureApp::with_installer("python_standard_library");
    let work = app.site.path("work");
    fs::create_dir(&work).unwrap();
    run(&work, "/usr/bin/python3", &["-c", WHEEL]);
    let name = "own_greeting-1.0.0-py3-none-any.whl";
    let wheel = fs::read(work.join(name)).unwrap();
    // Of `user:s3cret-of-pip`.
    let registry = Registry::start("Basic dXNlcjpzM2NyZXQtb2YtcGlw", |_| {
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
