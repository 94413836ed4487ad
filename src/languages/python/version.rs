//! Which Python an app asks for, and which it gets. Source: facts on Heroku's builds, §4.1.

use std::path::Path;

use super::Manager;
use crate::languages::versions::{nearest, newest};
use crate::languages::{Candidate, Dotted, Facts, Notice, Outcome, list, names, read, read_text};

/// A version that an app asks for: `X.Y` or `X.Y.Z`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub text: String,
    /// The file that asks, such as `.python-version`.
    pub by: String,
}

/// The oldest line that is not past its end of life for good: what is below it was never built here.
/// Source: facts on Heroku's builds, §4.1: "≤3.9 end-of-life".
const OLDEST: [u32; 2] = [3, 10];

/// The line that is taken where nothing is asked for, if it is to be had. Source: §4.1.
const DEFAULT: [u32; 2] = [3, 14];

/// What the app's files ask for, in Heroku's order of precedence.
pub(super) fn request(
    dir: &Path,
    manager: Manager,
    warnings: &mut Vec<Notice>,
) -> Outcome<Option<Request>> {
    if let Some(text) = read_text(dir, "runtime.txt")? {
        if manager == Manager::Uv {
            return Err(runtime_txt_with_uv());
        }
        return runtime_txt(&text, warnings).map(Some);
    }
    if let Some(bytes) = read(dir, ".python-version")? {
        return python_version_file(&bytes).map(Some);
    }
    if let Some(misspelt) = names(dir).iter().find(|name| is_misspelt(name)) {
        return Err(
            Notice::new("Error: Your .python-version file is spelled incorrectly.")
                .gap()
                .line(format!("Found: {misspelt}"))
                .gap()
                .line("Rename it, with a dot at the start and a hyphen in the middle:")
                .line(format!("git mv {misspelt} .python-version")),
        );
    }
    if manager == Manager::Pipenv {
        return pipfile_lock(dir);
    }
    if manager == Manager::Uv {
        return Err(Notice::new("Error: No Python version was specified.")
            .gap()
            .line("An app with uv.lock names its Python in a .python-version file.")
            .gap()
            .line("Write it and commit it:")
            .line("uv python pin 3.13 && git add .python-version"));
    }
    Ok(None)
}

/// Whether a name is nearly `.python-version`.
fn is_misspelt(name: &str) -> bool {
    let lower = name.to_lowercase();
    let bare = lower.trim_end_matches(".txt");
    let letters = bare.chars().filter(char::is_ascii_alphabetic);
    let letters = letters.collect::<String>();
    name != ".python-version"
        && [
            "pythonversion",
            "pythonversions",
            "pytonversion",
            "pyhtonversion",
        ]
        .contains(&letters.as_str())
}

fn runtime_txt_with_uv() -> Notice {
    Notice::new("Error: The runtime.txt file isn't supported when using uv.")
        .gap()
        .line("Found both uv.lock and runtime.txt.")
        .gap()
        .line("uv reads a .python-version file. Replace the one by the other:")
        .line("git rm runtime.txt && uv python pin 3.13 && git add .python-version")
}

fn runtime_txt(text: &str, warnings: &mut Vec<Notice>) -> Outcome<Request> {
    let bare = text.trim();
    let version = bare.strip_prefix("python-").and_then(whole_version);
    let Some(version) = version else {
        return Err(Notice::new("Error: Invalid Python version in runtime.txt.")
            .gap()
            .line("Expected one line such as python-3.13, found:")
            .line(if bare.is_empty() { "nothing" } else { bare })
            .gap()
            .line("Better, replace runtime.txt by a file named .python-version")
            .line("that holds the version alone, such as 3.13."));
    };
    warnings.push(
        Notice::new("Warning: The runtime.txt file is deprecated.").line(format!(
            "Replace it by a file named .python-version that holds: {}",
            version.cut(2)
        )),
    );
    Ok(Request {
        text: version.to_string(),
        by: "runtime.txt".into(),
    })
}

fn python_version_file(bytes: &[u8]) -> Outcome<Request> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(Notice::new("Error: Unable to read .python-version.")
            .gap()
            .line("Found: it is not UTF-8.")
            .gap()
            .line("Write it anew:  echo 3.13 > .python-version"));
    };
    let lines = text.trim_start_matches('\u{feff}').lines();
    let lines = lines.map(|line| line.split('#').next().unwrap_or_default().trim());
    let versions = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>();
    match versions[..] {
        [] => Err(
            Notice::new("Error: No Python version found in .python-version.")
                .gap()
                .line("The file holds no version.")
                .gap()
                .line("Write one line with the version, such as 3.13, or remove the file."),
        ),
        [one] => match whole_version(one) {
            Some(version) => Ok(Request {
                text: version.to_string(),
                by: ".python-version".into(),
            }),
            None => Err(
                Notice::new("Error: Invalid Python version in .python-version.")
                    .gap()
                    .line(format!("Expected X.Y or X.Y.Z, such as 3.13, found: {one}"))
                    .gap()
                    .line("Write the version alone:  echo 3.13 > .python-version"),
            ),
        },
        _ => Err(
            Notice::new("Error: Multiple Python versions found in .python-version.")
                .gap()
                .line(format!("Found: {}.", list(&versions)))
                .gap()
                .line("Keep the one that the app runs on."),
        ),
    }
}

/// `X.Y` or `X.Y.Z`.
fn whole_version(text: &str) -> Option<Dotted> {
    let version = text.parse::<Dotted>().ok()?;
    (version.numbers().len() >= 2).then_some(version)
}

fn pipfile_lock(dir: &Path) -> Outcome<Option<Request>> {
    let Some(bytes) = read(dir, "Pipfile.lock")? else {
        return Ok(None);
    };
    let lock = serde_json::from_slice::<serde_json::Value>(&bytes).map_err(|error| {
        Notice::new("Error: Can't parse Pipfile.lock.")
            .gap()
            .line(format!("Found: {error}"))
            .gap()
            .line("Write it anew and commit it:")
            .line("pipenv lock && git add Pipfile.lock")
    })?;
    let requires = &lock["_meta"]["requires"];
    for name in ["python_full_version", "python_version"] {
        let value = &requires[name];
        if value.is_null() {
            continue;
        }
        let version = value.as_str().and_then(whole_version);
        let Some(version) = version else {
            return Err(
                Notice::new("Error: Invalid Python version in Pipfile.lock.")
                    .gap()
                    .line(format!("Expected X.Y or X.Y.Z in {name}, found: {value}"))
                    .gap()
                    .line(format!("Correct {name} in the Pipfile, then:  pipenv lock")),
            );
        };
        return Ok(Some(Request {
            text: version.to_string(),
            by: "Pipfile.lock".into(),
        }));
    }
    Ok(None)
}

/// The Python that an app gets.
#[derive(Debug)]
pub struct Chosen {
    pub candidate: Candidate,
    /// What the push says of it, after `-----> `.
    pub step: String,
    pub warnings: Vec<Notice>,
}

impl Chosen {
    /// For the buildpack's shell.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        facts.set("python_version", self.candidate.version.to_string());
        facts.set("python_minor", self.candidate.version.cut(2).to_string());
        facts.set("python_origin", &self.candidate.origin);
        facts.set("python_step", &self.step);
        facts
    }
}

/// Chooses among what there is. `last` is the line of the app's last build, such as `3.13`;
/// `today` a day such as `2026-11-23`.
///
/// # Errors
/// The app asks for what does not exist, or for what is past its end of life.
pub fn choose(
    request: Option<&Request>,
    last: Option<&str>,
    candidates: &[Candidate],
    today: &str,
) -> Outcome<Chosen> {
    let (candidate, step, mut warnings) = match request {
        Some(request) => requested(request, candidates)?,
        None => unrequested(last, candidates)?,
    };
    if candidate
        .end_of_life
        .as_deref()
        .is_some_and(|end| end <= today)
    {
        let end = candidate.end_of_life.as_deref().unwrap_or_default();
        let line = candidate.version.cut(2);
        warnings.push(
            Notice::new(format!(
                "Warning: Python {line} has reached its end-of-life."
            ))
            .line(format!(
                "Since {end} it gets no security fixes. Newer ones here:"
            ))
            .line(newer(candidates, &line)),
        );
    }
    Ok(Chosen {
        candidate: candidate.clone(),
        step,
        warnings,
    })
}

fn newer(candidates: &[Candidate], line: &Dotted) -> String {
    let mut lines = candidates.iter().map(|one| one.version.cut(2));
    let mut lines = lines.by_ref().filter(|one| one > line).collect::<Vec<_>>();
    lines.sort();
    lines.dedup();
    if lines.is_empty() {
        return "none".into();
    }
    list(lines.iter().map(Dotted::to_string))
}

fn requested<'a>(
    request: &Request,
    candidates: &'a [Candidate],
) -> Outcome<(&'a Candidate, String, Vec<Notice>)> {
    let Request { text, by } = request;
    let Ok(wanted) = text.parse::<Dotted>() else {
        return Err(unknown(request, None, candidates));
    };
    let line = wanted.cut(2);
    let exact = newest(candidates, |version| version.begins_with(&wanted));
    let of_line = newest(candidates, |version| version.begins_with(&line));
    let mut warnings = Vec::new();
    let found = match (exact, of_line) {
        (Some(exact), _) => exact,
        (None, Some(other)) => {
            warnings.push(
                Notice::new(format!(
                    "Warning: Python {wanted} is not to be had; using {} instead.",
                    other.version
                ))
                .line(format!(
                    "To take the newest of its line always, write {line} in {by}."
                )),
            );
            other
        }
        (None, None) if wanted.cut(2).numbers() < &OLDEST[..] => {
            return Err(end_of_life(request, candidates));
        }
        (None, None) => return Err(unknown(request, Some(&wanted), candidates)),
    };
    if let Some(newest) = of_line
        && wanted.numbers().len() == 3
        && newest.version > found.version
    {
        warnings.push(
            Notice::new(format!("Warning: Python {} is available.", newest.version)).line(format!(
                "{by} asks for {wanted}. Write {line} to get patches as they come."
            )),
        );
    }
    Ok((
        found,
        format!("Using Python {wanted} specified in {by}"),
        warnings,
    ))
}

fn unrequested<'a>(
    last: Option<&str>,
    candidates: &'a [Candidate],
) -> Outcome<(&'a Candidate, String, Vec<Notice>)> {
    let sticky = last.and_then(|last| last.parse::<Dotted>().ok());
    if let Some(line) = sticky.map(|last| last.cut(2))
        && let Some(found) = newest(candidates, |version| version.begins_with(&line))
    {
        let step = format!(
            "No Python version was specified. Using the same major version as the last build: Python {line}"
        );
        return Ok((found, step, Vec::new()));
    }
    let default = newest(candidates, |version| {
        version.numbers().starts_with(&DEFAULT)
    });
    let supported = || newest(candidates, |version| version.numbers() >= &OLDEST[..]);
    let Some(found) = default.or_else(supported) else {
        return Err(Notice::new("Error: No usable Python was found.")
            .gap()
            .line("Neither this machine nor any source of runtimes has one.")
            .gap()
            .line("An operator sees what there is with:  slugline runtime list"));
    };
    let line = found.version.cut(2);
    let step =
        format!("No Python version was specified. Using the buildpack default: Python {line}");
    Ok((found, step, Vec::new()))
}

fn end_of_life(request: &Request, candidates: &[Candidate]) -> Notice {
    let Request { text, by } = request;
    Notice::new("Error: The requested Python version has reached end-of-life.")
        .gap()
        .line(format!(
            "{by} asks for Python {text}, which gets no security fixes any more."
        ))
        .line(format!(
            "The nearest here: {}.",
            nearest(candidates, text.parse().ok().as_ref(), 2)
        ))
        .gap()
        .line(format!("Write a newer one in {by}."))
}

fn unknown(request: &Request, wanted: Option<&Dotted>, candidates: &[Candidate]) -> Notice {
    let Request { text, by } = request;
    Notice::new("Error: The requested Python version isn't recognised.")
        .gap()
        .line(format!(
            "{by} asks for Python {text}, which is not to be had here."
        ))
        .line(format!(
            "The nearest that is: {}.",
            nearest(candidates, wanted, 2)
        ))
        .gap()
        .line(format!(
            "Correct {by}. An operator can bring Python {text}:"
        ))
        .line("slugline runtime import python VERSION PATH")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn candidates() -> Vec<Candidate> {
        let one = |version: &str, end: Option<&str>| Candidate {
            version: version.parse().unwrap(),
            end_of_life: end.map(str::to_owned),
            origin: "here".into(),
        };
        vec![
            one("3.10.13", Some("2026-10-31")),
            one("3.11.7", None),
            one("3.13.0", None),
            one("3.13.2", None),
        ]
    }

    fn asked(files: &[(&str, &str)], manager: Manager) -> Result<Option<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let asked = request(dir.path(), manager, &mut Vec::new());
        asked
            .map(|request| request.map(|one| format!("{} by {}", one.text, one.by)))
            .map_err(|notice| notice.headline().to_owned())
    }

    #[test]
    fn precedence() {
        let lock =
            r#"{"_meta":{"requires":{"python_version":"3.12","python_full_version":"3.12.1"}}}"#;
        let all = [
            ("runtime.txt", "python-3.11.4\n"),
            (".python-version", "3.10 # why\n"),
            ("Pipfile.lock", lock),
        ];
        let asked = |files: &[_]| asked(files, Manager::Pipenv).unwrap().unwrap();
        assert_eq!(asked(&all), "3.11.4 by runtime.txt");
        assert_eq!(asked(&all[1..]), "3.10 by .python-version");
        assert_eq!(asked(&all[2..]), "3.12.1 by Pipfile.lock");
    }

    #[test]
    fn the_headlines_are_herokus() {
        let pip = Manager::Pip;
        for (name, text, manager, headline) in [
            (
                "runtime.txt",
                "3.11",
                pip,
                "Error: Invalid Python version in runtime.txt.",
            ),
            (
                "runtime.txt",
                "python-3.11",
                Manager::Uv,
                "Error: The runtime.txt file isn't supported when using uv.",
            ),
            (
                ".python-version",
                "",
                pip,
                "Error: No Python version found in .python-version.",
            ),
            (
                ".python-version",
                "# 3.1\n",
                pip,
                "Error: No Python version found in .python-version.",
            ),
            (
                ".python-version",
                "3.11\n3.12",
                pip,
                "Error: Multiple Python versions found in .python-version.",
            ),
            (
                ".python-version",
                "3",
                pip,
                "Error: Invalid Python version in .python-version.",
            ),
            (
                ".python-version",
                "python-3.11",
                pip,
                "Error: Invalid Python version in .python-version.",
            ),
            (
                ".python_version",
                "3.11",
                pip,
                "Error: Your .python-version file is spelled incorrectly.",
            ),
            (
                "python-version.txt",
                "3.11",
                pip,
                "Error: Your .python-version file is spelled incorrectly.",
            ),
            (
                "Pipfile.lock",
                "{",
                Manager::Pipenv,
                "Error: Can't parse Pipfile.lock.",
            ),
            (
                "Pipfile.lock",
                r#"{"_meta":{"requires":{"python_version":"*"}}}"#,
                Manager::Pipenv,
                "Error: Invalid Python version in Pipfile.lock.",
            ),
            (
                "uv.lock",
                "",
                Manager::Uv,
                "Error: No Python version was specified.",
            ),
        ] {
            assert_eq!(
                asked(&[(name, text)], manager),
                Err(headline.to_owned()),
                "{name} {text:?}"
            );
        }
        assert_eq!(asked(&[], pip), Ok(None));
    }

    fn got(text: Option<&str>, last: Option<&str>) -> Result<(String, usize), String> {
        let request = text.map(|text| Request {
            text: text.into(),
            by: ".python-version".into(),
        });
        choose(request.as_ref(), last, &candidates(), "2026-11-23")
            .map(|chosen| (chosen.candidate.version.to_string(), chosen.warnings.len()))
            .map_err(|notice| notice.headline().to_owned())
    }

    #[test]
    fn what_is_asked_for_is_got_or_explained() {
        assert_eq!(got(Some("3.13"), None), Ok(("3.13.2".into(), 0)));
        assert_eq!(got(Some("3.13.0"), None), Ok(("3.13.0".into(), 1)));
        assert_eq!(got(Some("3.11.99"), None), Ok(("3.11.7".into(), 1)));
        assert_eq!(
            got(Some("3.10"), None),
            Ok(("3.10.13".into(), 1)),
            "end of life"
        );
        assert_eq!(got(None, None), Ok(("3.13.2".into(), 0)));
        assert_eq!(got(None, Some("3.11.2")), Ok(("3.11.7".into(), 0)));
        assert_eq!(got(None, Some("3.12.2")), Ok(("3.13.2".into(), 0)));
        assert_eq!(
            got(Some("3.9"), None),
            Err("Error: The requested Python version has reached end-of-life.".into())
        );
        assert_eq!(
            got(Some("3.12"), None),
            Err("Error: The requested Python version isn't recognised.".into())
        );
        assert!(choose(None, None, &[], "2026-11-23").is_err());
    }

    proptest! {
        #[test]
        fn any_file_gives_a_version_or_a_notice(bytes: Vec<u8>) {
            let _ = python_version_file(&bytes);
            let _ = runtime_txt(&String::from_utf8_lossy(&bytes), &mut Vec::new());
        }
    }
}
