//! Which user of the host a build runs as.

use std::fs;

use nix::unistd::geteuid;

/// The uid and gid that a build sees, as on Heroku's stacks.
pub const INNER_ID: u32 = 1000;

/// The uid and gid that the inner one is outside, where the server is root. No account has it.
pub const BUILD_ID_ON_HOST: u32 = 1_947_000_000;

/// Whether builds run as a user of their own: where we are root and may use its id. A root of a
/// container with few ids may not; builds then run as ourselves, as for a plain user.
pub(super) fn has_own_user() -> bool {
    let maps = ["uid_map", "gid_map"]
        .map(|name| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default());
    geteuid().is_root() && maps.iter().all(|map| maps_id(map, BUILD_ID_ON_HOST))
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
    fn the_maps_of_a_host_and_of_containers() {
        assert!(maps_id(
            "         0          0 4294967295\n",
            BUILD_ID_ON_HOST
        ));
        assert!(!maps_id("0 100000 65536\n", BUILD_ID_ON_HOST));
        assert!(!maps_id("0 1000 1\n", BUILD_ID_ON_HOST));
        assert!(maps_id("0 1000 1\n1 100000 65536\n", 65_536));
        assert!(!maps_id("", 0));
    }
}
