//! Makes trees: from a source, from what a stack has itself, or from a directory; and keeps them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::host::Found;
use super::recipe::{Recipe, Source};
use super::{
    Error, Hands, Kept, LIBRARIES, OtherStack, PREPARED, Runtimes, Way, identity_text, io_error,
    libraries, locked, obtain, tree,
};

/// How long a source that could not be reached is not asked again.
const UNREACHABLE_FOR: Duration = Duration::from_secs(60);
/// Where a tree comes from.
pub(super) struct Origin {
    pub way: Way,
    pub words: String,
    /// Of a program that may change.
    pub identity: Option<String>,
    /// Whether this machine's own files are in it, or what it needs.
    pub is_of_machine: bool,
}

impl Runtimes {
    pub(super) fn fetch(
        &self,
        recipe: &Recipe,
        version: &str,
        source: &Source,
        hands: &Hands<'_>,
    ) -> Result<Kept, Error> {
        let work = self.cache.work()?;
        let prefix = self.reach(source, &work.path().join("source"), hands)?;
        let from = Origin {
            way: Way::Fetched,
            words: source.shown(),
            identity: None,
            is_of_machine: false,
        };
        self.take(recipe, version, &prefix, from, hands)
    }

    /// Obtains a source, unless it was tried just now in vain.
    fn reach(&self, source: &Source, work: &Path, hands: &Hands<'_>) -> Result<PathBuf, Error> {
        let (what, place) = (source.shown(), source.place());
        // One that its place lacks says nothing of the others there.
        for (key, answered) in [(&place, false), (&what, true)] {
            let before = locked(&self.unreachable).get(key).cloned();
            if let Some((since, reason)) = before
                && since.elapsed() < UNREACHABLE_FOR
            {
                return Err(Error::Unreachable {
                    what: what.clone(),
                    reason,
                    answered,
                });
            }
        }
        fs::create_dir(work).map_err(io_error(work))?;
        let reached = obtain::obtain(source, work, &self.choice.mirrors, hands);
        if let Err(Error::Unreachable {
            reason, answered, ..
        }) = &reached
        {
            let failed = (Instant::now(), reason.clone());
            let key = if *answered { what } else { place };
            locked(&self.unreachable).insert(key, failed);
        }
        reached
    }

    pub(super) fn copy(
        &self,
        recipe: &Recipe,
        found: &Found,
        stack: Option<OtherStack<'_>>,
        hands: &Hands<'_>,
    ) -> Result<Kept, Error> {
        let from = Origin {
            way: Way::Host,
            words: found.shown.clone(),
            identity: identity_text(&found.program),
            // On an imported stack the app runs, too: what it needs is there.
            is_of_machine: stack.is_none(),
        };
        self.take(recipe, &found.version, found.prefix(), from, hands)
    }

    /// Makes a tree of a prefix, and keeps it.
    pub(super) fn take(
        &self,
        recipe: &Recipe,
        version: &str,
        prefix: &Path,
        from: Origin,
        hands: &Hands<'_>,
    ) -> Result<Kept, Error> {
        let work = self.cache.work()?;
        let work = work.path();
        let tree = work.join(PREPARED);
        tree::take(recipe, version, prefix, &tree, from.is_of_machine)?;
        self.complete(recipe, version, work, &tree, hands)?;
        if from.is_of_machine {
            bring_libraries(&tree)?;
        }
        if !recipe.prepare.is_empty() {
            let filled = recipe.prepare.iter().map(|one| recipe.filled(one, version));
            (hands.run)(work, &filled.collect::<Vec<_>>()).map_err(|reason| Error::Prepare {
                title: recipe.title.clone(),
                version: version.to_owned(),
                reason,
            })?;
        }
        let measured = tree::settle(&tree)?;
        let kept = Kept {
            name: recipe.name.clone(),
            version: version.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            tree: measured.digest,
            way: from.way,
            origin: from.words,
            identity: from.identity,
            files: measured.files,
            bytes: measured.bytes,
        };
        self.cache.keep(&tree, &kept)?;
        Ok(kept)
    }

    /// Lays into a tree what it lacks by itself.
    fn complete(
        &self,
        recipe: &Recipe,
        version: &str,
        work: &Path,
        tree: &Path,
        hands: &Hands<'_>,
    ) -> Result<(), Error> {
        let Some(completion) = &recipe.completion else {
            return Ok(());
        };
        let source = recipe
            .line(version)
            .and_then(|line| line.completed_by.as_ref());
        let (true, Some(source)) = (!tree.join(&completion.file).is_file(), source) else {
            return Ok(());
        };
        if self.choice.offline {
            return Err(Error::Unreachable {
                what: source.shown(),
                reason: "sources are not asked: runtime_offline".to_owned(),
                answered: false,
            });
        }
        let prefix = self.reach(source, &work.join("completion"), hands)?;
        let into = tree.join(&completion.into);
        if into.is_dir() {
            fs::remove_dir_all(&into).map_err(io_error(&into))?;
        }
        let above = into.parent().unwrap_or(tree);
        fs::create_dir_all(above).map_err(io_error(above))?;
        fs::rename(&prefix, &into).map_err(io_error(&into))?;
        // What it has besides is dropped, and links to it are made, as of the whole.
        let whole = work.join("whole");
        fs::rename(tree, &whole).map_err(io_error(tree))?;
        tree::take(recipe, version, &whole, tree, false)
    }
}

/// Copies the libraries that a tree needs of the machine into the tree.
fn bring_libraries(tree: &Path) -> Result<(), Error> {
    let needed = libraries::needed(tree).map_err(io_error(Path::new("ldd")))?;
    let dir = tree.join(LIBRARIES);
    // What it has itself in another place is found there.
    for (name, path) in needed {
        if tree.join("lib").join(&name).exists() {
            continue;
        }
        fs::create_dir_all(&dir).map_err(io_error(&dir))?;
        let to = dir.join(name);
        fs::copy(&path, &to).map_err(io_error(&path))?;
    }
    Ok(())
}
