//! Following the stamps of entries (entryCSN, modifyTimestamp) of directories that tell nothing better.
//!
//! A stamp is given when a change begins and seen when it is committed, and a replica gets changes later than it gives stamps itself:
//! a stamp that is not the newest may show late. So each look goes back by [`OVERLAP`] behind the newest, and what was told already
//! is remembered that long.

use std::borrow::Cow;
use std::collections::BTreeMap;

use directory::ObjectId;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

/// How far each look goes back behind the newest stamp, in minutes. What a replica gets later than that shows at the next full read.
const OVERLAP_MINUTES: i64 = 5;

/// How far servers' clocks may be ahead of ours, in minutes: what Kerberos allows.
const AHEAD_MINUTES: i64 = 5;

/// How a stamp's time begins.
const FORMAT: &str = "%Y%m%d%H%M%S";
/// Octets of it.
const TIME_OCTETS: usize = 14;

/// What was told of the time behind the newest stamp.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    told: BTreeMap<ObjectId, String>,
}

impl Stamps {
    /// Whether this stamp of this entry has not been told; it is now.
    pub(crate) fn is_news(&mut self, id: ObjectId, stamp: &str) -> bool {
        match self.told.get_mut(&id) {
            Some(told) if told == stamp => false,
            Some(told) => {
                stamp.clone_into(told);
                true
            }
            None => {
                self.told.insert(id, stamp.to_owned());
                true
            }
        }
    }

    /// Forgets what is before the bound of the next look.
    pub(crate) fn forget_before(&mut self, bound: &str) {
        self.told.retain(|_, stamp| stamp.as_str() >= bound);
    }
}

/// From where the next look goes on: so much before the newest stamp. `None`: it is no stamp.
pub(crate) fn bound(newest: &str) -> Option<String> {
    let time = newest.get(..TIME_OCTETS)?;
    let time = DateTime::strptime(FORMAT, time).ok()?;
    let overlap: Span = OVERLAP_MINUTES.minutes();
    let bound = time.checked_sub(overlap).ok()?.strftime(FORMAT).to_string();
    Some(rest_of(&bound, newest))
}

/// A stamp as far as it is not of the future. Where our clock is behind, a look only goes further back than it must.
pub(crate) fn not_after(stamp: &str, now: Timestamp) -> Cow<'_, str> {
    let latest = now.checked_add(AHEAD_MINUTES.minutes()).unwrap_or(Timestamp::MAX);
    let latest = latest.to_zoned(TimeZone::UTC).strftime(FORMAT).to_string();
    match stamp.get(..TIME_OCTETS) {
        Some(time) if time > latest.as_str() => Cow::Owned(rest_of(&latest, stamp)),
        _ => Cow::Borrowed(stamp),
    }
}

/// The least stamp of the same kind at that time.
fn rest_of(time: &str, stamp: &str) -> String {
    match stamp.contains('#') {
        true => format!("{time}.000000Z#000000#000#000000"),
        false => format!("{time}Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_of_the_future_is_not_the_newest() {
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        for (stamp, expected) in [
            ("20261122000210.123456Z#00001a#001#00000f", "20261122000210.123456Z#00001a#001#00000f"),
            ("20261122000459Z", "20261122000459Z"),
            ("20361122000210.123456Z#00001a#001#00000f", "20261122000500.000000Z#000000#000#000000"),
            ("99991231235959Z", "20261122000500Z"),
            ("", ""),
        ] {
            assert_eq!(not_after(stamp, now), expected);
        }
    }

    #[test]
    fn a_look_goes_back_behind_the_newest() {
        assert_eq!(
            bound("20261122000210.123456Z#00001a#001#00000f").as_deref(),
            Some("20261121235710.000000Z#000000#000#000000")
        );
        assert_eq!(bound("20260301000000Z").as_deref(), Some("20260228235500Z"));
        for wrong in ["", "2026", "yesterday morning", "20261322000210Z"] {
            assert_eq!(bound(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_stamp_is_told_once() {
        let id = ObjectId([1; 16]);
        let mut stamps = Stamps::default();
        assert!(stamps.is_news(id, "20261122000210Z"));
        assert!(!stamps.is_news(id, "20261122000210Z"));
        assert!(stamps.is_news(id, "20261122000211Z"));
        stamps.forget_before("20261122000211Z");
        assert!(!stamps.is_news(id, "20261122000211Z"));
        stamps.forget_before("20261122000212Z");
        assert!(stamps.is_news(id, "20261122000211Z"));
    }
}
