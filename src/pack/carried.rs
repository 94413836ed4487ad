//! The digests of a slug's files, to be carried over with its members: the last ones in memory, and
//! where there are very many the others in a temporary file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::digest::PieceDigest;

/// Most digests that are in memory: 2 MiB of them.
const IN_MEMORY: usize = 1 << 16;

const DIGEST_BYTES: usize = size_of::<PieceDigest>();

/// Digests by the order in which they came.
pub struct Carried {
    most_in_memory: usize,
    /// Those after the ones in the file.
    digests: Vec<PieceDigest>,
    in_file: usize,
    file: Option<File>,
}

impl Default for Carried {
    fn default() -> Self {
        Self {
            most_in_memory: IN_MEMORY,
            digests: Vec::new(),
            in_file: 0,
            file: None,
        }
    }
}

impl Carried {
    pub fn len(&self) -> usize {
        self.in_file + self.digests.len()
    }

    /// Adds one.
    ///
    /// # Errors
    /// The temporary file could not be made or written.
    pub fn push(&mut self, digest: PieceDigest) -> io::Result<()> {
        if self.digests.len() == self.most_in_memory {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(tempfile::tempfile()?),
            };
            let bytes = self.digests.iter().flat_map(PieceDigest::as_bytes);
            file.write_all(&bytes.copied().collect::<Vec<_>>())?;
            self.in_file += self.digests.len();
            self.digests.clear();
        }
        self.digests.push(digest);
        Ok(())
    }

    /// Those of some numbers, which there must be.
    ///
    /// # Errors
    /// The temporary file could not be read.
    pub fn get(&self, Range { start, end }: Range<usize>) -> io::Result<Cow<'_, [PieceDigest]>> {
        let in_memory = |number: usize| number.saturating_sub(self.in_file);
        let rest = &self.digests[in_memory(start)..in_memory(end)];
        let Some(file) = self.file.as_ref().filter(|_| start < self.in_file) else {
            return Ok(rest.into());
        };
        let mut bytes = vec![0; (end.min(self.in_file) - start) * DIGEST_BYTES];
        file.read_exact_at(&mut bytes, (start * DIGEST_BYTES) as u64)?;
        let (digests, _) = bytes.as_chunks();
        let digests = digests.iter().copied().map(PieceDigest::from_bytes);
        Ok(digests.chain(rest.iter().copied()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_there_wherever_they_are() {
        let digests = (0_u8..50)
            .map(|n| PieceDigest::of(&[n]))
            .collect::<Vec<_>>();
        for most_in_memory in [1, 7, 49, 50, 100] {
            let mut carried = Carried {
                most_in_memory,
                ..Carried::default()
            };
            for (number, digest) in digests.iter().enumerate() {
                assert_eq!(carried.len(), number);
                carried.push(*digest).unwrap();
            }
            assert_eq!(carried.file.is_some(), most_in_memory < digests.len());
            for start in 0..=digests.len() {
                for end in start..=digests.len() {
                    let got = carried.get(start..end).unwrap();
                    assert!(
                        *got == digests[start..end],
                        "{start}..{end} of {most_in_memory}"
                    );
                }
            }
        }
    }
}
