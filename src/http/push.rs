//! `git push` over HTTP: the request's body is the push, the response's body tells how it goes.
//!
//! Source: gitprotocol-http(5), "Smart Service git-receive-pack".

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::Server;
use super::body::{RequestBody, Unread};
use super::bridge::{BodyWriter, channel};
use super::git::UNKNOWN_ENCODING;
use super::reply::{Reply, bytes, failed_text, stream, text};
use crate::output::Output;
use crate::platform::ledger::{App, Token};
use crate::platform::push::Push;
use crate::receive::{self, KEEP_ALIVE, Rejected, ReportStatus, SideBand, Status};
use crate::sandbox::Cancel;

const RESULT: &str = "application/x-git-receive-pack-result";

/// The refs and what the server can do.
pub(super) async fn advertise(server: &Arc<Server>, app: App) -> Reply {
    let repository = server.platform.data.repository(&app.id);
    let signed = server.platform.options.signers.is_some();
    let nonce = signed.then(|| server.signer.nonce(&app.id));
    let advertised = spawn_blocking(move || {
        let mut body = Vec::new();
        let hash = app.object_format.hash();
        receive::init(&repository, hash)?;
        receive::advertise(&repository, hash, nonce.as_deref(), &mut body).map(|()| body)
    });
    match advertised.await {
        Ok(Ok(body)) => bytes("application/x-git-receive-pack-advertisement", body),
        Ok(Err(error)) => failed_text(&server.explain(&error.into())),
        Err(error) => failed_text(&server.explain(&error.into())),
    }
}

/// Takes a push; `place` is held for as long as it lasts.
pub(super) async fn receive_pack(
    server: &Arc<Server>,
    app: App,
    token: Token,
    request: Request<Incoming>,
    place: OwnedSemaphorePermit,
) -> Reply {
    let Some(body) = Unread::of(request, &server.limits) else {
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, UNKNOWN_ENCODING);
    };
    let limits = server.platform.options.receive.clone();
    let hash = app.object_format.hash();
    let read = spawn_blocking(move || {
        let mut body = body.open();
        match receive::Request::read(&mut body, hash, &limits) {
            Ok(commands) => Ok((commands, body)),
            Err(rejected) => {
                // The client reads the answer once it has sent everything.
                body.drain();
                Err(rejected)
            }
        }
    });
    let (commands, body) = match read.await {
        Ok(Ok((Some(commands), body))) => (commands, body),
        Ok(Ok((None, _))) => return bytes(RESULT, Vec::new()),
        Ok(Err(rejected)) => return refuse(server, *rejected),
        Err(error) => return failed_text(&server.explain(&error.into())),
    };
    if let Some(certificate) = &commands.certificate {
        let error = if server.platform.options.signers.is_none() {
            Some(receive::Error::Capability {
                name: "push-cert".to_owned(),
            })
        } else if server.signer.knows_nonce(&app.id, &certificate.nonce) {
            None
        } else {
            let reason = "its nonce is not of this server, or too old".to_owned();
            Some(receive::Error::Certificate { reason })
        };
        if let Some(error) = error {
            let drained = spawn_blocking(move || body.drain());
            let _ = drained.await;
            let request = commands;
            return refuse(server, Rejected { error, request });
        }
    }
    let cancel = Cancel::default();
    let (writer, reply) = channel(KEEP_ALIVE, cancel.clone());
    let server = server.clone();
    spawn_blocking(move || {
        if let Err(error) = push(&server, &app, &token, &commands, body, writer, &cancel) {
            tracing::info!(app = %app.name, %error, "the pusher left before the end");
        }
        drop(place);
        server.platform.tidy(&app);
    });
    stream(RESULT, reply)
}

/// Answers a push whose commands cannot be carried out: in git's form where the client has said
/// how it wants to hear of it, so that its user reads the reason.
fn refuse(server: &Server, rejected: Rejected) -> Reply {
    let Rejected { error, request } = rejected;
    let failure = server.explain(&error.into());
    tracing::info!(failure = failure.id, "push refused");
    if request.report == ReportStatus::Silent {
        return failed_text(&failure);
    }
    let mut progress = SideBand::new(Vec::new(), request.side_band);
    let written = Output::new(&mut progress).failure(&failure);
    let written = written.and_then(|()| {
        let mut out = progress.finish()?;
        let refused: Status = Err("push refused".to_owned());
        let names = request.commands.iter().map(|command| &*command.name);
        let statuses = names.map(|name| (name, refused.clone()));
        let statuses = statuses.collect::<Vec<_>>();
        receive::report(&mut out, &request, Err(&failure.summary), &statuses)?;
        Ok(out)
    });
    match written {
        Ok(body) => bytes(RESULT, body),
        Err(error) => failed_text(&server.explain(&error.into())),
    }
}

/// Carries out a push on a blocking thread; the report is the end of the response.
fn push(
    server: &Server,
    app: &App,
    token: &Token,
    commands: &receive::Request,
    mut body: RequestBody,
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
    body.drain();
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
