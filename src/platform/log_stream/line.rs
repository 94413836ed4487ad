//! One line of an app's log, in Heroku's form: `2026-01-01T00:00:00.000000+00:00 app[web.1]: text`.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use jiff::Timestamp;

/// Who has written a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The app itself, and what people do with it.
    App,
    /// The platform. The word is Heroku's, since people and tools look for it.
    Heroku,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App => "app",
            Self::Heroku => "heroku",
        })
    }
}

impl FromStr for Source {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "app" => Ok(Self::App),
            "heroku" => Ok(Self::Heroku),
            _ => Err(()),
        }
    }
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    text: String,
    source: Source,
    /// Where the process's name and the message stand in the text.
    process: (usize, usize),
    message: usize,
}

impl Line {
    /// The message is what `write` adds to the text.
    pub(super) fn with(
        time: Timestamp,
        source: Source,
        process: &str,
        write: impl FnOnce(&mut String),
    ) -> Self {
        let mut text = String::with_capacity(384);
        push_time(&mut text, time);
        // Writing to a text cannot fail.
        let _ = write!(text, "+00:00 {source}[");
        let start = text.len();
        text.push_str(process);
        let end = text.len();
        text.push_str("]: ");
        let at = text.len();
        write(&mut text);
        Self {
            text,
            source,
            process: (start, end),
            message: at,
        }
    }

    /// Reads a line back.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (time, rest) = text.split_once(' ')?;
        let (source, rest) = rest.split_once('[')?;
        let (process, message) = rest.split_once("]: ")?;
        let start = time.len() + 1 + source.len() + 1;
        let end = start + process.len();
        Some(Self {
            source: source.parse().ok()?,
            process: (start, end),
            message: text.len() - message.len(),
            text: text.to_owned(),
        })
    }

    /// All of it, without a line end.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn source(&self) -> Source {
        self.source
    }

    /// `web.1`, `router`, `api`.
    pub fn process(&self) -> &str {
        &self.text[self.process.0..self.process.1]
    }

    /// When it came, as it is written.
    pub fn time(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        &self.text[self.message..]
    }
}

/// Writes a time without its offset. Busy logs have many lines in one second, so its text is kept.
fn push_time(text: &mut String, time: Timestamp) {
    thread_local! {
        static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    SECOND.with_borrow_mut(|(second, shown)| {
        if *second != time.as_second() {
            *second = time.as_second();
            *shown = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        text.push_str(shown);
    });
    let _ = write!(text, ".{:06}", time.subsec_microsecond());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_heroku_s_and_reads_back() {
        let time = "2026-01-01T00:00:00Z".parse().unwrap();
        let line = Line::with(time, Source::App, "web.1", |text| text.push_str("a [b]: c"));
        assert_eq!(
            line.text(),
            "2026-01-01T00:00:00.000000+00:00 app[web.1]: a [b]: c"
        );
        assert_eq!(line.process(), "web.1");
        assert_eq!(line.message(), "a [b]: c");
        assert_eq!(line.time(), "2026-01-01T00:00:00.000000+00:00");
        assert_eq!(Line::parse(line.text()).unwrap(), line);
        for text in ["", "x", "t app[web.1] a", "t other[web.1]: a"] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }
}
