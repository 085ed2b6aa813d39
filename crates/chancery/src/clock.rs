//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970; zero on a machine whose clock stands before that.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A moment as RFC 3339, in UTC.
pub(crate) fn timestamp(unix_seconds: i64) -> String {
    written(unix_seconds, "%Y-%m-%dT%H:%M:%SZ")
}

/// Its day, in UTC.
pub(crate) fn day(unix_seconds: i64) -> String {
    written(unix_seconds, "%Y-%m-%d")
}

/// Certificates may end in the year 9999, and say even later: what has no date is told as a number.
fn written(unix_seconds: i64, format: &str) -> String {
    jiff::Timestamp::from_second(unix_seconds)
        .map_or_else(|_| format!("second {unix_seconds}"), |timestamp| timestamp.strftime(format).to_string())
}
