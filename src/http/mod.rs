//! The server's edge: git's smart HTTP and the Platform API on one port.
//!
//! [`serve`] takes the socket and the stop signal as arguments, so that a test can start it on
//! port 0. Handlers are thin: they authenticate, move bytes between the socket and blocking code
//! ([`bridge`]), and leave the work to [`crate::platform`].

mod api;
pub use api::ApiError;
mod auth;
mod bridge;
mod git;
mod reply;
mod signed;
mod streams;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};

use crate::output::Failure;
use crate::platform::Platform;
use reply::Reply;
use signed::Signer;

/// How long builds may go on after the stop signal.
pub const GRACE: Duration = Duration::from_secs(30);

/// How long undone builds get to tell their pushers.
const FAREWELL: Duration = Duration::from_secs(10);

/// Longest time between a connection's start and the end of a request's headers.
const HEADER_TIME_LIMIT: Duration = Duration::from_secs(30);

/// What all requests share.
pub struct Server {
    platform: Arc<Platform>,
    signer: Signer,
    /// The host's git, which serves clones and fetches.
    git: PathBuf,
    /// Who answers, for URLs where a request does not say by which name it came.
    address: SocketAddr,
}

impl Server {
    /// A server for a platform; `key` signs the URLs that need no token.
    pub fn new(platform: Arc<Platform>, key: &str, git: PathBuf, address: SocketAddr) -> Self {
        Self {
            platform,
            signer: Signer::new(key.as_bytes()),
            git,
            address,
        }
    }

    fn explain(&self, error: &anyhow::Error) -> Failure {
        (self.platform.options.explain)(error)
    }
}

/// Answers requests until `stop`; then builds under way get [`GRACE`], and are undone after it.
///
/// # Errors
/// The socket can take no connections.
pub async fn serve(
    listener: TcpListener,
    server: Arc<Server>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => converse(stream, &server, &graceful),
                Err(error) => {
                    // Out of descriptors, or a client that left at once: the next one may do better.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            () = &mut stop => break,
        }
    }
    drop(listener);
    let platform = &server.platform;
    tracing::info!(builds = platform.builds_under_way(), "stopping");
    let mut ended = pin!(async {
        graceful.shutdown().await;
        while platform.builds_under_way() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    if tokio::time::timeout(GRACE, &mut ended).await.is_err() {
        tracing::warn!(
            builds = platform.builds_under_way(),
            "undoing the builds that are still under way"
        );
        platform.cancel_all();
        tokio::time::timeout(FAREWELL, ended)
            .await
            .context("ending the builds")?;
    }
    Ok(())
}

fn converse(stream: TcpStream, server: &Arc<Server>, graceful: &GracefulShutdown) {
    // Without it, small packets of progress wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let server = server.clone();
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(answer(server, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// Finds who answers a request.
async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Reply {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let segments = path.trim_matches('/').split('/').collect::<Vec<_>>();
    let reply = match (&method, segments.as_slice()) {
        (_, [repository, rest @ ..]) if repository.strip_suffix(".git").is_some() => {
            let name = repository.trim_end_matches(".git").to_owned();
            git::answer(&server, &name, &rest.join("/"), request).await
        }
        (&Method::GET, ["builds", id, "output"]) => {
            streams::build_output(&server, id, &request).await
        }
        (&Method::GET, ["blobs", digest]) => streams::blob(&server, digest, &request).await,
        (&Method::GET, ["sources", id]) => streams::read_source(&server, id, &request).await,
        (&Method::PUT, ["sources", id]) => streams::write_source(&server, id, request).await,
        _ => api::answer(&server, request).await,
    };
    // Paths of signed URLs hold no secret; their queries do, and are left out.
    tracing::debug!(%method, path, status = reply.status().as_u16(), "answered");
    reply
}
