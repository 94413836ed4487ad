//! Limits that the kernel tells the program alone: of those its own words are the only sign.

use memchr::memmem;

use super::limits::Limit;
use super::stream::Exit;

/// What the C library says of `EMFILE` and `EFBIG`, but for the first letter, which some write small.
const WORDS: [(&[u8], Limit); 2] = [
    (b"oo many open files", Limit::OpenFiles),
    (b"ile too large", Limit::FileBytes),
];
/// As many bytes of the last chunk are looked at again as words may have begun in it.
const OVERLAP: usize = 17;

/// Listens to a command's output.
#[derive(Debug, Default)]
pub(super) struct Heard {
    limit: Option<Limit>,
    last: Vec<u8>,
}

impl Heard {
    /// Listens to the next chunk.
    pub fn listen(&mut self, chunk: &[u8]) {
        if self.limit.is_some() {
            return;
        }
        self.last.extend_from_slice(chunk);
        self.limit = said_in(&self.last);
        let surplus = self.last.len().saturating_sub(OVERLAP);
        self.last.drain(..surplus);
    }

    /// The limit that a command has probably failed at, which ended like this.
    pub fn limit(&self, exit: Exit) -> Option<Limit> {
        match exit {
            Exit::Code(0) => None,
            Exit::Signal(signal) if signal == nix::libc::SIGXFSZ => Some(Limit::FileBytes),
            _ => self.limit,
        }
    }
}

fn said_in(text: &[u8]) -> Option<Limit> {
    let has = |words: &[u8]| memmem::find(text, words).is_some();
    WORDS
        .iter()
        .find_map(|(words, limit)| has(words).then_some(*limit))
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
            assert_eq!(heard.limit(Exit::Code(1)), Some(Limit::OpenFiles), "{size}");
            assert_eq!(heard.limit(Exit::Code(0)), None);
        }
        let mut heard = Heard::default();
        heard.listen(b"many open files");
        assert_eq!(heard.limit(Exit::Code(1)), None);
        assert_eq!(heard.limit(Exit::Signal(25)), Some(Limit::FileBytes));
    }
}
