//! Slugs read back: by GNU tar, by Python, and by this stage.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::golden::{everything, megabytes};
use super::*;
use crate::digest::Digest;
use crate::pack::{Error, Level, Options, extract, pack_with};
use crate::slug::{EntryKind, MTIME_SECONDS, Span};

/// Unpacks a slug with GNU tar and gives back what is below `app/`.
fn untar(slug: &[u8]) -> Tree {
    let dir = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-xzf", "-", "--no-same-owner", "-C"])
        .arg(dir.path());
    // Without it a plain user's umask would show.
    tar.arg("--preserve-permissions");
    run(&mut tar, slug, "apt-get install tar gzip");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    read_back(&dir.path().join("app"))
}

/// Unpacks a slug with this stage.
fn extracted(slug: &[u8]) -> Tree {
    let dir = tempfile::tempdir().unwrap();
    let written = extract(slug, dir.path()).unwrap();
    let tree = read_back(dir.path());
    assert_eq!(written.entries, tree.len() as u64);
    let bytes = tree.values().map(|node| match node {
        Node::File { content, .. } => content.len() as u64,
        _ => 0,
    });
    assert_eq!(written.bytes, bytes.sum::<u64>());
    tree
}

#[test]
fn gnu_tar_reads_it() {
    let tree = everything();
    assert_eq!(untar(&packed(&tree).out), normalised(&tree));
}

#[test]
fn gzip_reads_the_fast_level_s_streams() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &megabytes());
    let [small, fast] = [Level::Small, Level::Fast].map(|level| {
        let options = Options {
            level,
            ..Options::default()
        };
        pack_with(dir.path(), Vec::new(), &options).unwrap()
    });
    assert!(fast.out.len() < small.out.len() * 5 / 4);
    let file = dir.path().with_extension("tgz");
    let gzip = |slug: &[u8]| {
        fs::write(&file, slug).unwrap();
        let mut gzip = Command::new("gzip");
        run(gzip.arg("-dc").arg(&file), b"", "apt-get install gzip")
    };
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(&fast.out[..])
        .read_to_end(&mut tar)
        .unwrap();
    assert_eq!(Digest::of(&tar), fast.manifest.summary.diff_id);
    assert!(gzip(&fast.out) == tar);
    assert!(gzip(&small.out) == tar);
    fs::remove_file(file).unwrap();
}

#[test]
fn we_read_it() {
    let tree = everything();
    assert_eq!(extracted(&packed(&tree).out), normalised(&tree));
}

#[test]
fn we_read_it_under_a_narrow_umask() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 0377; exec \"$0\" --exact \"$1\""]);
    shell.arg(std::env::current_exe().unwrap());
    shell.arg("pack::tests::round_trip::umask_does_not_show");
    assert_ran(1, &run(&mut shell, b"", "apt-get install dash"));
}

#[test]
fn umask_does_not_show() {
    // Made from a tar of the test's own, because trees cannot be made under a narrow umask.
    let tar = super::hostile::Archive::new()
        .directory("./app/")
        .directory("./app/bin/")
        .file("./app/bin/web", b"#!/bin/sh")
        .slug();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    extract(&tar[..], dir.path()).unwrap();
    assert_eq!(
        read_back(dir.path()),
        normalised(&Tree::from([file("bin/web", 0o644, "#!/bin/sh")]))
    );
}

#[test]
fn python_reads_it() {
    const SCRIPT: &str = r#"
import os, sys, tarfile
for m in tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz"):
    kind = "f" if m.isreg() else "d" if m.isdir() else "l" if m.issym() else "?"
    owner = f"{m.uid}:{m.gid}:{m.uname}:{m.gname}"
    print(os.fsencode(m.name).hex(), kind, f"{m.mode:o}", m.size, os.fsencode(m.linkname).hex(), m.mtime, owner)
"#;
    let tree = everything();
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]).env("LC_ALL", "C.UTF-8");
    let printed = run(&mut python, &packed(&tree).out, "apt-get install python3");
    let hex = crate::digest::hex;
    let mut expected = vec![format!("{} d 755 0  {MTIME_SECONDS} 0:0::", hex(b"./app"))];
    for (path, node) in normalised(&tree) {
        let name = hex(&[b"./app/", &path[..]].concat());
        let (kind, mode, size, target) = match node {
            Node::File { mode, content } => ("f", mode, content.len(), String::new()),
            Node::Directory { mode } => ("d", mode, 0, String::new()),
            Node::Symlink { target } => ("l", 0o777, 0, hex(&target)),
            Node::HardLink { .. } => unreachable!("a slug has none"),
        };
        expected.push(format!(
            "{name} {kind} {mode:o} {size} {target} {MTIME_SECONDS} 0:0::"
        ));
    }
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_extracted_packs_to_the_same_slug() {
    let first = packed(&everything());
    let dir = tempfile::tempdir().unwrap();
    extract(&first.out[..], dir.path()).unwrap();
    let again = pack(dir.path(), Vec::new()).unwrap();
    assert_eq!(again.manifest, first.manifest);
    assert_eq!(again.out, first.out);
}

#[test]
fn times_are_the_slugs() {
    let dir = tempfile::tempdir().unwrap();
    extract(&packed(&everything()).out[..], dir.path()).unwrap();
    for path in ["", "bin", "bin/web", "tmp", "tmp/pids"] {
        let metadata = fs::metadata(dir.path().join(path)).unwrap();
        assert_eq!(metadata.mtime().cast_unsigned(), MTIME_SECONDS, "{path}");
    }
}

#[test]
fn any_flipped_byte_is_found() {
    let tree = Tree::from([
        file("bin/web", 0o755, "#!/bin/sh\n"),
        link("current", "bin"),
        file("n".repeat(120), 0o644, "long"),
    ]);
    let Packed { out, manifest, .. } = packed(&tree);
    for at in 0..out.len() {
        for bit in [1, 0x80] {
            let mut flipped = out.clone();
            flipped[at] ^= bit;
            assert!(verify(&flipped[..], &manifest).is_err(), "byte {at}");
        }
    }
    for end in 0..out.len() {
        assert!(verify(&out[..end], &manifest).is_err(), "cut at {end}");
    }
}

#[test]
fn the_first_difference_is_named() {
    let Packed { out, manifest, .. } = packed(&everything());
    let difference = |change: &dyn Fn(&mut crate::slug::Manifest)| {
        let mut changed = manifest.clone();
        change(&mut changed);
        match verify(&out[..], &changed) {
            Err(Error::Mismatch { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(difference(&|m| m.format = 0), "the format");
    assert_eq!(difference(&|m| m.entries.swap(0, 1)), "entry 1");
    assert_eq!(
        difference(&|m| {
            m.summary.tar_bytes = 0;
            m.entries[1].kind = EntryKind::Directory;
        }),
        "entry 2"
    );
    let last = format!("entry {}", manifest.entries.len());
    assert_eq!(difference(&|m| drop(m.entries.pop())), last);
    assert_eq!(difference(&|m| m.members[0].offset = 1), "member 1");
    assert_eq!(difference(&|m| m.members.truncate(1)), "member 2");
    assert_eq!(
        difference(&|m| m.entries[0].members = Span(0, 1)),
        "entry 1"
    );
    assert_eq!(
        difference(&|m| m.summary.tar_bytes = 0),
        "the tar's size in bytes"
    );
    assert_eq!(
        difference(&|m| m.summary.diff_id = m.summary.digest),
        "the diff id"
    );
    assert_eq!(
        difference(&|m| m.summary.size_bytes = 0),
        "the size in bytes"
    );
    assert_eq!(
        difference(&|m| m.summary.digest = m.summary.diff_id),
        "the digest"
    );
}

/// A component of a path: short and likely to meet another, of any bytes, or long.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "a-b", "a.b", "a b", "日"])
            .prop_map(|name| name.as_bytes().to_vec()),
        2 => prop::collection::vec(1..=255_u8, 1..6)
            .prop_map(|name| name.into_iter().filter(|c| *c != b'/').collect::<Vec<u8>>())
            .prop_filter("names of their own", |name| !matches!(&name[..], b"" | b"." | b"..")),
        1 => (80..=255_usize).prop_map(|length| vec![b'n'; length]),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(name(), 1..5).prop_map(|names| names.join(&b'/'))
}

fn node() -> impl Strategy<Value = Node> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000),
        (0..200_000_usize).prop_map(noise),
    ];
    prop_oneof![
        4 => (0..0o10000_u32, content).prop_map(|(mode, content)| Node::File { mode, content }),
        1 => (0..0o10000_u32).prop_map(|mode| Node::Directory { mode }),
        1 => path().prop_map(|target| Node::Symlink { target }),
    ]
}

/// Trees in which no path goes through a file or symlink.
fn tree() -> impl Strategy<Value = Tree> {
    prop::collection::vec((path(), node()), 0..20).prop_map(|nodes| {
        let mut tree = Tree::new();
        for (path, node) in nodes {
            let below = |parent: &[u8], path: &[u8]| {
                path.strip_prefix(parent)
                    .is_some_and(|rest| rest.starts_with(b"/"))
            };
            let fits = tree.iter().all(|(other, there): (&Vec<u8>, &Node)| {
                let directory = |node: &Node| matches!(node, Node::Directory { .. });
                *other != path
                    && (!below(other, &path) || directory(there))
                    && (!below(&path, other) || directory(&node))
            });
            if fits {
                tree.insert(path, node);
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_tree_comes_back(tree in tree()) {
        let slug = packed(&tree).out;
        prop_assert_eq!(&extracted(&slug), &normalised(&tree));
        prop_assert_eq!(&untar(&slug), &normalised(&tree));
    }
}
