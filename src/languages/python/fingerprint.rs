//! What an app's installed dependencies depend on, as one digest.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Manager;
use super::requirements;
use crate::languages::{Outcome, read};

/// Whether installed dependencies can be kept for the next build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fingerprint {
    /// Equal digests install the same.
    Of(String),
    /// They depend on more than what can be looked at, in words.
    None { reason: String },
}

/// The fingerprint of an app's dependencies.
///
/// # Errors
/// A file could not be read.
pub fn fingerprint(dir: &Path, manager: Manager) -> Outcome<Fingerprint> {
    let (contents, local) = match manager {
        Manager::Pip => {
            let read = requirements::read_all(dir)?;
            (read.contents, read.local)
        }
        Manager::Pipenv => {
            let lock = read(dir, "Pipfile.lock")?.unwrap_or_default();
            let local = local_of_pipfile(&lock);
            (vec![lock], local)
        }
        Manager::Poetry | Manager::Uv => {
            let lock = read(dir, manager.lockfile())?.unwrap_or_default();
            let local = local_of_toml(manager, &String::from_utf8_lossy(&lock));
            let project = read(dir, "pyproject.toml")?.unwrap_or_default();
            (vec![lock, project], local)
        }
    };
    if let Some(reason) = local {
        return Ok(Fingerprint::None { reason });
    }
    let mut hasher = Sha256::new();
    hasher.update(manager.name());
    for content in &contents {
        hasher.update((content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    Ok(Fingerprint::Of(crate::digest::hex(&digest)))
}

fn local_of_pipfile(lock: &[u8]) -> Option<String> {
    let lock = serde_json::from_slice::<Value>(lock).ok()?;
    let packages = lock["default"].as_object()?;
    let local = |entry: &Value| ["path", "file"].iter().any(|key| !entry[*key].is_null());
    let (name, _) = packages.iter().find(|(_, entry)| local(entry))?;
    Some(format!("Pipfile.lock names local files: {name}"))
}

/// Packages of a lockfile that are directories of the app. The app itself, installed as an editable
/// package, is a path and an entry point only, which pyproject.toml decides.
fn local_of_toml(manager: Manager, lock: &str) -> Option<String> {
    let lock = lock.parse::<toml::Table>().ok()?;
    let packages = lock.get("package")?.as_array()?;
    let kinds: &[&str] = match manager {
        Manager::Uv => &["directory", "path"],
        _ => &["directory", "file"],
    };
    packages.iter().find_map(|package| {
        let source = package.get("source")?;
        let of_uv = kinds.iter().any(|kind| source.get(kind).is_some());
        let of_poetry = source
            .get("type")
            .and_then(toml::Value::as_str)
            .is_some_and(|kind| kinds.contains(&kind));
        let other_editable = source
            .get("editable")
            .and_then(toml::Value::as_str)
            .is_some_and(|path| path != ".");
        let name = package.get("name")?.as_str()?;
        (of_uv || of_poetry || other_editable)
            .then(|| format!("{} names local files: {name}", manager.lockfile()))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(files: &[(&str, &str)], manager: Manager) -> Fingerprint {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fingerprint(dir.path(), manager).unwrap()
    }

    #[test]
    fn it_depends_on_what_is_installed_alone() {
        let one = of(
            &[("requirements.txt", "flask==3\n"), ("app.py", "1")],
            Manager::Pip,
        );
        let same = of(
            &[("requirements.txt", "flask==3\n"), ("app.py", "2")],
            Manager::Pip,
        );
        let other = of(&[("requirements.txt", "flask==4\n")], Manager::Pip);
        assert_eq!(one, same);
        assert_ne!(one, other);
    }

    #[test]
    fn local_packages_have_none() {
        for (manager, file, text) in [
            (Manager::Pip, "requirements.txt", "-e ."),
            (
                Manager::Pipenv,
                "Pipfile.lock",
                r#"{"default":{"x":{"path":"./x"}}}"#,
            ),
            (
                Manager::Poetry,
                "poetry.lock",
                "[[package]]\nname='x'\n[package.source]\ntype='directory'\nurl='x'\n",
            ),
            (
                Manager::Uv,
                "uv.lock",
                "[[package]]\nname='x'\nsource={directory='x'}\n",
            ),
            (
                Manager::Uv,
                "uv.lock",
                "[[package]]\nname='x'\nsource={editable='packages/x'}\n",
            ),
        ] {
            let found = of(&[(file, text)], manager);
            assert!(
                matches!(found, Fingerprint::None { .. }),
                "{text}: {found:?}"
            );
        }
        let own = "[[package]]\nname='x'\nsource={editable='.'}\n";
        assert!(matches!(
            of(&[("uv.lock", own)], Manager::Uv),
            Fingerprint::Of(_)
        ));
    }
}
