//! Whole pushes, with packs and repositories that real git makes, and real git to judge the result.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::objs::Exists as _;

mod crash;
mod objects;
mod packs;
mod refs;

use super::refs::Refs;
use super::*;
use crate::fault::Faults;
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
        init(&repo, gix::hash::Kind::Sha1).unwrap();
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
        Quarantine::receive(
            &self.repo,
            &mut &pack[..],
            &request,
            &self.limits,
            &stop,
            Faults::default(),
        )
    }

    fn push(&self, commands: &[Command], pack: &[u8]) {
        assert!(self.check(commands).iter().all(Result::is_ok));
        let mut quarantine = self.receive(commands, pack).unwrap();
        quarantine.keep().unwrap();
        quarantine.promote().unwrap();
        apply(&self.repo, commands, Faults::default()).unwrap();
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
        report: ReportStatus::V2,
        side_band: true,
        ..Request::default()
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
    let mut quarantine = case.receive(&commands, &case.pack(&[&head])).unwrap();
    let dir = quarantine.objects_dir().unwrap().to_owned();
    assert_eq!(dir, case.repo.join("objects").join(quarantine.name()));
    assert!(
        open_objects(&dir, gix::hash::Kind::Sha1)
            .unwrap()
            .exists(&id(&head))
    );
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
