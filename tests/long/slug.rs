//! Slugs of trees too large for every day, and read by other programs.

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};

use slugline::digest::Digest;
use slugline::pack::{self, Options};
use slugline::slug::Summary;

/// A directory on a disk and one in memory.
fn places() -> [tempfile::TempDir; 2] {
    [
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        tempfile::tempdir_in("/dev/shm").unwrap(),
    ]
}

/// Packs a tree with one thread and with four; it must come out the same.
fn packed(dir: &Path) -> Summary {
    let pack = |threads| {
        let options = Options {
            threads: NonZeroUsize::new(threads),
            ..Options::default()
        };
        let packed = pack::pack_streamed(dir, std::io::sink(), std::io::sink(), &options);
        packed.unwrap().summary
    };
    let one = pack(1);
    assert_eq!(one, pack(4));
    one
}

#[test]
fn a_hundred_thousand_files() {
    let mut seen = Vec::new();
    for (number, place) in places().iter().enumerate() {
        // Made in two orders.
        let mut numbers = (0..100_000_u32).collect::<Vec<_>>();
        if number == 1 {
            numbers.sort_by_key(|n| n.wrapping_mul(2_654_435_761));
        }
        for n in numbers {
            let dir = place.path().join(format!("{:03}", n % 997));
            if !dir.exists() {
                fs::create_dir(&dir).unwrap();
            }
            fs::write(dir.join(format!("file-{n}")), format!("{n}\n").repeat(5)).unwrap();
        }
        seen.push(packed(place.path()));
    }
    assert_eq!(seen[0], seen[1]);
    // Golden: a version that writes other bytes needs a new format.
    let digest = "sha256:097eb55dd3f348b4cf3c9d0c5ddafbcf5852e379b0c4f7b254641a03555847e3";
    assert_eq!(seen[0].digest.to_string(), digest);
}

#[test]
fn a_sparse_file_of_a_gigabyte() {
    let mut seen = Vec::new();
    for place in places() {
        let file = File::create(place.path().join("sparse")).unwrap();
        file.set_len(1 << 30).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"in the middle", 500_000_000).unwrap();
        seen.push(packed(place.path()));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].tar_bytes > 1 << 30);
    let digest = "sha256:872fd5a687ce595a3a18da7226dbefa746c1a3708b052370c12f80a67e9562fe";
    assert_eq!(seen[0].digest.to_string(), digest);
}

/// Runs a program that must be there and gives what it says.
fn said(command: &mut Command, package: &str) -> String {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; apt-get install {package}"));
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A tree of all that a slug may have, of several members.
fn tree(dir: &Path) {
    let noise = |seed: u32, count: u32| {
        let bytes = (0..count).flat_map(|k| {
            let text = [seed.to_le_bytes(), k.to_le_bytes()].concat();
            *Digest::of(&text).as_bytes()
        });
        bytes.collect::<Vec<u8>>()
    };
    let deep = dir.join(["a-directory-of-a-deep-path"; 12].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("n".repeat(250)), "far below").unwrap();
    fs::write(dir.join("n".repeat(255)), "the longest name").unwrap();
    fs::write(dir.join("grüße-日本語"), "unicode").unwrap();
    fs::write(dir.join("large"), noise(0, 100_000)).unwrap();
    fs::create_dir(dir.join("lib")).unwrap();
    for n in 1..100 {
        fs::write(dir.join(format!("lib/{n}")), noise(n, 1000)).unwrap();
    }
    fs::write(dir.join("zeros"), vec![0; 3 << 20]).unwrap();
    std::os::unix::fs::symlink("lib/1", dir.join("link")).unwrap();
    std::os::unix::fs::symlink("x/".repeat(120), dir.join("far-link")).unwrap();
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
    lines.sort();
    lines
}

/// Digests of the files below a directory: the packed one, or one that a reader has filled.
fn found(dir: &Path) -> Vec<String> {
    let script = "find . -type f -print0 | xargs -0 sha256sum | sed 's,  \\./, ,'";
    let mut command = Command::new("sh");
    sorted(&said(
        command.current_dir(dir).args(["-c", script]),
        "coreutils",
    ))
}

const PYTHON: &str = "
import hashlib, sys, tarfile
with tarfile.open(sys.argv[1]) as tar:
    for member in tar:
        if member.isfile():
            print(hashlib.sha256(tar.extractfile(member).read()).hexdigest(), member.name[len('./app/'):])
";

/// Node has no tar of its own; npm's is the one that the npm registry's packages are read with.
const NODE: &str = "
const zlib = require('zlib'), fs = require('fs'), crypto = require('crypto');
const tar = zlib.gunzipSync(fs.readFileSync(process.argv[1]));
console.log(crypto.createHash('sha256').update(tar).digest('hex'));
";

const JAVA: &str = r#"
import java.io.*; import java.nio.file.*; import java.security.*; import java.util.zip.*;
public class Gunzip {
    public static void main(String[] arguments) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        byte[] buffer = new byte[65536];
        try (InputStream in = new GZIPInputStream(Files.newInputStream(Path.of(arguments[0])))) {
            for (int n; (n = in.read(buffer)) > 0; ) digest.update(buffer, 0, n);
        }
        StringBuilder text = new StringBuilder();
        for (byte b : digest.digest()) text.append(String.format("%02x", b));
        System.out.println(text);
    }
}
"#;

#[test]
fn other_programs_read_what_was_packed() {
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name);
    fs::create_dir(at("tree")).unwrap();
    tree(&at("tree"));
    let packed = pack::pack(&at("tree"), File::create(at("slug.tgz")).unwrap()).unwrap();
    assert!(packed.manifest.members.len() > 8);
    let expected = found(&at("tree"));
    let diff_id = packed.manifest.summary.diff_id.hex();

    fs::create_dir(at("tar")).unwrap();
    let mut tar = Command::new("tar");
    said(
        tar.arg("xzf").arg(at("slug.tgz")).arg("-C").arg(at("tar")),
        "tar",
    );
    assert_eq!(found(&at("tar/app")), expected);

    fs::create_dir(at("bsdtar")).unwrap();
    let mut bsdtar = Command::new("bsdtar");
    bsdtar.env("LC_ALL", "C.UTF-8");
    said(
        bsdtar
            .arg("xzf")
            .arg(at("slug.tgz"))
            .arg("-C")
            .arg(at("bsdtar")),
        "libarchive-tools",
    );
    assert_eq!(found(&at("bsdtar/app")), expected);

    let mut python = Command::new("python3");
    let read = said(python.args(["-c", PYTHON]).arg(at("slug.tgz")), "python3");
    assert_eq!(sorted(&read), expected);

    let mut node = Command::new("node");
    let read = said(node.args(["-e", NODE]).arg(at("slug.tgz")), "nodejs");
    assert_eq!(read.trim(), diff_id);

    fs::write(at("Gunzip.java"), JAVA).unwrap();
    let mut java = Command::new("java");
    let read = said(
        java.arg(at("Gunzip.java")).arg(at("slug.tgz")),
        "default-jdk-headless",
    );
    assert_eq!(read.trim(), diff_id);

    // Go's archive/tar and the layer reader of container tools, by way of an image.
    image(work.path(), &packed);
    let mut umoci = Command::new("umoci");
    umoci.current_dir(work.path());
    said(
        umoci.args([
            "raw",
            "unpack",
            "--rootless",
            "--image",
            "image:slug",
            "unpacked",
        ]),
        "umoci",
    );
    assert_eq!(found(&at("unpacked/app")), expected);
}

/// An image in OCI's layout, whose one layer is a slug.
fn image(work: &Path, packed: &pack::Packed<File>) {
    let summary = packed.manifest.summary;
    let blobs = work.join("image/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(
        work.join("image/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let put = |document: serde_json::Value| {
        let text = document.to_string();
        let digest = Digest::of(text.as_bytes());
        fs::write(blobs.join(digest.hex()), &text).unwrap();
        (digest, text.len())
    };
    fs::copy(work.join("slug.tgz"), blobs.join(summary.digest.hex())).unwrap();
    let (config, config_size) = put(serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [summary.diff_id] },
    }));
    let (manifest, manifest_size) = put(serde_json::json!({
        "schemaVersion": 2,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": summary.digest, "size": summary.size_bytes }],
    }));
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest, "size": manifest_size,
            "annotations": { "org.opencontainers.image.ref.name": "slug" },
        }],
    });
    fs::write(work.join("image/index.json"), index.to_string()).unwrap();
}
