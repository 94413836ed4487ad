//! The files that a command makes: one that was asked for by name, and those beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// `slug.tgz` → `slug.tgz.suffix`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Gives a new file its name, in place of the file that has it: nobody sees half of it, or none.
///
/// By an exchange, since ext4 writes a file out before it is renamed over another one, which takes a slug
/// as long as a third of the rest. Source: ext4(5), `auto_da_alloc`.
///
/// # Errors
/// The platform's; the file is then there under its new name.
pub(super) fn put(new: &Path, path: &Path) -> io::Result<()> {
    let is_file = fs::symlink_metadata(path).is_ok_and(|there| !there.is_dir());
    let flags = RenameFlags::RENAME_EXCHANGE;
    if is_file && renameat2(AT_FDCWD, new, AT_FDCWD, path, flags).is_ok() {
        return fs::remove_file(new);
    }
    // Nothing to exchange, or a file system that cannot.
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let (new, path) = (dir.path().join("slug.tgz.new"), dir.path().join("slug.tgz"));
        for content in ["first", "second"] {
            fs::write(&new, content).unwrap();
            put(&new, &path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert!(!new.exists());
        }
        // A directory is left where it is.
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(&new, "third").unwrap();
        put(&new, &taken).unwrap_err();
        assert!(taken.is_dir() && new.is_file());
    }
}
