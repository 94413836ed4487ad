//! The server's edge: git's smart HTTP and the Platform API on one port.
//!
//! [`serve`] takes the socket and the stop signal as arguments, so that a test can start it on
//! port 0. Handlers are thin: they authenticate, move bytes between the socket and blocking code
//! ([`bridge`]), and leave the work to [`crate::platform`].

mod api;
pub use api::ApiError;
mod attach;
mod auth;
pub use auth::AccessError;
mod body;
mod bridge;
mod fetch;
mod git;
mod idle;
mod limits;
mod logs;
mod push;
mod registry;
mod reply;
mod signed;
mod stall;
mod streams;
pub mod tls;
pub(crate) mod versions;

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use attach::Prefixed;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::output::Failure;
use crate::platform::Platform;
use crate::platform::image::StackLayer;
use idle::Activity;
use limits::Gate;
pub use limits::Limits;
use reply::Reply;
use signed::Signer;
use stall::{Lift, Stall};
use versions::Bounds;

/// How long builds may go on after the stop signal.
pub const GRACE: Duration = Duration::from_secs(30);

/// How long undone builds get to tell their pushers.
const FAREWELL: Duration = Duration::from_secs(10);

/// What a client reads that comes when all places are taken.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
Retry-After: 5\r\nConnection: close\r\nContent-Length: 53\r\n\r\n\
The server has too many connections. Try again later.";

/// What all requests share.
pub struct Server {
    platform: Arc<Platform>,
    signer: Signer,
    /// The host's git, which serves clones and fetches.
    git: PathBuf,
    /// What URLs of ours begin with, where the operator has named it.
    public_url: Option<String>,
    /// Who answers, for URLs where a request does not say by which name it came.
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    /// What images have below their slugs.
    stack_layer: Option<StackLayer>,
    limits: Limits,
    gate: Gate,
}

impl Server {
    /// A server for a platform; `key` signs the URLs that need no token.
    pub fn new(platform: Arc<Platform>, key: &str, git: PathBuf, address: SocketAddr) -> Self {
        Self {
            platform,
            signer: Signer::new(key.as_bytes()),
            git,
            public_url: None,
            address,
            tls: None,
            stack_layer: None,
            gate: Gate::new(&Limits::default()),
            limits: Limits::default(),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.gate = Gate::new(&limits);
        self.limits = limits;
        self
    }

    /// The same behind TLS alone.
    ///
    /// # Errors
    /// The platform's fault: TLS cannot be spoken.
    pub fn with_tls(mut self, certificate: Arc<tls::Certificate>) -> Result<Self, tls::TlsError> {
        let config = tls::server_config(certificate)?;
        self.tls = Some(TlsAcceptor::from(Arc::new(config)));
        Ok(self)
    }

    /// The same whose images have a layer below their slugs.
    #[must_use]
    pub fn with_stack_layer(mut self, stack_layer: Option<StackLayer>) -> Self {
        self.stack_layer = stack_layer;
        self
    }

    /// The same with URLs that begin like this one, which ends without a slash.
    #[must_use]
    pub fn with_public_url(mut self, url: Option<String>) -> Self {
        self.public_url = url;
        self
    }

    /// `http` or `https`, as the clients of this very server write it.
    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
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
                Ok((stream, peer)) => converse(stream, peer.ip(), &server, &graceful),
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

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

fn converse(stream: TcpStream, peer: IpAddr, server: &Arc<Server>, graceful: &GracefulShutdown) {
    let Some(place) = server.gate.connection() else {
        tracing::warn!("a connection was refused: there are too many");
        tokio::spawn(async move {
            // It fits into the socket's buffer. What the client has sent is taken, or the answer
            // would be lost; one that goes on sending needs no answer.
            let _ = stream.try_write(BUSY);
            let mut heard = [0; 4096];
            let told = async {
                while stream.readable().await.is_ok()
                    && !matches!(stream.try_read(&mut heard), Ok(0))
                {}
            };
            let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
        });
        return;
    };
    // Without it, small packets of progress wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let server = server.clone();
    let watcher = graceful.watcher();
    tokio::spawn(async move {
        match &server.tls {
            None => speak(stream, peer, &server, watcher).await,
            Some(tls) => {
                // Well below the time for which a server that stops waits for its clients.
                let hello = tokio::time::timeout(server.limits.header_time / 3, tls.accept(stream));
                match hello.await {
                    Ok(Ok(stream)) => speak(stream, peer, &server, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a client did not get to TLS"),
                    Err(_elapsed) => tracing::debug!("a client took too long to get to TLS"),
                }
            }
        }
        drop(place);
    });
}

/// Streams of one HTTP/2 connection at once.
const STREAMS: u32 = 32;

/// Answers what comes over a connection, in HTTP/1 or HTTP/2, until one side has enough.
async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: IpAddr,
    server: &Arc<Server>,
    watcher: Watcher,
) {
    let limits = &server.limits;
    let stream = if server.platform.dynos.awaits_clients() {
        match attach::rendezvous(stream, server, limits.header_time / 3).await {
            Some(stream) => stream,
            None => return,
        }
    } else {
        Prefixed::whole(stream)
    };
    let (activity, lift) = (Activity::new(), Lift::default());
    let behind_proxy = limits.behind_proxy;
    let service = service_fn(|mut request: Request<Incoming>| {
        let server = server.clone();
        let under_way = activity.request();
        let named = behind_proxy.then(|| forwarded(request.headers())).flatten();
        request.extensions_mut().insert(Peer(named.unwrap_or(peer)));
        request.extensions_mut().insert(lift.clone());
        async move { Ok::<_, Infallible>(under_way.answer(answer(server, request).await)) }
    });
    let builder = versions::builder(Bounds {
        header_time: limits.header_time,
        header_bytes: limits.header_bytes,
        silence: limits.body_silence,
        streams: STREAMS,
    });
    let stream = Stall::new(stream, limits.answer_silence, lift.clone());
    let connection = builder.serve_connection_with_upgrades(stream, service);
    let connection = watcher.watch(connection.into_owned());
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(error, "a connection ended early");
        },
        () = activity.overdue(limits) => tracing::debug!("a connection on which nothing moves is closed"),
    }
}

/// The client that the nearest proxy names: the last one, since clients can write the others.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// Finds who answers a request.
async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Reply {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let segments = path.trim_matches('/').split('/').collect::<Vec<_>>();
    let reply = match (&method, segments.as_slice()) {
        (_, [repository, rest @ ..]) if repository.strip_suffix(".git").is_some() => {
            // One `.git` alone: any more belong to no name.
            let name = repository.strip_suffix(".git").unwrap_or(repository);
            git::answer(&server, name, &rest.join("/"), request).await
        }
        (&Method::GET, ["builds", id, "output"]) => {
            streams::build_output(&server, id, &request).await
        }
        (&Method::GET, ["releases", id, "output"]) => {
            streams::release_output(&server, id, &request).await
        }
        (&Method::GET, ["attach", secret]) => attach::answer(&server, secret, request),
        (&Method::GET, ["logs", app]) => logs::read(&server, app, &request).await,
        (&Method::GET, ["blobs", digest]) => streams::blob(&server, digest, &request).await,
        (&Method::GET, ["sources", id]) => streams::read_source(&server, id, &request).await,
        (&Method::PUT, ["sources", id]) => streams::write_source(&server, id, request).await,
        (_, ["v2", path @ ..]) => registry::answer(&server, path, request).await,
        _ => api::answer(&server, request).await,
    };
    // Paths of signed URLs hold no secret; their queries do, and are left out. A dyno's secret has
    // served by now.
    tracing::debug!(%method, path, status = reply.status().as_u16(), "answered");
    reply
}
