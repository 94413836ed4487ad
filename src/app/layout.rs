//! How an app's tree and its build dir lie: what `slugline apps set` changes.

use std::fmt;
use std::str::FromStr;

use crate::stack::StackName;

/// Longest root, in bytes.
const ROOT_LIMIT_BYTES: usize = 1000;

/// Where and on what an app is built, and which directory of its repository it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Layout {
    pub build_dir: BuildDir,
    /// None for the root of the repository.
    pub root: Option<AppRoot>,
    /// None for the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// What buildpacks see as `STACK`; none for the stack's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_env: Option<StackName>,
}

impl Layout {
    /// Whether nothing was changed.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which directory the buildpacks get as BUILD_DIR.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildDir {
    /// `/app`, where the app will run.
    #[default]
    App,
    /// A directory below `/tmp`; `/app` is empty and writable.
    Separate,
}

impl BuildDir {
    /// The word that the ledger and the API have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Separate => "separate",
        }
    }
}

/// A directory of a repository: relative, of plain names, with neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppRoot(String);

impl AppRoot {
    /// Such as `services/api`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a layout is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    #[error("the build dir {text:?} is neither app nor separate")]
    BuildDir { text: String },
    #[error("the root {text:?} is no directory of a repository")]
    Root { text: String },
}

impl FromStr for BuildDir {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        match text {
            "app" => Ok(Self::App),
            "separate" => Ok(Self::Separate),
            other => Err(LayoutError::BuildDir {
                text: other.chars().take(64).collect(),
            }),
        }
    }
}

impl FromStr for AppRoot {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        let path = text.strip_prefix("./").unwrap_or(text);
        let path = path.strip_suffix('/').unwrap_or(path);
        let plain = |name: &str| {
            !name.is_empty()
                && name != "."
                && name != ".."
                && name != ".git"
                && !name.chars().any(char::is_control)
        };
        if path.len() > ROOT_LIMIT_BYTES || !path.split('/').all(plain) {
            return Err(LayoutError::Root {
                text: text.chars().take(64).collect(),
            });
        }
        Ok(Self(path.to_owned()))
    }
}

impl TryFrom<String> for AppRoot {
    type Error = LayoutError;

    fn try_from(text: String) -> Result<Self, LayoutError> {
        text.parse()
    }
}

impl From<AppRoot> for String {
    fn from(root: AppRoot) -> Self {
        root.0
    }
}

impl fmt::Display for AppRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_stays_in_its_repository() {
        for (text, root) in [
            ("services/api", "services/api"),
            ("./api/", "api"),
            ("a b", "a b"),
        ] {
            assert_eq!(text.parse::<AppRoot>().unwrap().as_str(), root);
        }
        for text in [
            "", ".", "/", "/etc", "..", "a/../..", "a//b", ".git", "a/.git/x", "a\0",
        ] {
            assert!(text.parse::<AppRoot>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn build_dirs_have_names() {
        for dir in [BuildDir::App, BuildDir::Separate] {
            assert_eq!(dir.as_str().parse(), Ok(dir));
        }
        assert!("/tmp".parse::<BuildDir>().is_err());
    }
}
