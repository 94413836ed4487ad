//! Connections that have become something else: bytes both ways, whatever they mean.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::watch;
use tokio::time::timeout;

use super::link::Link;
use super::pages::Fault;
use super::record::Record;
use crate::platform::dynos::Serving;

/// Bytes that are read at once; taken only once there are some, so that idle connections are cheap.
const CHUNK_BYTES: usize = 16 << 10;
/// What an idle connection holds meanwhile.
const FIRST_BYTES: usize = 64;

/// Passes bytes on between a client and a dyno until both have ended, or neither says anything.
pub(super) fn splice(
    client: OnUpgrade,
    dyno: OnUpgrade,
    mut link: Link,
    silence: Duration,
    record: Record,
    serving: Serving,
) {
    tokio::spawn(async move {
        // As a whole: what is written of it is written when it is dropped.
        let mut record = record;
        record.detach();
        link.ended().await;
        let (Ok(client), Ok(dyno)) = (client.await, dyno.await) else {
            return;
        };
        drop(link);
        let (from_client, to_client) = split(TokioIo::new(client));
        let (from_dyno, to_dyno) = split(TokioIo::new(dyno));
        let (active, mut seen) = watch::channel(());
        let other = active.clone();
        let (sent, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let both = async {
            tokio::join!(
                pass(from_client, to_dyno, active, &sent),
                pass(from_dyno, to_client, other, &bytes)
            )
        };
        let idle = async { while timeout(silence, seen.changed()).await.is_ok() {} };
        tokio::select! {
            _ = both => {}
            () = idle => record.fault = Some(Fault::Idle),
        }
        record.bytes = bytes.into_inner();
        record.is_done = true;
        drop((record, serving));
    });
}

/// Copies to the end, and counts the bytes.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    active: watch::Sender<()>,
    total: &AtomicU64,
) {
    let mut first = [0; FIRST_BYTES];
    // An error is an end; the other direction finds its own.
    while let Ok(count @ 1..) = from.read(&mut first).await {
        if to.write_all(&first[..count]).await.is_err() {
            break;
        }
        total.fetch_add(count as u64, Ordering::Relaxed);
        active.send_replace(());
        if count == FIRST_BYTES {
            // More is there, or will be: with room, as long as it flows.
            let mut buffer = vec![0; CHUNK_BYTES];
            while let Ok(Ok(count @ 1..)) =
                timeout(Duration::from_millis(100), from.read(&mut buffer)).await
            {
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
                total.fetch_add(count as u64, Ordering::Relaxed);
                active.send_replace(());
            }
        }
        let _ = to.flush().await;
    }
    let _ = to.shutdown().await;
}
