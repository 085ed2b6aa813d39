//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970; zero on a machine whose clock stands before that.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
