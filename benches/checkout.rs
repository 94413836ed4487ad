//! Writing the tree of a commit: 1,000 files of 1 KiB in 50 directories. The number of files is
//! what scales, and making them is the file system's cost.

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gix::ObjectId;
use slugline::checkout::{self, Limits};
use support::git;

const FILES: usize = 1_000;

/// Makes the commit with real git.
fn source(dir: &Path) -> ObjectId {
    let mut stream = "commit refs/heads/main\ncommitter C <c@example.com> 1700000000 +0000\n\
                      data 1\nx\n"
        .to_owned();
    for n in 0..FILES {
        let content = format!("{n:07}\n").repeat(128);
        write!(
            stream,
            "M 100644 inline {}/{n}\ndata {}\n{content}\n",
            n % 50,
            content.len()
        )
        .expect("a string takes all");
    }
    git(dir, &["init", "-q", "--bare", "-b", "main"], b"");
    git(dir, &["fast-import", "--quiet"], stream.as_bytes());
    let head = git(dir, &["rev-parse", "main"], b"");
    ObjectId::from_hex(head.trim_ascii()).expect("an id")
}

fn commit(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("made");
    let repo = dir.path().join("source");
    std::fs::create_dir(&repo).expect("made");
    let head = source(&repo);
    let limits = Limits::default();
    let write = |dest: &Path| {
        checkout::commit(&repo, None, head, dest, &limits, &AtomicBool::new(false))
            .expect("checked out")
    };

    let dest = tempfile::tempdir_in(dir.path()).expect("made");
    let done = write(dest.path());
    assert_eq!((done.files, done.bytes), (FILES, 1024 * FILES as u64));
    let last = std::fs::read(dest.path().join("49/999")).expect("written");
    assert_eq!(last, b"0000999\n".repeat(128));

    criterion.bench_function("checkout/1000_files", |bencher| {
        bencher.iter_batched(
            // Removing the files is not part of it: the directory is dropped after the timing.
            || tempfile::tempdir_in(dir.path()).expect("made"),
            |dest| {
                write(dest.path());
                dest
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, commit);
criterion_main!(benches);
