//! What the operator chose of the router: its sockets besides the first, and its limits.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_yaml::Value;

use super::error::{Place, SettingsError};
use super::value::{number, parsed};

const SECONDS: RangeInclusive<u64> = 1..=86_400;
const BODY_BYTES: RangeInclusive<u64> = 1..=1 << 50;

/// The options of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSettings {
    /// Where apps answer over TLS, with the certificates of this directory; both or neither.
    pub tls_listen: Option<SocketAddr>,
    pub certificates: Option<PathBuf>,
    /// Where numbers are read; of this machine alone.
    pub metrics: Option<SocketAddr>,
    /// Of a request.
    pub body_bytes: u64,
    /// From a connection's start, or the answer before, to the end of a request's headers.
    pub header_time: Duration,
    /// For a request that waits for a dyno to start.
    pub boot_time: Duration,
    /// From a request to its answer's first byte.
    pub first_byte: Duration,
    /// Of either side, after that.
    pub silence: Duration,
}

impl Default for RouterSettings {
    /// Times are Heroku's documented ones.
    fn default() -> Self {
        Self {
            tls_listen: None,
            certificates: None,
            metrics: None,
            body_bytes: 4 << 30,
            header_time: Duration::from_secs(30),
            boot_time: Duration::from_secs(75),
            first_byte: Duration::from_secs(30),
            silence: Duration::from_secs(55),
        }
    }
}

impl RouterSettings {
    /// Where apps answer over TLS, and the directory of the certificates.
    pub fn tls(&self) -> Option<(SocketAddr, &PathBuf)> {
        self.tls_listen.zip(self.certificates.as_ref())
    }

    /// Takes a setting; says whether it is one of the router's.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: &Value,
        place: &Place,
    ) -> Result<bool, SettingsError> {
        let seconds = || number(value, place, "seconds", SECONDS).map(Duration::from_secs);
        match name {
            "metrics" => {
                let expected =
                    "an address of this machine alone and a port, such as 127.0.0.1:9090";
                let address: SocketAddr = parsed(value, place, expected)?;
                if !address.ip().is_loopback() {
                    return Err(SettingsError::Value {
                        place: place.clone(),
                        got: address.to_string(),
                        expected: expected.to_owned(),
                    });
                }
                self.metrics = Some(address);
            }
            "router_body_bytes" => self.body_bytes = number(value, place, "bytes", BODY_BYTES)?,
            "router_boot_seconds" => self.boot_time = seconds()?,
            "router_certificates" => {
                self.certificates = Some(parsed(value, place, "a directory's path")?);
            }
            "router_first_byte_seconds" => self.first_byte = seconds()?,
            "router_header_seconds" => self.header_time = seconds()?,
            "router_silence_seconds" => self.silence = seconds()?,
            "router_tls_listen" => {
                let expected = "an address and a port, such as 0.0.0.0:443";
                self.tls_listen = Some(parsed(value, place, expected)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Refuses half of TLS.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if self.tls_listen.is_some() != self.certificates.is_some() {
            return Err(SettingsError::HalfOfRouterTls);
        }
        Ok(())
    }
}
