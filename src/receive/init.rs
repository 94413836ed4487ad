//! A new bare repository.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Error, io_error, sync_dir, sync_file};

/// `logallrefupdates` is spelt out since a log would want a committer's name and a clock.
///
/// Source: gitrepository-layout(5); git-config(1), `extensions.objectFormat`.
fn config(hash: gix::hash::Kind) -> String {
    let (version, extensions) = match hash {
        gix::hash::Kind::Sha1 => (0, String::new()),
        other => (1, format!("[extensions]\n\tobjectformat = {other}\n")),
    };
    format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = true\n\tlogallrefupdates = false\n{extensions}"
    )
}

/// Makes a bare repository whose HEAD is `refs/heads/main` and whose ids are of this hash function;
/// does nothing where there is one.
///
/// It is made beside its place and moved there when it is complete and durable, so what stands at
/// `repo_dir` is a whole repository or none. Only its owner can read it.
///
/// # Errors
/// The machine's fault, or something else stands at `repo_dir`.
pub fn init(repo_dir: &Path, hash: gix::hash::Kind) -> Result<(), Error> {
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
    for (name, content) in [
        ("HEAD", "ref: refs/heads/main\n"),
        ("config", config(hash).as_str()),
    ] {
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
    use gix::hash::Kind;

    use super::*;
    use crate::fixture::git;

    #[test]
    fn real_git_takes_it_for_a_repository() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("app.git");
        for (hash, name) in [(Kind::Sha1, "sha1"), (Kind::Sha256, "sha256")] {
            let repo = dir.path().join(format!("{name}.git"));
            init(&repo, hash).unwrap();
            let format = git(&repo, &["rev-parse", "--show-object-format"]);
            assert_eq!(format.trim(), name);
            git(&repo, &["fsck", "--strict"]);
            fs::remove_dir_all(repo).unwrap();
        }
        init(&repo, Kind::Sha1).unwrap();
        init(&repo, Kind::Sha1).unwrap();
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
            init(&dir.path().join("file"), Kind::Sha1),
            Err(Error::NotARepository { .. })
        ));
        let full = dir.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("x"), "x").unwrap();
        assert!(matches!(
            init(&full, Kind::Sha1),
            Err(Error::NotARepository { .. })
        ));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
