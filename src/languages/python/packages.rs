//! The packages that are installed in a directory, from their own records.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// A YAML list of name, version and digest, as `bin/report` prints it. The digest is that of the
/// package's `RECORD`, which lists the digests of all files that it has installed.
pub fn packages(site_packages: &Path) -> String {
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
        found.insert(name, (version, crate::digest::hex(&digest)));
    }
    if found.is_empty() {
        return "packages: []\n".into();
    }
    let line = |(name, (version, digest)): (&String, &(String, String))| {
        // A JSON string is a YAML string.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (name, version) = (quoted(name), quoted(version));
        format!("- {{name: {name}, version: {version}, digest: \"sha256:{digest}\"}}\n")
    };
    "packages:\n".to_owned() + &found.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_listed_as_yaml() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(packages(dir.path()), "packages: []\n");
        for (folder, text) in [
            (
                "b-1.dist-info",
                "Metadata-Version: 2.1\nName: b\nVersion: 1\n\nName: no\n",
            ),
            ("a-2.dist-info", "Name: \"a\"\nVersion: 2\n"),
            ("c-3.dist-info", "nothing"),
        ] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("METADATA"), text).unwrap();
        }
        let yaml = packages(dir.path());
        let document = serde_yaml::from_str::<serde_yaml::Value>(&yaml).unwrap();
        let list = document["packages"].as_sequence().unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[0]["name"].as_str(), Some("\"a\""));
        assert_eq!(list[1]["version"].as_str(), Some("1"));
    }
}
