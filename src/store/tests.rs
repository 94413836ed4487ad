//! A store in a directory of the test's own.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::Damaged;
use super::{Error, Store};
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
