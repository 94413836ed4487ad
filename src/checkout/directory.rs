//! The files of a directory on this machine.
//!
//! Which of them are the app's is git's to say where the directory is in a work tree: gix reads the
//! index itself, so no program is run, and no configuration or variable of the user's plays a part.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::index::entry::Mode;
use gix::objs::Find as _;

use super::convert::Converter;
use super::dest::{Attributes, Dest};
use super::{Checkout, Error, Limits, git_error, io_error, to_path};

/// What was taken from a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Commit and tree are given where the files are just those of HEAD.
    pub checkout: Checkout,
    /// Files that differ from HEAD, are not in it, or are missing; 0 outside of a work tree.
    pub changed: usize,
}

/// Writes the files of `src` into the empty directory `dest`.
///
/// In a git work tree these are the tracked files below `src`, as they are on disk. Elsewhere it
/// is all files but those `except`, which are whole paths.
///
/// # Errors
/// The caller's fault: no file, a submodule, or over a limit; or the machine's.
pub fn directory(
    src: &Path,
    except: &[PathBuf],
    dest: &Path,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<Directory, Error> {
    let src = &src.canonicalize().map_err(io_error("finding", src))?;
    let tree = Dest::new(dest, limits, stop)?;
    let Some(repo) = discover(src) else {
        return untracked(src, except, tree);
    };
    match repo.workdir().map(Path::canonicalize) {
        Some(Ok(top)) if src.starts_with(&top) => tracked(&repo, &top, src, tree),
        _ => untracked(src, except, tree),
    }
}

/// Finds the work tree that a directory is in, without the user's configuration.
fn discover(src: &Path) -> Option<gix::Repository> {
    let options = gix::discover::upwards::Options {
        // Whose it is matters where programs are run that it names, and none are.
        trust: gix::discover::upwards::TrustPolicy::Assume(gix::sec::Trust::Full),
        dot_git_only: true,
        ..Default::default()
    };
    let isolated = gix::sec::trust::Mapping {
        full: gix::open::Options::isolated(),
        reduced: gix::open::Options::isolated(),
    };
    let repo = gix::ThreadSafeRepository::discover_opts(src, options, isolated);
    repo.ok().map(|repo| repo.to_thread_local())
}

/// Takes all files; those called `.git` are never the app's.
fn untracked(src: &Path, except: &[PathBuf], mut tree: Dest<'_>) -> Result<Directory, Error> {
    let mut open = vec![PathBuf::new()];
    while let Some(above) = open.pop() {
        let dir = src.join(&above);
        let failed = || io_error("listing", &dir);
        for entry in fs::read_dir(&dir).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let path = above.join(entry.file_name());
            if entry.file_name() == ".git" || except.contains(&entry.path()) {
                continue;
            }
            match OnDisk::at(&entry.path())? {
                Some(OnDisk::Directory) => {
                    tree.directory(&path)?;
                    open.push(path);
                }
                Some(OnDisk::Other(kind)) => return Err(Error::Kind { path, kind }),
                Some(file) => {
                    take(&mut tree, &path, &entry.path(), &file)?;
                }
                None => {}
            }
        }
    }
    finish(tree, None, 0)
}

/// Takes the files that the index has below `src`, and compares them with those of HEAD.
fn tracked(
    repo: &gix::Repository,
    top: &Path,
    src: &Path,
    mut tree: Dest<'_>,
) -> Result<Directory, Error> {
    let failed = || git_error("reading the repository of", src);
    let mut prefix = BString::default();
    for part in src.strip_prefix(top).unwrap_or(Path::new("")).components() {
        prefix.extend_from_slice(part.as_os_str().as_bytes());
        prefix.push(b'/');
    }
    let mut head = Head::read(repo, prefix.as_bstr()).map_err(failed())?;
    let index = repo.index_or_empty().map_err(failed())?;
    let mut changed = 0;
    let mut seen = HashSet::new();
    let mut directories = HashMap::new();
    for entry in index.entries() {
        let Some(path) = entry.path(&index).strip_prefix(prefix.as_bytes()) else {
            continue;
        };
        // A conflict has a path up to three times.
        if !seen.insert(path) {
            continue;
        }
        if entry.mode == Mode::COMMIT {
            let path = path.to_str_lossy().into_owned();
            return Err(Error::Submodule { path });
        }
        let path = to_path(path);
        let from = src.join(&path);
        let in_place = is_below_directories(src, &path, &mut directories)?;
        let file = match OnDisk::at(&from)? {
            Some(file @ (OnDisk::File { .. } | OnDisk::Link)) if in_place => file,
            // Deleted, or something else by now; if HEAD has it, it counts below.
            _ => continue,
        };
        let found = take(&mut tree, &path, &from, &file)?;
        if !head
            .has(repo, entry.path(&index), &found)
            .map_err(failed())?
        {
            changed += 1;
        }
    }
    if seen.is_empty() {
        return Err(Error::NothingTracked {
            path: src.to_owned(),
        });
    }
    changed += head.missing.len();
    let ids = match (changed, head.commit, head.tree) {
        (0, Some(commit), Some(tree)) => Some((commit, tree)),
        _ => None,
    };
    finish(tree, ids, changed)
}

fn finish(
    mut tree: Dest<'_>,
    ids: Option<(ObjectId, ObjectId)>,
    changed: usize,
) -> Result<Directory, Error> {
    tree.finish()?;
    if tree.files() == 0 {
        return Err(Error::Empty);
    }
    Ok(Directory {
        checkout: Checkout {
            commit: ids.map(|(commit, _)| commit),
            tree: ids.map(|(_, tree)| tree),
            files: tree.files(),
            bytes: tree.bytes,
            submodules: Vec::new(),
        },
        changed,
    })
}

/// What stands at a path.
enum OnDisk {
    File { executable: bool, size_bytes: u64 },
    Link,
    Directory,
    Other(&'static str),
}

impl OnDisk {
    fn at(path: &Path) -> Result<Option<Self>, Error> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(io_error("looking at", path)(error)),
        };
        let kind = meta.file_type();
        Ok(Some(if kind.is_file() {
            Self::File {
                executable: meta.permissions().mode() & 0o100 != 0,
                size_bytes: meta.len(),
            }
        } else if kind.is_symlink() {
            Self::Link
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_fifo() {
            Self::Other("pipe")
        } else if kind.is_socket() {
            Self::Other("socket")
        } else {
            Self::Other("device")
        }))
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether no part above a tracked path has become a symlink: git takes what is behind one for
/// deleted.
fn is_below_directories(
    src: &Path,
    path: &Path,
    known: &mut HashMap<PathBuf, bool>,
) -> Result<bool, Error> {
    for above in path.ancestors().skip(1) {
        if above.as_os_str().is_empty() {
            break;
        }
        if !known.contains_key(above) {
            let found = OnDisk::at(&src.join(above))?;
            known.insert(above.to_owned(), matches!(found, Some(OnDisk::Directory)));
        }
        if !known[above] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a file turned out to be, as git would name it.
struct Found {
    mode: Mode,
    blob: ObjectId,
}

/// Writes one file or symlink, and digests it on the way.
fn take(tree: &mut Dest<'_>, path: &Path, from: &Path, file: &OnDisk) -> Result<Found, Error> {
    let failed = || io_error("reading", from);
    let (mode, blob) = if let OnDisk::File {
        executable,
        size_bytes,
    } = *file
    {
        let content = OpenOptions::new()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(from)
            .map_err(failed())?;
        let mut content = Hashed::new(content, size_bytes);
        tree.file(
            path,
            Attributes::of_file(executable),
            &mut content,
            failed(),
        )?;
        let mode = if executable {
            Mode::FILE_EXECUTABLE
        } else {
            Mode::FILE
        };
        (mode, content.hasher)
    } else {
        let target = fs::read_link(from).map_err(failed())?;
        tree.link(path, target.as_os_str())?;
        let mut hasher = blob_hasher(target.as_os_str().len() as u64);
        hasher.update(target.as_os_str().as_bytes());
        (Mode::SYMLINK, hasher)
    };
    let blob = blob.try_finalize().map_err(git_error("digesting", from))?;
    Ok(Found { mode, blob })
}

fn blob_hasher(size_bytes: u64) -> gix::hash::Hasher {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&gix::objs::encode::loose_header(
        gix::objs::Kind::Blob,
        size_bytes,
    ));
    hasher
}

/// Digests a file as a blob while it is read.
struct Hashed {
    inner: File,
    hasher: gix::hash::Hasher,
}

impl Hashed {
    fn new(inner: File, size_bytes: u64) -> Self {
        let hasher = blob_hasher(size_bytes);
        Self { inner, hasher }
    }
}

impl Read for Hashed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.hasher.update(&buf[..count]);
        Ok(count)
    }
}

/// The last commit, as far as it is below the directory.
struct Head {
    commit: Option<ObjectId>,
    /// Of the directory, not of the commit.
    tree: Option<ObjectId>,
    /// All of the commit, since attributes come from above as well.
    index: gix::index::State,
    /// Paths and what they are, as long as no file was found that is the same.
    missing: BTreeMap<BString, (Mode, ObjectId)>,
    /// Whether there are attributes, so that files may be other bytes than their blobs.
    converts: bool,
    converter: Option<Converter>,
}

impl Head {
    fn read(repo: &gix::Repository, prefix: &BStr) -> gix::Result<Self> {
        let commit = repo.head()?.try_peel_to_id()?.map(gix::Id::detach);
        let Some(id) = commit else {
            return Ok(Self {
                commit: None,
                tree: None,
                index: gix::index::State::new(repo.object_hash()),
                missing: BTreeMap::new(),
                converts: false,
                converter: None,
            });
        };
        let root = repo.find_object(id)?.peel_to_tree()?;
        let index = gix::index::State::from_tree(&root.id, &repo.objects, super::convert::NAMES)?;
        let missing = index
            .entries()
            .iter()
            .filter(|entry| entry.path(&index).starts_with(prefix))
            .map(|entry| (entry.path(&index).to_owned(), (entry.mode, entry.id)))
            .collect();
        let converts = index
            .entries()
            .iter()
            .any(|entry| entry.path(&index).ends_with(b".gitattributes"));
        let tree = match prefix.strip_suffix(b"/") {
            None => Some(root.id),
            Some(path) => root
                .lookup_entry(path.split_str("/"))?
                .map(|entry| entry.object_id()),
        };
        Ok(Self {
            commit,
            tree,
            index,
            missing,
            converts,
            converter: None,
        })
    }

    /// Whether the commit has just this file: one whose bytes are the blob's, or are what a
    /// checkout makes of the blob.
    fn has(&mut self, repo: &gix::Repository, path: &BStr, found: &Found) -> gix::Result<bool> {
        let Some((mode, blob)) = self.missing.remove(path) else {
            return Ok(false);
        };
        if mode != found.mode {
            return Ok(false);
        }
        if mode == Mode::SYMLINK || !self.converts {
            return Ok(blob == found.blob);
        }
        let mut buffer = Vec::new();
        let Some(object) = repo.objects.try_find(&blob, &mut buffer)? else {
            return Ok(false);
        };
        if self.converter.is_none() {
            let converter = Converter::new(&self.index).map_err(gix::Error::from_error)?;
            self.converter = Some(converter);
        }
        let Some(converter) = &mut self.converter else {
            return Ok(false);
        };
        let wanted = converter.convert(object.data, path, &repo.objects)?;
        let mut hasher = blob_hasher(wanted.len() as u64);
        hasher.update(&wanted);
        Ok(hasher.try_finalize()? == found.blob)
    }
}
