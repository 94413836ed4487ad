//! Putting a blob of 16 MiB, synced to the disk, and reading it with its check: what scales is the
//! number of bytes.
//!
//! `cargo bench --bench store`

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use slugline::digest::Digest;
use slugline::store::Store;

const BLOB_BYTES: usize = 16 << 20;

fn benches(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path()).expect("a store");
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(BLOB_BYTES).collect();
    let digest = store.put(&bytes).expect("a blob");
    assert_eq!(digest, Digest::of(&bytes));

    let mut group = criterion.benchmark_group("store");
    group
        .throughput(Throughput::Bytes(BLOB_BYTES as u64))
        .sample_size(10);
    group.bench_function("put", |bencher| {
        bencher.iter_batched(
            || store.remove(&digest).expect("no blob"),
            |_| store.put(&bytes).expect("a blob"),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("put_existing", |bencher| {
        store.put(&bytes).expect("a blob");
        bencher.iter(|| store.put(&bytes).expect("a blob"));
    });
    group.bench_function("read_verified", |bencher| {
        bencher.iter(|| {
            let mut blob = store.read_verified(&digest).expect("a blob");
            let n = io::copy(&mut blob, &mut io::sink()).expect("the blob is whole");
            assert_eq!(n, BLOB_BYTES as u64);
        });
    });
    group.finish();
}

/// Reads a blob of the size of a large slug with its check, beside `openssl dgst -sha256`, in turn.
#[expect(clippy::print_stdout, reason = "the result of a bench")]
fn beside_openssl(_criterion: &mut Criterion) {
    const ROUNDS: usize = 9;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path()).expect("a store");
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(16 * BLOB_BYTES).collect();
    let digest = store.put(&bytes).expect("a blob");
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let status = Command::new("openssl")
            .args(["dgst", "-sha256"])
            .arg(store.path_of(&digest))
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("apt-get install openssl").success());
        let peer = start.elapsed();
        let start = Instant::now();
        let mut blob = store.read_verified(&digest).expect("a blob");
        // As much at a time as the server sends.
        let mut buffer = vec![0; 64 * 1024];
        while blob.read(&mut buffer).expect("the blob is whole") > 0 {}
        ratios.push(start.elapsed().as_secs_f64() / peer.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "get of 256 MiB, of `openssl dgst -sha256`: {:.2} (median of {ROUNDS}, {:.2} to {:.2})",
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1]
    );
}

criterion_group!(all, benches, beside_openssl);
criterion_main!(all);
