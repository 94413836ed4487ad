//! Which Node.js an app asks for, and which it gets. Source: facts on Heroku's builds, §4.2.

use std::path::Path;

use nodejs_semver::{Range, Version};

use super::Manifest;
use crate::languages::versions::{nearest, newest};
use crate::languages::{Candidate, Dotted, Facts, Notice, Outcome, read_text};

/// A range that an app asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As it is written.
    pub text: String,
    /// The same as a semver range.
    pub range: String,
    /// Where it is written, such as `engines.node in package.json`.
    pub by: String,
}

/// The line that wide ranges are held to, and the default. Source: §4.2: "recommended LTS (24.x)".
const LTS: u32 = 24;

/// The names of long-term lines, as `.nvmrc` files have them.
const LTS_NAMES: [(&str, u32); 7] = [
    ("fermium", 14),
    ("gallium", 16),
    ("hydrogen", 18),
    ("iron", 20),
    ("jod", 22),
    ("krypton", 24),
    ("*", LTS),
];

const ENGINES: &str = "engines.node in package.json";

/// What the app's files ask for: `engines.node`, else `.nvmrc`, else `.node-version`.
pub(super) fn request(
    dir: &Path,
    manifest: &Manifest,
    warnings: &mut Vec<Notice>,
) -> Outcome<Option<Request>> {
    if manifest.engine("iojs").is_some() {
        return Err(Notice::new("io.js is no longer supported.")
            .gap()
            .line("Found: engines.iojs in package.json.")
            .gap()
            .line("Replace it by engines.node, with a version such as 24.x."));
    }
    let mut files = Vec::new();
    for name in [".nvmrc", ".node-version"] {
        if let Some(text) = read_text(dir, name)? {
            let line = text
                .lines()
                .map(|line| line.split('#').next().unwrap_or_default().trim());
            let line = line
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .next();
            files.extend(line.map(|line| (name, line)));
        }
    }
    if let Some(text) = manifest.engine("node") {
        let differ = files.iter().filter(|(_, other)| !agree(&text, other));
        warnings.extend(differ.map(|(name, other)| {
            Notice::new(format!(
                "Warning: {name} asks for another Node.js and is not followed."
            ))
            .line(format!("{name} has {other}, {ENGINES} has {text}."))
            .line("Make them the same, or remove one.")
        }));
        return parsed(&text, &text, ENGINES).map(Some);
    }
    match files.first() {
        Some((name, text)) => parsed(text, &range_of_file(text), name).map(Some),
        None => Ok(None),
    }
}

/// Whether two requests can be met by one version.
fn agree(engines: &str, other: &str) -> bool {
    match (Range::parse(engines), Range::parse(range_of_file(other))) {
        (Ok(one), Ok(other)) => one.allows_any(&other),
        _ => true,
    }
}

/// The words of nvm as a range.
fn range_of_file(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if ["node", "latest", "current", "stable"].contains(&lower.as_str()) {
        return "*".into();
    }
    let name = lower
        .strip_prefix("lts/")
        .or_else(|| lower.strip_prefix("lts-"));
    if let Some(name) = name
        && let Some((_, major)) = LTS_NAMES.iter().find(|(known, _)| *known == name)
    {
        return format!("{major}.x");
    }
    lower.trim_start_matches('v').to_owned()
}

fn parsed(text: &str, range: &str, by: &str) -> Outcome<Request> {
    let range = if range == "latest" { "*" } else { range };
    if Range::parse(range).is_err() {
        return Err(Notice::new("Invalid Node.js version requirement.")
            .gap()
            .line(format!("{by} is not a version range: {text}"))
            .gap()
            .line("Write a range such as 24.x or >=22."));
    }
    Ok(Request {
        text: text.to_owned(),
        range: range.to_owned(),
        by: by.to_owned(),
    })
}

/// The Node.js that an app gets.
#[derive(Debug)]
pub struct Chosen {
    pub candidate: Candidate,
    /// Details for the push, a line each.
    pub details: Vec<String>,
    pub warnings: Vec<Notice>,
}

impl Chosen {
    /// For the buildpack's shell.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        facts.set("node_version", self.candidate.version.to_string());
        facts.set("node_origin", &self.candidate.origin);
        facts.set("node_details", self.details.join("\n"));
        facts
    }
}

/// Chooses among what there is; `wide` lets a range reach beyond the long-term line, `today` is a
/// day such as `2026-11-23`.
///
/// # Errors
/// Nothing here is in the range.
pub fn choose(
    request: Option<&Request>,
    candidates: &[Candidate],
    wide: bool,
    today: &str,
) -> Outcome<Chosen> {
    let mut details = Vec::new();
    let mut warnings = Vec::new();
    let text = request.map_or("unspecified", |request| &request.text);
    details.push(match request {
        Some(request) if request.by != ENGINES => {
            format!(
                "engines.node (package.json):  unspecified; {} asks for {text}",
                request.by
            )
        }
        _ => format!("engines.node (package.json):  {text}"),
    });
    let range = request.map_or("*", |request| &request.range);
    let range = Range::parse(range).unwrap_or_else(|_| Range::any());
    let fits = |version: &Dotted| as_semver(version).is_some_and(|one| range.satisfies(&one));
    let newest_of_all = newest(candidates, fits);
    let long_term = |version: &Dotted| {
        let major = version.numbers()[0];
        major <= LTS && major.is_multiple_of(2) && fits(version)
    };
    let found = if wide {
        newest_of_all
    } else {
        newest(candidates, long_term).or(newest_of_all)
    };
    let Some(found) = found else {
        return Err(match request {
            Some(request) => no_match(request, candidates),
            None => Notice::new("No usable Node.js was found.")
                .gap()
                .line("Neither this machine nor any source of runtimes has one.")
                .gap()
                .line("An operator sees what there is with:  slugline runtime list"),
        });
    };
    if let Some(newest) = newest_of_all
        && request.is_some()
        && newest.version.numbers()[0] > found.version.numbers()[0]
    {
        details.push(format!(
            "{text} allows Node.js {} too; the long-term line is preferred",
            newest.version
        ));
        details
            .push("(to take the newest, set the config var NODEJS_ALLOW_WIDE_RANGE=true)".into());
    }
    if let Some(end) = found.end_of_life.as_deref().filter(|end| *end <= today) {
        warnings.push(
            Notice::new(format!(
                "Warning: Node.js {} has reached its end-of-life.",
                found.version.cut(1)
            ))
            .line(format!(
                "Since {end} it gets no security fixes. Those that get some:"
            ))
            .line(nearest(&maintained(candidates, today), None, 1)),
        );
    }
    Ok(Chosen {
        candidate: found.clone(),
        details,
        warnings,
    })
}

/// Those that are not past their end of life, as far as that is known.
fn maintained(candidates: &[Candidate], today: &str) -> Vec<Candidate> {
    let lives = |one: &&Candidate| one.end_of_life.as_deref().is_some_and(|end| end > today);
    candidates.iter().filter(lives).cloned().collect()
}

fn as_semver(version: &Dotted) -> Option<Version> {
    let mut numbers = version.numbers().to_vec();
    numbers.resize(3, 0);
    let text = numbers.iter().map(u32::to_string).collect::<Vec<_>>();
    Version::parse(text.join(".")).ok()
}

fn no_match(request: &Request, candidates: &[Candidate]) -> Notice {
    let first = request
        .range
        .split(|c: char| !c.is_ascii_digit() && c != '.');
    let wanted = first
        .filter(|part| !part.is_empty())
        .find_map(|part| part.trim_end_matches('.').parse::<Dotted>().ok());
    Notice::new("No published Node.js version matches the requested range.")
        .gap()
        .line(format!("{} asks for {}.", request.by, request.text))
        .line(format!(
            "The nearest here: {}.",
            nearest(candidates, wanted.as_ref(), 1)
        ))
        .gap()
        .line("Widen the range. An operator sees what there is with:  slugline runtime list node")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn candidates() -> Vec<Candidate> {
        [
            ("18.20.8", Some("2025-04-30")),
            ("20.20.2", None),
            ("22.23.3", None),
            ("24.21.0", None),
            ("25.9.0", None),
            ("26.10.0", None),
        ]
        .map(|(version, end)| Candidate {
            version: version.parse().unwrap(),
            end_of_life: end.map(str::to_owned),
            origin: "here".into(),
        })
        .to_vec()
    }

    fn asked(manifest: &str, files: &[(&str, &str)]) -> Outcome<(Option<Request>, usize)> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut warnings = Vec::new();
        let request = request(dir.path(), &Manifest::of(manifest), &mut warnings)?;
        Ok((request, warnings.len()))
    }

    #[test]
    fn engines_beat_files_and_say_so() {
        let engines = r#"{"engines":{"node":"20.x"}}"#;
        let (request, warned) = asked(engines, &[(".nvmrc", "v18.1.0\n")]).unwrap();
        assert_eq!((request.unwrap().range.as_str(), warned), ("20.x", 1));
        let (_, warned) = asked(engines, &[(".nvmrc", "20\n")]).unwrap();
        assert_eq!(warned, 0);
        for (name, text, range) in [
            (".nvmrc", "v18.1.0", "18.1.0"),
            (".nvmrc", "lts/Iron", "20.x"),
            (".nvmrc", "lts/*", "24.x"),
            (".nvmrc", "# why\nnode\n", "*"),
            (".node-version", "22", "22"),
        ] {
            let (request, _) = asked("{}", &[(name, text)]).unwrap();
            let request = request.unwrap();
            assert_eq!((request.range.as_str(), request.by.as_str()), (range, name));
        }
        assert_eq!(asked("{}", &[]).unwrap().0, None);
        for (manifest, headline) in [
            (
                r#"{"engines":{"node":"banana"}}"#,
                "Invalid Node.js version requirement.",
            ),
            (
                r#"{"engines":{"iojs":"1"}}"#,
                "io.js is no longer supported.",
            ),
        ] {
            assert_eq!(asked(manifest, &[]).unwrap_err().headline(), headline);
        }
        assert!(asked("{}", &[(".nvmrc", "lts/unknown")]).is_err());
    }

    fn got(range: Option<&str>, wide: bool) -> Result<(String, usize), String> {
        let request = range.map(|range| parsed(range, range, ENGINES).unwrap());
        choose(request.as_ref(), &candidates(), wide, "2026-11-23")
            .map(|chosen| (chosen.candidate.version.to_string(), chosen.warnings.len()))
            .map_err(|notice| notice.to_string())
    }

    #[test]
    fn ranges_are_held_to_the_long_term_line() {
        assert_eq!(got(None, false), Ok(("24.21.0".into(), 0)));
        assert_eq!(got(Some(">=18"), false), Ok(("24.21.0".into(), 0)));
        assert_eq!(got(Some(">=18"), true), Ok(("26.10.0".into(), 0)));
        assert_eq!(got(Some("18.x || 20.x"), false), Ok(("20.20.2".into(), 0)));
        assert_eq!(
            got(Some("^18"), false),
            Ok(("18.20.8".into(), 1)),
            "end of life"
        );
        assert_eq!(got(Some("26"), false), Ok(("26.10.0".into(), 0)));
        assert_eq!(got(Some("~22.23.0"), false), Ok(("22.23.3".into(), 0)));
        let none = got(Some("21.x"), false).unwrap_err();
        assert!(
            none.contains("The nearest here: 20.20.2, 22.23.3."),
            "{none}"
        );
        assert!(choose(None, &[], false, "2026-11-23").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_or_not(text in "[-0-9a-z.*<>=~^| /]{0,30}") {
            if let Ok(request) = parsed(&text, &range_of_file(&text), ".nvmrc") {
                let _ = choose(Some(&request), &candidates(), false, "2026-11-23");
            }
        }
    }
}
