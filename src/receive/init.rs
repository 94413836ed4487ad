//! A new bare repository.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Error, io_error, sync_dir, sync_file};

/// `logallrefupdates` is spelt out since a log would want a committer's name and a clock.
const CONFIG: &str = "\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\tlogallrefupdates = false
";

/// Makes a bare repository whose HEAD is `refs/heads/main`; does nothing where there is one.
///
/// It is made beside its place and moved there when it is complete and durable, so what stands at
/// `repo_dir` is a whole repository or none. Only its owner can read it.
///
/// # Errors
/// The machine's fault, or something else stands at `repo_dir`.
pub fn init(repo_dir: &Path) -> Result<(), Error> {
    if repo_dir.join("HEAD").is_file() {
        return Ok(());
    }
    let parent = match repo_dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let new = tempfile::Builder::new()
        .prefix(".new-repository-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(io_error("making a directory in", parent))?;
    let dirs = [
        "objects/info",
        "objects/pack",
        "refs/heads",
        "refs/tags",
        "objects",
        "refs",
    ];
    for dir in dirs {
        let dir = new.path().join(dir);
        fs::create_dir_all(&dir).map_err(io_error("making", &dir))?;
    }
    for (name, content) in [("HEAD", "ref: refs/heads/main\n"), ("config", CONFIG)] {
        let file = new.path().join(name);
        fs::write(&file, content).map_err(io_error("writing", &file))?;
        sync_file(&file)?;
    }
    for dir in dirs {
        sync_dir(&new.path().join(dir))?;
    }
    sync_dir(new.path())?;
    match fs::rename(new.path(), repo_dir) {
        Ok(()) => {
            let _moved = new.keep();
            sync_dir(parent)
        }
        Err(_) if repo_dir.join("HEAD").is_file() => Ok(()),
        Err(_) if repo_dir.exists() => Err(Error::NotARepository {
            path: repo_dir.to_owned(),
        }),
        Err(source) => Err(io_error("making", repo_dir)(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::git;

    #[test]
    fn real_git_takes_it_for_a_repository() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("app.git");
        init(&repo).unwrap();
        init(&repo).unwrap();
        assert_eq!(
            git(&repo, &["rev-parse", "--is-bare-repository"]).trim(),
            "true"
        );
        assert_eq!(
            git(&repo, &["symbolic-ref", "HEAD"]).trim(),
            "refs/heads/main"
        );
        git(&repo, &["fsck", "--strict"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_stands_there_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        assert!(matches!(
            init(&dir.path().join("file")),
            Err(Error::NotARepository { .. })
        ));
        let full = dir.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("x"), "x").unwrap();
        assert!(matches!(init(&full), Err(Error::NotARepository { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
