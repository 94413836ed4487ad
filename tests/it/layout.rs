//! The rows of ARCHITECTURE.md: imports go down only, and no two stages import each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::site::files_below;

/// From the top. Within the edge and within the vocabulary modules may import each other.
const ROWS: [(&str, &[&str]); 6] = [
    (
        "edge",
        &["cli", "http", "router", "drain", "failure", "languages"],
    ),
    ("platform", &["platform"]),
    ("pipeline", &["pipeline"]),
    (
        "stages",
        &[
            "receive", "checkout", "detect", "compile", "pack", "store", "dyno",
        ],
    ),
    ("tools", &["sandbox", "runtime", "fetch", "tool"]),
    (
        "vocabulary",
        &[
            "app",
            "attach",
            "buildpack",
            "config",
            "digest",
            "domain",
            "fault",
            "output",
            "procfile",
            "release",
            "slug",
            "stack",
        ],
    ),
];

fn row(module: &str) -> Option<usize> {
    ROWS.iter()
        .position(|(_, modules)| modules.contains(&module))
}

/// The modules that a file imports by `crate::…`, comments apart.
fn imports(text: &str) -> Vec<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        let names = match rest.strip_prefix('{') {
            // `use crate::{a, b::c}`.
            Some(list) => list.split_once('}').map_or(list, |(list, _)| list),
            None => rest.split([';', ',']).next().unwrap_or_default(),
        };
        for name in names.split(',') {
            let name = name
                .trim()
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next();
            found.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    found
}

/// `src/http/git.rs` → `http`.
fn module(path: &str) -> String {
    let below = path.rsplit_once("/src/").unwrap().1;
    below
        .split('/')
        .next()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

#[test]
fn imports_go_down_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = BTreeMap::<String, usize>::new();
    let mut faults = Vec::new();
    for path in files_below(&src)
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
    {
        let from = module(&path);
        if ["lib", "main", "fixture"].contains(&from.as_str()) {
            continue;
        }
        let Some(from_row) = row(&from) else {
            faults.push(format!("{from} stands in no row"));
            continue;
        };
        *seen.entry(from.clone()).or_default() += 1;
        for to in imports(&fs::read_to_string(&path).unwrap()) {
            let Some(to_row) = row(&to) else { continue };
            let siblings = ["edge", "vocabulary"].contains(&ROWS[from_row].0);
            if from != to && (to_row < from_row || to_row == from_row && !siblings) {
                faults.push(format!("{from} imports {to} ({path})"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    for module in ["http", "platform", "pipeline", "receive", "sandbox", "slug"] {
        assert!(seen.contains_key(module), "{module} was not looked at");
    }
}

#[test]
fn no_language_is_named_outside_of_its_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = fs::read_to_string(root.join("buildpacks/detect-order")).unwrap();
    let names = names.lines().collect::<Vec<_>>();
    for path in files_below(&root.join("src"))
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
    {
        // The command line's demo is an app, and failures speak of marker files to people.
        if ["languages", "cli", "failure"].contains(&module(&path).as_str())
            || path.contains("/tests/")
        {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for name in &names {
                assert!(
                    !line.to_lowercase().contains(name),
                    "{path} names {name}: {line}"
                );
            }
        }
    }
}

#[test]
fn imports_are_found() {
    assert_eq!(
        imports("use crate::a::B;\nuse crate::{c, d::E};\n// crate::f\ncrate::g::h();"),
        ["a", "c", "d", "g"]
    );
}
