//! Reads what `bin/release` and `bin/report` print.
//!
//! `bin/release` may print nothing, `---`, `--- {}` or null values: buildpacks in the wild do.
//! Source: facts on Heroku's builds, §2.4 and §4.8.

use std::collections::BTreeMap;

use serde_yaml::Value;

use super::Report;
use crate::procfile::is_process_type;
use crate::slug::Package;

/// The `default_process_types` of a `bin/release`.
pub(super) fn process_types(text: &str) -> Result<BTreeMap<String, String>, String> {
    match parse(text)? {
        Value::Null => Ok(BTreeMap::new()),
        Value::Mapping(document) => match document.get("default_process_types") {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(Value::Mapping(types)) => {
                let types = texts(types);
                match types.keys().find(|name| !is_process_type(name)) {
                    Some(name) => Err(format!("{name:?} is no name for a process type")),
                    None => Ok(types),
                }
            }
            Some(_) => Err("default_process_types is no mapping".to_owned()),
        },
        _ => Err("it is no mapping".to_owned()),
    }
}

/// The `runtimes`, the `packages` and the `lock` of a `bin/report`; anything else in it is somebody else's.
pub(super) fn report(text: &str) -> Report {
    let document = parse(text).unwrap_or_default();
    let runtimes = document
        .get("runtimes")
        .and_then(Value::as_mapping)
        .map(texts);
    let packages = document.get("packages").and_then(Value::as_sequence);
    Report {
        runtimes: runtimes.unwrap_or_default(),
        packages: packages.into_iter().flatten().filter_map(package).collect(),
        lock: document.get("lock").and_then(scalar),
    }
}

fn parse(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

fn package(value: &Value) -> Option<Package> {
    Some(Package {
        name: scalar(value.get("name")?)?,
        version: scalar(value.get("version")?)?,
        digest: value.get("digest").and_then(scalar),
        buildpack: None,
    })
}

/// The pairs whose key and value are scalars; null values are left out.
fn texts(mapping: &serde_yaml::Mapping) -> BTreeMap<String, String> {
    mapping
        .iter()
        .filter_map(|(name, value)| Some((scalar(name)?, scalar(value)?)))
        .collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_buildpacks_print_instead_of_nothing() {
        for text in [
            "",
            "\n",
            "---\n",
            "--- {}\n",
            "---\naddons: []\n",
            "default_process_types:\n",
            "---\nconfig_vars:\ndefault_process_types: {web: }\n",
        ] {
            assert_eq!(process_types(text), Ok(BTreeMap::new()), "{text:?}");
        }
    }

    #[test]
    fn process_types_are_read() {
        let types =
            process_types("---\ndefault_process_types:\n  web: npm start\n  console: 'x: y'\n")
                .unwrap();
        assert_eq!(types["web"], "npm start");
        assert_eq!(types["console"], "x: y");
        assert!(process_types("- a\n").is_err());
        assert!(process_types("default_process_types: web\n").is_err());
        assert!(process_types("a: b: c\n").is_err());
    }

    #[test]
    fn a_report_may_hold_other_things() {
        let report = report(
            "tool: 1\nruntimes: {python: 3.11.2, x: [1]}\npackages:\n- {name: flask, version: 3.0.0, digest: sha256:00}\n- nonsense\nlock: \"a\\nb\"\n",
        );
        assert_eq!(report.runtimes["python"], "3.11.2");
        assert_eq!(report.packages.len(), 1);
        assert_eq!(report.packages[0].digest.as_deref(), Some("sha256:00"));
        assert_eq!(report.lock.as_deref(), Some("a\nb"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = process_types(&text);
            report(&text);
        }
    }
}
