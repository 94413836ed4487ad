//! What one slug has more than another, and the slug made whole again from both.
//!
//! A delta is a line of JSON, [`Head`], and then the members that the older slug lacks, one after
//! the other.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hashing};
use crate::slug::{Manifest, Member};

/// The delta format that this binary writes.
const FORMAT: u32 = 1;

/// Longest head; a slug of 16 GiB whose every other member has changed stays below it.
const HEAD_BYTES: u64 = 4 << 20;

/// Bytes copied at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a delta is of, and how the newer slug is put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Of the delta.
    pub format: u32,
    pub from: Digest,
    pub to: Digest,
    /// Of the newer slug.
    pub size_bytes: u64,
    pub parts: Vec<Part>,
}

/// Some members in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// As the older slug has them: from where on, and how many bytes.
    Old(u64, u64),
    /// As they come in the delta: how many bytes.
    New(u64),
}

/// Why a slug cannot be told from a delta.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    #[error("a file that is no delta")]
    NoDelta(#[source] io::Error),
    #[error("a delta of format {format}")]
    Format { format: u32 },
    #[error("reading the older slug or writing")]
    Io(#[source] io::Error),
}

/// Writes what makes `from` into `to`, and says how; `to_slug` holds the newer slug.
///
/// # Errors
/// `to_slug` cannot be read, or `out` not be written.
pub fn delta(
    from: &Manifest,
    to: &Manifest,
    to_slug: &File,
    mut out: impl Write,
) -> Result<Head, DeltaError> {
    let old = from
        .members
        .iter()
        .map(|member| (member.digest, member))
        .collect::<HashMap<_, _>>();
    let places = from
        .members
        .iter()
        .map(|member| (member.offset, member.digest))
        .collect::<HashMap<_, _>>();
    let mut parts = Vec::new();
    for member in &to.members {
        let Member { size_bytes, .. } = *member;
        match (old.get(&member.digest), parts.last_mut()) {
            // Members may be alike: the one that follows is preferred.
            (Some(_), Some(Part::Old(start, bytes)))
                if places.get(&(*start + *bytes)) == Some(&member.digest) =>
            {
                *bytes += size_bytes;
            }
            (Some(old), _) => parts.push(Part::Old(old.offset, size_bytes)),
            (None, Some(Part::New(bytes))) => *bytes += size_bytes,
            (None, _) => parts.push(Part::New(size_bytes)),
        }
    }
    let head = Head {
        format: FORMAT,
        from: from.summary.digest,
        to: to.summary.digest,
        size_bytes: to.summary.size_bytes,
        parts,
    };
    let mut write = || -> io::Result<()> {
        let line = serde_json::to_string(&head)? + "\n";
        out.write_all(line.as_bytes())?;
        let mut offset = 0;
        let mut buffer = vec![0; CHUNK_BYTES];
        for part in &head.parts {
            let (Part::Old(_, bytes) | Part::New(bytes)) = *part;
            if matches!(part, Part::New(_)) {
                let mut left = bytes;
                while left > 0 {
                    let n = least(left, buffer.len());
                    to_slug.read_exact_at(&mut buffer[..n], offset + bytes - left)?;
                    out.write_all(&buffer[..n])?;
                    left -= n as u64;
                }
            }
            offset += bytes;
        }
        out.flush()
    };
    write().map_err(DeltaError::Io)?;
    Ok(head)
}

/// The newer slug, read from a delta and the older one.
///
/// The end, where `read` gives 0, is only reached if the bytes are the newer slug's.
pub struct Patched<D> {
    old: File,
    delta: D,
    head: Head,
    /// The parts that are still to come, last first; the first of them from its current place on.
    parts: Vec<Part>,
    slug: Hashing<io::Sink>,
}

impl<D: BufRead> Patched<D> {
    /// Starts with the head of a delta.
    ///
    /// # Errors
    /// It is none, or one that this binary cannot read.
    pub fn new(old: File, mut delta: D) -> Result<Self, DeltaError> {
        let mut line = Vec::new();
        (&mut delta)
            .take(HEAD_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(DeltaError::NoDelta)?;
        let head: Head =
            serde_json::from_slice(&line).map_err(|error| DeltaError::NoDelta(error.into()))?;
        if head.format != FORMAT {
            let format = head.format;
            return Err(DeltaError::Format { format });
        }
        Ok(Self {
            old,
            delta,
            parts: head.parts.iter().rev().copied().collect(),
            head,
            slug: Hashing::new(io::sink()),
        })
    }

    /// What the delta is of.
    pub fn head(&self) -> &Head {
        &self.head
    }
}

impl<D: BufRead> Read for Patched<D> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        while let Some(part) = self.parts.pop() {
            let (Part::Old(_, left) | Part::New(left)) = part;
            let most = least(left, buf.len());
            if left == 0 || most == 0 {
                if left > 0 {
                    self.parts.push(part);
                    return Ok(0);
                }
                continue;
            }
            let n = match part {
                Part::Old(offset, _) => self.old.read_at(&mut buf[..most], offset)?,
                Part::New(_) => self.delta.read(&mut buf[..most])?,
            };
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = n as u64;
            self.parts.push(match part {
                Part::Old(offset, left) => Part::Old(offset.saturating_add(taken), left - taken),
                Part::New(left) => Part::New(left - taken),
            });
            self.slug.see(&buf[..n]);
            if self.slug.seen_bytes() > self.head.size_bytes {
                return Err(invalid("more bytes than the delta says"));
            }
            return Ok(n);
        }
        if self.slug.digest() != self.head.to {
            return Err(invalid("the slug is not the one that the delta is of"));
        }
        Ok(0)
    }
}

fn least(left: u64, most: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(most)
}
