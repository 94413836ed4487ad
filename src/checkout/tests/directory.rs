//! Directories of this machine, in work trees and elsewhere.

use super::*;

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
