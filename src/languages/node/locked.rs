//! The digests of packages, as the lockfiles of the package managers have them.
//!
//! In: a lockfile's text. Out: digests by name and version, with the algorithm before each. What
//! cannot be read gives none.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Manager;

/// Digests by name and version. Of one package from two places, such as a fork by URL, the last counts.
pub(super) type Digests = BTreeMap<(String, String), String>;

/// Reads a lockfile.
pub(super) fn digests(manager: Manager, text: &str) -> Digests {
    match manager {
        Manager::Npm => npm(text),
        Manager::Yarn => yarn(text),
        Manager::Berry => berry(text),
        Manager::Pnpm => pnpm(text),
        Manager::Bun => bun(text),
    }
}

/// `name@version`, where the name may have a scope.
fn split(text: &str) -> Option<(&str, &str)> {
    let at = text.char_indices().skip(1).find(|(_, c)| *c == '@')?.0;
    Some((&text[..at], &text[at + 1..]))
}

fn pair(name: &str, version: &str) -> (String, String) {
    (name.to_owned(), version.to_owned())
}

fn npm(text: &str) -> Digests {
    let lock = serde_json::from_str::<Value>(text).unwrap_or_default();
    let packages = lock["packages"].as_object().into_iter().flatten();
    let digest = |(path, entry): (&String, &Value)| {
        // An alias has the package's own name beside it.
        let of_path = path.rsplit("node_modules/").next()?;
        let name = entry["name"].as_str().unwrap_or(of_path);
        let digest = entry["integrity"].as_str()?;
        Some((pair(name, entry["version"].as_str()?), digest.to_owned()))
    };
    packages.filter_map(digest).collect()
}

/// Yarn 1's own form: a line of ranges, then indented lines of a word and its value.
fn yarn(text: &str) -> Digests {
    let mut found = Digests::new();
    let (mut name, mut version) = (None, None);
    for line in text.lines() {
        let value = |word: &str| {
            let value = line.trim_start().strip_prefix(word)?.strip_prefix(' ')?;
            Some(value.trim().trim_matches('"'))
        };
        if line.starts_with([' ', '\t']) {
            if let Some(text) = value("version") {
                version = Some(text);
            } else if let (Some(digest), Some(name), Some(version)) =
                (value("integrity"), name, version)
            {
                found.insert(pair(name, version), digest.to_owned());
            }
            continue;
        }
        let first = line.trim_end_matches(':').split(", ").next();
        (name, version) = (first.and_then(of_range), None);
    }
    found
}

/// The package's name in `name@range` or `alias@npm:name@range`.
fn of_range(text: &str) -> Option<&str> {
    let (name, range) = split(text.trim_matches('"'))?;
    let aliased = range.strip_prefix("npm:").and_then(split);
    Some(aliased.map_or(name, |(name, _)| name))
}

fn berry(text: &str) -> Digests {
    let Ok(serde_yaml::Value::Mapping(lock)) = serde_yaml::from_str(text) else {
        return Digests::new();
    };
    let digest = |(_, entry): (&serde_yaml::Value, &serde_yaml::Value)| {
        let (name, _) = split(entry.get("resolution")?.as_str()?)?;
        let version = scalar(entry.get("version")?)?;
        // Before the slash stands how the archive was made.
        let checksum = entry.get("checksum")?.as_str()?;
        let digest = checksum
            .split_once('/')
            .map_or(checksum, |(_, digest)| digest);
        Some((pair(name, &version), format!("sha512:{digest}")))
    };
    lock.iter().filter_map(digest).collect()
}

/// A version that YAML takes for a number is none of npm's, and read all the same.
fn scalar(value: &serde_yaml::Value) -> Option<String> {
    match value {
        serde_yaml::Value::String(text) => Some(text.clone()),
        serde_yaml::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn pnpm(text: &str) -> Digests {
    let Ok(lock) = serde_yaml::from_str::<serde_yaml::Value>(text) else {
        return Digests::new();
    };
    let packages = lock.get("packages").and_then(serde_yaml::Value::as_mapping);
    let digest = |(key, entry): (&serde_yaml::Value, &serde_yaml::Value)| {
        // `name@1.0.0`, `/name@1.0.0(peer@2.0.0)` or `/name/1.0.0_peer@2.0.0`.
        let key = key.as_str()?;
        let bare = key.trim_start_matches('/');
        let bare = bare.split('(').next().unwrap_or_default();
        let (name, version) = split(bare)
            .filter(|(name, _)| name.starts_with('@') || !name.contains('/'))
            .or_else(|| bare.rsplit_once('/'))?;
        let version = version.split('_').next().unwrap_or_default();
        let digest = entry.get("resolution")?.get("integrity")?.as_str()?;
        Some((pair(name, version), digest.to_owned()))
    };
    packages.into_iter().flatten().filter_map(digest).collect()
}

fn bun(text: &str) -> Digests {
    let lock = serde_json::from_str::<Value>(&without_commas(text)).unwrap_or_default();
    let packages = lock["packages"].as_object().into_iter().flatten();
    let digest = |(_, entry): (&String, &Value)| {
        let (name, version) = split(entry[0].as_str()?)?;
        let digest = entry.as_array()?.last()?.as_str()?;
        let is_one = digest.starts_with("sha");
        is_one.then(|| (pair(name, version), digest.to_owned()))
    };
    packages.filter_map(digest).collect()
}

/// JSON without the commas before closing brackets that bun writes.
fn without_commas(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let (mut in_text, mut escaped) = (false, false);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            in_text = true;
        } else if c == ',' && rest.as_str().trim_start().starts_with([']', '}']) {
            continue;
        }
        plain.push(c);
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_lockfile_has_its_digests() {
        for (manager, text) in [
            (
                Manager::Npm,
                r#"{"packages":{"":{"name":"app"},
                    "node_modules/@s/a":{"version":"1.0.0","integrity":"sha512-A"},
                    "node_modules/x/node_modules/alias":{"name":"b","version":"2.0.0","integrity":"sha512-B"},
                    "node_modules/c":{"version":"3.0.0"}}}"#,
            ),
            (
                Manager::Yarn,
                "# yarn lockfile v1\n\n\"@s/a@^1.0.0\", \"@s/a@~1.0.0\":\n  version \"1.0.0\"\n  resolved \"x\"\n  integrity sha512-A\n  dependencies:\n    c \"^3\"\n\n\
                 alias@npm:b@2:\n  version \"2.0.0\"\n  integrity sha512-B\n\nc@^3:\n  version \"3.0.0\"\n",
            ),
            (
                Manager::Pnpm,
                "lockfileVersion: '9.0'\npackages:\n  '@s/a@1.0.0':\n    resolution: {integrity: sha512-A}\n\
                 \x20 b@2.0.0:\n    resolution: {integrity: sha512-B}\n  c@https://h/c.tgz:\n    resolution: {tarball: x}\n",
            ),
            (
                Manager::Pnpm,
                "packages:\n  /@s/a@1.0.0(b@2.0.0):\n    resolution: {integrity: sha512-A}\n  /b/2.0.0_c@3.0.0:\n    resolution: {integrity: sha512-B}\n",
            ),
            (
                Manager::Bun,
                "{\n  \"packages\": {\n    \"@s/a\": [\"@s/a@1.0.0\", \"\", { \"dependencies\": { \"b\": \"2, }\", } }, \"sha512-A\"],\n\
                 \"b\": [\"b@2.0.0\", \"\", {}, \"sha512-B\"],\n    \"c\": [\"c@workspace:c\"],\n  }\n}\n",
            ),
        ] {
            let found = digests(manager, text);
            let found = found
                .iter()
                .map(|((name, version), digest)| format!("{name} {version} {digest}"))
                .collect::<Vec<_>>();
            assert_eq!(
                found,
                ["@s/a 1.0.0 sha512-A", "b 2.0.0 sha512-B"],
                "{manager:?}: {text}"
            );
        }
        let text = "__metadata:\n  version: 8\n\n\"a@npm:^1.0.0\":\n  version: 1.0.0\n  resolution: \"a@npm:1.0.0\"\n  checksum: 10c0/00ff\n\
                    \"app@workspace:.\":\n  version: 0.0.0-use.local\n  resolution: \"app@workspace:.\"\n";
        let found = digests(Manager::Berry, text);
        assert_eq!(found[&pair("a", "1.0.0")], "sha512:00ff");
        assert_eq!(found.len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,60}|(a@1:\n|  version \"1\"\n|  integrity x\n|packages: |\\{|\\}|\"|,|@|/){0,20}") {
            for manager in [Manager::Npm, Manager::Yarn, Manager::Berry, Manager::Pnpm, Manager::Bun] {
                digests(manager, &text);
            }
        }

        #[test]
        fn commas_in_texts_stay(text: String) {
            let json = format!("[{},]", Value::from(text.as_str()));
            let read = serde_json::from_str::<Value>(&without_commas(&json)).unwrap();
            prop_assert_eq!(read[0].as_str(), Some(text.as_str()));
        }
    }
}
