//! Whatever a client sends as a pack, it is taken in whole and sound, or nothing of it is left.
#![no_main]

use std::cell::OnceCell;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::hash::Kind;
use libfuzzer_sys::fuzz_target;
use slugline::fault::Faults;
use slugline::receive::{self, Command, Limits, Quarantine, Request};

thread_local! {
    static REPOSITORY: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

fuzz_target!(|bytes: &[u8]| {
    REPOSITORY.with(|dir| {
        let dir = dir.get_or_init(|| {
            let dir = tempfile::tempdir().expect("made");
            receive::init(&dir.path().join("app.git"), Kind::Sha1).expect("made");
            dir
        });
        take_in(&dir.path().join("app.git"), bytes);
    });
});

/// The first 20 bytes say what the branch is to name; the rest is the pack, with a checksum that
/// is made right, or it would keep nearly all inputs from being read.
fn take_in(repository: &Path, bytes: &[u8]) {
    let Some((id, pack)) = bytes.split_at_checked(20) else {
        return;
    };
    let mut hasher = gix::hash::hasher(Kind::Sha1);
    hasher.update(pack);
    let Ok(checksum) = hasher.try_finalize() else {
        return;
    };
    let pack = [pack, checksum.as_slice()].concat();
    let Ok(new) = gix::ObjectId::try_from(id) else {
        return;
    };
    let request = Request {
        commands: vec![Command {
            name: "refs/heads/a".to_owned(),
            old: None,
            new: Some(new),
        }],
        ..Request::default()
    };
    let limits = Limits {
        object_bytes: 1 << 20,
        objects: 1_000,
        ..Limits::default()
    };
    let stop = AtomicBool::new(false);
    let taken = Quarantine::receive(
        repository,
        &mut &pack[..],
        &request,
        &limits,
        &stop,
        Faults::default(),
    );
    drop(taken);
    let left = std::fs::read_dir(repository.join("objects")).expect("there");
    assert_eq!(left.count(), 2, "something is left of the push");
}
