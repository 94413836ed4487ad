//! Removing what nobody needs any more.
//!
//! A blob goes if its digest is not among those that are needed, it is not pinned, and it was last
//! put before the grace period: a running build may have put it and not yet be recorded. Putting a
//! blob that is there counts as putting it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use super::{Error, Store, sync};
use crate::digest::Digest;

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    pub removed: Vec<Digest>,
    pub removed_bytes: u64,
    /// How many blobs stay.
    pub kept: u64,
}

impl Store {
    /// Removes the blobs that are neither `needed` nor pinned and were not put since `now - grace`.
    ///
    /// # Errors
    /// The directory or the bucket cannot be read or written to; blobs may then be removed already.
    pub fn collect(
        &self,
        needed: &HashSet<Digest>,
        now: SystemTime,
        grace: Duration,
        dry_run: bool,
    ) -> Result<Collected, Error> {
        let pins = self.pins()?;
        let mut collected = Collected::default();
        let mut seen = HashSet::new();
        let old = |put: SystemTime| now.duration_since(put).is_ok_and(|age| age >= grace);
        let free = |digest: &Digest| !needed.contains(digest) && !pins.contains(digest);
        for digest in self.digests()? {
            let path = self.path_of(&digest);
            // A put of the same blob waits, and then finds it gone.
            let _changes = self.changes();
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let put = metadata.modified().map_err(|source| Error::Io {
                path: path.clone(),
                source,
            })?;
            if !free(&digest) || !old(put) {
                // A young copy may be one that was only fetched, so the bucket has its own say.
                if free(&digest) {
                    seen.insert(digest);
                }
                collected.kept += 1;
                continue;
            }
            seen.insert(digest);
            if !dry_run {
                self.remove_unlocked(&digest)?;
            }
            collected.removed.push(digest);
            collected.removed_bytes += metadata.len();
        }
        let far = match &self.bucket {
            Some(bucket) => bucket.list()?,
            None => Vec::new(),
        };
        for (digest, size_bytes, put) in far {
            if seen.contains(&digest) {
                continue;
            }
            if !free(&digest) || !old(put) {
                collected.kept += u64::from(!self.path_of(&digest).exists());
                continue;
            }
            let _changes = self.changes();
            if !dry_run {
                self.remove_unlocked(&digest)?;
            }
            collected.removed.push(digest);
            collected.removed_bytes += size_bytes;
        }
        collected.removed.sort_unstable();
        Ok(collected)
    }

    /// Keeps a blob whatever becomes of the releases that have it; it need not be there yet.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn pin(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.pin_path(digest);
        fs::write(&path, "").map_err(|source| Error::Io { path, source })?;
        sync(&self.pin_directory())
    }

    /// Ends that; says whether it was pinned.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn unpin(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.pin_path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// The pinned digests.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn pins(&self) -> Result<HashSet<Digest>, Error> {
        Ok(names(&self.pin_directory())?.into_iter().collect())
    }

    fn pin_path(&self, digest: &Digest) -> std::path::PathBuf {
        self.pin_directory().join(digest.hex())
    }
}

/// The digests that a directory's files are named by.
fn names(directory: &std::path::Path) -> Result<Vec<Digest>, Error> {
    let error = |source| Error::Io {
        path: directory.to_owned(),
        source,
    };
    let mut digests = Vec::new();
    for entry in fs::read_dir(directory).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        let digest = name.to_str().map(|name| format!("sha256:{name}"));
        digests.extend(digest.and_then(|text| text.parse::<Digest>().ok()));
    }
    Ok(digests)
}
