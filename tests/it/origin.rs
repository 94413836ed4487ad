//! A web server of a stranger's, on loopback: git repositories by `git http-backend`, and files.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::site::{Site, copy_dir};

/// The folder of a fixture buildpack.
pub fn fixture_buildpack(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/buildpacks")
        .join(name)
}

/// The server; it ends with the test's process.
pub struct Origin {
    dir: PathBuf,
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Origin {
    pub fn new(site: &Site) -> Self {
        let dir = site.path("origin");
        fs::create_dir(&dir).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<AtomicUsize>::default();
        let (root, count) = (dir.clone(), requests.clone());
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (root, count) = (root.clone(), count.clone());
                thread::spawn(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    // A client may leave in the middle.
                    let _ = answer(&root, connection.unwrap());
                });
            }
        });
        Self { dir, url, requests }
    }

    pub fn address(&self) -> SocketAddr {
        self.url.trim_start_matches("http://").parse().unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// Answers requests for `path` with a redirection.
    pub fn redirect(&self, path: &str, location: &str) {
        let file = self.path(&format!("{path}.location"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, location).unwrap();
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Serves a fixture buildpack as a repository `name`, with one commit on `main`; gives its id.
    pub fn repository(&self, site: &Site, name: &str, fixture: &str) -> String {
        let dir = self.dir.join(name);
        copy_dir(&fixture_buildpack(fixture), &dir);
        git(site, &dir, &["init", "--quiet", "--initial-branch=main"]);
        self.commit(site, name)
    }

    /// Commits what is in the repository's work tree.
    pub fn commit(&self, site: &Site, name: &str) -> String {
        let dir = self.dir.join(name);
        git(site, &dir, &["add", "--all"]);
        git(site, &dir, &["commit", "--quiet", "--message", "Change"]);
        git(site, &dir, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// A path of what is served.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn git(&self, site: &Site, name: &str, arguments: &[&str]) {
        git(site, &self.dir.join(name), arguments);
    }

    /// Serves a fixture buildpack as a tarball `name`; gives the bytes' digest.
    pub fn tarball(&self, site: &Site, name: &str, fixture: &str) -> slugline::digest::Digest {
        let path = self.dir.join(name);
        let output = site
            .command(Path::new("tar"))
            .arg("-czf")
            .arg(&path)
            .arg("-C")
            .arg(fixture_buildpack(fixture))
            .arg("bin")
            .output()
            .unwrap();
        assert!(output.status.success());
        slugline::digest::Digest::of(&fs::read(path).unwrap())
    }
}

fn git(site: &Site, dir: &Path, arguments: &[&str]) -> String {
    let mut command = site.command(Path::new("git"));
    let output = command.current_dir(dir).args(arguments).output().unwrap();
    crate::site::Ran::new(output).success().stdout
}

fn answer(root: &Path, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let header = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let file = root.join(path.trim_start_matches('/'));
    if let Ok(location) = fs::read_to_string(format!("{}.location", file.display())) {
        // A repository's URL stays one.
        let rest = query.is_empty().then(String::new);
        let rest = rest.unwrap_or_else(|| format!("?{query}"));
        return write!(
            stream,
            "HTTP/1.0 302 Found\r\nLocation: {location}{rest}\r\nContent-Length: 0\r\n\r\n"
        );
    }
    if file.is_file() {
        let bytes = fs::read(file)?;
        write!(
            stream,
            "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n",
            bytes.len()
        )?;
        return stream.write_all(&bytes);
    }
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", &method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    backend.stdin.take().unwrap().write_all(&body)?;
    let output = backend.wait_with_output()?.stdout;
    let text = String::from_utf8_lossy(&output);
    let status = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK")
        .to_owned();
    write!(stream, "HTTP/1.0 {status}\r\n")?;
    stream.write_all(&output)
}
