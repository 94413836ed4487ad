//! Language runtimes: an inventory in, a verified tree out, kept by its digest for all later builds.
//!
//! What a language's runtime is, where it comes from and what of it is kept are data beside its
//! buildpack ([`Recipe`], [`Release`]). A tree comes from a source, against that source's own digest;
//! by import; or from this machine, copied with the libraries that it needs, never shown as it is.
//! It is fetched and checked outside of builds, which see the trees read-only; its files are the
//! server's, and depend on nothing but what was fetched or copied.

mod cache;
mod error;
mod handed;
mod host;
mod known;
mod libraries;
mod make;
mod mirror;
mod obtain;
mod recipe;
mod tree;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use crate::buildpack::Offer;
use crate::digest::Digest;

use cache::Cache;
pub use cache::{Kept, Way};
pub use error::Error;
use error::io_error;
use handed::Handed;
use host::{Found, Identity};
use known::Known;
use make::Origin;
pub use mirror::Mirror;
pub use obtain::host_of;
pub use recipe::{Completion, Host, Line, Recipe, Release, Source, parse_releases, write_releases};

/// Where the libraries of a machine's own runtime lie in its tree.
pub const LIBRARIES: &str = "lib/machine";
/// The tree's name in the directory that a recipe's command runs in.
pub const PREPARED: &str = "runtime";

/// Removes a file or a tree that we ourselves have made.
fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// What the operator chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// No source is asked.
    pub offline: bool,
    /// What this machine itself has is not offered.
    pub without_host: bool,
    pub mirrors: Vec<Mirror>,
}

/// Runs a command with a directory that it may change; else says why it could not.
pub type Run<'a> = dyn Fn(&Path, &[String]) -> Result<(), String> + 'a;

/// Why an address was not fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFetched {
    pub reason: String,
    /// Whether its host was there and lacks this address alone.
    pub answered: bool,
}

/// What is done for this module by those above it, who know how.
pub struct Hands<'a> {
    /// Fetches an address into a new file; else says why not.
    pub fetch: &'a dyn Fn(&str, &Path) -> Result<(), NotFetched>,
    /// Runs a command in a sandbox, in a directory of which `runtime` is a new tree that it may
    /// change; else says why not.
    pub run: &'a Run<'a>,
    /// Whether to stop.
    pub stop: &'a AtomicBool,
}

/// An imported stack, which may have runtimes itself; this machine's programs may not run there.
#[derive(Clone, Copy)]
pub struct OtherStack<'a> {
    pub name: &'a str,
    /// Its root file system.
    pub root: &'a Path,
    /// Runs a command on it, in a sandbox, and gives what it prints, if it succeeds.
    pub ask: &'a dyn Fn(&[String]) -> Option<String>,
}

/// A runtime that a build has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obtained {
    pub kept: Kept,
    /// On the host.
    pub tree: PathBuf,
    /// What went wrong before, where another way was taken.
    pub notes: Vec<String>,
}

/// The runtimes of one machine.
#[derive(Debug)]
pub struct Runtimes {
    known: Vec<Known>,
    dir: PathBuf,
    cache: Cache,
    choice: Choice,
    /// The server's home.
    home: Option<PathBuf>,
    /// The machine's stack, which its own runtimes depend on.
    stack: String,
    /// What programs of this machine have said of themselves.
    asked: Mutex<HashMap<PathBuf, (Identity, Option<String>)>>,
    /// Sources that could not be reached, with the reason.
    unreachable: Mutex<HashMap<String, (Instant, String)>>,
    /// What builds may hand over.
    handed: Vec<Handed>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtimes {
    /// The runtimes that are kept in `dir`, which need not be there. `inventories` are the recipes
    /// and lists of releases that buildpacks have; `dir/inventory/NAME.releases.toml` goes over the
    /// latter.
    ///
    /// # Errors
    /// [`Error::Recipe`].
    pub fn new<'a>(
        dir: &Path,
        inventories: impl IntoIterator<Item = (&'a str, &'a str)>,
        choice: Choice,
        stack: &str,
        home: Option<&Path>,
    ) -> Result<Self, Error> {
        let mut known = Vec::new();
        for (recipe, releases) in inventories {
            known.push(Known {
                recipe: Recipe::parse(recipe)?,
                releases: Arc::new(parse_releases(releases)?),
                own: Mutex::default(),
            });
        }
        Ok(Self {
            known,
            dir: dir.to_owned(),
            cache: Cache::new(dir.to_owned()),
            choice,
            home: home.map(Path::to_owned),
            stack: stack.to_owned(),
            asked: Mutex::default(),
            unreachable: Mutex::default(),
            handed: Vec::new(),
        })
    }

    /// The names of all runtimes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|known| known.recipe.name.as_str())
    }

    /// The releases that are listed of a runtime.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Recipe`] for a list of the operator's.
    pub fn releases(&self, name: &str) -> Result<Arc<Vec<Release>>, Error> {
        self.known(name)?.releases(&self.dir)
    }

    /// How many numbers of a version make a line.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn line_numbers(&self, name: &str) -> Result<usize, Error> {
        Ok(self.known(name)?.recipe.line_numbers)
    }

    /// Where the trees are, which builds may read.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn trees(&self) -> Result<PathBuf, Error> {
        self.cache.trees()
    }

    fn known(&self, name: &str) -> Result<&Known, Error> {
        let found = self.known.iter().find(|known| known.recipe.name == name);
        found.ok_or_else(|| Error::Unknown {
            name: name.chars().take(100).collect(),
            known: self.names().map(str::to_owned).collect(),
        })
    }

    /// The versions that can be had, each once, the preferred way first: what is here, what sources
    /// have unless only what is `here` is asked for, what the stack has: this machine's own, or
    /// another.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn offers(
        &self,
        name: &str,
        here: bool,
        stack: Option<OtherStack<'_>>,
    ) -> Result<Vec<Offer>, Error> {
        let known = self.known(name)?;
        let (recipe, releases) = (&known.recipe, known.releases(&self.dir)?);
        let mut offers = Vec::<Offer>::new();
        let mut add = |version: &str, origin: String| {
            if offers.iter().all(|offer| offer.version != version) {
                let end = recipe
                    .line(version)
                    .and_then(|line| line.end_of_life.clone());
                offers.push(Offer {
                    version: version.to_owned(),
                    end_of_life: end,
                    origin,
                });
            }
        };
        for (kept, _) in self.cache.list()? {
            // A copy of the machine's own is offered below, if that is the same still.
            if kept.name == name && kept.way != Way::Host && kept.arch == std::env::consts::ARCH {
                add(&kept.version, kept.origin);
            }
        }
        if !here && !self.choice.offline {
            for release in releases
                .iter()
                .filter(|one| one.arch == std::env::consts::ARCH)
            {
                if let Some(source) = release.sources.first() {
                    add(&release.version, source.shown());
                }
            }
        }
        for found in self.of_host(recipe, stack) {
            add(&found.version, found.shown);
        }
        Ok(offers)
    }

    /// What the stack that a build is for has itself: this machine, or an imported one.
    fn of_host(&self, recipe: &Recipe, stack: Option<OtherStack<'_>>) -> Vec<Found> {
        if self.choice.without_host {
            return Vec::new();
        }
        let (root, home) = match stack {
            Some(stack) => (stack.root, None),
            None => (Path::new("/"), self.home.as_deref()),
        };
        let mut all = Vec::new();
        for program in host::programs(recipe, root, home) {
            let Some(identity) = host::identity(&program) else {
                continue;
            };
            let inside = program.strip_prefix(root).unwrap_or(&program);
            let inside = Path::new("/").join(inside).display().to_string();
            let known = locked(&self.asked).get(&program).cloned();
            let version = match known {
                Some((same, version)) if same == identity => version,
                _ => {
                    let version = match stack {
                        None => host::version(recipe, &program),
                        Some(stack) => {
                            let argv = [&[inside.clone()][..], &recipe.host.version].concat();
                            (stack.ask)(&argv).and_then(|said| host::read_version(&said))
                        }
                    };
                    locked(&self.asked).insert(program.clone(), (identity, version.clone()));
                    version
                }
            };
            let known =
                |version: &String| recipe.lines.is_empty() || recipe.line(version).is_some();
            let shown = match stack {
                Some(stack) => format!("{inside} of the stack {}", stack.name),
                None => format!("this machine's {inside} ({})", self.stack),
            };
            all.extend(version.filter(known).map(|version| Found {
                program,
                shown,
                version,
            }));
        }
        all
    }

    /// Gets a version, by the first way that succeeds.
    ///
    /// # Errors
    /// There is no way ([`Error::Nowhere`], [`Error::Offline`]), or the last one failed. A source whose
    /// digest is wrong ends the search: something is amiss, and another way would hide it.
    pub fn get(
        &self,
        name: &str,
        version: &str,
        stack: Option<OtherStack<'_>>,
        hands: &Hands<'_>,
    ) -> Result<Obtained, Error> {
        let known = self.known(name)?;
        let (recipe, plain) = (&known.recipe, |c: char| c.is_ascii_digit() || c == '.');
        let nowhere = || Error::Nowhere {
            title: recipe.title.clone(),
            version: version.chars().take(100).collect(),
        };
        if version.is_empty() || version.len() > 40 || !version.chars().all(plain) {
            return Err(nowhere());
        }
        if let Some(obtained) = self.here(recipe, version, stack) {
            return Ok(obtained);
        }
        let _held = self.cache.lock(name, version, hands.stop)?;
        // Another build may have got it meanwhile.
        if let Some(obtained) = self.here(recipe, version, stack) {
            return Ok(obtained);
        }
        let arch = std::env::consts::ARCH;
        let releases = known.releases(&self.dir)?;
        let release = releases
            .iter()
            .find(|one| one.version == version && one.arch == arch);
        let sources = release.map_or(&[][..], |release| &release.sources);
        let (mut notes, mut last) = (Vec::new(), None);
        for source in sources.iter().filter(|_| !self.choice.offline) {
            match self.fetch(recipe, version, source, hands) {
                Ok(kept) => return Ok(self.obtained(kept, notes)),
                Err(error @ Error::Unreachable { .. }) => {
                    notes.extend(error.note());
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(found) = self
            .of_host(recipe, stack)
            .iter()
            .find(|one| one.version == version)
        {
            let kept = self.copy(recipe, found, stack, hands)?;
            return Ok(self.obtained(kept, notes));
        }
        Err(match last {
            Some(error) => error,
            None if self.choice.offline && release.is_some() => Error::Offline {
                title: recipe.title.clone(),
                version: version.to_owned(),
            },
            None => nowhere(),
        })
    }

    /// Gets the very tree that another build had.
    ///
    /// # Errors
    /// As [`Runtimes::get`]; [`Error::OtherTree`] where the version is another one by now.
    pub fn get_tree(
        &self,
        name: &str,
        version: &str,
        expected: Digest,
        stack: Option<OtherStack<'_>>,
        hands: &Hands<'_>,
    ) -> Result<Obtained, Error> {
        let obtained = match self.cache.find(name, version) {
            // Whatever this machine has meanwhile.
            Some(kept) if kept.tree == expected => {
                self.cache.touch(&kept);
                self.obtained(kept, Vec::new())
            }
            _ => self.get(name, version, stack, hands)?,
        };
        if obtained.kept.tree != expected {
            return Err(Error::OtherTree {
                title: self.known(name)?.recipe.title.clone(),
                version: version.to_owned(),
                expected: Box::new(expected),
                got: Box::new(obtained.kept.tree),
                origin: obtained.kept.origin,
            });
        }
        Ok(obtained)
    }

    /// What is kept of a version; a copy of the machine's own for as long as that has not changed.
    fn here(
        &self,
        recipe: &Recipe,
        version: &str,
        stack: Option<OtherStack<'_>>,
    ) -> Option<Obtained> {
        let kept = self.cache.find(&recipe.name, version)?;
        if kept.way == Way::Host {
            let mut own = self.of_host(recipe, stack).into_iter();
            let same = |found: Found| {
                found.version == version && identity_text(&found.program) == kept.identity
            };
            if !own.any(same) {
                return None;
            }
        }
        self.cache.touch(&kept);
        Some(self.obtained(kept, Vec::new()))
    }

    fn obtained(&self, kept: Kept, notes: Vec<String>) -> Obtained {
        Obtained {
            tree: self.cache.tree(&kept),
            kept,
            notes,
        }
    }

    /// Takes a directory that was unpacked or installed elsewhere for a version from now on.
    ///
    /// # Errors
    /// The caller's: [`Error::NotThere`].
    pub fn import(
        &self,
        name: &str,
        version: &str,
        prefix: &Path,
        hands: &Hands<'_>,
    ) -> Result<Obtained, Error> {
        let recipe = &self.known(name)?.recipe;
        let programs = recipe.host.programs.iter().filter_map(|pattern| {
            let name = recipe.filled(pattern.rsplit('/').next()?, version);
            Some(prefix.join("bin").join(name))
        });
        let found = programs
            .filter(|program| program.is_file())
            .find_map(|program| host::version(recipe, &program));
        let wanted =
            |found: &String| *found == version || found.starts_with(&format!("{version}."));
        let Some(version) = found.clone().filter(wanted) else {
            return Err(Error::NotThere {
                title: recipe.title.clone(),
                version: version.to_owned(),
                path: prefix.to_owned(),
                found,
            });
        };
        let _held = self.cache.lock(name, &version, hands.stop)?;
        let from = Origin {
            way: Way::Imported,
            words: format!("an import of {}", prefix.display()),
            identity: None,
            is_of_machine: true,
        };
        let kept = self.take(recipe, &version, prefix, from, hands)?;
        Ok(self.obtained(kept, Vec::new()))
    }

    /// What is here, by name and version, with the time of the last use.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn kept(&self) -> Result<Vec<(Kept, SystemTime)>, Error> {
        self.cache.list()
    }

    /// Removes what has not been used since `before`; imported ones stay.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn sweep(&self, before: SystemTime) -> Result<Vec<Kept>, Error> {
        self.cache.sweep(before)
    }
}

/// Where the releases of a runtime are that go over those of its buildpack.
pub fn inventory_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("inventory").join(format!("{name}.releases.toml"))
}

fn identity_text(program: &Path) -> Option<String> {
    host::identity(program).map(|identity| format!("{identity:?}"))
}

#[cfg(test)]
mod tests;
