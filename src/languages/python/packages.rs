//! The packages that are installed in a directory, from their own records.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::requirements::{self, normal};
use crate::languages::{Notice, Outcome, list, report};
use crate::slug::Package;

/// The packages in a directory, by their names. The digest is that of a package's `RECORD`, which
/// lists the digests of all files that it has installed.
pub fn packages(site_packages: &Path) -> Vec<Package> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(site_packages).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|end| end != "dist-info") {
            continue;
        }
        let metadata = fs::read(path.join("METADATA")).unwrap_or_default();
        let metadata = String::from_utf8_lossy(&metadata);
        let header = |name: &str| {
            let lines = metadata.lines().take_while(|line| !line.is_empty());
            let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            values.next().map(|value| value.trim().to_owned())
        };
        // A folder of broken metadata has no name.
        let (Some(name), Some(version)) = (header("Name"), header("Version")) else {
            continue;
        };
        let record = fs::read(path.join("RECORD")).unwrap_or_default();
        let digest: [u8; 32] = Sha256::digest(&record).into();
        let digest = format!("sha256:{}", crate::digest::hex(&digest));
        found.insert(name.clone(), report::package(name, version, Some(digest)));
    }
    found.into_values().collect()
}

/// The recorded versions as constraints, a line each. None are wanted where the requirements have
/// hashes: then they name all versions themselves.
///
/// # Errors
/// A requirements file could not be read.
pub fn constraints(dir: &Path, recorded: &[Package]) -> Outcome<String> {
    if requirements::has_hashes(dir)? {
        return Ok(String::new());
    }
    let plain = |text: &str| {
        let others = "._-+!";
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    let lines = recorded
        .iter()
        .filter(|package| plain(&package.name) && plain(&package.version))
        .map(|package| format!("{}=={}\n", package.name, package.version));
    Ok(lines.collect())
}

/// Compares what is installed with what the slug's record names.
///
/// # Errors
/// A package is another one.
pub fn compare(site_packages: &Path, recorded: &[Package]) -> Outcome<()> {
    let by_name = |list: Vec<Package>| {
        let named = list.into_iter().map(|one| (normal(&one.name), one));
        named.collect::<BTreeMap<_, _>>()
    };
    let (got, expected) = (by_name(packages(site_packages)), by_name(recorded.to_vec()));
    let mut lines = Vec::new();
    for (name, package) in &expected {
        let version = &package.version;
        match got.get(name) {
            None => lines.push(format!("{name} {version} is not installed any more.")),
            Some(other) if other.version != *version => lines.push(format!(
                "{name}: the record has {version}, and {} was installed.",
                other.version
            )),
            Some(other) if package.digest.is_some() && other.digest != package.digest => {
                lines.push(format!("{name} {version} has other files than it had."));
            }
            Some(_) => {}
        }
    }
    let new = got.keys().filter(|name| !expected.contains_key(*name));
    let new = list(new);
    if !new.is_empty() {
        lines.push(format!("Not in the record: {new}."));
    }
    if lines.is_empty() {
        return Ok(());
    }
    Err(
        Notice::new("Error: The packages are not those of the slug's record.")
            .gap()
            .lines(lines)
            .gap()
            .line("The index, or the repository that a package comes from, has changed")
            .line("since: the slug cannot be built again from it."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(packages: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (folder, text) in packages {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("METADATA"), text).unwrap();
        }
        dir
    }

    #[test]
    fn what_is_installed_is_listed() {
        assert!(packages(site(&[]).path()).is_empty());
        let dir = site(&[
            (
                "b-1.dist-info",
                "Metadata-Version: 2.1\nName: b\nVersion: 1\n\nName: no\n",
            ),
            ("a-2.dist-info", "Name: \"a\"\nVersion: 2\n"),
            ("c-3.dist-info", "nothing"),
        ]);
        let list = packages(dir.path());
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].name, "\"a\"");
        assert_eq!(list[1].version, "1");
        let digest = list[1].digest.as_deref();
        assert!(digest.is_some_and(|digest| digest.starts_with("sha256:")));
    }

    #[test]
    fn what_differs_from_the_record_is_named() {
        let dir = site(&[
            ("a-1.dist-info", "Name: A.a\nVersion: 1\n"),
            ("b-1.dist-info", "Name: b\nVersion: 1\n"),
            ("c-1.dist-info", "Name: c\nVersion: 1\n"),
        ]);
        let mut recorded = packages(dir.path());
        assert_eq!(compare(dir.path(), &recorded), Ok(()));
        recorded[0].version = "2".into();
        recorded[1].digest = Some("sha256:00".into());
        recorded[2].name = "d".into();
        let text = compare(dir.path(), &recorded).unwrap_err().to_string();
        for line in [
            "a-a: the record has 2, and 1 was installed.",
            "b 1 has other files than it had.",
            "d 1 is not installed any more.",
            "Not in the record: c.",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn constraints_are_lines_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("requirements.txt");
        fs::write(&file, "click\n").unwrap();
        let named = |name: &str, version: &str| report::package(name.into(), version.into(), None);
        let recorded = [
            named("click", "8.1.7"),
            named("x\n-r y", "1"),
            named("z", "1 2"),
        ];
        assert_eq!(
            constraints(dir.path(), &recorded).unwrap(),
            "click==8.1.7\n"
        );
        fs::write(&file, "click==8.1.7 --hash=sha256:00\n").unwrap();
        assert_eq!(constraints(dir.path(), &recorded).unwrap(), "");
    }
}
