//! Build logs: one file a build, read while it is still written.
//!
//! A [`LogWriter`] also feeds whoever triggered the build; readers follow the file until the
//! writer is gone.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Most bytes that are kept of one build's log.
pub const LIMIT_BYTES: u64 = 64 << 20;

/// The logs of all builds. Clones share it.
#[derive(Debug, Clone)]
pub struct Logs {
    dir: PathBuf,
    live: Arc<Mutex<HashMap<String, Arc<Live>>>>,
}

/// How far a log that is being written has come.
#[derive(Debug, Default)]
struct Live {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: u64,
    ended: bool,
}

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
        Ok(LogReader {
            file,
            live,
            read_bytes: 0,
        })
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
            self.live
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .bytes += buf.len() as u64;
            self.live.grown.notify_all();
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
        self.live
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ended = true;
        self.live.grown.notify_all();
        self.logs
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.build);
    }
}

/// Reads a build's log; blocks while the build goes on and nothing new is there.
pub struct LogReader {
    file: File,
    live: Option<Arc<Live>>,
    read_bytes: u64,
}

impl Read for LogReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.file.read(buf)?;
            self.read_bytes += n as u64;
            if n > 0 {
                return Ok(n);
            }
            let Some(live) = &self.live else { return Ok(0) };
            let mut state = live.state.lock().unwrap_or_else(PoisonError::into_inner);
            while !state.ended && state.bytes <= self.read_bytes {
                state = live
                    .grown
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.ended {
                drop(state);
                // What was written between the last read and the end.
                self.live = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_follows_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().to_owned());
        let build = "one";
        let mut heard = Vec::new();
        let mut writer = logs.start(build, &mut heard).unwrap();
        writer.write_all(b"one\n").unwrap();
        let mut reader = logs.read(build).unwrap();
        let follower = thread::spawn(move || io::read_to_string(&mut reader).unwrap());
        writer.write_all(b"two\n").unwrap();
        drop(writer);
        assert_eq!(follower.join().unwrap(), "one\ntwo\n");
        assert_eq!(heard, b"one\ntwo\n");
        assert_eq!(
            io::read_to_string(logs.read(build).unwrap()).unwrap(),
            "one\ntwo\n"
        );
        assert!(logs.read("b1").is_err());
    }
}
