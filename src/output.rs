//! What a person reads while a build runs, in Heroku's form, and the failure that ends it.
//!
//! [`Output`] writes whole lines to whatever carries them: a side-band, a log file, a terminal.

use std::io::{self, Write};

/// Whose fault a failure is; it decides the exit code and the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The pushed code: exit code 1.
    App,
    /// Who called, by a wrong argument or request: exit code 2.
    Caller,
    /// Slugline or its machine: exit code 3.
    Platform,
}

/// A failure as a person sees it: what happened, what was found, what to do.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// Stable, for programs: `no_language_detected`.
    pub id: String,
    pub blame: Blame,
    /// What happened; a sentence.
    pub summary: String,
    /// What was found, in paragraphs.
    pub found: Vec<String>,
    /// What to do, in paragraphs.
    pub remedy: Vec<String>,
}

impl Failure {
    /// All of it as one text, for an API's `message`.
    #[must_use]
    pub fn message(&self) -> String {
        std::iter::once(&self.summary)
            .chain(&self.found)
            .chain(&self.remedy)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n\n")
    }
}

/// Writes a build's lines.
pub struct Output<'a> {
    sink: &'a mut dyn Write,
}

/// Widest line of a failure block, its ` !     ` not counted.
const WRAP_COLUMNS: usize = 72;

impl<'a> Output<'a> {
    /// Writes to `sink`; each call of a method is one or more whole lines.
    pub fn new(sink: &'a mut dyn Write) -> Self {
        Self { sink }
    }

    /// A step: `-----> text`.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn step(&mut self, text: &str) -> io::Result<()> {
        self.line(&format!("-----> {text}"))
    }

    /// A detail of a step: seven spaces, then the text.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn detail(&mut self, text: &str) -> io::Result<()> {
        self.line(&format!("       {text}"))
    }

    /// A problem: ` !     text`, or ` !` alone for an empty text.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn problem(&mut self, text: &str) -> io::Result<()> {
        self.line(format!(" !     {text}").trim_end())
    }

    /// A line as it is.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.sink.write_all(format!("{text}\n").as_bytes())?;
        self.sink.flush()
    }

    /// The block of a failure: summary, what was found, what to do.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn failure(&mut self, failure: &Failure) -> io::Result<()> {
        // Heroku's tools match on the summary's line, so it is never wrapped.
        self.problem(&failure.summary)?;
        for paragraphs in [&failure.found, &failure.remedy] {
            if paragraphs.is_empty() {
                continue;
            }
            self.problem("")?;
            for line in paragraphs.iter().flat_map(|text| wrap(text)) {
                self.problem(&line)?;
            }
        }
        Ok(())
    }

    /// The stream itself, for bytes that are passed on as they are.
    pub fn raw(&mut self) -> &mut dyn Write {
        self.sink
    }
}

/// Breaks a text at blanks into lines of at most [`WRAP_COLUMNS`]; lines that start with a blank
/// (commands, listings) stay whole.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with(' ') {
            lines.push(line.to_owned());
            continue;
        }
        let mut current = String::new();
        for word in line.split_whitespace() {
            if !current.is_empty()
                && current.chars().count() + 1 + word.chars().count() > WRAP_COLUMNS
            {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines
}

/// Writes a size as `du -h` does: `34.6M`, `102M`, `980K`.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    let mut tenths = bytes.saturating_mul(10).div_ceil(1024);
    let mut unit = 0;
    // 1000 and not 1024, so that no size needs four digits.
    while tenths >= 10_000 && unit < UNITS.len() - 1 {
        tenths = tenths.div_ceil(1024);
        unit += 1;
    }
    if tenths < 1000 && unit > 0 {
        format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{}{}", tenths.div_ceil(10), UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(failure: &Failure) -> String {
        let mut bytes = Vec::new();
        Output::new(&mut bytes).failure(failure).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_failure_is_one_block() {
        let failure = Failure {
            id: "x".into(),
            blame: Blame::App,
            summary: "It broke.".into(),
            found: vec!["Found: nothing.".into()],
            remedy: vec!["Try again:\n  make it work".into()],
        };
        insta::assert_snapshot!(block(&failure), @r"
         !     It broke.
         !
         !     Found: nothing.
         !
         !     Try again:
         !       make it work
        ");
    }

    #[test]
    fn sizes_are_written_as_heroku_writes_them() {
        for (bytes, text) in [
            (0, "0K"),
            (1, "1K"),
            (1024, "1K"),
            (980 * 1024, "980K"),
            (36_280_000, "34.6M"),
            (102 << 20, "102M"),
            (1 << 30, "1.0G"),
            (1_181_116_006, "1.1G"),
        ] {
            assert_eq!(human_size(bytes), text, "{bytes}");
        }
    }
}
