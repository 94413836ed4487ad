//! The limits of a slug, at their edge, on both sides.

use tar::{EntryType, Header};

use super::hostile::Archive;
use super::*;
use crate::pack::{
    Error, Limits, Options, Refusal, extract, extract_within, manifest_within, pack_with,
};

#[test]
fn limits_hold_at_their_edge() {
    let slug = Archive::new()
        .directory("./app/")
        .file("./app/x", b"x")
        .slug();
    let limits = |entries, tar_bytes| Limits {
        entries,
        tar_bytes,
        name_bytes: 1,
        members: 1,
    };
    let extracted = |limits| {
        let dir = tempfile::tempdir().unwrap();
        extract_within(&slug[..], dir.path(), &limits).map(|written| written.bytes)
    };
    assert_eq!(extracted(limits(2, 2560)).unwrap(), 1);
    assert!(matches!(
        extracted(limits(1, 2560)),
        Err(Error::TooManyEntries { limit: 1 })
    ));
    assert!(matches!(
        extracted(limits(2, 2559)),
        Err(Error::TooManyBytes { limit_bytes: 2559 })
    ));
    let name = Limits {
        name_bytes: 0,
        ..limits(2, 2560)
    };
    assert!(matches!(
        extracted(name),
        Err(Error::TooManyNames { limit_bytes: 0 })
    ));
    // A header that promises more than the limit is not waited for.
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..7].copy_from_slice(b"./app/x");
    header.set_size(u64::MAX);
    header.set_mode(0o644);
    header.set_cksum();
    let slug = Archive::new().bytes(header.as_bytes()).slug();
    assert!(matches!(
        manifest_within(&slug[..], &limits(1, u64::MAX)),
        Err(Error::TooManyBytes { .. })
    ));
}

#[test]
fn directories_without_an_entry_count() {
    let slug = Archive::new().file("./app/a/b/c", b"").slug();
    let manifest = |entries, name_bytes| {
        let limits = Limits {
            entries,
            name_bytes,
            ..Limits::default()
        };
        manifest_within(&slug[..], &limits)
    };
    // a, a/b and a/b/c.
    assert!(manifest(3, 1 + 3 + 5).is_ok());
    assert!(matches!(
        manifest(2, 9),
        Err(Error::TooManyEntries { limit: 2 })
    ));
    assert!(matches!(
        manifest(3, 8),
        Err(Error::TooManyNames { limit_bytes: 8 })
    ));
}

fn pack_within(dir: &Path, limits: &Limits) -> Result<Packed<Vec<u8>>, Error> {
    let options = Options {
        limits: *limits,
        ..Options::default()
    };
    pack_with(dir, Vec::new(), &options)
}

#[test]
fn gzip_members_count() {
    let slug = packed(&Tree::new()).out;
    let limits = |members| Limits {
        members,
        ..Limits::default()
    };
    manifest_within(&slug[..], &limits(2)).unwrap();
    assert!(matches!(
        manifest_within(&slug[..], &limits(1)),
        Err(Error::ReadSlug(_))
    ));
}

#[test]
fn what_is_packed_keeps_the_limits_of_what_is_read() {
    let tree = Tree::from([
        file("bin/web", 0o755, "x"),
        link("current", "bin"),
        directory("tmp", 0o755),
    ]);
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &tree);
    let tight = Limits {
        entries: 5,
        tar_bytes: 8 * 512,
        name_bytes: 3 + 7 + 7 + 3 + 3,
        members: 2,
    };
    let slug = pack_within(dir.path(), &tight).unwrap().out;
    manifest_within(&slug[..], &tight).unwrap();
    for limits in [
        Limits {
            entries: 4,
            ..tight
        },
        Limits {
            tar_bytes: 8 * 512 - 1,
            ..tight
        },
        Limits {
            name_bytes: 22,
            ..tight
        },
    ] {
        let packed = pack_within(dir.path(), &limits).unwrap_err();
        let read = manifest_within(&slug[..], &limits).unwrap_err();
        assert_eq!(packed.to_string(), read.to_string());
    }
    // A file of a terabyte without a block on the disk.
    let sparse = fs::File::create(dir.path().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    assert!(matches!(
        pack(dir.path(), Vec::new()),
        Err(Error::TooManyBytes { .. })
    ));
}

#[test]
fn the_longest_path_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let longest = [&b"./app/"[..], &[&[b'n'; 255][..]; 16].join(&b'/')].concat();
    let archive = |name: &[u8]| {
        Archive::new()
            .entry(b"././@LongLink", EntryType::GNULongName, b"", name)
            .file("./app/n", b"")
            .slug()
    };
    assert_eq!(longest.len(), 6 + 4095);
    manifest_of(&archive(&longest)[..]).unwrap();
    let longer = [&longest[..], b"n"].concat();
    assert!(matches!(
        manifest_of(&archive(&longer)[..]),
        Err(Error::Refused {
            source: Refusal::LongName { .. },
            ..
        })
    ));
    // Too long below any directory but the root.
    assert!(matches!(
        extract(&archive(&longest)[..], dir.path()),
        Err(Error::Extract { .. })
    ));
}
