//! Slugs packed with the last one at hand: the same bytes as from scratch, most of them copied.

use std::fs::{File, FileTimes};
use std::io::Write;
use std::thread;
use std::time::Duration;

use super::golden::megabytes;
use super::*;
use crate::pack::{Level, Options, Reusable, StatCache, Streamed, pack_streamed};

type Written = Streamed<Vec<u8>, Vec<u8>>;

fn pack_after(tree: &Tree, level: Level, last: Option<&Reusable>) -> Written {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), tree);
    let options = Options {
        level,
        reusable: last,
        ..Options::default()
    };
    pack_streamed(dir.path(), Vec::new(), Vec::new(), &options).unwrap()
}

fn on_disk(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn last(slug: &Written) -> Reusable {
    reusable(&slug.manifest_out, &slug.out).unwrap()
}

fn reusable(manifest: &[u8], slug: &[u8]) -> std::io::Result<Reusable> {
    let mut reusable = Reusable::default();
    reusable.add(manifest, on_disk(slug))?;
    Ok(reusable)
}

/// Packs `tree` from scratch and after `before`; says how many members were not copied.
fn compressed(before: &Written, tree: &Tree) -> u64 {
    let after = pack_after(tree, Level::Small, Some(&last(before)));
    let scratch = pack_after(tree, Level::Small, None);
    assert_eq!(after.summary, scratch.summary);
    assert_eq!(after.out, scratch.out);
    assert_eq!(after.manifest_out, scratch.manifest_out);
    after.members - after.copied_members
}

#[test]
fn what_did_not_change_is_copied() {
    let tree = megabytes();
    let before = pack_after(&tree, Level::Small, None);
    assert!(before.members > 12, "{}", before.members);
    assert_eq!(compressed(&before, &tree), 0);

    let with = |path: &[u8], node: Option<Node>| {
        let mut tree = tree.clone();
        match node {
            Some(node) => tree.insert(path.to_vec(), node),
            None => tree.remove(path),
        };
        tree
    };
    let small = |content: &[u8]| Some(file("", 0o644, content).1);
    let path = b"lib/3/module-80";
    assert_eq!(compressed(&before, &with(path, small(b"new"))), 1);
    assert_eq!(
        compressed(&before, &with(b"lib/3/module-80x", small(b""))),
        1
    );
    assert_eq!(compressed(&before, &with(path, None)), 1);
    let linked = Some(link("", "module-81").1);
    assert_eq!(compressed(&before, &with(path, linked)), 1);
    // The same content, and now executable.
    let Node::File { content, .. } = tree[&path[..]].clone() else {
        unreachable!("a file")
    };
    let executable = Some(file("", 0o755, &content).1);
    assert_eq!(compressed(&before, &with(path, executable)), 1);

    let Node::File { mut content, .. } = tree[&b"large"[..]].clone() else {
        unreachable!("a file")
    };
    content[(2 << 20) + 1] ^= 1;
    let changed = with(b"large", Some(file("", 0o755, &content).1));
    assert_eq!(compressed(&before, &changed), 1);
    // Its header says the size, and its last piece has another end.
    content.pop();
    content[(2 << 20) + 1] ^= 1;
    let shorter = with(b"large", Some(file("", 0o755, &content).1));
    assert_eq!(compressed(&before, &shorter), 2);
}

#[test]
fn the_first_group_is_not_any_other() {
    // Both have one group with the same entry: one of them after the app's root.
    let large = || file("a", 0o644, random(1_200_000));
    let before = pack_after(
        &Tree::from([large(), file("b", 0o644, "b")]),
        Level::Small,
        None,
    );
    assert_eq!(compressed(&before, &Tree::from([file("b", 0o644, "b")])), 1);
}

#[test]
fn another_level_is_not_copied() {
    let tree = megabytes();
    let before = pack_after(&tree, Level::Fast, None);
    assert_eq!(compressed(&before, &tree), before.members);
}

#[test]
fn a_damaged_slug_is_not_carried_on() {
    let tree = Tree::from([
        file("large", 0o644, noise(1_500_000)),
        file("small", 0o644, "small"),
    ]);
    let before = pack_after(&tree, Level::Small, None);
    // The root, two pieces, a group and the end.
    assert_eq!(before.members, 5);
    let scratch = before.summary;
    for at in [12, before.out.len() / 3, before.out.len() - 80] {
        let mut damaged = before.out.clone();
        damaged[at] ^= 1;
        let damaged = reusable(&before.manifest_out, &damaged).unwrap();
        let after = pack_after(&tree, Level::Small, Some(&damaged));
        assert_eq!((after.summary, after.copied_members), (scratch, 4), "{at}");
    }
    let cut = reusable(&before.manifest_out, &before.out[..100]).unwrap();
    let after = pack_after(&tree, Level::Small, Some(&cut));
    assert_eq!((after.summary, after.copied_members), (scratch, 1));
}

#[test]
fn what_is_no_manifest_is_refused() {
    let before = pack_after(&Tree::new(), Level::Small, None);
    let manifest = String::from_utf8(before.manifest_out).unwrap();
    for text in [
        "",
        "{}",
        &manifest[..manifest.len() - 3],
        &manifest.replace("\"format\":1", "\"format\":0"),
        &manifest.replace('\n', ""),
    ] {
        assert!(reusable(text.as_bytes(), &before.out).is_err());
    }
}

#[test]
fn digests_continue_whatever_has_changed() {
    // Pieces that are alike, a file that is another's twin, and one that is mostly there.
    let zeros = || vec![0; 3 << 20];
    let large = noise(3_500_000);
    let tree = Tree::from([
        file("a", 0o644, zeros()),
        file("b", 0o644, large.clone()),
        file("c", 0o644, "small"),
        file("d", 0o644, large.clone()),
    ]);
    let before = pack_after(&tree, Level::Small, None);
    assert_eq!(compressed(&before, &tree), 0);
    let changed = |path: &str, content: &[u8]| {
        let mut tree = tree.clone();
        tree.extend([file(path, 0o644, content)]);
        tree
    };
    for at in [0, 1 << 20, (1 << 20) - 1, 2 << 20, 3_499_999] {
        let mut content = large.clone();
        content[at] ^= 1;
        for path in ["b", "d"] {
            assert_eq!(compressed(&before, &changed(path, &content)), 1, "{at}");
        }
    }
    // The first pieces have gone, and the others follow another start.
    assert_eq!(compressed(&before, &changed("a", b"now small")), 1);
    assert_eq!(compressed(&before, &changed("a", &zeros()[..2 << 20])), 1);
    let before = pack_after(&changed("0", b"first"), Level::Small, None);
    assert_eq!(compressed(&before, &tree), 1);
}

/// A tree on the disk that has been as it is for long enough, and its slug.
fn settled(tree: &Tree) -> (tempfile::TempDir, Written) {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), tree);
    thread::sleep(Duration::from_millis(3100));
    let first = pack_streamed(dir.path(), Vec::new(), Vec::new(), &Options::default()).unwrap();
    (dir, first)
}

/// Packs after `before` with what that has noted; says how many members were not read. The slug is the
/// same as from scratch.
fn unread(dir: &Path, before: &Written, slugs: &Reusable) -> u64 {
    let mut noted = Vec::new();
    before.stat_cache.write(&mut noted).unwrap();
    let noted = StatCache::read(&noted[..]).unwrap();
    assert_eq!(noted, before.stat_cache);
    let options = Options {
        reusable: Some(slugs),
        stat_cache: Some(&noted),
        ..Options::default()
    };
    let after = pack_streamed(dir, Vec::new(), Vec::new(), &options).unwrap();
    let scratch = pack_streamed(dir, Vec::new(), Vec::new(), &Options::default()).unwrap();
    assert_eq!(after.summary, scratch.summary);
    assert_eq!(after.out, scratch.out);
    assert_eq!(after.manifest_out, scratch.manifest_out);
    assert_eq!(after.stat_cache, scratch.stat_cache);
    after.unread_members
}

#[test]
fn what_has_not_changed_is_not_read() {
    let tree = megabytes();
    let (dir, before) = settled(&tree);
    let (dir, slugs) = (dir.path(), last(&before));
    let unread = || unread(dir, &before, &slugs);
    // All but the end.
    let all = before.members - 1;
    assert_eq!(unread(), all);
    // The same content, written again: the slug goes on as before.
    let path = dir.join("lib/3/module-80");
    let content = fs::read(&path).unwrap();
    fs::write(&path, &content).unwrap();
    assert_eq!(unread(), all - 1);
    // Another content of the same size, which says that it is as old as before. What comes after it is
    // wanted for the tar's digest, and may be read.
    let times = FileTimes::new().set_modified(fs::metadata(&path).unwrap().modified().unwrap());
    let mut other = content.clone();
    other[0] ^= 1;
    fs::write(&path, &other).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_times(times).unwrap();
    assert!((1..all).contains(&unread()));
    // Others whose own content is what it was, and which are elsewhere.
    fs::write(&path, &content).unwrap();
    let (one, two) = (dir.join("lib/3/module-85"), dir.join("lib/20/module-500"));
    let aside = dir.join("aside");
    for (from, to) in [(&one, &aside), (&two, &one), (&aside, &two)] {
        fs::rename(from, to).unwrap();
    }
    assert!((1..all - 1).contains(&unread()));
}

#[test]
fn many_small_files_are_not_read_after_a_change_either() {
    let small = |n: usize| file(format!("lib/{n:04}"), 0o644, noise(n % 1000));
    let (dir, before) = settled(&(0..4000).map(small).collect());
    let slugs = last(&before);
    assert!(before.members > 4, "{}", before.members);
    fs::write(dir.path().join("lib/0000"), "changed").unwrap();
    assert_eq!(unread(dir.path(), &before, &slugs), before.members - 2);
}

#[test]
fn pieces_of_large_files_are_not_read() {
    let large = noise(5_500_000);
    let tree = Tree::from([
        file("a", 0o644, "small"),
        file("b", 0o644, &large),
        file("c", 0o644, &large[..2 << 20]),
    ]);
    let (dir, before) = settled(&tree);
    let (dir, slugs) = (dir.path(), last(&before));
    let unread = || unread(dir, &before, &slugs);
    assert_eq!(unread(), 1 + 6 + 2);
    for at in [0, 3 << 20, 5_499_999] {
        let mut content = large.clone();
        content[at] ^= 1;
        fs::write(dir.join("b"), &content).unwrap();
        assert!((1..=1 + 2).contains(&unread()), "{at}");
    }
    fs::write(dir.join("b"), &large).unwrap();
    assert_eq!(unread(), 1 + 2);
    // A new start; and what is executable now has another header.
    fs::write(dir.join("0"), "new").unwrap();
    fs::set_permissions(dir.join("c"), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(unread(), 0);
}

#[test]
fn a_damaged_slug_is_read_again() {
    let (dir, before) = settled(&Tree::from([
        file("large", 0o644, noise(3_500_000)),
        file("small", 0o644, "small"),
    ]));
    for at in [before.out.len() / 3, before.out.len() - 80] {
        let mut damaged = before.out.clone();
        damaged[at] ^= 1;
        let damaged = reusable(&before.manifest_out, &damaged).unwrap();
        assert!(unread(dir.path(), &before, &damaged) < before.members - 1);
    }
    assert_eq!(unread(dir.path(), &before, &Reusable::default()), 0);
}

#[test]
fn what_has_changed_just_now_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "new").unwrap();
    let before = pack_streamed(dir.path(), Vec::new(), Vec::new(), &Options::default()).unwrap();
    assert_eq!(before.stat_cache, StatCache::default());
    assert_eq!(unread(dir.path(), &before, &last(&before)), 0);
    for text in ["", "{}", "{\"format\":0,\"members\":{}}", "[1]"] {
        assert!(StatCache::read(text.as_bytes()).is_err());
    }
}
