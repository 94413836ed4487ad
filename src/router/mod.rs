//! The router: HTTP from the world to the web dynos of apps, streamed both ways.
//!
//! [`serve`] takes a socket and a stop signal, as [`http::serve`](crate::http::serve) does. Host names
//! lead to apps by the platform's routes. A request goes to one dyno at random; one that refuses the
//! connection is passed over before a byte is sent. What goes wrong is answered by a page and logged
//! by a code, both Heroku's.

mod body;
mod certificates;
mod client;
mod converse;
mod headers;
mod link;
mod metrics;
mod pages;
mod pool;
mod proxy;
mod record;
mod upgrade;
mod worker;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::http::tls;
use crate::platform::dynos::Routes;
use crate::platform::log_stream::LogStreams;
pub use certificates::{CertificateError, Certificates};
use metrics::Metrics;
use worker::{Arrival, Workers};

/// The limits of the router. Source: Heroku's documented time-outs.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest time from a connection's start, or the answer before, to the end of the headers.
    pub header_time: Duration,
    /// Bytes of a request's line and headers.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: u64,
    /// Longest time to connect to a dyno.
    pub connect_time: Duration,
    /// Longest time that a request waits for a dyno that starts.
    pub boot_time: Duration,
    /// Longest time from a request to the first byte of its answer.
    pub first_byte: Duration,
    /// Longest silence of either side after that.
    pub silence: Duration,
    /// Connections at once; more wait.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_time: Duration::from_secs(30),
            header_bytes: 64 << 10,
            body_bytes: 4 << 30,
            connect_time: Duration::from_secs(5),
            boot_time: Duration::from_secs(75),
            first_byte: Duration::from_secs(30),
            silence: Duration::from_secs(55),
            connections: 20_000,
        }
    }
}

/// How long requests under way may go on after the stop signal.
const GRACE: Duration = Duration::from_secs(30);

/// What all requests share.
pub struct Router {
    routes: Arc<Routes>,
    streams: LogStreams,
    limits: Limits,
    connections: Arc<Semaphore>,
    tls: Option<TlsAcceptor>,
    metrics: Metrics,
}

impl Router {
    /// A router over a platform's routes, which logs to its apps' logs.
    pub fn new(routes: Arc<Routes>, streams: LogStreams, limits: Limits) -> Self {
        Self {
            routes,
            streams,
            connections: Arc::new(Semaphore::new(limits.connections)),
            limits,
            tls: None,
            metrics: Metrics::default(),
        }
    }

    /// The same that also speaks TLS, with certificates by the name that a client asks for.
    ///
    /// # Errors
    /// The platform's fault: TLS cannot be spoken.
    pub fn with_tls(mut self, certificates: Arc<Certificates>) -> Result<Self, tls::TlsError> {
        let config = tls::server_config(certificates)?;
        self.tls = Some(TlsAcceptor::from(Arc::new(config)));
        Ok(self)
    }
}

/// Where the router listens.
#[derive(Debug)]
pub struct Sockets {
    pub plain: TcpListener,
    /// For a router that speaks TLS.
    pub tls: Option<TcpListener>,
    /// Who connects here reads numbers.
    pub metrics: Option<TcpListener>,
}

/// Routes requests until `stop`; then those under way get some time to end.
///
/// # Errors
/// A socket has no address, or no thread can be started.
pub async fn serve(
    sockets: Sockets,
    router: Arc<Router>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let workers = Workers::start(&router)?;
    let plain = accept(&sockets.plain, false, &router, &workers);
    let tls = async {
        match &sockets.tls {
            Some(listener) => accept(listener, true, &router, &workers).await,
            None => std::future::pending().await,
        }
    };
    let counted = async {
        match &sockets.metrics {
            Some(listener) => metrics::serve(listener, &router).await,
            None => std::future::pending().await,
        }
    };
    let mut stop = pin!(stop);
    tokio::select! {
        ended = plain => ended?,
        ended = tls => ended?,
        () = counted => {}
        () = &mut stop => {}
    }
    drop(sockets);
    let stopping = tokio::task::spawn_blocking(move || workers.stop());
    stopping.await.context("ending the router")
}

/// Takes connections for ever.
async fn accept(
    listener: &TcpListener,
    is_tls: bool,
    router: &Router,
    workers: &Workers,
) -> Result<()> {
    let port = listener.local_addr().context("asking for the port")?.port();
    loop {
        let place = router.connections.clone().acquire_owned().await?;
        let accepted = listener.accept().await;
        let handed = accepted.and_then(|(stream, from)| Ok((TcpStream::into_std(stream)?, from)));
        match handed {
            Ok((stream, from)) => workers.give(Arrival {
                stream,
                from,
                port,
                is_tls,
                place,
            }),
            Err(error) => {
                // Out of descriptors, or a client that left at once: the next one may do better.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
