//! Slugs on disk as dynos see them: unpacked once, verified while they are, shared by all dynos.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use anyhow::{Context, Result};

use super::lock;
use crate::digest::Digest;
use crate::pack;
use crate::sandbox::{Base, Sandbox, remove_tree};
use crate::store::Store;

/// The trees in a directory, each under its slug's digest.
#[derive(Debug)]
pub struct Unpacked {
    dir: PathBuf,
    /// Whose dynos run over them.
    sandbox: Sandbox,
    trees: Mutex<HashMap<Digest, Arc<Tree>>>,
}

/// Its user is nobody's while no dyno runs over it.
type Tree = Mutex<Weak<Base>>;

impl Unpacked {
    /// The trees in `dir`. What a server has left half done is removed.
    pub fn new(dir: PathBuf, sandbox: Sandbox) -> Self {
        let unpacked = Self {
            dir,
            sandbox,
            trees: Mutex::default(),
        };
        unpacked.sweep(|name| !name.ends_with(PART));
        unpacked
    }

    /// The tree of a slug, unpacked now if it is not yet.
    ///
    /// # Errors
    /// The platform's: the slug is not in the store, is damaged, or cannot be written out.
    pub fn of(&self, digest: &Digest, store: &Store) -> Result<Arc<Base>> {
        let tree = lock(&self.trees).entry(*digest).or_default().clone();
        let mut tree = lock(&tree);
        if let Some(base) = tree.upgrade() {
            return Ok(base);
        }
        let path = self.dir.join(digest.hex());
        if !path.is_dir() {
            self.unpack(digest, store)?;
        }
        let base = Arc::new(
            self.sandbox
                .base(&path)
                .context("handing an unpacked slug over")?,
        );
        *tree = Arc::downgrade(&base);
        Ok(base)
    }

    fn unpack(&self, digest: &Digest, store: &Store) -> Result<()> {
        let path = self.dir.join(digest.hex());
        let part = self.dir.join(format!("{}{PART}", digest.hex()));
        remove_tree(&part).with_context(|| format!("removing {}", part.display()))?;
        fs::create_dir(&part).with_context(|| part.display().to_string())?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&part, mode).with_context(|| part.display().to_string())?;
        let mut slug = BufReader::new(store.read_verified(digest)?);
        pack::extract(&mut slug, &part).with_context(|| format!("unpacking the slug {digest}"))?;
        // To its end: only then is all of it verified.
        std::io::copy(&mut slug, &mut std::io::sink())
            .with_context(|| format!("verifying the slug {digest}"))?;
        fs::rename(&part, &path).with_context(|| path.display().to_string())
    }

    /// Removes the trees of other slugs than these; one that a dyno still uses stays.
    pub fn keep_only(&self, digests: &HashSet<Digest>) {
        let mut trees = lock(&self.trees);
        trees.retain(|digest, tree| {
            digests.contains(digest)
                || Arc::strong_count(tree) > 1
                || tree.try_lock().map_or(true, |tree| tree.strong_count() > 0)
        });
        let names = trees.keys().chain(digests).map(Digest::hex);
        let names = names.collect::<HashSet<_>>();
        // Under the lock, so that none of them is being made.
        self.sweep(|name| names.contains(name) || name.ends_with(PART));
    }

    fn sweep(&self, keep: impl Fn(&str) -> bool) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !keep(&name.to_string_lossy())
                && let Err(error) = remove_tree(&entry.path())
            {
                tracing::warn!(path = %entry.path().display(), %error, "an unpacked slug stays behind");
            }
        }
    }
}

/// How the name of a tree ends that is not yet whole.
const PART: &str = ".part";
