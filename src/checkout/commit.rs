//! The files of a commit.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice as _};
use gix::index::entry::Mode;
use gix::objs::tree::EntryKind;
use gix::objs::{Find as _, FindHeader as _, Kind, TreeRefIter};
use gix::progress::Discard;
use gix::worktree::state::checkout;

use super::dest::{PATH_BYTES, require_empty};
use super::{Checkout, Error, Limits, check, convert, git_error, io_error, to_path};

/// Writes the tree of a commit into the empty directory `dest`.
///
/// Objects are read from the repository, and from `quarantine_objects` where that is given: a
/// directory of objects that names the repository's as its alternate.
///
/// # Errors
/// The pushed code's fault: no file in it, or over a limit. The machine's: no such
/// commit, or what is at `dest`. [`Error::Cancelled`] soon after `stop` is set.
pub fn commit(
    repo_dir: &Path,
    quarantine_objects: Option<&Path>,
    commit: ObjectId,
    dest: &Path,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<Checkout, Error> {
    require_empty(dest)?;
    let objects = quarantine_objects.map_or_else(|| repo_dir.join("objects"), Path::to_owned);
    let odb = gix::odb::at(&objects, commit.kind())
        .and_then(gix::odb::Handle::into_arc)
        .map_err(io_error("opening the objects of", &objects))?;
    let failed = || git_error("reading the objects of", &objects);
    let mut buffer = Vec::new();
    let tree = odb
        .try_find(&commit, &mut buffer)
        .map_err(failed())?
        .and_then(gix::objs::Data::try_into_commit_iter)
        .ok_or(Error::NoCommit { id: commit })?
        .tree_id()
        .map_err(failed())?;
    let size = measure(&odb, tree, limits, stop).map_err(|error| match error {
        Stop::Error(error) => error,
        Stop::Git(source) => failed()(source),
    })?;
    if size.files == 0 && size.submodules.is_empty() {
        return Err(Error::Empty);
    }
    let mut index = gix::index::State::from_tree(&tree, &odb, convert::NAMES).map_err(failed())?;
    let mut options = checkout::Options::new(convert::pipeline(commit.kind()));
    options.attributes = convert::attributes().map_err(io_error("preparing", dest))?;
    options.validate = convert::NAMES;
    options.fs = gix::fs::Capabilities {
        precompose_unicode: false,
        ignore_case: false,
        executable_bit: true,
        symlink: true,
    };
    options.destination_is_initially_empty = true;
    options.filter_process_delay = gix::filter::plumbing::driver::apply::Delay::Forbid;
    let outcome = checkout(&mut index, dest, odb, &Discard, &Discard, stop, options);
    // Stopped, it ends early and may call that a success.
    check(stop)?;
    let outcome = outcome.map_err(git_error("writing the files to", dest))?;
    if let Some(collision) = outcome.collisions.into_iter().next() {
        // Two names that this file system takes for one.
        return Err(Error::Twice {
            path: to_path(&collision.path),
        });
    }
    make_executable(&index, dest)?;
    Ok(Checkout {
        commit: Some(commit),
        tree: Some(tree),
        files: size.files,
        bytes: size.bytes,
        submodules: size.submodules,
    })
}

/// Sets the bits that a umask may have taken.
fn make_executable(index: &gix::index::State, dest: &Path) -> Result<(), Error> {
    for entry in index.entries() {
        if entry.mode == Mode::FILE_EXECUTABLE {
            let path = dest.join(to_path(entry.path(index)));
            fs::set_permissions(&path, Permissions::from_mode(0o755))
                .map_err(io_error("making executable", &path))?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Size {
    files: usize,
    directories: usize,
    bytes: u64,
    submodules: Vec<(String, ObjectId)>,
}

enum Stop {
    Error(Error),
    Git(gix::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<gix::Error> for Stop {
    fn from(error: gix::Error) -> Self {
        Self::Git(error)
    }
}

/// Walks the whole tree before anything of it is held or written: a small tree that names itself
/// many times over unfolds to billions of files.
fn measure(
    odb: &gix::odb::HandleArc,
    tree: ObjectId,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<Size, Stop> {
    let mut size = Size::default();
    let mut open = vec![(BString::default(), tree)];
    let mut buffer = Vec::new();
    while let Some((above, id)) = open.pop() {
        // Git has the empty tree without storing it.
        if id.is_empty_tree() {
            continue;
        }
        let found = odb.try_find(&id, &mut buffer)?;
        let Some(data) = found.filter(|object| object.kind == Kind::Tree) else {
            return Err(Error::NoCommit { id }.into());
        };
        check(stop)?;
        let mut names = HashSet::new();
        for entry in TreeRefIter::from_bytes(data.data, tree.kind()) {
            let entry = entry?;
            let mut path = above.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.filename);
            if path.len() > PATH_BYTES {
                path.truncate(200);
                let path = to_path(&path);
                return Err(Error::Outside { path }.into());
            }
            if !names.insert(entry.filename) {
                let path = to_path(&path);
                return Err(Error::Twice { path }.into());
            }
            match entry.mode.kind() {
                EntryKind::Commit => {
                    let path = path.to_str().map_err(|_| Error::Outside {
                        path: to_path(&path),
                    })?;
                    size.submodules
                        .push((path.to_owned(), entry.oid.to_owned()));
                    size.directories += 1;
                }
                EntryKind::Tree => {
                    size.directories += 1;
                    open.push((path, entry.oid.to_owned()));
                }
                EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link => {
                    size.files += 1;
                    let header = odb.try_header(entry.oid)?;
                    if entry.mode.kind() != EntryKind::Link {
                        size.bytes += header.map_or(0, |header| header.size);
                    }
                }
            }
            if size.files.max(size.directories) > limits.files {
                let limit = limits.files;
                return Err(Error::Files { limit }.into());
            }
            if size.bytes > limits.bytes {
                let limit_bytes = limits.bytes;
                return Err(Error::Bytes { limit_bytes }.into());
            }
        }
    }
    Ok(size)
}
