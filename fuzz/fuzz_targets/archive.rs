//! Whatever an archive is, it is refused, or what is extracted stays below the directory given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slugline::pack::{Limits, extract_within, manifest_within};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        tar_bytes: 1 << 20,
        ..Limits::default()
    };
    // The first byte says whether the rest is to be compressed: few inputs are gzip.
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let stored;
    let slug = if first % 4 == 0 {
        rest
    } else {
        stored = store(rest);
        &stored
    };
    let manifest = manifest_within(slug, &limits);
    let work = tempfile::tempdir().unwrap();
    let (app, beside) = (work.path().join("app"), work.path().join("beside"));
    std::fs::create_dir(&app).unwrap();
    std::fs::write(&beside, "untouched").unwrap();
    let extracted = extract_within(slug, &app, &limits);
    // What has no manifest is not extracted either; the disk may refuse more than the reader.
    assert!(manifest.is_ok() || extracted.is_err());
    assert_eq!(std::fs::read(&beside).unwrap(), b"untouched");
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 2);
});

/// A gzip member of stored blocks, without a compressor's help: its check is a table of its own.
fn store(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for block in bytes.chunks(0xffff) {
        let length = u16::try_from(block.len()).unwrap();
        out.push(0);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    // An empty last block.
    out.extend([1, 0, 0, 0xff, 0xff]);
    out.extend(crc32(bytes).to_le_bytes());
    out.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    out
}

/// Source: RFC 1952, section 8.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}
