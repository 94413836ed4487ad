//! Submodules: fetched from a git server over https, and refused where they lead elsewhere.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::receiver_tls::certificate;
use crate::site::{Ran, Repository, Site};

/// Serves a directory over TLS; git reads repositories there by its simplest protocol.
const SERVER: &str = r#"
import functools, http.server, ssl, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

struct Host {
    server: Child,
    root: PathBuf,
    url: String,
    certificate: PathBuf,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Host {
    fn new(site: &Site) -> Self {
        let (certificate, key) = certificate(site, "host");
        let root = site.path("host");
        fs::create_dir(&root).unwrap();
        let mut server = site
            .command(Path::new("python3"))
            .args(["-c", SERVER])
            .args([&root, &certificate, &key])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        Self {
            server,
            root,
            url: format!("https://127.0.0.1:{}", port.trim()),
            certificate,
        }
    }

    /// Publishes the work tree's branch as a bare repository.
    fn publish(&self, site: &Site, from: &Path, name: &str) {
        let bare = self.root.join(name);
        let clone = [
            "clone",
            "--quiet",
            "--bare",
            from.to_str().unwrap(),
            bare.to_str().unwrap(),
        ];
        site.git_in(&self.root, &clone).success();
        site.git_in(&bare, &["update-server-info"]).success();
    }
}

/// Writes a gitlink and what `.gitmodules` says of it.
fn add(repository: &Repository<'_>, path: &str, url: &str, commit: &str) {
    let section = format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n");
    let file = repository.dir.join(".gitmodules");
    let before = fs::read_to_string(&file).unwrap_or_default();
    fs::write(file, before + &section).unwrap();
    repository.git(&["add", ".gitmodules"]).success();
    let entry = format!("160000,{commit},{path}");
    repository
        .git(&["update-index", "--add", "--cacheinfo", &entry])
        .success();
    repository
        .git(&["commit", "--quiet", "-m", "A submodule"])
        .success();
}

fn push(site: &Site, app: &Repository<'_>) -> Ran {
    let url = format!("{}/hello.git", site.url());
    site.git_in(&app.dir, &["push", "--force", &url, "main"])
}

fn site_with(settings: &str) -> (Site, Host) {
    let mut site = Site::without_server();
    let host = Host::new(&site);
    fs::create_dir_all(site.data()).unwrap();
    let text = format!(
        "build_env:\n  GIT_SSL_CAINFO: {}\n{settings}",
        host.certificate.display()
    );
    fs::write(site.data().join("slugline.yml"), text).unwrap();
    site.start(&[]);
    (site, host)
}

#[test]
fn submodules_and_theirs_are_part_of_the_slug() {
    let (site, host) = site_with("network_allow: 127.0.0.1\n");
    let inner = site.repository("inner", "no_language");
    inner.write("inner-file", "of the inner one\n");
    inner.commit("Inner");
    host.publish(&site, &inner.dir, "inner.git");
    let outer = site.repository("outer", "no_language");
    add(&outer, "deep/inner", "../inner.git", &inner.head());
    host.publish(&site, &outer.dir, "outer.git");

    let app = site.app("hello", "nodejs_http");
    let url = format!("{}/outer.git", host.url);
    add(&app, "vendor/outer", &url, &outer.head());
    push(&site, &app).success();
    let release = site.api("GET", "/apps/hello/releases/current", None).1;
    let slug = release["slug"]["id"].as_str().unwrap();
    let slug = site
        .api("GET", &format!("/apps/hello/slugs/{slug}"), None)
        .1;
    let blob = slug["blob"]["url"].as_str().unwrap();
    let bytes = crate::site::agent()
        .get(blob)
        .call()
        .unwrap()
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_vec()
        .unwrap();
    fs::write(site.path("slug.tgz"), bytes).unwrap();
    let listed = site.slugline(&["slug", "ls", "slug.tgz", "vendor/outer/deep/inner"]);
    let listed = listed.success().stdout;
    assert!(listed.contains("inner-file"), "{listed}");

    // A commit that the other repository does not have.
    app.git(&["reset", "--quiet", "--hard", "HEAD~1"]).success();
    add(&app, "vendor/outer", &url, &app.head());
    let refused = push(&site, &app).failure(1);
    assert!(
        refused.stderr.contains("submodule install failed"),
        "{}",
        refused.stderr
    );
}

#[test]
fn submodules_lead_nowhere_else() {
    let (site, host) = site_with("");
    let app = site.app("hello", "nodejs_http");
    let first = app.head();
    let refused = |url: &str, expected: &str| {
        app.git(&["reset", "--quiet", "--hard", &first]).success();
        add(&app, "vendor/module", url, &first);
        let refused = push(&site, &app).failure(1);
        let shown = format!("{url}: {}", refused.stderr);
        let text = refused.stderr.replace("remote:  !", "");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(expected), "{shown}");
    };
    // Nothing of this machine or its neighbours, unless the operator allows it.
    refused(&format!("{}/outer.git", host.url), "is a loopback address");
    refused(
        "https://169.254.169.254/latest.git",
        "is a link-local address",
    );
    refused("https://10.0.0.1/a.git", "is a private address");
    refused("http://example.com/a.git", "only https is fetched");
    refused("git://example.com/a.git", "only https is fetched");
    refused(
        "https://me:secret@example.com/a.git",
        "a user or a password",
    );
    // git would look for another app of this server there, with the pusher's token.
    refused("../other.git", "relative to the app's own repository");
    refused("./other.git", "write an https URL");
    refused("/etc", "only https");
}
