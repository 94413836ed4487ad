//! A store in a bucket of a real S3 server: moto, from PyPI, in an environment of the test's own.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

use crate::digest::Digest;
use crate::store::{Bucket, Error, Store};

/// Starts the server on a free port, makes a bucket, and says both on stdout.
const SERVER: &str = r#"
import sys, boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()
url = f"http://127.0.0.1:{port}"
boto3.client("s3", endpoint_url=url, region_name="us-east-1",
    aws_access_key_id="test", aws_secret_access_key="test").create_bucket(Bucket="slugs")
print(url, flush=True)
sys.stdin.read()
"#;

/// The Python that has moto; installed once a run.
fn python() -> &'static Path {
    static PYTHON: OnceLock<(tempfile::TempDir, std::path::PathBuf)> = OnceLock::new();
    let (_, python) = PYTHON.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let run = |command: &mut Command, install: &str| {
            let status = command.stdout(Stdio::null()).status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "{command:?}: {install}"
            );
        };
        let needs = "apt-get install python3-venv, and a way to PyPI";
        run(
            Command::new("python3").args(["-m", "venv"]).arg(dir.path()),
            needs,
        );
        let python = dir.path().join("bin/python");
        let arguments = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "moto[server]==5.*",
            "boto3",
        ];
        run(Command::new(&python).args(arguments), needs);
        (dir, python)
    });
    python
}

struct Server {
    child: Child,
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
        // It says other things first.
        let url = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap)
            .find(|line| line.starts_with("http://"))
            .expect("the server starts");
        Self {
            child,
            url,
            runtime: tokio::runtime::Runtime::new().unwrap(),
        }
    }

    fn s3(&self) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(&self.url)
            .with_allow_http(true)
            .with_bucket_name("slugs")
            .with_region("us-east-1")
            .with_access_key_id("test")
            .with_secret_access_key("test")
            .build()
            .unwrap()
    }

    fn store(&self, dir: &Path) -> Store {
        let objects: Arc<dyn ObjectStore> = Arc::new(self.s3());
        let bucket = Bucket::new(objects, "/some/prefix/", self.runtime.handle().clone());
        Store::open(dir).unwrap().with_bucket(bucket)
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
    // The server holds to the condition.
    let hex = digest.hex();
    let path = format!("some/prefix/sha256/{}/{hex}", &hex[..2]).into();
    let s3 = server.s3();
    let put = s3.put_opts(&path, b"other".to_vec().into(), PutMode::Create.into());
    assert!(matches!(
        server.runtime.block_on(put),
        Err(object_store::Error::AlreadyExists { .. })
    ));
}

#[test]
fn a_damaged_object_is_not_taken() {
    let server = Server::start();
    let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let digest = server.store(one.path()).put(b"a slug").unwrap();
    let hex = digest.hex();
    let path = format!("some/prefix/sha256/{}/{hex}", &hex[..2]).into();
    let s3 = server.s3();
    server
        .runtime
        .block_on(s3.put(&path, b"a slag".to_vec().into()))
        .unwrap();
    let there = server.store(other.path());
    assert!(matches!(there.open_blob(&digest), Err(Error::Damaged(_))));
    assert!(!there.path_of(&digest).exists());
    let error = io::Error::other(there.open_blob(&digest).unwrap_err());
    assert!(error.to_string().contains("is damaged"));
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
    let hour = std::time::Duration::from_secs(3600);
    let now = time(&free);
    let keep = std::collections::HashSet::from([needed]);
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
