//! package.json.

use std::path::Path;

use serde_json::{Map, Value};

use crate::languages::{Notice, Outcome, read_text};

/// An app's package.json.
#[derive(Debug)]
pub struct Manifest(Map<String, Value>);

impl Manifest {
    /// Reads `package.json`.
    ///
    /// # Errors
    /// It is not JSON, or no object.
    pub fn read(dir: &Path) -> Outcome<Self> {
        let text = read_text(dir, "package.json")?.unwrap_or_default();
        Self::parse(&text).map_err(|found| {
            Notice::new("Unable to parse your package.json.")
                .gap()
                .line(format!("Found: {found}"))
                .gap()
                .line("Correct the file; this command shows the place:")
                .line("node -p 'require(\"./package.json\").name'")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(Value::Object(manifest)) => Ok(Self(manifest)),
            Ok(_) => Err("valid JSON, but not an object".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name)?.as_object()
    }

    /// `engines.NAME`; a number counts as its text.
    pub fn engine(&self, name: &str) -> Option<String> {
        match self.object("engines")?.get(name)? {
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
        .filter(|text| !text.is_empty())
    }

    /// The `packageManager` field.
    pub fn package_manager(&self) -> Option<&str> {
        self.0.get("packageManager")?.as_str()
    }

    /// A script's command.
    pub fn script(&self, name: &str) -> Option<&str> {
        let command = self.object("scripts")?.get(name)?.as_str()?;
        (!command.trim().is_empty()).then_some(command)
    }

    /// The names of all scripts that have no blank in them.
    pub fn scripts(&self) -> Vec<&str> {
        let scripts = self.object("scripts").into_iter().flatten();
        let names = scripts.map(|(name, _)| name.as_str());
        names
            .filter(|name| self.script(name).is_some() && !name.contains(char::is_whitespace))
            .collect()
    }

    /// Whether anything is to be installed.
    pub fn has_dependencies(&self) -> bool {
        let kinds = ["dependencies", "devDependencies", "optionalDependencies"];
        let some = |name: &str| self.object(name).is_some_and(|kind| !kind.is_empty());
        kinds.into_iter().any(some)
            || self
                .0
                .get("workspaces")
                .is_some_and(|value| !value.is_null())
    }

    /// What the app wants kept between builds instead of our own choice, as relative paths.
    pub fn cache_directories(&self) -> Vec<&str> {
        let named = ["cacheDirectories", "cache_directories"];
        let list = named.iter().find_map(|name| self.0.get(*name)?.as_array());
        let paths = list.into_iter().flatten().filter_map(Value::as_str);
        let inside = |path: &&str| {
            !path.is_empty()
                && !path.starts_with('/')
                && !path.contains('\n')
                && !path.split('/').any(|part| part == "..")
        };
        paths.filter(inside).collect()
    }

    /// What decides an installation: everything but what only people and the build read.
    pub(super) fn of_installation(&self) -> Value {
        const READ_ELSEWHERE: [&str; 12] = [
            "author",
            "bugs",
            "contributors",
            "description",
            "eslintConfig",
            "homepage",
            "jest",
            "keywords",
            "license",
            "prettier",
            "private",
            "repository",
        ];
        let mut kept = self.0.clone();
        kept.retain(|name, _| !READ_ELSEWHERE.contains(&name.as_str()) && name != "scripts");
        Value::Object(kept)
    }

    /// The app's own scripts that an installation runs.
    pub(super) fn install_scripts(&self) -> Vec<&str> {
        let all = [
            "preinstall",
            "install",
            "postinstall",
            "prepublish",
            "preprepare",
            "prepare",
            "postprepare",
        ];
        all.into_iter()
            .filter(|name| self.script(name).is_some())
            .collect()
    }

    /// Every dependency with what is asked for.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = (&str, &str)> {
        ["dependencies", "devDependencies", "optionalDependencies"]
            .into_iter()
            .filter_map(|kind| self.object(kind))
            .flatten()
            .filter_map(|(name, wanted)| Some((name.as_str(), wanted.as_str()?)))
    }

    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self::parse(text).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let manifest = Manifest::of(
            r#"{"engines":{"node":20,"npm":" ","yarn":"1.x"},"scripts":{"build":"x","b c":"y","empty":" "},
                "cacheDirectories":["a","../b","/c"],"devDependencies":{}}"#,
        );
        assert_eq!(manifest.engine("node").as_deref(), Some("20"));
        assert_eq!(manifest.engine("npm"), None);
        assert_eq!(manifest.scripts(), ["build"]);
        assert_eq!(manifest.cache_directories(), ["a"]);
        assert!(!manifest.has_dependencies());
        assert!(Manifest::of(r#"{"workspaces":["a"]}"#).has_dependencies());
        assert!(Manifest::parse("[]").is_err());
        assert!(Manifest::parse("{,}").is_err());
    }
}
