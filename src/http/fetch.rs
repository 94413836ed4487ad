//! Clones and fetches, by the host's `git upload-pack`: protocols 0, 1 and 2, shallow and partial.
//!
//! git runs without the server's environment, sees one repository, and has a limit of time.
//!
//! Source: gitprotocol-http(5), "Smart Service git-upload-pack".

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel as done_channel};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::Server;
use super::body::Unread;
use super::bridge::{BodyWriter, channel};
use super::git::UNKNOWN_ENCODING;
use super::limits::Limits;
use super::reply::{Reply, bytes, failed_text, stream, text};
use crate::platform::ledger::App;
use crate::receive;
use crate::sandbox::Cancel;

/// Most bytes of an advertisement that are kept in memory: a million refs.
const ADVERTISEMENT_BYTES: u64 = 128 << 20;

/// The value of `Git-Protocol`, if it is one that a git of ours may see.
pub(super) fn protocol(request: &Request<Incoming>) -> Option<String> {
    let value = request.headers().get("git-protocol")?.to_str().ok()?;
    matches!(value, "version=0" | "version=1" | "version=2").then(|| value.to_owned())
}

fn upload_pack_command(server: &Server, repository: &Path, protocol: Option<String>) -> Command {
    let mut command = receive::git_command(&server.git, repository);
    command
        .args(["-c", "uploadpack.allowFilter=true"])
        .args(["upload-pack", "--stateless-rpc"]);
    if let Some(protocol) = protocol {
        command.env("GIT_PROTOCOL", protocol);
    }
    command
}

/// The refs, or with protocol 2 what the server can do.
pub(super) async fn advertise(server: &Arc<Server>, app: App, protocol: Option<String>) -> Reply {
    let repository = server.platform.data.repository(&app.id);
    let own = server.clone();
    let advertised = spawn_blocking(move || -> anyhow::Result<Vec<u8>> {
        receive::init(&repository, app.object_format.hash())?;
        let mut body = b"001e# service=git-upload-pack\n0000".to_vec();
        let mut child = upload_pack_command(&own, &repository, protocol)
            .args(["--advertise-refs", "."])
            .stdout(Stdio::piped())
            .spawn()?;
        let (done, watch) = watch(&child, own.limits.fetch_time);
        let stdout = child.stdout.take().expect("it was piped");
        let read = stdout.take(ADVERTISEMENT_BYTES).read_to_end(&mut body);
        drop(done);
        let _ = watch.join();
        let status = child.wait()?;
        read?;
        anyhow::ensure!(status.success(), "git upload-pack ended with {status}");
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

/// Answers one request of a fetch; `place` is held for as long as it lasts.
pub(super) fn upload_pack(
    server: &Arc<Server>,
    app: App,
    request: Request<Incoming>,
    place: OwnedSemaphorePermit,
) -> Reply {
    let protocol = protocol(&request);
    let Some(body) = Unread::of(request, &server.limits) else {
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, UNKNOWN_ENCODING);
    };
    let (mut writer, reply) = channel(b"", Cancel::default());
    let server = server.clone();
    spawn_blocking(move || {
        let repository = server.platform.data.repository(&app.id);
        let command = upload_pack_command(&server, &repository, protocol);
        if let Err(error) = run(command, body, &mut writer, &server.limits) {
            tracing::info!(app = %app.name, %error, "a fetch ended early");
        }
        drop(place);
    });
    stream("application/x-git-upload-pack-result", reply)
}

fn run(
    mut command: Command,
    body: Unread,
    out: &mut BodyWriter,
    limits: &Limits,
) -> io::Result<()> {
    let mut child = command
        .arg(".")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("it was piped");
    let limit = limits.fetch_request_bytes;
    let feeder = std::thread::spawn(move || {
        let mut body = body.open();
        // git may end before it has read all, and where it is too much it gets no more: either
        // way what it answers, or that it does not, is the answer.
        let _ = io::copy(&mut Read::by_ref(&mut body).take(limit), &mut stdin);
        drop(stdin);
        body.drain();
    });
    let (done, watch) = watch(&child, limits.fetch_time);
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
        end(&child);
    }
    drop(stdout);
    drop(done);
    let _ = watch.join();
    child.wait()?;
    let _ = feeder.join();
    copied
}

/// Ends a process and its children when the time is over, unless what is returned is dropped
/// before; it has to be before anybody waits for the process.
fn watch(
    child: &Child,
    limit: Duration,
) -> (std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (done, over): (_, Receiver<()>) = done_channel();
    let group = group(child);
    let watch = std::thread::spawn(move || {
        if over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a fetch was over its time and was ended");
            kill(group);
        }
    });
    (done, watch)
}

fn end(child: &Child) {
    kill(group(child));
}

fn group(child: &Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

fn kill(group: nix::unistd::Pid) {
    // It may have ended by itself.
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
}
