//! HTTP/1 and HTTP/2 on one connection, with what a client may ask of either: the same for our own port
//! and for the router's.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;

/// Bytes of a body that an HTTP/2 client may send ahead of its reader, in a stream and in all.
const WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of an answer that wait for an HTTP/2 client to take them.
const SEND_BYTES: usize = 64 << 10;
/// Streams that a client has reset before they were answered; more end the connection.
const RESETS: usize = 20;

/// In what the two ports differ.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Longest time for the headers of a request, and for the answer to a ping.
    pub header_time: Duration,
    pub header_bytes: usize,
    /// After how long without a sign of life an HTTP/2 client is asked for one.
    pub silence: Duration,
    /// Requests of one HTTP/2 connection at once.
    pub streams: u32,
}

/// Both versions, with their limits. What a client may send of headers that never end (CVE-2024-27316)
/// is bounded by the size of a header list, in both versions.
pub fn builder(bounds: Bounds) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_time)
        .max_buf_size(bounds.header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(bounds.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(bounds.streams)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES)
        // Requests that are taken back at once (CVE-2023-44487), or made wrong on purpose.
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .keep_alive_interval(bounds.silence)
        .keep_alive_timeout(bounds.header_time);
    builder
}
