//! Which hosts and addresses the proxy connects a build to.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

use super::address::refused_kind;
use super::proxy::own_addresses;
use super::upstream::Upstream;

/// What an operator allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// What may be reached although it is the machine's own or a neighbour's.
    pub allow: Vec<Place>,
    /// The only places that may be reached; all where there is none.
    pub only: Vec<Place>,
    /// The server's own proxy.
    pub upstream: Upstream,
}

/// A host or a network, and a port of it: `packages.example`, `*.example.com:443`, `10.0.0.0/8`, `[fd00::1]:80`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    what: What,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Host(String),
    /// A domain and all below it, with the leading dot.
    Below(String),
    Network(IpAddr, u32),
}

impl Rules {
    /// Looks a host up and says why it would not be connected to; for a message before anything is
    /// begun, since its addresses may be others later. Blocks.
    ///
    /// # Errors
    /// Why it is not to be connected to, or that it has no address.
    pub fn check(&self, host: &str, port: u16) -> Result<(), String> {
        if let Some(reason) = self.refuse_host(host, port) {
            return Err(reason);
        }
        let found = match (host, port).to_socket_addrs() {
            Ok(found) => found,
            // Behind a proxy many a machine cannot look outer names up; the proxy can.
            Err(_) if self.upstream.of(host, port, true).is_some() => return Ok(()),
            Err(error) => return Err(format!("it has no address: {error}")),
        };
        let own = own_addresses();
        for address in found {
            if let Some(reason) = self.refuse_address(host, address.ip(), port, &own) {
                return Err(reason);
            }
        }
        Ok(())
    }

    /// The addresses of a host that may be connected to; to be used at once, since they may be others
    /// later. Blocks.
    ///
    /// # Errors
    /// Why there is none.
    pub fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if let Some(reason) = self.refuse_host(host, port) {
            return Err(reason);
        }
        let found = (host, port).to_socket_addrs();
        let found = found.map_err(|error| format!("it has no address: {error}"))?;
        let own = own_addresses();
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in found {
            match self.refuse_address(host, address.ip(), port, &own) {
                None => allowed.push(address),
                reason => refused = reason,
            }
        }
        if allowed.is_empty() {
            return Err(refused.unwrap_or_else(|| "it has no address".to_owned()));
        }
        Ok(allowed)
    }

    /// Network, bits and port of the exceptions that are networks.
    pub(super) fn allowed_networks(&self) -> impl Iterator<Item = (IpAddr, u32, Option<u16>)> {
        self.allow.iter().filter_map(|place| match place.what {
            What::Network(network, bits) => Some((network, bits, place.port)),
            What::Host(_) | What::Below(_) => None,
        })
    }

    /// Says why a host is not to be connected to before it is looked up.
    pub(super) fn refuse_host(&self, host: &str, port: u16) -> Option<String> {
        let listed = |place: &Place| place.names(host, port);
        (!self.only.is_empty() && !self.only.iter().any(listed))
            .then(|| "it is not in `network_only`".to_owned())
    }

    /// Says why an address that a host has is not to be connected to; `own` are the machine's.
    pub(super) fn refuse_address(
        &self,
        host: &str,
        address: IpAddr,
        port: u16,
        own: &[IpAddr],
    ) -> Option<String> {
        let address = address.to_canonical();
        let kind = refused_kind(address).or_else(|| {
            own.contains(&address)
                .then_some("this machine's own address")
        })?;
        let allowed = |place: &Place| place.names(host, port) || place.holds(address, port);
        (!self.allow.iter().any(allowed)).then(|| format!("{address} is {kind}"))
    }
}

impl Place {
    fn names(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.has_port(port)
            && match &self.what {
                What::Host(name) => *name == host,
                What::Below(suffix) => host.ends_with(suffix) || host == suffix[1..],
                What::Network(..) => host.parse().is_ok_and(|address| self.holds(address, port)),
            }
    }

    fn holds(&self, address: IpAddr, port: u16) -> bool {
        let What::Network(network, bits) = self.what else {
            return false;
        };
        let same = match (network, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
            _ => false,
        };
        self.has_port(port) && same
    }

    fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (place, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((place, "")) => (place, None),
            Some((place, port)) => (place, Some(port.strip_prefix(':').ok_or(())?)),
            // More than one colon is an IPv6 address without a port.
            None if text.matches(':').count() > 1 => (text, None),
            None => match text.split_once(':') {
                Some((place, port)) => (place, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map(str::parse).transpose().map_err(drop)?;
        let what = match place.split_once('/') {
            Some((address, bits)) => network(address, Some(bits.parse().map_err(drop)?))?,
            None => match network(place, None) {
                Ok(network) => network,
                Err(()) => host(place)?,
            },
        };
        Ok(Self { what, port })
    }
}

fn network(address: &str, bits: Option<u32>) -> Result<What, ()> {
    let address: IpAddr = address.parse().map_err(drop)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most)
        .then_some(What::Network(address, bits))
        .ok_or(())
}

fn host(name: &str) -> Result<What, ()> {
    let name = name.to_ascii_lowercase();
    let (below, plain) = match name.strip_prefix("*.") {
        Some(plain) => (true, plain),
        None => (false, name.as_str()),
    };
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if plain.is_empty() || plain.starts_with('.') || !plain.chars().all(letters) {
        return Err(());
    }
    Ok(if below {
        What::Below(format!(".{plain}"))
    } else {
        What::Host(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], only: &[&str]) -> Rules {
        let places = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
        Rules {
            allow: places(allow),
            only: places(only),
            upstream: Upstream::default(),
        }
    }

    #[test]
    fn exceptions_hold_for_their_port_alone() {
        let rules = rules(&["127.0.0.1:8080", "mirror.internal", "10.0.0.0/8"], &[]);
        let refused = |host: &str, address: &str, port| {
            rules
                .refuse_address(
                    host,
                    address.parse().unwrap(),
                    port,
                    &["192.0.2.2".parse().unwrap()],
                )
                .is_some()
        };
        assert!(!refused("x", "127.0.0.1", 8080));
        assert!(refused("x", "127.0.0.1", 8081));
        assert!(!refused("Mirror.Internal.", "192.168.0.1", 443));
        assert!(!refused("x", "::ffff:10.2.3.4", 80));
        assert!(refused("x", "192.168.0.1", 80));
        assert!(refused("x", "192.0.2.2", 80), "our own address");
        assert!(!refused("x", "203.0.113.80", 80));
    }

    #[test]
    fn an_allow_list_names_hosts() {
        let rules = rules(
            &[],
            &["*.example.com", "packages.example:443", "203.0.113.0/24"],
        );
        assert_eq!(rules.refuse_host("a.example.com", 80), None);
        assert_eq!(rules.refuse_host("example.com", 80), None);
        assert!(rules.refuse_host("notexample.com", 80).is_some());
        assert!(rules.refuse_host("packages.example", 80).is_some());
        assert_eq!(rules.refuse_host("packages.example", 443), None);
        assert_eq!(rules.refuse_host("203.0.113.9", 443), None);
    }

    #[test]
    fn places_that_are_none() {
        for text in [
            "",
            "a b",
            "10.0.0.0/33",
            "x:99999",
            "[::1]80",
            "http://x",
            "*.",
        ] {
            assert_eq!(text.parse::<Place>(), Err(()), "{text}");
        }
        assert!("[fd00::1]:80".parse::<Place>().is_ok());
        assert!("fd00::/8".parse::<Place>().is_ok());
    }
}
