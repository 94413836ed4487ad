//! A runtime's tree: taken out of a prefix as a recipe says, and made the same wherever it was.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::recipe::Recipe;
use super::{Error, io_error};
use crate::digest::{Digest, Hashing};

/// Copies what a recipe keeps of a prefix into the new directory `dest`. Links that lead out of the
/// prefix are followed only where it is said: they lead to files of this machine.
///
/// # Errors
/// A file cannot be read or written.
pub fn take(
    recipe: &Recipe,
    version: &str,
    prefix: &Path,
    dest: &Path,
    follow: bool,
) -> Result<(), Error> {
    fs::create_dir(dest).map_err(io_error(dest))?;
    let patterns = |all: &[String]| {
        let filled = all.iter().map(|one| recipe.filled(one, version));
        filled.collect::<Vec<_>>()
    };
    let (keep, drop) = (patterns(&recipe.keep), patterns(&recipe.drop));
    let taking = Taking { keep, drop, follow };
    taking.copy(prefix, Path::new(""), dest, false)?;
    for (link, to) in &recipe.links {
        let (link, to) = (recipe.filled(link, version), recipe.filled(to, version));
        let at = dest.join(&link);
        let leads = at.parent().map(|dir| dir.join(&to));
        if fs::symlink_metadata(&at).is_err() && leads.is_some_and(|path| path.exists()) {
            symlink(&to, &at).map_err(io_error(&at))?;
        }
    }
    Ok(())
}

struct Taking {
    keep: Vec<String>,
    drop: Vec<String>,
    follow: bool,
}

impl Taking {
    fn copy(&self, from: &Path, below: &Path, dest: &Path, kept: bool) -> Result<(), Error> {
        let dir = from.join(below);
        for entry in fs::read_dir(&dir).map_err(io_error(&dir))? {
            let entry = entry.map_err(io_error(&dir))?;
            let path = below.join(entry.file_name());
            let Some(text) = path.to_str() else { continue };
            if self.drop.iter().any(|pattern| drops(pattern, text)) {
                continue;
            }
            let kept = kept || self.keep.iter().any(|pattern| matches(pattern, text));
            let leads = self.keep.iter().any(|pattern| leads_to(text, pattern));
            let (source, to) = (entry.path(), dest.join(&path));
            let kind = entry.file_type().map_err(io_error(&source))?;
            // A prefix may have links out of it, such as into /etc: what they lead to is taken.
            let inside = kind.is_symlink() && stays_inside(from, &source);
            if kind.is_symlink() && !inside && !self.follow {
                continue;
            }
            let meta = if kind.is_symlink() && !inside {
                let Ok(meta) = fs::metadata(&source) else {
                    // It leads nowhere here, and would there.
                    continue;
                };
                meta
            } else {
                fs::symlink_metadata(&source).map_err(io_error(&source))?
            };
            if meta.is_dir() && (kept || leads) {
                self.copy(from, &path, dest, kept)?;
            } else if !kept {
            } else if inside {
                let target = fs::read_link(&source).map_err(io_error(&source))?;
                make_parent(&to)?;
                symlink(target, &to).map_err(io_error(&to))?;
            } else if meta.is_file() {
                make_parent(&to)?;
                fs::copy(&source, &to).map_err(io_error(&source))?;
            }
        }
        Ok(())
    }
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(path);
    fs::create_dir_all(dir).map_err(io_error(dir))
}

/// Whether a relative link leads to something below the prefix, by its words alone.
fn stays_inside(prefix: &Path, link: &Path) -> bool {
    let Ok(target) = fs::read_link(link) else {
        return false;
    };
    let mut depth = link
        .strip_prefix(prefix)
        .map_or(0, |path| path.components().count().saturating_sub(1));
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Whether a path is what a pattern with `*` in its names says.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut names) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if name_matches(pattern, name) => {}
            _ => return false,
        }
    }
}

/// Whether a path lies above what a pattern says.
fn leads_to(path: &str, pattern: &str) -> bool {
    let mut patterns = pattern.split('/');
    let above = path
        .split('/')
        .all(|name| patterns.next().is_some_and(|one| name_matches(one, name)));
    above && patterns.next().is_some()
}

fn drops(pattern: &str, path: &str) -> bool {
    if pattern.contains('/') {
        return matches(pattern, path);
    }
    name_matches(pattern, path.rsplit('/').next().unwrap_or(path))
}

fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            if !after.contains('*') {
                return rest.ends_with(after);
            }
            (0..=rest.len())
                .filter(|at| rest.is_char_boundary(*at))
                .any(|at| name_matches(after, &rest[at..]))
        }),
    }
}

/// What a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Of its paths, kinds, modes and contents.
    pub digest: Digest,
    pub files: usize,
    pub bytes: u64,
}

/// Gives all files of a tree one owner, ours, and modes 755 or 644, and measures it.
///
/// # Errors
/// A file cannot be read or changed; [`Error::Kind`] for what is neither file, directory nor link.
pub fn settle(dir: &Path) -> Result<Measured, Error> {
    let mut all = Vec::new();
    list(dir, Path::new(""), &mut all)?;
    all.sort();
    let (uid, gid) = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    let mut hash = Sha256::new();
    let (mut files, mut bytes) = (0, 0);
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io_error(path))
    };
    mode(dir, 0o755)?;
    lchown(dir, Some(uid), Some(gid)).map_err(io_error(dir))?;
    for path in all {
        let whole = dir.join(&path);
        let meta = fs::symlink_metadata(&whole).map_err(io_error(&whole))?;
        lchown(&whole, Some(uid), Some(gid)).map_err(io_error(&whole))?;
        let (kind, content) = if meta.is_dir() {
            mode(&whole, 0o755)?;
            ("directory", Digest::of(b""))
        } else if meta.is_symlink() {
            files += 1;
            let target = fs::read_link(&whole).map_err(io_error(&whole))?;
            ("link", Digest::of(target.as_os_str().as_bytes()))
        } else if meta.is_file() {
            let runs = meta.permissions().mode() & 0o111 != 0;
            mode(&whole, if runs { 0o755 } else { 0o644 })?;
            files += 1;
            bytes += meta.len();
            let mut file = File::open(&whole).map_err(io_error(&whole))?;
            let mut hashing = Hashing::new(io::sink());
            io::copy(&mut file, &mut hashing).map_err(io_error(&whole))?;
            let (_, digest, _) = hashing.finish();
            (if runs { "program" } else { "file" }, digest)
        } else {
            return Err(Error::Kind { path: whole });
        };
        let path = path.as_os_str().as_bytes();
        hash.update(format!("{kind} {content} {} ", path.len()));
        hash.update(path);
        hash.update("\n");
    }
    let digest = format!("sha256:{}", crate::digest::hex(&hash.finalize()));
    Ok(Measured {
        digest: digest.parse().expect("64 hex digits are a digest"),
        files,
        bytes,
    })
}

fn list(dir: &Path, below: &Path, all: &mut Vec<PathBuf>) -> Result<(), Error> {
    let here = dir.join(below);
    for entry in fs::read_dir(&here).map_err(io_error(&here))? {
        let entry = entry.map_err(io_error(&here))?;
        let path = below.join(entry.file_name());
        if entry.file_type().map_err(io_error(&entry.path()))?.is_dir() {
            list(dir, &path, all)?;
        }
        all.push(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(keep: &[&str], drop: &[&str]) -> Recipe {
        let text = format!(
            "name = 'lang'\ntitle = 'Lang'\nline_numbers = 1\nkeep = {keep:?}\ndrop = {drop:?}\n\
             links = {{ 'bin/lang' = 'lang{{line}}' }}\n[host]\nprograms = []\nversion = []\n"
        );
        Recipe::parse(&text).unwrap()
    }

    #[test]
    fn paths_match_by_name() {
        assert!(matches("lib/*/x", "lib/a/x"));
        assert!(!matches("lib/*/x", "lib/a/b/x"));
        assert!(leads_to("lib", "lib/*/x") && leads_to("lib/a", "lib/*/x"));
        assert!(!leads_to("lib/a/x", "lib/*/x"));
        assert!(drops("*.a", "lib/x.a") && !drops("*.a", "lib/x.ab"));
        assert!(name_matches("lib*.so*", "libx.so.1") && !name_matches("lib*.so*", "x.so"));
    }

    #[test]
    fn a_tree_has_what_the_recipe_keeps() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = dir.path().join("usr");
        for (path, text) in [
            ("bin/lang2", "program"),
            ("bin/other", "not ours"),
            ("lib/lang2/std.l", "std"),
            ("lib/lang2/test/t.l", "a test"),
            ("lib/other/x", "not ours"),
        ] {
            let path = prefix.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::set_permissions(prefix.join("bin/lang2"), Permissions::from_mode(0o775)).unwrap();
        fs::write(dir.path().join("config"), "outside").unwrap();
        symlink("../../../config", prefix.join("lib/lang2/config")).unwrap();
        symlink("std.l", prefix.join("lib/lang2/same.l")).unwrap();
        symlink("/nowhere/at/all", prefix.join("lib/lang2/gone")).unwrap();
        let recipe = recipe(
            &["bin/lang{line}", "lib/lang{line}"],
            &["lib/lang{line}/test"],
        );
        let measured = [1, 2].map(|n| {
            let dest = dir.path().join(format!("tree{n}"));
            take(&recipe, "2.0", &prefix, &dest, true).unwrap();
            settle(&dest).unwrap()
        });
        assert_eq!(measured[0], measured[1]);
        let mut all = Vec::new();
        let tree = dir.path().join("tree1");
        list(&tree, Path::new(""), &mut all).unwrap();
        all.sort();
        let all = all.iter().map(|path| path.to_str().unwrap());
        assert_eq!(
            all.collect::<Vec<_>>(),
            [
                "bin",
                "bin/lang",
                "bin/lang2",
                "lib",
                "lib/lang2",
                "lib/lang2/config",
                "lib/lang2/same.l",
                "lib/lang2/std.l"
            ]
        );
        assert_eq!(
            fs::read_to_string(tree.join("lib/lang2/config")).unwrap(),
            "outside"
        );
        assert!(
            fs::symlink_metadata(tree.join("lib/lang2/config"))
                .unwrap()
                .is_file()
        );
        let dest = dir.path().join("unfollowed");
        take(&recipe, "2.0", &prefix, &dest, false).unwrap();
        assert!(!dest.join("lib/lang2/config").exists());
        fs::write(tree.join("lib/lang2/std.l"), "STD").unwrap();
        assert_ne!(settle(&tree).unwrap().digest, measured[0].digest);
    }
}
