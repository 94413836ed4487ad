//! The one place that reads the clock.
//!
//! Times are stored and shown in whole seconds of UTC: `2026-01-01T00:00:00Z`.

use std::time::SystemTime;

use jiff::Timestamp;

/// The time now, cut to whole seconds, so that a time reads back as it was written.
#[expect(
    clippy::disallowed_methods,
    reason = "the platform's records carry times; nothing that a build makes does"
)]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The time now as file systems have it.
#[expect(
    clippy::disallowed_methods,
    reason = "the age of what is kept, never a part of it"
)]
pub fn system_now() -> SystemTime {
    SystemTime::now()
}

/// The time now, for lines of logs.
#[expect(
    clippy::disallowed_methods,
    reason = "lines of logs carry times; nothing that a build makes does"
)]
pub fn precise() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_whole_seconds() {
        let text = now().to_string();
        assert_eq!(text.len(), "2026-01-01T00:00:00Z".len(), "{text}");
        assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
    }
}
