//! SIGINT, SIGTERM and SIGHUP for local commands: they are waited for on a thread of their own, so
//! that a command can end what it started and remove what it made.

use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// Calls `handle` with each signal, from now on. To be called before other threads are started:
/// they inherit that the signals are blocked.
pub(super) fn on_interrupt(mut handle: impl FnMut(Signal) + Send + 'static) -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("blocking signals")?;
    let wait = move || {
        while let Ok(signal) = signals.wait() {
            handle(signal);
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .context("starting a thread for signals")?;
    Ok(())
}
