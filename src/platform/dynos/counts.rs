//! What has become of the requests to one app.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Numbers since the server has started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that have ended, by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Those that went wrong, by Heroku's code.
    pub codes: BTreeMap<&'static str, u64>,
    /// Of answers' bodies.
    pub bytes: u64,
    /// What requests spent at dynos.
    pub service: Duration,
    pub under_way: u64,
}

/// Counts requests.
#[derive(Debug, Default)]
pub(super) struct Counter(Mutex<Counts>);

impl Counter {
    pub fn begin(&self) {
        self.with(|counts| counts.under_way += 1);
    }

    pub fn end(&self, status: u16, code: Option<&'static str>, bytes: u64, service: Duration) {
        self.with(|counts| {
            *counts.statuses.entry(status).or_default() += 1;
            if let Some(code) = code {
                *counts.codes.entry(code).or_default() += 1;
            }
            counts.bytes += bytes;
            counts.service += service;
            counts.under_way = counts.under_way.saturating_sub(1);
        });
    }

    pub fn now(&self) -> Counts {
        self.with(|counts| counts.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
