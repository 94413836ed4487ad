//! Packs of every form: real git makes the index of what was stored, and ours has to be the same.

// What is cut off here is cut off on purpose: numbers are written in sevens of bits.
#![allow(clippy::cast_possible_truncation)]

use std::fmt::Write as _;
use std::io::Write as _;

use gix::hash::Kind::{Sha1, Sha256};
use proptest::prelude::*;

use super::*;
use crate::receive::pack::id_of_object;

/// A pack by hand.
struct Handmade {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
}

impl Handmade {
    fn new(count: u32) -> Self {
        let mut bytes = b"PACK\0\0\0\x02".to_vec();
        bytes.extend_from_slice(&count.to_be_bytes());
        let offsets = Vec::new();
        Self { bytes, offsets }
    }

    fn entry(&mut self, code: u8, base: &[u8], data: &[u8]) -> usize {
        self.offsets.push(self.bytes.len());
        let (mut byte, mut rest) = (code << 4 | (data.len() & 0xf) as u8, data.len() >> 4);
        while rest > 0 {
            self.bytes.push(byte | 0x80);
            (byte, rest) = ((rest & 0x7f) as u8, rest >> 7);
        }
        self.bytes.push(byte);
        self.bytes.extend_from_slice(base);
        let fast = flate2::Compression::fast();
        let mut zlib = flate2::write::ZlibEncoder::new(&mut self.bytes, fast);
        zlib.write_all(data).unwrap();
        zlib.finish().unwrap();
        self.offsets.len() - 1
    }

    fn blob(&mut self, data: &[u8]) -> usize {
        self.entry(3, b"", data)
    }

    /// A delta on an entry of this pack.
    fn on(&mut self, base: usize, delta: &[u8]) -> usize {
        let mut distance = self.bytes.len() - self.offsets[base];
        let mut written = vec![(distance & 0x7f) as u8];
        while distance > 0x7f {
            distance = (distance >> 7) - 1;
            written.insert(0, (distance & 0x7f) as u8 | 0x80);
        }
        self.entry(6, &written, delta)
    }

    /// A delta on an object, wherever it is.
    fn on_id(&mut self, base: &ObjectId, delta: &[u8]) -> usize {
        self.entry(7, base.as_slice(), delta)
    }

    fn end(mut self) -> Vec<u8> {
        let mut hasher = gix::hash::hasher(Sha1);
        hasher.update(&self.bytes);
        let checksum = hasher.try_finalize().unwrap();
        self.bytes.extend_from_slice(checksum.as_slice());
        self.bytes
    }
}

/// A delta that takes all of its base and adds some bytes.
fn adding(base_bytes: usize, added: &[u8]) -> Vec<u8> {
    let size = |mut size: usize, delta: &mut Vec<u8>| {
        while size > 0x7f {
            delta.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        delta.push(size as u8);
    };
    let mut delta = Vec::new();
    size(base_bytes, &mut delta);
    size(base_bytes + added.len(), &mut delta);
    let mut at = 0;
    while at < base_bytes {
        let count = (base_bytes - at).min(0xff_ffff);
        delta.push(0xff);
        delta.extend_from_slice(&(at as u32).to_le_bytes());
        delta.extend_from_slice(&(count as u32).to_le_bytes()[..3]);
        at += count;
    }
    delta.push(added.len() as u8);
    delta.extend_from_slice(added);
    delta
}

fn blob_id(data: &[u8]) -> ObjectId {
    id_of_object(Sha1, gix::objs::Kind::Blob, data).unwrap()
}

fn tag(data: &[u8]) -> Command {
    command("refs/tags/x", None, Some(&blob_id(data).to_string()))
}

/// Bytes that are as many as wanted and no others'.
fn bytes(seed: usize, count: usize) -> Vec<u8> {
    let mut state = seed as u32 | 1;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(step).collect()
}

/// Sees that real git would have made the same indices of the packs that are stored.
fn check_indices(repo: &Path) {
    let mut packs = 0;
    for entry in fs::read_dir(repo.join("objects/pack")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "pack") {
            let theirs = repo.with_extension("idx");
            let (pack, out) = (path.to_str().unwrap(), theirs.to_str().unwrap());
            git(repo, &["index-pack", "--no-rev-index", "-o", out, pack]);
            let ours = fs::read(path.with_extension("idx")).unwrap();
            assert!(fs::read(theirs).unwrap() == ours, "{pack}");
            packs += 1;
        }
    }
    assert!(packs > 0);
}

/// Pushes blobs as tags, since these need no history.
fn push_blobs(case: &Case, pack: &[u8], tips: &[&[u8]]) -> Result<(), Error> {
    let tips = tips.iter().enumerate();
    let commands: Vec<_> = tips
        .map(|(n, data)| Command {
            name: format!("refs/tags/v{n}"),
            old: None,
            new: Some(blob_id(data)),
        })
        .collect();
    case.receive(&commands, pack)?.promote()?;
    apply(&case.repo, &commands, Faults::default())?;
    git(&case.repo, &["fsck", "--strict", "--no-dangling"]);
    check_indices(&case.repo);
    Ok(())
}

/// A history of some commits, each of which changes one of a few files.
fn history(repo: &Path, commits: usize) -> String {
    let mut stream = String::new();
    for n in 0..commits {
        let lines = (0..60).map(|line| if line == n % 60 { n } else { line });
        let lines: Vec<_> = lines.map(|line| line.to_string()).collect();
        let content = lines.join("\n");
        let time = 1_700_000_000 + n;
        write!(
            stream,
            "commit refs/heads/main\ncommitter C <c@example.com> {time} +0000\ndata 1\nx\n\
             M 100644 inline dir{}/file{}\ndata {}\n{content}\n",
            n % 7,
            n % 13,
            content.len()
        )
        .unwrap();
    }
    git_with(
        repo,
        &["fast-import", "--quiet", "--force"],
        stream.as_bytes(),
    );
    git_line(repo, &["rev-parse", "main"], b"")
}

#[test]
fn histories_with_deltas_arrive_in_each_form() {
    for (format, hash) in [("sha1", Sha1), ("sha256", Sha256)] {
        for by_offset in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (source, repo) = (dir.path().join("source"), dir.path().join("app.git"));
            fs::create_dir(&source).unwrap();
            git(
                &source,
                &["init", "-q", "--bare", "--object-format", format, "."],
            );
            init(&repo, hash).unwrap();
            let head = history(&source, 500);
            let parts = [
                vec![format!("{head}~300")],
                vec![head.clone(), format!("^{head}~300")],
            ];
            for part in parts {
                let mut args = vec!["pack-objects", "--revs", "--thin", "--stdout", "-q"];
                args.extend(by_offset.then_some("--delta-base-offset"));
                let pack = git_with(&source, &args, part.join("\n").as_bytes());
                let tip = git_line(&source, &["rev-parse", &part[0]], b"");
                let old = Refs::of(&repo).current("refs/heads/main").unwrap();
                let command = Command {
                    name: "refs/heads/main".to_owned(),
                    old,
                    new: ObjectId::from_hex(tip.as_bytes()).ok(),
                };
                let request = Request {
                    commands: vec![command],
                    ..Request::default()
                };
                let stop = AtomicBool::new(false);
                // In small pieces, so that entries are cut anywhere.
                let mut pieces = std::io::BufReader::with_capacity(1_000, &pack[..]);
                let quarantine = Quarantine::receive(
                    &repo,
                    &mut pieces,
                    &request,
                    &Limits::default(),
                    &stop,
                    Faults::default(),
                );
                quarantine.unwrap().promote().unwrap();
                apply(&repo, &request.commands, Faults::default()).unwrap();
                check_indices(&repo);
            }
            git(&repo, &["fsck", "--strict", "--no-dangling"]);
            let all = ["rev-list", "--objects", "main"];
            assert_eq!(git(&repo, &all), git(&source, &all));
        }
    }
}

#[test]
fn a_base_may_come_after_its_delta() {
    let case = Case::new();
    let (base, middle) = (b"base".to_vec(), b"base and more".to_vec());
    let last = [&middle[..], b" again"].concat();
    let mut pack = Handmade::new(3);
    pack.on_id(&blob_id(&middle), &adding(middle.len(), b" again"));
    pack.on_id(&blob_id(&base), &adding(base.len(), b" and more"));
    pack.blob(&base);
    push_blobs(&case, &pack.end(), &[&last]).unwrap();
}

#[test]
fn deltas_without_a_base_or_on_each_other_are_refused() {
    let case = Case::new();
    let (a, b) = (blob_id(b"a"), blob_id(b"b"));
    for bases in [&[a][..], &[a, b], &[b, a]] {
        let mut pack = Handmade::new(bases.len() as u32);
        for base in bases {
            pack.on_id(base, &adding(1, b"x"));
        }
        let error = case.refused(&[tag(b"a")], &pack.end());
        assert!(matches!(error, Error::Pack { .. }), "{error:?}");
    }
    // By offset: to nowhere, into an entry, on itself.
    for distance in [1_u8, 2, 12, 20] {
        let mut pack = Handmade::new(2);
        pack.blob(b"a");
        pack.entry(6, &[distance], &adding(1, b"x"));
        let fits = distance as usize == pack.offsets[1] - pack.offsets[0];
        let pack = pack.end();
        if !fits {
            let error = case.refused(&[tag(b"a")], &pack);
            assert!(matches!(error, Error::Pack { .. }), "{error:?}");
        }
    }
}

#[test]
fn an_object_is_there_once() {
    let case = Case::new();
    let mut pack = Handmade::new(2);
    pack.blob(b"a");
    pack.blob(b"a");
    let error = case.refused(&[tag(b"a")], &pack.end());
    assert!(matches!(error, Error::Object { .. }), "{error:?}");
}

#[test]
fn what_does_not_fit_into_memory_is_made_afterwards() {
    // Large files on which others build: too large for the cache of bases, and all waiting at once
    // too much for memory.
    let case = Case::new();
    let mut pack = Handmade::new(1 + 5 * 2);
    let root = bytes(7, 3 << 20);
    let first = pack.blob(&root);
    let mut tips = Vec::new();
    let mut branches = Vec::new();
    for n in 0..5_u8 {
        branches.push(pack.on(first, &adding(root.len(), &[n])));
    }
    for (n, branch) in (0..).zip(branches) {
        pack.on(branch, &adding(root.len() + 1, b"end"));
        tips.push([&root[..], &[n], b"end"].concat());
    }
    let tips: Vec<_> = tips.iter().map(Vec::as_slice).collect();
    push_blobs(&case, &pack.end(), &tips).unwrap();
}

#[test]
fn a_long_chain_is_made_in_one_go() {
    let case = Case::new();
    let length = 3_000_usize;
    let mut pack = Handmade::new(length as u32 + 1);
    // Too large altogether for the cache, so that the ends of the chain do not meet in it.
    let mut data = bytes(3, 5_000);
    let mut last = pack.blob(&data);
    for n in 0..length {
        let added = (n as u32).to_le_bytes();
        last = pack.on(last, &adding(data.len(), &added));
        data.extend_from_slice(&added);
    }
    push_blobs(&case, &pack.end(), &[&data]).unwrap();
}

#[test]
fn files_that_git_reads_are_found_whenever_they_come() {
    let evil = b"[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=evil\n";
    for (name, data) in [
        (".gitmodules", &evil[..]),
        (".gitattributes", &[b'x'; 3_000]),
    ] {
        for before in [true, false] {
            let case = Case::new();
            let blob = blob_id(data).to_string();
            let tree = tree_line("100644", name, &blob);
            let tree_id = case.object("tree", &tree);
            let commit = case.commit_of(&tree_id);
            let text = git_with(&case.source, &["cat-file", "commit", &commit], b"");
            let mut pack = Handmade::new(3);
            if before {
                pack.blob(data);
            }
            pack.entry(1, b"", &text);
            pack.entry(2, b"", &tree);
            if !before {
                pack.blob(data);
            }
            let error = case.refused(&[command("x", None, Some(&commit))], &pack.end());
            assert!(matches!(error, Error::Object { .. }), "{name}: {error:?}");
        }
    }
}

#[test]
fn known_collisions_are_no_objects() {
    // Two files with one SHA-1, published with "SHA-1 is a Shambles" (Leurent and Peyrin, 2020; these
    // are the test data of the crate sha1dc). As objects they have a header before
    // them, so that git tells them apart and stores both; a file that collided with its header
    // would be hashed like these.
    let files = [
        include_bytes!("../../../fixtures/collisions/sha-mbles-1.bin"),
        include_bytes!("../../../fixtures/collisions/sha-mbles-2.bin"),
    ];
    for file in files {
        let mut hasher = gix::hash::hasher(Sha1);
        hasher.update(file);
        let result = crate::receive::pack::id_of(hasher);
        assert!(matches!(result, Err(Error::Collision)), "{result:?}");
    }
    let case = Case::new();
    let mut pack = Handmade::new(2);
    for file in files {
        pack.blob(file);
    }
    push_blobs(&case, &pack.end(), &[files[0], files[1]]).unwrap();
}

#[test]
fn the_unpacked_bytes_and_the_time_are_limited() {
    let mut case = Case::new();
    let mut pack = Handmade::new(3);
    let first = pack.blob(&[0; 1_000]);
    pack.on(first, &adding(1_000, b"x"));
    pack.blob(&vec![1; 2 << 20]);
    let pack = pack.end();
    let commands = [tag(&[0; 1_000])];
    case.limits.unpacked_bytes = 2_001 + (2 << 20);
    drop(case.receive(&commands, &pack).unwrap());
    case.limits.unpacked_bytes -= 1;
    let error = case.refused(&commands, &pack);
    assert!(matches!(error, Error::UnpackedBytes { .. }), "{error:?}");
    case.limits = Limits {
        time: Duration::ZERO,
        ..Limits::default()
    };
    let error = case.refused(&commands, &pack);
    assert!(matches!(error, Error::TooSlow { .. }), "{error:?}");
}

#[test]
fn a_large_pack_waits_in_its_quarantine() {
    let case = Case::new();
    let data = bytes(5, 3 << 20);
    let mut pack = Handmade::new(1);
    pack.blob(&data);
    let pack = pack.end();
    let commands = [tag(&data)];
    let before = listing(&case.repo);
    let mut quarantine = case.receive(&commands, &pack).unwrap();
    let objects = open_objects(quarantine.objects_dir().unwrap(), Sha1).unwrap();
    assert!(objects.exists(&blob_id(&data)));
    drop(quarantine);
    assert_eq!(listing(&case.repo), before);
    push_blobs(&case, &pack, &[&data]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the instructions are, no delta makes anything but what it says, or panics.
    #[test]
    fn deltas_keep_to_their_base(
        base in prop::collection::vec(any::<u8>(), 0..100),
        mut delta in prop::collection::vec(any::<u8>(), 0..40),
        honest in any::<bool>(),
    ) {
        if honest && !delta.is_empty() {
            delta[0] = base.len() as u8;
        }
        if let Some(made) = crate::receive::pack::apply_delta(&base, &delta, 1_000) {
            prop_assert!(made.len() <= 1_000);
        }
    }
}
