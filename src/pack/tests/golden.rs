//! Golden digests: these bytes are format 1, on every machine and in every later version.
//!
//! A digest that changes here changes the digest of every slug; it needs a new format and a line in
//! CHANGELOG.md.

use std::fmt::Write as _;
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

/// Trees whose digests are the format's, each of one thing that a slug may have.
fn golden() -> Vec<(&'static str, Tree)> {
    let deep = ["deep"; 200].join("/");
    vec![
        ("empty", Tree::new()),
        ("file", Tree::from([file("x", 0o644, "x")])),
        ("executable", Tree::from([file("x", 0o755, "x")])),
        ("directory", Tree::from([directory("x", 0o755)])),
        ("symlink", Tree::from([link("x", "y")])),
        ("far-symlink", Tree::from([link("x", "y/".repeat(100))])),
        ("unicode", Tree::from([file("grüße/日本語", 0o644, "")])),
        ("no-utf-8", Tree::from([file(b"\xff", 0o644, "")])),
        (
            "long-no-utf-8",
            Tree::from([file([b'\xff'; 200], 0o644, "")]),
        ),
        (
            "longest-name",
            Tree::from([file("n".repeat(255), 0o644, "")]),
        ),
        (
            "deep",
            Tree::from([file(format!("{deep}/x"), 0o644, "deep")]),
        ),
        (
            "hard-link",
            Tree::from([file("x", 0o644, "x"), hard_link("y", "x")]),
        ),
        (
            "incompressible",
            Tree::from([file("x", 0o644, random(300_000))]),
        ),
        (
            "large",
            Tree::from([file("x", 0o644, noise((3 << 20) + 1))]),
        ),
        ("everything", everything()),
    ]
}

/// A directory on a disk, or what the machine has for temporary files, and one in memory.
fn places() -> [tempfile::TempDir; 2] {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let kind = nix::sys::statfs::statfs(memory.path()).unwrap();
    assert_eq!(
        kind.filesystem_type(),
        nix::sys::statfs::TMPFS_MAGIC,
        "/dev/shm is no tmpfs"
    );
    [
        tempfile::tempdir_in("target")
            .or_else(|_| tempfile::tempdir())
            .unwrap(),
        memory,
    ]
}

/// Drops from memory what the kernel has cached of a tree's files.
fn cool(dir: &std::path::Path) {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    for path in read_back(dir).keys() {
        let path = at(dir, path);
        if path.symlink_metadata().unwrap().is_file() {
            let file = File::open(&path).unwrap();
            file.sync_all().unwrap();
            posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        }
    }
}

/// The tree's nodes, in an order that differs from seed to seed.
fn shuffled(tree: &Tree, seed: u64) -> Vec<(&Vec<u8>, &Node)> {
    let mut nodes = tree.iter().collect::<Vec<_>>();
    nodes.sort_by_key(|(path, _)| {
        let digest = Digest::of(&[&seed.to_le_bytes()[..], path].concat());
        *digest.as_bytes()
    });
    // What a hard link names must be there before it.
    nodes.sort_by_key(|(_, node)| matches!(node, Node::HardLink { .. }));
    nodes
}

#[test]
fn digests_are_the_format_s_on_any_disk_with_any_threads_in_any_order() {
    let places = places();
    let mut digests = String::new();
    for (name, tree) in golden() {
        let mut seen = std::collections::BTreeSet::new();
        for (seed, place) in (1_u64..).zip(&places) {
            let dir = place.path().join(name);
            fs::create_dir(&dir).unwrap();
            make(&dir, shuffled(&tree, seed));
            for threads in [1, 2, 8] {
                let options = Options {
                    threads: NonZeroUsize::new(threads),
                    ..Options::default()
                };
                let summary = |options: &Options<'_>| {
                    let packed = pack_with(&dir, Vec::new(), options).unwrap();
                    packed.manifest.summary
                };
                let fast = summary(&Options {
                    level: Level::Fast,
                    ..options
                });
                for cold in [true, false] {
                    if cold {
                        cool(&dir);
                    }
                    let small = summary(&options);
                    assert_eq!(small.diff_id, fast.diff_id);
                    seen.insert(format!(
                        "{} {}, fast: {}",
                        small.digest, small.diff_id, fast.digest
                    ));
                }
            }
        }
        assert_eq!(seen.len(), 1, "{name}: {seen:?}");
        writeln!(digests, "{name} {}", seen.first().unwrap()).unwrap();
    }
    insta::assert_snapshot!(digests);
}

#[test]
fn a_tree_with_one_of_everything() {
    let packed = packed(&everything());
    let suid = Skipped {
        path: "bin/suid".into(),
        kind: SkippedKind::SetUserId,
    };
    assert_eq!(packed.skipped, [suid]);
    insta::assert_snapshot!(packed.manifest.json());
}

#[test]
fn modes_and_times_of_the_disk_do_not_show() {
    let tree = everything();
    let expected = packed(&tree).manifest.summary;
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
    assert_eq!(packed.manifest.summary, expected);
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

#[test]
fn megabytes_with_one_two_and_eight_threads() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &megabytes());
    let mut digests = String::new();
    for level in [Level::Small, Level::Fast] {
        let mut seen = std::collections::BTreeSet::new();
        for threads in [1, 2, 8, 100] {
            let options = Options {
                level,
                threads: NonZeroUsize::new(threads),
                ..Options::default()
            };
            let packed = pack_with(dir.path(), Vec::new(), &options).unwrap();
            seen.insert(packed.manifest.summary.digest);
            verify(&packed.out[..], &packed.manifest).unwrap();
            let streamed = pack_streamed(dir.path(), Vec::new(), Vec::new(), &options).unwrap();
            assert_eq!(streamed.summary, packed.manifest.summary);
            assert_eq!(streamed.manifest_out, packed.manifest.json().as_bytes());
            assert_eq!(streamed.manifest, Digest::of(&streamed.manifest_out));
            assert_eq!((streamed.out, streamed.copied_members), (packed.out, 0));
        }
        assert_eq!(seen.len(), 1, "{seen:?}");
        writeln!(digests, "{level:?} {}", seen.first().unwrap()).unwrap();
    }
    insta::assert_snapshot!(digests);
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
fn devices_and_capabilities_are_left_out() {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    if !nix::unistd::geteuid().is_root() {
        // Nobody else can make them, so no tree of anybody else's has them.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &Tree::from([file("ping", 0o755, "x")]));
    // The permitted bit of CAP_NET_RAW, by version 2 of the attribute's form.
    let mut value = 0x0200_0000_u32.to_le_bytes().to_vec();
    value.extend((1_u32 << 13).to_le_bytes());
    value.resize(20, 0);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(
        dir.path().join("ping"),
        "security.capability",
        &value,
        flags,
    )
    .unwrap();
    let mode = Mode::from_bits_truncate(0o600);
    mknod(
        &dir.path().join("null"),
        SFlag::S_IFCHR,
        mode,
        makedev(1, 3),
    )
    .unwrap();
    let packed = pack(dir.path(), Vec::new()).unwrap();
    let said = packed.skipped.iter().map(ToString::to_string);
    assert_eq!(
        said.collect::<Vec<_>>(),
        ["null is a device", "the capabilities of ping"]
    );
    let paths: Vec<_> = packed.manifest.entries.iter().map(|e| &e.path).collect();
    assert_eq!(paths, ["ping"]);
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
