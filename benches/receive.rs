//! Taking in a push: a pack of 2,000 objects (500 commits of one changed file in a directory each),
//! from its bytes to checked objects in a quarantine. The number of objects is what scales.

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gix::ObjectId;
use slugline::fault::Faults;
use slugline::receive::{self, Limits, Quarantine, ReportStatus, Request};
use support::git;

const COMMITS: usize = 500;
/// Each commit has a tree, a tree below it and a file.
const OBJECTS: usize = 4 * COMMITS;

/// Makes the history with real git; gives its last commit and the pack of all of it.
fn history(dir: &Path) -> (ObjectId, Vec<u8>) {
    let mut stream = String::new();
    for n in 0..COMMITS {
        let content = format!("{n}\n").repeat(50);
        let (id, length) = (n + 1, content.len());
        write!(
            stream,
            "commit refs/heads/main\nmark :{id}\ncommitter C <c@example.com> {} +0000\ndata 1\nx\n\
             M 100644 inline dir/file\ndata {length}\n{content}\n",
            1_700_000_000 + n
        )
        .expect("a string takes all");
    }
    git(dir, &["init", "-q", "--bare", "-b", "main"], b"");
    git(dir, &["fast-import", "--quiet"], stream.as_bytes());
    let head = git(dir, &["rev-parse", "main"], b"");
    let pack = git(
        dir,
        &[
            "pack-objects",
            "--revs",
            "--stdout",
            "--delta-base-offset",
            "-q",
        ],
        b"main\n",
    );
    (ObjectId::from_hex(head.trim_ascii()).expect("an id"), pack)
}

fn new_repo(dir: &Path) -> PathBuf {
    let repo = tempfile::tempdir_in(dir)
        .expect("made")
        .keep()
        .join("app.git");
    receive::init(&repo, gix::hash::Kind::Sha1).expect("made");
    repo
}

fn ingest(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("made");
    let source = dir.path().join("source");
    std::fs::create_dir(&source).expect("made");
    let (head, pack) = history(&source);
    let request = Request {
        commands: vec![receive::Command {
            name: "refs/heads/main".to_owned(),
            old: None,
            new: Some(head),
        }],
        report: ReportStatus::V2,
        side_band: true,
        ..Request::default()
    };
    let stop = AtomicBool::new(false);
    let limits = Limits::default();
    let receive = |repo: &Path| {
        Quarantine::receive(
            repo,
            &mut &pack[..],
            &request,
            &limits,
            &stop,
            Faults::default(),
        )
        .expect("received")
    };

    let repo = new_repo(dir.path());
    receive(&repo).promote().expect("promoted");
    receive::apply(&repo, &request.commands, Faults::default()).expect("moved");
    let objects = git(&repo, &["rev-list", "--objects", "main"], b"");
    assert_eq!(objects.split(|byte| *byte == b'\n').count() - 1, OBJECTS);

    criterion.bench_function("receive/2000_objects", |bencher| {
        bencher.iter_batched(
            || new_repo(dir.path()),
            |repo| receive(&repo),
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, ingest);
criterion_main!(benches);
