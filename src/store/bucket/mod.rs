//! The blobs of a store in a bucket, under the same names as in its directory.
//!
//! A blob appears at once and whole, as S3 promises for single and for multipart puts. Small ones
//! are put on the condition that there is none; of a larger one, which is sent in parts, it is asked
//! first whether it is there. Who puts the same blob at the same time puts the same bytes. Blocks;
//! never to be called on an async executor.

pub(super) mod http;

use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, WriteMultipart};
use tokio::runtime::Handle;

use super::Error;
use crate::digest::Digest;

/// Largest blob that is put at once, held in memory meanwhile; also the size of the parts.
const PART_BYTES: u64 = 8 << 20;

/// Parts that are on their way at a time.
const PARTS: usize = 4;

/// Where a bucket is: `s3://NAME` or `s3://NAME/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    name: String,
    /// What all names start with; empty or a path.
    prefix: String,
}

/// A text that names no bucket.
#[derive(Debug, thiserror::Error)]
#[error("no URL of the form s3://NAME/PREFIX")]
pub struct BucketUrlError;

impl FromStr for BucketUrl {
    type Err = BucketUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("s3://").ok_or(BucketUrlError)?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let letter = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let is_path = |c: char| letter(c) || c == '/';
        if name.is_empty() || !name.chars().all(letter) || !prefix.chars().all(is_path) {
            return Err(BucketUrlError);
        }
        Ok(Self {
            name: name.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
        })
    }
}

/// A bucket that holds a store's blobs.
#[derive(Debug, Clone)]
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    /// What all names start with; empty or a path.
    prefix: String,
    runtime: Handle,
}

impl Bucket {
    /// Takes a bucket of S3's or of a server that speaks as it does, and a runtime with threads of
    /// its own on which to speak to it. `variables` are those of AWS's own tools, such as
    /// `AWS_ACCESS_KEY_ID`, `AWS_REGION` and `AWS_ENDPOINT_URL`. Nothing is sent yet.
    ///
    /// # Errors
    /// The variables do not say enough, or contradict each other.
    pub fn new(
        url: &BucketUrl,
        variables: impl IntoIterator<Item = (String, String)>,
        runtime: Handle,
    ) -> Result<Self, Error> {
        let mut builder = AmazonS3Builder::new().with_http_connector(http::Connector);
        for (name, value) in variables {
            // Others than those that it knows may be set for other programs.
            if name.starts_with("AWS_")
                && let Ok(key) = name.to_ascii_lowercase().parse()
            {
                builder = builder.with_config(key, value);
            }
        }
        let objects = builder.with_bucket_name(&url.name).build();
        Ok(Self {
            objects: Arc::new(objects.map_err(|error| failed(&Path::default(), error))?),
            prefix: url.prefix.clone(),
            runtime,
        })
    }

    /// Puts a blob that is not there yet.
    pub(super) fn put(&self, digest: &Digest, file: &mut File, size: u64) -> Result<(), Error> {
        let path = self.path(digest);
        if size <= PART_BYTES {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(|source| Error::Io {
                path: path.to_string().into(),
                source,
            })?;
            let put = self
                .objects
                .put_opts(&path, bytes.into(), PutMode::Create.into());
            return match self.runtime.block_on(put) {
                Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
                Err(error) => Err(failed(&path, error)),
            };
        }
        if self.size(digest)?.is_some() {
            return Ok(());
        }
        self.wait(&path, async {
            let upload = self.objects.put_multipart(&path).await?;
            let part = usize::try_from(PART_BYTES).unwrap_or(usize::MAX);
            let mut upload = WriteMultipart::new_with_chunk_size(upload, part);
            let mut buffer = vec![0; part];
            loop {
                let n = file
                    .read(&mut buffer)
                    .map_err(|source| generic(source.into()))?;
                if n == 0 {
                    break;
                }
                upload.wait_for_capacity(PARTS).await?;
                upload.write(&buffer[..n]);
            }
            upload.finish().await.map(|_| ())
        })
    }

    /// The size of a blob, if it is there.
    pub(super) fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let path = self.path(digest);
        match self.runtime.block_on(self.objects.head(&path)) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Gives a blob's bytes to `take`, piece by piece; says whether it is there.
    pub(super) fn get(
        &self,
        digest: &Digest,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let path = self.path(digest);
        let Some(size) = self.size(digest)? else {
            return Ok(false);
        };
        let mut start = 0;
        while start < size {
            let end = (start + PART_BYTES).min(size);
            let piece = self.wait(&path, self.objects.get_range(&path, start..end))?;
            take(&piece)?;
            start = end;
        }
        Ok(true)
    }

    /// Removes a blob; that there is none is no error.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.path(digest);
        match self.runtime.block_on(self.objects.delete(&path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// All blobs with their sizes and when they were put.
    pub(super) fn list(&self) -> Result<Vec<(Digest, u64, SystemTime)>, Error> {
        let top = Path::from(format!("{}/sha256", self.prefix));
        let shards = self.wait(&top, self.objects.list_with_delimiter(Some(&top)))?;
        let mut blobs = Vec::new();
        for shard in shards.common_prefixes {
            let list = self.wait(&shard, self.objects.list_with_delimiter(Some(&shard)))?;
            for object in list.objects {
                let name = object.location.filename().unwrap_or_default();
                if let Ok(digest) = format!("sha256:{name}").parse() {
                    blobs.push((digest, object.size, object.last_modified.into()));
                }
            }
        }
        Ok(blobs)
    }

    fn path(&self, digest: &Digest) -> Path {
        let hex = digest.hex();
        // What is empty is left out.
        Path::from(format!("{}/sha256/{}/{hex}", self.prefix, &hex[..2]))
    }

    fn wait<T>(
        &self,
        path: &Path,
        future: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Error> {
        self.runtime
            .block_on(future)
            .map_err(|error| failed(path, error))
    }
}

fn failed(path: &Path, source: object_store::Error) -> Error {
    Error::Bucket {
        name: path.to_string(),
        source,
    }
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic {
        store: "file",
        source,
    }
}
