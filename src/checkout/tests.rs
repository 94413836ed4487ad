//! Trees that real git makes, with real git's checkout to compare with, and archives that no
//! honest tool makes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use gix::ObjectId;

use super::*;
use crate::fixture::{commit_file, git, git_line, listing, source_repo};

struct Case {
    dir: tempfile::TempDir,
    source: PathBuf,
    limits: Limits,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = source_repo(dir.path());
        Self {
            source,
            limits: Limits::default(),
            dir,
        }
    }

    /// An app with all that a tree can have.
    fn rich() -> Self {
        let case = Self::new();
        let dir = &case.source;
        fs::create_dir_all(dir.join("bin/deep/er")).unwrap();
        fs::write(dir.join("bin/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.join("bin/deep/er/empty"), "").unwrap();
        fs::write(dir.join("win.bat"), "a\nb\n").unwrap();
        fs::write(dir.join("bin/sub.bat"), "a\nb\n").unwrap();
        fs::write(dir.join("name with ä \"quotes\""), "x").unwrap();
        fs::write(dir.join(to_path(b"latin-\xe4")), "x").unwrap();
        fs::write(dir.join(".gitattributes"), "*.bat text eol=crlf\n").unwrap();
        fs::write(dir.join(".env"), "A=b\n").unwrap();
        symlink("bin/run", dir.join("link")).unwrap();
        symlink("/etc/passwd", dir.join("absolute")).unwrap();
        symlink("../../nowhere", dir.join("bin/dangling")).unwrap();
        commit_file(dir, "last", "x\n");
        // Git writes what the attributes say only anew.
        fs::remove_file(dir.join("win.bat")).unwrap();
        fs::remove_file(dir.join("bin/sub.bat")).unwrap();
        git(dir, &["checkout", "-q", "--", "."]);
        case
    }

    fn head(&self) -> ObjectId {
        id(&git_line(&self.source, &["rev-parse", "HEAD"], b""))
    }

    fn dest(&self) -> PathBuf {
        tempfile::tempdir_in(self.dir.path()).unwrap().keep()
    }

    fn commit(&self, id: ObjectId) -> Result<(Checkout, PathBuf), Error> {
        let dest = self.dest();
        let done = commit(&self.source.join(".git"), None, id, &dest, &self.limits)?;
        Ok((done, dest))
    }

    fn directory(&self, src: &Path) -> Result<(Directory, PathBuf), Error> {
        let dest = self.dest();
        Ok((directory(src, &dest, &self.limits)?, dest))
    }

    fn archive(&self, bytes: &[u8]) -> Result<(Checkout, PathBuf), Error> {
        let dest = self.dest();
        let before = listing(self.dir.path()).len();
        let result = archive(bytes, &dest, &self.limits);
        let within = listing(&dest).len();
        assert_eq!(listing(self.dir.path()).len(), before + within);
        Ok((result?, dest))
    }

    fn object(&self, kind: &str, content: &[u8]) -> String {
        let args = ["hash-object", "-w", "-t", kind, "--literally", "--stdin"];
        git_line(&self.source, &args, content)
    }

    fn commit_of(&self, tree: &str) -> ObjectId {
        id(&git_line(
            &self.source,
            &["commit-tree", "-m", "x", tree],
            b"",
        ))
    }
}

fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.as_bytes()).unwrap()
}

fn tree_line(mode: &str, name: &str, hex: &str) -> Vec<u8> {
    [format!("{mode} {name}\0").as_bytes(), id(hex).as_slice()].concat()
}

/// The files of a work tree without git's own.
fn files(dir: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut files = listing(dir);
    files.retain(|(path, ..)| !path.starts_with(".git"));
    files
}

#[test]
fn a_commit_is_written_as_git_writes_it() {
    let case = Case::rich();
    let clone = case.dir.path().join("clone");
    let from = case.source.to_str().unwrap();
    git(
        case.dir.path(),
        &["clone", "-q", from, clone.to_str().unwrap()],
    );
    let (done, dest) = case.commit(case.head()).unwrap();
    assert_eq!(files(&dest), files(&clone));
    assert_eq!(fs::read(dest.join("bin/sub.bat")).unwrap(), b"a\r\nb\r\n");
    let tree = git_line(&case.source, &["rev-parse", "HEAD^{tree}"], b"");
    assert_eq!(done.tree, Some(id(&tree)));
    assert_eq!(done.commit, Some(case.head()));
    assert_eq!(done.files, 13);
}

#[test]
fn objects_may_still_be_in_a_quarantine() {
    let case = Case::new();
    let bare = case.dir.path().join("bare");
    git(case.dir.path(), &["init", "-q", "--bare", "bare"]);
    let quarantine = bare.join("objects/incoming-x");
    fs::create_dir_all(quarantine.join("info")).unwrap();
    fs::write(quarantine.join("info/alternates"), "..\n").unwrap();
    std::process::Command::new("cp")
        .arg("-r")
        .args([&case.source.join(".git/objects/."), &quarantine])
        .status()
        .unwrap();
    fs::write(quarantine.join("info/alternates"), "..\n").unwrap();
    let head = case.head();
    let none = commit(&bare, None, head, &case.dest(), &case.limits);
    assert!(matches!(none, Err(Error::NoCommit { .. })));
    let dest = case.dest();
    commit(&bare, Some(&quarantine), head, &dest, &case.limits).unwrap();
    assert_eq!(fs::read(dest.join("file")).unwrap(), b"one\n");
}

#[test]
fn no_filter_is_run() {
    let case = Case::new();
    let mark = case.dir.path().join("mark");
    let smudge = format!("touch {}; cat", mark.display());
    git(&case.source, &["config", "filter.evil.smudge", &smudge]);
    fs::write(case.source.join(".gitattributes"), "* filter=evil\n").unwrap();
    commit_file(&case.source, "x", "x\n");
    let (_, dest) = case.commit(case.head()).unwrap();
    assert_eq!(fs::read(dest.join("x")).unwrap(), b"x\n");
    case.directory(&case.source).unwrap();
    assert!(!mark.exists());
}

#[test]
fn commits_that_cannot_be_built() {
    let case = Case::new();
    let not_empty = case.source.join("..");
    let error = commit(
        &case.source.join(".git"),
        None,
        case.head(),
        &not_empty,
        &case.limits,
    );
    assert!(matches!(error, Err(Error::NotEmpty { .. })));
    let blob = id(&git_line(&case.source, &["rev-parse", "HEAD:file"], b""));
    assert!(matches!(case.commit(blob), Err(Error::NoCommit { .. })));
    let module = case.object(
        "tree",
        &tree_line("160000", "module", &case.head().to_string()),
    );
    let outer = case.object("tree", &tree_line("40000", "vendor", &module));
    let error = case.commit(case.commit_of(&outer)).unwrap_err();
    assert!(matches!(error, Error::Submodule { path } if path == "vendor/module"));
    let empty = case.object("tree", b"");
    assert!(matches!(
        case.commit(case.commit_of(&empty)),
        Err(Error::Empty)
    ));
    let nested = case.object("tree", &tree_line("40000", "a", &empty));
    assert!(matches!(
        case.commit(case.commit_of(&nested)),
        Err(Error::Empty)
    ));
}

#[test]
fn limits_of_a_commit_hold_at_their_edge() {
    let mut case = Case::new();
    commit_file(&case.source, "dir/ten", "0123456789");
    let limits = |files, bytes| Limits { files, bytes };
    for (fits, limits) in [
        (true, limits(2, 14)),
        (false, limits(1, 14)),
        (false, limits(2, 13)),
    ] {
        case.limits = limits;
        let head = case.head();
        assert_eq!(case.commit(head).is_ok(), fits);
        assert_eq!(case.directory(&case.source).is_ok(), fits);
    }
}

#[test]
fn a_tree_that_unfolds_to_billions_of_files_is_refused() {
    let mut case = Case::new();
    case.limits.files = 5_000;
    let mut tree = case.object("blob", b"x");
    for level in 0..12 {
        let mode = if level == 0 { "100644" } else { "40000" };
        let lines: Vec<u8> = (0..10)
            .flat_map(|n| tree_line(mode, &n.to_string(), &tree))
            .collect();
        tree = case.object("tree", &lines);
    }
    assert!(matches!(
        case.commit(case.commit_of(&tree)),
        Err(Error::Files { .. })
    ));
}

#[test]
fn hostile_trees_stay_inside() {
    let case = Case::new();
    let blob = case.object("blob", b"x");
    let target = case.object("blob", case.dir.path().to_str().unwrap().as_bytes());
    let inner = case.object("tree", &tree_line("100644", "pwned", &blob));
    for lines in [
        [
            tree_line("120000", "a", &target),
            tree_line("40000", "a", &inner),
        ]
        .concat(),
        [
            tree_line("40000", "a", &inner),
            tree_line("120000", "a", &target),
        ]
        .concat(),
        tree_line("40000", "..", &inner),
        tree_line("40000", ".git", &inner),
        tree_line("100644", "../pwned", &blob),
        tree_line("100644", "/tmp/pwned", &blob),
    ] {
        let tree = case.object("tree", &lines);
        let commit = case.commit_of(&tree);
        assert!(case.commit(commit).is_err());
        assert!(!case.dir.path().join("pwned").exists());
    }
}

#[test]
fn a_clean_work_tree_is_its_commit() {
    let case = Case::rich();
    fs::write(case.source.join("untracked"), "x").unwrap();
    let (from_commit, by_commit) = case.commit(case.head()).unwrap();
    let (found, by_directory) = case.directory(&case.source).unwrap();
    assert_eq!(listing(&by_directory), listing(&by_commit));
    assert_eq!(found.changed, 0);
    assert_eq!(found.checkout.commit, from_commit.commit);
    assert_eq!(found.checkout.tree, from_commit.tree);
    assert_eq!(found.checkout.files, from_commit.files);
}

#[test]
fn a_part_of_a_work_tree_is_taken_alone() {
    let case = Case::rich();
    let (found, dest) = case.directory(&case.source.join("bin")).unwrap();
    let (_, whole) = case.commit(case.head()).unwrap();
    assert_eq!(listing(&dest), listing(&whole.join("bin")));
    let tree = git_line(&case.source, &["rev-parse", "HEAD:bin"], b"");
    assert_eq!(found.checkout.tree, Some(id(&tree)));
    assert_eq!(found.changed, 0);
    // What is beside it does not matter.
    fs::write(case.source.join("file"), "changed").unwrap();
    assert_eq!(
        case.directory(&case.source.join("bin")).unwrap().0.changed,
        0
    );
}

#[test]
fn changes_are_taken_and_counted() {
    let case = Case::rich();
    let dir = &case.source;
    fs::write(dir.join("file"), "two\n").unwrap();
    fs::remove_file(dir.join("last")).unwrap();
    fs::set_permissions(dir.join(".env"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.join("new"), "x").unwrap();
    git(dir, &["add", "new"]);
    git(dir, &["rm", "-q", "--cached", "win.bat"]);
    let (found, dest) = case.directory(dir).unwrap();
    assert_eq!(found.changed, 5);
    assert_eq!(found.checkout.tree, None);
    assert_eq!(fs::read(dest.join("file")).unwrap(), b"two\n");
    assert!(dest.join("new").exists());
    assert!(!dest.join("last").exists() && !dest.join("win.bat").exists());
}

#[test]
fn what_is_behind_a_symlink_is_deleted() {
    let case = Case::rich();
    let away = case.dir.path().join("away");
    fs::rename(case.source.join("bin"), &away).unwrap();
    symlink(&away, case.source.join("bin")).unwrap();
    let (found, dest) = case.directory(&case.source).unwrap();
    assert!(!dest.join("bin").exists());
    assert_eq!(found.changed, 4);
}

#[test]
fn a_work_tree_without_tracked_files_is_refused() {
    let case = Case::new();
    fs::create_dir(case.source.join("new")).unwrap();
    fs::write(case.source.join("new/file"), "x").unwrap();
    let error = case.directory(&case.source.join("new")).unwrap_err();
    assert!(matches!(error, Error::NothingTracked { .. }));
}

#[test]
fn a_plain_directory_is_taken_whole() {
    let case = Case::new();
    let src = case.dir.path().join("plain");
    fs::create_dir_all(src.join("a/b")).unwrap();
    fs::create_dir_all(src.join("empty/empty")).unwrap();
    fs::create_dir_all(src.join("a/.git")).unwrap();
    fs::write(src.join("a/.git/config"), "x").unwrap();
    fs::write(src.join("a/b/c"), "x").unwrap();
    symlink("/", src.join("root")).unwrap();
    let (found, dest) = case.directory(&src).unwrap();
    assert_eq!((found.checkout.files, found.changed), (2, 0));
    let names: Vec<_> = listing(&dest).into_iter().map(|(path, ..)| path).collect();
    assert_eq!(names, ["a", "a/b", "a/b/c", "root"].map(PathBuf::from));
    nix::unistd::mkfifo(&src.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(case.directory(&src), Err(Error::Kind { .. })));
}

/// One entry of an archive, with nothing checked.
struct Item(tar::EntryType, &'static str, &'static str);

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIR: tar::EntryType = tar::EntryType::Directory;
const LINK: tar::EntryType = tar::EntryType::Symlink;
const HARD: tar::EntryType = tar::EntryType::Link;

/// Makes an archive; the third word is a file's content or a link's target.
fn tarball(items: &[Item]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for Item(kind, path, word) in items {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(if path.ends_with('*') { 0o755 } else { 0o644 });
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        let content = if kind.is_file() || kind.is_pax_local_extensions() || kind.is_gnu_longname()
        {
            word.as_bytes()
        } else {
            header.as_old_mut().linkname[..word.len()].copy_from_slice(word.as_bytes());
            b""
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let all = listing(dir).into_iter();
    all.map(|(path, ..)| path.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn an_archive_of_real_git_is_its_commit() {
    let case = Case::rich();
    // `git archive` makes the directory around everything that GitHub has, and a global header.
    for args in [
        &["archive", "--format=tar.gz", "--prefix=app-0123/", "HEAD"][..],
        &["archive", "--format=tar", "HEAD"],
    ] {
        let bytes = crate::fixture::git_with(&case.source, args, b"");
        let (done, dest) = case.archive(&bytes).unwrap();
        let (_, by_commit) = case.commit(case.head()).unwrap();
        assert_eq!(listing(&dest), listing(&by_commit));
        assert_eq!(done.files, 13);
    }
}

#[test]
fn ordinary_archives() {
    let case = Case::new();
    let (done, dest) = case
        .archive(&gzipped(&tarball(&[
            Item(DIR, "./", ""),
            Item(FILE, "./Procfile", "web: x"),
            Item(DIR, "./empty/", ""),
            Item(FILE, "./.git/config", "x"),
            Item(FILE, "sub/.git", "x"),
            Item(FILE, "sub/run*", "x"),
            Item(LINK, "link", "/etc"),
            Item(HARD, "again", "./Procfile"),
        ])))
        .unwrap();
    assert_eq!(
        names(&dest),
        ["Procfile", "again", "link", "sub", "sub/run*"]
    );
    assert_eq!((done.files, done.bytes), (4, 13));
    let mode = |name: &str| fs::metadata(dest.join(name)).unwrap().permissions().mode();
    assert_eq!(mode("sub/run*") & 0o111, 0o111);
    assert_eq!(mode("again") & 0o111, 0);
}

#[test]
fn one_directory_around_everything_is_left_out() {
    let case = Case::new();
    let inner = [
        Item(DIR, "a/", ""),
        Item(FILE, "a/a", "x"),
        Item(FILE, "a/b/c", "x"),
    ];
    let (_, dest) = case.archive(&tarball(&inner)).unwrap();
    assert_eq!(names(&dest), ["a", "b", "b/c"]);
    let two = [Item(FILE, "a/a", "x"), Item(FILE, "b", "x")];
    assert_eq!(
        names(&case.archive(&tarball(&two)).unwrap().1),
        ["a", "a/a", "b"]
    );
    let one = [Item(FILE, "a", "x")];
    assert_eq!(names(&case.archive(&tarball(&one)).unwrap().1), ["a"]);
}

#[test]
fn long_names_are_read_in_both_forms() {
    let case = Case::new();
    let long = "d/".repeat(80) + "file";
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
    builder.append_data(&mut header, "top", &b"x"[..]).unwrap();
    let (_, dest) = case.archive(&builder.into_inner().unwrap()).unwrap();
    assert!(dest.join(&long).is_file());
    let pax = tar::EntryType::XHeader;
    let items = [
        Item(pax, "pax", "14 path=named\n"),
        Item(FILE, "short", "x"),
        Item(FILE, "next", "x"),
    ];
    let (_, dest) = case.archive(&tarball(&items)).unwrap();
    assert_eq!(names(&dest), ["named", "next"]);
}

#[test]
fn hostile_archives_are_refused() {
    let case = Case::new();
    let pax = tar::EntryType::XHeader;
    let gnu = tar::EntryType::GNULongName;
    for (items, what) in [
        (vec![Item(FILE, "/etc/x", "x")], "Outside"),
        (vec![Item(FILE, "../x", "x")], "Outside"),
        (vec![Item(FILE, "a/../../x", "x")], "Outside"),
        (
            vec![Item(gnu, "long", "../x\0"), Item(FILE, "a", "x")],
            "Outside",
        ),
        (
            vec![Item(pax, "pax", "13 path=../x\n"), Item(FILE, "a", "x")],
            "Outside",
        ),
        (vec![Item(LINK, "a", ".."), Item(FILE, "a/x", "x")], "Below"),
        (vec![Item(FILE, "a", "x"), Item(FILE, "a/x", "x")], "Below"),
        (vec![Item(FILE, "a", "x"), Item(DIR, "a/b", "")], "Below"),
        (vec![Item(FILE, "a", "x"), Item(FILE, "./a", "x")], "Twice"),
        (vec![Item(FILE, "a/x", "x"), Item(LINK, "a", "..")], "Twice"),
        (vec![Item(LINK, "a", ".."), Item(DIR, "a/", "")], "Twice"),
        (vec![Item(LINK, "a", ".."), Item(FILE, "a", "x")], "Twice"),
        (vec![Item(DIR, "a/", ""), Item(FILE, "a", "x")], "Twice"),
        (vec![Item(HARD, "a", "/etc/passwd")], "Outside"),
        (vec![Item(HARD, "a", "../source/file")], "Outside"),
        (vec![Item(HARD, "a", "nothing")], "HardLink"),
        (
            vec![Item(LINK, "l", "/etc/passwd"), Item(HARD, "a", "l")],
            "HardLink",
        ),
        (vec![Item(tar::EntryType::Char, "a", "")], "Kind"),
        (vec![Item(tar::EntryType::Block, "a", "")], "Kind"),
        (vec![Item(tar::EntryType::Fifo, "a", "")], "Kind"),
        (
            vec![Item(tar::EntryType::GNUSparse, "a", "")],
            "Unsupported",
        ),
        (
            vec![Item(pax, "pax", "9 size=7\n"), Item(FILE, "a", "x")],
            "Unsupported",
        ),
        (
            vec![
                Item(pax, "p", "22 GNU.sparse.major=1\n"),
                Item(FILE, "a", "x"),
            ],
            "Unsupported",
        ),
        (vec![Item(DIR, "a/", "")], "Empty"),
        (vec![Item(FILE, ".git/config", "x")], "Empty"),
        (vec![], "Empty"),
    ] {
        let error = case.archive(&tarball(&items)).unwrap_err();
        let shown = format!("{error:?}");
        let names: Vec<_> = items.iter().map(|item| item.1).collect();
        assert!(shown.starts_with(what), "{names:?}: {shown}");
    }
}

#[test]
fn limits_of_an_archive_hold_at_their_edge() {
    let mut case = Case::new();
    let bytes = gzipped(&tarball(&[
        Item(FILE, "a", "1234"),
        Item(FILE, "b", "123456"),
    ]));
    let limits = |files, bytes| Limits { files, bytes };
    for (fits, limits) in [
        (true, limits(2, 10)),
        (false, limits(1, 10)),
        (false, limits(2, 9)),
        (false, limits(2, 3)),
    ] {
        case.limits = limits;
        assert_eq!(case.archive(&bytes).is_ok(), fits);
    }
}

#[test]
fn bombs_are_stopped() {
    let mut case = Case::new();
    case.limits.bytes = 1 << 20;
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(64 << 20);
    header.set_mode(0o644);
    let zeros = std::io::repeat(0).take(64 << 20);
    builder.append_data(&mut header, "zeros", zeros).unwrap();
    let bomb = gzipped(&builder.into_inner().unwrap());
    assert!(matches!(case.archive(&bomb), Err(Error::Bytes { .. })));
    // A name that would have to be held in memory.
    let mut builder = tar::Builder::new(Vec::new());
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_path("x").unwrap();
    header.set_cksum();
    let zeros = std::io::repeat(b'a').take(64 << 20);
    builder.append(&header, zeros).unwrap();
    let bomb = gzipped(&builder.into_inner().unwrap());
    assert!(matches!(
        case.archive(&bomb),
        Err(Error::Unsupported { .. })
    ));
    // Many entries of nothing.
    case.limits.files = 10;
    let dirs: Vec<_> = (0..200).map(|_| Item(DIR, "a/", "")).collect();
    assert!(matches!(
        case.archive(&tarball(&dirs)),
        Err(Error::Files { .. })
    ));
}

#[test]
fn damaged_archives_are_refused() {
    let case = Case::new();
    let plain = tarball(&[Item(FILE, "a", "0123456789abcdef"), Item(FILE, "b", "x")]);
    let bytes = gzipped(&plain);
    for end in 1..bytes.len() {
        assert!(case.archive(&bytes[..end]).is_err(), "{end}");
    }
    assert!(case.archive(&plain[..520]).is_err());
    assert!(case.archive(b"not an archive at all").is_err());
    assert!(matches!(case.archive(b""), Err(Error::Empty)));
    let mut wrong = bytes.clone();
    let last = wrong.len() - 6;
    wrong[last] ^= 1;
    assert!(matches!(case.archive(&wrong), Err(Error::Archive { .. })));
}
