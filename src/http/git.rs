//! git's smart HTTP: pushes in-process, clones and fetches by the host's `git upload-pack`.
//!
//! Source: gitprotocol-http(5), "Smart Service git-receive-pack" and "git-upload-pack".

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use flate2::bufread::GzDecoder;
use hyper::body::Incoming;
use hyper::header::CONTENT_ENCODING;
use hyper::{Method, Request, StatusCode};
use tokio::task::spawn_blocking;

use super::bridge::{BodyReader, BodyWriter, channel};
use super::reply::{Reply, bytes, failed_text, stream, text, unauthorized};
use super::{Server, auth};
use crate::app::AppName;
use crate::platform::ledger::{App, Token};
use crate::platform::push::Push;
use crate::receive::{self, KEEP_ALIVE, SideBand};
use crate::sandbox::Cancel;

/// Most bytes of a fetch's request, unpacked: it lists object ids.
const FETCH_REQUEST_LIMIT_BYTES: u64 = 64 << 20;

/// The `PATH` of `git upload-pack`, which starts `git pack-objects`.
const GIT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Answers a request below `/NAME.git/`.
pub(super) async fn answer(
    server: &Arc<Server>,
    name: &str,
    rest: &str,
    request: Request<Incoming>,
) -> Reply {
    let token = match auth::token(server, &request).await {
        Ok(Some(token)) => token,
        // The probe of a large push carries no credentials and must be read whole, too.
        Ok(None) => {
            drain(request).await;
            return unauthorized(false);
        }
        Err(error) => return failed_text(&server.explain(&error.into())),
    };
    let push =
        rest == "git-receive-pack" || request.uri().query() == Some("service=git-receive-pack");
    let app = match find_app(server, name, push, &token).await {
        Ok(app) => app,
        Err(error) => {
            drain(request).await;
            return failed_text(&server.explain(&error));
        }
    };
    match (request.method(), rest) {
        (&Method::GET, "info/refs") => match request.uri().query() {
            Some("service=git-receive-pack") => advertise_receive(server, app).await,
            Some("service=git-upload-pack") => {
                advertise_upload(server, app, protocol(&request)).await
            }
            _ => text(
                StatusCode::FORBIDDEN,
                "This server speaks git's smart protocol only. Use a git of version 1.6.6 or later.",
            ),
        },
        (&Method::POST, "git-receive-pack") => receive_pack(server, app, token, request).await,
        (&Method::POST, "git-upload-pack") => upload_pack(server, app, request),
        _ => text(
            StatusCode::NOT_FOUND,
            "There is nothing here; the repository is at /NAME.git.",
        ),
    }
}

/// Reads a request's body to its end, so that the client gets to read the answer.
async fn drain(request: Request<Incoming>) {
    let mut body = BodyReader::new(request.into_body());
    let drained = spawn_blocking(move || io::copy(&mut body, &mut io::sink())).await;
    // A client that leaves meanwhile needs no answer.
    drop(drained);
}

async fn find_app(
    server: &Arc<Server>,
    name: &str,
    push: bool,
    token: &Token,
) -> anyhow::Result<App> {
    let (platform, name, user) = (server.platform.clone(), name.to_owned(), token.name.clone());
    spawn_blocking(move || {
        let name = name.parse::<AppName>()?;
        if push {
            platform.app_for_push(&name, &user)
        } else {
            Ok(platform.ledger.app(name.as_str())?)
        }
    })
    .await?
}

async fn advertise_receive(server: &Arc<Server>, app: App) -> Reply {
    let repository = server.platform.data.repository(&app.id);
    let advertised = spawn_blocking(move || {
        let mut body = Vec::new();
        receive::init(&repository)?;
        receive::advertise(&repository, &mut body).map(|()| body)
    });
    match advertised.await {
        Ok(Ok(body)) => bytes("application/x-git-receive-pack-advertisement", body),
        Ok(Err(error)) => failed_text(&server.explain(&error.into())),
        Err(error) => failed_text(&server.explain(&error.into())),
    }
}

/// The body of a request, unpacked where it is packed.
fn body_of(request: Request<Incoming>) -> Box<dyn BufRead + Send> {
    let gzip = request
        .headers()
        .get(CONTENT_ENCODING)
        .is_some_and(|value| value == "gzip" || value == "x-gzip");
    let body = BodyReader::new(request.into_body());
    if gzip {
        Box::new(BufReader::new(GzDecoder::new(body)))
    } else {
        Box::new(body)
    }
}

async fn receive_pack(
    server: &Arc<Server>,
    app: App,
    token: Token,
    request: Request<Incoming>,
) -> Reply {
    const RESULT: &str = "application/x-git-receive-pack-result";
    let mut body = body_of(request);
    let limits = server.platform.options.receive.clone();
    let read = spawn_blocking(move || {
        let commands = receive::Request::read(&mut body, &limits);
        if commands.is_err() {
            // The client reads the answer once it has sent everything.
            let _ = io::copy(&mut body, &mut io::sink());
        }
        (commands, body)
    });
    let (commands, body) = match read.await {
        Ok((Ok(Some(commands)), body)) => (commands, body),
        Ok((Ok(None), _)) => return bytes(RESULT, Vec::new()),
        Ok((Err(error), _)) => return failed_text(&server.explain(&error.into())),
        Err(error) => return failed_text(&server.explain(&error.into())),
    };
    let cancel = Cancel::default();
    let (writer, reply) = channel(KEEP_ALIVE, cancel.clone());
    let server = server.clone();
    spawn_blocking(move || {
        if let Err(error) = push(&server, &app, &token, &commands, body, writer, &cancel) {
            tracing::info!(app = %app.name, %error, "the pusher left before the end");
        }
    });
    stream(RESULT, reply)
}

/// Carries out a push on a blocking thread; the report is the end of the response.
fn push(
    server: &Server,
    app: &App,
    token: &Token,
    commands: &receive::Request,
    mut body: Box<dyn BufRead + Send>,
    writer: BodyWriter,
    cancel: &Cancel,
) -> io::Result<()> {
    if commands.side_band {
        writer.enable_keep_alive();
    }
    let keep_alive = writer.keep_alive();
    let mut progress = SideBand::new(
        BufWriter::with_capacity(128 * 1024, writer),
        commands.side_band,
    );
    let push = Push {
        app,
        user: &token.name,
        request: commands,
        pack: &mut body,
        cancel,
    };
    let pushed = server.platform.push(push, &mut progress);
    // What the platform did not want to read: the client reads the report once it has sent all.
    io::copy(&mut body, &mut io::sink())?;
    let mut out = progress.finish()?;
    keep_alive.disable();
    let names = commands
        .commands
        .iter()
        .map(|command| command.name.as_str());
    let statuses = names.zip(pushed.statuses).collect::<Vec<_>>();
    let unpack = match &pushed.unpack {
        Ok(()) => Ok(()),
        Err(reason) => Err(reason.as_str()),
    };
    receive::report(&mut out, commands, unpack, &statuses)?;
    out.flush()
}

/// The value of `Git-Protocol`, if it is one that a git of ours may see.
fn protocol(request: &Request<Incoming>) -> Option<String> {
    let value = request.headers().get("git-protocol")?.to_str().ok()?;
    matches!(value, "version=0" | "version=1" | "version=2").then(|| value.to_owned())
}

fn upload_pack_command(server: &Server, repository: &Path, protocol: Option<String>) -> Command {
    let mut command = Command::new(&server.git);
    command
        .env_clear()
        .env("PATH", GIT_PATH)
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("LC_ALL", "C")
        .args(["-c", "safe.directory=*", "upload-pack", "--stateless-rpc"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if let Some(protocol) = protocol {
        command.env("GIT_PROTOCOL", protocol);
    }
    command.current_dir(repository);
    command
}

async fn advertise_upload(server: &Arc<Server>, app: App, protocol: Option<String>) -> Reply {
    let repository = server.platform.data.repository(&app.id);
    let own = server.clone();
    let advertised = spawn_blocking(move || -> anyhow::Result<Vec<u8>> {
        receive::init(&repository)?;
        let mut body = b"001e# service=git-upload-pack\n0000".to_vec();
        let output = upload_pack_command(&own, &repository, protocol)
            .args(["--advertise-refs", "."])
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "git upload-pack ended with {}",
            output.status
        );
        body.extend(output.stdout);
        Ok(body)
    });
    match advertised
        .await
        .map_err(anyhow::Error::from)
        .and_then(|body| body)
    {
        Ok(body) => bytes("application/x-git-upload-pack-advertisement", body),
        Err(error) => failed_text(&server.explain(&error)),
    }
}

fn upload_pack(server: &Arc<Server>, app: App, request: Request<Incoming>) -> Reply {
    let protocol = protocol(&request);
    let body = body_of(request);
    let (mut writer, reply) = channel(b"", Cancel::default());
    let server = server.clone();
    spawn_blocking(move || {
        let repository = server.platform.data.repository(&app.id);
        let command = upload_pack_command(&server, &repository, protocol);
        if let Err(error) = run_upload_pack(command, body, &mut writer) {
            tracing::info!(app = %app.name, %error, "a fetch ended early");
        }
    });
    stream("application/x-git-upload-pack-result", reply)
}

fn run_upload_pack(
    mut command: Command,
    body: Box<dyn BufRead + Send>,
    out: &mut BodyWriter,
) -> io::Result<()> {
    let mut wanted = Vec::new();
    body.take(FETCH_REQUEST_LIMIT_BYTES)
        .read_to_end(&mut wanted)?;
    let mut child = command
        .arg(".")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("it was piped");
    let feeder = std::thread::spawn(move || stdin.write_all(&wanted));
    let mut stdout = child.stdout.take().expect("it was piped");
    let mut buffer = vec![0; 64 * 1024];
    let copied = loop {
        match stdout.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(n) => {
                if let Err(error) = out.write_all(&buffer[..n]) {
                    break Err(error);
                }
            }
            Err(error) => break Err(error),
        }
    };
    if copied.is_err() {
        // Nobody reads: git need not go on.
        let _ = child.kill();
    }
    drop(stdout);
    child.wait()?;
    // git may end before it has read all; that is its answer.
    let _ = feeder.join();
    copied
}
