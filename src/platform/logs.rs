//! Logs of builds and of release commands: one file each, read while it is still written.
//!
//! A [`LogWriter`] also feeds whoever triggered the build; readers follow the file until the
//! writer is gone.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes that are kept of one build's log.
pub const LIMIT_BYTES: u64 = 64 << 20;

/// The logs of all builds. Clones share it.
#[derive(Debug, Clone)]
pub struct Logs {
    dir: PathBuf,
    live: Arc<Mutex<HashMap<String, Arc<Live>>>>,
}

/// Whether a log that was being written has ended.
type Live = AtomicBool;

impl Logs {
    /// The logs in a directory.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            live: Arc::default(),
        }
    }

    /// Starts the log of a build; what is written to it goes to `listener` as well.
    ///
    /// # Errors
    /// The file could not be made.
    pub fn start<'a>(&self, build: &str, listener: &'a mut dyn Write) -> io::Result<LogWriter<'a>> {
        let path = self.path(build);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let live = Arc::<Live>::default();
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(build.to_owned(), live.clone());
        Ok(LogWriter {
            build: build.to_owned(),
            logs: self.clone(),
            file,
            live,
            written_bytes: 0,
            listener,
        })
    }

    /// Reads a build's log from its beginning, following it while it is written.
    ///
    /// # Errors
    /// No such log.
    pub fn read(&self, build: &str) -> io::Result<LogReader> {
        let live = self
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(build)
            .cloned();
        let file = File::open(self.path(build))?;
        Ok(LogReader { file, live })
    }

    /// Whether there is a log of this id.
    pub fn has(&self, build: &str) -> bool {
        self.path(build).is_file()
    }

    /// Removes the log of a build.
    pub fn remove(&self, build: &str) {
        // A log that is gone already is what was wanted.
        let _ = std::fs::remove_file(self.path(build));
    }

    fn path(&self, build: &str) -> PathBuf {
        self.dir.join(format!("{build}.log"))
    }

    /// Where the logs lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Writes a build's log.
pub struct LogWriter<'a> {
    build: String,
    logs: Logs,
    file: File,
    live: Arc<Live>,
    written_bytes: u64,
    listener: &'a mut dyn Write,
}

impl Write for LogWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.written_bytes < LIMIT_BYTES {
            self.file.write_all(buf)?;
            self.written_bytes += buf.len() as u64;
            if self.written_bytes >= LIMIT_BYTES {
                writeln!(
                    self.file,
                    "\n !     The log is longer than {} MiB; the rest is not kept.",
                    LIMIT_BYTES >> 20
                )?;
            }
        }
        self.listener.write_all(buf)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.listener.flush()
    }
}

impl Drop for LogWriter<'_> {
    fn drop(&mut self) {
        self.live.store(true, Ordering::SeqCst);
        self.logs
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.build);
    }
}

/// Reads a build's log; it never waits for the build.
pub struct LogReader {
    file: File,
    /// Of a build that was going on at the last look.
    live: Option<Arc<Live>>,
}

/// What there is to read.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    /// The build goes on: later there is more.
    NotYet,
    End,
}

impl LogReader {
    /// The next piece.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn piece(&mut self) -> io::Result<Piece> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = self.file.read(&mut buffer)?;
            if n > 0 {
                buffer.truncate(n);
                return Ok(Piece::Bytes(buffer));
            }
            match &self.live {
                None => return Ok(Piece::End),
                Some(ended) if !ended.load(Ordering::SeqCst) => return Ok(Piece::NotYet),
                // What was written between the last read and the end.
                Some(_) => self.live = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// All pieces; a build that goes on is looked at again.
    fn read_to_end(mut reader: LogReader) -> String {
        let mut bytes = Vec::new();
        loop {
            match reader.piece().unwrap() {
                Piece::Bytes(piece) => bytes.extend(piece),
                Piece::NotYet => thread::yield_now(),
                Piece::End => return String::from_utf8(bytes).unwrap(),
            }
        }
    }

    #[test]
    fn a_reader_follows_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().to_owned());
        let build = "one";
        let mut heard = Vec::new();
        let mut writer = logs.start(build, &mut heard).unwrap();
        writer.write_all(b"one\n").unwrap();
        let mut reader = logs.read(build).unwrap();
        assert_eq!(reader.piece().unwrap(), Piece::Bytes(b"one\n".to_vec()));
        assert_eq!(reader.piece().unwrap(), Piece::NotYet);
        let whole = logs.read(build).unwrap();
        let follower = thread::spawn(move || read_to_end(whole));
        writer.write_all(b"two\n").unwrap();
        drop(writer);
        assert_eq!(follower.join().unwrap(), "one\ntwo\n");
        assert_eq!(read_to_end(reader), "two\n");
        assert_eq!(heard, b"one\ntwo\n");
        assert_eq!(read_to_end(logs.read(build).unwrap()), "one\ntwo\n");
        assert!(logs.read("b1").is_err());
    }
}
