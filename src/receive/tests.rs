//! Whole pushes, with packs and repositories that real git makes, and real git to judge the result.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::objs::Exists as _;

use super::*;
use crate::fixture::{commit_file, git, git_line, git_with, listing, source_repo};

/// A repository to push to and one to push from.
struct Case {
    _dir: tempfile::TempDir,
    repo: PathBuf,
    source: PathBuf,
    limits: Limits,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("app.git");
        init(&repo).unwrap();
        let source = source_repo(dir.path());
        Self {
            repo,
            source,
            limits: Limits::default(),
            _dir: dir,
        }
    }

    fn head(&self) -> String {
        git_line(&self.source, &["rev-parse", "HEAD"], b"")
    }

    /// The pack that git would send for these revisions, `^` before what the server has.
    fn pack(&self, revisions: &[&str]) -> Vec<u8> {
        let args = [
            "pack-objects",
            "--revs",
            "--thin",
            "--stdout",
            "--delta-base-offset",
            "-q",
        ];
        git_with(&self.source, &args, revisions.join("\n").as_bytes())
    }

    /// A pack of just these objects.
    fn pack_of(&self, ids: &[&str]) -> Vec<u8> {
        let args = ["pack-objects", "--stdout", "-q"];
        git_with(&self.source, &args, ids.join("\n").as_bytes())
    }

    fn object(&self, kind: &str, content: &[u8]) -> String {
        let args = ["hash-object", "-w", "-t", kind, "--literally", "--stdin"];
        git_line(&self.source, &args, content)
    }

    fn commit_of(&self, tree: &str) -> String {
        let who = "A <a@example.com> 1700000000 +0000";
        let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nx\n");
        self.object("commit", text.as_bytes())
    }

    fn receive(&self, commands: &[Command], pack: &[u8]) -> Result<Quarantine, Error> {
        let request = request(commands);
        let stop = AtomicBool::new(false);
        Quarantine::receive(&self.repo, &mut &pack[..], &request, &self.limits, &stop)
    }

    fn push(&self, commands: &[Command], pack: &[u8]) {
        assert!(self.check(commands).iter().all(Result::is_ok));
        let mut quarantine = self.receive(commands, pack).unwrap();
        quarantine.keep().unwrap();
        quarantine.promote().unwrap();
        apply(&self.repo, commands).unwrap();
        git(&self.repo, &["fsck", "--strict", "--no-dangling"]);
    }

    fn push_main(&self) -> String {
        let head = self.head();
        self.push(&[command("main", None, Some(&head))], &self.pack(&[&head]));
        head
    }

    fn check(&self, commands: &[Command]) -> Vec<Status> {
        check(&self.repo, &request(commands)).unwrap()
    }

    /// Pushes what has to be refused, and sees that nothing is left of it.
    fn refused(&self, commands: &[Command], pack: &[u8]) -> Error {
        let before = listing(&self.repo);
        let error = self.receive(commands, pack).unwrap_err();
        assert_eq!(listing(&self.repo), before);
        error
    }

    fn refs(&self) -> String {
        git(&self.repo, &["for-each-ref", "--format=%(refname)"])
    }
}

fn request(commands: &[Command]) -> Request {
    Request {
        commands: commands.to_vec(),
        shallow: Vec::new(),
        report: ReportStatus::V2,
        side_band: true,
        quiet: false,
        atomic: false,
        agent: None,
    }
}

fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.as_bytes()).unwrap()
}

fn command(name: &str, old: Option<&str>, new: Option<&str>) -> Command {
    let name = if name.starts_with("refs/") {
        name.to_owned()
    } else {
        format!("refs/heads/{name}")
    };
    Command {
        name,
        old: old.map(id),
        new: new.map(id),
    }
}

fn tree_line(mode: &str, name: &str, hex: &str) -> Vec<u8> {
    [format!("{mode} {name}\0").as_bytes(), id(hex).as_slice()].concat()
}

#[test]
fn a_push_arrives_whole_and_then_the_next() {
    let case = Case::new();
    let first = case.push_main();
    let big = "a line that is long enough for a delta\n".repeat(200);
    let second = commit_file(&case.source, "dir/big", &big);
    case.push(
        &[command("main", Some(&first), Some(&second))],
        &case.pack(&[&second, &format!("^{first}")]),
    );
    // Thin: the delta's base is in the repository alone.
    let third = commit_file(&case.source, "dir/big", &format!("{big}end\n"));
    let pack = case.pack(&[&third, &format!("^{second}")]);
    case.push(&[command("main", Some(&second), Some(&third))], &pack);

    assert_eq!(git_line(&case.repo, &["rev-parse", "main"], b""), third);
    assert_eq!(
        git(&case.repo, &["rev-list", "--objects", "main"]),
        git(&case.source, &["rev-list", "--objects", "main"])
    );
    let packs: Vec<_> = listing(&case.repo.join("objects"))
        .into_iter()
        .filter(|(path, mode, _)| path.extension().is_some() && mode & 0o777 == 0o444)
        .collect();
    assert_eq!(packs.len(), 6);
    assert!(listing(&case.repo).iter().all(|(path, ..)| {
        let path = path.to_string_lossy();
        !path.contains("incoming") && !path.ends_with(".keep")
    }));
}

#[test]
fn new_objects_can_be_read_before_they_are_promoted() {
    let case = Case::new();
    let head = case.head();
    let commands = [command("main", None, Some(&head))];
    let before = listing(&case.repo);
    let quarantine = case.receive(&commands, &case.pack(&[&head])).unwrap();
    let dir = quarantine.objects_dir().to_owned();
    assert_eq!(dir, case.repo.join("objects").join(quarantine.name()));
    assert!(open_objects(&dir).unwrap().exists(&id(&head)));
    drop(quarantine);
    assert_eq!(listing(&case.repo), before);
}

#[test]
fn a_branch_on_a_known_commit_comes_with_an_empty_pack() {
    let case = Case::new();
    let head = case.push_main();
    let empty = case.pack(&[&head, &format!("^{head}")]);
    assert_eq!(empty.len(), 32);
    case.push(&[command("b", None, Some(&head))], &empty);
    let mut damaged = empty.clone();
    damaged[31] ^= 1;
    let commands = [command("c", None, Some(&head))];
    assert!(matches!(case.refused(&commands, &damaged), Error::NotAPack));
    assert!(matches!(case.refused(&commands, &empty[..31]), Error::Cut));
    let junk = [&empty[..], b"x"].concat();
    assert!(matches!(case.refused(&commands, &junk), Error::Junk));
}

#[test]
fn deleting_needs_no_pack() {
    let case = Case::new();
    let head = case.push_main();
    git(&case.repo, &["branch", "old", "main"]);
    git(&case.repo, &["tag", "v1", "main"]);
    git(&case.repo, &["pack-refs", "--all"]);
    let commands = [
        command("old", Some(&head), None),
        command("refs/tags/v1", Some(&head), None),
    ];
    assert!(matches!(case.refused(&commands, b"PACK"), Error::Junk));
    case.push(&commands, b"");
    assert_eq!(case.refs(), "refs/heads/main\n");
}

#[test]
fn a_damaged_pack_leaves_nothing() {
    let case = Case::new();
    commit_file(&case.source, "big", &"0123456789\n".repeat(5000));
    let head = case.head();
    let commands = [command("main", None, Some(&head))];
    let pack = case.pack(&[&head]);
    for junk in [1, 19, 20, 21, 9000] {
        let stream = [&pack[..], &vec![b'x'; junk]].concat();
        assert!(matches!(case.refused(&commands, &stream), Error::Junk));
    }
    for end in [0, 1, 4, 11, 12, 13, 40, pack.len() - 20, pack.len() - 1] {
        let error = case.refused(&commands, &pack[..end]);
        assert!(matches!(error, Error::Cut), "{end}: {error:?}");
    }
    for at in [0, 5, 7, 13, 40, pack.len() / 2, pack.len() - 1] {
        let mut damaged = pack.clone();
        damaged[at] ^= 0x40;
        case.refused(&commands, &damaged);
    }
}

#[test]
fn limits_hold_at_their_edge() {
    let mut case = Case::new();
    commit_file(&case.source, "big", &"x".repeat(100_000));
    let head = case.head();
    let commands = [command("main", None, Some(&head))];
    let pack = case.pack(&[&head]);
    let count = u32::from_be_bytes(pack[8..12].try_into().unwrap());
    for (limits, fits) in [
        (
            Limits {
                pack_bytes: pack.len() as u64,
                ..Limits::default()
            },
            true,
        ),
        (
            Limits {
                pack_bytes: pack.len() as u64 - 1,
                ..Limits::default()
            },
            false,
        ),
        (
            Limits {
                objects: count,
                ..Limits::default()
            },
            true,
        ),
        (
            Limits {
                objects: count - 1,
                ..Limits::default()
            },
            false,
        ),
        (
            Limits {
                object_bytes: 100_000,
                ..Limits::default()
            },
            true,
        ),
        (
            Limits {
                object_bytes: 99_999,
                ..Limits::default()
            },
            false,
        ),
    ] {
        case.limits = limits;
        if fits {
            drop(case.receive(&commands, &pack).unwrap());
        } else {
            let error = case.refused(&commands, &pack);
            assert!(matches!(
                error,
                Error::PackBytes { .. } | Error::Objects { .. } | Error::Pack { .. }
            ));
        }
    }
}

#[test]
fn the_default_limits_fit_together() {
    // The unpacking code takes memory for as many objects as the header says.
    let case = Case::new();
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend_from_slice(&case.limits.objects.to_be_bytes());
    let head = case.head();
    let error = case.refused(&[command("main", None, Some(&head))], &pack);
    assert!(matches!(error, Error::Cut), "{error:?}");
}

#[test]
fn bases_of_a_thin_pack_are_limited() {
    let mut case = Case::new();
    let lines: Vec<_> = (0..5000).map(|n| (n * 7919 % 5003).to_string()).collect();
    let big = lines.join("\n");
    let first = commit_file(&case.source, "big", &big);
    case.push(
        &[command("main", None, Some(&first))],
        &case.pack(&[&first]),
    );
    let second = commit_file(&case.source, "big", &format!("{big}end\n"));
    let commands = [command("main", Some(&first), Some(&second))];
    let pack = case.pack(&[&second, &format!("^{first}")]);
    // The tree of the first commit may be a base as well.
    case.limits.base_bytes = big.len() as u64 + 200;
    drop(case.receive(&commands, &pack).unwrap());
    case.limits.base_bytes = big.len() as u64 - 1;
    assert!(matches!(
        case.refused(&commands, &pack),
        Error::BaseBytes { .. }
    ));
}

#[test]
fn a_bomb_is_stopped_by_the_limit_of_an_object() {
    let mut case = Case::new();
    case.limits.object_bytes = 1 << 20;
    fs::write(case.source.join("zeros"), vec![0; 64 << 20]).unwrap();
    git(&case.source, &["add", "-A"]);
    git(&case.source, &["commit", "-q", "-m", "bomb"]);
    let head = case.head();
    let pack = case.pack(&[&head]);
    assert!(pack.len() < 100_000);
    let error = case.refused(&[command("main", None, Some(&head))], &pack);
    assert!(matches!(error, Error::Pack { .. }), "{error:?}");
}

#[test]
fn what_is_missing_is_missed() {
    let case = Case::new();
    let first = case.head();
    let tree = git_line(&case.source, &["rev-parse", "HEAD^{tree}"], b"");
    let blob = git_line(&case.source, &["rev-parse", "HEAD:file"], b"");
    let commands = [command("main", None, Some(&first))];
    for part in [&[&*first][..], &[&*first, &*tree], &[&*first, &*blob]] {
        let error = case.refused(&commands, &case.pack_of(part));
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    }
    let error = case.refused(&commands, &case.pack_of(&[&blob]));
    assert!(matches!(error, Error::TipMissing { .. }), "{error:?}");
    let second = commit_file(&case.source, "next", "2\n");
    let pack = case.pack(&[&second, &format!("^{first}")]);
    let commands = [command("main", None, Some(&second))];
    let error = case.refused(&commands, &pack);
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");

    let mut request = request(&commands);
    request.shallow = vec![id(&second)];
    let stop = AtomicBool::new(false);
    let result = Quarantine::receive(&case.repo, &mut &pack[..], &request, &case.limits, &stop);
    assert!(matches!(result, Err(Error::Shallow)));
}

#[test]
fn a_shallow_clone_can_push_what_builds_on_the_repository() {
    let case = Case::new();
    let first = case.push_main();
    let second = commit_file(&case.source, "next", "2\n");
    let commands = [command("main", Some(&first), Some(&second))];
    let mut request = request(&commands);
    request.shallow = vec![id(&first)];
    let pack = case.pack(&[&second, &format!("^{first}")]);
    let stop = AtomicBool::new(false);
    Quarantine::receive(&case.repo, &mut &pack[..], &request, &case.limits, &stop).unwrap();
}

#[test]
fn tips_are_of_the_right_kind() {
    let case = Case::new();
    let blob = git_line(&case.source, &["rev-parse", "HEAD:file"], b"");
    let error = case.refused(
        &[command("main", None, Some(&blob))],
        &case.pack_of(&[&blob]),
    );
    assert!(matches!(error, Error::TipKind { .. }), "{error:?}");
    case.push(
        &[command("refs/tags/b", None, Some(&blob))],
        &case.pack_of(&[&blob]),
    );
    git(&case.source, &["tag", "-a", "-m", "one", "v1"]);
    let tag = git_line(&case.source, &["rev-parse", "v1"], b"");
    let pack = case.pack(&[&tag]);
    let error = case.refused(&[command("main", None, Some(&tag))], &pack);
    assert!(matches!(error, Error::TipKind { .. }), "{error:?}");
    case.push(&[command("refs/tags/v1", None, Some(&tag))], &pack);
}

#[test]
fn hostile_trees_are_refused() {
    let case = Case::new();
    let blob = case.object("blob", b"x");
    let empty = case.object("tree", b"");
    for lines in [
        tree_line("100644", "../x", &blob),
        tree_line("40000", ".git", &empty),
        tree_line("40000", "..", &empty),
        [
            tree_line("120000", "a", &blob),
            tree_line("40000", "a", &empty),
        ]
        .concat(),
        [
            tree_line("100644", "b", &blob),
            tree_line("100644", "a", &blob),
        ]
        .concat(),
        tree_line("100600", "a", &blob),
        tree_line("100644", "a", &blob)[..20].to_vec(),
    ] {
        let tree = case.object("tree", &lines);
        let commit = case.commit_of(&tree);
        let pack = case.pack_of(&[&commit, &tree, &blob, &empty]);
        let error = case.refused(&[command("main", None, Some(&commit))], &pack);
        assert!(matches!(error, Error::Object { .. }), "{error:?}");
    }
}

#[test]
fn objects_are_what_they_are_named_as() {
    let case = Case::new();
    let blob = case.object("blob", b"x");
    let empty = case.object("tree", b"");
    for stored in [false, true] {
        if stored {
            // The same again, with the named objects in the repository.
            let good = case.object("tree", &tree_line("100644", "a", &blob));
            let commit = case.commit_of(&good);
            let pack = case.pack_of(&[&commit, &good, &blob]);
            case.push(&[command("main", None, Some(&commit))], &pack);
        }
        for tree in [
            case.object("tree", &tree_line("40000", "a", &blob)),
            case.object("tree", &tree_line("100644", "a", &empty)),
            blob.clone(),
        ] {
            let commit = case.commit_of(&tree);
            let mut ids = vec![&*commit, &*empty];
            if tree != blob {
                ids.push(&tree);
            }
            if !stored {
                ids.push(&blob);
            }
            let error = case.refused(&[command("x", None, Some(&commit))], &case.pack_of(&ids));
            assert!(matches!(error, Error::WrongKind { .. }), "{error:?}");
        }
    }
}

#[test]
fn malformed_commits_and_tags_are_refused() {
    let case = Case::new();
    let tree = git_line(&case.source, &["rev-parse", "HEAD^{tree}"], b"");
    let blob = git_line(&case.source, &["rev-parse", "HEAD:file"], b"");
    let commit = case.object("commit", format!("tree {tree}\n\nx\n").as_bytes());
    let pack = case.pack_of(&[&commit, &tree, &blob]);
    let error = case.refused(&[command("main", None, Some(&commit))], &pack);
    assert!(matches!(error, Error::Object { .. }), "{error:?}");
    let tag = case.object("tag", b"object x\n");
    let commands = [command("refs/tags/t", None, Some(&tag))];
    let error = case.refused(&commands, &case.pack_of(&[&tag]));
    assert!(matches!(error, Error::Object { .. }), "{error:?}");
}

#[test]
fn an_empty_commit_on_the_empty_tree_arrives() {
    let case = Case::new();
    git(&case.source, &["rm", "-q", "-r", "."]);
    git(&case.source, &["commit", "-q", "-m", "nothing"]);
    let head = case.head();
    case.push(&[command("main", None, Some(&head))], &case.pack(&[&head]));
}

#[test]
fn a_stopped_push_leaves_nothing() {
    let case = Case::new();
    let head = case.head();
    let commands = [command("main", None, Some(&head))];
    let before = listing(&case.repo);
    let stop = AtomicBool::new(true);
    let pack = case.pack(&[&head]);
    let request = request(&commands);
    let result = Quarantine::receive(&case.repo, &mut &pack[..], &request, &case.limits, &stop);
    assert!(matches!(result, Err(Error::Stopped)), "{result:?}");
    assert_eq!(listing(&case.repo), before);
}

#[test]
fn commands_are_compared_with_the_refs() {
    let case = Case::new();
    let head = case.push_main();
    let other = commit_file(&case.source, "x", "x");
    let statuses = case.check(&[
        command("main", Some(&head), Some(&other)),
        command("new", None, Some(&head)),
        command("gone", Some(&head), Some(&other)),
        command("refs/tags/none", None, None),
        command("refs/notes/x", None, Some(&head)),
    ]);
    let ok: Vec<_> = statuses.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, true, false, false, false]);
    let refused = |command: Command| case.check(&[command])[0].clone().unwrap_err();
    let stale = refused(command("main", Some(&other), Some(&head)));
    assert_eq!(stale, "stale info: the reference has moved; fetch first");
    let exists = refused(command("main", None, Some(&head)));
    assert_eq!(exists, "reference already exists");
    let delete = refused(command("main", Some(&head), None));
    assert_eq!(
        delete,
        "refusing to delete main: the app is deployed from it"
    );

    let mut atomic = request(&[
        command("main", Some(&head), Some(&other)),
        command("gone", Some(&head), None),
    ]);
    atomic.atomic = true;
    let statuses = check(&case.repo, &atomic).unwrap();
    assert_eq!(statuses[0], Err("atomic push failure".to_owned()));
    assert_eq!(statuses[1], Err("no such reference".to_owned()));
}

#[test]
fn a_ref_is_no_directory_of_another() {
    let case = Case::new();
    let head = case.push_main();
    git(&case.repo, &["branch", "a/b", "main"]);
    for packed in [false, true] {
        if packed {
            git(&case.repo, &["pack-refs", "--all"]);
        }
        for (name, fine) in [
            ("main/sub", false),
            ("main/sub/sub", false),
            ("a", false),
            ("a/b/c", false),
            ("a/c", true),
            ("a-b", true),
            ("mai", true),
        ] {
            let status = &case.check(&[command(name, None, Some(&head))])[0];
            assert_eq!(status.is_ok(), fine, "{name}: {status:?}");
        }
    }
    let pair = [
        command("x", None, Some(&head)),
        command("x/y", None, Some(&head)),
    ];
    let ok: Vec<_> = case.check(&pair).iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false]);
}

#[test]
fn one_push_builds_one_commit() {
    let case = Case::new();
    let head = case.push_main();
    let next = commit_file(&case.source, "x", "x");
    let main = command("main", Some(&head), Some(&next));
    let master = |new| command("master", None, Some(new));
    assert!(
        case.check(&[main.clone(), master(&next)])
            .iter()
            .all(Result::is_ok)
    );
    let statuses = case.check(&[main.clone(), master(&head)]);
    assert!(statuses[0].is_ok() && statuses[1].is_err());
    let topic = command("topic", None, Some(&next));
    assert_eq!(to_build(&[topic.clone(), main.clone()]), Some(&main));
    assert_eq!(to_build(&[topic]), None);
    assert_eq!(to_build(&[command("main", Some(&head), None)]), None);
}

#[test]
fn promotion_goes_on_where_it_was_cut() {
    for cut in 0..5 {
        let case = Case::new();
        let head = case.head();
        let commands = [command("main", None, Some(&head))];
        let mut quarantine = case.receive(&commands, &case.pack(&[&head])).unwrap();
        quarantine.keep().unwrap();
        let name = quarantine.name().to_owned();
        let dir = quarantine.objects_dir().to_owned();
        drop(quarantine);
        let packs = case.repo.join("objects/pack");
        let move_all = |suffix: &str| {
            for entry in fs::read_dir(dir.join("pack")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().unwrap() == suffix {
                    fs::rename(&path, packs.join(path.file_name().unwrap())).unwrap();
                }
            }
        };
        if cut > 0 {
            move_all("pack");
        }
        if cut > 1 {
            move_all("idx");
        }
        if cut > 2 {
            fs::remove_dir_all(dir.join("pack")).unwrap();
        }
        if cut > 3 {
            fs::remove_dir_all(&dir).unwrap();
        }
        sweep(&case.repo, &[&name]).unwrap();
        match Quarantine::adopt(&case.repo, &name) {
            Some(quarantine) => quarantine.promote().unwrap(),
            None => assert_eq!(cut, 4),
        }
        apply(&case.repo, &commands).unwrap();
        apply(&case.repo, &commands).unwrap();
        git(&case.repo, &["fsck", "--strict"]);
        assert_eq!(git_line(&case.repo, &["rev-parse", "main"], b""), head);
        assert!(!dir.exists());
    }
}

#[test]
fn the_same_pack_can_be_promoted_twice() {
    let case = Case::new();
    let head = case.push_main();
    let pack = case.pack(&[&head]);
    case.push(&[command("again", None, Some(&head))], &pack);
}

#[test]
fn names_of_quarantines_lead_nowhere_else() {
    let case = Case::new();
    for name in [
        "",
        "pack",
        "incoming-",
        "incoming-/../pack",
        "../objects",
        "incoming-a.b",
    ] {
        assert!(Quarantine::adopt(&case.repo, name).is_none(), "{name}");
    }
}

#[test]
fn sweeping_removes_what_crashed_processes_left() {
    let case = Case::new();
    let head = case.push_main();
    let before = listing(&case.repo);
    let commands = [command("b", None, Some(&head))];
    let empty = case.pack(&[&head, &format!("^{head}")]);
    let mut kept = case.receive(&commands, &empty).unwrap();
    kept.keep().unwrap();
    let name = kept.name().to_owned();
    drop(kept);
    fs::write(case.repo.join("refs/heads/main.lock"), "").unwrap();
    fs::write(case.repo.join("packed-refs.lock"), "").unwrap();
    assert_eq!(sweep(&case.repo, &[&name]).unwrap(), 0);
    assert!(case.repo.join("objects").join(&name).exists());
    assert_eq!(sweep(&case.repo, &[]).unwrap(), 1);
    assert_eq!(listing(&case.repo), before);
}

#[test]
fn refs_move_together_or_not_at_all() {
    let case = Case::new();
    let head = case.push_main();
    let commands = [
        command("a", None, Some(&head)),
        command("main", Some(&head), None),
        command("b", Some(&head), None),
    ];
    // `b` may be gone already, as after a crash.
    apply(&case.repo, &commands).unwrap();
    assert_eq!(case.refs(), "refs/heads/a\n");
    let other = commit_file(&case.source, "x", "x");
    let commands = [
        command("c", None, Some(&head)),
        command("a", Some(&other), None),
    ];
    assert!(matches!(
        apply(&case.repo, &commands),
        Err(Error::Stale { .. })
    ));
    assert_eq!(case.refs(), "refs/heads/a\n");
}

#[test]
fn a_ref_that_a_power_cut_emptied_is_written_again() {
    let case = Case::new();
    let head = case.push_main();
    let old = git_line(&case.repo, &["commit-tree", "-m", "x", "main^{tree}"], b"");
    let path = case.repo.join("refs/heads/main");
    fs::write(&path, "").unwrap();
    let commands = [command("main", Some(&old), Some(&head))];
    apply(&case.repo, &commands).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), format!("{head}\n"));
}

#[test]
fn empty_directories_are_not_in_the_way() {
    let case = Case::new();
    let head = case.push_main();
    fs::create_dir_all(case.repo.join("refs/heads/x/y")).unwrap();
    let commands = [command("x", None, Some(&head))];
    let empty = case.pack(&[&head, &format!("^{head}")]);
    case.push(&commands, &empty);
    let mode = fs::metadata(&case.repo).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}
