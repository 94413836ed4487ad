//! What comes over a client's connection: TLS if it is to be, then HTTP/1 or HTTP/2.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::client::Client;
use super::proxy;
use super::worker::Worker;
use crate::http::versions::{Bounds, builder};

/// Requests of one HTTP/2 connection at once.
const STREAMS: u32 = 100;

/// Answers a connection until one side has enough.
pub(super) async fn converse(
    worker: Arc<Worker>,
    stream: TcpStream,
    client: Arc<Client>,
    stop: watch::Receiver<()>,
) {
    if !client.is_tls {
        return speak(stream, worker, client, stop).await;
    }
    let Some(tls) = &worker.router.tls else {
        return;
    };
    let hello = tokio::time::timeout(worker.router.limits.header_time, tls.accept(stream));
    match hello.await {
        Ok(Ok(stream)) => speak(stream, worker.clone(), client, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "a client did not get to TLS"),
        Err(_elapsed) => tracing::debug!("a client took too long to get to TLS"),
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    worker: Arc<Worker>,
    client: Arc<Client>,
    mut stop: watch::Receiver<()>,
) {
    let limits = &worker.router.limits;
    let builder = builder(Bounds {
        header_time: limits.header_time,
        header_bytes: limits.header_bytes,
        silence: limits.silence,
        streams: STREAMS,
    });
    // A dyno's own time and silence are watched by the request, which has a code for them.
    let silence = limits.silence.max(limits.first_byte) + Duration::from_secs(2);
    let idle = limits.header_time;
    let (own, of_requests) = (client.clone(), worker.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, client) = (of_requests.clone(), client.clone());
        async move { Ok::<_, Infallible>(proxy::answer(&worker, request, client).await) }
    });
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut overdue = pin!(own.overdue(idle, silence));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = &mut overdue => return tracing::debug!("a connection on which nothing moves is closed"),
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = &mut overdue => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended early");
    }
}
