//! The files of a commit's submodules, at the places where the commit names them.
//!
//! In: a checked out commit, and what may be reached. Out: the submodules' files below it. What
//! `.gitmodules` says is as hostile as everything that is pushed: a URL is https, or relative to
//! the https URL of the submodule that names it; its host must be one that builds may reach, and git
//! goes by a proxy that connects to no other. Numbers, depth, files and bytes are limited.

use std::fs;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use gix::bstr::ByteSlice as _;

use crate::checkout::{self, Checkout};
use crate::fetch::{self, Fetched, GitSource};
use crate::sandbox::{Gate, Rules};

/// Submodules of one build, those of submodules included.
const COUNT: usize = 50;

/// Submodules below each other.
const DEPTH: usize = 5;

/// Longest `.gitmodules`.
const FILE_BYTES: u64 = 1 << 20;

/// Why a submodule is not there.
#[derive(Debug, thiserror::Error)]
pub enum SubmoduleError {
    #[error("the submodule {path} has no URL in .gitmodules")]
    NoUrl { path: String },
    #[error("the submodule {path} has the URL {url:?}, and {reason}")]
    Url {
        path: String,
        url: String,
        reason: String,
    },
    #[error("there are more than {limit} submodules")]
    Count { limit: usize },
    #[error("submodules are more than {limit} deep in each other")]
    Depth { limit: usize },
    #[error(".gitmodules is no file of git's configuration: {reason}")]
    File { reason: String },
    #[error("the place of the submodule {path} is taken")]
    Place { path: String },
    #[error("the submodule {path} could not be fetched from {url}")]
    Fetch {
        path: String,
        url: String,
        source: fetch::GitError,
    },
}

/// What submodules are fetched with.
pub(super) struct Submodules<'a> {
    /// This build's own directory.
    pub scratch: &'a Path,
    /// The operator's variables for builds: certificates, proxies.
    pub env: &'a [(String, String)],
    pub rules: &'a Arc<Rules>,
    pub limits: checkout::Limits,
    pub stop: &'a AtomicBool,
    pub fetched: usize,
}

impl Submodules<'_> {
    /// Fetches the submodules of a checkout into it, and theirs into them; adds their files and bytes.
    ///
    /// `base` is the URL that the checkout itself came from, if it is known.
    ///
    /// # Errors
    /// The pushed code's fault: see [`SubmoduleError`].
    pub fn fill(
        &mut self,
        checkout: &mut Checkout,
        dest: &Path,
        base: Option<&str>,
        depth: usize,
    ) -> Result<()> {
        let modules = std::mem::take(&mut checkout.submodules);
        if modules.is_empty() {
            return Ok(());
        }
        if depth == DEPTH {
            return Err(SubmoduleError::Depth { limit: DEPTH }.into());
        }
        let config = read(&dest.join(".gitmodules"))?;
        let gate = Gate::open(self.rules.clone()).context("opening the way out")?;
        let proxy = gate.url();
        for (path, commit) in modules {
            self.fetched += 1;
            if self.fetched > COUNT {
                return Err(SubmoduleError::Count { limit: COUNT }.into());
            }
            let url = config.as_ref().and_then(|config| url_of(config, &path));
            let url = url.ok_or_else(|| SubmoduleError::NoUrl { path: path.clone() })?;
            let url = resolve(&url, base).map_err(|reason| SubmoduleError::Url {
                path: path.clone(),
                url: url.chars().take(200).collect(),
                reason,
            })?;
            let place = dest.join(&path);
            make_place(dest, &place).map_err(|_| SubmoduleError::Place { path: path.clone() })?;
            self.check_host(&url)
                .map_err(|reason| SubmoduleError::Url {
                    path: path.clone(),
                    url: url.clone(),
                    reason,
                })?;
            let repository = self.scratch.join(format!("submodule-{}.git", self.fetched));
            let reference = commit.to_string();
            let source = GitSource {
                url: &url,
                reference: Some(&reference),
                proxy: Some(&proxy),
            };
            let fetched = fetch::fetch_commit(&source, self.env, &repository, |_| false, self.stop);
            let (Fetched::Known(id) | Fetched::New(id)) =
                fetched.map_err(|source| SubmoduleError::Fetch {
                    path: path.clone(),
                    url: url.clone(),
                    source,
                })?;
            let limits = checkout::Limits {
                files: self.limits.files.saturating_sub(checkout.files),
                bytes: self.limits.bytes.saturating_sub(checkout.bytes),
            };
            let mut inner = checkout::commit(&repository, None, id, &place, &limits, self.stop)
                .with_context(|| format!("checking out the submodule {path}"))?;
            fs::remove_dir_all(&repository).with_context(|| repository.display().to_string())?;
            self.fill(&mut inner, &place, Some(&url), depth + 1)?;
            checkout.files += inner.files;
            checkout.bytes += inner.bytes;
        }
        Ok(())
    }

    /// Says why a URL's host is not to be reached; whoever does it nonetheless is refused by the gate.
    fn check_host(&self, url: &str) -> Result<(), String> {
        let uri: hyper::Uri = url.parse().map_err(|_| "it is no URL".to_owned())?;
        let host = uri.host().ok_or("it has no host")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        self.rules.check(bare, uri.port_u16().unwrap_or(443))
    }
}

fn read(path: &Path) -> Result<Option<gix::config::File>> {
    // Never through a link, and never more than a person would write.
    let meta = fs::symlink_metadata(path);
    let Some(meta) = meta.ok().filter(fs::Metadata::is_file) else {
        return Ok(None);
    };
    let file = |reason: String| SubmoduleError::File { reason };
    if meta.len() > FILE_BYTES {
        return Err(file(format!("it has more than {FILE_BYTES} bytes")).into());
    }
    let text = fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
    let config = gix::config::File::try_from(text.as_str());
    Ok(Some(config.map_err(|error| file(error.to_string()))?))
}

fn url_of(config: &gix::config::File, path: &str) -> Option<String> {
    let sections = config.sections_by_name("submodule")?;
    for section in sections {
        let value = |name: &str| {
            let value = section.value(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        if value("path").is_some_and(|own| own.trim_end_matches('/') == path) {
            return value("url");
        }
    }
    None
}

/// The https URL that is meant, or why there is none.
fn resolve(url: &str, base: Option<&str>) -> Result<String, String> {
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) || url.starts_with('-') {
        return Err("it is no URL".to_owned());
    }
    let whole = if url.starts_with("./") || url.starts_with("../") {
        let Some(base) = base else {
            return Err(
                "it is relative to the app's own repository, and beside that are other apps, \
                 which a build may not read: write an https URL"
                    .to_owned(),
            );
        };
        let whole = base.strip_prefix("https://");
        let Some((origin, path)) = whole.and_then(|rest| rest.split_once('/')) else {
            return Err("it is relative to what is no URL".to_owned());
        };
        let mut parts = path.trim_end_matches('/').split('/').collect::<Vec<_>>();
        for part in url.split('/') {
            match part {
                "." | "" => {}
                ".." => {
                    parts.pop().ok_or("it leads above its host")?;
                }
                part => parts.push(part),
            }
        }
        format!("https://{origin}/{}", parts.join("/"))
    } else {
        url.to_owned()
    };
    let uri: hyper::Uri = whole.parse().map_err(|_| "it is no URL".to_owned())?;
    if uri.scheme_str() != Some("https") {
        return Err("only https is fetched".to_owned());
    }
    let authority = uri.authority().ok_or("it has no host")?.as_str();
    if authority.contains('@') {
        return Err("it has a user or a password in it".to_owned());
    }
    if uri.query().is_some() || whole.contains('#') || whole.contains("/../") {
        return Err("it is more than a path to a repository".to_owned());
    }
    Ok(whole)
}

/// Makes the directories down to a submodule's place, none of them by way of a link.
fn make_place(dest: &Path, place: &Path) -> std::io::Result<()> {
    let below = place.strip_prefix(dest).map_err(std::io::Error::other)?;
    let mut dir = dest.to_owned();
    for part in below.components() {
        let Component::Normal(name) = part else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        dir.push(name);
        match fs::symlink_metadata(&dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(std::io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::create_dir(&dir)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_https_and_lead_nowhere_else() {
        let base = Some("https://example.com/group/app.git");
        for (url, base, expected) in [
            (
                "https://example.com/a.git",
                None,
                "https://example.com/a.git",
            ),
            ("../b.git", base, "https://example.com/group/b.git"),
            ("../../other/b", base, "https://example.com/other/b"),
            ("./inner", base, "https://example.com/group/app.git/inner"),
        ] {
            assert_eq!(resolve(url, base).as_deref(), Ok(expected));
        }
        for (url, base) in [
            ("../b.git", None),
            ("../../../../b", base),
            ("file:///etc", base),
            ("/etc/passwd", base),
            ("ext::sh -c id", base),
            ("ext::id", base),
            ("--upload-pack=id", base),
            ("-x", base),
            ("http://example.com/a", base),
            ("git://example.com/a", base),
            ("ssh://example.com/a", base),
            ("git@example.com:a", base),
            ("https://me:secret@example.com/a", base),
            ("https://example.com/a?x", base),
            ("https://example.com/a#x", base),
            ("https://example.com/a/../../b", base),
            ("https:///a", base),
            ("https://example.com/a\n", base),
            ("", base),
        ] {
            assert!(resolve(url, base).is_err(), "{url:?}");
        }
    }

    #[test]
    fn a_place_is_never_beyond_a_link() {
        let dir = tempfile::tempdir().unwrap();
        make_place(dir.path(), &dir.path().join("a/b")).unwrap();
        assert!(dir.path().join("a/b").is_dir());
        std::os::unix::fs::symlink("/tmp", dir.path().join("link")).unwrap();
        assert!(make_place(dir.path(), &dir.path().join("link/x")).is_err());
        assert!(make_place(dir.path(), &dir.path().join("../x")).is_err());
    }
}
