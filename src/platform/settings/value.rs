//! The values of settings: a YAML value in, a checked value out, or what it should have been.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::LogFormat;
use super::error::{Place, SettingsError};
use crate::config::ConfigVars;

/// The text of a value that is no list and no mapping.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        _ => None,
    }
}

/// What a message calls a value.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        other => scalar(other).map_or_else(
            || "a tagged value".to_owned(),
            |text| format!("{:?}", text.chars().take(100).collect::<String>()),
        ),
    }
}

fn refused(value: &Value, place: &Place, expected: impl Into<String>) -> SettingsError {
    SettingsError::Value {
        place: place.clone(),
        got: shown(value),
        expected: expected.into(),
    }
}

pub(super) fn parsed<T: FromStr>(
    value: &Value,
    place: &Place,
    expected: &str,
) -> Result<T, SettingsError> {
    scalar(value)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| refused(value, place, expected))
}

pub(super) fn number(
    value: &Value,
    place: &Place,
    unit: &str,
    range: RangeInclusive<u64>,
) -> Result<u64, SettingsError> {
    let number = scalar(value).and_then(|text| text.parse().ok());
    number.filter(|got| range.contains(got)).ok_or_else(|| {
        let (first, last) = (range.start(), range.end());
        let expected = format!("a whole number of {unit} from {first} to {last}");
        refused(value, place, expected)
    })
}

/// A whole number of seconds.
pub(super) fn seconds(
    value: &Value,
    place: &Place,
    range: RangeInclusive<u64>,
) -> Result<Duration, SettingsError> {
    number(value, place, "seconds", range).map(Duration::from_secs)
}

/// Takes a list, or a text whose items stand between commas or spaces.
pub(super) fn list<T: FromStr>(
    value: &Value,
    place: &Place,
    expected: &str,
) -> Result<Vec<T>, SettingsError> {
    let texts = match value {
        Value::Null => Some(Vec::new()),
        Value::Sequence(items) => items.iter().map(scalar).collect(),
        other => scalar(other).map(|text| text.split([',', ' ']).map(str::to_owned).collect()),
    };
    let items = texts.into_iter().flatten().filter(|text| !text.is_empty());
    let parsed = items.map(|text| {
        text.parse()
            .map_err(|_| refused_text(&text, place, expected))
    });
    match value {
        Value::Mapping(_) => Err(refused(value, place, expected)),
        _ => parsed.collect(),
    }
}

fn refused_text(text: &str, place: &Place, expected: &str) -> SettingsError {
    refused(&Value::String(text.to_owned()), place, expected)
}

/// What URLs of the server begin with, without a `/` at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    pub(super) const EXPECTED: &'static str =
        "an http or https URL without user and query, such as https://slugs.example.com";

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its host, in lower case and without the port.
    pub fn host(&self) -> Option<String> {
        let url = self.0.parse::<hyper::Uri>().ok()?;
        url.host().map(str::to_ascii_lowercase)
    }
}

impl FromStr for PublicUrl {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim_end_matches('/');
        let url: hyper::Uri = text.parse().map_err(|_| ())?;
        let authority = url.authority().ok_or(())?.as_str();
        let plain = matches!(url.scheme_str(), Some("http" | "https"))
            && !authority.contains('@')
            && !text.contains(['?', '#']);
        plain.then(|| Self(text.to_owned())).ok_or(())
    }
}

/// Takes a mapping, or a text that holds one: a variable writes `{"NAME": "value"}`.
pub(super) fn build_env(value: &Value, place: &Place) -> Result<ConfigVars, SettingsError> {
    // Its values may be secret, so no message shows what was got but by its kind.
    let refused = |got: &str| SettingsError::Value {
        place: place.clone(),
        got: got.to_owned(),
        expected: r#"a mapping of names to values, such as {"NAME": "value"}"#.to_owned(),
    };
    let mapping: Mapping = match value {
        Value::Null => Mapping::new(),
        Value::Mapping(mapping) => mapping.clone(),
        Value::String(text) => serde_yaml::from_str(text).map_err(|_| refused("another text"))?,
        Value::Sequence(_) => return Err(refused("a list")),
        _ => return Err(refused("a single value")),
    };
    let mut vars = ConfigVars::default();
    for (name, value) in &mapping {
        let name = scalar(name).ok_or_else(|| refused("a mapping whose names are no texts"))?;
        let value = scalar(value).ok_or_else(|| refused("a mapping whose values are no texts"))?;
        vars.set(&name, &value)
            .map_err(|source| SettingsError::BuildEnv {
                place: place.clone(),
                source,
            })?;
    }
    Ok(vars)
}

/// A named size of dynos; what it does not name is the default size's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DynoSize {
    /// In lower case.
    pub name: String,
    pub memory_bytes: Option<u64>,
    pub processes: Option<u64>,
    /// In hundredths of one core.
    pub cpu_percent: Option<u64>,
}

/// Takes a mapping of names to limits, or a text that holds one.
pub(super) fn dyno_sizes(value: &Value, place: &Place) -> Result<Vec<DynoSize>, SettingsError> {
    const EXPECTED: &str = "sizes with memory_bytes, processes and cpu_percent, such as \
        {performance-m: {memory_bytes: 2684354560, processes: 512}}";
    let refused = || refused(value, place, EXPECTED);
    let mapping: Mapping = match value {
        Value::Null => Mapping::new(),
        Value::Mapping(mapping) => mapping.clone(),
        Value::String(text) => serde_yaml::from_str(text).map_err(|_| refused())?,
        _ => return Err(refused()),
    };
    let one = |(name, limits): (&Value, &Value)| {
        let name = scalar(name).ok_or_else(refused)?.to_lowercase();
        let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=50).contains(&name.len()) || !name.bytes().all(letters) {
            return Err(refused());
        }
        let mut size = DynoSize {
            name,
            ..DynoSize::default()
        };
        let Value::Mapping(limits) = limits else {
            return Err(refused());
        };
        for (limit, value) in limits {
            let (place_of, unit, range) = match scalar(limit).as_deref() {
                Some("memory_bytes") => (&mut size.memory_bytes, "bytes", super::BUILD_BYTES),
                Some("processes") => (&mut size.processes, "processes", super::BUILD_COUNT),
                Some("cpu_percent") => (
                    &mut size.cpu_percent,
                    "percent of a core",
                    super::CPU_PERCENT,
                ),
                _ => return Err(refused()),
            };
            *place_of = Some(number(value, place, unit, range)?);
        }
        Ok(size)
    };
    mapping.iter().map(one).collect()
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// A domain that apps are below, in lower case.
pub(super) struct Domain(pub(super) String);

impl Domain {
    pub(super) const EXPECTED: &str = "a domain name, such as apps.example.com";
}

impl FromStr for Domain {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 220 && text.split('.').all(is_label) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(())
        }
    }
}
