//! Node.js: what package.json and the lockfiles ask for, which Node.js that is, what installed
//! dependencies depend on, and what a package manager's failure means.

mod failures;
mod fingerprint;
mod locked;
mod manager;
mod manifest;
mod packages;
mod upstream;
mod version;

pub use failures::{Step, explain};
pub use fingerprint::fingerprint;
pub use manager::{Choice, Manager};
pub use manifest::Manifest;
pub use packages::packages;
pub use upstream::{INDEX_URL, OLDEST, PACKAGES, archive, checksums_url, index, releases};
pub use version::{Chosen, Request, choose};

use std::path::Path;

use super::{Facts, Notice, Outcome};

/// What an app asks for, before anything is installed.
#[derive(Debug)]
pub struct Plan {
    pub manifest: Manifest,
    pub choice: Choice,
    pub request: Option<Request>,
    pub warnings: Vec<Notice>,
}

/// Reads an app's files.
///
/// # Errors
/// What the app's author has to change, in Heroku's words where Heroku has some.
pub fn plan(dir: &Path) -> Outcome<Plan> {
    let manifest = Manifest::read(dir)?;
    let mut warnings = Vec::new();
    let choice = manager::choose(dir, &manifest, &mut warnings)?;
    let request = version::request(dir, &manifest, &mut warnings)?;
    Ok(Plan {
        manifest,
        choice,
        request,
        warnings,
    })
}

impl Plan {
    /// For the buildpack's shell.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        let choice = &self.choice;
        facts.set("manager", choice.manager.name());
        facts.set("manager_title", choice.manager.title());
        facts.set("manager_wanted", choice.wanted.as_deref().unwrap_or(""));
        facts.set("manager_by", choice.by.unwrap_or(""));
        facts.set("lockfile", choice.lockfile.unwrap_or(""));
        facts.set("yarn_path", choice.yarn_path.as_deref().unwrap_or(""));
        let request = self.request.as_ref();
        facts.set("node_wanted", request.map_or("", |one| &one.text));
        facts.set("node_by", request.map_or("", |one| &one.by));
        facts.flag("has_dependencies", self.manifest.has_dependencies());
        facts.flag("has_start", self.manifest.script("start").is_some());
        facts.set(
            "scripts",
            format!(" {} ", self.manifest.scripts().join(" ")),
        );
        facts.set(
            "cache_directories",
            self.manifest.cache_directories().join("\n"),
        );
        facts
    }
}
