//! Keeps what a script prints within bounds: so many bytes, and lines that end at all.
//!
//! What is within bounds passes as it is, whatever its bytes mean. Of what is over, the script still
//! runs to its end; its last words are shown, since they say why it failed.

use std::io::{self, Write};

/// Most bytes of output of one script, but for its last words.
pub const OUTPUT_LIMIT_BYTES: u64 = 32 << 20;

/// Longest line. A carriage return begins a new one, too: progress bars are made of them.
pub const LINE_LIMIT_BYTES: usize = 64 << 10;

/// Most bytes of last words.
const LAST_BYTES: usize = 16 << 10;

/// What passes a script's output on.
pub(super) struct Bounded<'a> {
    inner: &'a mut dyn Write,
    left_bytes: u64,
    /// Bytes of the line that is being written.
    line_bytes: usize,
    /// The end of all that came, shown or not.
    last: Vec<u8>,
    held_back_bytes: u64,
    /// Whether what was passed on last has begun a line and not ended it.
    open: bool,
}

impl<'a> Bounded<'a> {
    pub fn new(inner: &'a mut dyn Write) -> Self {
        Self {
            inner,
            left_bytes: OUTPUT_LIMIT_BYTES,
            line_bytes: 0,
            last: Vec::new(),
            held_back_bytes: 0,
            open: false,
        }
    }

    /// Shows the last words of what was held back, and ends the last line, so that what follows
    /// starts on one of its own.
    pub fn end(&mut self) -> io::Result<()> {
        self.end_line()?;
        if self.held_back_bytes > 0 {
            let last = self.last_words().to_vec();
            let held_back = usize::try_from(self.held_back_bytes).unwrap_or(usize::MAX);
            let last = &last[last.len().saturating_sub(held_back)..];
            let skipped = self.held_back_bytes.saturating_sub(last.len() as u64);
            self.notice(&format!(
                "{skipped} bytes of output are not shown. Its last words:"
            ))?;
            self.line_bytes = 0;
            self.pass_lines(last)?;
            self.end_line()?;
            self.held_back_bytes = 0;
        }
        self.inner.flush()
    }

    /// The end of all that came.
    pub fn last_words(&self) -> &[u8] {
        &self.last[self.last.len().saturating_sub(LAST_BYTES)..]
    }

    fn keep_last(&mut self, bytes: &[u8]) {
        let end = &bytes[bytes.len().saturating_sub(LAST_BYTES)..];
        self.last.extend_from_slice(end);
        if self.last.len() > 4 * LAST_BYTES {
            self.last.drain(..self.last.len() - LAST_BYTES);
        }
    }

    fn end_line(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.open) {
            self.inner.write_all(b"\n")?;
        }
        Ok(())
    }

    fn notice(&mut self, text: &str) -> io::Result<()> {
        self.end_line()?;
        writeln!(self.inner, " !     {text}")
    }

    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(last) = bytes.last() {
            self.inner.write_all(bytes)?;
            self.open = *last != b'\n';
        }
        Ok(())
    }

    /// Passes lines on, each up to its limit.
    fn pass_lines(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let ends = part.ends_with(b"\n") || part.ends_with(b"\r");
            let room = LINE_LIMIT_BYTES.saturating_sub(self.line_bytes);
            if part.len() <= room {
                self.pass(part)?;
            } else if self.line_bytes <= LINE_LIMIT_BYTES {
                self.pass(&part[..room])?;
                self.notice(&format!(
                    "This line is longer than {} KiB; the rest of it is not shown.",
                    LINE_LIMIT_BYTES >> 10
                ))?;
            }
            self.line_bytes = if ends {
                0
            } else {
                // Past the limit, so that the notice comes once.
                (self.line_bytes + part.len()).min(LINE_LIMIT_BYTES + 1)
            };
        }
        Ok(())
    }

    fn hold_back(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.held_back_bytes == 0 {
            self.notice(&format!(
                "The output of this buildpack is longer than {} MiB; the rest is not shown.",
                OUTPUT_LIMIT_BYTES >> 20
            ))?;
            self.inner.flush()?;
        }
        self.held_back_bytes += bytes.len() as u64;
        Ok(())
    }
}

impl Write for Bounded<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let within = usize::try_from(self.left_bytes).map_or(buf.len(), |left| buf.len().min(left));
        self.left_bytes -= within as u64;
        self.keep_last(buf);
        self.pass_lines(&buf[..within])?;
        self.hold_back(&buf[within..])?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(chunks: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        let mut sink = Vec::new();
        let mut bounded = Bounded::new(&mut sink);
        for chunk in chunks {
            bounded.write_all(&chunk).unwrap();
        }
        bounded.end().unwrap();
        sink
    }

    #[test]
    fn what_is_within_bounds_is_not_touched() {
        let text = b"a\r\x1b[1mb\xff\xfe\r\nc\n".to_vec();
        assert_eq!(through([text.clone()]), text);
        assert_eq!(through(text.iter().map(|byte| vec![*byte])), text);
        assert_eq!(through([b"no end".to_vec()]), b"no end\n");
        assert_eq!(through([]), b"");
    }

    #[test]
    fn a_line_at_its_limit_passes_and_one_over_it_is_cut_once() {
        let mut line = vec![b'x'; LINE_LIMIT_BYTES - 1];
        line.push(b'\n');
        assert_eq!(through([line.clone()]), line);
        let chunks = (0..1000).map(|_| vec![b'x'; 1 << 10]);
        let cut = through(chunks.chain([b"\nnext\n".to_vec()]));
        let text = String::from_utf8(cut).unwrap();
        assert!(text.len() < LINE_LIMIT_BYTES + 100, "{}", text.len());
        assert_eq!(text.matches("This line is longer than 64 KiB").count(), 1);
        assert!(text.ends_with("\nnext\n"), "{}", &text[text.len() - 100..]);
    }

    #[test]
    fn a_flood_is_cut_and_its_last_words_are_shown() {
        let line = [vec![b'x'; 1023], vec![b'\n']].concat();
        let lines = std::iter::repeat_n(line, 64 << 10);
        let text = through(lines.chain([b"because of this\n".to_vec()]));
        assert!(text.len() as u64 <= OUTPUT_LIMIT_BYTES + (32 << 10));
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.matches("longer than 32 MiB").count(), 1);
        assert!(text.matches("because of this").count() == 1);
        assert!(text.ends_with("because of this\n"));
    }
}
