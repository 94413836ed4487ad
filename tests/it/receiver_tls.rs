//! Git and the API over TLS by the server itself, and over HTTP/2 with and without it.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::site::{Ran, Site, eventually};

/// Makes a certificate for the loopback address, and its key.
pub fn certificate(site: &Site, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (
        site.path(&format!("{name}.pem")),
        site.path(&format!("{name}.key")),
    );
    let made = site
        .command(Path::new("openssl"))
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", &format!("/CN={name}")])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .expect("openssl is installed: apt-get install openssl");
    Ran::new(made).success();
    (certificate, key)
}

fn with_tls(site: &mut Site, name: &str, arguments: &[&str]) -> (PathBuf, PathBuf) {
    let (certificate, key) = certificate(site, name);
    let paths = [certificate.to_str().unwrap(), key.to_str().unwrap()];
    let tls = ["--tls-cert", paths[0], "--tls-key", paths[1]];
    site.start(&[&tls, arguments].concat());
    (certificate, key)
}

/// Makes an app; neither the command line nor git knows the certificate but by this variable.
fn create_app(site: &Site, certificate: &Path, name: &str) {
    let made = site
        .command(Path::new(crate::site::SLUGLINE))
        .env("SSL_CERT_FILE", certificate)
        .args(["apps", "create", name])
        .output()
        .unwrap();
    Ran::new(made).success();
}

fn curl(site: &Site, arguments: &[&str], path: &str) -> Ran {
    let header = format!("Authorization: Bearer {}", site.token());
    let mut command: Command = site.command(Path::new("curl"));
    command
        .args(["--silent", "--show-error", "--max-time", "120"])
        .args(["--header", &header])
        .args(arguments)
        .arg(format!("{}{path}", site.url()));
    Ran::new(
        command
            .output()
            .expect("curl is installed: apt-get install curl"),
    )
}

#[test]
fn real_git_pushes_and_clones_over_tls() {
    let mut site = Site::without_server();
    let (certificate, _) = with_tls(&mut site, "one", &[]);
    assert!(site.url().starts_with("https://127.0.0.1:"));
    create_app(&site, &certificate, "hello");
    let app = site.repository("hello", "nodejs_http");
    let url = format!("{}/hello.git", site.url());
    let trust = format!("http.sslCAInfo={}", certificate.display());
    for version in ["HTTP/1.1", "HTTP/2"] {
        app.write("version", version);
        app.commit(version);
        let version = format!("http.version={version}");
        let git = |dir: &Path, arguments: &[&str]| {
            site.git_in(dir, &[&["-c", &trust, "-c", &version], arguments].concat())
        };
        let pushed = git(&app.dir, &["push", &url, "main"]).success();
        assert!(
            pushed.stderr.contains("remote: Verifying deploy... done."),
            "{}",
            pushed.stderr
        );
        let clone = site.path("clone");
        git(&site.path(""), &["clone", "--quiet", &url, "clone"]).success();
        let head = site.git_in(&clone, &["rev-parse", "HEAD"]).success().stdout;
        assert_eq!(head.trim(), app.head());
        std::fs::remove_dir_all(&clone).unwrap();
    }
    // A large push over HTTP/2: the probe and a body of unknown length.
    let noise = (0..200_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .map(|byte| byte as char)
        .collect::<String>();
    app.write("large", &noise);
    app.commit("Large");
    site.git_in(&app.dir, &["-c", &trust, "push", "--quiet", &url, "main"])
        .success();
    // Without the certificate there is no connection, and plain HTTP is not answered.
    let stranger = site.git_in(&app.dir, &["ls-remote", &url]);
    assert_ne!(stranger.code, Some(0));
    assert!(
        stranger.stderr.contains("certificate"),
        "{}",
        stranger.stderr
    );
    let mut plain = std::net::TcpStream::connect(&site.url()["https://".len()..]).unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
}

#[test]
fn both_versions_of_http_are_spoken_with_tls_and_without() {
    let mut site = Site::without_server();
    let (certificate, _) = with_tls(&mut site, "one", &[]);
    let trust = ["--cacert", certificate.to_str().unwrap()];
    let version = ["--output", "/dev/null", "--write-out", "%{http_version}"];
    let ask = |more: &[&str]| curl(&site, &[&trust[..], &version, more].concat(), "/apps");
    assert_eq!(ask(&["--http1.1"]).success().stdout, "1.1");
    assert_eq!(ask(&["--http2"]).success().stdout, "2");

    let site = Site::new();
    let ask = |more: &[&str]| curl(&site, &[&version[..], more].concat(), "/apps");
    assert_eq!(ask(&["--http1.1"]).success().stdout, "1.1");
    let oldest = ask(&["--http1.0"]).success().stdout;
    assert!(["1", "1.0"].contains(&oldest.as_str()), "{oldest}");
    assert_eq!(ask(&["--http2-prior-knowledge"]).success().stdout, "2");
    // The advertisement is the same, by whatever version it comes.
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    let refs = "/hello.git/info/refs?service=git-receive-pack";
    let plain = curl(&site, &["--http1.1"], refs).success().stdout;
    let framed = curl(&site, &["--http2-prior-knowledge"], refs)
        .success()
        .stdout;
    assert!(plain.contains("refs/heads/main"));
    assert_eq!(plain, framed);
}

#[test]
fn links_begin_with_the_public_url() {
    let mut site = Site::without_server();
    let (certificate, _) = with_tls(&mut site, "one", &[]);
    let trust = ["--cacert", certificate.to_str().unwrap()];
    let source = |site: &Site, trust: &[&str]| -> Value {
        let made = curl(site, &[trust, &["--request", "POST"]].concat(), "/sources").success();
        serde_json::from_str::<Value>(&made.stdout).unwrap()["source_blob"]["put_url"].clone()
    };
    let link = source(&site, &trust);
    assert!(link.as_str().unwrap().starts_with(site.url()), "{link}");

    let site = Site::with(&[
        "--behind-proxy",
        "--public-url",
        "https://slugs.example.com/",
    ]);
    let link = source(&site, &[]);
    assert!(
        link.as_str()
            .unwrap()
            .starts_with("https://slugs.example.com/sources/"),
        "{link}"
    );
}

#[test]
fn a_renewed_certificate_is_taken_up() {
    let mut site = Site::without_server();
    let (certificate, key) = with_tls(&mut site, "old", &[]);
    let subject = || {
        let asked = curl(
            &site,
            &["--insecure", "--verbose", "--output", "/dev/null"],
            "/apps",
        );
        let lines = asked.stderr.lines().map(str::to_owned);
        lines
            .filter(|line| line.contains("subject:"))
            .collect::<String>()
    };
    assert!(subject().ends_with("CN=old"), "{}", subject());
    let (new_certificate, new_key) = self::certificate(&site, "new");
    std::fs::rename(new_key, key).unwrap();
    std::fs::rename(new_certificate, certificate).unwrap();
    eventually("the new certificate is shown", || {
        subject().ends_with("CN=new")
    });
}

#[test]
fn what_is_no_certificate_is_told_at_the_start() {
    let site = Site::without_server();
    let (certificate, _) = certificate(&site, "one");
    let (_, other_key) = self::certificate(&site, "other");
    let serve = |arguments: &[&str]| {
        site.slugline(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat())
            .failure(2)
            .stderr
    };
    let path = certificate.to_str().unwrap();
    let key = other_key.to_str().unwrap();
    let wrong = serve(&["--tls-cert", path, "--tls-key", key]);
    assert!(wrong.contains("cannot be used with"), "{wrong}");
    let wrong = serve(&["--tls-cert", key, "--tls-key", key]);
    assert!(wrong.contains("has no certificate"), "{wrong}");
    let wrong = serve(&["--tls-cert", path, "--tls-key", "/nonexistent"]);
    assert!(wrong.contains("/nonexistent"), "{wrong}");
    let wrong = serve(&["--tls-cert", path]);
    assert!(wrong.contains("--tls-key"), "{wrong}");
}
