//! A one-off dyno of an app's server, attached to this terminal or to these pipes.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use bytes::{Bytes, BytesMut};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::terminal::{self, Raw};
use super::{Args, RunError, quote};
use crate::attach::{Frame, PROTOCOL, WINDOW_BYTES};
use crate::cli::build::read_config;
use crate::cli::client::{Client, ClientError};
use crate::cli::environment::{self, Environment};
use crate::cli::print::{Step, print};
use crate::cli::server_url::ServerUrl;
use crate::http::tls;

/// Largest head of the answer to an upgrade.
const HEAD_BYTES: usize = 16 << 10;

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let line = match (&args.first, &args.second) {
        _ if !args.command.is_empty() => quote(&args.command),
        (Some(first), None) => first.clone(),
        (Some(first), Some(second)) => quote(&[first.clone(), second.clone()]),
        (None, _) => return Err(RunError::NoCommand.into()),
    };
    let environment = Environment::read();
    let client = Client::new(&environment)?;
    let app = args.app.choose(&environment, client.server())?;
    let config = read_config(&args.env, args.env_file.as_deref())?;
    let mut env = config
        .iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect::<serde_json::Map<_, _>>();
    let has_terminal = terminal::is_there() && !args.no_tty && !args.detached;
    if has_terminal {
        let (columns, lines) = terminal::size().unwrap_or((80, 24));
        let of_terminal = [
            ("TERM", environment::term().map(Value::from)),
            ("COLUMNS", Some(columns.to_string().into())),
            ("LINES", Some(lines.to_string().into())),
        ];
        for (name, value) in of_terminal {
            if let Some(value) = value {
                env.entry(name).or_insert(value);
            }
        }
    }
    let body = json!({
        "command": line,
        "attach": !args.detached,
        "env": env,
        "force_no_tty": !has_terminal,
        "size": args.size,
    });
    let path = format!("/apps/{app}/dynos");
    if args.detached {
        let step = Step::begin(&format!("Running {line} on {app}"));
        let dyno = client.post(&path, &body)?;
        step.done();
        print(format!("{}\n", text(&dyno, "name")?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let dyno = client.post(&path, &body)?;
    let secret = text(&dyno, "attach_url")?.rsplit('/').next();
    let secret = secret.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let code = runtime.block_on(attach(client.server(), secret, has_terminal))?;
    // A thread that waits for keys need not hold the exit up.
    runtime.shutdown_background();
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn text<'a>(dyno: &'a Value, field: &str) -> Result<&'a str> {
    let text = dyno[field].as_str();
    text.with_context(|| format!("the answer names no {field}"))
}

/// Attaches this process to a dyno; gives its exit code.
async fn attach(server: &ServerUrl, secret: &str, has_terminal: bool) -> Result<i32> {
    let (is_tls, host, port) = server.address();
    let unreachable = |source| ClientError::Connect {
        url: server.to_string(),
        source,
    };
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(unreachable)?;
    // A key is a packet.
    stream.set_nodelay(true).map_err(unreachable)?;
    if !is_tls {
        return converse(stream, server, secret, has_terminal).await;
    }
    let mut config = tls::client_config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned()).context("reading the server's name")?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(unreachable)?;
    converse(stream, server, secret, has_terminal).await
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    server: &ServerUrl,
    secret: &str,
    has_terminal: bool,
) -> Result<i32> {
    let lost = |source| ClientError::Interrupted {
        url: server.to_string(),
        source,
    };
    let (_, host, port) = server.address();
    let path = server.path_of(&format!("/attach/{secret}"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut received = BytesMut::new();
    let head = loop {
        if let Some(end) = received.windows(4).position(|end| end == b"\r\n\r\n") {
            break received.split_to(end + 4);
        }
        let count = stream.read_buf(&mut received).await.map_err(lost)?;
        if count == 0 || received.len() > HEAD_BYTES {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()).into());
        }
    };
    if !head.starts_with(b"HTTP/1.1 101 ") {
        let head = String::from_utf8_lossy(&head);
        let first = head.lines().next().unwrap_or_default();
        return Err(anyhow!(
            "the server does not attach this client, but answers {first:?}; a proxy before it must pass upgrades on"
        ));
    }
    let raw = has_terminal.then(Raw::begin).transpose();
    let raw = raw.context("preparing the terminal")?;
    let code = pass(stream, received, has_terminal, &lost).await;
    drop(raw);
    code
}

/// Passes frames on both ways until the dyno has ended.
async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    mut received: BytesMut,
    has_terminal: bool,
    lost: &impl Fn(io::Error) -> ClientError,
) -> Result<i32> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut keys = keys();
    let mut signals = Signals::new()?;
    let (mut taken, mut sent, mut has_keys) = (0_usize, 0_usize, true);
    loop {
        while let Some(frame) = Frame::decode(&mut received)? {
            match frame {
                Frame::Output(bytes) => print(&bytes)?,
                Frame::Error(bytes) => {
                    // Nobody need read them.
                    let _ = io::stderr().write_all(&bytes);
                }
                Frame::Taken(count) => taken += usize::try_from(count)?,
                Frame::Exit(code) => return Ok(code),
                _ => {}
            }
        }
        let has_room = has_keys && sent - taken.min(sent) < WINDOW_BYTES - PIECE_BYTES;
        let frame = tokio::select! {
            read = reader.read_buf(&mut received) => {
                if read.map_err(lost)? == 0 {
                    return Err(lost(io::ErrorKind::UnexpectedEof.into()).into());
                }
                continue;
            }
            key = keys.recv(), if has_room => if let Some(bytes) = key {
                sent += bytes.len();
                Frame::Input(bytes)
            } else {
                has_keys = false;
                Frame::EndOfInput
            },
            number = signals.next() => match (number, terminal::size()) {
                (WINDOW_CHANGE, Some((columns, lines))) if has_terminal => Frame::Resize(columns, lines),
                (WINDOW_CHANGE, _) => continue,
                (number, _) => Frame::Signal(number),
            },
        };
        writer.write_all(&frame.encode()).await.map_err(lost)?;
        writer.flush().await.map_err(lost)?;
    }
}

/// Most bytes of one piece of input.
const PIECE_BYTES: usize = 16 << 10;

/// What comes in, read on a thread of its own, since a terminal cannot be waited for otherwise.
fn keys() -> mpsc::Receiver<Bytes> {
    let (sender, keys) = mpsc::channel(1);
    thread::spawn(move || {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match io::stdin().lock().read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count @ 1..) => {
                    let piece = Bytes::copy_from_slice(&buffer[..count]);
                    if sender.blocking_send(piece).is_err() {
                        return;
                    }
                }
                Ok(0) | Err(_) => return,
            }
        }
    });
    keys
}

/// A signal's number, as far as it is told here; the kernel has the same.
const WINDOW_CHANGE: u8 = 28;

/// The signals that are passed on.
struct Signals(Vec<(u8, tokio::signal::unix::Signal)>);

impl Signals {
    fn new() -> Result<Self> {
        let kinds = [
            (1, SignalKind::hangup()),
            (2, SignalKind::interrupt()),
            (3, SignalKind::quit()),
            (15, SignalKind::terminate()),
            (WINDOW_CHANGE, SignalKind::window_change()),
        ];
        let heard = kinds.map(|(number, kind)| Ok((number, signal(kind)?)));
        let heard = heard.into_iter().collect::<io::Result<Vec<_>>>();
        Ok(Self(heard.context("waiting for signals")?))
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        std::future::poll_fn(|cx| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
