//! What differs between two slugs, by path.

use super::{Entry, EntryKind, Manifest};

/// One path that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    Added(&'a Entry),
    Removed(&'a Entry),
    /// Before and after.
    Changed(&'a Entry, &'a Entry),
}

/// The paths that differ, in their order.
#[must_use]
pub fn diff<'a>(before: &'a Manifest, after: &'a Manifest) -> Vec<Change<'a>> {
    // A slug that something else made may have any order.
    let sorted = |manifest: &'a Manifest| {
        let mut entries = manifest.entries.iter().collect::<Vec<_>>();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries
    };
    let (before, after) = (sorted(before), sorted(after));
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(&new.path),
        };
        let was = if order.is_le() { old.next() } else { None };
        let is = if order.is_ge() { new.next() } else { None };
        match (was, is) {
            (Some(was), Some(is)) if was.kind == is.kind => {}
            (Some(was), Some(is)) => changes.push(Change::Changed(was, is)),
            (Some(was), None) => changes.push(Change::Removed(was)),
            (None, Some(is)) => changes.push(Change::Added(is)),
            (None, None) => return changes,
        }
    }
}

impl EntryKind {
    /// Bytes of a file's content; others have none.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::File { size_bytes, .. } => *size_bytes,
            Self::Directory | Self::Symlink { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digest, PieceDigest};
    use crate::slug::{FORMAT, Span, Summary};

    fn manifest(files: &[(&str, &str)]) -> Manifest {
        let digest = Digest::of(b"");
        Manifest {
            format: FORMAT,
            entries: files
                .iter()
                .map(|(path, content)| Entry {
                    path: (*path).to_owned(),
                    kind: EntryKind::File {
                        executable: false,
                        size_bytes: content.len() as u64,
                        digest: PieceDigest::of(content.as_bytes()),
                    },
                    members: Span(0, 0),
                })
                .collect(),
            members: Vec::new(),
            summary: Summary {
                digest,
                diff_id: digest,
                size_bytes: 0,
                tar_bytes: 0,
            },
        }
    }

    #[test]
    fn each_path_once() {
        let before = manifest(&[("a", "1"), ("b", "1"), ("c", "1"), ("e", "1")]);
        let after = manifest(&[("b", "2"), ("c", "1"), ("d", "1"), ("e", "1"), ("f", "")]);
        let told = diff(&before, &after)
            .into_iter()
            .map(|change| match change {
                Change::Added(entry) => format!("+{}", entry.path),
                Change::Removed(entry) => format!("-{}", entry.path),
                Change::Changed(entry, _) => format!("~{}", entry.path),
            })
            .collect::<Vec<_>>();
        assert_eq!(told, ["-a", "~b", "+d", "+f"]);
        assert_eq!(diff(&before, &before), []);
    }
}
