//! `network: direct`: a pair of virtual interfaces for each build or dyno, behind the host's address
//! translation, for level 1.
//!
//! The build's end lies in its network namespace; the host's end and the addresses have a number that
//! nobody else has meanwhile. A table of the host's packet filter stands for each build: it drops what
//! is for the host itself, for other builds, and for the refused ranges. Of those, and of the host, an
//! operator may open places; a whole network never means the host's own addresses. IPv4 alone. The
//! programs `ip` and `nft` do the work. What holds for builds holds for dynos.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::address::REFUSED_V4;
use super::rules::Rules;
use crate::sandbox::processes::pid_namespace;

/// The addresses of builds begin here: 198.18.0.0/15, which is set aside for networks that no other
/// is connected to. Source: RFC 2544.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// How many networks there can be at once.
const NUMBERS: u32 = 4096;
const TABLE_PREFIX: &str = "slugline_";

/// Where the system's programs are; the helper has no `PATH`.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// Where a resolver on the machine itself tells of those that it asks.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// How one build is connected, for the helper.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::sandbox) struct Plan {
    index: u32,
    table: String,
    /// For `nft -f -`.
    filter: String,
}

/// What this machine lacks for builds to be connected like this.
pub(in crate::sandbox) fn missing() -> Option<String> {
    let lacks = |name: &str, package: &str| {
        program(name)
            .is_err()
            .then(|| format!("there is no {name}: install {package}"))
    };
    let forwards = fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
    let forwards = forwards.is_ok_and(|text| text.trim() == "1");
    lacks("ip", "iproute2")
        .or_else(|| lacks("nft", "nftables"))
        .or_else(|| {
            (!forwards).then(|| {
                "this machine forwards no packets: sysctl -w net.ipv4.ip_forward=1".to_owned()
            })
        })
}

/// The name servers that a build can ask: those of the machine that are not on its loopback.
pub(in crate::sandbox) fn name_servers() -> Vec<Ipv4Addr> {
    let of = |path: &&str| name_servers_in(&fs::read_to_string(path).unwrap_or_default());
    let found = RESOLVERS.iter().map(of).find(|found| !found.is_empty());
    found.unwrap_or_default()
}

fn name_servers_in(text: &str) -> Vec<Ipv4Addr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .filter(|address: &Ipv4Addr| !address.is_loopback() && !address.is_unspecified())
        .collect()
}

/// The number of a network, which no other has meanwhile.
#[derive(Debug)]
pub(in crate::sandbox) struct Claim {
    index: u32,
    /// The kernel lets one socket have a name, and takes it back when we die, however we do.
    _held: UnixDatagram,
}

impl Claim {
    /// Takes a number that is free; not the last one, whose interface the kernel may still be removing.
    ///
    /// # Errors
    /// All are taken.
    pub fn take() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let first = NEXT.fetch_add(1, Ordering::Relaxed);
        for number in 0..NUMBERS {
            let index = first.wrapping_add(number) % NUMBERS;
            let name = SocketAddr::from_abstract_name(format!("slugline-network-{index}"))?;
            match UnixDatagram::bind_addr(&name) {
                Ok(held) => return Ok(Self { index, _held: held }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("all networks are taken"))
    }
}

impl Plan {
    /// For the network with this number.
    pub fn new(claim: &Claim, rules: &Rules, name_servers: &[Ipv4Addr]) -> Self {
        let index = claim.index;
        let (namespace, process) = (pid_namespace(), std::process::id());
        let table = format!("{TABLE_PREFIX}{namespace}_{process}_{index}");
        let filter = filter(&table, index, rules, name_servers);
        Self {
            index,
            table,
            filter,
        }
    }

    /// Makes both ends; to be called on the host's side, in a process that ends after it, since it
    /// goes over to the network of process `id`.
    ///
    /// # Errors
    /// One of the programs failed; the error has its words.
    pub fn connect(&self, id: u32) -> io::Result<()> {
        let (host, inside, name) = (host(self.index), inside(self.index), interface(self.index));
        // The filter stands before anything can pass.
        feed("nft", &["-f", "-"], &self.filter)?;
        let outside = format!(
            "link add {name} type veth peer name eth0 netns {id}\n\
             addr add {host}/30 dev {name}\nlink set {name} up\n"
        );
        // Of who had the number before: the kernel takes an interface away some time after its network.
        let there = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        let is_ours = |line: &str| line.trim_start().starts_with(&format!("{name}:"));
        if there.lines().any(is_ours) {
            let _ = feed("ip", &["link", "del", &name], "");
        }
        feed("ip", &["-batch", "-"], &outside)?;
        let network = fs::File::open(format!("/proc/{id}/ns/net"))?;
        nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET)?;
        let within = format!(
            "addr add {inside}/30 dev eth0\nlink set eth0 up\nroute add default via {host}\n"
        );
        feed("ip", &["-batch", "-"], &within)
    }

    /// Keeps number and table until it is dropped.
    pub fn connected(&self, claim: Claim) -> Connected {
        Connected {
            table: self.table.clone(),
            _claim: claim,
        }
    }
}

/// A network's table and number; its interfaces go with its namespace.
#[derive(Debug)]
pub(in crate::sandbox) struct Connected {
    table: String,
    _claim: Claim,
}

impl Drop for Connected {
    fn drop(&mut self) {
        // It never came to be where the helper was refused something before.
        remove(&self.table);
    }
}

fn remove(table: &str) {
    let _ = feed("nft", &["delete", "table", "inet", table], "");
}

/// Removes the tables of processes that are no more.
pub(in crate::sandbox) fn sweep() {
    let Ok(nft) = program("nft") else { return };
    let listed = Command::new(nft).args(["list", "tables", "inet"]).output();
    let text = listed.map(|listed| listed.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    for table in stale_tables(&text, pid_namespace(), Path::new("/proc")) {
        remove(&table);
    }
}

fn stale_tables(text: &str, namespace: u64, proc: &Path) -> Vec<String> {
    // Of a process of another pid namespace we cannot say whether it lives.
    let prefix = format!("{TABLE_PREFIX}{namespace}_");
    let stale = |line: &str| {
        let table = line.trim().strip_prefix("table inet ")?;
        let (owner, _) = table.strip_prefix(&prefix)?.split_once('_')?;
        let is_stale = owner.parse::<u32>().is_ok() && !proc.join(owner).exists();
        is_stale.then(|| table.to_owned())
    };
    text.lines().filter_map(stale).collect()
}

fn host(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_ADDRESS + index * 4 + 1)
}

fn inside(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_ADDRESS + index * 4 + 2)
}

fn interface(index: u32) -> String {
    format!("slg{index}")
}

fn filter(table: &str, index: u32, rules: &Rules, name_servers: &[Ipv4Addr]) -> String {
    let (name, own) = (interface(index), inside(index));
    let ask = |server: &Ipv4Addr| {
        ["udp", "tcp"].map(|protocol| format!("ip daddr {server} {protocol} dport 53 accept\n"))
    };
    let ask = name_servers.iter().flat_map(ask).collect::<String>();
    let allow = |of_host: bool| {
        let networks = rules.allowed_networks();
        let accept = networks.filter_map(move |(network, bits, port)| match (network, port) {
            (IpAddr::V6(_), _) => None,
            (IpAddr::V4(network), Some(port)) => Some(format!(
                "ip daddr {network}/{bits} tcp dport {port} accept\n"
            )),
            // All ports of the host's own addresses would be the platform's, too.
            (IpAddr::V4(network), None) => {
                (!of_host).then(|| format!("ip daddr {network}/{bits} accept\n"))
            }
        });
        accept.collect::<String>()
    };
    let (allow, of_host) = (allow(false), allow(true));
    let refused = REFUSED_V4
        .map(|(network, bits)| format!("{network}/{bits}"))
        .join(", ");
    // What is accepted here still passes the host's own tables.
    format!(
        "table inet {table} {{\n\
         chain input {{ type filter hook input priority -10; policy accept;\n\
         iifname \"{name}\" jump host\n}}\n\
         chain host {{\nip saddr != {own} drop\n{ask}{of_host}drop\n}}\n\
         chain forward {{ type filter hook forward priority -10; policy accept;\n\
         oifname \"{name}\" ct state established,related accept\n\
         oifname \"{name}\" drop\n\
         iifname \"{name}\" jump out\n}}\n\
         chain out {{\nip saddr != {own} drop\n{ask}{allow}\
         ip daddr {{ {refused}, 198.18.0.0/15 }} drop\n\
         meta nfproto ipv4 accept\ndrop\n}}\n\
         chain translate {{ type nat hook postrouting priority 100; policy accept;\n\
         ip saddr {own} masquerade\n}}\n}}\n"
    )
}

fn program(name: &str) -> io::Result<PathBuf> {
    let found = PLACES
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no {name}")))
}

/// Runs a program with a text as its input.
fn feed(name: &str, arguments: &[&str], text: &str) -> io::Result<()> {
    let mut child = Command::new(program(name)?)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A program that has ended already says why.
        let _ = input.write_all(text.as_bytes());
    }
    let done = child.wait_with_output()?;
    if done.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&done.stderr);
    Err(io::Error::other(format!("{name}: {}", words.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_that_a_build_can_ask() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver fd00::1\noptions edns0\n";
        assert_eq!(name_servers_in(text), [Ipv4Addr::new(192, 0, 2, 53)]);
    }

    #[test]
    fn tables_of_the_dead_are_found() {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir(proc.path().join("12")).unwrap();
        let text = "table inet filter\ntable inet slugline_5_12_0\ntable inet slugline_5_13_7\n\
                    table inet slugline_6_13_8\ntable inet slugline_x\n";
        assert_eq!(stale_tables(text, 5, proc.path()), ["slugline_5_13_7"]);
    }

    #[test]
    fn the_last_build_has_addresses_of_its_own() {
        assert_eq!(inside(0), Ipv4Addr::new(198, 18, 0, 2));
        assert_eq!(host(4095), Ipv4Addr::new(198, 18, 63, 253));
        assert!(interface(4095).len() < 16);
    }
}
