//! What a local command needs to build: the machine's stack, sandbox, limits and certificates.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result};

use super::environment;
use crate::buildpack::{builtin_handed, builtin_runtimes};
use crate::checkout;
use crate::config::ConfigVars;
use crate::pipeline::{Limits, Machine, RuntimeSupply};
use crate::platform::dynos::{self, DEFAULT_SIZE, Size, Sizes};
use crate::platform::settings::{self, Settings, stack_of_os_release};
use crate::runtime::Runtimes;
use crate::sandbox::{
    Isolation, Limits as BuildLimits, Network, PROXY_PORT, Policy, Rules, Sandbox, Upstream,
};

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

/// The variables by which tools of builds are told of a proxy, for the JVM's see [`jvm_options`].
const PROXY_VARIABLES: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "YARN_HTTP_PROXY",
    "YARN_HTTPS_PROXY",
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

/// The settings of the server that has a data directory: the file there, then as above.
pub(super) fn settings_of(
    data: &Path,
    arguments: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<Settings> {
    let path = data.join(settings::FILE_NAME);
    let file = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    settings(file.as_deref(), arguments)
}

/// The machine that builds run on; `runtimes` is where language runtimes are kept, unless the
/// settings say otherwise.
pub(super) fn machine(settings: &Settings, whose: Whose, runtimes: &Path) -> Result<Machine> {
    Ok(Machine {
        sandbox: build_sandbox(settings)?,
        stack: settings.stack.parse()?,
        fetch_from: fetch_from(settings, whose)?,
        runtimes: runtime_supply(settings, runtimes)?,
        env: build_env(settings)?,
        limits: Limits {
            time: settings.build_timeout,
            slug_bytes: settings.slug_limit_bytes,
            slug_warning_bytes: settings.slug_warning_bytes,
            checkout: checkout::Limits::default(),
        },
    })
}

/// The language runtimes of this machine.
fn runtime_supply(settings: &Settings, dir: &Path) -> Result<RuntimeSupply> {
    let runtimes = Runtimes::new(
        settings.runtime_dir.as_deref().unwrap_or(dir),
        builtin_runtimes(),
        settings.runtimes.clone(),
        &settings.stack,
        environment::home().as_deref(),
    )?;
    let runtimes = runtimes.with_handed(builtin_handed())?;
    Ok(RuntimeSupply {
        runtimes: Arc::new(runtimes),
        fetch_from: fetch_from(settings, Whose::Own)?,
    })
}

/// How dynos run.
pub(super) fn dynos(settings: &Settings) -> Result<dynos::Options> {
    let own = &settings.dyno_limits;
    let (sandbox, policy) = (sandbox(), policy(settings)?);
    let size = |name: &str, limits: &BuildLimits| Size {
        name: name.to_owned(),
        memory_bytes: limits.memory_bytes,
        sandbox: sandbox.clone().with(Policy {
            limits: BuildLimits {
                // Memory over the limit is told first; twice as much ends the dyno.
                memory_bytes: limits.memory_bytes.saturating_mul(2),
                ..limits.clone()
            },
            network: settings.dyno_network,
            ..policy.clone()
        }),
    };
    let default = size(DEFAULT_SIZE, own);
    let double = BuildLimits {
        memory_bytes: own.memory_bytes.saturating_mul(2),
        processes: own.processes.saturating_mul(2),
        cpu_percent: own.cpu_percent.map(|percent| percent.saturating_mul(2)),
        ..own.clone()
    };
    let named = settings.dyno_sizes.iter().map(|one| {
        let limits = BuildLimits {
            memory_bytes: one.memory_bytes.unwrap_or(own.memory_bytes),
            processes: one.processes.unwrap_or(own.processes),
            cpu_percent: one.cpu_percent.or(own.cpu_percent),
            ..own.clone()
        };
        size(&one.name, &limits)
    });
    // What the operator names comes last, and takes the place of what is there.
    let others = [size("standard-2x", &double)].into_iter().chain(named);
    let sandbox = default.sandbox.clone();
    let env = match settings.dyno_network {
        Network::Proxy => proxy_env().collect(),
        _ => Vec::new(),
    };
    Ok(dynos::Options {
        sandbox,
        sizes: Sizes::new(default, others),
        env,
        boot_time: settings.boot_timeout,
        stop_time: settings.stop_timeout,
        cycle_time: settings.dyno_cycle,
        idle_time: settings.web_idle,
        silence: settings.run_idle,
        attach_time: settings.run_attach,
        first_delay: Duration::from_secs(1),
        longest_delay: Duration::from_secs(300),
    })
}

/// Who names what is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The person at this machine, who reaches all of it anyway.
    Own,
    /// The apps of a server.
    Apps,
}

fn fetch_from(settings: &Settings, whose: Whose) -> Result<Arc<Rules>> {
    let everything = ["0.0.0.0/0", "::/0"].into_iter();
    let everything = everything.filter_map(|text| text.parse().ok());
    Ok(Arc::new(Rules {
        allow: match whose {
            Whose::Own => everything.collect(),
            Whose::Apps => settings.network_allow.clone(),
        },
        only: Vec::new(),
        upstream: upstream(settings)?,
    }))
}

/// The sandbox whose helper is this very binary, even after its file was replaced.
pub(super) fn sandbox() -> Sandbox {
    Sandbox::new("/proc/self/exe")
}

/// The sandbox of builds.
pub(super) fn build_sandbox(settings: &Settings) -> Result<Sandbox> {
    Ok(sandbox().with(policy(settings)?))
}

fn policy(settings: &Settings) -> Result<Policy> {
    let rules = Rules {
        allow: settings.network_allow.clone(),
        only: settings.network_only.clone(),
        upstream: upstream(settings)?,
    };
    Ok(Policy {
        isolation: settings.isolation,
        limits: settings.build_limits.clone(),
        network: settings.network,
        rules: Arc::new(rules),
        require: settings.sandbox_require,
        ..Policy::default()
    })
}

/// The proxy that the operator named for builds, else the server's own.
fn upstream(settings: &Settings) -> Result<Upstream> {
    let own = environment::variables().collect::<BTreeMap<_, _>>();
    let named = |name: &str| {
        let lower = name.to_lowercase();
        let chosen = settings
            .build_env
            .iter()
            .find(|(key, _)| [name, &lower].contains(key))
            .map(|(_, value)| value.to_owned());
        chosen.or_else(|| own.get(name).or_else(|| own.get(&lower)).cloned())
    };
    let (http, https) = (named("HTTP_PROXY"), named("HTTPS_PROXY"));
    let except = named("NO_PROXY");
    Upstream::read(http.as_deref(), https.as_deref(), except.as_deref())
        .map_err(|url| UpstreamError { url }.into())
}

/// A proxy of the server that builds cannot be sent through.
#[derive(Debug, thiserror::Error)]
#[error("{url} is no http:// proxy, and builds are to reach the network through it")]
pub(crate) struct UpstreamError {
    pub(crate) url: String,
}

/// The host's certificates and our proxy under every tool's variable, and the operator's own
/// variables over them, but for those that would lead around our proxy.
fn build_env(settings: &Settings) -> Result<ConfigVars> {
    let mut env = ConfigVars::default();
    if let Some(bundle) = CA_BUNDLES.iter().find(|path| Path::new(path).is_file()) {
        for name in CA_VARIABLES {
            env.set(name, bundle)?;
        }
    }
    let mut jvm = String::new();
    for (name, value) in settings.build_env.iter() {
        env.set(name, value)?;
        if name == JVM_OPTIONS {
            jvm = format!("{value} ");
        }
    }
    if settings.network == Network::Proxy && settings.isolation != Isolation::Off {
        for (name, value) in proxy_env() {
            env.set(&name, &value)?;
        }
        env.set(JVM_OPTIONS, &(jvm + &jvm_options()))?;
    }
    Ok(env)
}

/// What tells tools of our proxy.
fn proxy_env() -> impl Iterator<Item = (String, String)> {
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let through = PROXY_VARIABLES.map(|name| (name.to_owned(), proxy.clone()));
    let around = ["NO_PROXY", "no_proxy"];
    let around = around.map(|name| (name.to_owned(), "localhost,127.0.0.1,::1".to_owned()));
    through.into_iter().chain(around)
}

/// Every JVM reads this variable, whatever starts it.
const JVM_OPTIONS: &str = "JAVA_TOOL_OPTIONS";

/// The JVM knows no proxy variable.
fn jvm_options() -> String {
    let of = |scheme| format!("-D{scheme}.proxyHost=127.0.0.1 -D{scheme}.proxyPort={PROXY_PORT}");
    format!("{} {}", of("http"), of("https"))
}
