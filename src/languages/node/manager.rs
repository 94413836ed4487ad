//! Which package manager an app uses: lockfile, `packageManager` and `engines` must agree.
//! Source: facts on Heroku's builds, §4.2.

use std::path::Path;

use super::Manifest;
use crate::languages::{Notice, Outcome, list, read, read_text};

/// A package manager of Node.js.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Npm,
    Yarn,
    /// Yarn 2 and later.
    Berry,
    Pnpm,
    Bun,
}

impl Manager {
    /// A word for the buildpack's shell.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Yarn => "yarn",
            Self::Berry => "berry",
            Self::Pnpm => "pnpm",
            Self::Bun => "bun",
        }
    }

    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Yarn | Self::Berry => "Yarn",
            other => other.name(),
        }
    }

    /// The program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Yarn | Self::Berry => "yarn",
            other => other.name(),
        }
    }

    /// The manager of a word of [`Manager::name`].
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Npm, Self::Yarn, Self::Berry, Self::Pnpm, Self::Bun];
        all.into_iter().find(|one| one.name() == name)
    }
}

/// Lockfiles, and whose program each is.
const LOCKFILES: [(&str, &str); 6] = [
    ("npm-shrinkwrap.json", "npm"),
    ("package-lock.json", "npm"),
    ("yarn.lock", "yarn"),
    ("pnpm-lock.yaml", "pnpm"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
];

/// The manager of an app, and what the app says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub manager: Manager,
    pub lockfile: Option<&'static str>,
    /// A version or a range.
    pub wanted: Option<String>,
    /// The field that names it.
    pub by: Option<&'static str>,
    /// Yarn's own program in the repository.
    pub yarn_path: Option<String>,
}

/// Chooses the manager.
pub(super) fn choose(
    dir: &Path,
    manifest: &Manifest,
    warnings: &mut Vec<Notice>,
) -> Outcome<Choice> {
    let lockfile = lockfile(dir)?;
    let declared = declared(manifest)?;
    if let (Some((file, owner)), Some((program, _, by))) = (lockfile, &declared)
        && owner != *program
    {
        return Err(disagree(file, program, by));
    }
    let program = match (&declared, lockfile) {
        (Some((program, ..)), _) => *program,
        (None, Some((_, owner))) => owner,
        (None, None) => "npm",
    };
    let wanted = declared.as_ref().and_then(|(_, wanted, _)| wanted.clone());
    let by = declared.as_ref().map(|(_, _, by)| *by);
    let (manager, yarn_path) = match program {
        "yarn" => yarn(dir, wanted.as_deref())?,
        "pnpm" => (Manager::Pnpm, None),
        "bun" => (Manager::Bun, None),
        _ => (Manager::Npm, None),
    };
    if lockfile.is_none() && manifest.has_dependencies() {
        warnings.push(no_lockfile(manager));
    }
    Ok(Choice {
        manager,
        lockfile: lockfile.map(|(file, _)| file),
        wanted,
        by,
        yarn_path,
    })
}

fn lockfile(dir: &Path) -> Outcome<Option<(&'static str, &'static str)>> {
    let found = LOCKFILES
        .into_iter()
        .filter(|(name, _)| dir.join(name).symlink_metadata().is_ok())
        .collect::<Vec<_>>();
    match found[..] {
        [] => Ok(None),
        // bun keeps both for a while, and reads the text.
        [one] | [one @ ("bun.lock", _), ("bun.lockb", _)] => Ok(Some(one)),
        [("npm-shrinkwrap.json", _), ..] => Err(several(
            "Error: Multiple lockfiles conflicting with npm-shrinkwrap.json.",
            &found,
        )),
        _ => Err(several("Error: Multiple lockfiles found.", &found)),
    }
}

fn several(headline: &str, found: &[(&str, &str)]) -> Notice {
    let keep = |(file, owner): &(&str, &str)| {
        let others = found.iter().map(|(other, _)| *other);
        let others = others.filter(|other| other != file).collect::<Vec<_>>();
        format!("To use {owner} with {file}:  git rm {}", others.join(" "))
    };
    Notice::new(headline)
        .gap()
        .line(format!(
            "Found at the root: {}.",
            list(found.iter().map(|(file, _)| file))
        ))
        .line("Which of them is kept up to date is not to be guessed.")
        .gap()
        .lines(found.iter().map(keep))
}

/// What a field says: the program, its version, the field.
type Declared = (&'static str, Option<String>, &'static str);

/// The manager that package.json names. `packageManager` beats `engines`.
fn declared(manifest: &Manifest) -> Outcome<Option<Declared>> {
    let mut all = Vec::<Declared>::new();
    if let Some(text) = manifest.package_manager() {
        let (name, version) = text.split_once('@').unwrap_or((text, ""));
        let Some(program) = ["npm", "yarn", "pnpm", "bun"]
            .into_iter()
            .find(|one| *one == name)
        else {
            return Err(
                Notice::new("The package manager of your package.json is not known.")
                    .gap()
                    .line(format!("Found: \"packageManager\": \"{text}\""))
                    .gap()
                    .line("Name npm, yarn, pnpm or bun there, such as pnpm@10.12.1."),
            );
        };
        // A hash may follow, which the package manager itself looks at.
        let version = version.split('+').next().unwrap_or_default();
        let version = (!version.is_empty()).then(|| version.to_owned());
        all.push((program, version, "packageManager"));
    }
    for (program, field) in [
        ("npm", "engines.npm"),
        ("yarn", "engines.yarn"),
        ("pnpm", "engines.pnpm"),
        ("bun", "engines.bun"),
    ] {
        if let Some(range) = manifest.engine(program) {
            all.push((program, Some(range), field));
        }
    }
    let Some(first) = all.first().cloned() else {
        return Ok(None);
    };
    if all.iter().any(|(program, ..)| *program != first.0) {
        let line = |(program, version, field): &Declared| {
            let version = version.as_deref().unwrap_or("any version");
            format!("- {field}: {program} {version}")
        };
        return Err(
            Notice::new("Error: Multiple package managers declared in package.json.")
                .gap()
                .lines(all.iter().map(line))
                .gap()
                .line("Keep the field of the one that the app uses, and remove the others."),
        );
    }
    Ok(Some(first))
}

fn disagree(file: &str, program: &str, by: &str) -> Notice {
    Notice::new("Error: The lockfile is not that of the declared package manager.")
        .gap()
        .line(format!(
            "Found {file}, but {by} in package.json names {program}."
        ))
        .gap()
        .line(format!(
            "To use {program}, write its lockfile and remove the other:"
        ))
        .line(format!("{program} install && git rm {file}"))
        .line(format!("Else correct {by} in package.json."))
}

/// Yarn's generation, from the version that is asked for, from its settings, or from the lockfile.
fn yarn(dir: &Path, wanted: Option<&str>) -> Outcome<(Manager, Option<String>)> {
    let settings = read_text(dir, ".yarnrc.yml")?;
    let path = settings.as_deref().and_then(yarn_path);
    let major = wanted
        .and_then(|wanted| {
            wanted
                .split(|c: char| !c.is_ascii_digit())
                .find(|n| !n.is_empty())
        })
        .and_then(|number| number.parse::<u32>().ok());
    let lock = read(dir, "yarn.lock")?.unwrap_or_default();
    let of_lock = String::from_utf8_lossy(&lock).contains("__metadata:");
    let is_berry = match major {
        Some(major) => major >= 2,
        None => of_lock || path.is_some(),
    };
    Ok(if is_berry {
        (Manager::Berry, path)
    } else {
        (Manager::Yarn, None)
    })
}

fn yarn_path(settings: &str) -> Option<String> {
    let document = serde_yaml::from_str::<serde_yaml::Value>(settings).ok()?;
    let path = document.get("yarnPath")?.as_str()?;
    let inside = !path.starts_with('/') && !path.split('/').any(|part| part == "..");
    inside.then(|| path.to_owned())
}

fn no_lockfile(manager: Manager) -> Notice {
    let (file, command) = match manager {
        Manager::Npm => ("package-lock.json", "npm install --package-lock-only"),
        Manager::Yarn => ("yarn.lock", "yarn install"),
        Manager::Berry => ("yarn.lock", "yarn install --mode=update-lockfile"),
        Manager::Pnpm => ("pnpm-lock.yaml", "pnpm install --lockfile-only"),
        Manager::Bun => ("bun.lock", "bun install --lockfile-only"),
    };
    Notice::new(format!(
        "Warning: {file} is missing, so builds are not repeatable."
    ))
    .line("Each build takes the newest versions that package.json allows.")
    .line(format!("Write the file and commit it:  {command}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn chosen(manifest: &str, files: &[(&str, &str)]) -> Outcome<Choice> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        choose(dir.path(), &Manifest::of(manifest), &mut Vec::new())
    }

    #[test]
    fn lockfiles_and_fields_choose() {
        for (manifest, files, manager, wanted) in [
            ("{}", &[][..], Manager::Npm, None),
            (
                "{}",
                &[("yarn.lock", "# yarn lockfile v1")],
                Manager::Yarn,
                None,
            ),
            (
                "{}",
                &[("yarn.lock", "__metadata:\n")],
                Manager::Berry,
                None,
            ),
            ("{}", &[("pnpm-lock.yaml", "")], Manager::Pnpm, None),
            (
                "{}",
                &[("bun.lock", ""), ("bun.lockb", "")],
                Manager::Bun,
                None,
            ),
            (
                r#"{"packageManager":"yarn@4.1.0+sha512.00","engines":{"yarn":">=4"}}"#,
                &[],
                Manager::Berry,
                Some("4.1.0"),
            ),
            (
                r#"{"engines":{"yarn":"^1.22"}}"#,
                &[],
                Manager::Yarn,
                Some("^1.22"),
            ),
            (
                r#"{"engines":{"npm":"10.x"}}"#,
                &[("package-lock.json", "")],
                Manager::Npm,
                Some("10.x"),
            ),
        ] {
            let choice = chosen(manifest, files).unwrap();
            assert_eq!(
                (choice.manager, choice.wanted.as_deref()),
                (manager, wanted),
                "{manifest} {files:?}"
            );
            assert_eq!(Manager::named(manager.name()), Some(manager));
        }
    }

    #[test]
    fn yarn_in_the_repository_is_found() {
        let path = "yarnPath: .yarn/releases/yarn-4.1.0.cjs\n";
        let choice = chosen("{}", &[("yarn.lock", ""), (".yarnrc.yml", path)]).unwrap();
        assert_eq!(
            choice.yarn_path.as_deref(),
            Some(".yarn/releases/yarn-4.1.0.cjs")
        );
        assert_eq!(yarn_path("yarnPath: ../x"), None);
        assert_eq!(yarn_path("["), None);
    }

    #[test]
    fn conflicts_name_both_sides() {
        for (manifest, files, headline, words) in [
            (
                "{}",
                &["yarn.lock", "package-lock.json"][..],
                "Error: Multiple lockfiles found.",
                "package-lock.json, yarn.lock",
            ),
            (
                "{}",
                &["npm-shrinkwrap.json", "pnpm-lock.yaml"],
                "Error: Multiple lockfiles conflicting with npm-shrinkwrap.json.",
                "pnpm-lock.yaml",
            ),
            (
                r#"{"engines":{"npm":"10","yarn":"1"}}"#,
                &[],
                "Error: Multiple package managers declared in package.json.",
                "- engines.yarn: yarn 1",
            ),
            (
                r#"{"packageManager":"pnpm@9.0.0"}"#,
                &["yarn.lock"],
                "Error: The lockfile is not that of the declared package manager.",
                "Found yarn.lock, but packageManager in package.json names pnpm.",
            ),
            (
                r#"{"packageManager":"cnpm@9.0.0"}"#,
                &[],
                "The package manager of your package.json is not known.",
                "cnpm@9.0.0",
            ),
        ] {
            let files = files.iter().map(|name| (*name, "")).collect::<Vec<_>>();
            let notice = chosen(manifest, &files).unwrap_err();
            assert_eq!(notice.headline(), headline);
            assert!(notice.to_string().contains(words), "{notice}");
        }
    }
}
