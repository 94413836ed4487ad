//! Golden digests: these bytes are format 0, on every machine and in every later version.
//!
//! A digest that changes here changes the digest of every slug; it needs a new format and a line in
//! CHANGELOG.md.

use std::fs::{self, File, FileTimes};
use std::time::{Duration, SystemTime};

use super::*;
use crate::pack::{Error, Skipped, SkippedKind};

/// A tree with one of everything.
pub fn everything() -> Tree {
    let deep = ["a-directory-with-a-longish-name"; 9].join("/");
    Tree::from([
        file("Procfile", 0o644, "web: bin/web\n"),
        file("bin/web", 0o755, "#!/bin/sh\nexec sleep 60\n"),
        file("bin/group", 0o610, "only the group may run this\n"),
        file("bin/suid", 0o4711, "and this is nobody's\n"),
        file("empty", 0o600, ""),
        file("block", 0o644, [b'x'; 512]),
        file("big", 0o644, noise(200_000)),
        directory("tmp/pids", 0o1777),
        file("a", 0o644, "a is before a-b"),
        file("a-b", 0o644, "a-b is before a.d"),
        file("a.d/x", 0o644, "sorted by bytes"),
        file("grüße/日本語", 0o644, "unicode"),
        file(b"caf\xe9/\xff\xfe", 0o644, "latin-1 and no text at all"),
        file("new\nline\\and\ttab", 0o644, "controls"),
        file("n".repeat(255), 0o644, "the longest name"),
        file(
            format!("{}/100", "d".repeat(90)),
            0o644,
            "100 bytes with ./app/",
        ),
        file(
            format!("{}/101", "e".repeat(91)),
            0o644,
            "101 bytes with ./app/",
        ),
        file(
            format!("{deep}/file"),
            0o755,
            "a path of more than 255 bytes",
        ),
        directory(format!("{deep}/directory"), 0o755),
        link("current", "releases/1"),
        link("dangling", "/nowhere/at/all"),
        link("up", "../../etc/passwd"),
        link(b"link-\xe9", b"caf\xe9"),
        link("far", format!("{deep}/file")),
        link("exactly-100", "t".repeat(100)),
        link("exactly-101", "t".repeat(101)),
        hard_link("hard", "bin/web"),
    ])
}

const EMPTY: &str = "sha256:4b242025f6779e8876f704e217483e04ec74cd1046a2aae1dbc0345e5842c04d";
const SMALL: [&str; 8] = [
    "sha256:686fbfb87e67d94c0ceb0997e078a7b96972efb89ae62da1601537d13a47b598",
    "sha256:b60a1852c9e493c6ec160fcd98b2985f4004f2a581160ee55999c144765e0d50",
    "sha256:37f02ccc32da34bb4a49a8481995f798f91511a21d9256e37ed6989d2ec37843",
    "sha256:b525c20cd466d36dcdaf97d84cd4b2d37b40a025614b14d9ab4fb152e4eb15e6",
    "sha256:e73212908356b5e75ddf3e7d3099a6e8b151483262e5e37072fd6ac61c33f5aa",
    "sha256:fad54dfe466e6bdd56844d10bbbe9b09b9fb407874e7eddb9e32af06784386c2",
    "sha256:797af7fe40b8bffcf8ef451ba127ef0d3de7172da7fbf715181353f3356bb307",
    "sha256:246883fdfde67f6fb290d226b0ede8734d61ad8b8cfd5c8a6a4eb51c9ca9f9e0",
];
const EVERYTHING: &str = "sha256:dfc816024761a917383f33eead764607192f077b620f353c98af05c0728aa18c";
const EVERYTHING_DIFF_ID: &str =
    "sha256:b7cf449cc0fad4467ca9804185bc78331aaacda1d37bcc8a674c4a9f0095c216";

#[test]
fn the_empty_tree() {
    let packed = packed(&Tree::new());
    assert_eq!(packed.manifest.digest.to_string(), EMPTY);
    assert_eq!(packed.manifest.tar_bytes, 3 * 512);
    assert_eq!(packed.manifest.entries, []);
}

#[test]
fn a_tree_with_one_of_everything() {
    let packed = packed(&everything());
    assert_eq!(packed.skipped, []);
    assert_eq!(packed.manifest.diff_id.to_string(), EVERYTHING_DIFF_ID);
    assert_eq!(packed.manifest.digest.to_string(), EVERYTHING);
    insta::assert_snapshot!(packed.manifest.json());
}

#[test]
fn small_trees() {
    let trees = [
        Tree::from([file("x", 0o644, "x")]),
        Tree::from([file("x", 0o755, "x")]),
        Tree::from([directory("x", 0o755)]),
        Tree::from([link("x", "y")]),
        Tree::from([file("grüße", 0o644, "")]),
        Tree::from([file(b"\xff", 0o644, "")]),
        Tree::from([file("n".repeat(255), 0o644, "")]),
        Tree::from([file("x", 0o644, "x"), hard_link("y", "x")]),
    ];
    let digests = trees.map(|tree| packed(&tree).manifest.digest.to_string());
    assert_eq!(digests, SMALL);
}

#[test]
fn order_modes_and_times_of_the_disk_do_not_show() {
    let tree = everything();
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), tree.iter().rev());
    for (path, node) in read_back(dir.path()) {
        let full = at(dir.path(), &path);
        let mode = match node {
            Node::File { mode, .. } if mode & 0o111 == 0 => 0o400,
            Node::Symlink { .. } => continue,
            _ => 0o700,
        };
        fs::set_permissions(&full, Permissions::from_mode(mode)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::open(&full)
            .unwrap()
            .set_times(FileTimes::new().set_modified(time))
            .unwrap();
    }
    let packed = pack(dir.path(), Vec::new()).unwrap();
    assert_eq!(packed.manifest.digest.to_string(), EVERYTHING);
}

#[test]
fn what_no_slug_can_hold_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &Tree::from([file("log/web", 0o644, "")]));
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&dir.path().join("log/pipe"), mode).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("a.sock")).unwrap();
    let packed = pack(dir.path(), Vec::new()).unwrap();
    let skipped = |path: &str, kind| Skipped {
        path: path.into(),
        kind,
    };
    assert_eq!(
        packed.skipped,
        [
            skipped("a.sock", SkippedKind::Socket),
            skipped("log/pipe", SkippedKind::Fifo)
        ]
    );
    let paths: Vec<_> = packed.manifest.entries.iter().map(|e| &e.path).collect();
    assert_eq!(paths, ["log", "log/web"]);
}

#[test]
fn a_build_dir_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &Tree::from([file("file", 0o644, "")]));
    for path in ["missing", "file"] {
        let path = dir.path().join(path);
        match pack(&path, Vec::new()) {
            Err(Error::Read { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
}

/// Takes the first bytes of a slug while the tree's first file is still being read, and does
/// something to that file.
struct Meddler<F>(F);

impl<F: FnMut()> Write for Meddler<F> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        (self.0)();
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_changes_is_named() {
    for size_bytes in [0, 199_999, 200_001, 1_000_000] {
        let dir = tempfile::tempdir().unwrap();
        make(
            dir.path(),
            &Tree::from([file("file", 0o644, noise(200_000))]),
        );
        let path = dir.path().join("file");
        let file = File::options().write(true).open(&path).unwrap();
        let result = pack(dir.path(), Meddler(|| file.set_len(size_bytes).unwrap()));
        match result.map(|packed| packed.manifest) {
            Err(Error::Changed { path: named }) => assert_eq!(named, path),
            other => panic!("{size_bytes}: {other:?}"),
        }
    }
}
