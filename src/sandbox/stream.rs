//! Waits for a sandboxed command while its output flows, and ends it when it must.

use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::heard::Heard;
use super::{Error, Launch, Watch};

/// How often the deadline and the cancellation are looked at while no output comes.
const TICK: Duration = Duration::from_millis(50);

/// How a command ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// Killed by this signal, by its number.
    Signal(i32),
}

impl Exit {
    pub(super) fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            // The helper passes a signal death on as 128 + n, as a shell does.
            (Some(code), _) if code > 128 && code < 128 + 65 => Self::Signal(code - 128),
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }

    /// Whether the command says that all went well.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// As a shell would report it.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// How the run of a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exited(Exit),
    /// Killed at its deadline.
    TimedOut,
    /// Killed because somebody asked for it.
    Cancelled,
}

/// What a command wrote, and how it ended.
#[derive(Debug)]
pub struct Captured {
    pub ended: Ended,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

pub(super) fn run(
    mut launch: Launch,
    reader: PipeReader,
    watch: &Watch,
    sink: &mut dyn Write,
) -> Result<Ended, Error> {
    // A bounded channel: a reader that is slow slows the build, and memory stays bounded.
    let (sender, chunks) = sync_channel(16);
    thread::scope(|scope| {
        scope.spawn(move || pump(reader, &sender));
        let stopped = relay(&chunks, watch, &mut launch.heard, sink);
        if !matches!(stopped, Ok(None)) {
            launch.kill();
            // The pump ends when the last holder of the pipe has died.
            for _ in chunks {}
        }
        match stopped? {
            Some(ended) => Ok(ended),
            None => launch.wait().map(Ended::Exited),
        }
    })
}

fn pump(mut reader: PipeReader, sender: &std::sync::mpsc::SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Passes chunks on until the output ends; says why it stopped before that.
fn relay(
    chunks: &Receiver<Vec<u8>>,
    watch: &Watch,
    heard: &mut Heard,
    sink: &mut dyn Write,
) -> Result<Option<Ended>, Error> {
    loop {
        if watch.cancel.is_cancelled() {
            return Ok(Some(Ended::Cancelled));
        }
        if watch
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Ok(Some(Ended::TimedOut));
        }
        match chunks.recv_timeout(TICK) {
            Ok(chunk) => {
                heard.listen(&chunk);
                sink.write_all(&chunk)
                    .and_then(|()| sink.flush())
                    .map_err(Error::Output)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

pub(super) fn capture(
    launch: Launch,
    out: PipeReader,
    err: PipeReader,
    watch: &Watch,
    limit_bytes: usize,
) -> Result<Captured, Error> {
    thread::scope(|scope| {
        let stderr = scope.spawn(move || read_up_to(err, limit_bytes));
        let mut stdout = Limited {
            bytes: Vec::new(),
            limit_bytes,
        };
        let ended = run(launch, out, watch, &mut stdout)?;
        Ok(Captured {
            ended,
            stdout: stdout.bytes,
            stderr: stderr.join().unwrap_or_default(),
        })
    })
}

/// Reads to the end, keeping only the first `limit_bytes`, so that the writer never blocks.
fn read_up_to(mut reader: PipeReader, limit_bytes: usize) -> Vec<u8> {
    let mut kept = Limited {
        bytes: Vec::new(),
        limit_bytes,
    };
    // A read error ends the text early; the exit says what happened.
    let _ = io::copy(&mut reader, &mut kept);
    kept.bytes
}

/// Keeps the first bytes and lets the rest go.
struct Limited {
    bytes: Vec<u8>,
    limit_bytes: usize,
}

impl Write for Limited {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let room = self.limit_bytes.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&buf[..buf.len().min(room)]);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
