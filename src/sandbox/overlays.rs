//! Kept trees that a build sees under a writable layer, in directories of its own.
//!
//! What is written goes into the directory that the overlay lies on, and the kept tree stays as it
//! is. The overlay is made by pid 1 inside, in the build's own mount namespace: outside there is
//! the directory with what was written and nothing else, until [`Overlays::settle`] completes it.
//! A directory is held open, so that it is found again wherever the build moves it to.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::MsFlags;
use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use super::Error;
use super::base;
use super::helper::{WORK, overlay};
use super::user::Outer;

/// How long pid 1 may take; the kernel takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most overlays of one build, and most files that all of them show: more than a slug can hold.
const MOST: usize = 64;
const MOST_FILES: usize = 1_000_000;

/// What pid 1 is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Lay {
    /// Names the overlay's own directory for the kernel's work.
    pub number: u32,
    /// The kept tree, inside.
    pub lower: PathBuf,
    /// The directory, inside, and which one it is.
    pub at: PathBuf,
    pub device: u64,
    pub inode: u64,
}

/// The overlays of one root. Clones share them.
#[derive(Debug, Clone)]
pub struct Overlays(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    outer: Arc<Outer>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// To pid 1 of the command that runs.
    channel: Option<UnixStream>,
    laid: Vec<Laid>,
    files: usize,
    count: u32,
}

#[derive(Debug)]
struct Laid {
    /// The directory that the overlay lies on.
    upper: OwnedFd,
    /// The kept tree, outside and inside.
    lower: PathBuf,
    shown: PathBuf,
}

/// A kept tree that is to be seen under a writable layer.
#[derive(Debug, Clone, Copy)]
pub struct Lower<'a> {
    pub tree: &'a Path,
    /// How many it has at most.
    pub files: usize,
    /// Whether it becomes the build's user's, who could not write below its directories otherwise, and
    /// sees it read-only all the same.
    pub adopt: bool,
}

impl Overlays {
    pub(super) fn new(root: &Path, outer: Arc<Outer>) -> Self {
        Self(Arc::new(Inner {
            root: root.to_owned(),
            outer,
            state: Mutex::default(),
        }))
    }

    /// Lays a kept tree, which commands see at `shown`, over the empty directory `at`, a
    /// path inside and below `within`, a directory of the root.
    ///
    /// Says whether it was done: a command must be running, the kernel allow it, and the build not
    /// have too many of them.
    ///
    /// # Errors
    /// The platform's: `lower` cannot be made the user's.
    pub fn lay(
        &self,
        lower: Lower<'_>,
        shown: &Path,
        at: &Path,
        within: &Path,
    ) -> Result<bool, Error> {
        let Lower { tree, files, adopt } = lower;
        let mut state = self.state();
        if state.channel.is_none()
            || state.laid.len() >= MOST
            || state.files.saturating_add(files) > MOST_FILES
        {
            return Ok(false);
        }
        let Some(upper) = self.find(at, within) else {
            return Ok(false);
        };
        if adopt {
            self.adopt(tree)?;
        }
        state.count += 1;
        let laid = Laid {
            upper,
            lower: tree.to_owned(),
            shown: shown.to_owned(),
        };
        let asked = self.order(&laid, state.count);
        let answered = asked.and_then(|order| state.ask(&order));
        if let Err(error) = &answered {
            tracing::debug!(%error, "an overlay was refused");
            return Ok(false);
        }
        state.files += files;
        state.laid.push(laid);
        Ok(true)
    }

    /// Makes a kept tree the build's user's, as it has to be to be laid. Most often the next build has
    /// the same user, and it has nothing to do then.
    ///
    /// # Errors
    /// The platform's: an owner could not be changed.
    pub fn adopt(&self, lower: &Path) -> Result<(), Error> {
        self.0.outer.id.map_or(Ok(()), |id| base::adopt(lower, id))
    }

    /// The empty directory that a build names, looked up as it would be inside.
    fn find(&self, at: &Path, within: &Path) -> Option<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(flags).resolve(resolve);
        let root = File::open(&self.0.root).ok()?;
        let found = openat2(root.as_fd(), at, how).ok()?;
        let path = path_of(&found)?;
        let is_below = path.starts_with(within) && path != within;
        let is_empty = fs::read_dir(path).ok()?.next().is_none();
        (is_below && is_empty).then_some(found)
    }

    /// What the next command's pid 1 is to lay before it starts.
    pub(super) fn orders(&self) -> Vec<Lay> {
        let mut state = self.state();
        let state = &mut *state;
        let mut number = state.count;
        let orders = state.laid.iter().filter_map(|laid| {
            number += 1;
            self.order(laid, number).ok()
        });
        let orders = orders.collect();
        state.count = number;
        orders
    }

    fn order(&self, laid: &Laid, number: u32) -> io::Result<Lay> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let path = path_of(&laid.upper).ok_or_else(gone)?;
        let inside = path.strip_prefix(&self.0.root).map_err(|_| gone())?;
        let stat = fstat(&laid.upper)?;
        Ok(Lay {
            number,
            lower: laid.shown.clone(),
            at: Path::new("/").join(inside),
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// Asks this pid 1 from now on.
    pub(super) fn connect(&self, channel: UnixStream) {
        self.state().channel = Some(channel);
    }

    /// Completes the directories by what the overlays showed in them, to be read. To be called when
    /// nothing runs in the root any more, nor ever will: below `within` files are those of the kept
    /// trees themselves, so nobody may write to them. Ends early once `stop` is set.
    ///
    /// # Errors
    /// The platform's: a file could not be made.
    pub fn settle(&self, within: &Path, stop: &AtomicBool) -> Result<(), Error> {
        let mut state = self.state();
        state.channel = None;
        let mut number = state.count;
        for laid in state.laid.drain(..) {
            let Some(upper) = path_of(&laid.upper) else {
                continue;
            };
            // What the build has moved elsewhere may be kept, and written to by others.
            let links = upper.starts_with(within);
            number += 1;
            let work = self.0.root.join(WORK).join(number.to_string());
            if links && laid.is_apart() && laid.show(&work) {
                continue;
            }
            complete(&laid.lower, &upper, links, stop)?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Laid {
    /// Whether the kept tree is on another file system, where no link leads to.
    fn is_apart(&self) -> bool {
        let lower = fs::metadata(&self.lower).map(|meta| meta.dev());
        lower.ok() != fstat(&self.upper).ok().map(|stat| stat.st_dev)
    }

    /// Shows both in the directory, as only root can outside; it goes with the build's own file
    /// system. Says whether it was done. It can be written to: whoever packs may have to open what
    /// a build has closed.
    fn show(&self, work: &Path) -> bool {
        let path = |fd: BorrowedFd<'_>| format!("/proc/self/fd/{}", fd.as_raw_fd());
        let show = || -> io::Result<()> {
            fs::create_dir(work)?;
            let (lower, work) = (File::open(&self.lower)?, File::open(work)?);
            let (upper, lower) = (path(self.upper.as_fd()), path(lower.as_fd()));
            let layer = Some((&*upper, &*path(work.as_fd())));
            Ok(overlay(
                &[&lower],
                layer,
                Path::new(&upper),
                MsFlags::empty(),
            )?)
        };
        show()
            .inspect_err(|error| tracing::debug!(%error, "a kept tree is copied"))
            .is_ok()
    }
}

impl State {
    fn ask(&mut self, order: &Lay) -> io::Result<()> {
        let Some(channel) = &self.channel else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        channel.set_read_timeout(Some(PATIENCE))?;
        channel.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let mut answer = String::new();
        let asked = (&*channel)
            .write_all(&line)
            .and_then(|()| BufReader::new(channel).read_line(&mut answer));
        match (asked, answer.trim()) {
            (Ok(_), "") => Err(io::ErrorKind::UnexpectedEof.into()),
            (Ok(_), LAID) => Ok(()),
            (Ok(_), refusal) => Err(io::Error::other(refusal.to_owned())),
            (Err(error), _) => {
                // What it may still answer would be taken for the next one's.
                self.channel = None;
                Err(error)
            }
        }
    }
}

/// What pid 1 answers when an overlay lies.
pub(super) const LAID: &str = "laid";

/// Where a directory is now; none where it was removed.
fn path_of(dir: &OwnedFd) -> Option<PathBuf> {
    if fstat(dir).ok()?.st_nlink == 0 {
        return None;
    }
    fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).ok()
}

/// Adds to a directory what its overlay showed of the tree below it, and removes the kernel's marks.
fn complete(lower: &Path, upper: &Path, links: bool, stop: &AtomicBool) -> Result<(), Error> {
    if is_opaque(upper) {
        return Ok(());
    }
    // A build may have closed it, to itself and so to us where we are no root.
    let mode = fs::symlink_metadata(upper)
        .map_err(Error::io(upper))?
        .mode();
    fs::set_permissions(upper, fs::Permissions::from_mode(mode & 0o7777 | 0o700))
        .map_err(Error::io(upper))?;
    for entry in fs::read_dir(lower).map_err(Error::io(lower))? {
        if stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        let entry = entry.map_err(Error::io(lower))?;
        let (from, to) = (entry.path(), upper.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::io(&from))?;
        match fs::symlink_metadata(&to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if kind.is_dir() {
                    fs::create_dir(&to).map_err(Error::io(&to))?;
                    complete(&from, &to, links, stop)?;
                } else if !links || fs::hard_link(&from, &to).is_err() {
                    copy(&from, &to).map_err(Error::io(&to))?;
                }
            }
            Err(error) => return Err(Error::io(&to)(error)),
            // The mark of what was removed.
            Ok(there) if there.file_type().is_char_device() && there.rdev() == 0 => {
                fs::remove_file(&to).map_err(Error::io(&to))?;
            }
            Ok(there) if there.is_dir() && kind.is_dir() => complete(&from, &to, links, stop)?,
            Ok(_) => {}
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if fs::symlink_metadata(from)?.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    fs::copy(from, to).map(drop)
}

/// Whether the build has made a directory anew in the place of one that it had removed.
fn is_opaque(dir: &Path) -> bool {
    let mut value = [0; 1];
    let read = rustix::fs::lgetxattr(dir, "user.overlay.opaque", &mut value);
    read == Ok(1) && value == *b"y"
}
