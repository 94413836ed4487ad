//! Limits that the kernel tells the program alone: of those its own last words are the only sign.

use memchr::memmem;

use super::limits::Limit;
use super::stream::Exit;

/// What programs say at a limit, but for a first letter that some write small.
struct Words {
    text: &'static [u8],
    /// What stands before and after it where another limit is meant.
    other: [&'static [u8]; 2],
    limit: Limit,
}

const fn words(text: &'static [u8], other: [&'static [u8]; 2], limit: Limit) -> Words {
    Words { text, other, limit }
}

/// What the C library says of `EMFILE`, but not of `ENFILE`, and of `EFBIG`.
const WORDS: [Words; 2] = [
    words(
        b"oo many open files",
        [b"", b" in system"],
        Limit::OpenFiles,
    ),
    words(b"ile too large", [b"", b""], Limit::FileBytes),
];
/// The same of `ENOMEM`, and what languages say instead, but for a heap of their own. The kernel says
/// it only where it limits the memory of one process; of a control group it kills one.
const MEMORY_WORDS: [Words; 3] = [
    words(b"annot allocate memory", [b"", b""], Limit::Memory),
    words(b"MemoryError", [b"", b""], Limit::Memory),
    words(b"ut of memory", [b"heap o", b""], Limit::Memory),
];
/// What was said before the last bytes is not what the command failed at.
const LAST_BYTES: usize = 16 << 10;

/// Listens to a command's output.
#[derive(Debug, Default)]
pub(super) struct Heard(Vec<u8>);

impl Heard {
    /// Listens to the next chunk.
    pub fn listen(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
        if self.0.len() > 2 * LAST_BYTES {
            self.0.drain(..self.0.len() - LAST_BYTES);
        }
    }

    /// The limit that a command has probably failed at. `limits_data`: whether the memory of each
    /// process was limited.
    pub fn limit(&self, limits_data: bool) -> Option<Limit> {
        let last = &self.0[self.0.len().saturating_sub(LAST_BYTES)..];
        let memory = MEMORY_WORDS.iter().filter(|_| limits_data);
        let mut all = memory.chain(&WORDS);
        all.find(|words| words.are_in(last))
            .map(|words| words.limit)
    }
}

impl Words {
    fn are_in(&self, said: &[u8]) -> bool {
        let [before, after] = self.other;
        memmem::find_iter(said, self.text).any(|at| {
            let is_other = (!before.is_empty() && said[..at].ends_with(before))
                || (!after.is_empty() && said[at + self.text.len()..].starts_with(after));
            !is_other
        })
    }
}

/// The limit that a command was killed at by the kernel.
pub(super) fn limit_of(exit: Exit) -> Option<Limit> {
    (exit == Exit::Signal(nix::libc::SIGXFSZ)).then_some(Limit::FileBytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_heard_wherever_the_chunks_are_cut() {
        let text = b"x: cannot open y: Too many open files\nnpm ERR!";
        for size in 1..text.len() {
            let mut heard = Heard::default();
            text.chunks(size).for_each(|chunk| heard.listen(chunk));
            assert_eq!(heard.limit(false), Some(Limit::OpenFiles), "{size}");
        }
        assert_eq!(limit_of(Exit::Signal(25)), Some(Limit::FileBytes));
        assert_eq!(limit_of(Exit::Code(1)), None);
    }

    #[test]
    fn other_limits_and_what_was_said_long_before_are_no_sign() {
        let said = |texts: &[&[u8]]| {
            let mut heard = Heard::default();
            for text in texts {
                heard.listen(text);
            }
            heard
        };
        let of_system = said(&[b"open: Too many open files in system\n"]);
        assert_eq!(of_system.limit(true), None);
        assert_eq!(said(&[b"many open files"]).limit(true), None);
        let much = vec![b'x'; 3 * LAST_BYTES];
        let before = said(&[b"a test for: too many open files\n", &much, b"failed"]);
        assert_eq!(before.limit(true), None);
        let of_engine = said(&[b"FATAL ERROR: JavaScript heap out of memory\n"]);
        assert_eq!(of_engine.limit(true), None);
        let memory = said(&[b"fork: Cannot allocate memory\n"]);
        assert_eq!(memory.limit(true), Some(Limit::Memory));
        assert_eq!(memory.limit(false), None);
    }
}
