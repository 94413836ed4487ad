//! A store in a bucket of a real S3 server: moto, from PyPI, in an environment of the test's own.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use slugline::digest::Digest;
use slugline::store::{Bucket, Error, Store};

use crate::site::{Site, agent};

/// Starts the server on a free port, makes a bucket, and says both on stdout. Then it does what is
/// asked for on stdin, as somebody else who has the bucket would.
const SERVER: &str = r#"
import sys, boto3, botocore
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()
url = f"http://127.0.0.1:{port}"
s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1",
    aws_access_key_id="test", aws_secret_access_key="test")
s3.create_bucket(Bucket="slugs")
print(url, flush=True)
for line in sys.stdin:
    verb, key, text = line.rstrip("\n").split(" ")
    try:
        if verb == "put":
            s3.put_object(Bucket="slugs", Key=key, Body=text.encode())
            print("put", flush=True)
        elif verb == "create":
            s3.put_object(Bucket="slugs", Key=key, Body=text.encode(), IfNoneMatch="*")
            print("created", flush=True)
        elif verb == "count":
            print(s3.list_objects_v2(Bucket="slugs")["KeyCount"], flush=True)
    except botocore.exceptions.ClientError as error:
        print(error.response["Error"]["Code"], flush=True)
"#;

/// The Python that has moto; installed once a run.
fn python() -> &'static Path {
    static PYTHON: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, python) = PYTHON.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let run = |command: &mut Command| {
            let status = command.stdout(Stdio::null()).status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "{command:?}: apt-get install python3-venv, and a way to PyPI"
            );
        };
        run(Command::new("python3").args(["-m", "venv"]).arg(dir.path()));
        let python = dir.path().join("bin/python");
        let packages = ["moto[server]==5.*", "boto3==1.*"];
        let arguments = ["-m", "pip", "install", "--quiet"];
        run(Command::new(&python).args(arguments).args(packages));
        (dir, python)
    });
    python
}

struct Server {
    child: Child,
    asked: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    url: String,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(python())
            .args(["-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        // It says other things first.
        let url = answers
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.starts_with("http://"))
            .expect("the server starts");
        Self {
            asked: Mutex::new((child.stdin.take().unwrap(), answers)),
            child,
            url,
            runtime: tokio::runtime::Runtime::new().unwrap(),
        }
    }

    /// What another client of the bucket is told.
    fn ask(&self, verb: &str, key: &str, text: &str) -> String {
        let (requests, answers) = &mut *self.asked.lock().unwrap();
        writeln!(requests, "{verb} {key} {text}").unwrap();
        answers.next().unwrap().unwrap()
    }

    fn variables(&self) -> [(&'static str, &str); 5] {
        [
            ("AWS_ENDPOINT_URL", &self.url),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_PAGER", "cat"),
        ]
    }

    fn store(&self, dir: &Path) -> Store {
        let variables = self
            .variables()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let url = "s3://slugs/some/prefix/".parse().unwrap();
        let bucket = Bucket::new(&url, variables, self.runtime.handle().clone());
        Store::open(dir).unwrap().with_bucket(bucket.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes that differ from place to place.
fn bytes_of(size: usize) -> Vec<u8> {
    (0..size.div_ceil(8) as u64)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(size)
        .collect()
}

fn key(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("some/prefix/sha256/{}/{hex}", &hex[..2])
}

fn read(store: &Store, digest: &Digest) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut blob = store.read_verified(digest).unwrap();
    blob.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_one_directory_puts_another_gets() {
    let server = Server::start();
    let [one, other, third] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (here, there) = (server.store(one.path()), server.store(other.path()));
    // A small one, one of exactly a part, one of several parts, and the empty one.
    for size in [0, 10, 8 << 20, (20 << 20) + 17] {
        let bytes = bytes_of(size);
        let digest = here.put(&bytes).unwrap();
        assert_eq!(here.put(&bytes).unwrap(), digest);
        assert!(there.contains(&digest).unwrap());
        assert!(!there.path_of(&digest).exists());
        assert!(read(&there, &digest) == bytes);
        assert!(there.path_of(&digest).exists());
        // Put by another one, too: it is there already.
        assert_eq!(server.store(third.path()).put(&bytes).unwrap(), digest);
    }
    assert_eq!(server.ask("count", "", ""), "4");
    let missing = Digest::of(b"never put");
    assert!(matches!(
        there.open_blob(&missing),
        Err(Error::NotFound { .. })
    ));
    assert!(!there.contains(&missing).unwrap());
}

#[test]
fn eight_put_one_blob_and_the_first_wins() {
    let server = Server::start();
    let bytes = bytes_of(100_000);
    let digest = Digest::of(&bytes);
    let dirs = [(); 8].map(|()| tempfile::tempdir().unwrap());
    std::thread::scope(|scope| {
        for dir in &dirs {
            let (server, bytes) = (&server, &bytes);
            scope.spawn(move || assert_eq!(server.store(dir.path()).put(bytes).unwrap(), digest));
        }
    });
    let fresh = tempfile::tempdir().unwrap();
    assert!(read(&server.store(fresh.path()), &digest) == bytes);
    // The server holds to the condition, and puts are made on it: what is there stays.
    let other = Digest::of(b"a slug");
    assert_eq!(
        server.ask("create", &key(&digest), "x"),
        "PreconditionFailed"
    );
    assert_eq!(server.ask("create", &key(&other), "first"), "created");
    server.store(dirs[0].path()).put(b"a slug").unwrap();
    assert!(matches!(
        server.store(fresh.path()).open_blob(&other),
        Err(Error::Damaged(_))
    ));
}

#[test]
fn a_damaged_object_is_not_taken() {
    let server = Server::start();
    let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let digest = server.store(one.path()).put(b"a slug").unwrap();
    assert_eq!(server.ask("put", &key(&digest), "a_slag"), "put");
    let there = server.store(other.path());
    let error = there.open_blob(&digest).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)));
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert!(!there.path_of(&digest).exists());
}

#[test]
fn a_bucket_that_is_away_is_named() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = "s3://no-such-bucket".parse().unwrap();
    let variables = server
        .variables()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let bucket = Bucket::new(&elsewhere, variables, server.runtime.handle().clone()).unwrap();
    let store = Store::open(dir.path()).unwrap().with_bucket(bucket);
    let error = store.put(b"a slug").unwrap_err();
    assert!(matches!(error, Error::Bucket { .. }), "{error:?}");
}

#[test]
fn collecting_reaches_the_bucket() {
    let server = Server::start();
    let [one, other, third] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let store = server.store(one.path());
    let [needed, free] = [&b"needed"[..], b"free"].map(|bytes| store.put(bytes).unwrap());
    let time = |digest: &Digest| {
        let path = store.path_of(digest);
        std::fs::metadata(path).unwrap().modified().unwrap()
    };
    let hour = Duration::from_secs(3600);
    let now = time(&free);
    let keep = HashSet::from([needed]);
    // From another server, whose directory is empty.
    let elsewhere = server.store(other.path());
    assert_eq!(
        elsewhere.collect(&keep, now, hour, false).unwrap().removed,
        []
    );
    let collected = elsewhere
        .collect(&keep, now + 2 * hour, hour, false)
        .unwrap();
    assert_eq!((collected.removed, collected.kept), (vec![free], 1));
    let fresh = server.store(third.path());
    assert!(!fresh.contains(&free).unwrap() && fresh.contains(&needed).unwrap());
}

#[test]
fn a_server_s_slugs_come_back_from_its_bucket() {
    let bucket = Server::start();
    let mut site = Site::without_server();
    let mut environment = bucket.variables().to_vec();
    environment.push(("SLUGLINE_BUCKET", "s3://slugs/one"));
    assert!(site.try_start(&[], &environment), "{}", site.server_log());
    site.app("hello", "nodejs_http").push().success();
    // The slug and its manifest.
    assert_eq!(bucket.ask("count", "", ""), "2");
    // The machine's disk is lost, but for the ledger.
    let blobs = site.data().join("slugs/sha256");
    std::fs::remove_dir_all(&blobs).unwrap();
    std::fs::create_dir(&blobs).unwrap();
    let slug = |site: &Site| {
        let releases = site.api("GET", "/apps/hello/releases", None).1;
        let releases = releases.as_array().unwrap().clone();
        let id = releases
            .iter()
            .find_map(|release| release["slug"]["id"].as_str());
        let path = format!("/apps/hello/slugs/{}", id.unwrap());
        site.api("GET", &path, None).1
    };
    let slug = slug(&site);
    let blob = agent().get(slug["blob"]["url"].as_str().unwrap()).call();
    let blob = blob
        .unwrap()
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_vec()
        .unwrap();
    assert_eq!(
        slug["checksum"],
        format!("SHA256:{}", Digest::of(&blob).hex())
    );
    // And without the bucket there is no release.
    drop(bucket);
    std::fs::write(site.path("hello/new.txt"), "new").unwrap();
    let hello = site.path("hello");
    site.git_in(&hello, &["add", "--all"]).success();
    site.git_in(&hello, &["commit", "--quiet", "--message", "New"])
        .success();
    let pushed = site
        .git_in(&hello, &["push", "slugline", "main"])
        .failure(1);
    assert!(
        pushed
            .stderr
            .contains("The slug store's bucket does not work."),
        "{}",
        pushed.stderr
    );
}
