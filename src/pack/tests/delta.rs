//! Deltas between slugs.

use std::fs::File;
use std::io::{Read, Write};

use super::golden::megabytes;
use super::*;
use crate::pack::{Part, Patched, delta};

fn on_disk(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn a_delta_makes_the_newer_slug() {
    let before = packed(&megabytes());
    let mut tree = megabytes();
    tree.extend([
        file("lib/3/module-80", 0o644, "changed"),
        file("zz", 0o644, "new"),
    ]);
    tree.remove(&b"random"[..]);
    let after = packed(&tree);
    let mut bytes = Vec::new();
    let slug = on_disk(&after.out);
    let head = delta(&before.manifest, &after.manifest, &slug, &mut bytes).unwrap();
    assert!(bytes.len() < after.out.len() / 4, "{}", bytes.len());
    assert!(head.parts.len() < 9, "{head:?}");

    let patch = |old: &[u8], bytes: &[u8]| {
        let mut slug = Vec::new();
        let mut patched = Patched::new(on_disk(old), bytes).unwrap();
        patched.read_to_end(&mut slug).map(|_| slug)
    };
    assert_eq!(patch(&before.out, &bytes).unwrap(), after.out);
    // Another slug, a damaged or a cut delta.
    assert!(patch(&after.out, &bytes).is_err());
    assert!(patch(&before.out, &bytes[..bytes.len() - 1]).is_err());
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(patch(&before.out, &bytes).is_err());
    assert!(Patched::new(on_disk(&before.out), &before.out[..]).is_err());
}

#[test]
fn a_delta_of_nothing_is_its_head() {
    let slug = packed(&megabytes());
    let mut bytes = Vec::new();
    let file = on_disk(&slug.out);
    let head = delta(&slug.manifest, &slug.manifest, &file, &mut bytes).unwrap();
    assert_eq!(head.parts, [Part::Old(0, slug.out.len() as u64)]);
    assert!(bytes.ends_with(b"}\n"));
}

#[test]
fn a_head_that_lies_is_found_out() {
    let slug = packed(&Tree::from([file("x", 0o644, "x")]));
    let digest = slug.manifest.summary.digest;
    for parts in [
        r#"{"new":1000000000000}"#,
        r#"{"old":[0,1000000000000]}"#,
        r#"{"old":[18446744073709551615,18446744073709551615]}"#,
        r#"{"new":0},{"old":[0,0]}"#,
    ] {
        let head = format!(
            "{{\"format\":1,\"from\":\"{digest}\",\"to\":\"{digest}\",\"size_bytes\":20,\"parts\":[{parts}]}}\n"
        );
        let endless = std::io::repeat(b'x');
        let delta = std::io::BufReader::new(head.as_bytes().chain(endless));
        let mut patched = Patched::new(on_disk(&slug.out), delta).unwrap();
        assert!(patched.read_to_end(&mut Vec::new()).is_err(), "{parts}");
    }
}
