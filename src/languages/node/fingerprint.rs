//! What installed modules depend on, as one digest.

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Manager, Manifest};
use crate::languages::python::Fingerprint;
use crate::languages::{Outcome, read};

/// Files that change what is installed, besides the lockfile and every package.json.
const SETTINGS: [&str; 8] = [
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    "pnpm-workspace.yaml",
    ".pnpmfile.cjs",
    "bunfig.toml",
    "lerna.json",
    ".node-gyprc",
];

/// Deepest directory that is looked at for a workspace's package.json.
const LEVELS: usize = 6;

/// The fingerprint of an app's modules.
///
/// # Errors
/// A file could not be read.
pub fn fingerprint(dir: &Path, manager: Manager, lockfile: &str) -> Outcome<Fingerprint> {
    let none = |reason: String| Ok(Fingerprint::None { reason });
    if lockfile.is_empty() {
        return none("there is no lockfile".into());
    }
    let manifest = Manifest::read(dir)?;
    if let Some(script) = manifest.install_scripts().first() {
        return none(format!(
            "package.json has a script \"{script}\", which each build runs"
        ));
    }
    let mut hasher = Sha256::new();
    let mut feed = |name: &str, content: &[u8]| {
        for part in [name.as_bytes(), content] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    };
    feed("manager", manager.name().as_bytes());
    let lock = read(dir, lockfile)?.unwrap_or_default();
    feed(lockfile, &lock);
    for name in SETTINGS {
        if let Some(bytes) = read(dir, name)? {
            feed(name, &bytes);
        }
    }
    let mut found = Vec::new();
    // Lockfiles name patches by path.
    for patches in ["patches", ".yarn/patches"] {
        files(
            &dir.join(patches),
            patches,
            LEVELS,
            &mut |_| true,
            &mut found,
        );
    }
    files(
        dir,
        "",
        LEVELS,
        &mut |name| name == "package.json",
        &mut found,
    );
    found.sort();
    for path in found {
        let bytes = read(dir, &path)?.unwrap_or_default();
        if !path.ends_with("package.json") {
            feed(&path, &bytes);
            continue;
        }
        let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
            feed(&path, &bytes);
            continue;
        };
        let serde_json::Value::Object(_) = manifest else {
            continue;
        };
        let manifest = Manifest::read(dir.join(&path).parent().unwrap_or(dir))?;
        if let Some((name, _)) = manifest.dependencies().find(|(_, wanted)| is_local(wanted)) {
            return none(format!("{path} names a directory of the app: {name}"));
        }
        if path != "package.json"
            && let Some(script) = manifest.install_scripts().first()
        {
            return none(format!(
                "{path} has a script \"{script}\", which each build runs"
            ));
        }
        feed(&path, manifest.of_installation().to_string().as_bytes());
    }
    let digest: [u8; 32] = hasher.finalize().into();
    Ok(Fingerprint::Of(crate::digest::hex(&digest)))
}

fn is_local(wanted: &str) -> bool {
    ["file:", "link:", "portal:", "./", "../"]
        .iter()
        .any(|start| wanted.starts_with(start))
}

/// The paths of files below a directory, without those of modules, hidden directories and links.
fn files(
    dir: &Path,
    below: &str,
    levels: usize,
    wanted: &mut dyn FnMut(&str) -> bool,
    found: &mut Vec<String>,
) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = if below.is_empty() {
            name.clone()
        } else {
            format!("{below}/{name}")
        };
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() && levels > 0 && name != "node_modules" && !name.starts_with('.') {
            files(&entry.path(), &path, levels - 1, wanted, found);
        } else if kind.is_file() && wanted(&name) {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Fingerprint {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("package-lock.json"), "{}").unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fingerprint(dir.path(), Manager::Npm, "package-lock.json").unwrap()
    }

    #[test]
    fn it_depends_on_what_is_installed_alone() {
        let base = of(&[("package.json", r#"{"dependencies":{"a":"1"}}"#)]);
        let code = of(&[
            (
                "package.json",
                r#"{"scripts":{"build":"x"},"dependencies":{"a":"1"},"description":"d"}"#,
            ),
            ("server.js", "1"),
        ]);
        assert_eq!(base, code);
        for other in [
            &[("package.json", r#"{"dependencies":{"a":"2"}}"#)][..],
            &[
                ("package.json", r#"{"dependencies":{"a":"1"}}"#),
                ("package-lock.json", "{ }"),
            ],
            &[
                ("package.json", r#"{"dependencies":{"a":"1"}}"#),
                (".npmrc", "x=1"),
            ],
            &[
                ("package.json", r#"{"dependencies":{"a":"1"}}"#),
                ("packages/b/package.json", "{}"),
            ],
            &[
                ("package.json", r#"{"dependencies":{"a":"1"}}"#),
                ("patches/a.patch", "x"),
            ],
        ] {
            assert_ne!(base, of(other), "{other:?}");
        }
    }

    #[test]
    fn what_each_build_must_do_has_none() {
        for text in [
            r#"{"scripts":{"postinstall":"x"}}"#,
            r#"{"dependencies":{"a":"file:./a"}}"#,
        ] {
            assert!(
                matches!(of(&[("package.json", text)]), Fingerprint::None { .. }),
                "{text}"
            );
        }
    }
}
