//! Trees that real git makes, with real git's checkout to compare with, and archives that no
//! honest tool makes.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use gix::ObjectId;

mod archive;
mod directory;

use super::*;
use crate::fixture::{commit_file, git, git_line, listing, source_repo};

/// Nothing is to stop.
static GO: AtomicBool = AtomicBool::new(false);

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
        let done = commit(
            &self.source.join(".git"),
            None,
            id,
            &dest,
            &self.limits,
            &GO,
        )?;
        Ok((done, dest))
    }

    fn directory(&self, src: &Path) -> Result<(Directory, PathBuf), Error> {
        let dest = self.dest();
        Ok((directory(src, &[], &dest, &self.limits, &GO)?, dest))
    }

    fn archive(&self, bytes: &[u8]) -> Result<(Checkout, PathBuf), Error> {
        let dest = self.dest();
        let before = listing(self.dir.path()).len();
        let result = archive(bytes, &dest, &self.limits, &GO);
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
    let none = commit(&bare, None, head, &case.dest(), &case.limits, &GO);
    assert!(matches!(none, Err(Error::NoCommit { .. })));
    let dest = case.dest();
    commit(&bare, Some(&quarantine), head, &dest, &case.limits, &GO).unwrap();
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
        &GO,
    );
    assert!(matches!(error, Err(Error::NotEmpty { .. })));
    let blob = id(&git_line(&case.source, &["rev-parse", "HEAD:file"], b""));
    assert!(matches!(case.commit(blob), Err(Error::NoCommit { .. })));
    let module = case.object(
        "tree",
        &tree_line("160000", "module", &case.head().to_string()),
    );
    let outer = case.object("tree", &tree_line("40000", "vendor", &module));
    let (checkout, _) = case.commit(case.commit_of(&outer)).unwrap();
    assert_eq!(
        checkout.submodules,
        [("vendor/module".to_owned(), case.head())]
    );
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
