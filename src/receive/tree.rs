//! The form of a tree object, byte by byte: what gix reads leniently is refused here.

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::objs::Kind;
use gix::validate::path::component;

/// One line of a tree.
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    pub id: ObjectId,
    /// What the object is to be; `None` for a submodule's commit, which is elsewhere.
    pub kind: Option<Kind>,
}

/// Why a tree is refused.
#[derive(Debug)]
pub(super) enum Error<E> {
    /// The tree is not one that git would write.
    Form(String),
    /// What the caller said of an entry.
    Entry(E),
}

/// Names that are dangerous on any file system: a person may clone what is pushed here.
const NAMES: component::Options = component::Options {
    protect_windows: false,
    protect_hfs: true,
    protect_ntfs: true,
};

/// Checks a tree's names, modes and order and shows each entry to `each`.
///
/// # Errors
/// The tree is malformed, or what `each` says.
pub(super) fn check<'a, E>(
    mut data: &'a [u8],
    hash: gix::hash::Kind,
    mut each: impl FnMut(Entry<'a>) -> Result<(), E>,
) -> Result<(), Error<E>> {
    let form = |reason: &str| Err(Error::Form(reason.to_owned()));
    let mut previous: Option<(&[u8], bool)> = None;
    // In the order of the tree, which for files alone is the order of their bytes.
    let mut files: Vec<&[u8]> = Vec::with_capacity(data.len() / 32);
    while !data.is_empty() {
        let Some((mode, rest)) = data.split_once_str(" ") else {
            return form("an entry has no mode");
        };
        let Some((name, rest)) = rest.split_once_str("\0") else {
            return form("an entry has no name");
        };
        let Some((id, rest)) = rest.split_at_checked(hash.len_in_bytes()) else {
            return form("an entry has no object");
        };
        data = rest;
        let Some((is_link, kind)) = parse_mode(mode) else {
            let mode = mode.as_bstr();
            return Err(Error::Form(format!(
                "{:?} has the mode {mode:?}",
                name.as_bstr()
            )));
        };
        let leaf = is_link.then_some(component::Mode::Symlink);
        if let Err(error) = gix::validate::path::component(name.as_bstr(), leaf, NAMES) {
            return Err(Error::Form(format!("{:?}: {error}", name.as_bstr())));
        }
        let is_dir = kind == Some(Kind::Tree);
        if let Some((last, last_is_dir)) = previous
            && gix::objs::tree::name_order(last, last_is_dir, name, is_dir).is_ge()
        {
            return Err(Error::Form(format!("{:?} is out of order", name.as_bstr())));
        }
        // `a`, `a.b` and the directory `a` stand in order and yet hold a name twice.
        if is_dir && files.binary_search(&name).is_ok()
            || previous.is_some_and(|(last, _)| last == name)
        {
            return Err(Error::Form(format!("{:?} is there twice", name.as_bstr())));
        }
        if !is_dir {
            files.push(name);
        }
        previous = Some((name, is_dir));
        let id = ObjectId::try_from(id).map_err(|error| Error::Form(error.to_string()))?;
        each(Entry { name, id, kind }).map_err(Error::Entry)?;
    }
    Ok(())
}

/// Reads a mode; `None` where it is no number of 16 bits or so. Says whether it is a symlink's.
///
/// Zeros in front are let through: old tools wrote them, and much published history has them.
fn parse_mode(mode: &[u8]) -> Option<(bool, Option<Kind>)> {
    if mode.is_empty() {
        return None;
    }
    let zeros = mode.iter().take_while(|digit| **digit == b'0').count();
    let digits = &mode[zeros..];
    if digits.len() > 6 {
        return None;
    }
    let value = digits.iter().try_fold(0, |value: u32, digit| {
        let digit = char::from(*digit).to_digit(8)?;
        Some(value * 8 + digit)
    })?;
    // The permissions may be any: the first versions of git wrote those of the file.
    match value & 0o770_000 {
        0o040_000 => Some((false, Some(Kind::Tree))),
        0o100_000 => Some((false, Some(Kind::Blob))),
        0o120_000 => Some((true, Some(Kind::Blob))),
        // git takes all others for submodules.
        _ => Some((false, None)),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn checked(entries: &[(&str, &str)]) -> Result<(), String> {
        let mut data = Vec::new();
        for (mode, name) in entries {
            data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            data.extend_from_slice(&[1; 20]);
        }
        check::<Infallible>(&data, gix::hash::Kind::Sha1, |_| Ok(())).map_err(|error| match error {
            Error::Form(reason) => reason,
            Error::Entry(never) => match never {},
        })
    }

    #[test]
    fn ordinary_trees_pass() {
        checked(&[]).unwrap();
        checked(&[
            ("100644", ".gitignore"),
            ("100644", ".gitmodules"),
            ("100755", "a"),
            ("100644", "a.b"),
            ("40000", "a.c"),
            ("040000", "b"),
            ("120000", "link"),
            ("160000", "module"),
            ("100664", "old"),
            ("100600", "older"),
            ("40755", "oldest"),
        ])
        .unwrap();
    }

    #[test]
    fn names_that_git_would_not_write_are_refused() {
        for name in [
            ".git",
            ".GiT",
            "git~1",
            ".git ",
            ".g\u{200c}it",
            ".",
            "..",
            "a/b",
            "",
        ] {
            assert!(checked(&[("100644", name)]).is_err(), "{name}");
        }
        assert!(checked(&[("120000", ".gitmodules")]).is_err());
    }

    #[test]
    fn each_name_is_there_once_and_in_order() {
        for entries in [
            &[("100644", "b"), ("100644", "a")][..],
            &[("100644", "a"), ("100644", "a")],
            &[("100644", "a"), ("40000", "a")],
            &[("120000", "a"), ("40000", "a")],
            &[("100644", "a"), ("100644", "a.b"), ("40000", "a")],
            &[("40000", "a"), ("100644", "a.b")],
        ] {
            assert!(checked(entries).is_err(), "{entries:?}");
        }
    }

    #[test]
    fn modes_are_those_that_git_writes() {
        for mode in ["4000x", "-40000", "1006440", "100648", "1000000", " "] {
            assert!(checked(&[(mode, "a")]).is_err(), "{mode}");
        }
    }

    #[test]
    fn a_cut_tree_is_refused() {
        let whole = [&b"100644 a\0"[..], &[1; 20]].concat();
        for end in 1..whole.len() {
            assert!(
                check::<Infallible>(&whole[..end], gix::hash::Kind::Sha1, |_| Ok(())).is_err(),
                "{end}"
            );
        }
    }
}
