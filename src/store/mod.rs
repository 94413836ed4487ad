//! Blobs in a local directory, each under the digest of its bytes, and in a bucket where there is one.
//!
//! Bytes go in through a [`BlobWriter`] and come out by their [`Digest`]. A blob is there whole or
//! not at all, at any moment and after any crash: it is written beside the others, synced, and then
//! moved to its name, and `commit` returns once the name is on the disk too. Many processes may use
//! one directory at a time. A blob never changes; the same bytes put twice are one blob.
//!
//! With a [`Bucket`] a put ends once the bucket has the blob, too, and what the directory lacks is
//! fetched from there, checked, and kept.
//!
//! ```text
//! DIR/sha256/ab/ab…   a blob; 64 hex digits
//! DIR/incoming/…      what is being written; locked by its writer
//! DIR/pins/ab…        an empty file for each digest that is pinned
//! ```

mod bucket;
mod collect;
mod error;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use bucket::{Bucket, BucketUrl, BucketUrlError};
pub use collect::Collected;
pub use error::{Damaged, Error};
pub use reader::Verified;
pub use writer::BlobWriter;

use crate::digest::Digest;

/// A directory of blobs. Clones are cheap and mean the same directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: Arc<Path>,
    bucket: Option<Bucket>,
    /// Held while a blob gets its name or loses it.
    changes: Arc<Mutex<()>>,
}

impl Store {
    /// Opens a store, makes its directories where they are missing, and removes what writers that
    /// are gone have left half-written.
    ///
    /// # Errors
    /// The directory cannot be made or written to.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let store = Self {
            dir: dir.into(),
            bucket: None,
            changes: Arc::default(),
        };
        for part in [store.blobs(), store.incoming(), store.pin_directory()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&part)
                .map_err(|source| Error::Io { path: part, source })?;
        }
        sync(dir)?;
        store.sweep()?;
        Ok(store)
    }

    /// Keeps the blobs in a bucket, too.
    #[must_use]
    pub fn with_bucket(self, bucket: Bucket) -> Self {
        let bucket = Some(bucket);
        Self { bucket, ..self }
    }

    /// Starts a blob; it is in the store once it is committed.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn writer(&self) -> Result<BlobWriter, Error> {
        BlobWriter::new(self.clone())
    }

    /// Stores a run of bytes.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(|source| Error::Io {
            path: self.incoming(),
            source,
        })?;
        let (digest, _) = writer.commit()?;
        Ok(digest)
    }

    /// Opens a blob, as its bytes are on the disk; one that only the bucket has is fetched first.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the blob cannot be opened or fetched.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.path_of(digest);
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.fetch(digest),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// Fetches a blob from the bucket and keeps it.
    fn fetch(&self, digest: &Digest) -> Result<File, Error> {
        let not_found = Error::NotFound { digest: *digest };
        let Some(bucket) = &self.bucket else {
            return Err(not_found);
        };
        let mut writer = self.writer()?;
        let incoming = |source| Error::Io {
            path: self.incoming(),
            source,
        };
        if !bucket.get(digest, |piece| writer.write_all(piece).map_err(incoming))? {
            return Err(not_found);
        }
        let got = writer.digest();
        if got != *digest {
            return Err(Error::Damaged(Damaged {
                expected: *digest,
                got,
                size_bytes: writer.size_bytes(),
            }));
        }
        let file = writer.reader().map_err(incoming)?;
        writer.commit_locally()?;
        Ok(file)
    }

    /// Reads a blob and checks it meanwhile: reading fails at the end, with
    /// [`io::ErrorKind::InvalidData`], where the bytes were not the digest's.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the blob cannot be opened.
    pub fn read_verified(&self, digest: &Digest) -> Result<Verified, Error> {
        Ok(Verified::new(self.open_blob(digest)?, *digest))
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn contains(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.path_of(digest);
        let local = path
            .try_exists()
            .map_err(|source| Error::Io { path, source })?;
        match &self.bucket {
            Some(bucket) if !local => Ok(bucket.size(digest)?.is_some()),
            _ => Ok(local),
        }
    }

    /// Where in the directory a blob is, or would be; see [`Store::open_blob`] for one that only a
    /// bucket may have.
    pub fn path_of(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.blobs();
        path.push(&hex[..2]);
        path.push(hex);
        path
    }

    /// Removes a blob; says whether it was there. Who has it open can go on reading it.
    ///
    /// # Errors
    /// The directory or the bucket cannot be written to.
    pub fn remove(&self, digest: &Digest) -> Result<bool, Error> {
        let _changes = self.changes();
        self.remove_unlocked(digest)
    }

    fn remove_unlocked(&self, digest: &Digest) -> Result<bool, Error> {
        if let Some(bucket) = &self.bucket {
            bucket.remove(digest)?;
        }
        let path = self.path_of(digest);
        match fs::remove_file(&path) {
            Ok(()) => {
                self.sync_name(digest)?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// The digests of all blobs, in no order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn digests(&self) -> Result<Vec<Digest>, Error> {
        let mut digests = Vec::new();
        for fan in entries(&self.blobs())? {
            for blob in entries(&fan.path())? {
                let name = blob.file_name();
                let digest = name
                    .to_str()
                    .and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
                digests.extend(digest);
            }
        }
        Ok(digests)
    }

    fn blobs(&self) -> PathBuf {
        self.dir.join("sha256")
    }

    fn incoming(&self) -> PathBuf {
        self.dir.join("incoming")
    }

    fn pin_directory(&self) -> PathBuf {
        self.dir.join("pins")
    }

    fn changes(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the name of a blob to the disk, and that of the directory it is in.
    fn sync_name(&self, digest: &Digest) -> Result<(), Error> {
        if let Some(directory) = self.path_of(digest).parent() {
            sync(directory)?;
        }
        sync(&self.blobs())
    }

    /// Removes what nobody writes any more: a writer holds a lock on its file while it lives.
    fn sweep(&self) -> Result<(), Error> {
        let incoming = self.incoming();
        let error = |source| Error::Io {
            path: incoming.clone(),
            source,
        };
        for entry in fs::read_dir(&incoming).map_err(error)? {
            let path = entry.map_err(error)?.path();
            let removed = match File::open(&path) {
                Ok(file) if file.try_lock().is_err() => continue,
                // Still locked here while its name goes, so that a writer that has only just made
                // it finds out.
                Ok(_locked) => fs::remove_file(&path),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Io {
                        path,
                        source: error,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Brings a directory's names to the disk.
fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| Error::Io {
            path: directory.to_owned(),
            source,
        })
}

fn entries(dir: &Path) -> Result<Vec<fs::DirEntry>, Error> {
    let error = |source| Error::Io {
        path: dir.to_owned(),
        source,
    };
    let entries = fs::read_dir(dir).map_err(error)?;
    entries.collect::<Result<_, _>>().map_err(error)
}
