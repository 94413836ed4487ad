//! A store in a directory of the test's own.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::Damaged;
use super::{Collected, Error, Store};
use crate::digest::Digest;

/// All files below a directory, relative to it.
fn files(dir: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let path = path.strip_prefix(dir).unwrap();
                files.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

fn name(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("sha256/{}/{hex}", &hex[..2])
}

fn read(store: &Store, digest: &Digest) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    store
        .read_verified(digest)
        .unwrap()
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn what_is_put_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("made/by/open")).unwrap();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"a slug").unwrap();
    writer.write_all(b" in parts").unwrap();
    let (digest, size_bytes) = writer.commit().unwrap();
    assert_eq!((digest, size_bytes), (Digest::of(b"a slug in parts"), 15));
    assert!(store.contains(&digest).unwrap());
    assert_eq!(read(&store, &digest).unwrap(), b"a slug in parts");
    assert_eq!(store.put(b"a slug in parts").unwrap(), digest);

    let again = Store::open(&dir.path().join("made/by/open")).unwrap();
    assert_eq!(read(&again, &digest).unwrap(), b"a slug in parts");
    assert_eq!(files(&dir.path().join("made/by/open")), [name(&digest)]);

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let path = store.path_of(&digest);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn what_is_removed_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = store.put(b"").unwrap();
    assert!(store.remove(&digest).unwrap());
    assert!(!store.remove(&digest).unwrap());
    assert!(!store.contains(&digest).unwrap());
    for missing in [digest, Digest::of(b"never put")] {
        let error = store.open_blob(&missing).unwrap_err();
        assert!(matches!(error, Error::NotFound { digest } if digest == missing));
        assert!(matches!(
            store.read_verified(&missing),
            Err(Error::NotFound { .. })
        ));
    }
}

#[test]
fn an_existing_blob_wins() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = store.put(b"x").unwrap();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"x").unwrap();
    let before = fs::metadata(store.path_of(&digest)).unwrap();
    assert_eq!(writer.commit().unwrap(), (digest, 1));
    let after = fs::metadata(store.path_of(&digest)).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&before),
        std::os::unix::fs::MetadataExt::ino(&after)
    );
    assert_eq!(files(dir.path()), [name(&digest)]);
}

#[test]
fn what_is_not_committed_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"half a slug").unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    assert!(!store.contains(&Digest::of(b"half a slug")).unwrap());
    drop(writer);
    assert!(files(dir.path()).is_empty());
}

#[test]
fn leftovers_of_a_crash_are_swept_and_living_writers_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"still writing").unwrap();
    fs::write(dir.path().join("incoming/leftover"), b"half a slug").unwrap();
    assert_eq!(files(dir.path()).len(), 2);
    Store::open(dir.path()).unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    let (digest, _) = writer.commit().unwrap();
    assert_eq!(digest, Digest::of(b"still writing"));
    assert_eq!(files(dir.path()), [name(&digest)]);
}

#[test]
fn eight_threads_put_one_blob() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![7; 1 << 20];
    let store = Store::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let store = store.clone();
            let (bytes, dir) = (&bytes, dir.path());
            scope.spawn(move || {
                for part in 1..=8 {
                    Store::open(dir).unwrap();
                    let mut writer = store.writer().unwrap();
                    writer.write_all(&bytes[..bytes.len() / part]).unwrap();
                    let (digest, _) = writer.commit().unwrap();
                    assert_eq!(read(&store, &digest).unwrap().len(), bytes.len() / part);
                }
            });
        }
    });
    let mut names = (1..=8)
        .map(|part| name(&Digest::of(&bytes[..(1 << 20) / part])))
        .collect::<Vec<_>>();
    names.sort();
    assert_eq!(files(dir.path()), names);
}

#[test]
fn a_damaged_blob_is_found_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = store.put(b"a slug").unwrap();
    for content in [&b"a slag"[..], b"a slu", b"a slug!", b""] {
        fs::write(store.path_of(&digest), content).unwrap();
        let mut blob = store.read_verified(&digest).unwrap();
        let error = io::copy(&mut blob, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let damaged = error.downcast::<Damaged>().unwrap();
        assert_eq!(
            (damaged.expected, damaged.got),
            (digest, Digest::of(content))
        );
        // It does not turn well when it is asked again.
        assert!(blob.read(&mut [0]).is_err());
    }
}

#[test]
fn a_store_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    fs::set_permissions(dir.path().join("file"), Permissions::from_mode(0o600)).unwrap();
    match Store::open(&dir.path().join("file")) {
        Err(Error::Io { path, .. }) => assert!(path.starts_with(dir.path())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn stores_and_writers_may_go_to_other_threads() {
    fn sendable<T: Send + Sync>() {}
    sendable::<Store>();
    sendable::<super::BlobWriter>();
    sendable::<super::Verified>();
}

#[test]
fn a_blob_of_another_size_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = store.put(b"a slug").unwrap();
    fs::write(store.path_of(&digest), "a sl").unwrap();
    store.put(b"a slug").unwrap();
    assert_eq!(read(&store, &digest).unwrap(), b"a slug");
    assert_eq!(files(dir.path()), [name(&digest)]);
}

#[test]
fn what_nobody_needs_is_collected_after_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let [needed, pinned, old, young] =
        [&b"needed"[..], b"pinned", b"old", b"young"].map(|bytes| store.put(bytes).unwrap());
    store.pin(&pinned).unwrap();
    let time = |digest: &Digest| {
        let path = store.path_of(digest);
        fs::metadata(path).unwrap().modified().unwrap()
    };
    let hour = std::time::Duration::from_secs(3600);
    for digest in [needed, pinned, old] {
        let file = File::options()
            .write(true)
            .open(store.path_of(&digest))
            .unwrap();
        file.set_modified(time(&young) - hour).unwrap();
    }
    let now = time(&young) + hour / 2;
    let collect = |dry_run| {
        let needed = HashSet::from([needed]);
        store.collect(&needed, now, hour, dry_run).unwrap()
    };
    let expected = Collected {
        removed: vec![old],
        removed_bytes: 3,
        kept: 3,
    };
    assert_eq!(collect(true), expected);
    assert!(store.contains(&old).unwrap());
    // A build that puts it once more has the grace from then on.
    store.put(b"old").unwrap();
    assert_eq!(collect(false).removed, []);
    let file = File::options().write(true).open(store.path_of(&old));
    file.unwrap().set_modified(time(&young) - hour).unwrap();
    assert_eq!(collect(false), expected);
    assert!(!store.contains(&old).unwrap());
    assert!(store.unpin(&pinned).unwrap() && !store.unpin(&pinned).unwrap());
    assert_eq!(collect(false).removed, [pinned]);
    assert_eq!(collect(false).kept, 2);
}

/// Puts blobs without an end, in a process of its own.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how the test below tells it where to put"
)]
fn put_without_end() {
    let Ok(dir) = std::env::var("SLUGLINE_TEST_PUT") else {
        return;
    };
    let store = Store::open(Path::new(&dir)).unwrap();
    for n in (0_u64..).cycle() {
        let bytes = (n % 5)
            .to_le_bytes()
            .repeat(40_000 + usize::try_from(n % 7).unwrap());
        let mut writer = store.writer().unwrap();
        for piece in bytes.chunks(7_000) {
            writer.write_all(piece).unwrap();
        }
        writer.commit().unwrap();
    }
}

#[test]
fn a_killed_put_leaves_no_wrong_blob() {
    let dir = tempfile::tempdir().unwrap();
    let mut pauses = (0..200_u64).map(|n| n * 7919 % 23);
    let mut blobs = 0;
    for round in 0..200 {
        let before = files(dir.path());
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::put_without_end"])
            .env("SLUGLINE_TEST_PUT", dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // However slow the machine is, the child is killed while it puts.
        let started = std::time::Instant::now();
        while files(dir.path()) == before {
            assert!(started.elapsed().as_secs() < 60, "nothing is put");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::thread::sleep(std::time::Duration::from_millis(pauses.next().unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        // Every tenth time new blobs are put.
        for name in files(dir.path()) {
            if let Some(hex) = name.strip_prefix("sha256/").map(|name| &name[3..]) {
                let bytes = fs::read(dir.path().join(&name)).unwrap();
                assert_eq!(Digest::of(&bytes).hex(), hex);
                blobs += 1;
                if round % 10 == 0 {
                    fs::remove_file(dir.path().join(&name)).unwrap();
                }
            }
        }
    }
    assert!(blobs > 200, "{blobs}");
    Store::open(dir.path()).unwrap();
    assert!(
        files(dir.path())
            .iter()
            .all(|name| name.starts_with("sha256/"))
    );
}
