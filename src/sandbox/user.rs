//! Which user of the host a build runs as.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::unistd::geteuid;

/// The uid and gid that a build sees, as on Heroku's stacks.
pub const INNER_ID: u32 = 1000;

/// The first of the uids and gids that the inner one is outside, where the server is root. No
/// account has any of them.
const FIRST_ID: u32 = 1_947_000_000;
/// How many there are: builds and processes of one machine at once.
const IDS: u32 = 4096;

/// The outer uid and gid of one build, which no other has meanwhile.
#[derive(Debug, Default)]
pub(super) struct Outer {
    /// None where builds run as ourselves.
    pub id: Option<u32>,
    /// The kernel lets one socket have a name, and takes it back when we die, however we do.
    _claim: Option<UnixDatagram>,
}

impl Outer {
    /// Takes the first id that is free; for who [may use](has_own_user) such ids.
    ///
    /// # Errors
    /// All are taken.
    pub fn claim() -> io::Result<Self> {
        Self::claim_of(FIRST_ID..FIRST_ID + IDS)
    }

    /// Takes this id if it is one of the range and free, else the first that is free.
    ///
    /// # Errors
    /// All are taken.
    pub fn claim_first(id: u32) -> io::Result<Self> {
        let range = FIRST_ID..FIRST_ID + IDS;
        let first = range.contains(&id).then_some(id);
        Self::claim_of(first.into_iter().chain(range))
    }

    fn claim_of(ids: impl Iterator<Item = u32>) -> io::Result<Self> {
        for id in ids {
            let name = SocketAddr::from_abstract_name(format!("slugline-uid-{id}"))?;
            match UnixDatagram::bind_addr(&name) {
                Ok(socket) => {
                    return Ok(Self {
                        id: Some(id),
                        _claim: Some(socket),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("all of the builds' uids are taken"))
    }
}

/// Whether builds run as users of their own: where we are root and may use such ids. A root of a
/// container with few ids may not; builds then run as ourselves, as for a plain user.
pub(super) fn has_own_user() -> bool {
    let maps = ["uid_map", "gid_map"]
        .map(|name| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default());
    let is_mapped = |map: &String| maps_id(map, FIRST_ID) && maps_id(map, FIRST_ID + IDS - 1);
    geteuid().is_root() && maps.iter().all(is_mapped)
}

/// Whether a map of lines `first-inside first-outside count` has an id.
fn maps_id(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers = line.split_whitespace().map(str::parse::<u64>).collect::<Result<Vec<_>, _>>();
        matches!(numbers.as_deref(), Ok([first, _, count]) if (*first..first + count).contains(&u64::from(id)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_builds_never_have_one_id() {
        let (first, second) = (Outer::claim().unwrap(), Outer::claim().unwrap());
        assert!(first.id.is_some() && first.id != second.id);
    }

    #[test]
    fn the_maps_of_a_host_and_of_containers() {
        assert!(maps_id("         0          0 4294967295\n", FIRST_ID));
        assert!(!maps_id("0 100000 65536\n", FIRST_ID));
        assert!(!maps_id("0 1000 1\n", FIRST_ID));
        assert!(maps_id("0 1000 1\n1 100000 65536\n", 65_536));
        assert!(!maps_id("", 0));
    }
}
