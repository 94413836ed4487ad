//! Drains: sends the lines of apps' logs to receivers elsewhere.
//!
//! Each drain has a task, which reads its app's log as any follower does: what is kept in memory for
//! the log is the drain's buffer, and nobody waits for it. A receiver that is slow, or away, loses
//! what has left that buffer, and the app's log says how many lines those were (L10). Receivers are
//! connected to by the same rules as what the server fetches for apps, after each look-up.

mod message;
mod receiver;

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::platform::Platform;
use crate::platform::clock;
use crate::platform::drains::DrainUrl;
use crate::platform::ledger::Drain;
use crate::platform::log_stream::{Filter, Line, LogStream, Source};
use receiver::{Receiver, Sent};

/// The delays between attempts: the first, doubled up to the last.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LAST_DELAY: Duration = Duration::from_secs(60);
/// How often lost lines are told of.
const NOTICE: Duration = Duration::from_secs(10);
/// Bytes of messages that are sent at once.
const PIECE_BYTES: usize = 256 << 10;

/// Sends the logs of all apps that have drains, until `stop`.
pub async fn serve(platform: Arc<Platform>, stop: impl Future<Output = ()>) {
    let mut changed = platform.drains_changed.subscribe();
    let mut running = HashMap::<String, JoinHandle<()>>::new();
    let mut stop = pin!(stop);
    loop {
        let own = platform.clone();
        let listed = tokio::task::spawn_blocking(move || own.ledger.drains()).await;
        if let Ok(Ok(all)) = listed {
            running.retain(|id, task| {
                let stays = all.iter().any(|drain| drain.id == *id);
                if !stays {
                    task.abort();
                }
                stays
            });
            for drain in all {
                let id = drain.id.clone();
                let start = || tokio::spawn(send(platform.clone(), drain));
                running.entry(id).or_insert_with(start);
            }
        } else {
            tracing::error!("the drains could not be listed");
        }
        tokio::select! {
            // The teller lives as long as the platform, which is ours, too.
            _ = changed.changed() => {}
            () = &mut stop => break,
        }
    }
    for task in running.values() {
        task.abort();
    }
}

/// Sends one app's log to one receiver.
async fn send(platform: Arc<Platform>, drain: Drain) {
    let Ok(url) = drain.url.parse::<DrainUrl>() else {
        return;
    };
    let log = platform.streams.of(&drain.app_id);
    // From here on: what was before is the log's own.
    let mut reader = log.read(0, Filter::default());
    let rules = platform.options.machine.fetch_from.clone();
    let mut receiver = Receiver::new(url, drain.token.clone(), rules);
    let mut lost = Lost::new(&drain.token, &log);
    loop {
        let news = match timeout(NOTICE, reader.next()).await {
            Ok(Some(news)) => news,
            // The app is no more.
            Ok(None) => return,
            Err(_elapsed) => {
                lost.tell();
                continue;
            }
        };
        lost.add(news.missed);
        for lines in pieces(&news.lines) {
            let mut delay = FIRST_DELAY;
            loop {
                match receiver.send(lines).await {
                    Ok(Sent::Taken) => break,
                    Ok(Sent::Refused(status)) => {
                        lost.why(&format!("answers {status}"));
                        lost.add(lines.len() as u64);
                        break;
                    }
                    Err(error) => {
                        lost.why(&format!("{error:#}"));
                        sleep(delay).await;
                        delay = (delay * 2).min(LAST_DELAY);
                    }
                }
            }
        }
        lost.tell_at_times();
    }
}

/// Cuts lines into pieces of some size; each has one at least.
fn pieces(lines: &[Arc<Line>]) -> Vec<&[Arc<Line>]> {
    let (mut pieces, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, line) in lines.iter().enumerate() {
        bytes += line.text().len();
        if bytes > PIECE_BYTES && at > start {
            pieces.push(&lines[start..at]);
            (start, bytes) = (at, line.text().len());
        }
    }
    if start < lines.len() {
        pieces.push(&lines[start..]);
    }
    pieces
}

/// Lines that a drain has lost, and what was said of it.
struct Lost<'a> {
    token: &'a str,
    log: &'a LogStream,
    count: u64,
    since: Timestamp,
    told: Option<Instant>,
    /// Why the last attempt failed, said once.
    reason: String,
}

impl<'a> Lost<'a> {
    fn new(token: &'a str, log: &'a LogStream) -> Self {
        Self {
            token,
            log,
            count: 0,
            since: clock::now(),
            told: None,
            reason: String::new(),
        }
    }

    fn say(&self, text: &str) {
        self.log.write(Source::Heroku, "logplex", text);
    }

    fn add(&mut self, count: u64) {
        if self.count == 0 {
            self.since = clock::now();
        }
        self.count += count;
    }

    fn why(&mut self, reason: &str) {
        if self.reason != reason {
            reason.clone_into(&mut self.reason);
            self.say(&format!("Error (Drain) -> {} {reason}", self.token));
        }
    }

    fn tell_at_times(&mut self) {
        if self.told.is_none_or(|told| told.elapsed() >= NOTICE) {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if self.count == 0 {
            return;
        }
        let (count, since) = (self.count, self.since);
        self.say(&format!(
            "Error L10 (Drain buffer overflow) -> {} dropped {count} messages since {since}",
            self.token
        ));
        (self.count, self.told) = (0, Some(Instant::now()));
    }
}
