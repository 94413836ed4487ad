//! What the operator of a server chose: `slugline.yml`, over it `SLUGLINE_*` variables, over those
//! the command line.
//!
//! In go texts that the caller has read, out comes a [`Settings`] whose every value has been
//! checked. A name that is not known is an error, never ignored: a limit with a typing mistake
//! would be no limit.

mod error;
mod router;
mod value;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_yaml::Value;

pub use error::{Place, SettingsError};
pub use router::RouterSettings;
use value::{Domain, build_env, dyno_sizes, list, number, parsed, scalar, seconds};
pub use value::{DynoSize, PublicUrl};

use crate::config::ConfigVars;
use crate::runtime::Choice;
use crate::sandbox::{Isolation, Level, Limits as BuildLimits, Network, Place as NetworkPlace};
use crate::stack::StackName;
use crate::store::BucketUrl;

/// The name of the file, inside of the server's data directory.
pub const FILE_NAME: &str = "slugline.yml";

/// What every variable of ours starts with.
const VARIABLE_PREFIX: &str = "SLUGLINE_";

/// Variables of the clients' commands and of the place of the data; none is a setting.
const OTHER_VARIABLES: &[&str] = &[
    "SLUGLINE_APP",
    "SLUGLINE_DATA",
    // Asks for a death that only test builds can die.
    #[cfg(debug_assertions)]
    "SLUGLINE_FAULT",
    "SLUGLINE_LOG",
    "SLUGLINE_TOKEN",
    "SLUGLINE_URL",
];

/// The settings' names in the file; the variables are these in capitals, the command line's
/// options these with `-` for `_`.
pub const NAMES: [&str; 56] = [
    "allowed_signers",
    "behind_proxy",
    "boot_timeout_seconds",
    "bucket",
    "build_cpu_percent",
    "build_disk_bytes",
    "build_disk_files",
    "build_file_bytes",
    "build_env",
    "build_memory_bytes",
    "build_open_files",
    "build_processes",
    "build_timeout_seconds",
    "create_on_push",
    "domain",
    "dyno_cpu_percent",
    "dyno_cycle_seconds",
    "dyno_memory_bytes",
    "dyno_network",
    "dyno_processes",
    "dyno_sizes",
    "gpg_home",
    "listen",
    "log_format",
    "max_builds",
    "metrics",
    "network",
    "network_allow",
    "network_only",
    "public_url",
    "push_limit_bytes",
    "router_body_bytes",
    "router_boot_seconds",
    "router_certificates",
    "router_first_byte_seconds",
    "router_header_seconds",
    "router_listen",
    "router_silence_seconds",
    "router_tls_listen",
    "run_attach_seconds",
    "run_idle_seconds",
    "runtime_dir",
    "runtime_host",
    "runtime_mirrors",
    "runtime_offline",
    "sandbox",
    "sandbox_require",
    "signed_pushes",
    "slug_limit_bytes",
    "slug_warning_bytes",
    "stack",
    "stack_layer",
    "stop_timeout_seconds",
    "tls_cert",
    "tls_key",
    "web_idle_seconds",
];

const DEFAULT_PORT: u16 = 7007;
const DEFAULT_ROUTER_PORT: u16 = 7080;
/// Source: Heroku's limits on a web dyno's boot and a dyno's exit.
const DEFAULT_BOOT_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Source: Heroku's dynos start anew once a day, and connections to one-off dynos may be silent for an
/// hour.
const DEFAULT_DYNO_CYCLE: Duration = Duration::from_secs(86_400);
const DEFAULT_RUN_IDLE: Duration = Duration::from_secs(3600);
const DEFAULT_RUN_ATTACH: Duration = Duration::from_secs(60);
/// Source: Heroku's limit on a build's time.
const DEFAULT_BUILD_TIMEOUT: Duration = Duration::from_secs(1500);
const DEFAULT_PUSH_LIMIT_BYTES: u64 = 1 << 30;
/// Source: Heroku's limit on a compressed slug, since 2026.
const DEFAULT_SLUG_LIMIT_BYTES: u64 = 1 << 30;
const DEFAULT_SLUG_WARNING_BYTES: u64 = 500 << 20;

const MAX_BUILDS: RangeInclusive<u64> = 1..=1024;
const BUILD_TIMEOUT_SECONDS: RangeInclusive<u64> = 1..=86_400;
const DYNO_SECONDS: RangeInclusive<u64> = 1..=3600;
const LONG_SECONDS: RangeInclusive<u64> = 1..=10_000_000;
const BYTES: RangeInclusive<u64> = 1..=1 << 50;
/// A shell needs some room to say anything at all.
const BUILD_BYTES: RangeInclusive<u64> = 16 << 20..=1 << 50;
const BUILD_COUNT: RangeInclusive<u64> = 16..=1 << 30;
const CPU_PERCENT: RangeInclusive<u64> = 1..=102_400;

const NETWORK: &str = "off, proxy, direct or host";
const BUCKET: &str = "the URL of a bucket, such as s3://slugs/production";
const MIRRORS: &str = "FROM=TO of addresses, such as https://example.org/=file:///srv/mirror/";
const PLACES: &str = "hosts or networks, such as *.example.com, 10.0.0.0/8 or 127.0.0.1:8080";

/// How a server writes its own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Human,
    /// One object a line.
    Json,
}

/// What the defaults depend on.
#[derive(Debug, Clone)]
pub struct Machine {
    pub cores: NonZeroUsize,
    /// As [`stack_of_os_release`] says it.
    pub stack: String,
}

/// The options of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where slugs are kept besides the data directory.
    pub bucket: Option<BucketUrl>,
    pub listen: SocketAddr,
    /// Whether a proxy with TLS stands before the server and names its clients.
    pub behind_proxy: bool,
    /// What URLs of the server begin with, where clients reach it by another name than they say.
    pub public_url: Option<PublicUrl>,
    /// PEM files: the certificate chain and its key; both or neither.
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// Where apps answer; by default at port 7080, or at any free one where `listen` has port 0.
    pub router_listen: Option<SocketAddr>,
    pub router: RouterSettings,
    /// Each app is at `NAME.domain`.
    pub domain: String,
    /// Of a web dyno, and of a dyno's exit.
    pub boot_timeout: Duration,
    pub stop_timeout: Duration,
    /// Of one dyno.
    pub dyno_limits: BuildLimits,
    pub dyno_network: Network,
    /// Further sizes than the default one, which has the limits above.
    pub dyno_sizes: Vec<DynoSize>,
    /// How long a dyno runs until it is started anew.
    pub dyno_cycle: Duration,
    /// After how long without a request web dynos go to sleep.
    pub web_idle: Option<Duration>,
    /// How long an attached one-off dyno may be silent.
    pub run_idle: Duration,
    /// How long an attached one-off dyno waits for its client.
    pub run_attach: Duration,
    /// What releases' images have below their slugs: a tar, or gzip of one.
    pub stack_layer: Option<PathBuf>,
    /// Builds that run at once; more wait.
    pub max_builds: usize,
    /// Whether a push to an app that does not exist makes the app.
    pub create_on_push: bool,
    pub log_format: LogFormat,
    /// Whether signed pushes are offered though no signers are named.
    pub signed_pushes: bool,
    /// A file of allowed SSH signers, and a home of GnuPG with a keyring of others.
    pub allowed_signers: Option<PathBuf>,
    pub gpg_home: Option<PathBuf>,
    pub build_timeout: Duration,
    pub push_limit_bytes: u64,
    /// Of the compressed slug, as is the warning.
    pub slug_limit_bytes: u64,
    pub slug_warning_bytes: u64,
    pub stack: String,
    /// Extra environment of every build: mirrors, proxies, certificates. Values may be secret.
    pub build_env: ConfigVars,
    pub build_limits: BuildLimits,
    pub network: Network,
    /// What builds may reach in refused ranges; see [`sandbox::Rules`](crate::sandbox::Rules).
    pub network_allow: Vec<NetworkPlace>,
    pub network_only: Vec<NetworkPlace>,
    /// Whether builds are isolated at all.
    pub isolation: Isolation,
    /// The least isolation that builds are started with.
    pub sandbox_require: Option<Level>,
    /// Where language runtimes are kept; by default in the data directory.
    pub runtime_dir: Option<PathBuf>,
    /// Whether what this machine itself has is offered, whether sources are not asked, and what is
    /// asked in their place.
    pub runtimes: Choice,
}

impl Settings {
    /// What holds where nothing was chosen.
    pub fn defaults(machine: &Machine) -> Self {
        Self {
            bucket: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            behind_proxy: false,
            public_url: None,
            tls_cert: None,
            stack_layer: None,
            tls_key: None,
            router_listen: None,
            router: RouterSettings::default(),
            domain: "localhost".to_owned(),
            boot_timeout: DEFAULT_BOOT_TIMEOUT,
            stop_timeout: DEFAULT_STOP_TIMEOUT,
            // Source: Heroku's smallest dynos.
            dyno_limits: BuildLimits {
                memory_bytes: 512 << 20,
                processes: 256,
                ..BuildLimits::default()
            },
            dyno_network: Network::Proxy,
            dyno_sizes: Vec::new(),
            dyno_cycle: DEFAULT_DYNO_CYCLE,
            web_idle: None,
            run_idle: DEFAULT_RUN_IDLE,
            run_attach: DEFAULT_RUN_ATTACH,
            max_builds: machine.cores.get(),
            create_on_push: false,
            log_format: LogFormat::Human,
            signed_pushes: false,
            allowed_signers: None,
            gpg_home: None,
            build_timeout: DEFAULT_BUILD_TIMEOUT,
            push_limit_bytes: DEFAULT_PUSH_LIMIT_BYTES,
            slug_limit_bytes: DEFAULT_SLUG_LIMIT_BYTES,
            slug_warning_bytes: DEFAULT_SLUG_WARNING_BYTES,
            stack: machine.stack.clone(),
            build_env: ConfigVars::default(),
            build_limits: BuildLimits::default(),
            network: Network::Proxy,
            network_allow: Vec::new(),
            network_only: Vec::new(),
            isolation: Isolation::default(),
            sandbox_require: None,
            runtime_dir: None,
            runtimes: Choice::default(),
        }
    }

    /// Where apps answer.
    pub fn router_address(&self) -> SocketAddr {
        let port = if self.listen.port() == 0 {
            0
        } else {
            DEFAULT_ROUTER_PORT
        };
        self.router_listen
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Reads the settings: the text of `slugline.yml` if there is one, then the environment's
    /// variables (others than `SLUGLINE_*` are passed over), then the command line's values, each
    /// under a name of [`NAMES`].
    ///
    /// # Errors
    /// The operator's fault: an unknown name, or a value that its setting does not take.
    pub fn read(
        machine: &Machine,
        file: Option<&str>,
        variables: impl IntoIterator<Item = (String, String)>,
        arguments: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self, SettingsError> {
        let mut settings = Self::defaults(machine);
        if let Some(text) = file {
            settings.read_file(text)?;
        }
        for (name, value) in variables {
            let Some(setting) = name.strip_prefix(VARIABLE_PREFIX) else {
                continue;
            };
            if OTHER_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let setting = setting.to_lowercase();
            settings.set(&setting, &Value::String(value), &Place::Variable { name })?;
        }
        for (name, value) in arguments {
            let place = Place::Argument { name: name.into() };
            settings.set(name, &Value::String(value), &place)?;
        }
        Ok(settings)
    }

    /// Refuses to listen where others could read along.
    ///
    /// # Errors
    /// The operator's fault: the address is not of this machine alone, and there is neither TLS nor
    /// a proxy; or of certificate and key there is one alone.
    pub fn check_exposure(&self) -> Result<(), SettingsError> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(SettingsError::HalfOfTls);
        }
        self.router.check()?;
        let address = self.listen;
        if self.behind_proxy || self.tls().is_some() || address.ip().is_loopback() {
            return Ok(());
        }
        Err(SettingsError::Exposed { address })
    }

    /// The files of the certificate chain and its key, where the server speaks TLS.
    pub fn tls(&self) -> Option<(&Path, &Path)> {
        self.tls_cert.as_deref().zip(self.tls_key.as_deref())
    }

    fn read_file(&mut self, text: &str) -> Result<(), SettingsError> {
        let mapping = match serde_yaml::from_str(text).map_err(SettingsError::Yaml)? {
            Value::Null => return Ok(()),
            Value::Mapping(mapping) => mapping,
            _ => return Err(SettingsError::Form),
        };
        for (key, value) in &mapping {
            let name = scalar(key).ok_or(SettingsError::Form)?;
            let line = line_of(text, &name);
            let place = Place::File {
                name: name.clone(),
                line,
            };
            self.set(&name, value, &place)?;
        }
        Ok(())
    }

    /// Sets one of the settings of language runtimes; says whether the name is one.
    fn set_runtimes(
        &mut self,
        name: &str,
        value: &Value,
        place: &Place,
    ) -> Result<bool, SettingsError> {
        match name {
            "runtime_dir" => self.runtime_dir = Some(parsed(value, place, "a directory's path")?),
            "runtime_host" => {
                self.runtimes.without_host = !parsed::<bool>(value, place, "true or false")?;
            }
            "runtime_mirrors" => self.runtimes.mirrors = list(value, place, MIRRORS)?,
            "runtime_offline" => self.runtimes.offline = parsed(value, place, "true or false")?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The same for those of dynos.
    fn set_dynos(
        &mut self,
        name: &str,
        value: &Value,
        place: &Place,
    ) -> Result<bool, SettingsError> {
        let dyno = &mut self.dyno_limits;
        match name {
            "dyno_cpu_percent" => {
                dyno.cpu_percent = Some(number(value, place, "percent of a core", CPU_PERCENT)?);
            }
            "dyno_memory_bytes" => {
                dyno.memory_bytes = number(value, place, "bytes", BUILD_BYTES)?;
            }
            "dyno_network" => {
                self.dyno_network = parsed(value, place, NETWORK)?;
            }
            "dyno_cycle_seconds" => self.dyno_cycle = seconds(value, place, LONG_SECONDS)?,
            "dyno_sizes" => self.dyno_sizes = dyno_sizes(value, place)?,
            "dyno_processes" => dyno.processes = number(value, place, "processes", BUILD_COUNT)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set(&mut self, name: &str, value: &Value, place: &Place) -> Result<(), SettingsError> {
        let limits = &mut self.build_limits;
        match name {
            "bucket" => self.bucket = Some(parsed(value, place, BUCKET)?),
            "boot_timeout_seconds" => self.boot_timeout = seconds(value, place, DYNO_SECONDS)?,
            "stop_timeout_seconds" => self.stop_timeout = seconds(value, place, DYNO_SECONDS)?,
            "domain" => self.domain = parsed::<Domain>(value, place, Domain::EXPECTED)?.0,
            "web_idle_seconds" => self.web_idle = Some(seconds(value, place, LONG_SECONDS)?),
            "run_attach_seconds" => self.run_attach = seconds(value, place, DYNO_SECONDS)?,
            "run_idle_seconds" => self.run_idle = seconds(value, place, LONG_SECONDS)?,
            "router_listen" => {
                let expected = "an address and a port, such as 127.0.0.1:7080";
                self.router_listen = Some(parsed(value, place, expected)?);
            }
            "build_cpu_percent" => {
                limits.cpu_percent = Some(number(value, place, "percent of a core", CPU_PERCENT)?);
            }
            "build_disk_bytes" => limits.disk_bytes = number(value, place, "bytes", BUILD_BYTES)?,
            "build_disk_files" => limits.disk_files = number(value, place, "files", BUILD_COUNT)?,
            "build_file_bytes" => {
                limits.file_bytes = Some(number(value, place, "bytes", BUILD_BYTES)?);
            }
            "build_memory_bytes" => {
                limits.memory_bytes = number(value, place, "bytes", BUILD_BYTES)?;
            }
            "build_open_files" => limits.open_files = number(value, place, "files", BUILD_COUNT)?,
            "build_processes" => limits.processes = number(value, place, "processes", BUILD_COUNT)?,
            "network" => self.network = parsed(value, place, NETWORK)?,
            "network_allow" => self.network_allow = list(value, place, PLACES)?,
            "network_only" => self.network_only = list(value, place, PLACES)?,
            "sandbox" => self.isolation = parsed(value, place, "auto or none")?,
            "sandbox_require" => {
                self.sandbox_require = Some(parsed(value, place, "root, namespaces or landlock")?);
            }
            "behind_proxy" => self.behind_proxy = parsed(value, place, "true or false")?,
            "build_env" => self.build_env = build_env(value, place)?,
            "build_timeout_seconds" => {
                self.build_timeout = seconds(value, place, BUILD_TIMEOUT_SECONDS)?;
            }
            "create_on_push" => self.create_on_push = parsed(value, place, "true or false")?,
            "allowed_signers" => {
                self.allowed_signers = Some(parsed(value, place, "a file's path")?);
            }
            "gpg_home" => self.gpg_home = Some(parsed(value, place, "a directory's path")?),
            "signed_pushes" => self.signed_pushes = parsed(value, place, "true or false")?,
            "listen" => {
                let expected = "an address and a port, such as 127.0.0.1:7007";
                self.listen = parsed(value, place, expected)?;
            }
            "log_format" => self.log_format = parsed(value, place, "human or json")?,
            "max_builds" => {
                let builds = number(value, place, "builds", MAX_BUILDS)?;
                self.max_builds = usize::try_from(builds).unwrap_or(usize::MAX);
            }
            "public_url" => self.public_url = Some(parsed(value, place, PublicUrl::EXPECTED)?),
            "push_limit_bytes" => self.push_limit_bytes = number(value, place, "bytes", BYTES)?,
            "slug_limit_bytes" => self.slug_limit_bytes = number(value, place, "bytes", BYTES)?,
            "slug_warning_bytes" => self.slug_warning_bytes = number(value, place, "bytes", BYTES)?,
            "stack" => {
                self.stack = parsed::<StackName>(value, place, StackName::EXPECTED)?.to_string();
            }
            "stack_layer" => self.stack_layer = Some(parsed(value, place, "a file's path")?),
            "tls_cert" => self.tls_cert = Some(parsed(value, place, "a file's path")?),
            "tls_key" => self.tls_key = Some(parsed(value, place, "a file's path")?),
            _ if self.router.set(name, value, place)?
                || self.set_dynos(name, value, place)?
                || self.set_runtimes(name, value, place)? => {}
            _ => {
                return Err(SettingsError::Unknown {
                    place: place.clone(),
                    nearest: nearest(name),
                });
            }
        }
        Ok(())
    }
}

/// Names the stack of a machine from the text of its `/etc/os-release`: `debian-12`.
///
/// A text without a usable name gives `linux`. Source: os-release(5).
pub fn stack_of_os_release(text: &str) -> String {
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches(['"', '\'']))
            .filter(|value| !value.is_empty())
    };
    let stack = match (field("ID"), field("VERSION_ID")) {
        (Some(id), Some(version)) => format!("{id}-{version}"),
        (Some(id), None) => id.to_owned(),
        (None, _) => String::new(),
    };
    stack
        .parse()
        .map_or_else(|_| "linux".to_owned(), |name: StackName| name.to_string())
}

/// The line, counted from 1, where a key of the outermost mapping stands.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let is_key = |line: &str| {
        line.trim_start_matches(['"', '\''])
            .strip_prefix(key)
            .is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
    };
    text.lines().position(is_key).map(|index| index + 1)
}

/// The setting whose name is most like `name`; none where none is.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase().replace('-', "_");
    let distance = |setting: &&str| strsim::damerau_levenshtein(&name, setting);
    // More mistakes than a third of the letters, and the guess would be noise.
    NAMES
        .into_iter()
        .min_by_key(distance)
        .filter(|setting| distance(setting) <= setting.len().div_ceil(3))
}

#[cfg(test)]
mod tests;
