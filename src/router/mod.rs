//! The router: HTTP from the world to the web dynos of apps, streamed both ways.
//!
//! [`serve`] takes a socket and a stop signal, as [`http::serve`](crate::http::serve) does. Host names
//! lead to apps by the platform's routes. A request goes to one dyno at random; one that refuses the
//! connection is passed over before a byte is sent. What goes wrong is answered by a page and logged
//! by a code, both Heroku's.

mod body;
mod headers;
mod pages;
mod pool;
mod proxy;
mod record;
mod upgrade;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::platform::dynos::Routes;
use crate::platform::log_stream::LogStreams;
use pool::Pools;

/// The limits of the router. Source: Heroku's documented time-outs.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest time from a connection's start, or the answer before, to the end of the headers.
    pub header_time: Duration,
    /// Bytes of a request's line and headers.
    pub header_bytes: usize,
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
#[derive(Debug)]
pub struct Router {
    routes: Arc<Routes>,
    streams: LogStreams,
    pools: Pools,
    limits: Limits,
    connections: Arc<Semaphore>,
}

impl Router {
    /// A router over a platform's routes, which logs to its apps' logs.
    pub fn new(routes: Arc<Routes>, streams: LogStreams, limits: Limits) -> Self {
        Self {
            routes,
            streams,
            pools: Pools::default(),
            connections: Arc::new(Semaphore::new(limits.connections)),
            limits,
        }
    }
}

/// How a request came.
#[derive(Debug, Clone, Copy)]
struct Client {
    address: SocketAddr,
    /// Our own.
    port: u16,
}

/// Routes requests until `stop`; then those under way get some time to end.
///
/// # Errors
/// The socket has no address.
pub async fn serve(
    listener: TcpListener,
    router: Arc<Router>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let port = listener.local_addr()?.port();
    let (stopping, told) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accept = async {
            let place = router.connections.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            (accepted, place) = accept => match accepted {
                Ok((stream, address)) => {
                    let client = Client { address, port };
                    converse(stream, client, &router, told.clone(), place);
                }
                Err(error) => {
                    // Out of descriptors, or a client that left at once: the next one may do better.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            () = &mut stop => break,
        }
    }
    drop((listener, told));
    stopping.send_replace(());
    // What is still under way then is cut.
    let _ = tokio::time::timeout(GRACE, stopping.closed()).await;
    Ok(())
}

fn converse<P: Send + 'static>(
    stream: TcpStream,
    client: Client,
    router: &Arc<Router>,
    mut stop: watch::Receiver<()>,
    place: P,
) {
    // Small answers should not wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let router = router.clone();
    let limits = router.limits.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(proxy::answer(&router, request, client).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stop.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(place);
    });
}
