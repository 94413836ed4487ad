//! Python: which package manager an app uses, which Python it asks for, what its dependencies
//! depend on, and what a failed installation means.

mod failures;
mod fingerprint;
mod locked;
mod manager;
mod packages;
mod requirements;
mod upstream;
mod version;

pub use failures::explain;
pub use fingerprint::{Fingerprint, fingerprint};
pub use locked::requirements;
pub use manager::Manager;
pub use packages::{compare, constraints, packages};
pub use upstream::{RELEASES_FILE, RELEASES_PACKAGE, releases};
pub use version::{Chosen, Request, choose};

use std::path::Path;

use super::{Facts, Notice, Outcome};

/// What an app asks for, before anything is installed.
#[derive(Debug)]
pub struct Plan {
    pub manager: Manager,
    pub request: Option<Request>,
    pub warnings: Vec<Notice>,
    /// One line on requirements without a version, where there are any.
    pub unpinned: Option<String>,
    /// A requirement that uv's pip interface does not install: an editable one from a repository.
    pub needs_pip: bool,
}

/// Reads an app's files.
///
/// # Errors
/// What the app's author has to change, in Heroku's words where Heroku has some.
pub fn plan(dir: &Path) -> Outcome<Plan> {
    let manager = manager::choose(dir)?;
    let mut warnings = Vec::new();
    let request = version::request(dir, manager, &mut warnings)?;
    let (unpinned, needs_pip) = match manager {
        Manager::Pip => (
            requirements::unpinned(dir)?,
            requirements::has_editable_url(dir)?,
        ),
        _ => (None, false),
    };
    Ok(Plan {
        manager,
        request,
        warnings,
        unpinned,
        needs_pip,
    })
}

impl Plan {
    /// For the buildpack's shell.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        facts.set("manager", self.manager.name());
        facts.set("manager_title", self.manager.title());
        facts.set("lockfile", self.manager.lockfile());
        let request = self.request.as_ref();
        facts.set("requested_version", request.map_or("", |one| &one.text));
        facts.set("requested_by", request.map_or("", |one| &one.by));
        facts.set("unpinned", self.unpinned.as_deref().unwrap_or(""));
        facts.flag("needs_pip", self.needs_pip);
        facts
    }
}
