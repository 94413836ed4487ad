//! Packing and extracting a tree of 2,000 small files and eight of 1 MiB: what scales is the number
//! of files and the bytes in them.
//!
//! `cargo bench --bench pack`

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use slugline::pack::{extract, manifest_of, pack, verify};
use support::text;

const SMALL_FILES: usize = 2_000;
const LARGE_FILES: usize = 8;
const LARGE_BYTES: usize = 1 << 20;

/// Makes the tree and says how many bytes are in its files.
fn make(dir: &Path) -> u64 {
    let mut bytes = 0;
    let mut write = |path: String, content: Vec<u8>| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("below the tree")).expect("an empty disk");
        bytes += content.len() as u64;
        fs::write(path, content).expect("an empty disk");
    };
    for n in 0..SMALL_FILES {
        let path = format!("node_modules/package-{}/lib/file-{n}.js", n / 20);
        write(path, text(n, 200 + n * 7919 % 8_000));
    }
    for n in 0..LARGE_FILES {
        write(
            format!("vendor/large-{n}"),
            text(n + SMALL_FILES, LARGE_BYTES),
        );
    }
    bytes
}

fn benches(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bytes = make(dir.path());
    let packed = pack(dir.path(), Vec::new()).expect("a slug");
    verify(&packed.out[..], &packed.manifest).expect("the slug is what its manifest says");
    assert_eq!(
        packed.manifest.entries.len(),
        // node_modules, its packages and their lib, vendor.
        SMALL_FILES + LARGE_FILES + 2 + 2 * SMALL_FILES / 20
    );

    let mut group = criterion.benchmark_group("pack");
    group
        .throughput(Throughput::Bytes(bytes))
        .sample_size(10)
        .measurement_time(Duration::from_secs(8));
    group.bench_function("pack", |bencher| {
        bencher.iter(|| {
            let again = pack(dir.path(), std::io::sink()).expect("a slug");
            assert_eq!(
                again.manifest.summary.digest,
                packed.manifest.summary.digest
            );
        });
    });
    group.bench_function("manifest_of", |bencher| {
        bencher.iter(|| manifest_of(&packed.out[..]).expect("a manifest"));
    });
    group.bench_function("extract", |bencher| {
        bencher.iter_batched(
            || tempfile::tempdir().expect("a temporary directory"),
            |dest| {
                let written = extract(&packed.out[..], dest.path()).expect("files");
                assert_eq!(written.bytes, bytes);
                // Removing it is not timed.
                dest
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
