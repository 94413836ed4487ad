//! What of a slug is large, and what has grown, by directory.

use std::collections::BTreeMap;

use super::{Entry, EntryKind};

/// How many directories are told.
const TOLD: usize = 10;

/// Bytes of files by the directory that they are right in; the empty path is the app's root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes(BTreeMap<String, u64>);

/// A directory with all that is below it, or the files right in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// With a `/` at its end; for files right in a directory, `*` after it.
    pub path: String,
    /// Before compression.
    pub size_bytes: u64,
}

impl Sizes {
    /// Counts an entry.
    pub fn add(&mut self, entry: &Entry) {
        if let EntryKind::File { size_bytes, .. } = entry.kind {
            let directory = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            *self.0.entry(directory.to_owned()).or_default() += size_bytes;
        }
    }

    /// What has grown since `before`.
    #[must_use]
    pub fn grown_since(&self, before: &Self) -> Self {
        let grown = |(path, size): (&String, &u64)| {
            let more = size.saturating_sub(before.0.get(path).copied().unwrap_or(0));
            (more > 0).then(|| (path.clone(), more))
        };
        Self(self.0.iter().filter_map(grown).collect())
    }

    /// The ten largest directories, none of them below another, largest first.
    ///
    /// Starting from the root, the largest is replaced by what is in it for as long as ten are told
    /// or nothing can be taken apart.
    #[must_use]
    pub fn largest(&self) -> Vec<Share> {
        let mut shares = self.below("");
        loop {
            shares.sort_by(|a, b| (b.size_bytes, &a.path).cmp(&(a.size_bytes, &b.path)));
            shares.truncate(TOLD);
            // One that is most of what it is in is no news, however many there are.
            let total = shares.iter().map(|share| share.size_bytes).sum::<u64>();
            let apart = shares.iter().position(|share| {
                let large = shares.len() < TOLD || share.size_bytes > total / 2;
                large && share.path.ends_with('/') && self.below(&share.path).len() > 1
                    || share.path.ends_with('/') && self.only_child(&share.path)
            });
            let Some(apart) = apart else {
                return shares;
            };
            let share = shares.remove(apart);
            shares.extend(self.below(&share.path));
        }
    }

    /// Whether all that is in a directory is in one directory of it.
    fn only_child(&self, path: &str) -> bool {
        matches!(&self.below(path)[..], [one] if one.path.ends_with('/'))
    }

    /// What is right in a directory; `prefix` is empty or ends with a `/`.
    fn below(&self, prefix: &str) -> Vec<Share> {
        let mut shares = BTreeMap::<String, u64>::new();
        let own = prefix.strip_suffix('/').unwrap_or(prefix);
        if let Some(size) = self.0.get(own) {
            shares.insert(format!("{prefix}*"), *size);
        }
        let below = self
            .0
            .range(prefix.to_owned()..)
            .take_while(|(path, _)| path.starts_with(prefix))
            .filter(|(path, _)| path.len() > prefix.len());
        for (path, size) in below {
            let rest = &path[prefix.len()..];
            let name = rest.split_once('/').map_or(rest, |(name, _)| name);
            *shares.entry(format!("{prefix}{name}/")).or_default() += size;
        }
        shares
            .into_iter()
            .map(|(path, size_bytes)| Share { path, size_bytes })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::PieceDigest;
    use crate::slug::Span;

    fn sizes(files: &[(&str, u64)]) -> Sizes {
        let mut sizes = Sizes::default();
        for (path, size_bytes) in files {
            sizes.add(&Entry {
                path: (*path).to_owned(),
                kind: EntryKind::File {
                    executable: false,
                    size_bytes: *size_bytes,
                    digest: PieceDigest::of(b""),
                },
                members: Span(0, 0),
            });
        }
        sizes
    }

    fn told(sizes: &Sizes) -> Vec<String> {
        sizes
            .largest()
            .into_iter()
            .map(|share| format!("{} {}", share.size_bytes, share.path))
            .collect()
    }

    #[test]
    fn large_directories_are_taken_apart() {
        let before = sizes(&[
            ("Procfile", 1),
            ("vendor/lib/a/x", 70),
            ("vendor/lib/a/y", 10),
            ("vendor/lib/b/z", 15),
            ("media/deep/er/film", 40),
        ]);
        assert_eq!(
            told(&before),
            [
                "80 vendor/lib/a/",
                "40 media/deep/er/",
                "15 vendor/lib/b/",
                "1 *"
            ]
        );
        let after = sizes(&[("vendor/lib/a/x", 75), ("vendor/lib/a/y", 10), ("new", 3)]);
        assert_eq!(
            told(&after.grown_since(&before)),
            ["5 vendor/lib/a/", "2 *"]
        );
        assert_eq!(told(&sizes(&[])), [""; 0]);
        assert_eq!(told(&sizes(&[("x", 0)])), ["0 *"]);
    }

    #[test]
    fn ten_are_told() {
        let names = (0..30)
            .map(|n| format!("lib/{}/{n}", n % 15))
            .collect::<Vec<_>>();
        let files = names
            .iter()
            .zip(1..)
            .map(|(name, size)| (name.as_str(), size))
            .collect::<Vec<_>>();
        let told = told(&sizes(&files));
        assert_eq!(told.len(), 10);
        assert_eq!(told[0], "45 lib/14/");
    }
}
