//! The bytes of a pack as they arrive: in memory, and from a certain size on in a file.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash;
use gix::objs::Kind;
use libdeflater::{CompressionLvl, Compressor, Crc};

use super::super::{Error, io_error};
use super::{Bytes, spool_path};

/// Bytes of a pack that is never in a file until it is promoted.
const SMALL_BYTES: usize = 1 << 20;

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A pack's bytes, to be written once from front to back and then read anywhere.
pub(super) struct Spool {
    dir: PathBuf,
    /// All of it, or what is not in the file yet.
    memory: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    written: u64,
    hasher: gix::hash::Hasher,
    hash: hash::Kind,
    /// The checksum, once it is known.
    pub checksum: ObjectId,
}

impl Spool {
    pub fn new(dir: &Path, hash: hash::Kind) -> Self {
        Self {
            dir: dir.to_owned(),
            memory: Vec::new(),
            file: None,
            written: 0,
            hasher: gix::hash::hasher(hash),
            hash,
            checksum: hash.null(),
        }
    }

    /// Where the quarantine is made.
    pub fn objects_dir(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }

    pub fn len(&self) -> u64 {
        self.written + self.memory.len() as u64
    }

    fn path(&self) -> PathBuf {
        spool_path(&self.dir)
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        self.memory.extend_from_slice(bytes);
        let limit = if self.file.is_some() {
            BUFFER_BYTES
        } else {
            SMALL_BYTES
        };
        if self.memory.len() > limit {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is in memory to the file, which it makes.
    fn flush(&mut self) -> Result<(), Error> {
        let path = self.path();
        let mut file = if let Some(file) = self.file.take() {
            file
        } else {
            let dir = self.dir.join("pack");
            fs::create_dir_all(&dir).map_err(io_error("making", &dir))?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(0o444);
            options.open(&path).map_err(io_error("making", &path))?
        };
        file.write_all(&self.memory)
            .map_err(io_error("writing", &path))?;
        self.written += self.memory.len() as u64;
        self.memory.clear();
        self.file = Some(file);
        Ok(())
    }

    /// Ends the pack as it was sent: `trailer` must be its checksum.
    pub fn seal(&mut self, trailer: &[u8]) -> bool {
        let hasher = std::mem::replace(&mut self.hasher, gix::hash::hasher(self.hash));
        match hasher.try_finalize() {
            Ok(checksum) if checksum.as_slice() == trailer => {
                self.checksum = checksum;
                true
            }
            _ => false,
        }
    }

    /// Writes the checksum behind the pack.
    pub fn close(&mut self) -> Result<(), Error> {
        let checksum = self.checksum;
        self.memory.extend_from_slice(checksum.as_slice());
        if self.file.is_some() {
            self.flush()?;
        }
        Ok(())
    }

    /// Appends a whole object; gives the checksum of its entry.
    pub fn append(&mut self, kind: Kind, data: &[u8]) -> Result<u32, Error> {
        let mut entry = Vec::with_capacity(data.len() / 2 + 64);
        let code = match kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        let low = |number: usize| number.to_le_bytes()[0];
        let (mut byte, mut rest) = (code << 4 | low(data.len()) & 0xf, data.len() >> 4);
        while rest > 0 {
            entry.push(byte | 0x80);
            (byte, rest) = (low(rest) & 0x7f, rest >> 7);
        }
        entry.push(byte);
        let mut compressor = Compressor::new(CompressionLvl::fastest());
        let head = entry.len();
        entry.resize(head + compressor.zlib_compress_bound(data.len()), 0);
        let packed = compressor.zlib_compress(data, &mut entry[head..]);
        entry.truncate(head + packed.map_err(|_| Error::Unreadable)?);
        self.write(&entry)?;
        let mut crc = Crc::new();
        crc.update(&entry);
        Ok(crc.sum())
    }

    /// Says another number of objects, since more were appended, and makes the checksum anew.
    pub fn recount(&mut self, count: u32) -> Result<(), Error> {
        let path = self.path();
        let mut hasher = gix::hash::hasher(self.hash);
        if self.file.is_some() {
            self.flush()?;
        }
        if let Some(file) = &self.file {
            file.write_all_at(&count.to_be_bytes(), 8)
                .map_err(io_error("writing", &path))?;
            let mut buffer = vec![0; BUFFER_BYTES];
            let mut at = 0;
            while at < self.written {
                let got = file
                    .read_at(&mut buffer, at)
                    .map_err(io_error("reading", &path))?;
                if got == 0 {
                    break;
                }
                hasher.update(&buffer[..got]);
                at += got as u64;
            }
        } else {
            self.memory[8..12].copy_from_slice(&count.to_be_bytes());
            hasher.update(&self.memory);
        }
        self.checksum = hasher.try_finalize().map_err(|_| Error::Unreadable)?;
        Ok(())
    }

    /// Reads some bytes into `buffer`, which it makes as long as they are.
    pub fn read(&self, at: u64, length: usize, buffer: &mut Vec<u8>) -> Result<(), Error> {
        buffer.clear();
        let Some(in_memory) = at.checked_sub(self.written) else {
            let Some(file) = &self.file else {
                return Err(Error::Unreadable);
            };
            let in_file = usize::try_from(self.written - at).unwrap_or(usize::MAX);
            buffer.resize(length.min(in_file), 0);
            file.read_exact_at(buffer, at)
                .map_err(io_error("reading", &self.path()))?;
            buffer.extend_from_slice(
                self.memory
                    .get(..length.saturating_sub(in_file))
                    .ok_or(Error::Unreadable)?,
            );
            return Ok(());
        };
        let from = usize::try_from(in_memory).unwrap_or(usize::MAX);
        let bytes = self.memory.get(from..).and_then(|rest| rest.get(..length));
        buffer.extend_from_slice(bytes.ok_or(Error::Unreadable)?);
        Ok(())
    }

    pub fn into_bytes(self) -> Bytes {
        match self.file {
            Some(_) => Bytes::File(self.path()),
            None => Bytes::Memory(self.memory),
        }
    }
}
