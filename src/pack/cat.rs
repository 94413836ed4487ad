//! One file out of a slug.

use std::io::{Read, Write};

use flate2::read::MultiGzDecoder;

use super::entries::{Entries, Item, ItemKind, Limits};
use super::{CHUNK_BYTES, Error};

/// What was found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cat {
    /// A file; its content was written.
    Written,
    /// A directory, symlink or hard link, which have no content of their own.
    NoFile,
    Missing,
}

/// Writes the content of the file at `path`, relative to the app's root, to `out`.
///
/// # Errors
/// The slug is broken up to there or has an entry that no slug may have; [`Error::WriteSlug`]:
/// `out` takes no more.
pub fn cat(slug: impl Read, path: &[u8], mut out: impl Write) -> Result<Cat, Error> {
    let mut entries = Entries::new(MultiGzDecoder::new(slug), &Limits::default());
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Some(Item {
        path: found, kind, ..
    }) = entries.next()?
    {
        if found != path {
            continue;
        }
        if !matches!(kind, ItemKind::File { .. }) {
            return Ok(Cat::NoFile);
        }
        loop {
            let n = entries.read(&mut buffer)?;
            if n == 0 {
                return Ok(Cat::Written);
            }
            out.write_all(&buffer[..n]).map_err(Error::WriteSlug)?;
        }
    }
    Ok(Cat::Missing)
}
