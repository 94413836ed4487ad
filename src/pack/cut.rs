//! Where a slug is cut into gzip members: a function of paths and sizes, entry by entry.
//!
//! A file of more than [`SPLIT_BYTES`] is cut into members of its own, of that many bytes of content
//! each; the first has its header too and the last its padding. All other entries are gathered into
//! groups. A group ends before an entry that would make it larger than [`GROUP_BYTES`], and, once it
//! has [`LEAST_BYTES`], before the first entry whose path's hash says so: where a file grows, later
//! groups soon start where they did before.

/// Most bytes of a file that shares a member with others, and of content in a member.
pub const SPLIT_BYTES: u64 = 1 << 20;

/// Most bytes of a group's tar, where it is not one entry.
const GROUP_BYTES: u64 = 1 << 20;

/// Bytes of a group's tar before a path may end it.
const LEAST_BYTES: u64 = 512 << 10;

/// One path in so many ends a group.
const ODDS: u64 = 16;

/// Decides for one entry after the other.
#[derive(Default)]
pub struct Cutter {
    group_bytes: u64,
}

impl Cutter {
    /// Whether a new group starts with this entry, which takes `tar_bytes`.
    pub fn before(&mut self, path: &[u8], tar_bytes: u64) -> bool {
        let together = self.group_bytes + tar_bytes;
        let cut = self.group_bytes > 0
            && (together > GROUP_BYTES
                || self.group_bytes >= LEAST_BYTES && hash(path).is_multiple_of(ODDS));
        self.group_bytes = if cut { tar_bytes } else { together };
        cut
    }

    /// Starts a new group whatever comes next.
    pub fn restart(&mut self) {
        self.group_bytes = 0;
    }
}

/// FNV-1a of 64 bits, its upper bits folded into the lower.
fn hash(path: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in path {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths that start groups.
    fn starts(sizes: impl IntoIterator<Item = (u64, u64)>) -> Vec<u64> {
        let mut cutter = Cutter::default();
        sizes
            .into_iter()
            .filter(|(n, bytes)| cutter.before(format!("dir/{n}").as_bytes(), *bytes))
            .map(|(n, _)| n)
            .collect()
    }

    #[test]
    fn a_change_moves_few_cuts() {
        let sizes = || (0..20_000).map(|n| (n, 512 + n * 7919 % 20_000));
        let before = starts(sizes());
        assert!(before.len() > 150, "{}", before.len());
        for place in (0..20_000).step_by(997) {
            let grown = sizes().map(|(n, bytes)| (n, bytes + u64::from(n == place) * 5_000));
            let after = starts(grown);
            let moved = after.iter().filter(|n| !before.contains(n)).count();
            assert!(moved <= 4, "{place}: {moved}");
        }
    }

    #[test]
    fn groups_keep_their_bounds() {
        assert_eq!(starts([(0, GROUP_BYTES - 1), (1, 1), (2, 1)]), [2]);
        assert_eq!(starts((0..4).map(|n| (n, 2 * GROUP_BYTES))), [1, 2, 3]);
    }
}
