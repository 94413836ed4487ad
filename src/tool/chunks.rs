//! A stream of bytes whose end is said, so that one that is cut is never taken for a whole one.

use std::io::{self, Read, Write};

/// Largest chunk.
const CHUNK_BYTES: usize = 64 << 10;

/// Writes chunks; [`Chunks::finish`] says that all was written.
pub struct Chunks<W: Write> {
    inner: W,
    buffer: Vec<u8>,
}

impl<W: Write> Chunks<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            buffer: Vec::with_capacity(CHUNK_BYTES),
        }
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.inner.write_all(&0_u32.to_be_bytes())?;
        self.inner.flush()
    }
}

impl<W: Write> Write for Chunks<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = buf.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&buf[..taken]);
        if self.buffer.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(self.buffer.len()).map_err(io::Error::other)?;
        self.inner.write_all(&length.to_be_bytes())?;
        self.inner.write_all(&self.buffer)?;
        self.buffer.clear();
        self.inner.flush()
    }
}

/// Reads what [`Chunks`] writes; an end that was not said is an error.
pub struct ChunksReader<R> {
    inner: R,
    /// Bytes left of this chunk; none at the end of all.
    left: Option<usize>,
}

impl<R: Read> ChunksReader<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            left: Some(0),
        }
    }
}

impl<R: Read> Read for ChunksReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == Some(0) {
            let mut length = [0; 4];
            self.inner.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if length > CHUNK_BYTES {
                return Err(io::Error::other("a chunk is too long"));
            }
            self.left = (length > 0).then_some(length);
        }
        let Some(left) = self.left else { return Ok(0) };
        let room = left.min(buf.len());
        let n = self.inner.read(&mut buf[..room])?;
        if n == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = Some(left - n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_stream_is_read_to_its_end() {
        let bytes = (0..200_000_u32)
            .map(|n| n.to_le_bytes()[0])
            .collect::<Vec<_>>();
        let mut sent = Vec::new();
        let mut chunks = Chunks::new(&mut sent);
        chunks.write_all(&bytes).unwrap();
        chunks.finish().unwrap();
        let mut read = Vec::new();
        ChunksReader::new(&sent[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
        for cut in [0, 3, 4, 5, CHUNK_BYTES + 4, sent.len() - 4, sent.len() - 1] {
            let read = ChunksReader::new(&sent[..cut]).read_to_end(&mut Vec::new());
            assert!(read.is_err(), "{cut}");
        }
        let long = [0xff; 100];
        assert!(ChunksReader::new(&long[..]).read(&mut [0; 10]).is_err());
    }
}
