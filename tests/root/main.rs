//! What only root can try: level 1, and networks of the tests' own. `bin/test` runs it where it is root.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    dead_code,
    reason = "a test that cannot go on panics, and its site is its environment"
)]

#[path = "../it/attack.rs"]
mod attack;
mod disk;
mod dynos;
mod levels;
mod network;
#[path = "../it/redaction.rs"]
mod redaction;
#[path = "../it/site.rs"]
mod site;

/// A test that did not try anything would count as passed.
#[track_caller]
fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test takes root: sudo --preserve-env cargo test --test root"
    );
}
