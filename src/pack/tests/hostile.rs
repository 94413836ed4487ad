//! Archives that nobody should make, and that each is refused by its name.

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use super::*;
use crate::pack::{Error, Refusal, extract};
use crate::slug::EntryKind;

/// Writes tars that no honest tool would.
pub struct Archive {
    tar: Vec<u8>,
}

impl Archive {
    pub fn new() -> Self {
        Self { tar: Vec::new() }
    }

    pub fn directory(self, name: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Directory, b"", b"")
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name.as_bytes(), EntryType::Regular, b"", content)
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Symlink, target.as_bytes(), b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Link, target.as_bytes(), b"")
    }

    pub fn entry(self, name: &[u8], kind: EntryType, link: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.bytes(header.as_bytes()).content(content)
    }

    /// A PAX header with one record.
    pub fn pax(self, kind: EntryType, key: &str, value: &[u8]) -> Self {
        let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let length = (1..9)
            .map(|digits| digits + rest.len())
            .find(|length| length.to_string().len() + rest.len() == *length)
            .unwrap();
        let record = [length.to_string().as_bytes(), &rest].concat();
        self.entry(b"pax", kind, b"", &record)
    }

    pub fn content(mut self, content: &[u8]) -> Self {
        self.tar.extend(content);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.tar.extend(bytes);
        self
    }

    /// Ends the archive.
    pub fn slug(self) -> Vec<u8> {
        self.bytes(&[0; 1024]).cut()
    }

    /// Leaves it without an end.
    pub fn cut(self) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&self.tar).unwrap();
        gzip.finish().unwrap()
    }
}

/// The error of extracting a slug, which is that of its manifest as well.
fn error(slug: &[u8]) -> Error {
    let outside = tempfile::tempdir().unwrap();
    let dest = outside.path().join("dest");
    fs::create_dir(&dest).unwrap();
    let error = extract(slug, &dest).unwrap_err();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    let other = manifest_of(slug).unwrap_err();
    assert_eq!(error.to_string(), other.to_string());
    error
}

fn refusal(archive: Archive) -> Refusal {
    match error(&archive.slug()) {
        Error::Refused { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

fn malformed(archive: Archive) -> &'static str {
    match error(&archive.slug()) {
        Error::Malformed { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn paths_that_leave_the_app() {
    for (name, why) in [
        ("/app/x", Refusal::Absolute),
        ("/etc/cron.d/x", Refusal::Absolute),
        ("./app/../x", Refusal::ParentDirectory),
        ("./app/a/../../../x", Refusal::ParentDirectory),
        ("../x", Refusal::ParentDirectory),
        ("./app/..", Refusal::ParentDirectory),
        ("x", Refusal::OutsideApp),
        ("./application/x", Refusal::OutsideApp),
        ("./", Refusal::OutsideApp),
        ("", Refusal::BadName),
        ("./app", Refusal::AppIsNoDirectory),
        ("./app/.", Refusal::AppIsNoDirectory),
        ("./app/x/", Refusal::FileNamedAsDirectory),
    ] {
        assert_eq!(refusal(Archive::new().file(name, b"x")), why, "{name}");
    }
    for archive in [
        Archive::new().symlink("./app", "/etc"),
        Archive::new().symlink("app", ".").file("app/x", b""),
    ] {
        assert_eq!(refusal(archive), Refusal::AppIsNoDirectory);
    }
    for long in [EntryType::GNULongName, EntryType::XHeader] {
        for (name, why) in [
            (&b"./app/../../x"[..], Refusal::ParentDirectory),
            (b"/x", Refusal::Absolute),
        ] {
            let archive = match long {
                EntryType::XHeader => Archive::new().pax(long, "path", name),
                _ => Archive::new().entry(b"././@LongLink", long, b"", name),
            };
            assert_eq!(refusal(archive.file("./app/x", b"")), why);
        }
    }
    let archive = Archive::new().pax(EntryType::XHeader, "path", b"./app/a\0b");
    assert_eq!(refusal(archive.file("./app/x", b"")), Refusal::BadName);
    let name = [b"./app/".to_vec(), vec![b'n'; 5000]].concat();
    let archive = Archive::new().pax(EntryType::XHeader, "path", &name);
    assert_eq!(
        refusal(archive.file("./app/x", b"")),
        Refusal::LongName { limit_bytes: 4095 }
    );
}

#[test]
fn paths_through_what_is_no_directory() {
    let link = "x".to_owned();
    let through = Refusal::ThroughSymlink { link };
    for target in ["/etc", "..", "y", "."] {
        let archive = || Archive::new().symlink("./app/x", target);
        assert_eq!(refusal(archive().file("./app/x/passwd", b"")), through);
        assert_eq!(refusal(archive().file("./app/x/y/z", b"")), through);
        assert_eq!(refusal(archive().file("./app//x/./y", b"")), through);
        assert_eq!(refusal(archive().directory("./app/x/y")), through);
        assert_eq!(refusal(archive().symlink("./app/x/y", "z")), through);
    }
    assert_eq!(
        refusal(Archive::new().file("./app/x", b"").file("./app/x/y", b"")),
        Refusal::ThroughFile { file: "x".into() }
    );
}

#[test]
fn names_that_come_twice() {
    let first: [fn() -> Archive; 4] = [
        || Archive::new().file("./app/x", b"1"),
        || Archive::new().symlink("./app/x", "/etc/passwd"),
        || Archive::new().directory("./app/x/"),
        || {
            Archive::new()
                .file("./app/t", b"")
                .hard_link("./app/x", "app/t")
        },
    ];
    for first in first {
        for archive in [
            first().file("./app/x", b"2"),
            first().file("app/./x", b"2"),
            first().symlink("./app/x", "y"),
            first().directory("./app/x/"),
        ] {
            assert_eq!(refusal(archive), Refusal::Duplicate);
        }
    }
    // A directory that was only gone through may be named once, and not as something else.
    let through = || Archive::new().file("./app/x/y", b"");
    assert_eq!(refusal(through().file("./app/x", b"")), Refusal::Duplicate);
    let twice = through().directory("./app/x").directory("./app/x");
    assert_eq!(refusal(twice), Refusal::Duplicate);
    let root = Archive::new().directory("./app/").directory("app");
    assert_eq!(refusal(root), Refusal::Duplicate);
}

#[test]
fn hard_links_to_what_is_no_file_before_them() {
    for target in ["./app/later", "./app/dir", "./app/link", "./app/x"] {
        let archive = Archive::new()
            .directory("./app/dir")
            .symlink("./app/link", "/etc/passwd")
            .hard_link("./app/x", target)
            .file("./app/later", b"");
        let target = target.to_owned();
        assert_eq!(refusal(archive), Refusal::HardLink { target });
    }
    for (target, why) in [
        ("/etc/passwd", Refusal::Absolute),
        ("./app/../../etc/passwd", Refusal::ParentDirectory),
        ("etc/passwd", Refusal::OutsideApp),
        ("", Refusal::BadName),
    ] {
        assert_eq!(refusal(Archive::new().hard_link("./app/x", target)), why);
    }
}

#[test]
fn types_that_no_slug_has() {
    for (kind, why) in [
        (EntryType::Char, Refusal::Device),
        (EntryType::Block, Refusal::Device),
        (EntryType::Fifo, Refusal::Device),
        (EntryType::Continuous, Refusal::UnknownType { kind: '7' }),
        (EntryType::GNUSparse, Refusal::UnknownType { kind: 'S' }),
        (EntryType::new(b'V'), Refusal::UnknownType { kind: 'V' }),
    ] {
        assert_eq!(
            refusal(Archive::new().entry(b"./app/x", kind, b"", b"")),
            why
        );
    }
    for kind in [EntryType::Directory, EntryType::Symlink] {
        let archive = Archive::new().entry(b"./app/x", kind, b"y", b"content");
        assert_eq!(refusal(archive), Refusal::Content);
    }
    assert_eq!(
        refusal(Archive::new().symlink("./app/x", "")),
        Refusal::SymlinkTarget { limit_bytes: 4095 }
    );
}

#[test]
fn tars_that_two_readers_might_read_in_two_ways() {
    let x = |archive: Archive| archive.file("./app/x", b"x");
    let pax = |key, value: &[u8]| Archive::new().pax(EntryType::XHeader, key, value);
    let long = |archive: Archive, kind| archive.entry(b"././@LongLink", kind, b"", b"./app/y\0");
    for (archive, why) in [
        (x(pax("size", b"2")), "two sizes of one entry"),
        (x(pax("size", b"-1")), "a broken PAX size"),
        (x(pax("GNU.sparse.major", b"1")), "a sparse file"),
        (
            x(long(pax("path", b"./app/z"), EntryType::GNULongName)),
            "two long names of one entry",
        ),
        (
            x(Archive::new().entry(b"pax", EntryType::XHeader, b"", b"8 path=y\n")),
            "a broken PAX record",
        ),
        (
            x(Archive::new().pax(EntryType::XGlobalHeader, "path", b"./app/y")),
            "global records that change entries",
        ),
        (
            long(Archive::new(), EntryType::GNULongLink),
            "a long name without its entry",
        ),
        (
            x(Archive::new().entry(b"l", EntryType::GNULongName, b"", &vec![b'n'; 70_000])),
            "a long name that is too long",
        ),
        (
            Archive::new().bytes(&[b'x'; 512]),
            "a header with a wrong sum",
        ),
        (
            x(Archive::new()).bytes(&[0; 512]).bytes(&[1; 512]),
            "bytes after its end",
        ),
        (
            x(Archive::new()).bytes(&[0; 512]).file("./app/y", b""),
            "bytes after its end",
        ),
    ] {
        assert_eq!(malformed(archive), why);
    }
}

#[test]
fn bytes_that_are_missing_or_too_many() {
    let archive = || Archive::new().file("./app/x", b"x");
    let slug = archive().slug();
    for slug in [
        vec![],
        slug[..slug.len() - 1].to_vec(),
        [&slug[..], b"garbage"].concat(),
        [&slug[..], &[0; 32]].concat(),
        archive().cut(),
    ] {
        assert!(matches!(error(&slug), Error::ReadSlug(_)), "{slug:?}");
    }
    let second = [&slug[..], &slug].concat();
    assert!(matches!(error(&second), Error::Malformed { .. }));
}

#[test]
fn only_an_empty_directory_is_written_to() {
    let slug = Archive::new().file("./app/x", b"x").slug();
    let dir = tempfile::tempdir().unwrap();
    extract(&slug[..], dir.path()).unwrap();
    for dest in [
        dir.path().to_owned(),
        dir.path().join("x"),
        dir.path().join("y"),
    ] {
        let error = extract(&slug[..], &dest).unwrap_err();
        assert!(matches!(error, Error::NotEmpty { path, .. } if path == dest));
    }
}

#[test]
fn slugs_that_heroku_made_are_taken() {
    let slug = Archive::new()
        .directory("./")
        .pax(EntryType::XGlobalHeader, "comment", b"a commit")
        .file("./app/deep/file", b"before its directories")
        .directory("./app/deep/")
        .hard_link("app/again", "app/deep/file")
        .entry(b"app/old", EntryType::new(0), b"", b"a type of old")
        .pax(EntryType::XHeader, "path", b"./app/new\nline")
        .pax(EntryType::XHeader, "mtime", b"1.5")
        .file("./app/x", b"")
        .bytes(&[0; 8192])
        .slug();
    let slug = slug.as_slice();
    let dir = tempfile::tempdir().unwrap();
    extract(slug, dir.path()).unwrap();
    let expected = normalised(&Tree::from([
        file("deep/file", 0o644, "before its directories"),
        file("again", 0o644, "before its directories"),
        file("old", 0o644, "a type of old"),
        file("new\nline", 0o644, ""),
    ]));
    assert_eq!(read_back(dir.path()), expected);
    let manifest = manifest_of(slug).unwrap();
    let paths: Vec<_> = manifest.entries.iter().map(|entry| &entry.path).collect();
    assert_eq!(paths, ["deep/file", "deep", "again", "old", r"new\x0aline"]);
    assert_eq!(manifest.entries[0].kind, manifest.entries[2].kind);
    assert!(matches!(
        manifest.entries[0].kind,
        EntryKind::File { size_bytes: 22, .. }
    ));
}
