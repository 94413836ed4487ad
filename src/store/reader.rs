//! A blob's bytes, checked while they are read.

use std::fs::File;
use std::io::{self, Read};

use super::error::Damaged;
use crate::digest::{Digest, Hashing};

/// Reads a blob; its end is only reached if its bytes are its digest's.
///
/// Who stops before the end, where `read` gives 0, has read unchecked bytes.
pub struct Verified {
    file: Hashing<File>,
    digest: Digest,
}

impl Verified {
    /// Reads a blob that is open already.
    #[must_use]
    pub fn new(file: File, digest: Digest) -> Self {
        Self {
            file: Hashing::new(file),
            digest,
        }
    }

    /// How many bytes the blob has.
    ///
    /// # Errors
    /// The disk's.
    pub fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.inner().metadata()?.len())
    }
}

impl Read for Verified {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        if n == 0 && !buf.is_empty() {
            let got = self.file.digest();
            if got != self.digest {
                let damaged = Damaged {
                    expected: self.digest,
                    got,
                    size_bytes: self.file.seen_bytes(),
                };
                return Err(io::Error::new(io::ErrorKind::InvalidData, damaged));
            }
        }
        Ok(n)
    }
}
