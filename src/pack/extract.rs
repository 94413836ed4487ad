//! A slug's files, written below an empty directory.
//!
//! Nothing outside of that directory is read or written, whoever made the slug: `entries` refuses
//! what would, files are only ever created, and symlinks are kept as they are and not followed.
//! Modes and times are set whatever the umask and the clock say; owners are the caller's.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::read::MultiGzDecoder;

use super::entries::{Entries, Item, ItemKind, Limits};
use super::{CHUNK_BYTES, Error};
use crate::slug::MTIME_SECONDS;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extracted {
    /// Files, directories that the slug names, and links.
    pub entries: u64,
    /// Of the files' content.
    pub bytes: u64,
}

/// Writes the files of a slug below `dest`, an empty directory: `./app/x` becomes `dest/x`.
///
/// Files are 0644 or 0755, directories 0755, hard links are links to the file they name, and files
/// and directories have the time that the slug says.
///
/// # Errors
/// The slug is broken, has an entry that no slug may have or exceeds the default [`Limits`]: whoever
/// made it is to blame. `dest` is not empty or cannot be written to. What was written stays.
pub fn extract(slug: impl Read, dest: &Path) -> Result<Extracted, Error> {
    extract_within(slug, dest, &Limits::default())
}

/// As [`extract`], with limits of the caller's.
///
/// # Errors
/// As those of [`extract`].
pub fn extract_within(slug: impl Read, dest: &Path, limits: &Limits) -> Result<Extracted, Error> {
    check_empty(dest)?;
    let mut entries = Entries::new(MultiGzDecoder::new(slug), limits);
    let mut target = Target {
        dest,
        directories: HashMap::from([(PathBuf::new(), MTIME_SECONDS)]),
        buffer: vec![0; CHUNK_BYTES],
        written: Extracted {
            entries: 0,
            bytes: 0,
        },
    };
    while let Some(item) = entries.next()? {
        target.write(&item, &mut entries)?;
    }
    target.finish()
}

/// Where a slug is written to.
struct Target<'a> {
    dest: &'a Path,
    /// The directories that were made, and the time each shall have once it is filled.
    directories: HashMap<PathBuf, u64>,
    buffer: Vec<u8>,
    written: Extracted,
}

impl Target<'_> {
    fn write<R: Read>(&mut self, item: &Item, entries: &mut Entries<R>) -> Result<(), Error> {
        let path = Path::new(OsStr::from_bytes(&item.path));
        let full = self.dest.join(path);
        let error = |source| Error::Extract {
            path: full.clone(),
            source,
        };
        if let Some(parent) = path.parent() {
            self.directory(parent, None)?;
        }
        match &item.kind {
            ItemKind::Directory => self.directory(path, Some(item.mtime_seconds))?,
            ItemKind::File { executable, .. } => {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&full)
                    .map_err(error)?;
                loop {
                    let n = entries.read(&mut self.buffer)?;
                    if n == 0 {
                        break;
                    }
                    file.write_all(&self.buffer[..n]).map_err(error)?;
                    self.written.bytes += n as u64;
                }
                let mode = if *executable { 0o755 } else { 0o644 };
                file.set_permissions(Permissions::from_mode(mode))
                    .map_err(error)?;
                set_time(&file, item.mtime_seconds).map_err(error)?;
            }
            ItemKind::Symlink { target } => {
                symlink(OsStr::from_bytes(target), &full).map_err(error)?;
            }
            ItemKind::HardLink { target, .. } => {
                fs::hard_link(self.dest.join(OsStr::from_bytes(target)), &full).map_err(error)?;
            }
        }
        if !item.path.is_empty() {
            self.written.entries += 1;
        }
        Ok(())
    }

    /// Makes a directory and its parents, as far as they are not made yet.
    fn directory(&mut self, path: &Path, mtime_seconds: Option<u64>) -> Result<(), Error> {
        if let Some(time) = self.directories.get_mut(path) {
            *time = mtime_seconds.unwrap_or(*time);
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directory(parent, None)?;
        }
        let full = self.dest.join(path);
        DirBuilder::new()
            .mode(0o755)
            .create(&full)
            .and_then(|()| fs::set_permissions(&full, Permissions::from_mode(0o755)))
            .map_err(|source| Error::Extract { path: full, source })?;
        let time = mtime_seconds.unwrap_or(MTIME_SECONDS);
        self.directories.insert(path.to_owned(), time);
        Ok(())
    }

    /// Sets the directories' times, now that nothing more is made in them.
    fn finish(self) -> Result<Extracted, Error> {
        for (path, mtime_seconds) in self.directories {
            let full = self.dest.join(path);
            File::open(&full)
                .and_then(|directory| set_time(&directory, mtime_seconds))
                .map_err(|source| Error::Extract { path: full, source })?;
        }
        Ok(self.written)
    }
}

fn check_empty(dest: &Path) -> Result<(), Error> {
    let error = |source| Error::NotEmpty {
        path: dest.to_owned(),
        source,
    };
    let mut entries = fs::read_dir(dest).map_err(|source| error(Some(source)))?;
    if entries.next().is_some() {
        return Err(error(None));
    }
    Ok(())
}

/// Sets the time of a file's last change. Languages compare it with what they keep beside their
/// compiled code, so a slug's files must have the time that the slug says.
fn set_time(file: &File, mtime_seconds: u64) -> io::Result<()> {
    // Nothing overflows at the end of 32 bits, the year 2106; later times are a slug's joke.
    let seconds = mtime_seconds.min(u32::MAX.into());
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    file.set_times(FileTimes::new().set_modified(time))
}
