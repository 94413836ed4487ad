//! A plain user packs what root packs.
//!
//! As root these tests run themselves once more as `nobody`, the number that Linux gives to nobody.

use std::os::unix::process::CommandExt;

use super::*;

const NOBODY: u32 = 65534;

const DIGEST: &str = "sha256:575dd40431bb3d337533a4365945b732d7f096baecc07b16af5b6575ad7b5439";

#[test]
fn what_its_owner_may_not_read_is_packed() {
    let tree = Tree::from([
        file("secret", 0o000, "nobody may read this"),
        file("write-only", 0o222, "nor this"),
        file("run-only", 0o111, "but anybody may run this"),
        file("closed/file", 0o644, "below a closed directory"),
        directory("closed", 0o000),
        file("listed/file", 0o000, "listed, but not reached"),
        directory("listed", 0o400),
        file("passage/file", 0o644, "reached, but not listed"),
        directory("passage", 0o100),
    ]);
    assert_eq!(packed(&tree).manifest.summary.digest.to_string(), DIGEST);
}

/// Others get no permission by it.
#[test]
fn a_closed_build_dir_is_opened_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (app, link) = (dir.path().join("app"), dir.path().join("link"));
    fs::create_dir(&app).unwrap();
    fs::write(app.join("web"), "web").unwrap();
    std::os::unix::fs::symlink(&app, &link).unwrap();
    for path in [&app, &link] {
        fs::set_permissions(&app, Permissions::from_mode(0o310)).unwrap();
        assert_eq!(pack(path, Vec::new()).unwrap().manifest.entries.len(), 1);
        let mode = fs::metadata(&app).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o710, "{}", path.display());
    }
}

#[test]
fn a_plain_user_packs_what_root_packs() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // Copied, because the place where tests are built may be closed to others.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let tests = dir.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    fs::set_permissions(&tests, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(tests);
    command.current_dir("/").gid(NOBODY).uid(NOBODY);
    command.args(["--test-threads=1", "--exact"]);
    command.arg("pack::tests::unprivileged::what_its_owner_may_not_read_is_packed");
    command.arg("pack::tests::unprivileged::a_closed_build_dir_is_opened_for_its_owner_alone");
    command.arg("pack::tests::golden::a_tree_with_one_of_everything");
    command.arg("pack::tests::round_trip::gnu_tar_reads_it");
    assert_ran(4, &run(&mut command, b"", ""));
}
