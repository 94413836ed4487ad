//! TLS by the router: certificates by name, renewed ones, and what apps are told of it.

use std::path::{Path, PathBuf};

use crate::dynos::{deployed, logged};
use crate::site::{Ran, Site, eventually};

/// Makes a certificate for some names, and its key, in a directory.
fn certificate(site: &Site, stem: &Path, names: &str) {
    let file = |extension| stem.with_extension(extension);
    let made = site
        .command(Path::new("openssl"))
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args([
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-subj",
            "/CN=test",
        ])
        .args(["-addext", &format!("subjectAltName={names}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(file("pem"))
        .arg("-keyout")
        .arg(file("key"))
        .output()
        .expect("openssl is installed: apt-get install openssl");
    Ran::new(made).success();
}

/// A site whose router speaks TLS for apps' own names and for one besides.
pub fn with_tls() -> (Site, PathBuf) {
    let mut site = Site::without_server();
    let dir = site.path("certificates");
    std::fs::create_dir_all(dir.join("acme")).unwrap();
    certificate(
        &site,
        &dir.join("apps"),
        "DNS:hello.localhost,DNS:none.localhost",
    );
    certificate(
        &site,
        &dir.join("own"),
        "DNS:www.example.com,DNS:Shop.Example.com",
    );
    // As ACME clients lay them out.
    certificate(&site, &dir.join("acme/x"), "DNS:*.example.org");
    std::fs::rename(dir.join("acme/x.pem"), dir.join("acme/fullchain.pem")).unwrap();
    std::fs::rename(dir.join("acme/x.key"), dir.join("acme/privkey.pem")).unwrap();
    let path = dir.to_str().unwrap().to_owned();
    site.start(&[
        "--router-tls-listen",
        "127.0.0.1:0",
        "--router-certificates",
        &path,
    ]);
    (site, dir)
}

/// curl, which trusts one certificate and looks hosts up at the router.
pub fn curl(site: &Site, trusted: &Path, arguments: &[&str], host: &str, path: &str) -> Ran {
    let port = site.router_tls_port();
    let mut command = site.command(Path::new("curl"));
    command
        .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
        .arg(trusted)
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .args(arguments)
        .arg(format!("https://{host}:{port}{path}"));
    Ran::new(
        command
            .output()
            .expect("curl is installed: apt-get install curl"),
    )
}

#[test]
fn certificates_are_chosen_by_name() {
    let (site, dir) = with_tls();
    let app = deployed(&site, "hello");
    for name in [
        "www.example.com",
        "shop.example.com",
        "a.example.org",
        "a.b.example.org",
    ] {
        app.slugline(&["domains:add", name]).success();
    }
    let ask = |file: &str, host: &str| curl(&site, &dir.join(file), &[], host, "/");
    for (file, host) in [
        ("apps.pem", "hello.localhost"),
        ("own.pem", "www.example.com"),
        ("own.pem", "shop.example.com"),
        ("acme/fullchain.pem", "a.example.org"),
    ] {
        assert_eq!(
            ask(file, host).success().stdout,
            "Hello from web.1\n",
            "{host}"
        );
    }
    // No certificate for another's name, nor a wildcard's for two labels: no connection at all.
    for (file, host) in [
        ("own.pem", "hello.localhost"),
        ("acme/fullchain.pem", "a.b.example.org"),
        ("apps.pem", "evil.example.net"),
    ] {
        let refused = ask(file, host);
        assert_ne!(refused.code, Some(0), "{host}: {}", refused.stdout);
    }
    // A name that has a certificate and no app.
    let nobody = curl(
        &site,
        &dir.join("apps.pem"),
        &["--write-out", "%{http_code}"],
        "none.localhost",
        "/",
    );
    assert!(nobody.success().stdout.ends_with("404"));
    // Plain HTTP on that socket is no request.
    let port = site.router_tls_port();
    let plain = site
        .command(Path::new("curl"))
        .args(["--silent", "--max-time", "60"])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .unwrap();
    assert!(!plain.status.success());
}

#[test]
fn people_are_sent_to_tls_where_there_is_a_certificate_for_all_apps() {
    let mut site = Site::without_server();
    let dir = site.path("certificates");
    std::fs::create_dir(&dir).unwrap();
    certificate(&site, &dir.join("apps"), "DNS:*.apps.example.net");
    let path = dir.to_str().unwrap().to_owned();
    let arguments = [
        "--router-tls-listen",
        "127.0.0.1:0",
        "--router-certificates",
        &path,
    ];
    assert!(site.try_start(&arguments, &[("SLUGLINE_DOMAIN", "apps.example.net")]));
    let app = site.app("hello", "inline_dynos");
    app.slugline(&["buildpacks", "set", "inline"]).success();
    let push = app.push().success().stderr;
    let url = format!("https://hello.apps.example.net:{}/", site.router_tls_port());
    assert!(
        push.contains(&format!("{url} deployed to Slugline")),
        "{push}"
    );
    assert_eq!(site.api("GET", "/apps/hello", None).1["web_url"], url);
    let answer = curl(
        &site,
        &dir.join("apps.pem"),
        &[],
        "hello.apps.example.net",
        "/",
    );
    assert_eq!(answer.success().stdout, "Hello from web.1\n");
    let host = site.slugline(&["domains", "-a", "hello"]).success().stdout;
    assert!(host.contains("hello.apps.example.net  heroku"), "{host}");
}

#[test]
fn an_app_is_told_how_its_client_came() {
    let (site, dir) = with_tls();
    deployed(&site, "hello");
    let port = site.router_tls_port().to_string();
    for (version, shown) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let arguments = [
            version,
            "--write-out",
            "\n%{http_version}",
            "--header",
            "Cookie: a=1",
        ];
        let answer = curl(
            &site,
            &dir.join("apps.pem"),
            &arguments,
            "hello.localhost",
            "/headers",
        )
        .success();
        let (body, version) = answer.stdout.rsplit_once('\n').unwrap();
        assert_eq!(version, shown);
        let headers: Vec<(String, String)> = serde_json::from_str(body).unwrap();
        let value = |name: &str| {
            let found = headers.iter().filter(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(value("host"), [format!("hello.localhost:{port}")]);
        assert_eq!(value("x-forwarded-proto"), ["https"]);
        assert_eq!(value("x-forwarded-port"), [port.as_str()]);
        assert_eq!(value("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(value("cookie"), ["a=1"]);
        assert_eq!(value("via"), ["1.1 slugline"]);
    }
    logged(&site, "hello", "status=200 bytes=");
    assert!(
        crate::dynos::log(&site, "hello")
            .iter()
            .any(|line| line.ends_with("protocol=https"))
    );
    // Both ways, and over both: more than any buffer holds.
    let big = site.path("big");
    std::fs::write(&big, vec![7; 5_000_000]).unwrap();
    let data = format!("@{}", big.display());
    for version in ["--http1.1", "--http2"] {
        let sent = curl(
            &site,
            &dir.join("apps.pem"),
            &[version, "--data-binary", &data],
            "hello.localhost",
            "/",
        );
        assert_eq!(sent.success().stdout, "5000000 bytes", "{version}");
        let got = curl(
            &site,
            &dir.join("apps.pem"),
            &[
                version,
                "--output",
                "/dev/null",
                "--write-out",
                "%{size_download}",
            ],
            "hello.localhost",
            "/zeros/20000000",
        );
        assert_eq!(got.success().stdout, "20000000", "{version}");
    }
}

#[test]
fn renewed_certificates_are_taken_up() {
    let (site, dir) = with_tls();
    deployed(&site, "hello");
    let works =
        |file: &str, host: &str| curl(&site, &dir.join(file), &[], host, "/").code == Some(0);
    assert!(!works("new.pem", "new.example.net"));
    site.slugline(&["domains:add", "new.example.net", "-a", "hello"])
        .success();
    // One that is half written, and then whole.
    std::fs::write(dir.join("new.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    std::fs::write(dir.join("new.key"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert!(works("apps.pem", "hello.localhost"), "the old ones stay");
    certificate(&site, &dir.join("new"), "DNS:new.example.net");
    eventually("the new one", || works("new.pem", "new.example.net"));
    assert!(works("apps.pem", "hello.localhost"));
}

#[test]
fn a_directory_without_certificates_is_told_at_the_start() {
    let site = Site::without_server();
    let dir = site.path("certificates");
    std::fs::create_dir(&dir).unwrap();
    let serve = || {
        let path = dir.to_str().unwrap();
        let arguments = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--router-tls-listen",
            "127.0.0.1:0",
            "--router-certificates",
            path,
        ];
        site.slugline(&arguments).failure(2).stderr
    };
    let told = serve();
    assert!(
        told.contains("has no certificate with a key beside it"),
        "{told}"
    );
    std::fs::write(dir.join("a.pem"), "x").unwrap();
    std::fs::write(dir.join("a.key"), "x").unwrap();
    let told = serve();
    assert!(told.contains("a.pem has no certificate"), "{told}");
    certificate(&site, &dir.join("a"), "IP:127.0.0.1");
    let told = serve();
    assert!(told.contains("is for no host name"), "{told}");
    std::fs::remove_dir_all(&dir).unwrap();
    let told = serve();
    assert!(told.contains("cannot be read"), "{told}");
    let half = site
        .slugline(&["serve", "--router-tls-listen", "127.0.0.1:0"])
        .failure(2);
    assert!(
        half.stderr.contains("there is one alone"),
        "{}",
        half.stderr
    );
}
