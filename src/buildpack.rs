//! Buildpacks: how one is named, and where its files come from.
//!
//! The built-in ones are the folders of `buildpacks/`, embedded into the binary; the order in which
//! they are asked and the files that they look for are data of those folders too, so that no code
//! here knows a language. [`stage()`] puts a buildpack's files into a build's root.

mod builtin;
mod stage;
mod url;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

pub use builtin::{
    Misspelt, builtin_handed, builtin_names, builtin_references, builtin_runtimes, markers_below,
    misspelt_markers,
};
pub use stage::{Staged, stage, stage_fetched};

/// Before the names of built-in buildpacks, as Heroku's users write them.
const NAMESPACE: &str = "heroku/";

/// A buildpack as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `heroku/lang` or `lang`.
    Builtin(String),
    /// The app's own `bin/detect`, `bin/compile` and `bin/release`.
    Inline,
    /// A git repository, by http or https; its default branch where no branch, tag or commit is named.
    Git {
        url: String,
        reference: Option<String>,
    },
    /// A gzipped tarball, by http or https.
    Tarball {
        url: String,
        checksum: Option<Digest>,
    },
    /// A local directory.
    Directory(PathBuf),
    /// A local tarball.
    Archive(PathBuf),
}

/// A version of a language runtime that a buildpack can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    pub version: String,
    /// The day from which its makers mend nothing more, such as `2026-10-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_of_life: Option<String>,
    /// Where it would come from, in words.
    pub origin: String,
}

/// What is wrong with a buildpack or its name.
#[derive(Debug, thiserror::Error)]
pub enum BuildpackError {
    #[error("{name:?} is no buildpack: no built-in one, no URL and nothing on this machine")]
    Unknown { name: String },
    /// A URL that is not fetched, whoever asks for it.
    #[error("the buildpack's URL {url:?} {what}")]
    Url { url: String, what: &'static str },
    /// A file of the server's machine, asked for by an app.
    #[error("{name:?} is a path, and an app's buildpack is a name or a URL")]
    Local { name: String },
    #[error("the buildpack {name} is in the list twice")]
    Twice { name: String },
    #[error("the buildpack {name} has no {script}")]
    NoScript { name: String, script: String },
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> BuildpackError {
    let path = path.to_owned();
    move |source| BuildpackError::Io { path, source }
}

impl Reference {
    /// Reads what an app asks for: a name or a URL, never a path of this machine.
    ///
    /// # Errors
    /// The caller's: [`BuildpackError::Unknown`], [`BuildpackError::Url`], [`BuildpackError::Local`].
    pub fn of_app(text: &str) -> Result<Self, BuildpackError> {
        let shown = || text.chars().take(200).collect::<String>();
        if let Some(reference) = url::parse(text)? {
            return Ok(reference);
        }
        let name = text.strip_prefix("urn:buildpack:").unwrap_or(text);
        let name = name.strip_prefix(NAMESPACE).unwrap_or(name);
        if text == "inline" {
            Ok(Self::Inline)
        } else if builtin_names().contains(&name) {
            Ok(Self::Builtin(name.to_owned()))
        } else if text.starts_with(['.', '/', '~']) {
            Err(BuildpackError::Local { name: shown() })
        } else {
            Err(BuildpackError::Unknown { name: shown() })
        }
    }

    /// Reads an app's whole list.
    ///
    /// # Errors
    /// As [`Reference::of_app`], and [`BuildpackError::Twice`].
    pub fn list_of_app<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Self>, BuildpackError> {
        let mut list = Vec::new();
        for text in texts {
            let reference = Self::of_app(text)?;
            if list.contains(&reference) {
                return Err(BuildpackError::Twice {
                    name: reference.to_string(),
                });
            }
            list.push(reference);
        }
        Ok(list)
    }
}

impl FromStr for Reference {
    type Err = BuildpackError;

    /// Reads what a person on this machine asks for: also a directory or a tarball, named with a slash.
    fn from_str(text: &str) -> Result<Self, BuildpackError> {
        let path = Path::new(text);
        match Self::of_app(text) {
            Err(BuildpackError::Unknown { .. } | BuildpackError::Local { .. })
                if text.contains('/') && path.is_dir() =>
            {
                Ok(Self::Directory(path.to_owned()))
            }
            Err(BuildpackError::Unknown { .. } | BuildpackError::Local { .. })
                if url::is_tarball(text) && path.is_file() =>
            {
                Ok(Self::Archive(path.to_owned()))
            }
            Err(BuildpackError::Local { name }) => Err(BuildpackError::Unknown { name }),
            found => found,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "{NAMESPACE}{name}"),
            Self::Inline => f.write_str("inline"),
            Self::Git {
                url,
                reference: None,
            }
            | Self::Tarball {
                url,
                checksum: None,
            } => f.write_str(url),
            Self::Git {
                url,
                reference: Some(reference),
            } => write!(f, "{url}#{reference}"),
            Self::Tarball {
                url,
                checksum: Some(checksum),
            } => write!(f, "{url}#{checksum}"),
            Self::Directory(path) | Self::Archive(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_builtin_directories_or_inline() {
        let name = builtin_names()[0];
        let builtin = Reference::Builtin(name.to_owned());
        assert_eq!(name.parse::<Reference>().unwrap(), builtin);
        for text in [
            format!("heroku/{name}"),
            format!("urn:buildpack:heroku/{name}"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap(), builtin);
        }
        assert_eq!("inline".parse::<Reference>().unwrap(), Reference::Inline);
        assert!("cobol".parse::<Reference>().is_err());
        assert!("/no/such/dir".parse::<Reference>().is_err());
        assert!("/etc".parse::<Reference>().is_ok());
    }

    #[test]
    fn no_path_of_the_server_is_an_app_s_buildpack() {
        for text in ["/etc", "./", "../x", "~/x", "/tmp/x.tgz"] {
            let error = Reference::of_app(text).unwrap_err();
            assert!(
                matches!(error, BuildpackError::Local { .. }),
                "{text}: {error}"
            );
        }
        assert!(Reference::of_app("src/").is_err());
    }

    #[test]
    fn every_name_reads_back_as_it_is_shown() {
        let checksum = Digest::of(b"x");
        for text in [
            "inline",
            "https://example.com/a/b",
            "https://example.com/a/b.git#v1.2",
            "http://example.com:8080/b.tgz",
            &format!("https://example.com/b.tar.gz#{checksum}"),
        ] {
            assert_eq!(Reference::of_app(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_list_names_each_once() {
        let name = builtin_names()[0];
        let error = Reference::list_of_app([name, &format!("heroku/{name}")]).unwrap_err();
        assert!(matches!(error, BuildpackError::Twice { .. }), "{error}");
        assert_eq!(Reference::list_of_app([]).unwrap(), []);
    }
}
