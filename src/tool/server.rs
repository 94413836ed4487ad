//! The server's side, for one build.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Answer, ChunksReader, LINE_LIMIT_BYTES, Request, SOCKET, VERSION, Versioned};

/// Connections of one build that are served at once; more wait.
const CONNECTIONS: usize = 8;
/// How often the end is looked for.
const TICK: Duration = Duration::from_millis(100);
/// How long a client may say nothing in the middle of something.
const IDLE: Duration = Duration::from_secs(60);

/// Carries a request out; the reader gives what the request carries, and fails once the build has
/// ended.
pub type Handler = dyn Fn(Request, &mut dyn Read) -> Answer + Send + Sync;

/// Serves until it is dropped; then no handler is at work any more.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at [`SOCKET`] in `dir`, for every user who can reach it.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(dir: &Path, handler: Arc<Handler>) -> io::Result<Self> {
        // A socket's whole path has some hundred bytes at most; this way the directory does not count.
        let held = File::open(dir)?;
        let path = format!("/proc/self/fd/{}/{SOCKET}", held.as_raw_fd());
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(dir.join(SOCKET), Permissions::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("buildpack-tool".to_owned())
            .spawn(move || accept(&listener, &stopped, &handler))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn accept(listener: &UnixListener, stop: &Arc<AtomicBool>, handler: &Arc<Handler>) {
    let under_way = AtomicUsize::new(0);
    thread::scope(|scope| {
        while !stop.load(Ordering::SeqCst) {
            if under_way.load(Ordering::SeqCst) >= CONNECTIONS {
                thread::sleep(TICK);
                continue;
            }
            let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            let tick = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
            if poll(&mut polled, tick).is_err() {
                continue;
            }
            let Ok((stream, _)) = listener.accept() else {
                continue;
            };
            under_way.fetch_add(1, Ordering::SeqCst);
            let count = &under_way;
            scope.spawn(move || {
                // A client that leaves has its own end.
                if let Err(error) = serve(&stream, stop, handler.as_ref()) {
                    tracing::debug!(%error, "a build's request was cut short");
                }
                count.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
}

fn serve(stream: &UnixStream, stop: &AtomicBool, handler: &Handler) -> io::Result<()> {
    let mut writer = stream;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(IDLE))?;
    let patient = Patient { stream, stop };
    let mut reader = BufReader::new(patient);
    let mut line = Vec::new();
    (&mut reader)
        .take(LINE_LIMIT_BYTES)
        .read_until(b'\n', &mut line)?;
    let answer = match read(&line) {
        Ok(request) => handler(request, &mut ChunksReader::new(reader)),
        Err(message) => Answer::Refused { message },
    };
    let answer = Versioned {
        version: VERSION,
        body: answer,
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    writer.write_all(&line)
}

fn read(line: &[u8]) -> Result<Request, String> {
    if line.last() != Some(&b'\n') {
        return Err(format!(
            "a request is a line of at most {LINE_LIMIT_BYTES} bytes"
        ));
    }
    let invalid = |error: serde_json::Error| format!("this is no request: {error}");
    let value: serde_json::Value = serde_json::from_slice(line).map_err(invalid)?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if version != Some(VERSION.into()) {
        return Err(format!(
            "the server speaks version {VERSION} of the protocol"
        ));
    }
    serde_json::from_value::<Versioned<Request>>(value)
        .map(|request| request.body)
        .map_err(invalid)
}

/// Reads from a client for as long as the build lasts and the client says something.
struct Patient<'a> {
    stream: &'a UnixStream,
    stop: &'a AtomicBool,
}

impl Read for Patient<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let since = Instant::now();
        loop {
            if self.stop.load(Ordering::SeqCst) {
                return Err(io::Error::other("the build has ended"));
            }
            match self.stream.read(buf) {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && since.elapsed() < IDLE => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::{Error, call};

    /// Answers with what it was sent.
    fn echo() -> Arc<Handler> {
        Arc::new(|request, body| match request {
            Request::CacheRestore { key, .. } => Answer::Found {
                path: key.to_string(),
            },
            Request::RuntimeList { .. }
            | Request::RuntimeGet { .. }
            | Request::HandedFind { .. }
            | Request::HandOver { .. } => Answer::Missing,
            Request::CacheSave { .. } => {
                let mut text = Vec::new();
                match body.read_to_end(&mut text) {
                    Ok(n) => Answer::Refused {
                        message: n.to_string(),
                    },
                    Err(error) => Answer::Refused {
                        message: error.to_string(),
                    },
                }
            }
        })
    }

    fn restore() -> Request {
        Request::CacheRestore {
            key: "a".parse().unwrap(),
            over: None,
        }
    }

    /// Sends bytes and gives all that comes back.
    fn raw(socket: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(socket).unwrap();
        // It may be refused before it is read.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn requests_are_answered_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(SOCKET);
        assert!(matches!(
            call(&socket, restore(), None),
            Err(Error::NoServer { .. })
        ));
        let server = Server::start(dir.path(), echo()).unwrap();
        let answer = call(&socket, restore(), None).unwrap();
        assert_eq!(answer, Answer::Found { path: "a".into() });
        let save = Request::CacheSave {
            later: false,
            key: "a".parse().unwrap(),
        };
        let send = |to: &mut dyn Write| to.write_all(&vec![7; 300_000]);
        let answer = call(&socket, save, Some(&send)).unwrap();
        assert_eq!(
            answer,
            Answer::Refused {
                message: "300000".into()
            }
        );
        drop(server);
        assert!(call(&socket, restore(), None).is_err());
    }

    #[test]
    fn hostile_clients_are_refused_and_the_next_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(SOCKET);
        let _server = Server::start(dir.path(), echo()).unwrap();
        let long = format!(
            "{{\"version\":1,\"command\":\"{}\"}}\n",
            "x".repeat(1 << 20)
        );
        for bytes in [
            &b"\n"[..],
            b"{}\n",
            b"\xff\xfe\n",
            b"{\"version\":2,\"command\":\"cache-restore\",\"key\":\"a\"}\n",
            b"{\"version\":1,\"command\":\"cache-restore\",\"key\":\"../a b\"}\n",
            b"{\"version\":1,\"command\":\"shutdown\"}\n",
            b"{\"version\":1,\"command\":\"cache-restore\",\"key\":\"a\"}",
            long.as_bytes(),
        ] {
            let said = raw(&socket, bytes);
            assert!(said.contains("refused") || bytes.len() > 1 << 19, "{said}");
        }
        // A stream that is cut is no whole one.
        let cut = b"{\"version\":1,\"command\":\"cache-save\",\"key\":\"a\"}\n\0\0\0\x04ab";
        assert!(raw(&socket, cut).contains("refused"));
        // Many that say nothing do not keep others out for ever: they leave, and their places are free.
        let silent = (0..CONNECTIONS).map(|_| UnixStream::connect(&socket).unwrap());
        drop(silent.collect::<Vec<_>>());
        assert!(call(&socket, restore(), None).is_ok());
    }

    #[test]
    fn an_end_does_not_wait_for_clients() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), echo()).unwrap();
        let socket = dir.path().join(SOCKET);
        let mut open = UnixStream::connect(&socket).unwrap();
        open.write_all(b"{\"version\":1,\"command\":\"cache-save\",\"key\":\"a\"}\n")
            .unwrap();
        drop(server);
        let mut text = String::new();
        let _ = open.read_to_string(&mut text);
        assert!(text.is_empty() || text.contains("refused"), "{text}");
    }
}
