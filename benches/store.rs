//! Putting a blob of 16 MiB, synced to the disk, and reading it with its check: what scales is the
//! number of bytes.
//!
//! `cargo bench --bench store`

use std::io;

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

criterion_group!(all, benches);
criterion_main!(all);
