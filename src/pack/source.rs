//! A slug's bytes on their way to the tar: its gzip members, told apart while they are decompressed.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::CHUNK_BYTES;
use crate::digest::{Continuing, Digest, PieceHasher};
use crate::slug::{Member, States};

/// Decompresses a slug and remembers its members.
///
/// Nothing is decompressed before it is asked for: how many bytes were read tells the member of the
/// next one.
pub struct Source<R> {
    /// The decoder of the current member; none while the next one is opened.
    decoder: Option<GzDecoder<Compressed<R>>>,
    /// Whether all was read; the decoder is then one without a byte.
    ended: bool,
    members: Vec<Member>,
    most_members: u64,
    /// Of the current member, so far.
    tar_bytes: u64,
    /// Of the slug, before the current member.
    offset: u64,
    /// Of the tar.
    tar: Continuing,
    /// Of the current member's piece of it.
    input: PieceHasher,
}

/// What was read, all of it.
pub struct Whole {
    pub members: Vec<Member>,
    pub digest: Digest,
    pub diff_id: Digest,
    pub size_bytes: u64,
    pub tar_bytes: u64,
}

impl<R: Read> Source<R> {
    pub fn new(slug: R, most_members: u64) -> Self {
        Self {
            decoder: Some(GzDecoder::new(Compressed::new(slug))),
            ended: false,
            members: Vec::new(),
            most_members,
            tar_bytes: 0,
            offset: 0,
            tar: Continuing::default(),
            input: PieceHasher::default(),
        }
    }

    /// What was read; its end must have been reached.
    pub fn finish(self) -> Option<Whole> {
        let compressed = self.decoder?.into_inner();
        Some(Whole {
            members: self.members,
            size_bytes: compressed.slug.seen_bytes(),
            digest: compressed.slug.digest(),
            tar_bytes: self.tar.seen_bytes(),
            diff_id: self.tar.digest(),
        })
    }

    /// Ends the current member and opens the next one, if there is one.
    fn next_member(&mut self) -> io::Result<()> {
        let decoder = self.decoder.take().ok_or(io::ErrorKind::InvalidData)?;
        let mut compressed = decoder.into_inner();
        let end = compressed.slug.seen_bytes();
        self.members.push(Member {
            offset: self.offset,
            size_bytes: end - self.offset,
            tar_bytes: self.tar_bytes,
            digest: compressed.member.take(),
            input: self.input.take(),
            states: States {
                slug: compressed.slug.state(),
                tar: self.tar.state(),
            },
        });
        if self.members.len() as u64 > self.most_members {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("more than {} gzip members", self.most_members),
            ));
        }
        self.offset = end;
        self.tar_bytes = 0;
        self.ended = compressed.fill_buf()?.is_empty();
        self.decoder = Some(GzDecoder::new(compressed));
        Ok(())
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while !self.ended {
            let decoder = self.decoder.as_mut().ok_or(io::ErrorKind::InvalidData)?;
            let n = decoder.read(buf)?;
            if n > 0 {
                self.tar_bytes += n as u64;
                self.tar.see(&buf[..n]);
                self.input.see(&buf[..n]);
                return Ok(n);
            }
            self.next_member()?;
        }
        Ok(0)
    }
}

/// The compressed bytes, digested as the decoder takes them.
struct Compressed<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    slug: Continuing,
    member: PieceHasher,
}

impl<R: Read> Compressed<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; CHUNK_BYTES],
            start: 0,
            end: 0,
            slug: Continuing::default(),
            member: PieceHasher::default(),
        }
    }
}

impl<R: Read> Read for Compressed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buf)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Compressed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = loop {
                match self.input.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result?,
                }
            };
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, bytes: usize) {
        let taken = &self.buffer[self.start..self.start + bytes];
        self.slug.see(taken);
        self.member.see(taken);
        self.start += bytes;
    }
}
