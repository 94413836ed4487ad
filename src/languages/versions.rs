//! The runtimes there are, and the one that a request gets.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::list;

/// A version of three numbers or fewer, such as `3.13` or `22.23.3`; ordered by number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dotted(Vec<u32>);

impl Dotted {
    /// The numbers, at least one.
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }

    /// Its first `count` numbers.
    #[must_use]
    pub fn cut(&self, count: usize) -> Self {
        Self(self.0.iter().copied().take(count.max(1)).collect())
    }

    /// Whether it begins with all numbers of another.
    pub fn begins_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

/// Not a version of up to three numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no version of numbers and dots")]
pub struct NotDotted {
    text: String,
}

impl FromStr for Dotted {
    type Err = NotDotted;

    fn from_str(text: &str) -> Result<Self, NotDotted> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let numbers = text.split('.').map(number).collect::<Option<Vec<_>>>();
        match numbers {
            Some(numbers) if numbers.len() <= 3 => Ok(Self(numbers)),
            _ => Err(NotDotted {
                text: text.chars().take(64).collect(),
            }),
        }
    }
}

impl TryFrom<String> for Dotted {
    type Error = NotDotted;

    fn try_from(text: String) -> Result<Self, NotDotted> {
        text.parse()
    }
}

impl From<Dotted> for String {
    fn from(version: Dotted) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.iter().map(u32::to_string).collect::<Vec<_>>();
        f.write_str(&parts.join("."))
    }
}

impl Ord for Dotted {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Dotted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A runtime that a build can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub version: Dotted,
    /// The day from which its makers mend nothing more, such as `2026-10-31`.
    #[serde(default)]
    pub end_of_life: Option<String>,
    /// Where it comes from, in words.
    pub origin: String,
}

/// The runtime that a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick<'a> {
    pub candidate: &'a Candidate,
    /// Another patch release was asked for.
    pub other_patch: bool,
}

/// The newest candidate for which `fits` holds.
pub(super) fn newest(
    candidates: &[Candidate],
    fits: impl Fn(&Dotted) -> bool,
) -> Option<&Candidate> {
    let fitting = candidates.iter().filter(|one| fits(&one.version));
    // Of equal ones the first: sources are listed in the order of preference.
    fitting.rev().max_by(|a, b| a.version.cmp(&b.version))
}

/// The nearest versions to one that does not exist, in words: newest of each line on both sides.
pub(super) fn nearest(candidates: &[Candidate], wanted: Option<&Dotted>, line: usize) -> String {
    let mut lines = candidates
        .iter()
        .map(|one| one.version.cut(line))
        .collect::<Vec<_>>();
    lines.sort();
    lines.dedup();
    let newest_of = |line: &Dotted| {
        newest(candidates, |version| version.begins_with(line)).map(|one| &one.version)
    };
    let near = match wanted {
        Some(wanted) => {
            let below = lines
                .iter()
                .rfind(|line| **line <= wanted.cut(line.numbers().len()));
            let above = lines
                .iter()
                .find(|line| **line > wanted.cut(line.numbers().len()));
            below.into_iter().chain(above).collect::<Vec<_>>()
        }
        None => lines.iter().collect(),
    };
    list(
        near.into_iter()
            .filter_map(newest_of)
            .map(Dotted::to_string),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates() -> Vec<Candidate> {
        ["3.11.7", "3.12.1", "3.13.0", "3.11.2"]
            .map(|version| Candidate {
                version: version.parse().unwrap(),
                end_of_life: None,
                origin: String::new(),
            })
            .to_vec()
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let parse = |text: &str| text.parse::<Dotted>().unwrap();
        assert!(parse("3.9") < parse("3.10"));
        assert!(parse("3.10.2").begins_with(&parse("3.10")));
        assert!(!parse("3.1").begins_with(&parse("3.10")));
        for text in ["", "3.", ".3", "3.x", "1.2.3.4", "+3", "99999999999", "３"] {
            assert!(text.parse::<Dotted>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_nearest_are_on_both_sides() {
        let all = candidates();
        let near = |text: &str| nearest(&all, Some(&text.parse().unwrap()), 2);
        assert_eq!(near("3.10"), "3.11.7");
        assert_eq!(near("3.12.99"), "3.12.1, 3.13.0");
        assert_eq!(near("4"), "3.13.0");
        assert_eq!(nearest(&all, None, 2), "3.11.7, 3.12.1, 3.13.0");
        assert_eq!(
            newest(&all, |_| true).unwrap().version.to_string(),
            "3.13.0"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_version_or_not(text: String) {
            if let Ok(version) = text.parse::<Dotted>() {
                prop_assert_eq!(version.to_string().parse::<Dotted>().unwrap(), version);
            }
        }
    }
}
