//! The Procfile: process types and their commands.
//!
//! In: the bytes of a Procfile. Out: commands by process type, and warnings that name the line.
//! The grammar is the tolerant union of what Heroku's compilers have taken: `type: command`,
//! `type:command`, comments, blank lines, CRLF, a byte order mark. Source: facts on Heroku's
//! builds, §3.2 and §6.7.

use std::collections::BTreeMap;

/// Longest Procfile, in bytes; a longer file is no Procfile.
pub const MAX_BYTES: usize = 64 * 1024;

/// A parsed Procfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Procfile {
    /// The command of each process type.
    pub commands: BTreeMap<String, String>,
    /// One sentence each, with the line's number.
    pub warnings: Vec<String>,
}

/// Why a file is no Procfile.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProcfileError {
    /// The line has no `type: command` in it.
    #[error("line {line} of the Procfile, {text:?}, is not of the form «type: command»")]
    Syntax { line: usize, text: String },
    /// Nothing follows the colon.
    #[error("line {line} of the Procfile gives the process type {name:?} no command")]
    NoCommand { line: usize, name: String },
    #[error("the Procfile is no UTF-8 text: byte {byte} is wrong")]
    NotText { byte: usize },
    #[error("the Procfile has {got_bytes} bytes; the limit is {MAX_BYTES}")]
    TooLong { got_bytes: usize },
}

impl Procfile {
    /// Parses the bytes of a Procfile.
    ///
    /// # Errors
    /// The app's fault: see [`ProcfileError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProcfileError> {
        if bytes.len() > MAX_BYTES {
            return Err(ProcfileError::TooLong {
                got_bytes: bytes.len(),
            });
        }
        let text = std::str::from_utf8(bytes).map_err(|e| ProcfileError::NotText {
            byte: e.valid_up_to(),
        })?;
        let mut procfile = Self::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            procfile.take_line(index + 1, line.trim())?;
        }
        if procfile.commands.is_empty() {
            procfile
                .warnings
                .push("The Procfile declares no process type.".to_owned());
        }
        Ok(procfile)
    }

    fn take_line(&mut self, line: usize, text: &str) -> Result<(), ProcfileError> {
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let syntax = || ProcfileError::Syntax {
            line,
            text: text.chars().take(80).collect(),
        };
        let (name, command) = text.split_once(':').ok_or_else(syntax)?;
        let (name, command) = (name.trim_end(), command.trim_start());
        if !is_process_type(name) {
            return Err(syntax());
        }
        if command.is_empty() {
            return Err(ProcfileError::NoCommand {
                line,
                name: name.to_owned(),
            });
        }
        if self
            .commands
            .insert(name.to_owned(), command.to_owned())
            .is_some()
        {
            self.warnings.push(format!(
                "Line {line} of the Procfile declares {name:?} again; the last line counts. Remove the other one."
            ));
        }
        Ok(())
    }
}

/// Whether a text can name a process type: 1 to 63 of letters, digits, `_` and `-`.
pub fn is_process_type(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=63).contains(&name.len()) && name.chars().all(allowed)
}

/// The lines of the process type table, in the form that Heroku's tools match on.
///
/// The second row lists the buildpack's defaults that the Procfile does not replace.
/// Source: facts on Heroku's builds, §1.4.
pub fn table(
    declared: &BTreeMap<String, String>,
    defaults: &BTreeMap<String, String>,
) -> Vec<String> {
    const DECLARED: &str = "Procfile declares types";
    const DEFAULT: &str = "Default types for buildpack";
    let join = |names: Vec<&str>| names.join(", ");
    let first = match join(declared.keys().map(String::as_str).collect()) {
        names if names.is_empty() => "(none)".to_owned(),
        names => names,
    };
    let second = join(
        defaults
            .keys()
            .filter(|name| !declared.contains_key(*name))
            .map(String::as_str)
            .collect(),
    );
    if second.is_empty() {
        return vec![format!("{DECLARED} -> {first}")];
    }
    let width = DEFAULT.len();
    vec![
        format!("{DECLARED:width$} -> {first}"),
        format!("{DEFAULT} -> {second}"),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn commands(text: &str) -> Vec<(String, String)> {
        Procfile::parse(text.as_bytes())
            .unwrap()
            .commands
            .into_iter()
            .collect()
    }

    fn pair(name: &str, command: &str) -> (String, String) {
        (name.to_owned(), command.to_owned())
    }

    #[test]
    fn the_tolerant_union() {
        let text = "\u{feff}# processes\r\nweb: gunicorn app:app --bind :$PORT\r\n\n  worker:python worker.py  \nrelease : ./migrate\nMy_job-2:\tx";
        assert_eq!(
            commands(text),
            [
                pair("My_job-2", "x"),
                pair("release", "./migrate"),
                pair("web", "gunicorn app:app --bind :$PORT"),
                pair("worker", "python worker.py"),
            ]
        );
    }

    #[test]
    fn the_last_of_two_counts_and_is_warned_about() {
        let procfile = Procfile::parse(b"web: a\nweb: b\n").unwrap();
        assert_eq!(procfile.commands["web"], "b");
        assert!(procfile.warnings[0].starts_with("Line 2"));
    }

    #[test]
    fn an_empty_one_is_warned_about() {
        assert_eq!(Procfile::parse(b"# nothing\n").unwrap().warnings.len(), 1);
    }

    #[test]
    fn faults_name_their_line() {
        let error = |text: &[u8]| Procfile::parse(text).unwrap_err().to_string();
        insta::assert_snapshot!(error(b"web: a\nweb gunicorn"), @r#"line 2 of the Procfile, "web gunicorn", is not of the form «type: command»"#);
        insta::assert_snapshot!(error(b"web:"), @r#"line 1 of the Procfile gives the process type "web" no command"#);
        insta::assert_snapshot!(error(b"we b: x"), @r#"line 1 of the Procfile, "we b: x", is not of the form «type: command»"#);
        insta::assert_snapshot!(error(b"web: \xff"), @"the Procfile is no UTF-8 text: byte 5 is wrong");
        assert!(matches!(
            Procfile::parse(&vec![b'#'; MAX_BYTES + 1]),
            Err(ProcfileError::TooLong { .. })
        ));
    }

    #[test]
    fn the_table_has_heroku_s_form() {
        let types = |names: &[&str]| {
            names
                .iter()
                .map(|n| ((*n).to_owned(), "x".to_owned()))
                .collect()
        };
        let rows = |a: &[&str], b: &[&str]| table(&types(a), &types(b)).join("\n");
        insta::assert_snapshot!(rows(&["web", "release"], &["console", "rake", "web"]), @r"
        Procfile declares types     -> release, web
        Default types for buildpack -> console, rake
        ");
        insta::assert_snapshot!(rows(&["web"], &["web"]), @"Procfile declares types -> web");
        insta::assert_snapshot!(rows(&[], &[]), @"Procfile declares types -> (none)");
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            if let Ok(procfile) = Procfile::parse(&bytes) {
                for (name, command) in procfile.commands {
                    prop_assert!(!name.is_empty() && !command.is_empty() && !command.contains('\n'));
                }
            }
        }
    }
}
