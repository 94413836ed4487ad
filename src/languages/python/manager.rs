//! Which package manager an app uses: exactly one. Source: facts on Heroku's builds, §4.1.

use std::path::Path;

use crate::languages::{Notice, Outcome, list, names};

/// A package manager of Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Pip,
    Pipenv,
    Poetry,
    Uv,
}

const ALL: [Manager; 4] = [Manager::Pipenv, Manager::Pip, Manager::Poetry, Manager::Uv];

impl Manager {
    /// The file that chooses it, at the app's root.
    pub fn lockfile(self) -> &'static str {
        match self {
            Self::Pip => "requirements.txt",
            Self::Pipenv => "Pipfile.lock",
            Self::Poetry => "poetry.lock",
            Self::Uv => "uv.lock",
        }
    }

    /// The program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pip => "pip",
            Self::Pipenv => "pipenv",
            Self::Poetry => "poetry",
            Self::Uv => "uv",
        }
    }

    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Pip => "pip",
            Self::Pipenv => "Pipenv",
            Self::Poetry => "Poetry",
            Self::Uv => "uv",
        }
    }

    /// The manager of that name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|one| one.name() == name)
    }
}

/// Names that people give a requirements file by mistake. Source: facts on Heroku's builds, §4.1.
const MISSPELT: [&str; 8] = [
    "requirement.txt",
    "Requirements.txt",
    "requirements",
    "requirements.text",
    "requirements.txt.txt",
    "requirments.txt",
    "requirement.text",
    "requirments",
];

/// The manager of an app.
pub(super) fn choose(dir: &Path) -> Outcome<Manager> {
    let names = names(dir);
    let has = |name: &str| names.iter().any(|known| known == name);
    let found = ALL.into_iter().filter(|one| has(one.lockfile()));
    let found = found.collect::<Vec<_>>();
    match found[..] {
        [one] => Ok(one),
        [] => Err(none(&names)),
        _ => Err(several(&found)),
    }
}

fn several(found: &[Manager]) -> Notice {
    let keep = |one: &Manager| {
        let others = found.iter().filter(|other| *other != one);
        let others = others.map(|other| other.lockfile()).collect::<Vec<_>>();
        format!("To use {}:  git rm {}", one.title(), others.join(" "))
    };
    Notice::new("Error: Multiple Python package manager files were found.")
        .gap()
        .line(format!(
            "Found at the root: {}.",
            list(found.iter().map(|one| one.lockfile()))
        ))
        .gap()
        .line("Keep the file of one package manager and remove the others.")
        .lines(found.iter().map(keep))
}

fn none(names: &[String]) -> Notice {
    let has = |name: &str| names.iter().any(|known| known == name);
    if has("Pipfile") {
        return Notice::new("Error: No 'Pipfile.lock' found!")
            .gap()
            .line("Found a Pipfile, but not the lockfile that says which versions to install.")
            .gap()
            .line("Write it and commit it:")
            .line("pipenv lock && git add Pipfile.lock");
    }
    if let Some(misspelt) = names.iter().find(|name| MISSPELT.contains(&name.as_str())) {
        return unsupported(names)
            .gap()
            .line(format!("Did you mean requirements.txt? Rename {misspelt}:"))
            .line(format!("git mv {misspelt} requirements.txt"));
    }
    if has("pylock.toml") {
        return unsupported(names)
            .gap()
            .line("pylock.toml alone does not say which tool keeps it. Write a")
            .line("requirements.txt from it, such as:")
            .line("uv venv && uv pip sync pylock.toml && uv pip freeze > requirements.txt");
    }
    if has("pdm.lock") {
        return unsupported(names)
            .gap()
            .line("PDM is not built here. It writes a requirements.txt:")
            .line("pdm export -o requirements.txt");
    }
    if has("pyproject.toml") {
        return unsupported(names)
            .gap()
            .line("pyproject.toml names dependencies, but no lockfile their versions.")
            .line("Write one and commit it, with uv or with Poetry:")
            .line("uv lock && git add uv.lock")
            .line("poetry lock && git add poetry.lock");
    }
    if has("setup.py") {
        return Notice::new("Error: Implicit setup.py file support has been sunset.")
            .gap()
            .line("Found a setup.py, but no file of a package manager.")
            .gap()
            .line("Commit a requirements.txt that installs the app itself, one line")
            .line("with a single dot:")
            .line("echo . > requirements.txt");
    }
    unsupported(names)
        .gap()
        .line("Commit a requirements.txt at the root of the repository, with one")
        .line("package a line, such as Flask==3.1.3. It may be empty.")
}

fn unsupported(names: &[String]) -> Notice {
    let found = if names.is_empty() {
        "nothing".to_owned()
    } else {
        list(names)
    };
    Notice::new("Error: Couldn't find any supported Python package manager files.")
        .gap()
        .line(format!(
            "Looked at the root for {}.",
            list(ALL.map(Manager::lockfile))
        ))
        .line(format!("Found there: {found}."))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn chosen(files: &[&str]) -> Outcome<Manager> {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(dir.path().join(file), "").unwrap();
        }
        choose(dir.path())
    }

    #[test]
    fn one_file_chooses() {
        for one in ALL {
            assert_eq!(
                chosen(&[one.lockfile(), "pyproject.toml", "setup.py"]),
                Ok(one)
            );
            assert_eq!(Manager::named(one.name()), Some(one));
        }
    }

    #[test]
    fn the_headlines_are_herokus() {
        for (files, headline) in [
            (
                &["Pipfile.lock", "requirements.txt"][..],
                "Error: Multiple Python package manager files were found.",
            ),
            (&["Pipfile"], "Error: No 'Pipfile.lock' found!"),
            (
                &["setup.py"],
                "Error: Implicit setup.py file support has been sunset.",
            ),
            (
                &["app.py"],
                "Error: Couldn't find any supported Python package manager files.",
            ),
            (
                &["pyproject.toml", "setup.py"],
                "Error: Couldn't find any supported Python package manager files.",
            ),
        ] {
            assert_eq!(chosen(files).unwrap_err().headline(), headline, "{files:?}");
        }
        let misspelt = chosen(&["requirement.txt"]).unwrap_err().to_string();
        assert!(misspelt.contains("git mv requirement.txt requirements.txt"));
    }
}
