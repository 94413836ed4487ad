//! Whatever a file holds, a slug of the fast level holds the same, for a decompressor that is not ours.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slugline::pack::{Level, Options, pack_with, verify};

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), bytes).unwrap();
    let options = Options {
        level: Level::Fast,
        threads: Some(std::num::NonZeroUsize::MIN),
        ..Options::default()
    };
    let packed = pack_with(dir.path(), Vec::new(), &options).unwrap();
    verify(&packed.out[..], &packed.manifest).unwrap();
});
