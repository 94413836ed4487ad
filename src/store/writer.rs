//! A blob on its way into the store.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

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

    /// Makes the bytes a blob of the store; returns once a crash can no longer undo it.
    ///
    /// Where the blob was there before, it stays as it was.
    ///
    /// # Errors
    /// The disk is full or broken; the store is then as it was.
    pub fn commit(self) -> Result<(Digest, u64), Error> {
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
        match file.persist_noclobber(&path) {
            Ok(_) => {}
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(failed) => return Err(error(failed.error)),
        }
        self.store.sync_name(&digest)?;
        Ok((digest, size_bytes))
    }
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
