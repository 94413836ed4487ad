//! Removes what a build has left: any depth, any mode, and never through a link.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

/// Levels that are gone down at once. What lies deeper is moved up first, so that neither the stack
/// nor the descriptors nor the length of a path grow with the tree: a build can make it very deep.
const LEVELS: usize = 12;

/// Removes a directory tree that a build has written, also directories it made unreadable. Nothing
/// may run in it any more. What is mounted in it is unmounted: only the server can have done that.
///
/// # Errors
/// Something could not be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(meta) if !meta.is_dir() => return fs::remove_file(path),
        Ok(_) => {}
    }
    let mut moved = 0;
    loop {
        let before = moved;
        empty(path, path, LEVELS, &mut moved)?;
        if moved == before {
            return fs::remove_dir(path);
        }
    }
}

/// Removes what is in `dir`, but moves directories below the last level up to `top`.
fn empty(top: &Path, dir: &Path, levels: usize, moved: &mut u64) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    let device = fs::symlink_metadata(dir)?.dev();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            fs::remove_file(&path)?;
            continue;
        }
        if entry.metadata()?.dev() != device {
            unmount(&path)?;
        }
        if levels > 0 {
            empty(top, &path, levels - 1, moved)?;
            fs::remove_dir(&path)?;
        } else {
            // Only its owner may move a directory to another one, and only if it is writable.
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
            *moved += 1;
            fs::rename(&path, top.join(format!(".slugline-removed-{moved}")))?;
        }
    }
    Ok(())
}

/// Takes a build's own file system away, which is quicker than to empty it.
fn unmount(path: &Path) -> io::Result<()> {
    let how = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
    match umount2(path, how) {
        // Not a mount, but what some file systems let a build have of its own, such as a subvolume.
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn closed_directories_and_links_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("tree/closed");
        fs::create_dir_all(closed.join("inner")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/kept"), "").unwrap();
        symlink(dir.path().join("outside"), closed.join("link")).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
        remove_tree(&dir.path().join("tree")).unwrap();
        assert!(!dir.path().join("tree").exists());
        assert!(dir.path().join("outside/kept").exists());
        remove_tree(&dir.path().join("tree")).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        // Built from below, since no path reaches its end.
        fs::create_dir(&tree).unwrap();
        for _ in 0..3_000 {
            let above = dir.path().join("above");
            fs::create_dir(&above).unwrap();
            fs::rename(&tree, above.join("a-directory-with-a-name")).unwrap();
            fs::rename(&above, &tree).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
