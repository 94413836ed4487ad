//! Golden digests: these bytes are format 1, on every machine and in every later version.
//!
//! A digest that changes here changes the digest of every slug; it needs a new format and a line in
//! CHANGELOG.md.

use std::fs::{self, File, FileTimes};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use super::*;
use crate::digest::Digest;
use crate::pack::{Error, Level, Options, Skipped, SkippedKind, pack_streamed, pack_with};

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

const EMPTY: &str = "sha256:bc213611ff1be54279b97bcbb9cba9b30ab08c917877a48f7807a534bb377cbb";
const SMALL: [&str; 8] = [
    "sha256:c550d9a3c7dbc3257f481ede2e81949f404bb0cff81de0314c0b8f81fea22ab5",
    "sha256:48ac83614505ed0dc2431029cde5c16cab55d80e9a9e71b7b1021b35654638ea",
    "sha256:8299433ded739e0769d3ce403c337d82d1926212f7a8bd0cd180e0dd2f75ed5d",
    "sha256:7f2fb1f42bf7b5220b47b271a8acfcff2972b0172bbe46b6d2109fc81f17ad37",
    "sha256:198f4e32af9d30f3ee0bb16b9bcd58e2d7566cd8d8d3a2bc0371ccd9c0f128c6",
    "sha256:883ea0d1a30cfe845e4ae0a2022fb4ac448c9338b3f0a552e83a8b3496143f57",
    "sha256:60071fccfc730bdc02dc8d4aea5fa879215b9e98e3d816564eb110a05472c96e",
    "sha256:1b6322886344c76c26bab2482c2f4fd24d3e599eb95f9330c06de53e7fe7d76e",
];
const EVERYTHING: &str = "sha256:8c7dfb8c68b65487ec54b66a5ef531ca01ee1bad6a876289073264526d868ef3";
const EVERYTHING_DIFF_ID: &str =
    "sha256:b7cf449cc0fad4467ca9804185bc78331aaacda1d37bcc8a674c4a9f0095c216";

#[test]
fn the_empty_tree() {
    let packed = packed(&Tree::new());
    assert_eq!(packed.manifest.summary.digest.to_string(), EMPTY);
    assert_eq!(packed.manifest.summary.tar_bytes, 3 * 512);
    assert_eq!(packed.manifest.entries, []);
}

#[test]
fn a_tree_with_one_of_everything() {
    let packed = packed(&everything());
    let suid = Skipped {
        path: "bin/suid".into(),
        kind: SkippedKind::SetUserId,
    };
    assert_eq!(packed.skipped, [suid]);
    assert_eq!(
        packed.manifest.summary.diff_id.to_string(),
        EVERYTHING_DIFF_ID
    );
    assert_eq!(packed.manifest.summary.digest.to_string(), EVERYTHING);
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
    let digests = trees.map(|tree| packed(&tree).manifest.summary.digest.to_string());
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
    assert_eq!(packed.manifest.summary.digest.to_string(), EVERYTHING);
}

/// A tree of some megabytes: many groups, pieces of a large file, bytes that do not compress.
pub fn megabytes() -> Tree {
    let mut tree = everything();
    for n in 0..600_usize {
        let content = noise(200 + n * 7919 % 12_000);
        tree.extend([file(format!("lib/{}/module-{n}", n / 25), 0o644, content)]);
    }
    tree.extend([
        file("large", 0o755, noise((3 << 20) + 12_345)),
        file("lib/exactly", 0o644, noise(1 << 20)),
        file("lib/just-above", 0o644, noise((1 << 20) + 1)),
        file("random", 0o644, random(1_500_000)),
        file("lib/random", 0o644, random(100_000)),
        file("zeros", 0o644, vec![0; 5 << 20]),
    ]);
    tree
}

const MEGABYTES: [&str; 2] = [
    "sha256:164cff1bbcd8e6b7d8a8b595583c7b3232bf96535515fa4f4ab668e6f85ca7de",
    "sha256:c76d1b1023d06c2d5346570704039fd1597e6a5b088a8c66e9d801903411f23f",
];

#[test]
fn megabytes_with_one_two_and_eight_threads() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &megabytes());
    for (level, digest) in [Level::Small, Level::Fast].into_iter().zip(MEGABYTES) {
        for threads in [1, 2, 8, 100] {
            let options = Options {
                level,
                threads: NonZeroUsize::new(threads).unwrap(),
                ..Options::default()
            };
            let packed = pack_with(dir.path(), Vec::new(), &options).unwrap();
            assert_eq!(packed.manifest.summary.digest.to_string(), digest);
            verify(&packed.out[..], &packed.manifest).unwrap();
            let streamed = pack_streamed(dir.path(), Vec::new(), Vec::new(), &options).unwrap();
            assert_eq!(streamed.summary, packed.manifest.summary);
            assert_eq!(streamed.manifest_out, packed.manifest.json().as_bytes());
            assert_eq!(streamed.manifest, Digest::of(&streamed.manifest_out));
            assert_eq!((streamed.out, streamed.copied_members), (packed.out, 0));
        }
    }
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
    // Large enough to be read in pieces of which not all can be in memory.
    let large = noise(20 << 20);
    for size_bytes in [0, 199_999, 20 << 20, 30 << 20] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), &Tree::from([file("file", 0o644, &large)]));
        let path = dir.path().join("file");
        let file = File::options().write(true).open(&path).unwrap();
        // The kernel's clock, by which it writes times of change, may tick late.
        std::thread::sleep(Duration::from_millis(20));
        let meddle = || {
            file.set_len(size_bytes).unwrap();
            file.write_all_at(b"x", 0).unwrap();
        };
        let result = pack(dir.path(), Meddler(meddle));
        match result.map(|packed| packed.manifest) {
            Err(Error::Changed { path: named }) => assert_eq!(named, path),
            other => panic!("{size_bytes}: {other:?}"),
        }
    }
}
