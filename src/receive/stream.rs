//! A reader of the pack that limits its length and knows afterwards whether all of it was used.

use std::io::{self, BufRead, Read};

use super::Error;
use super::request::read_error;

const BUFFER_BYTES: usize = 64 * 1024;

/// Hands out a stream up to a limit of bytes.
///
/// The unpacking code reads ahead into a buffer of its own, so that what follows the pack would be
/// lost in there unseen. Therefore the last bytes of the stream are handed out singly: whoever
/// stops reading before the end then has not taken the end, however large its buffer.
pub(super) struct Exact<'a> {
    inner: &'a mut dyn BufRead,
    /// Length of a pack's checksum, its last bytes.
    trailer_bytes: usize,
    /// `buffer[next..end]` was read from `inner` and not handed out.
    buffer: Vec<u8>,
    next: usize,
    end: usize,
    limit_bytes: u64,
    left: u64,
    ended: bool,
    /// The stream was longer than the limit.
    over_limit: bool,
    /// More was wanted than there is.
    cut: bool,
    /// The error of `inner`, which the unpacking code would bury.
    error: Option<io::Error>,
}

impl<'a> Exact<'a> {
    pub fn new(inner: &'a mut dyn BufRead, hash: gix::hash::Kind, limit_bytes: u64) -> Self {
        Self {
            inner,
            trailer_bytes: hash.len_in_bytes(),
            buffer: vec![0; BUFFER_BYTES],
            next: 0,
            end: 0,
            limit_bytes,
            left: limit_bytes,
            ended: false,
            over_limit: false,
            cut: false,
            error: None,
        }
    }

    /// Requires that everything was handed out and nothing follows.
    pub fn require_end(&mut self) -> Result<(), Error> {
        match self.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(Error::Junk),
            Err(error) => Err(self.trouble().unwrap_or(Error::Read { source: error })),
        }
    }

    /// What went wrong with the stream itself, where reading it ended in an error.
    pub fn trouble(&mut self) -> Option<Error> {
        if let Some(source) = self.error.take() {
            return Some(read_error(source));
        }
        if self.over_limit {
            let limit_bytes = self.limit_bytes;
            return Some(Error::PackBytes { limit_bytes });
        }
        self.cut.then_some(Error::Cut)
    }

    /// Reads until more than the trailer is there, or all.
    fn refill(&mut self) -> io::Result<()> {
        while !self.ended && self.end - self.next <= self.trailer_bytes {
            self.buffer.copy_within(self.next..self.end, 0);
            self.end -= self.next;
            self.next = 0;
            let got = match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let kind = error.kind();
                    self.error = Some(error);
                    return Err(kind.into());
                }
            };
            self.ended = got == 0;
            self.end += got;
            let Some(left) = self.left.checked_sub(got as u64) else {
                self.over_limit = true;
                return Err(io::ErrorKind::FileTooLarge.into());
            };
            self.left = left;
        }
        Ok(())
    }
}

impl BufRead for Exact<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.refill()?;
        let there = self.end - self.next;
        let given = match there.saturating_sub(self.trailer_bytes) {
            0 => there.min(1),
            all_but_trailer => all_but_trailer,
        };
        Ok(&self.buffer[self.next..self.next + given])
    }

    fn consume(&mut self, bytes: usize) {
        self.next += bytes;
    }
}

impl Read for Exact<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(buf.len());
        buf[..count].copy_from_slice(&there[..count]);
        self.cut |= count == 0 && !buf.is_empty();
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `take` bytes through a buffer of `capacity`, as the unpacking code does.
    fn used_up(stream: &[u8], take: usize, capacity: usize) -> bool {
        let mut inner = stream;
        let mut exact = Exact::new(&mut inner, gix::hash::Kind::Sha1, 1 << 20);
        let mut taken = vec![0; take];
        let mut reader = io::BufReader::with_capacity(capacity, &mut exact);
        reader.read_exact(&mut taken).unwrap();
        assert_eq!(taken, stream[..take]);
        match exact.require_end() {
            Ok(()) => true,
            Err(Error::Junk) => false,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_follows_is_seen_whatever_is_read_ahead() {
        let stream: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
        for capacity in [1, 100, 8192, 1 << 20] {
            for length in [1, 19, 20, 21, 100, 65_536, 65_556, 200_000] {
                assert!(used_up(&stream[..length], length, capacity));
                for junk in [1, 2, 19, 20, 21, 1000] {
                    if junk < length {
                        assert!(!used_up(&stream[..length], length - junk, capacity));
                    }
                }
            }
        }
    }

    #[test]
    fn the_limit_is_exact() {
        for (limit, over) in [(100, false), (99, true)] {
            let mut inner = &[7u8; 100][..];
            let mut exact = Exact::new(&mut inner, gix::hash::Kind::Sha1, limit);
            assert_eq!(exact.read_to_end(&mut Vec::new()).is_err(), over);
            assert_eq!(exact.over_limit, over);
        }
    }
}
