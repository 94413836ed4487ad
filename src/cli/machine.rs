//! What a local command needs to build: the machine's stack, sandbox, limits and certificates.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::available_parallelism;

use anyhow::Result;

use super::environment;
use crate::checkout;
use crate::config::ConfigVars;
use crate::pipeline::{Limits, Machine};
use crate::platform::settings::{self, Settings, stack_of_os_release};
use crate::sandbox::Sandbox;

/// Where systems keep the certificates that they trust: Debian and its kin, Fedora and its kin, Alpine.
const CA_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The variables by which tools of builds are told of a certificate bundle. `NODE_EXTRA_CA_CERTS` is
/// not among them: it costs each start of Node.js tens of milliseconds; npm has a setting of its own.
const CA_VARIABLES: [&str; 6] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "npm_config_cafile",
];

/// The settings: a file's text, then `SLUGLINE_*` variables, then arguments.
pub(super) fn settings(
    file: Option<&str>,
    arguments: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<Settings> {
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let machine = settings::Machine {
        cores: available_parallelism().unwrap_or(NonZeroUsize::MIN),
        stack: stack_of_os_release(&os_release),
    };
    Ok(Settings::read(
        &machine,
        file,
        environment::variables(),
        arguments,
    )?)
}

/// The machine that builds run on.
pub(super) fn machine(settings: &Settings) -> Result<Machine> {
    Ok(Machine {
        sandbox: sandbox(),
        stack: settings.stack.clone(),
        env: build_env(settings)?,
        limits: Limits {
            time: settings.build_timeout,
            slug_bytes: settings.slug_limit_bytes,
            slug_warning_bytes: settings.slug_warning_bytes,
            checkout: checkout::Limits::default(),
        },
    })
}

/// The sandbox whose helper is this very binary, even after its file was replaced.
pub(super) fn sandbox() -> Sandbox {
    Sandbox::new("/proc/self/exe")
}

/// The host's certificates under every tool's variable, and the operator's own variables over them.
fn build_env(settings: &Settings) -> Result<ConfigVars> {
    let mut env = ConfigVars::default();
    if let Some(bundle) = CA_BUNDLES.iter().find(|path| Path::new(path).is_file()) {
        for name in CA_VARIABLES {
            env.set(name, bundle)?;
        }
    }
    for (name, value) in settings.build_env.iter() {
        env.set(name, value)?;
    }
    Ok(env)
}
