//! Archives that honest tools make, and those that none makes.

use std::io::{Read as _, Write as _};

use super::*;

/// One entry of an archive, with nothing checked.
struct Item(tar::EntryType, &'static str, &'static str);

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIR: tar::EntryType = tar::EntryType::Directory;
const LINK: tar::EntryType = tar::EntryType::Symlink;
const HARD: tar::EntryType = tar::EntryType::Link;

/// Makes an archive; the third word is a file's content or a link's target.
fn tarball(items: &[Item]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for Item(kind, path, word) in items {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(if path.ends_with('*') { 0o755 } else { 0o644 });
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        let content = if kind.is_file() || kind.is_pax_local_extensions() || kind.is_gnu_longname()
        {
            word.as_bytes()
        } else {
            header.as_old_mut().linkname[..word.len()].copy_from_slice(word.as_bytes());
            b""
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let all = listing(dir).into_iter();
    all.map(|(path, ..)| path.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn an_archive_of_real_git_is_its_commit() {
    let case = Case::rich();
    // `git archive` makes the directory around everything that GitHub has, and a global header.
    for args in [
        &["archive", "--format=tar.gz", "--prefix=app-0123/", "HEAD"][..],
        &["archive", "--format=tar", "HEAD"],
    ] {
        let bytes = crate::fixture::git_with(&case.source, args, b"");
        let (done, dest) = case.archive(&bytes).unwrap();
        let (_, by_commit) = case.commit(case.head()).unwrap();
        assert_eq!(listing(&dest), listing(&by_commit));
        assert_eq!(done.files, 13);
    }
}

#[test]
fn ordinary_archives() {
    let case = Case::new();
    let (done, dest) = case
        .archive(&gzipped(&tarball(&[
            Item(DIR, "./", ""),
            Item(FILE, "./Procfile", "web: x"),
            Item(DIR, "./empty/", ""),
            Item(FILE, "./.git/config", "x"),
            Item(FILE, "sub/.git", "x"),
            Item(FILE, "sub/run*", "x"),
            Item(LINK, "link", "/etc"),
            Item(HARD, "again", "./Procfile"),
        ])))
        .unwrap();
    assert_eq!(
        names(&dest),
        ["Procfile", "again", "link", "sub", "sub/run*"]
    );
    assert_eq!((done.files, done.bytes), (4, 13));
    let mode = |name: &str| fs::metadata(dest.join(name)).unwrap().permissions().mode();
    assert_eq!(mode("sub/run*") & 0o111, 0o111);
    assert_eq!(mode("again") & 0o111, 0);
}

#[test]
fn one_directory_around_everything_is_left_out() {
    let case = Case::new();
    let inner = [
        Item(DIR, "a/", ""),
        Item(FILE, "a/a", "x"),
        Item(FILE, "a/b/c", "x"),
    ];
    let (_, dest) = case.archive(&tarball(&inner)).unwrap();
    assert_eq!(names(&dest), ["a", "b", "b/c"]);
    let two = [Item(FILE, "a/a", "x"), Item(FILE, "b", "x")];
    assert_eq!(
        names(&case.archive(&tarball(&two)).unwrap().1),
        ["a", "a/a", "b"]
    );
    let one = [Item(FILE, "a", "x")];
    assert_eq!(names(&case.archive(&tarball(&one)).unwrap().1), ["a"]);
}

#[test]
fn long_names_are_read_in_both_forms() {
    let case = Case::new();
    let long = "d/".repeat(80) + "file";
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
    builder.append_data(&mut header, "top", &b"x"[..]).unwrap();
    let (_, dest) = case.archive(&builder.into_inner().unwrap()).unwrap();
    assert!(dest.join(&long).is_file());
    let pax = tar::EntryType::XHeader;
    let items = [
        Item(pax, "pax", "14 path=named\n"),
        Item(FILE, "short", "x"),
        Item(FILE, "next", "x"),
    ];
    let (_, dest) = case.archive(&tarball(&items)).unwrap();
    assert_eq!(names(&dest), ["named", "next"]);
}

#[test]
fn hostile_archives_are_refused() {
    let case = Case::new();
    let pax = tar::EntryType::XHeader;
    let gnu = tar::EntryType::GNULongName;
    for (items, what) in [
        (vec![Item(FILE, "/etc/x", "x")], "Outside"),
        (vec![Item(FILE, "../x", "x")], "Outside"),
        (vec![Item(FILE, "a/../../x", "x")], "Outside"),
        (
            vec![Item(gnu, "long", "../x\0"), Item(FILE, "a", "x")],
            "Outside",
        ),
        (
            vec![Item(pax, "pax", "13 path=../x\n"), Item(FILE, "a", "x")],
            "Outside",
        ),
        (vec![Item(LINK, "a", ".."), Item(FILE, "a/x", "x")], "Below"),
        (vec![Item(FILE, "a", "x"), Item(FILE, "a/x", "x")], "Below"),
        (vec![Item(FILE, "a", "x"), Item(DIR, "a/b", "")], "Below"),
        (vec![Item(FILE, "a", "x"), Item(FILE, "./a", "x")], "Twice"),
        (vec![Item(FILE, "a/x", "x"), Item(LINK, "a", "..")], "Twice"),
        (vec![Item(LINK, "a", ".."), Item(DIR, "a/", "")], "Twice"),
        (vec![Item(LINK, "a", ".."), Item(FILE, "a", "x")], "Twice"),
        (vec![Item(DIR, "a/", ""), Item(FILE, "a", "x")], "Twice"),
        (vec![Item(HARD, "a", "/etc/passwd")], "Outside"),
        (vec![Item(HARD, "a", "../source/file")], "Outside"),
        (vec![Item(HARD, "a", "nothing")], "HardLink"),
        (
            vec![Item(LINK, "l", "/etc/passwd"), Item(HARD, "a", "l")],
            "HardLink",
        ),
        (vec![Item(tar::EntryType::Char, "a", "")], "Kind"),
        (vec![Item(tar::EntryType::Block, "a", "")], "Kind"),
        (vec![Item(tar::EntryType::Fifo, "a", "")], "Kind"),
        (
            vec![Item(tar::EntryType::GNUSparse, "a", "")],
            "Unsupported",
        ),
        (
            vec![Item(pax, "pax", "9 size=7\n"), Item(FILE, "a", "x")],
            "Unsupported",
        ),
        (
            vec![
                Item(pax, "p", "22 GNU.sparse.major=1\n"),
                Item(FILE, "a", "x"),
            ],
            "Unsupported",
        ),
        (vec![Item(DIR, "a/", "")], "Empty"),
        (vec![Item(FILE, ".git/config", "x")], "Empty"),
        (vec![], "Empty"),
    ] {
        let error = case.archive(&tarball(&items)).unwrap_err();
        let shown = format!("{error:?}");
        let names: Vec<_> = items.iter().map(|item| item.1).collect();
        assert!(shown.starts_with(what), "{names:?}: {shown}");
    }
}

#[test]
fn limits_of_an_archive_hold_at_their_edge() {
    let mut case = Case::new();
    let bytes = gzipped(&tarball(&[
        Item(FILE, "a", "1234"),
        Item(FILE, "b", "123456"),
    ]));
    let limits = |files, bytes| Limits { files, bytes };
    for (fits, limits) in [
        (true, limits(2, 10)),
        (false, limits(1, 10)),
        (false, limits(2, 9)),
        (false, limits(2, 3)),
    ] {
        case.limits = limits;
        assert_eq!(case.archive(&bytes).is_ok(), fits);
    }
}

#[test]
fn bombs_are_stopped() {
    let mut case = Case::new();
    case.limits.bytes = 1 << 20;
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(64 << 20);
    header.set_mode(0o644);
    let zeros = std::io::repeat(0).take(64 << 20);
    builder.append_data(&mut header, "zeros", zeros).unwrap();
    let bomb = gzipped(&builder.into_inner().unwrap());
    assert!(matches!(case.archive(&bomb), Err(Error::Bytes { .. })));
    // A name that would have to be held in memory.
    let mut builder = tar::Builder::new(Vec::new());
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_path("x").unwrap();
    header.set_cksum();
    let zeros = std::io::repeat(b'a').take(64 << 20);
    builder.append(&header, zeros).unwrap();
    let bomb = gzipped(&builder.into_inner().unwrap());
    assert!(matches!(
        case.archive(&bomb),
        Err(Error::Unsupported { .. })
    ));
    // Many entries of nothing.
    case.limits.files = 10;
    let dirs: Vec<_> = (0..200).map(|_| Item(DIR, "a/", "")).collect();
    assert!(matches!(
        case.archive(&tarball(&dirs)),
        Err(Error::Files { .. })
    ));
}

#[test]
fn damaged_archives_are_refused() {
    let case = Case::new();
    let plain = tarball(&[Item(FILE, "a", "0123456789abcdef"), Item(FILE, "b", "x")]);
    let bytes = gzipped(&plain);
    for end in 1..bytes.len() {
        assert!(case.archive(&bytes[..end]).is_err(), "{end}");
    }
    assert!(case.archive(&plain[..520]).is_err());
    assert!(case.archive(b"not an archive at all").is_err());
    assert!(matches!(case.archive(b""), Err(Error::Empty)));
    let mut wrong = bytes.clone();
    let last = wrong.len() - 6;
    wrong[last] ^= 1;
    assert!(matches!(case.archive(&wrong), Err(Error::Archive { .. })));
}

#[test]
fn a_file_with_holes_comes_through_an_archive_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
    for dir in [&from, &to] {
        fs::create_dir(dir).unwrap();
    }
    let file = fs::File::create(from.join("holes")).unwrap();
    file.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", (1 << 20) - 3).unwrap();
    let mut tar = Vec::new();
    write_archive(&from, &mut tar, &|_| true).unwrap();
    archive_as_it_is(&tar[..], &to, &Limits::default(), &AtomicBool::new(false)).unwrap();
    let read = |dir: &std::path::Path| fs::read(dir.join("holes")).unwrap();
    assert_eq!(read(&to).len(), 1 << 20);
    assert_eq!(read(&to), read(&from));
}
