//! Addresses that no build reaches, by what they are.
//!
//! The named ranges, and not all that is «not global»: packages may well come from a mirror at an
//! address that is set aside for some purpose.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds tell machines their secrets, outside of the ranges below: Alibaba's and Oracle's
/// metadata services, Azure's wire server.
const METADATA: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// The refused IPv4 ranges, with their bits, for filters of packets.
pub(super) const REFUSED_V4: [(Ipv4Addr, u32); 9] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (METADATA[0], 32),
    (METADATA[1], 32),
    (METADATA[2], 32),
];

/// What kind of refused address this is; none where it may be reached.
pub(super) fn refused_kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => inner_v4(address).map_or_else(|| refused_v6(address), refused_v4),
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_loopback() || address.octets()[0] == 0 {
        // 0.0.0.0 is another name of this host to connect(2).
        Some("a loopback address")
    } else if address.is_private() {
        Some("a private address")
    } else if address.is_link_local() {
        Some("a link-local address")
    } else if METADATA.contains(&address) {
        Some("a metadata service")
    } else {
        None
    }
}

fn refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() || address.is_unspecified() {
        Some("a loopback address")
    } else if address.is_unique_local() {
        Some("a private address")
    } else if address.is_unicast_link_local() {
        Some("a link-local address")
    } else {
        None
    }
}

/// The IPv4 address that an IPv6 one leads to: mapped, NAT64's (RFC 6052), 6to4's (RFC 3056).
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(of(high, low))
        }
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_packets_are_those_of_connections() {
        for (network, bits) in REFUSED_V4 {
            let last = network.to_bits() | u32::MAX.checked_shr(bits).unwrap_or(0);
            for address in [network, Ipv4Addr::from_bits(last)] {
                assert!(refused_v4(address).is_some(), "{address}");
            }
        }
        let all = (0..=255).flat_map(|a| (0..=255).map(move |b| Ipv4Addr::new(a, b, 7, 7)));
        let held = |address: Ipv4Addr| {
            let in_range = |(network, bits): &(Ipv4Addr, u32)| {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= *bits
            };
            REFUSED_V4.iter().any(in_range)
        };
        for address in all {
            assert_eq!(refused_v4(address).is_some(), held(address), "{address}");
        }
    }

    #[test]
    fn the_named_ranges_are_refused_and_no_other() {
        for text in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "::1",
            "::",
            "fd00:ec2::254",
            "fc00::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
        ] {
            assert!(refused_kind(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in [
            "203.0.113.80",
            "1.1.1.1",
            "172.32.0.1",
            "192.0.2.7",
            "100.64.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "2001:db8::1",
        ] {
            assert_eq!(refused_kind(text.parse().unwrap()), None, "{text}");
        }
    }
}
