//! Asking buildpacks whether an app is theirs, all of them in one sandbox: one that says yes at
//! once, and the built-in ones. The number of buildpacks is what scales.
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
    let read_only = root.with_read_only(&root.app());
    let ask = |buildpacks: &[buildpack::Staged]| {
        let cancel = Cancel::default();
        let answers = detect::ask(
            &machine.sandbox,
            &read_only,
            buildpacks,
            "/app",
            &env,
            &cancel,
        );
        let labels = answers.expect("answers").into_iter();
        labels.filter_map(|answer| answer.label).collect::<Vec<_>>()
    };

    assert_eq!(ask(std::slice::from_ref(&no_op)), ["Nothing"]);
    assert_eq!(ask(&staged), ["Node.js"]);

    let mut group = criterion.benchmark_group("detect");
    group.sample_size(50).sampling_mode(SamplingMode::Flat);
    group.bench_function("no_op", |bencher| {
        bencher.iter(|| ask(std::slice::from_ref(&no_op)));
    });
    group.bench_function("builtin", |bencher| bencher.iter(|| ask(&staged)));
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
