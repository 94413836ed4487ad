//! A release as an OCI image: a manifest and a config around the very bytes of its slug.
//!
//! In go a slug's record and the stack's layer, if there is one; out come two JSON documents that
//! depend on nothing else, so that their digests are the same whenever they are asked for. Config
//! vars are no part of them: whoever runs the image gives them.
//!
//! Source: OCI's image specification 1.0.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::json;

use crate::digest::{Digest, Hashing};
use crate::slug::SlugRecord;

/// The media types of the documents and of a slug.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const PLAIN_LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// The first bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What a process starts with: the app's own profile scripts, as Heroku's dynos have them. The
/// command is its first argument.
const START: &str = r#"cd "$HOME"; for f in .profile.d/*.sh; do [ -e "$f" ] && . "$f"; done; [ -e .profile ] && . ./.profile; exec /bin/bash -c "$1""#;

/// A layer below all slugs: an operating system, as a tar or a gzip of one.
#[derive(Debug, Clone)]
pub struct StackLayer {
    pub path: PathBuf,
    pub digest: Digest,
    pub diff_id: Digest,
    pub size_bytes: u64,
    media_type: &'static str,
}

impl StackLayer {
    /// Reads a layer's file to its end.
    ///
    /// # Errors
    /// It cannot be read, or its gzip is broken.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(64 * 1024, Hashing::new(File::open(path)?));
        let zipped = file.fill_buf()?.starts_with(&GZIP);
        let mut tar = Hashing::new(io::sink());
        if zipped {
            let mut decoder = MultiGzDecoder::new(&mut file);
            io::copy(&mut decoder, &mut tar)?;
        } else {
            io::copy(&mut file, &mut tar)?;
        }
        io::copy(&mut file, &mut io::sink())?;
        let (_, digest, size_bytes) = file.into_inner().finish();
        Ok(Self {
            path: path.to_owned(),
            digest,
            diff_id: tar.digest(),
            size_bytes,
            media_type: if zipped { LAYER_TYPE } else { PLAIN_LAYER_TYPE },
        })
    }
}

/// An image's two documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
}

impl Image {
    /// The image of a slug, over a stack's layer or alone.
    pub fn of(slug: &SlugRecord, stack: Option<&StackLayer>) -> Self {
        // As Go, and with it OCI, calls the processors that builds run on.
        let architecture = match slug.architecture.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let home = slug.layout.build_dir.as_str();
        let diff_ids = stack.map(|stack| stack.diff_id).into_iter();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Entrypoint": ["/bin/bash", "-c", START, "slug"],
                "Cmd": slug.process_types.get("web").map(|command| vec![command]),
                "Env": [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME=/app",
                ],
                "WorkingDir": "/app",
                "Labels": {
                    "org.opencontainers.image.revision": slug.source.commit,
                    "slugline.build-dir": home,
                    "slugline.stack": slug.stack,
                },
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": diff_ids.chain([slug.diff_id]).collect::<Vec<_>>(),
            },
        });
        let config = without_nulls(config).to_string().into_bytes();
        let layer = |media_type: &str, digest: Digest, size_bytes: u64| json!({ "mediaType": media_type, "digest": digest, "size": size_bytes });
        let below = stack.map(|stack| layer(stack.media_type, stack.digest, stack.size_bytes));
        let own = layer(LAYER_TYPE, slug.digest, slug.size_bytes);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": layer(CONFIG_TYPE, Digest::of(&config), config.len() as u64),
            "layers": below.into_iter().chain([own]).collect::<Vec<_>>(),
        });
        Self {
            manifest: manifest.to_string().into_bytes(),
            config,
        }
    }
}

/// Readers take a field for what it says, `null` too.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::platform::ledger::testing::record;

    #[test]
    fn an_image_is_its_slug_and_its_stack() {
        let slug = record("slug");
        let text = |bytes: &[u8]| {
            let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            serde_json::to_string_pretty(&value).unwrap()
        };
        let alone = Image::of(&slug, None);
        assert_eq!(alone, Image::of(&slug, None));
        insta::assert_snapshot!(text(&alone.manifest));
        insta::assert_snapshot!(text(&alone.config));

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stack.tar");
        std::fs::write(&path, [0; 1024]).unwrap();
        let plain = StackLayer::open(&path).unwrap();
        assert_eq!((plain.digest, plain.size_bytes), (plain.diff_id, 1024));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&[0; 1024]).unwrap();
        std::fs::write(&path, gzip.finish().unwrap()).unwrap();
        let zipped = StackLayer::open(&path).unwrap();
        assert_eq!(zipped.diff_id, plain.diff_id);
        assert_eq!(zipped.digest, Digest::of(&std::fs::read(&path).unwrap()));
        let over = text(&Image::of(&slug, Some(&zipped)).manifest);
        let [stack, own] =
            [zipped.digest, slug.digest].map(|digest| over.find(&digest.to_string()).unwrap());
        assert!(stack < own);
        std::fs::write(&path, [0x1f, 0x8b, 8, 0]).unwrap();
        assert!(StackLayer::open(&path).is_err());
    }
}
