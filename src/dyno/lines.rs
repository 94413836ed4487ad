//! Cuts a process's output into lines.

/// Longest line, in bytes; a longer one becomes several. Source: the length at which Heroku splits.
pub const LINE_BYTES: usize = 10_000;

/// Bytes in, lines out: without their ends, as text whatever the bytes were.
#[derive(Debug, Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// Takes bytes and gives the lines that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end], &mut line);
            self.end(&mut line);
            bytes = &bytes[end + 1..];
        }
        self.take(bytes, &mut line);
    }

    /// The end of the output: what has no line end is a line as well.
    pub fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.0.is_empty() {
            self.end(&mut line);
        }
    }

    fn take(&mut self, mut bytes: &[u8], line: &mut impl FnMut(&str)) {
        while self.0.len() + bytes.len() > LINE_BYTES {
            let room = LINE_BYTES - self.0.len();
            self.0.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            self.end(line);
        }
        self.0.extend_from_slice(bytes);
    }

    fn end(&mut self, line: &mut impl FnMut(&str)) {
        let text = self.0.strip_suffix(b"\r").unwrap_or(&self.0);
        line(&String::from_utf8_lossy(text));
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.feed(chunk, |line| found.push(line.to_owned()));
        }
        lines.finish(|line| found.push(line.to_owned()));
        found
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        assert_eq!(of(&[b"a\nb", b"c\r\n\n", b"d"]), ["a", "bc", "", "d"]);
        assert_eq!(of(&[b"\xff\n"]), ["\u{fffd}"]);
        assert_eq!(of(&[b"a\n"]), ["a"]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let long = vec![b'x'; 2 * LINE_BYTES + 1];
        let lengths = of(&[&long, b"\n"]);
        let lengths = lengths.iter().map(String::len).collect::<Vec<_>>();
        assert_eq!(lengths, [LINE_BYTES, LINE_BYTES, 1]);
        assert_eq!(of(&[&vec![b'x'; LINE_BYTES], b"\n"]).len(), 1);
    }
}
