//! A git server that takes whatever is pushed and forgets it: what is left of a push's time is
//! the client's own.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

/// Advertised for `main` while nothing was pushed.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

pub struct Stub(SocketAddr);

impl Stub {
    /// Listens, in a thread that ends with the process.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("starting the stub")?;
        let address = listener.local_addr().context("starting the stub")?;
        thread::spawn(move || {
            // What `main` is, by the path of the repository.
            let mut refs = HashMap::new();
            for connection in listener.incoming().flatten() {
                // A client that goes away has what it wanted.
                let _ = serve(&connection, &mut refs);
            }
        });
        Ok(Self(address))
    }

    pub fn url(&self, app: &str) -> String {
        format!("http://{}/{app}.git", self.0)
    }
}

/// Answers the requests of one connection, one after the other.
fn serve(connection: &TcpStream, refs: &mut HashMap<String, String>) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    let mut writer = connection;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut body_bytes = 0;
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line)?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                body_bytes = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; body_bytes];
        reader.read_exact(&mut body)?;
        let (kind, answer) = if let Some((repository, _)) = path.split_once("/info/refs") {
            ("advertisement", advertisement(refs.get(repository)))
        } else {
            let repository = path.trim_end_matches("/git-receive-pack").to_owned();
            // Length, old id, blank, new id: the start of the first command.
            let new = body.get(45..85).unwrap_or_default();
            refs.insert(repository, String::from_utf8_lossy(new).into_owned());
            let report = packet("unpack ok\n") + &packet("ok refs/heads/main\n") + "0000";
            ("result", report)
        };
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-receive-pack-{kind}\r\n\
             Content-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        // In one piece: of several small ones, each would wait for the one before.
        writer.write_all(response.as_bytes())?;
    }
}

fn advertisement(main: Option<&String>) -> String {
    let capabilities = "report-status ofs-delta agent=stub";
    let line = match main {
        Some(id) => format!("{id} refs/heads/main\0{capabilities}\n"),
        None => format!("{NO_COMMIT} capabilities^{{}}\0{capabilities}\n"),
    };
    packet("# service=git-receive-pack\n") + "0000" + &packet(&line) + "0000"
}

/// A line with its length before it.
fn packet(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}
