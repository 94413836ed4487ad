//! The packages that are installed below an app, from their own `package.json` files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::Manager;
use super::locked::{Digests, digests};
use crate::languages::report;
use crate::slug::Package;

/// npm's record of what it has put there.
const RECORD: &str = "node_modules/.package-lock.json";

/// Deepest node_modules in another that is looked into.
const LEVELS: usize = 50;

/// What is installed, sorted, each with its digest where a lockfile has it: `lock` is the text of
/// the package manager's.
pub fn packages(app: &Path, manager: Manager, lock: &str) -> Vec<Package> {
    let mut known = digests(manager, lock);
    if manager == Manager::Npm {
        // A committed lockfile may be an old one, without digests.
        let record = fs::read_to_string(app.join(RECORD)).unwrap_or_default();
        known.extend(digests(manager, &record));
    }
    let mut found = BTreeSet::new();
    walk(&app.join("node_modules"), LEVELS, &mut found);
    if manager == Manager::Berry && app.join(".pnp.cjs").exists() {
        found.extend(archives(app, &known));
    }
    let with_digest = |(name, version): (String, String)| {
        let key = (name, version);
        let digest = known.get(&key).cloned();
        report::package(key.0, key.1, digest)
    };
    found.into_iter().map(with_digest).collect()
}

/// With Plug'n'Play, what is installed is an archive each.
fn archives(app: &Path, known: &Digests) -> Vec<(String, String)> {
    let entries = fs::read_dir(app.join(".yarn/cache")).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names = names.collect::<BTreeSet<_>>();
    let is_there = |(name, version): &&(String, String)| {
        let start = format!("{}-npm-{version}-", name.replace('/', "-"));
        let mut after = names.range(start.clone()..);
        after.next().is_some_and(|name| name.starts_with(&start))
    };
    known.keys().filter(is_there).cloned().collect()
}

/// What is read of a package.json.
#[derive(Deserialize)]
struct Named {
    name: String,
    version: String,
}

/// Directories only: a link is a workspace, or a package that is found elsewhere.
fn walk(modules: &Path, levels: usize, found: &mut BTreeSet<(String, String)>) {
    if levels == 0 {
        return;
    }
    for (dir, name) in directories(modules) {
        if name == ".pnpm" {
            for (dir, _) in directories(&dir) {
                walk(&dir.join("node_modules"), levels - 1, found);
            }
        } else if name.starts_with('@') {
            for (dir, _) in directories(&dir) {
                add(&dir, levels, found);
            }
        } else if ![".bin", ".cache"].contains(&name.as_str()) {
            add(&dir, levels, found);
        }
    }
}

fn add(dir: &Path, levels: usize, found: &mut BTreeSet<(String, String)>) {
    let manifest = fs::read(dir.join("package.json")).unwrap_or_default();
    if let Ok(Named { name, version }) = serde_json::from_slice(&manifest) {
        found.insert((name, version));
    }
    walk(&dir.join("node_modules"), levels - 1, found);
}

fn directories(dir: &Path) -> Vec<(std::path::PathBuf, String)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let directory = |entry: fs::DirEntry| {
        let is_one = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name().into_string().ok()?;
        is_one.then(|| (entry.path(), name))
    };
    entries.filter_map(directory).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn listed(app: &Path, manager: Manager, lock: &str) -> Vec<String> {
        let list = packages(app, manager, lock).into_iter();
        list.map(|one| {
            let digest = one.digest.unwrap_or_default();
            format!("{} {} {digest}", one.name, one.version)
        })
        .collect()
    }

    #[test]
    fn packages_are_found_wherever_they_are() {
        let app = app(&[
            (
                "node_modules/a/package.json",
                r#"{"name":"a","version":"1.0.0"}"#,
            ),
            (
                "node_modules/a/node_modules/@s/b/package.json",
                r#"{"name":"@s/b","version":"2.0.0"}"#,
            ),
            (
                "node_modules/.pnpm/c@3.0.0/node_modules/c/package.json",
                r#"{"name":"c","version":"3.0.0"}"#,
            ),
            (
                "node_modules/.bin/d/package.json",
                r#"{"name":"d","version":"4.0.0"}"#,
            ),
            ("node_modules/e/package.json", r#"{"name":"e"}"#),
            (
                "packages/own/package.json",
                r#"{"name":"own","version":"5.0.0"}"#,
            ),
            (
                RECORD,
                r#"{"packages":{"node_modules/a":{"version":"1.0.0","integrity":"sha512-A"}}}"#,
            ),
        ]);
        symlink("../packages/own", app.path().join("node_modules/own")).unwrap();
        assert_eq!(
            listed(app.path(), Manager::Npm, ""),
            ["@s/b 2.0.0 ", "a 1.0.0 sha512-A", "c 3.0.0 "]
        );
    }

    #[test]
    fn archives_of_plug_n_play_are_packages() {
        let lock = "\"@s/a@npm:1\":\n  version: 1.0.0\n  resolution: \"@s/a@npm:1.0.0\"\n  checksum: 10c0/aa\n\
                    \"b@npm:2\":\n  version: 2.0.0\n  resolution: \"b@npm:2.0.0\"\n  checksum: 10c0/bb\n";
        let app = app(&[
            (".pnp.cjs", ""),
            (".yarn/cache/@s-a-npm-1.0.0-0123456789-aa.zip", ""),
        ]);
        assert_eq!(
            listed(app.path(), Manager::Berry, lock),
            ["@s/a 1.0.0 sha512:aa"]
        );
    }
}
