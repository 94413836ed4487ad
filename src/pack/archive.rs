//! The entries of a tar, one after the other, read strictly: what two readers of tars might take
//! for two things is malformed.
//!
//! Names are given as they stand in the archive; `entries` judges them. Long names are read from
//! GNU's `L` and `K` entries and from PAX records. All bytes are counted against a limit, and what
//! is held in memory has a limit of its own.

use std::io::{self, Read};
use std::ops::Range;

use tar::{EntryType, Header};

use super::Error;
use super::tarball::BLOCK_BYTES;

/// Most bytes of a long name or of PAX records.
const EXTENSION_BYTES: u64 = 64 * 1024;

/// A tar being read.
pub struct Archive<R> {
    tar: R,
    /// Bytes read so far.
    offset: u64,
    /// Where the current entry starts and ends.
    place: Range<u64>,
    /// Bytes of the current entry's content that were not read yet, and the zeros after it.
    content: u64,
    padding: u64,
    limit_bytes: u64,
}

/// The header of an entry, with its extensions.
pub struct Raw {
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: EntryType,
    pub executable: bool,
    pub mtime_seconds: u64,
    pub size_bytes: u64,
}

/// What extensions say of the entry after them.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size_bytes: Option<u64>,
}

impl<R: Read> Archive<R> {
    /// Reads a tar of at most `limit_bytes`.
    pub fn new(tar: R, limit_bytes: u64) -> Self {
        Self {
            tar,
            offset: 0,
            place: 0..0,
            content: 0,
            padding: 0,
            limit_bytes,
        }
    }

    /// What the tar is read from; all of it has been read once [`Archive::next`] gave `None`.
    pub fn into_inner(self) -> R {
        self.tar
    }

    /// The next entry; what is left of the current one's content is skipped.
    pub fn next(&mut self) -> Result<Option<Raw>, Error> {
        let mut extensions = Extensions::default();
        let mut extended = false;
        loop {
            self.skip()?;
            let mut header = Header::new_old();
            self.fill(header.as_mut_bytes())?;
            if header.as_bytes().iter().all(|byte| *byte == 0) {
                if extended {
                    return Err(self.malformed("a long name without its entry"));
                }
                self.end()?;
                return Ok(None);
            }
            if !extended {
                self.place.start = self.offset - BLOCK_BYTES as u64;
            }
            let size_bytes = self.begin(&header)?;
            self.place.end = self.offset + self.content + self.padding;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let text = self.extension()?;
                    self.once(&mut extensions.name, until_zero(text))?;
                }
                EntryType::GNULongLink => {
                    let text = self.extension()?;
                    self.once(&mut extensions.link, until_zero(text))?;
                }
                EntryType::XHeader => self.pax(&mut extensions)?,
                EntryType::XGlobalHeader => {
                    // `git archive` writes the commit into one; what it may not do is rename.
                    let mut global = Extensions::default();
                    self.pax(&mut global)?;
                    if global.name.is_some() || global.link.is_some() || global.size_bytes.is_some()
                    {
                        return Err(self.malformed("global records that change entries"));
                    }
                    continue;
                }
                _ => return self.raw(&header, size_bytes, extensions).map(Some),
            }
            extended = true;
        }
    }

    /// Where the current entry is: from its first header to the end of its last block.
    pub fn place(&self) -> Range<u64> {
        self.place.clone()
    }

    /// Reads the next bytes of the current entry's content; none at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let most = usize::try_from(self.content).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = loop {
            match self.tar.read(&mut buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Err(Error::ReadSlug(io::ErrorKind::UnexpectedEof.into())),
                result => break result.map_err(Error::ReadSlug)?,
            }
        };
        self.content -= n as u64;
        self.count(n as u64)?;
        Ok(n)
    }

    /// Checks a header and opens its content.
    fn begin(&mut self, header: &Header) -> Result<u64, Error> {
        // As if the sum's own field were blanks.
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let bytes = header.as_bytes();
        if header.cksum().ok() != Some(sum(&bytes[..148]) + sum(&bytes[156..]) + 8 * 32) {
            return Err(self.malformed("a header with a wrong sum"));
        }
        let size_bytes = header
            .entry_size()
            .map_err(|_| self.malformed("a header without a size"))?;
        if size_bytes > self.limit_bytes.saturating_sub(self.offset) {
            return Err(Error::TooManyBytes {
                limit_bytes: self.limit_bytes,
            });
        }
        self.content = size_bytes;
        self.padding = size_bytes.next_multiple_of(BLOCK_BYTES as u64) - size_bytes;
        Ok(size_bytes)
    }

    fn raw(&self, header: &Header, size_bytes: u64, extensions: Extensions) -> Result<Raw, Error> {
        if extensions.size_bytes.is_some_and(|size| size != size_bytes) {
            return Err(self.malformed("two sizes of one entry"));
        }
        let old = header.as_old();
        Ok(Raw {
            name: extensions.name.unwrap_or_else(|| header_name(header)),
            link: extensions
                .link
                .unwrap_or_else(|| until_zero(old.linkname.to_vec())),
            kind: header.entry_type(),
            executable: header
                .mode()
                .map_err(|_| self.malformed("a header without a mode"))?
                & 0o111
                != 0,
            mtime_seconds: header
                .mtime()
                .map_err(|_| self.malformed("a header without a time"))?,
            size_bytes,
        })
    }

    /// Reads the content of an extension.
    fn extension(&mut self) -> Result<Vec<u8>, Error> {
        if self.content > EXTENSION_BYTES {
            return Err(self.malformed("a long name that is too long"));
        }
        let mut text = vec![0; usize::try_from(self.content).unwrap_or(usize::MAX)];
        let mut filled = 0;
        // A decoder gives what it has, which may end within a record.
        while filled < text.len() {
            filled += self.read(&mut text[filled..])?;
        }
        Ok(text)
    }

    /// Reads PAX records: `<length> <key>=<value>\n`, the length counting all of it.
    fn pax(&mut self, extensions: &mut Extensions) -> Result<(), Error> {
        let text = self.extension()?;
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (key, value, after) =
                record(rest).ok_or_else(|| self.malformed("a broken PAX record"))?;
            rest = after;
            match key {
                b"path" => self.once(&mut extensions.name, value.to_vec())?,
                b"linkpath" => self.once(&mut extensions.link, value.to_vec())?,
                b"size" => {
                    let size = str::from_utf8(value)
                        .ok()
                        .and_then(|text| text.parse().ok());
                    let size = size.ok_or_else(|| self.malformed("a broken PAX size"))?;
                    self.once(&mut extensions.size_bytes, size)?;
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(self.malformed("a sparse file"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn once<T>(&self, slot: &mut Option<T>, value: T) -> Result<(), Error> {
        if slot.replace(value).is_some() {
            return Err(self.malformed("two long names of one entry"));
        }
        Ok(())
    }

    /// Skips what is left of the current entry.
    fn skip(&mut self) -> Result<(), Error> {
        let mut buffer = [0; 8 * 1024];
        while self.content > 0 {
            self.read(&mut buffer)?;
        }
        let padding = usize::try_from(self.padding).unwrap_or(usize::MAX);
        self.fill(&mut buffer[..padding])?;
        self.padding = 0;
        Ok(())
    }

    /// Reads to the end of the source: after a tar's end there are zeros alone.
    fn end(&mut self) -> Result<(), Error> {
        let mut buffer = [0; 8 * 1024];
        loop {
            let n = match self.tar.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::ReadSlug(error)),
            };
            if buffer[..n].iter().any(|byte| *byte != 0) {
                return Err(self.malformed("bytes after its end"));
            }
            self.count(n as u64)?;
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.tar.read_exact(buffer).map_err(Error::ReadSlug)?;
        self.count(buffer.len() as u64)
    }

    fn count(&mut self, bytes: u64) -> Result<(), Error> {
        self.offset += bytes;
        if self.offset > self.limit_bytes {
            return Err(Error::TooManyBytes {
                limit_bytes: self.limit_bytes,
            });
        }
        Ok(())
    }

    fn malformed(&self, why: &'static str) -> Error {
        Error::Malformed {
            offset: self.offset,
            why,
        }
    }
}

/// A header's own name; a ustar header may have its first part apart.
fn header_name(header: &Header) -> Vec<u8> {
    let name = until_zero(header.as_old().name.to_vec());
    match header.as_ustar() {
        Some(ustar) if ustar.prefix[0] != 0 => {
            let mut path = until_zero(ustar.prefix.to_vec());
            path.push(b'/');
            path.extend(name);
            path
        }
        _ => name,
    }
}

fn until_zero(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    text
}

/// Splits off a PAX record: its key, its value and what comes after it.
fn record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = text.iter().position(|byte| *byte == b' ')?;
    let length: usize = str::from_utf8(&text[..blank]).ok()?.parse().ok()?;
    let record = text.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &text[length..]))
}

#[cfg(test)]
mod tests {
    use super::super::tarball;
    use super::*;

    /// Gives so many bytes at a time at most.
    struct InPieces<'a>(&'a [u8], usize);

    impl Read for InPieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn a_long_name_may_come_in_pieces() {
        let (path, target) = ([b'n'; 200], [b't'; 300]);
        let mut tar = Vec::new();
        tarball::symlink(&mut tar, &path, &target);
        tar.extend(tarball::END);
        for most in [1, 7, 100, 513, 10_000] {
            let mut archive = Archive::new(InPieces(&tar, most), 1 << 20);
            let raw = archive.next().unwrap().unwrap();
            assert_eq!(raw.name, [b"./app/", &path[..]].concat(), "{most}");
            assert_eq!(raw.link, target, "{most}");
            assert!(archive.next().unwrap().is_none());
        }
    }
}
