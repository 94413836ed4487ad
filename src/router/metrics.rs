//! Numbers of the router, in Prometheus's text format: requests by app and status, and what they took.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Router;

/// Longest time that a reader gets.
const READER: Duration = Duration::from_secs(10);
/// Bytes of a reader's request.
const REQUEST_BYTES: usize = 8 << 10;

/// What belongs to no app.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Requests whose host is no app's, or that are no requests.
    pub unrouted: AtomicU64,
}

/// Answers who connects, until the future is dropped.
pub(super) async fn serve(listener: &TcpListener, router: &Arc<Router>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    // A reader that has left needs no numbers.
                    let _ = tokio::time::timeout(READER, answer(stream, &router)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, router: &Router) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let room = REQUEST_BYTES - request.len();
        if (&mut stream)
            .take(room as u64)
            .read_buf(&mut request)
            .await?
            == 0
        {
            return Ok(());
        }
    }
    let (status, text) = if request.starts_with(b"GET /metrics ") {
        ("200 OK", text(router))
    } else {
        ("404 Not Found", "The numbers are at /metrics.\n".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
Content-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

fn text(router: &Router) -> String {
    let mut requests = String::new();
    let mut faults = String::new();
    let mut bytes = String::new();
    let mut seconds = String::new();
    let mut current = String::new();
    for route in router.routes.all() {
        // An app's name needs no escapes.
        let app = &route.app_name;
        let counts = route.counts();
        // Writing to a text cannot fail.
        for (status, count) in counts.statuses {
            let _ = writeln!(
                requests,
                "slugline_router_requests_total{{app=\"{app}\",status=\"{status}\"}} {count}"
            );
        }
        for (code, count) in counts.codes {
            let _ = writeln!(
                faults,
                "slugline_router_errors_total{{app=\"{app}\",code=\"{code}\"}} {count}"
            );
        }
        let _ = writeln!(
            bytes,
            "slugline_router_response_bytes_total{{app=\"{app}\"}} {}",
            counts.bytes
        );
        let total = counts.service.as_secs_f64();
        let _ = writeln!(
            seconds,
            "slugline_router_service_seconds_total{{app=\"{app}\"}} {total:.6}"
        );
        let _ = writeln!(
            current,
            "slugline_router_requests_under_way{{app=\"{app}\"}} {}",
            counts.under_way
        );
    }
    let mut all = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: &str| {
        let _ = writeln!(
            all,
            "# HELP slugline_router_{name} {help}\n# TYPE slugline_router_{name} {kind}"
        );
        all.push_str(lines);
    };
    family(
        "requests_total",
        "counter",
        "Requests that have ended, by app and status.",
        &requests,
    );
    family(
        "errors_total",
        "counter",
        "Requests that went wrong, by app and Heroku's code.",
        &faults,
    );
    family(
        "response_bytes_total",
        "counter",
        "Bytes of answers' bodies.",
        &bytes,
    );
    family(
        "service_seconds_total",
        "counter",
        "Time that requests spent at dynos.",
        &seconds,
    );
    family(
        "requests_under_way",
        "gauge",
        "Requests that have not ended.",
        &current,
    );
    let unrouted = router.metrics.unrouted.load(Ordering::Relaxed);
    let unrouted = format!("slugline_router_unrouted_requests_total {unrouted}\n");
    family(
        "unrouted_requests_total",
        "counter",
        "Requests for no app.",
        &unrouted,
    );
    let limit = router.limits.connections;
    let open = limit.saturating_sub(router.connections.available_permits());
    family(
        "connections",
        "gauge",
        "Connections of clients.",
        &format!("slugline_router_connections {open}\n"),
    );
    all
}
