//! A process and what it uses: how it ended, and when it has too much memory, said in Heroku's words.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::size::Size;
use crate::dyno::Process;
use crate::platform::scratch::Scratch;
use crate::sandbox::{Error, Limit};

const MEMORY_TICK: Duration = Duration::from_secs(2);
/// How often memory over the limit is said. Source: Heroku's notices come every twenty seconds.
const MEMORY_NOTICE: Duration = Duration::from_secs(20);

/// A started process. Dropping it kills all that it has started.
pub(super) struct Watched {
    pub process: Process,
    size: Arc<Size>,
    memory_due: Instant,
    notice_due: Instant,
    /// After the process: nothing writes there any more.
    _scratch: Scratch,
}

impl Watched {
    pub fn new(process: Process, size: Arc<Size>, scratch: Scratch) -> Self {
        let now = Instant::now();
        Self {
            process,
            size,
            memory_due: now + MEMORY_TICK,
            notice_due: now,
            _scratch: scratch,
        }
    }

    /// Says where it has more memory than its size, at times.
    pub fn look_at_memory(&mut self, mut say: impl FnMut(&str)) {
        let now = Instant::now();
        if now < self.memory_due {
            return;
        }
        self.memory_due = now + MEMORY_TICK;
        let used = self.process.memory_bytes();
        if used <= self.size.memory_bytes || now < self.notice_due {
            return;
        }
        self.notice_due = now + MEMORY_NOTICE;
        self.say_memory(used, &mut say);
        say(&format!(
            "Error R14 (Memory quota exceeded) -> {}",
            self.quota()
        ));
    }

    fn say_memory(&self, used: u64, say: &mut impl FnMut(&str)) {
        let percent = used.saturating_mul(1000) / self.size.memory_bytes.max(1);
        say(&format!(
            "Process running mem={}M({}.{}%)",
            used >> 20,
            percent / 10,
            percent % 10
        ));
    }

    fn quota(&self) -> String {
        format!("{} has {}M", self.size.name, self.size.memory_bytes >> 20)
    }

    /// The exit code, if it has ended, as a shell has it; says which limit it has reached.
    pub fn ended(&mut self, mut say: impl FnMut(&str)) -> Option<i32> {
        match self.process.try_wait() {
            Ok(None) => return None,
            Ok(Some(exit)) => return Some(exit.code()),
            Err(Error::Limit { limit, value }) => {
                if limit == Limit::Memory {
                    self.say_memory(value, &mut say);
                    say(&format!(
                        "Error R15 (Memory quota vastly exceeded) -> {}",
                        self.quota()
                    ));
                } else {
                    let size = &self.size.name;
                    say(&format!(
                        "The dyno reached the limit of {size}: {value} ({limit:?})"
                    ));
                }
                say("Stopping process with SIGKILL");
            }
            Err(error) => say(&format!("The dyno could not be started: {error}")),
        }
        Some(137)
    }
}
