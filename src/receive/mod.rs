//! The receiving end of `git push`: bytes of the smart protocol in, checked objects and moved refs
//! out. Blocking; it knows no HTTP and no build.
//!
//! One push is: [`advertise`], then [`Request::read`], [`check`], [`Quarantine::receive`], and when
//! everything that the caller wants of the new commits went well, [`Quarantine::keep`], the
//! caller's own commit point, [`Quarantine::promote`] and [`apply`]; at the end a [`report`].
//!
//! Guaranteed: until `promote` the repository is not changed by a single byte, and dropping the
//! quarantine leaves nothing behind. After `promote` and `apply` the repository is complete: each
//! object that a ref reaches is there and is well formed. Both can be repeated after a crash.
//!
//! [`check`], [`Quarantine::promote`] and [`apply`] want the caller to hold a lock on the
//! repository; gix's own lock files guard single refs only.

mod advertise;
mod certificate;
mod checks;
mod fsck;
mod init;
mod options;
mod pack;
mod quarantine;
#[cfg(test)]
mod real_client;
mod refs;
mod report;
mod request;
mod shallow;
mod side_band;
mod special;
#[cfg(test)]
mod tests;
mod tree;
mod upkeep;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gix::ObjectId;
use gix::objs::Kind;

pub use advertise::advertise;
pub use certificate::{Certificate, Signers};
pub use checks::{BRANCHES, check, to_build};
pub use init::init;
pub use options::PushOptions;
pub use quarantine::{Quarantine, sweep};
pub use refs::apply;
pub use report::report;
pub use request::{Command, Rejected, ReportStatus, Request};
pub use side_band::{KEEP_ALIVE, MAX_BAND_BYTES, SideBand};
pub use upkeep::{Size, collect, git_command, is_untidy, size, tidy};

/// What becomes of one command: done, or refused for a reason that the client shows.
pub type Status = Result<(), String>;

/// What one push may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Commands in one push.
    pub commands: usize,
    /// Lines by which a shallow client names its borders.
    pub shallow_lines: usize,
    /// Options of one push.
    pub push_options: usize,
    /// Bytes of one ref's name.
    pub ref_name_bytes: usize,
    /// Bytes of the pack as it is sent.
    pub pack_bytes: u64,
    /// Objects that the pack's header may announce.
    pub objects: u32,
    /// Bytes of one object, unpacked; also the most memory taken in one piece.
    pub object_bytes: usize,
    /// Unpacked bytes of objects that the repository has and a thin pack's deltas build on; each
    /// is copied into the new pack.
    pub base_bytes: u64,
    /// Bytes of all the pack's objects, unpacked.
    pub unpacked_bytes: u64,
    /// Longest time from the pack's first byte to the end of its check.
    pub time: Duration,
}

impl Default for Limits {
    /// 1,000 commands, 10,000 shallow lines, 64 options, names of 1,024 bytes, 2 GiB and 2,000,000 objects a
    /// pack, 256 MiB an object, 2 GiB of bases, 256 GiB unpacked, an hour.
    fn default() -> Self {
        Self {
            commands: 1_000,
            shallow_lines: 10_000,
            push_options: 64,
            ref_name_bytes: 1_024,
            pack_bytes: 2 << 30,
            objects: 2_000_000,
            object_bytes: 256 << 20,
            base_bytes: 2 << 30,
            unpacked_bytes: 256 << 30,
            time: Duration::from_secs(3_600),
        }
    }
}

/// Why a push is refused, or why the repository cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine's fault: the file system said no.
    #[error("{doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The machine's fault: what is stored cannot be read or changed.
    #[error("{doing} {path}")]
    Repository {
        doing: &'static str,
        path: PathBuf,
        source: gix::Error,
    },
    /// There is something else at the path of a new repository.
    #[error("{path} exists and is no repository")]
    NotARepository { path: PathBuf },

    /// Nobody reads the answer.
    #[error("writing the answer")]
    Write { source: io::Error },
    /// The connection broke.
    #[error("reading the push")]
    Read { source: io::Error },
    /// The push ended before it was complete.
    #[error("the push ended early")]
    Cut,
    /// The caller's stop flag was set.
    #[error("the push was stopped")]
    Stopped,
    /// A line is not of git's pkt-line form.
    #[error("the push is not written in pkt-lines")]
    PacketLine { source: gix::Error },
    /// A line is neither a command nor a shallow line.
    #[error("{line:?} is no command")]
    Malformed { line: String },
    /// The name is not one that a ref may have.
    #[error("{name:?} is no name for a ref: {reason}")]
    RefName { name: String, reason: String },
    /// Two commands for one ref.
    #[error("{name} is named by two commands")]
    Repeated { name: String },
    /// More commands than one push may have.
    #[error("more than {limit} commands in one push")]
    Commands { limit: usize },
    /// More shallow lines than one push may have.
    #[error("more than {limit} shallow lines in one push")]
    ShallowLines { limit: usize },
    /// An option that is none.
    #[error(
        "the push option {got:?} is not known; known are: {}",
        PushOptions::NAMES.join(", ")
    )]
    PushOption { got: String },
    /// More options than one push may have.
    #[error("more than {limit} push options")]
    PushOptions { limit: usize },
    /// A signed push whose certificate is not what it should be.
    #[error("the push certificate is refused: {reason}")]
    Certificate { reason: String },
    /// The client speaks of another hash function.
    #[error("the push is of the object format {got:?}, the repository of {expected}")]
    ObjectFormat { got: String, expected: String },
    /// The client uses what was not advertised and what changes the form of the push.
    #[error("the capability {name} was not offered")]
    Capability { name: String },

    /// What follows the commands is no pack.
    #[error("what follows the commands is no pack")]
    NotAPack,
    /// The pack announces too many objects.
    #[error("the pack has {got} objects; the limit is {limit}")]
    Objects { got: u32, limit: u32 },
    /// The pack is too long.
    #[error("the pack is over the limit of {limit_bytes} bytes")]
    PackBytes { limit_bytes: u64 },
    /// The pack is thin and its bases are too many or too large.
    #[error("the pack builds on more than {limit_bytes} bytes of older objects")]
    BaseBytes { limit_bytes: u64 },
    /// Bytes follow the pack.
    #[error("the pack has junk at the end")]
    Junk,
    /// The pack cannot be unpacked, or an object in it is over the limit.
    #[error("the pack is damaged or has an object of more than {limit_bytes} bytes: {reason}")]
    Pack {
        limit_bytes: usize,
        reason: &'static str,
    },
    /// The objects of the pack are too many bytes altogether.
    #[error("the pack unpacks to more than {limit_bytes} bytes")]
    UnpackedBytes { limit_bytes: u64 },
    /// It took too long.
    #[error("the push was not received within {} seconds", .limit.as_secs())]
    TooSlow { limit: Duration },
    /// An object was made to have the id of another one.
    #[error("an object was made to collide with another: its SHA-1 is not its own")]
    Collision,
    /// The pack brought the unpacking code down.
    #[error("the pack is damaged beyond reading")]
    Unreadable,

    /// An object is not of the form that its kind has.
    #[error("the {kind} {id} is malformed: {reason}")]
    Object {
        kind: Kind,
        id: ObjectId,
        reason: String,
    },
    /// An object that a new one names is neither in the push nor in the repository.
    #[error("the object {id} that {by} names is missing")]
    Missing { id: ObjectId, by: ObjectId },
    /// An object is not of the kind that the one which names it says.
    #[error("the object {id} is a {kind} where something names it as another kind")]
    WrongKind { id: ObjectId, kind: Kind },
    /// The commit or object that a ref should name is missing.
    #[error("the object {id} for {name} is missing")]
    TipMissing { name: String, id: ObjectId },

    /// A ref names another ref, which only a person on the machine can have made it do.
    #[error("{name} is a symbolic ref")]
    Symbolic { name: String },
    /// A ref is not where the command saw it.
    #[error("{name} has moved in the meantime")]
    Stale { name: String },
}

impl Error {
    /// Its own text and that of all its causes in one line, as an `unpack` line carries it.
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        report::one_line(&text)
    }
}

/// Makes the error of a file system call.
fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        doing,
        path,
        source,
    }
}

/// Makes the error of a gix call on a repository.
fn git_error(doing: &'static str, path: &Path) -> impl FnOnce(gix::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Repository {
        doing,
        path,
        source,
    }
}

/// Opens a directory of objects and its alternates.
fn open_objects(objects_dir: &Path, hash: gix::hash::Kind) -> Result<gix::odb::HandleArc, Error> {
    let options = gix::odb::store::init::Options::default();
    gix::odb::at_opts(objects_dir, hash, None, options)
        .and_then(gix::odb::Handle::into_arc)
        .map_err(io_error("opening the objects of", objects_dir))
}

/// Makes a directory's entries durable.
fn sync_dir(path: &Path) -> Result<(), Error> {
    sync_file(path)
}

/// Makes a file's content durable.
fn sync_file(path: &Path) -> Result<(), Error> {
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io_error("syncing", path))
}
