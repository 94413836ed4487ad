//! What comes over a client's connection: TLS if it is to be, then HTTP/1 or HTTP/2.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::client::Client;
use super::worker::Worker;
use super::{Limits, proxy};

/// Requests of one HTTP/2 connection at once.
const STREAMS: u32 = 100;
/// Bytes of a body that an HTTP/2 client may send ahead of its dyno, in a stream and in all.
const WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of an answer that wait for an HTTP/2 client to take them.
const SEND_BYTES: usize = 64 << 10;
/// Streams that a client has reset before they were answered; more end the connection.
const RESETS: usize = 20;

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
    let builder = builder(&worker.router.limits);
    let limits = &worker.router.limits;
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

/// Both versions, with their limits. What a client may send of headers that never end (CVE-2024-27316)
/// is bounded by the size of a header list, in both versions.
fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES)
        // Requests that are taken back at once (CVE-2023-44487), or made wrong on purpose.
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .keep_alive_interval(limits.silence)
        .keep_alive_timeout(limits.header_time);
    builder
}
