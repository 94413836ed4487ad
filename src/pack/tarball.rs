//! The tar of format 0: entries in, normalised bytes out.
//!
//! Headers are filled in by hand, because the `tar` crate takes the `./` off a path. Callers give
//! the entries in their order, paths relative to the app's root.

use std::io::{self, Write};

use tar::{EntryType, Header};

use crate::slug::{MTIME_SECONDS, PREFIX};

pub const BLOCK_BYTES: usize = 512;

/// Longest name or link target that a header has room for.
const NAME_BYTES: usize = 100;

/// The name of the entries that carry a long name or link target, as GNU tar has it.
const LONG_LINK: &[u8] = b"././@LongLink";

/// Writes a tar.
pub struct Tarball<W> {
    out: W,
}

impl<W: Write> Tarball<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// What the archive is written to.
    pub fn out(&self) -> &W {
        &self.out
    }

    /// Writes a directory; the empty path is the app's root.
    pub fn directory(&mut self, path: &[u8]) -> io::Result<()> {
        let mut name = name(path);
        if !path.is_empty() {
            name.push(b'/');
        }
        self.header(&name, b"", EntryType::Directory, 0o755, 0)
    }

    /// Writes a symlink.
    pub fn symlink(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.header(&name(path), target, EntryType::Symlink, 0o777, 0)
    }

    /// Starts a file; its `size_bytes` must be written to what this returns.
    pub fn file(
        &mut self,
        path: &[u8],
        executable: bool,
        size_bytes: u64,
    ) -> io::Result<Body<'_, W>> {
        let mode = if executable { 0o755 } else { 0o644 };
        self.header(&name(path), b"", EntryType::Regular, mode, size_bytes)?;
        Ok(Body {
            out: &mut self.out,
            size_bytes,
        })
    }

    /// Ends the archive and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
        Ok(self.out)
    }

    fn header(
        &mut self,
        name: &[u8],
        target: &[u8],
        kind: EntryType,
        mode: u32,
        size_bytes: u64,
    ) -> io::Result<()> {
        self.long(target, EntryType::GNULongLink)?;
        self.long(name, EntryType::GNULongName)?;
        let mut header = header(name, kind, mode, size_bytes);
        let target = &target[..target.len().min(NAME_BYTES)];
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        header.set_mtime(MTIME_SECONDS);
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    /// Writes the entry that carries what the next header has no room for.
    fn long(&mut self, text: &[u8], kind: EntryType) -> io::Result<()> {
        if text.len() <= NAME_BYTES {
            return Ok(());
        }
        let size_bytes = text.len() as u64 + 1;
        let mut header = header(LONG_LINK, kind, 0o644, size_bytes);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(text)?;
        self.out.write_all(&[0])?;
        self.out.write_all(padding(size_bytes))
    }
}

/// The content of one file.
#[must_use = "content that is not finished leaves the archive without its padding"]
pub struct Body<'a, W> {
    out: &'a mut W,
    size_bytes: u64,
}

impl<W: Write> Body<'_, W> {
    /// Writes a part of the content.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Fills up the last block.
    pub fn finish(self) -> io::Result<()> {
        self.out.write_all(padding(self.size_bytes))
    }
}

fn header(name: &[u8], kind: EntryType, mode: u32, size_bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    let name = &name[..name.len().min(NAME_BYTES)];
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size_bytes);
    header
}

fn name(path: &[u8]) -> Vec<u8> {
    [PREFIX.as_bytes(), path].concat()
}

/// The zeros that fill up the last block of `size_bytes`.
fn padding(size_bytes: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    let zeros = size_bytes.next_multiple_of(BLOCK_BYTES as u64) - size_bytes;
    &ZEROS[..usize::try_from(zeros).expect("less than a block")]
}
