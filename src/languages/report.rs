//! What buildpacks report of packages: the YAML of `bin/report`.

use serde_json::Value;

use super::{Notice, list};
use crate::slug::Package;

/// A package.
pub(super) fn package(name: String, version: String, digest: Option<String>) -> Package {
    Package {
        name,
        version,
        digest,
        buildpack: None,
    }
}

/// Packages, and what makes the package manager install the same ones, as part of a report.
pub fn report(packages: &[Package], lock: Option<&str>) -> String {
    // A JSON string is a YAML string.
    let quoted = |text: &str| Value::from(text).to_string();
    let line = |package: &Package| {
        let (name, version) = (quoted(&package.name), quoted(&package.version));
        let digest = package.digest.as_deref();
        let digest = digest.map(|digest| format!(", digest: {}", quoted(digest)));
        let digest = digest.unwrap_or_default();
        format!("- {{name: {name}, version: {version}{digest}}}\n")
    };
    let mut text = match packages {
        [] => "packages: []\n".to_owned(),
        _ => "packages:\n".to_owned() + &packages.iter().map(line).collect::<String>(),
    };
    if let Some(lock) = lock {
        text = text + "lock: " + &quoted(lock) + "\n";
    }
    text
}

/// Adds to the notice of a failed installation which of the packages that a slug's record names
/// the log speaks of: they cannot be had any more.
pub fn name_recorded(notice: Notice, log: &str, recorded: &[Package]) -> Notice {
    let is_named = |package: &&Package| {
        let mut lines = log.lines();
        lines.any(|line| line.contains(&package.name) && line.contains(&package.version))
    };
    let named = recorded.iter().filter(is_named);
    let named = named.map(|one| format!("{} {}", one.name, one.version));
    let named = list(named);
    if named.is_empty() {
        return notice
            .gap()
            .line("This was to install the versions that the slug's record names, and no others.");
    }
    notice
        .gap()
        .line(format!("The slug's record names these versions: {named}."))
        .line("What was replaced or removed since cannot be installed again.")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_recorded_package_that_a_log_speaks_of_is_named() {
        let named = |name: &str, version: &str| package(name.into(), version.into(), None);
        let recorded = [named("click", "8.1.7"), named("flask", "3.0.0")];
        let add = |log| name_recorded(Notice::new("Error: x."), log, &recorded).to_string();
        let text = add("there is no version of click==8.1.7\nflask: fine");
        assert!(text.contains("these versions: click 8.1.7."), "{text}");
        assert!(add("no network").contains("and no others"));
    }

    proptest! {
        #[test]
        fn yaml_gives_the_same_words(name in "\\PC{0,20}", digest: Option<String>, lock: Option<String>) {
            let packages = [package(name.clone(), "1".into(), digest.clone())];
            let text = report(&packages, lock.as_deref());
            let document = serde_yaml::from_str::<serde_yaml::Value>(&text).unwrap();
            let one = &document["packages"][0];
            prop_assert_eq!(one["name"].as_str(), Some(name.as_str()));
            prop_assert_eq!(one["version"].as_str(), Some("1"));
            prop_assert_eq!(one.get("digest").and_then(|value| value.as_str()), digest.as_deref());
            prop_assert_eq!(document.get("lock").and_then(|value| value.as_str()), lock.as_deref());
        }
    }
}
