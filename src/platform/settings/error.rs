//! What is wrong with the settings, and where.

use std::fmt;
use std::net::SocketAddr;

use super::{FILE_NAME, VARIABLE_PREFIX};
use crate::config::ConfigError;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    File { name: String, line: Option<usize> },
    Variable { name: String },
    Argument { name: String },
}

/// Why the settings are refused; always the operator's fault.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be parsed; the source has the line.
    #[error("{FILE_NAME} is no YAML")]
    Yaml(#[source] serde_yaml::Error),
    /// The file is a list or a single value.
    #[error("{FILE_NAME} is no list of `option: value` lines")]
    Form,
    /// There is no such option.
    #[error("unknown {place}{}", did_you_mean(place, *nearest))]
    Unknown {
        place: Place,
        /// The setting whose name is most like it.
        nearest: Option<&'static str>,
    },
    /// The value is of the wrong kind or out of range.
    #[error("{place} is {got}; it takes {expected}")]
    Value {
        place: Place,
        got: String,
        expected: String,
    },
    /// Tokens and sources would go over a network that others read.
    #[error(
        "{address} is not of this machine alone, and there is no TLS: tokens would be sent in the \
         clear. Name a certificate with --tls-cert and --tls-key, or put a proxy with TLS in front of \
         the server and start it with --behind-proxy"
    )]
    Exposed { address: SocketAddr },
    /// A certificate without its key, or the other way round.
    #[error("of tls_cert and tls_key there is one alone; TLS needs both")]
    HalfOfTls,
    /// A socket without certificates, or the other way round.
    #[error("of router_tls_listen and router_certificates there is one alone; TLS needs both")]
    HalfOfRouterTls,
    /// A variable of `build_env` is refused.
    #[error("{place} is refused")]
    BuildEnv { place: Place, source: ConfigError },
}

impl Place {
    /// Writes a setting's name as it is written at such a place.
    fn name(&self, setting: &str) -> String {
        match self {
            Self::File { .. } => format!("`{setting}`"),
            Self::Variable { .. } => format!("{VARIABLE_PREFIX}{}", setting.to_uppercase()),
            Self::Argument { .. } => format!("--{}", setting.replace('_', "-")),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line: None } => write!(f, "option `{name}` in {FILE_NAME}"),
            Self::File {
                name,
                line: Some(line),
            } => write!(f, "option `{name}` in {FILE_NAME} (line {line})"),
            Self::Variable { name } => write!(f, "variable {name}"),
            Self::Argument { name } => write!(f, "argument {}", self.name(name)),
        }
    }
}

fn did_you_mean(place: &Place, nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |setting| {
        format!("; did you mean {}?", place.name(setting))
    })
}
