//! Bounds how many lines one process may write to its app's log.

use std::time::{Duration, Instant};

/// Lines that may come at once.
const BURST: u32 = 10_000;
/// Lines a second after that.
const RATE: u32 = 2000;
/// How often a notice says what was dropped.
const NOTICE: Duration = Duration::from_secs(5);

/// Counts one process's lines.
#[derive(Debug)]
pub struct Throttle {
    room: u32,
    filled_at: Instant,
    dropped: u64,
    noticed_at: Option<Instant>,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Keep,
    Drop,
    /// Lines have been dropped since the last notice, this one too: so many.
    Notice(u64),
}

impl Throttle {
    pub fn new(now: Instant) -> Self {
        Self {
            room: BURST,
            filled_at: now,
            dropped: 0,
            noticed_at: None,
        }
    }

    /// Decides about one line.
    pub fn take(&mut self, now: Instant) -> Verdict {
        let since = now.duration_since(self.filled_at);
        let new = u32::try_from(since.as_millis() * u128::from(RATE) / 1000).unwrap_or(BURST);
        if new > 0 {
            self.room = self.room.saturating_add(new).min(BURST);
            self.filled_at = now;
        }
        if self.room > 0 {
            self.room -= 1;
            return Verdict::Keep;
        }
        self.dropped += 1;
        if self
            .noticed_at
            .is_some_and(|at| now.duration_since(at) < NOTICE)
        {
            return Verdict::Drop;
        }
        self.noticed_at = Some(now);
        Verdict::Notice(std::mem::take(&mut self.dropped))
    }

    /// What was dropped and not yet told.
    pub fn rest(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_told() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        assert!((0..BURST).all(|_| throttle.take(start) == Verdict::Keep));
        assert_eq!(throttle.take(start), Verdict::Notice(1));
        assert!((0..99).all(|_| throttle.take(start) == Verdict::Drop));
        let later = start + Duration::from_secs(1);
        assert!((0..RATE).all(|_| throttle.take(later) == Verdict::Keep));
        assert_eq!(throttle.take(later), Verdict::Drop);
        let later = start + NOTICE;
        let room = RATE * 4;
        assert!((0..room).all(|_| throttle.take(later) == Verdict::Keep));
        assert_eq!(throttle.take(later), Verdict::Notice(101));
        assert_eq!(throttle.rest(), 0);
    }
}
