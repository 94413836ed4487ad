//! What becomes of an attack at each level, as a table for people. Each row is tried by a test.

use super::{Network, Sandbox};

/// What an app's code may try, and what becomes of it at levels 1, 2 and 3. Level 0 denies nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attack {
    pub name: &'static str,
    pub outcomes: [Outcome; 3],
}

/// What becomes of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel says no.
    Denied,
    /// It fails at a limit, which the failure names.
    Limited,
    /// What it has started is killed at the end of the command.
    Ended,
    /// Nothing keeps it back: the operator has chosen the host's network.
    Open,
}

impl Outcome {
    /// As the table has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Limited => "limited",
            Self::Ended => "ended",
            Self::Open => "OPEN",
        }
    }
}

const DENIED: [&str; 18] = [
    "read a home directory",
    "read /etc/shadow",
    "read the data directory",
    "read another build's directory",
    "read /proc/1/environ",
    "use the caller's descriptors",
    "write outside of its own directories",
    "change the mode of files outside",
    "trace another process",
    "signal another process",
    "mount, unmount, chroot, pivot_root",
    "become another user",
    "make a user namespace",
    "open raw, packet, AF_ALG and AF_VSOCK sockets",
    "io_uring, keyctl, bpf, userfaultfd, perf",
    "type into the caller's terminal",
    "connect to an abstract unix socket",
    "see the host's processes",
];
/// Denied by the network namespace, unless the operator has chosen the host's.
const DENIED_BY_NETWORK: [&str; 3] = [
    "connect to the server's port",
    "connect to a listener on loopback",
    "connect to 169.254.169.254",
];
const LIMITED: [&str; 5] = [
    "fork bomb",
    "memory hog",
    "fill the disk",
    "make files without end",
    "print without end",
];
const ENDED: [&str; 2] = [
    "leave a daemon that ignores SIGTERM",
    "outlive a killed server",
];

impl Sandbox {
    /// The table of this machine, whatever level it has itself.
    pub fn attacks(&self) -> Vec<Attack> {
        let host = self.policy().network == Network::Host;
        let built = if host { Outcome::Open } else { Outcome::Denied };
        let rows = |names: &'static [&'static str], outcomes| {
            names.iter().map(move |name| Attack { name, outcomes })
        };
        rows(&DENIED, [Outcome::Denied; 3])
            .chain(rows(&DENIED_BY_NETWORK, [built, built, Outcome::Denied]))
            .chain(rows(&LIMITED, [Outcome::Limited; 3]))
            .chain(rows(&ENDED, [Outcome::Ended; 3]))
            .collect()
    }
}
