//! What a build may reach: nothing, hosts by way of our proxy, or all that the host reaches.
//!
//! With a proxy the build has a network of its own, in which there is but `lo` with one listener.
//! The [`proxy`] behind it runs in this process, looks every name up itself, refuses the machine's
//! own and its neighbours' addresses after that, and counts bytes for each host.

mod address;
pub(super) mod direct;
pub(super) mod proxy;
mod rules;
mod traffic;
mod upstream;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use rules::{Place, Rules};
pub use traffic::{Contact, Traffic};
pub use upstream::Upstream;

/// A proxy on this machine's loopback for what the server itself fetches in the name of others: the
/// same rules hold for it, redirections and what names are changed to included.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    traffic: Traffic,
    proxy: Option<proxy::Proxy>,
}

impl Gate {
    /// Opens one, until it is dropped.
    ///
    /// # Errors
    /// There is no port left.
    pub fn open(rules: Arc<Rules>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, traffic) = (listener.local_addr()?, Traffic::default());
        Ok(Self {
            address,
            proxy: Some(proxy::Proxy::serve(listener, rules, traffic.clone())),
            traffic,
        })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes it with all connections that go through it.
    pub fn close(&mut self) {
        self.proxy = None;
    }

    /// Whom it has not connected to, and why.
    pub fn refused(&self) -> Option<String> {
        let mut contacts = self.traffic.contacts().into_iter();
        contacts.find_map(|one| Some(format!("{}:{}: {}", one.host, one.port, one.refused?)))
    }
}

/// Where the proxy listens inside, on 127.0.0.1: constant, since builds see it.
pub const PROXY_PORT: u16 = 3128;

/// How a build is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A network with nothing but `lo`.
    Off,
    /// The same, with our proxy as the only way out.
    Proxy,
    /// A network of its own behind the host's address translation; level 1.
    Direct,
    /// The host's own network, with its loopback services.
    Host,
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self::Off),
            "proxy" => Ok(Self::Proxy),
            "direct" => Ok(Self::Direct),
            "host" => Ok(Self::Host),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Proxy => "proxy",
            Self::Direct => "direct",
            Self::Host => "host",
        })
    }
}
