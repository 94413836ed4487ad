//! The files of a tarball from a stranger, as the Platform API's source blobs are.
//!
//! The tar crate is asked for raw headers: what long names and pax records do to the entry behind
//! them is decided here, with limits and without a second reading that another tool could differ in.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;

use flate2::bufread::MultiGzDecoder;
use tar::EntryType;

use super::dest::{Attributes, Dest, PATH_BYTES};
use super::{Checkout, Error, Limits, Whole, io_error};

/// Longest long name or block of pax records, in bytes.
const RECORD_BYTES: u64 = 64 * 1024;

/// Headers of one entry besides the entry itself: long name, long link, pax records.
const HEADERS_PER_FILE: usize = 4;

/// Writes the files of a tarball, gzipped or plain, into the empty directory `dest`.
///
/// One directory around everything is left out, as around GitHub's archives.
///
/// # Errors
/// The archive's fault: damaged, over a limit, no file in it, or an entry that leads out of it, is
/// there twice or is none of file, directory and symlink. Then `dest` may have some of the files.
pub fn archive(
    reader: impl Read,
    dest: &Path,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<Checkout, Error> {
    let tree = read(reader, Dest::new(dest, limits, stop)?, &|_| true)?;
    if let Some(wrapper) = tree.wrapper() {
        unwrap(dest, &wrapper)?;
    }
    Ok(written(&tree))
}

/// Writes the files of a tarball as [`archive`] does, a directory around everything included.
///
/// # Errors
/// As [`archive`].
pub fn archive_as_it_is(
    reader: impl Read,
    dest: &Path,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<Checkout, Error> {
    read(reader, Dest::new(dest, limits, stop)?, &|_| true).map(|tree| written(&tree))
}

/// Writes the entries of a tarball into the empty directory `dest` as they are: empty directories,
/// hard links, permissions (owners may read and write all, others read all) and times included;
/// set-id bits are not. Those that `keep` refuses by their path are left out, devices among them.
///
/// # Errors
/// As [`archive`].
pub fn whole_archive(
    reader: impl Read,
    dest: &Path,
    limits: &Limits,
    stop: &AtomicBool,
    keep: &dyn Fn(&Path) -> bool,
) -> Result<Whole, Error> {
    let tree = read(reader, Dest::whole(dest, limits, stop)?, keep)?;
    Ok(Whole {
        digest: tree.digest(),
        files: tree.files(),
        bytes: tree.bytes,
    })
}

/// Writes a directory as a tar, for [`whole_archive`]; links stay links.
///
/// # Errors
/// It cannot be read, has a device, pipe or socket in it, or nobody takes the tar.
pub fn write_archive(
    dir: &Path,
    writer: impl io::Write,
    keep: &dyn Fn(&Path) -> bool,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::with_capacity(1 << 20, writer));
    tar.follow_symlinks(false);
    // A file with holes is read as the bytes that it seems to have: so is every other archive.
    tar.sparse(false);
    let mut open = vec![PathBuf::new()];
    while let Some(above) = open.pop() {
        for entry in fs::read_dir(dir.join(&above))? {
            let entry = entry?;
            let path = above.join(entry.file_name());
            if !keep(&path) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                tar.append_dir(&path, entry.path())?;
                open.push(path);
            } else if kind.is_file() || kind.is_symlink() {
                tar.append_path_with_name(entry.path(), &path)?;
            } else {
                let what = format!("{} is a device, pipe or socket", path.display());
                return Err(io::Error::other(what));
            }
        }
    }
    let written = tar.into_inner()?.into_inner();
    written.map(drop).map_err(io::IntoInnerError::into_error)
}

fn written(tree: &Dest<'_>) -> Checkout {
    Checkout {
        commit: None,
        tree: None,
        files: tree.files(),
        bytes: tree.bytes,
        submodules: Vec::new(),
    }
}

fn read<'a>(
    reader: impl Read,
    tree: Dest<'a>,
    keep: &dyn Fn(&Path) -> bool,
) -> Result<Dest<'a>, Error> {
    let mut reader = BufReader::new(reader);
    let head = reader
        .fill_buf()
        .map_err(|source| Error::Archive { source })?;
    if head.starts_with(&[0x1f, 0x8b]) {
        unpack(MultiGzDecoder::new(reader), tree, keep)
    } else {
        unpack(reader, tree, keep)
    }
}

fn unpack<'a>(
    reader: impl Read,
    mut tree: Dest<'a>,
    keep: &dyn Fn(&Path) -> bool,
) -> Result<Dest<'a>, Error> {
    let damaged = |source| Error::Archive { source };
    let limit = tree.limit_files();
    let mut archive = tar::Archive::new(reader);
    let mut pending = Pending::default();
    // Directories and what is passed over count too: each costs time.
    let mut left = limit.saturating_mul(2 * HEADERS_PER_FILE);
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        left = left.checked_sub(1).ok_or(Error::Files { limit })?;
        match entry.header().entry_type() {
            EntryType::GNULongName => pending.path = Some(read_name(&mut entry)?),
            EntryType::GNULongLink => pending.target = Some(read_name(&mut entry)?),
            EntryType::XHeader => pending.read_pax(&mut entry)?,
            EntryType::XGlobalHeader => {}
            kind => {
                let pending = std::mem::take(&mut pending);
                enter(&mut tree, &mut entry, kind, pending, keep)?;
            }
        }
    }
    // The checksum of a gzip stands after the end of the tar.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
    tree.finish()?;
    if tree.files() == 0 {
        return Err(Error::Empty);
    }
    Ok(tree)
}

/// What headers have said of the entry behind them.
#[derive(Default)]
struct Pending {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    /// A record that makes the entry something else than it looks.
    unsupported: Option<String>,
}

impl Pending {
    fn read_pax(&mut self, entry: &mut impl Read) -> Result<(), Error> {
        let records = read_limited(entry)?;
        for record in tar::PaxExtensions::new(&records) {
            let record = record.map_err(|source| Error::Archive { source })?;
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.target = Some(record.value_bytes().to_vec()),
                b"size" => {
                    let size = record.value().ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.unwrap_or(u64::MAX));
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    self.unsupported = Some(String::from_utf8_lossy(key).into_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_limited(entry: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    entry
        .take(RECORD_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Archive { source })?;
    if bytes.len() as u64 > RECORD_BYTES {
        return Err(Error::Unsupported {
            path: PathBuf::new(),
            what: format!("a header of more than {RECORD_BYTES} bytes"),
        });
    }
    Ok(bytes)
}

/// Reads a GNU long name, which ends with a NUL.
fn read_name(entry: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = read_limited(entry)?;
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

/// Writes one entry.
fn enter<R: Read>(
    tree: &mut Dest<'_>,
    entry: &mut tar::Entry<'_, R>,
    kind: EntryType,
    pending: Pending,
    keep: &dyn Fn(&Path) -> bool,
) -> Result<(), Error> {
    let header = entry.header();
    let name = pending
        .path
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let path = PathBuf::from(OsStr::from_bytes(&name));
    let unsupported = |what: String| Error::Unsupported {
        path: path.clone(),
        what,
    };
    if let Some(record) = pending.unsupported {
        return Err(unsupported(format!("the record {record}")));
    }
    let damaged = |source| Error::Archive { source };
    if pending
        .size
        .is_some_and(|size| header.entry_size().ok() != Some(size))
    {
        return Err(unsupported("two different sizes".to_owned()));
    }
    let Some(path) = plain(&path)? else {
        return Ok(());
    };
    if !tree.is_whole() && path.components().any(|part| part.as_os_str() == ".git") || !keep(&path)
    {
        return Ok(());
    }
    let attributes = Attributes {
        mode: header.mode().map_err(damaged)?,
        mtime_seconds: header.mtime().unwrap_or(0),
    };
    let target = || -> Option<Vec<u8>> {
        let in_header = || header.link_name_bytes().map(std::borrow::Cow::into_owned);
        pending.target.clone().or_else(in_header)
    };
    let of_kind = |kind| {
        let path = path.clone();
        Err(Error::Kind { path, kind })
    };
    match kind {
        // A name with a slash at its end is a directory in archives of the oldest form.
        EntryType::Directory => tree.directory(&path),
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => tree.directory(&path),
        EntryType::Regular | EntryType::Continuous => tree.file(&path, attributes, entry, damaged),
        EntryType::Symlink => {
            let target = target().unwrap_or_default();
            tree.link(&path, OsStr::from_bytes(&target))
        }
        EntryType::Link => {
            let target = PathBuf::from(OsStr::from_bytes(&target().unwrap_or_default()));
            let from = plain(&target)?;
            match from {
                Some(from) if tree.copy(&path, &from)? => Ok(()),
                _ => Err(Error::HardLink { path, target }),
            }
        }
        EntryType::Char | EntryType::Block => of_kind("device"),
        EntryType::Fifo => of_kind("pipe"),
        EntryType::GNUSparse => Err(unsupported("sparse content".to_owned())),
        other => Err(unsupported(format!(
            "the type {:?}",
            char::from(other.as_byte())
        ))),
    }
}

/// Takes `.` out of a path; `None` where nothing of it stays.
fn plain(path: &Path) -> Result<Option<PathBuf>, Error> {
    let outside = || Error::Outside {
        path: PathBuf::from(OsStr::from_bytes(
            &path.as_os_str().as_bytes()[..path.as_os_str().len().min(200)],
        )),
    };
    if path.as_os_str().len() > PATH_BYTES {
        return Err(outside());
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => plain.push(name),
            _ => return Err(outside()),
        }
    }
    Ok((!plain.as_os_str().is_empty()).then_some(plain))
}

/// Moves what is in `wrapper` to the top.
fn unwrap(dest: &Path, wrapper: &Path) -> Result<(), Error> {
    let within = dest.join(wrapper);
    // Out of the way of an entry that is called like its wrapper. No entry has this name.
    let aside = dest.join(".git");
    fs::rename(&within, &aside).map_err(io_error("moving", &within))?;
    let failed = || io_error("listing", &aside);
    for entry in fs::read_dir(&aside).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let to = dest.join(entry.file_name());
        fs::rename(entry.path(), &to).map_err(io_error("moving", &to))?;
    }
    fs::remove_dir(&aside).map_err(io_error("removing", &aside))
}
