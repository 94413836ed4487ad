//! Asking buildpacks whether an app is theirs, each `bin/detect` in a sandbox of its own: one that
//! says yes at once, and the built-in ones. The number of buildpacks is what scales.
//!
//! `cargo bench --bench detect`

mod support;

use std::fs;
use std::path::Path;

use criterion::{BatchSize, Criterion, SamplingMode, criterion_group, criterion_main};
use slugline::buildpack::{self, Reference};
use slugline::compile::environment;
use slugline::config::ConfigVars;
use slugline::detect;
use slugline::sandbox::{Cancel, Root};

/// Puts an app that the built-in buildpack of Node.js takes into the build dir.
fn write_app(root: &Root) {
    for name in ["package.json", "server.js"] {
        let source = support::fixture("nodejs_http").join(name);
        fs::copy(source, root.app().join(name)).expect("a fixture");
    }
}

fn stage(references: &[Reference], root: &Root, buildpacks: &Path) -> Vec<buildpack::Staged> {
    let staged = references.iter().enumerate();
    let staged = staged
        .map(|(place, reference)| buildpack::stage(reference, place, &root.app(), buildpacks));
    staged.collect::<Result<_, _>>().expect("whole buildpacks")
}

fn benches(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = Root::create(&dir.path().join("root")).expect("a root");
    write_app(&root);
    let no_op = support::no_op_buildpack(&dir.path().join("no-op"));
    let builtin = buildpack::builtin_references();
    let no_op = stage(&[no_op], &root, &root.buildpacks()).remove(0);
    let staged = stage(&builtin, &root, &root.buildpacks());
    root.hand_over().expect("root, or the build's own user");
    let machine = support::machine();
    let env = environment(&machine.stack, "", &ConfigVars::default());
    let ask = |buildpack: &buildpack::Staged| {
        detect::ask(&machine.sandbox, &root, buildpack, &env, &Cancel::default())
            .expect("an answer")
            .label
    };

    assert_eq!(ask(&no_op).as_deref(), Some("Nothing"));
    let labels = staged.iter().filter_map(ask).collect::<Vec<_>>();
    assert_eq!(labels, ["Node.js"]);

    let mut group = criterion.benchmark_group("detect");
    group.sample_size(50).sampling_mode(SamplingMode::Flat);
    group.bench_function("no_op", |bencher| bencher.iter(|| ask(&no_op)));
    for buildpack in &staged {
        let name = buildpack.reference.to_string();
        group.bench_function(name, |bencher| bencher.iter(|| ask(buildpack)));
    }
    // The phase of a build that asks also writes the buildpacks down.
    group.bench_function("stage_builtin", |bencher| {
        bencher.iter_batched(
            || tempfile::tempdir_in(dir.path()).expect("made"),
            |dest| {
                stage(&builtin, &root, dest.path());
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
