//! Archives of runtimes: from their sources, against their digests, to a prefix on disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256, Sha512};

use super::recipe::Source;
use super::{Error, Hands, Mirror, io_error};
use crate::digest::hex;

/// Most bytes that an archive of a runtime may unpack to.
const UNPACKED_BYTES: u64 = 4 << 30;
const TICK: Duration = Duration::from_millis(20);

impl Source {
    /// What a source is called where people read of it.
    pub fn shown(&self) -> String {
        match self {
            Self::Url { url, .. } => {
                let file = url.rsplit('/').next().unwrap_or(url);
                let file = percent_decode_str(file).decode_utf8_lossy();
                format!("{file} of {}", host_of(url))
            }
            Self::Npm { npm, .. } => format!("npm's {npm}"),
        }
    }

    /// What cannot be reached where one of its sources cannot: a host, or a package manager.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Url { url, .. } => host_of(url).to_owned(),
            Self::Npm { .. } => "npm".to_owned(),
        }
    }
}

/// The host of an address.
pub fn host_of(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    after.split('/').next().unwrap_or(after)
}

/// Fetches a source into the empty directory `work` and gives the prefix.
///
/// # Errors
/// [`Error::Unreachable`] where there is none to be had, [`Error::Digest`] where it is another one,
/// [`Error::Archive`] where it cannot be unpacked.
pub fn obtain(
    source: &Source,
    work: &Path,
    mirrors: &[Mirror],
    hands: &Hands<'_>,
) -> Result<PathBuf, Error> {
    let archive = match source {
        Source::Url { url, .. } => {
            let archive = work.join("archive");
            let from = mirrors.iter().find_map(|mirror| mirror.rewritten(url));
            let from = from.as_deref().unwrap_or(url);
            match from.strip_prefix("file://") {
                Some(path) => copy(source, Path::new(path), &archive)?,
                None => (hands.fetch)(from, &archive).map_err(|failed| Error::Unreachable {
                    what: source.shown(),
                    reason: failed.reason,
                    answered: failed.answered,
                })?,
            }
            archive
        }
        Source::Npm { npm, .. } => pack(npm, work, hands.stop)?,
    };
    verify(source, &archive)?;
    let unpacked = work.join("unpacked");
    fs::create_dir(&unpacked).map_err(io_error(&unpacked))?;
    unpack(source, &archive, &unpacked)?;
    fs::remove_file(&archive).map_err(io_error(&archive))?;
    only_directory(source, &unpacked)
}

fn copy(source: &Source, from: &Path, to: &Path) -> Result<(), Error> {
    let unreachable = |error: io::Error| Error::Unreachable {
        what: source.shown(),
        reason: format!("{}: {error}", from.display()),
        // A mirror has what it has.
        answered: true,
    };
    let mut file = File::open(from).map_err(unreachable)?;
    let mut copy = File::create_new(to).map_err(io_error(to))?;
    io::copy(&mut file, &mut copy).map_err(io_error(to))?;
    Ok(())
}

/// Has npm fetch a package as it was published; nothing of it is run.
fn pack(package: &str, work: &Path, stop: &AtomicBool) -> Result<PathBuf, Error> {
    let unreachable = |reason: String, answered| Error::Unreachable {
        what: format!("npm's {package}"),
        reason,
        answered,
    };
    let packed = work.join("packed");
    fs::create_dir(&packed).map_err(io_error(&packed))?;
    let (log, out) = (work.join("log"), work.join("out"));
    let errors = File::create_new(&log).map_err(io_error(&log))?;
    let output = File::create_new(&out).map_err(io_error(&out))?;
    let mut command = Command::new("npm");
    command
        .args(["pack", "--ignore-scripts", "--loglevel=error", "--json"])
        .arg("--pack-destination")
        .arg(&packed)
        .arg("--cache")
        .arg(work.join("npm"))
        .arg("--")
        .arg(package)
        .current_dir(work)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    let mut child = command.spawn().map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "npm is not installed on this machine".to_owned(),
            _ => error.to_string(),
        };
        unreachable(reason, false)
    })?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if !stop.load(Ordering::SeqCst) => std::thread::sleep(TICK),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::Cancelled);
            }
        }
    };
    if !status.success() {
        let said = fs::read(&log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let first = said.lines().find(|line| !line.trim().is_empty());
        let answered = said.contains("E404") || said.contains("ETARGET");
        let first = first.unwrap_or("npm failed").to_owned();
        return Err(unreachable(first, answered));
    }
    let mut files = fs::read_dir(&packed).map_err(io_error(&packed))?;
    match files.next() {
        Some(Ok(entry)) => Ok(entry.path()),
        _ => Err(unreachable("npm has packed nothing".to_owned(), true)),
    }
}

/// Compares an archive with its source's digest.
fn verify(source: &Source, archive: &Path) -> Result<(), Error> {
    let wrong = |expected: &str, got: String| Error::Digest {
        what: source.shown(),
        expected: expected.to_owned(),
        got,
    };
    match source {
        Source::Url { sha256, .. } => {
            let got = hex(&digested::<Sha256>(archive)?);
            if got == *sha256 {
                Ok(())
            } else {
                Err(wrong(sha256, got))
            }
        }
        Source::Npm { integrity, .. } => {
            let got = format!("sha512-{}", STANDARD.encode(digested::<Sha512>(archive)?));
            // Several may stand there.
            if integrity.split_whitespace().any(|one| one == got) {
                Ok(())
            } else {
                Err(wrong(integrity, got))
            }
        }
    }
}

fn digested<D: Digest>(path: &Path) -> Result<Vec<u8>, Error> {
    let mut file = File::open(path).map_err(io_error(path))?;
    let mut hash = D::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = file.read(&mut buffer).map_err(io_error(path))?;
        if n == 0 {
            return Ok(hash.finalize().to_vec());
        }
        hash.update(&buffer[..n]);
    }
}

/// Unpacks a gzipped tar; what would lie outside of `dest`, `tar` leaves out.
fn unpack(source: &Source, archive: &Path, dest: &Path) -> Result<(), Error> {
    let wrong = |reason: String| Error::Archive {
        what: source.shown(),
        reason,
    };
    let file = File::open(archive).map_err(io_error(archive))?;
    let bytes = MultiGzDecoder::new(io::BufReader::new(file)).take(UNPACKED_BYTES);
    let mut tar = tar::Archive::new(bytes);
    tar.set_preserve_mtime(false);
    tar.set_preserve_permissions(false);
    for entry in tar.entries().map_err(|error| wrong(error.to_string()))? {
        let mut entry = entry.map_err(|error| wrong(error.to_string()))?;
        let unpacked = entry.unpack_in(dest);
        unpacked.map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}

fn only_directory(source: &Source, dir: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(dir).map_err(io_error(dir))?;
    let mut dirs = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error(dir))?;
        if entry.file_type().map_err(io_error(dir))?.is_dir() {
            dirs.push(entry.path());
        }
    }
    match (dirs.pop(), dirs.is_empty()) {
        (Some(dir), true) => Ok(dir),
        _ => Err(Error::Archive {
            what: source.shown(),
            reason: "it has not one directory at its top".to_owned(),
        }),
    }
}
