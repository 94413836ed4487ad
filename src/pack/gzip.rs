//! The encoder of format 0: bytes in, one gzip member out, the same for the same bytes.
//!
//! How the bytes are cut into writes does not show in the output: the encoder is fed whole chunks.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

/// What the encoder is fed at once.
const CHUNK_BYTES: usize = 64 * 1024;

const LEVEL: u32 = 6;

/// "unknown", of RFC 1952's operating systems.
const OPERATING_SYSTEM: u8 = 255;

/// Compresses what is written to it.
pub struct Chunked<W: Write> {
    encoder: GzEncoder<W>,
    chunk: Vec<u8>,
}

impl<W: Write> Chunked<W> {
    /// Starts a gzip member.
    pub fn new(out: W) -> Self {
        Self {
            encoder: GzBuilder::new()
                .mtime(0)
                .operating_system(OPERATING_SYSTEM)
                .write(out, Compression::new(LEVEL)),
            chunk: Vec::with_capacity(CHUNK_BYTES),
        }
    }

    /// Ends the member and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.encoder.write_all(&self.chunk)?;
        self.encoder.finish()
    }
}

impl<W: Write> Write for Chunked<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&buf[..n]);
        if self.chunk.len() == CHUNK_BYTES {
            self.encoder.write_all(&self.chunk)?;
            self.chunk.clear();
        }
        Ok(n)
    }

    /// Does nothing: a flush in the middle would show in the output.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time.
    struct Slow(Vec<u8>);

    impl Write for Slow {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let n = buf.len().min(7);
            self.0.extend_from_slice(&buf[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn writes_do_not_show_in_the_output() {
        let bytes = super::super::tests::noise(300_000);
        let outputs: Vec<Vec<u8>> = [1, 511, 65_536, 300_000]
            .into_iter()
            .map(|size| {
                let mut gzip = Chunked::new(Slow(Vec::new()));
                for piece in bytes.chunks(size) {
                    gzip.write_all(piece).unwrap();
                    gzip.flush().unwrap();
                }
                gzip.finish().unwrap().0
            })
            .collect();
        assert_eq!(outputs[0][..10], [31, 139, 8, 0, 0, 0, 0, 0, 0, 255]);
        assert!(outputs.iter().all(|output| *output == outputs[0]));
    }
}
