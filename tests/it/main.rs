//! Slugline as its users meet it: real git over loopback, real package managers, no mocks.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::similar_names,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on panics, and its site is its environment"
)]

mod api;
mod attack;
mod build_caches;
mod build_ends;
mod build_output;
mod buildpack_contract;
mod buildpack_sources;
mod buildpacks;
mod cli;
mod digests;
mod domains;
mod drains;
mod drains_rsyslog;
mod dyno_life;
mod dynos;
mod failures;
mod fixture_app;
mod languages;
mod layout;
mod log_sessions;
mod one_offs;
mod origin;
mod push;
mod receiver_abuse;
mod receiver_crash;
mod receiver_fsck;
mod receiver_limits;
mod receiver_push;
mod receiver_scopes;
mod receiver_sha256;
mod receiver_signed;
mod receiver_submodules;
mod receiver_tls;
mod receiver_upkeep;
mod redaction;
mod registry;
mod router;
mod router_clients;
mod router_faults;
mod router_hostile;
mod router_http2;
mod router_tls;
mod running;
mod running_slug;
mod runtimes;
mod sandbox;
mod sandbox_attacks;
mod sandbox_hostile;
mod sandbox_levels;
mod sandbox_limits;
mod sandbox_network;
mod sandbox_oracle;
mod sandbox_overlays;
mod server;
mod site;
mod slugs;
mod snapshots;
mod stacks;
mod transcripts;
mod upkeep;
mod wire;

/// Asks nothing more of a fixture: the long tests run its slug on another root file system, too.
fn runs_elsewhere(_: &fixture_app::FixtureApp) {}
