//! A package registry of documents on this machine, and packages to put into it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::site::Ran;

/// Where registries listen: on this machine, but no build takes it for its own loopback, which it is
/// told to reach without the proxy.
const HOST: &str = "127.0.0.2:0";

type Documents = BTreeMap<String, Vec<u8>>;

/// Serves documents to those who have the secret, if there is one; ends with the test's process.
pub struct Registry {
    pub address: String,
    documents: Arc<Mutex<Documents>>,
}

impl Registry {
    /// `documents` makes them, by path, of the address; `authorization` is the header to be sent.
    pub fn start(
        authorization: Option<&'static str>,
        documents: impl FnOnce(&str) -> Documents,
    ) -> Self {
        let listener = TcpListener::bind(HOST).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let documents = Arc::new(Mutex::new(documents(&address)));
        let served = documents.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let documents = served.clone();
                thread::spawn(move || {
                    // A client may leave in the middle.
                    let _ = answer(connection.unwrap(), authorization, &documents);
                });
            }
        });
        Self { address, documents }
    }

    /// Serves this from now on.
    pub fn put(&self, path: impl Into<String>, document: impl Into<Vec<u8>>) {
        let mut documents = self.documents.lock().unwrap();
        documents.insert(path.into(), document.into());
    }

    /// Serves it no more.
    pub fn remove(&self, path: &str) {
        self.documents.lock().unwrap().remove(path).unwrap();
    }
}

fn answer(
    stream: TcpStream,
    authorization: Option<&str>,
    documents: &Mutex<Documents>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let path = lines
        .first()
        .and_then(|line| line.split(' ').nth(1))
        .unwrap_or_default();
    let allowed = authorization.is_none_or(|secret| {
        lines.iter().any(|line| {
            let header = line.split_once(": ");
            header.is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("authorization") && value == secret
            })
        })
    });
    let document = documents.lock().unwrap().get(path).cloned();
    let document = document.filter(|_| allowed);
    let status = match (&document, allowed) {
        (Some(_), _) => "200 OK",
        (None, true) => "404 Not Found",
        (None, false) => "401 Unauthorized",
    };
    let body = document.unwrap_or_default();
    let kind = if path.ends_with('/') {
        "text/html"
    } else if body.starts_with(b"{") {
        "application/json"
    } else {
        "application/octet-stream"
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}

/// Runs a program that has to succeed.
pub fn run(dir: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .current_dir(dir)
        .args(arguments)
        .output();
    Ran::new(output.unwrap()).success();
}

/// A wheel of one module, made in `work`: its file name and its bytes.
pub fn wheel(
    work: &Path,
    name: &str,
    version: &str,
    text: &str,
    needs: &[&str],
) -> (String, Vec<u8>) {
    const SCRIPT: &str = "
import base64, hashlib, sys, zipfile
file, module, name, version, text, *needs = sys.argv[1:]
info = f'{module}-{version}.dist-info'
metadata = f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n'
parts = {
    f'{module}.py': text,
    f'{info}/METADATA': metadata + ''.join(f'Requires-Dist: {need}\\n' for need in needs),
    f'{info}/WHEEL': 'Wheel-Version: 1.0\\nGenerator: own\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n',
}
digest = lambda part: base64.urlsafe_b64encode(hashlib.sha256(part.encode()).digest()).rstrip(b'=').decode()
lines = [f'{path},sha256={digest(part)},{len(part)}\\n' for path, part in parts.items()]
parts[f'{info}/RECORD'] = ''.join([*lines, f'{info}/RECORD,,\\n'])
with zipfile.ZipFile(file, 'w') as wheel:
    for path, part in parts.items():
        wheel.writestr(path, part)
";
    let module = name.replace('-', "_");
    let file = format!("{module}-{version}-py3-none-any.whl");
    let arguments = [&["-c", SCRIPT, &file, &module, name, version, text], needs].concat();
    run(work, "/usr/bin/python3", &arguments);
    let bytes = fs::read(work.join(&file)).unwrap();
    (file, bytes)
}
