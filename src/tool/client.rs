//! The client's side: one request, one answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{ANSWER_LIMIT_BYTES, Answer, Chunks, Error, Request, VERSION, Versioned};

/// Writes what a request carries.
pub type Files<'a> = dyn Fn(&mut dyn Write) -> io::Result<()> + 'a;

/// Asks the server behind `socket`; `files` writes those of a request that carries some.
///
/// # Errors
/// [`Error::NoServer`] outside of a build; otherwise the server has gone or said nothing that can
/// be understood.
pub fn call(socket: &Path, request: Request, files: Option<&Files>) -> Result<Answer, Error> {
    let mut stream = UnixStream::connect(socket).map_err(|source| Error::NoServer {
        socket: socket.display().to_string(),
        source,
    })?;
    let request = Versioned {
        version: VERSION,
        body: request,
    };
    let mut line = serde_json::to_vec(&request).map_err(|error| Error::Io(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(Error::Io)?;
    let done = files.map_or(Ok(()), |write| {
        let mut chunks = Chunks::new(&stream);
        write(&mut chunks)?;
        chunks.finish()
    });
    match done {
        // A server that refuses does not read to the end; it says why.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(Error::Files(error)),
        _ => {}
    }
    let mut line = String::new();
    let mut reader = BufReader::new(&stream).take(ANSWER_LIMIT_BYTES);
    reader.read_line(&mut line).map_err(Error::Io)?;
    let answer: Versioned<Answer> = serde_json::from_str(&line).map_err(|error| Error::Answer {
        reason: error.to_string(),
    })?;
    Ok(answer.body)
}
