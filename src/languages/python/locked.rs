//! The locked packages of Pipenv and Poetry as lines that pip's interface installs one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Manager;
use super::requirements::normal;
use crate::languages::{Notice, Outcome, read_text};

/// The text of a requirements file that installs what is locked, and nothing else.
///
/// # Errors
/// The lockfile cannot be read, or is not that of its Pipfile or pyproject.toml.
pub fn requirements(dir: &Path, manager: Manager) -> Outcome<String> {
    let lines = match manager {
        Manager::Pipenv => pipenv(dir)?,
        Manager::Poetry => poetry(dir)?,
        Manager::Pip | Manager::Uv => Vec::new(),
    };
    Ok(render(&lines))
}

/// One locked package.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Locked {
    /// `name==1.0`, `name @ URL`, `-e PATH` or an option.
    what: String,
    marker: String,
    hashes: Vec<String>,
    /// It has no hash because it can have none.
    is_option: bool,
}

fn render(lines: &[Locked]) -> String {
    // pip wants hashes of all or of none.
    let all_hashed = lines
        .iter()
        .all(|one| one.is_option || !one.hashes.is_empty());
    let line = |one: &Locked| {
        let mut line = one.what.clone();
        if !one.marker.is_empty() {
            line += " ; ";
            line += &one.marker;
        }
        for hash in one.hashes.iter().filter(|_| all_hashed) {
            line += " --hash=";
            line += hash;
        }
        line + "\n"
    };
    lines.iter().map(line).collect()
}

fn option(text: String) -> Locked {
    Locked {
        what: text,
        is_option: true,
        ..Locked::default()
    }
}

/// A value that stays on its line and in its place.
fn plain(text: &str) -> Option<&str> {
    let fine = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    (fine && !text.starts_with('-')).then_some(text)
}

fn pipenv(dir: &Path) -> Outcome<Vec<Locked>> {
    let text = read_text(dir, "Pipfile.lock")?.unwrap_or_default();
    let lock = serde_json::from_str::<Value>(&text).map_err(|error| {
        Notice::new("Error: Can't parse Pipfile.lock.")
            .gap()
            .line(format!("Found: {error}"))
    })?;
    if let Some(pipfile) = read_text(dir, "Pipfile")?
        && let (Some(made_of), Some(is)) = (
            lock["_meta"]["hash"]["sha256"].as_str(),
            pipfile_digest(&pipfile),
        )
        && made_of != is
    {
        return Err(
            Notice::new("Error: Unable to install dependencies using Pipenv.")
                .gap()
                .line("Your Pipfile.lock is out of date: it was made of another Pipfile.")
                .gap()
                .line("Write it anew and commit it:")
                .line("pipenv lock && git add Pipfile.lock"),
        );
    }
    let mut lines = Vec::new();
    let sources = lock["_meta"]["sources"].as_array();
    for (place, source) in sources.into_iter().flatten().enumerate() {
        if let Some(url) = source["url"].as_str().and_then(plain) {
            let name = if place == 0 {
                "--index-url"
            } else {
                "--extra-index-url"
            };
            lines.push(option(format!("{name} {url}")));
        }
    }
    for (name, entry) in lock["default"].as_object().into_iter().flatten() {
        lines.extend(pipenv_package(name, entry));
    }
    Ok(lines)
}

fn pipenv_package(name: &str, entry: &Value) -> Option<Locked> {
    let text = |key: &str| entry[key].as_str();
    let strings = |key: &str| {
        let list = entry[key].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).filter_map(plain)
    };
    let extras = strings("extras").collect::<Vec<_>>();
    let extras = if extras.is_empty() {
        String::new()
    } else {
        format!("[{}]", extras.join(","))
    };
    let name = plain(name)?;
    let what = if let Some(path) = text("path").or_else(|| text("file")) {
        let path = plain(path)?;
        let is_editable = entry["editable"].as_bool().unwrap_or(false);
        if is_editable {
            format!("-e {path}{extras}")
        } else {
            format!("{path}{extras}")
        }
    } else if let Some(url) = text("git") {
        let at = text("ref").and_then(plain).map(|at| format!("@{at}"));
        format!(
            "{name}{extras} @ git+{}{}",
            plain(url)?,
            at.unwrap_or_default()
        )
    } else {
        format!("{name}{extras}{}", plain(text("version")?)?)
    };
    Some(Locked {
        what,
        marker: marker(text("markers").unwrap_or_default()),
        hashes: strings("hashes").map(str::to_owned).collect(),
        is_option: false,
    })
}

fn marker(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Tables of a Pipfile that the digest has under other names, or not at all.
const OWN: [&str; 7] = [
    "source",
    "packages",
    "dev-packages",
    "requires",
    "scripts",
    "pipfile",
    "pipenv",
];

/// The digest that Pipenv keeps of a Pipfile: of its tables as sorted JSON.
fn pipfile_digest(pipfile: &str) -> Option<String> {
    let tables = pipfile.parse::<toml::Table>().ok()?;
    let table = |name: &str| {
        tables
            .get(name)
            .map_or(Value::Object(serde_json::Map::new()), json)
    };
    let mut all = BTreeMap::new();
    let sources = tables.get("source").map(json)?;
    let meta = [("requires", table("requires")), ("sources", sources)];
    let meta = meta
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    all.insert("_meta".to_owned(), Value::Object(meta.collect()));
    all.insert("default".to_owned(), table("packages"));
    all.insert("develop".to_owned(), table("dev-packages"));
    for (name, value) in tables
        .iter()
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
    {
        all.insert(name.clone(), json(value));
    }
    let mut text = String::new();
    sorted_json(&Value::Object(all.into_iter().collect()), &mut text);
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    Some(crate::digest::hex(&digest))
}

fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(list) => list.iter().map(json).collect(),
        toml::Value::Table(table) => {
            let pairs = table
                .iter()
                .map(|(name, value)| (name.clone(), json(value)));
            Value::Object(pairs.collect())
        }
    }
}

/// JSON as Python writes it with sorted keys and no blanks: ASCII alone.
fn sorted_json(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted = map.iter().collect::<BTreeMap<_, _>>();
            text.push('{');
            for (place, (name, value)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                ascii(name, text);
                text.push(':');
                sorted_json(value, text);
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for (place, value) in list.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                sorted_json(value, text);
            }
            text.push(']');
        }
        Value::String(own) => ascii(own, text),
        other => text.push_str(&other.to_string()),
    }
}

fn ascii(own: &str, text: &mut String) {
    for c in Value::from(own).to_string().chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units).iter() {
                text.push_str("\\u");
                text.push_str(&crate::digest::hex(&unit.to_be_bytes()));
            }
        }
    }
}

fn poetry(dir: &Path) -> Outcome<Vec<Locked>> {
    let table = |name: &str| -> Outcome<toml::Table> {
        let text = read_text(dir, name)?.unwrap_or_default();
        text.parse::<toml::Table>().map_err(|error| {
            Notice::new(format!("Error: Can't parse {name}."))
                .gap()
                .line(format!("Found: {}", error.message()))
        })
    };
    let (lock, project) = (table("poetry.lock")?, table("pyproject.toml")?);
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let packages = packages
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_table);
    let packages = packages.collect::<Vec<_>>();
    let has_groups = packages
        .iter()
        .any(|package| package.contains_key("groups"));
    let main = if has_groups {
        None
    } else {
        Some(closure(&project, &packages))
    };
    let mut lines = Vec::new();
    let mut indexes = BTreeSet::new();
    for package in packages {
        let Some(name) = package.get("name").and_then(toml::Value::as_str) else {
            continue;
        };
        let is_optional = package.get("optional").and_then(toml::Value::as_bool);
        let groups = package.get("groups").and_then(toml::Value::as_array);
        let in_main = match (&main, groups) {
            (Some(main), _) => main.contains(&normal(name)),
            (None, Some(groups)) => groups.iter().any(|group| group.as_str() == Some("main")),
            (None, None) => true,
        };
        if in_main && is_optional != Some(true) {
            lines.extend(poetry_package(name, package, &mut indexes));
        }
    }
    let indexes = indexes
        .into_iter()
        .map(|url| option(format!("--extra-index-url {url}")));
    Ok(indexes.chain(lines).collect())
}

fn poetry_package(
    name: &str,
    package: &toml::Table,
    indexes: &mut BTreeSet<String>,
) -> Option<Locked> {
    let name = plain(name)?;
    let version = plain(package.get("version")?.as_str()?)?;
    let source = package.get("source").and_then(toml::Value::as_table);
    let of_source = |key: &str| plain(source?.get(key)?.as_str()?);
    let what = match of_source("type") {
        Some("git") => {
            let at = of_source("resolved_reference").or_else(|| of_source("reference"))?;
            format!("{name} @ git+{}@{at}", of_source("url")?)
        }
        Some("url") => format!("{name} @ {}", of_source("url")?),
        Some("directory") => format!("-e {}", of_source("url")?),
        Some("file") => of_source("url")?.to_owned(),
        Some("legacy") => {
            indexes.extend(of_source("url").map(str::to_owned));
            format!("{name}=={version}")
        }
        _ => format!("{name}=={version}"),
    };
    let files = package.get("files").and_then(toml::Value::as_array);
    let hashes = files.into_iter().flatten().filter_map(|file| {
        let hash = file.get("hash")?.as_str()?;
        plain(hash).map(str::to_owned)
    });
    let markers = match package.get("markers") {
        Some(toml::Value::String(text)) => text.as_str(),
        Some(toml::Value::Table(of_groups)) => of_groups
            .get("main")
            .and_then(toml::Value::as_str)
            .unwrap_or_default(),
        _ => "",
    };
    Some(Locked {
        what,
        marker: marker(markers),
        hashes: hashes.collect(),
        is_option: false,
    })
}

/// The names of all packages that the main group needs, for lockfiles that do not say so.
fn closure(project: &toml::Table, packages: &[&toml::Table]) -> BTreeSet<String> {
    let own = |path: &[&str]| {
        let first = project.get(path[0]);
        path[1..].iter().fold(first, |value, name| value?.get(name))
    };
    let mut open = Vec::new();
    if let Some(table) = own(&["tool", "poetry", "dependencies"]).and_then(toml::Value::as_table) {
        let optional = |value: &toml::Value| {
            value.get("optional").and_then(toml::Value::as_bool) == Some(true)
        };
        let wanted = table.iter().filter(|(_, value)| !optional(value));
        open.extend(wanted.map(|(name, _)| normal(name)));
    }
    if let Some(list) = own(&["project", "dependencies"]).and_then(toml::Value::as_array) {
        let names = list.iter().filter_map(toml::Value::as_str).map(|line| {
            let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)));
            normal(&line[..end.unwrap_or(line.len())])
        });
        open.extend(names);
    }
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !found.insert(name.clone()) {
            continue;
        }
        for package in packages {
            let is_it = package.get("name").and_then(toml::Value::as_str);
            if is_it.is_none_or(|one| normal(one) != name) {
                continue;
            }
            let needs = package.get("dependencies").and_then(toml::Value::as_table);
            open.extend(
                needs
                    .into_iter()
                    .flat_map(|table| table.keys())
                    .map(|name| normal(name)),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn of(files: &[(&str, &str)], manager: Manager) -> Outcome<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        requirements(dir.path(), manager)
    }

    #[test]
    fn pipenv_s_lock_becomes_lines() {
        let lock = r#"{"_meta":{"sources":[{"url":"https://h/simple"},{"url":"https://u:${TOKEN}@h/s"}]},
            "default":{"a":{"version":"==1","hashes":["sha256:00","sha256:11"],"markers":"python_version >= '3.8'","extras":["x"]},
            "-r /etc/passwd\n":{"version":"==1"},
            "b":{"version":"==2","hashes":["sha256:22"]}},"develop":{"c":{"version":"==3"}}}"#;
        let text = of(&[("Pipfile.lock", lock)], Manager::Pipenv).unwrap();
        assert_eq!(
            text,
            "--index-url https://h/simple\n--extra-index-url https://u:${TOKEN}@h/s\n\
             a[x]==1 ; python_version >= '3.8' --hash=sha256:00 --hash=sha256:11\nb==2 --hash=sha256:22\n"
        );
        let git = r#"{"default":{"a":{"git":"https://h/a.git","ref":"00ff"},"b":{"version":"==2","hashes":["sha256:22"]}}}"#;
        let text = of(&[("Pipfile.lock", git)], Manager::Pipenv).unwrap();
        assert_eq!(text, "a @ git+https://h/a.git@00ff\nb==2\n");
    }

    #[test]
    fn a_pipfile_of_another_lock_is_refused() {
        let pipfile = "[[source]]\nurl = \"https://h/simple\"\nverify_ssl = true\nname = \"index\"\n\n\
            [packages]\nflask = \"*\"\n\n[dev-packages]\n\n[requires]\npython_version = \"3.11\"\n";
        let digest = pipfile_digest(pipfile).unwrap();
        // Of `json.dumps(…, sort_keys=True, separators=(",", ":"))` of the same tables.
        assert_eq!(
            digest,
            "5263a2b9ffc872bf23b6e605883ddf1665cea0594f68f673641d7ca08da668e8"
        );
        let lock = |digest: &str| {
            format!(r#"{{"_meta":{{"hash":{{"sha256":"{digest}"}}}},"default":{{}}}}"#)
        };
        assert!(
            of(
                &[("Pipfile", pipfile), ("Pipfile.lock", &lock(&digest))],
                Manager::Pipenv
            )
            .is_ok()
        );
        let stale = of(
            &[("Pipfile", pipfile), ("Pipfile.lock", &lock("00"))],
            Manager::Pipenv,
        );
        assert!(stale.unwrap_err().to_string().contains("out of date"));
    }

    const POETRY: &str = r#"
[[package]]
name = "A.a"
version = "1"
optional = false
files = [{file = "x", hash = "sha256:00"}]
GROUPS
[package.dependencies]
b = ">=1"

[[package]]
name = "b"
version = "2"
files = [{file = "y", hash = "sha256:11"}]
markers = "python_version < \"4\""
GROUPS

[[package]]
name = "dev"
version = "3"
groups_of_dev = true
"#;

    #[test]
    fn poetry_s_main_group_becomes_lines() {
        let project = "[tool.poetry.dependencies]\npython='^3.11'\na-a='1'\n[tool.poetry.group.dev.dependencies]\ndev='3'\n";
        let lines = "A.a==1 --hash=sha256:00\nb==2 ; python_version < \"4\" --hash=sha256:11\n";
        let old = POETRY
            .replace("GROUPS", "")
            .replace("groups_of_dev = true", "");
        let new = POETRY
            .replace("GROUPS", "groups = [\"main\"]")
            .replace("groups_of_dev = true", "groups = [\"dev\"]");
        for lock in [old, new] {
            let files = [("pyproject.toml", project), ("poetry.lock", lock.as_str())];
            assert_eq!(of(&files, Manager::Poetry).unwrap(), lines);
        }
        let broken = of(&[("poetry.lock", "[")], Manager::Poetry).unwrap_err();
        assert_eq!(broken.headline(), "Error: Can't parse poetry.lock.");
    }

    proptest! {
        #[test]
        fn a_locked_name_stays_on_its_line(name in "\\PC{0,20}|-r x|a\n-r b", version in "\\PC{0,20}") {
            let entry = serde_json::json!({ "version": version });
            if let Some(locked) = pipenv_package(&name, &entry) {
                let text = render(&[locked]);
                prop_assert_eq!(text.lines().count(), 1);
                prop_assert!(!text.starts_with('-'));
            }
        }
    }
}
