//! A blob on its way into the store.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use tempfile::NamedTempFile;

use super::{Error, Store};
use crate::digest::{Digest, Hashing};

/// Takes the bytes of one blob; dropped without [`BlobWriter::commit`] it leaves nothing behind.
pub struct BlobWriter {
    store: Store,
    file: Hashing<NamedTempFile>,
}

impl BlobWriter {
    pub(super) fn new(store: Store) -> Result<Self, Error> {
        let incoming = store.incoming();
        let file = locked_file(&incoming).map_err(|source| Error::Io {
            path: incoming,
            source,
        })?;
        Ok(Self {
            store,
            file: Hashing::new(file),
        })
    }

    /// Opens what was written so far for reading, from its start.
    ///
    /// # Errors
    /// The file that holds it is gone.
    pub fn reader(&self) -> io::Result<File> {
        self.file.inner().reopen()
    }

    /// The digest of what was written so far.
    pub(super) fn digest(&self) -> Digest {
        self.file.digest()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.file.seen_bytes()
    }

    /// Makes the bytes a blob of the store; returns once a crash can no longer undo it.
    ///
    /// Where the blob was there before, it stays as it was, and counts as put now.
    ///
    /// # Errors
    /// The disk is full or broken, or the bucket takes no more. What the directory has then, no
    /// record names.
    pub fn commit(self) -> Result<(Digest, u64), Error> {
        let store = self.store.clone();
        let sending = match &store.bucket {
            Some(_) => Some(self.reader().map_err(|source| Error::Io {
                path: store.incoming(),
                source,
            })?),
            None => None,
        };
        let (digest, size_bytes) = self.commit_locally()?;
        if let (Some(bucket), Some(mut file)) = (&store.bucket, sending) {
            bucket.put(&digest, &mut file, size_bytes)?;
        }
        Ok((digest, size_bytes))
    }

    /// As [`BlobWriter::commit`], in the directory alone.
    pub(super) fn commit_locally(self) -> Result<(Digest, u64), Error> {
        let (file, digest, size_bytes) = self.file.finish();
        let path = self.store.path_of(&digest);
        let error = |source| Error::Io {
            path: path.clone(),
            source,
        };
        // A slug is an app's own code: nobody else may read it, whatever the umask.
        file.as_file()
            .set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| file.as_file().sync_all())
            .map_err(error)?;
        make_parent(&path)?;
        {
            let _changes = self.store.changes();
            match file.persist_noclobber(&path) {
                Ok(_) => {}
                Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => {
                    if std::fs::metadata(&path).map_err(error)?.len() == size_bytes {
                        touch(&path).map_err(error)?;
                    } else {
                        // What a broken disk has left of it is no blob.
                        let mended = failed.file.persist(&path);
                        mended.map_err(|failed| error(failed.error))?;
                    }
                }
                Err(failed) => return Err(error(failed.error)),
            }
        }
        self.store.sync_name(&digest)?;
        Ok((digest, size_bytes))
    }
}

/// Sets the time of a file's last change to now, as the kernel has it.
fn touch(path: &Path) -> io::Result<()> {
    let (now, flag) = (TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink);
    Ok(utimensat(AT_FDCWD, path, &now, &now, flag)?)
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Makes a file that sweeps leave alone for as long as it is open.
fn locked_file(incoming: &Path) -> io::Result<NamedTempFile> {
    loop {
        let file = NamedTempFile::new_in(incoming)?;
        file.as_file().lock()?;
        // A sweep may have come between the two.
        if file.as_file().metadata()?.nlink() > 0 {
            return Ok(file);
        }
    }
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().map(PathBuf::from).unwrap_or_default();
    let made = std::fs::DirBuilder::new().mode(0o700).create(&parent);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::Io {
            path: parent,
            source: error,
        }),
        _ => Ok(()),
    }
}
