//! What goes back to a buildpack: facts for its shell, notices for the person who pushed.

use std::fmt;

/// Longest line of a notice, in characters: what an app holds is quoted in it.
const LINE_LIMIT: usize = 400;

/// A block that a person reads: a headline, what was found, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    lines: Vec<String>,
}

impl Notice {
    /// A block with a headline.
    pub fn new(headline: impl AsRef<str>) -> Self {
        Self {
            lines: vec![clean(headline.as_ref())],
        }
    }

    /// Adds a line.
    #[must_use]
    pub fn line(mut self, line: impl AsRef<str>) -> Self {
        self.lines.push(clean(line.as_ref()));
        self
    }

    /// Adds several lines.
    #[must_use]
    pub fn lines<T: AsRef<str>>(self, lines: impl IntoIterator<Item = T>) -> Self {
        lines.into_iter().fold(self, Self::line)
    }

    /// Adds an empty line.
    #[must_use]
    pub fn gap(mut self) -> Self {
        self.lines.push(String::new());
        self
    }

    /// The first line.
    pub fn headline(&self) -> &str {
        self.lines.first().map_or("", String::as_str)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for line in &self.lines {
            if line.is_empty() {
                writeln!(f, " !")?;
            } else {
                writeln!(f, " !     {line}")?;
            }
        }
        writeln!(f)
    }
}

/// One line without control characters, cut where it is too long.
fn clean(line: &str) -> String {
    let mut chars = line.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut text = chars.by_ref().take(LINE_LIMIT).collect::<String>();
    if chars.next().is_some() {
        text.push('…');
    }
    text.trim_end().to_owned()
}

/// Names and values, as assignments that a POSIX shell evaluates to the very same values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts(Vec<(&'static str, String)>);

impl Facts {
    /// Adds a fact.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    /// Adds `yes` or `no`.
    pub fn flag(&mut self, name: &'static str, value: bool) {
        self.set(name, if value { "yes" } else { "no" });
    }

    /// The value of a fact.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(known, _)| *known == name);
        found.next_back().map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            // A shell drops NUL bytes, and what follows them, as it likes.
            let value = value.replace('\0', "").replace('\'', r"'\''");
            writeln!(f, "{name}='{value}'")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_notice_is_a_block() {
        let notice = Notice::new("Error: x.")
            .gap()
            .line("a\tb\u{1b}[1m\n")
            .line("y".repeat(1000));
        let text = notice.to_string();
        assert!(
            text.starts_with("\n !     Error: x.\n !\n !     a b [1m\n"),
            "{text}"
        );
        assert!(text.ends_with("y…\n\n"));
        assert_eq!(notice.headline(), "Error: x.");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_shell_reads_the_same_values(value in "[^\\x00]{0,40}") {
            let mut facts = Facts::default();
            facts.set("fact", value.clone());
            let script = format!("{facts}printf '%s.' \"$fact\"");
            let shell = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8(shell.stdout).unwrap(), value + ".");
        }
    }
}
