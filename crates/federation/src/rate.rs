//! Budgets: how much somebody may begin in a second, for partners, sources, connections, or whatever else a key names.
//!
//! [`Buckets`] is a bounded table of token buckets. What a stranger can choose as a key costs a bounded amount of memory:
//! when the table is full, those go whose bucket is full again, since forgetting them changes nothing, and then those that
//! used up least.
//!
//! Rules: none of an RFC. The arithmetic is the virtual scheduling form of the leaky bucket (ITU-T I.371, GCRA): one time
//! for each key.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::quality::FixedState;
use hashbrown::HashMap;
use node::Instant;

/// Requests a second that one connection may begin, where nobody configured another limit: a hub or a partner sends all its
/// users' requests over one.
pub const PER_CONNECTION: Allowance = Allowance { per_second: 200, burst: 400 };
/// Requests a second that one source (an IPv4 address, an IPv6 network of 64 bits) may begin without having proved who it is.
/// An office of remote users behind one address signs in within a minute of its line coming back.
pub const PER_SOURCE: Allowance = Allowance { per_second: 50, burst: 500 };
/// Most keys in a table of sources: at 40 octets each, some 3 MiB.
pub const SOURCES_MAX: usize = 65_536;
/// Most keys in a table of connections: as many as one process holds open.
pub const CONNECTIONS_MAX: usize = 131_072;
/// Most keys in a table of partners and hubs: those of the largest policy.
pub const PARTNERS_MAX: usize = crate::policy::ENTRIES_MAX;

/// When a full table is cleared up, one of this many goes at least, so that clearing up is rare.
const FREED_SHARE: usize = 8;

/// How much may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// In the long run, from 1.
    pub per_second: u32,
    /// At once, after a rest, from 1.
    pub burst: u32,
}

impl Allowance {
    /// So many a second, and two seconds' worth at once: people come in groups.
    pub fn per_second(per_second: u32) -> Allowance {
        Allowance { per_second, burst: per_second.saturating_mul(2) }
    }

    fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }

    /// How far ahead of the clock a bucket may be before the next token.
    fn lead(self) -> Duration {
        self.interval() * (self.burst.max(1) - 1)
    }
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// When the next request will find room.
    pub retry_after: Duration,
}

impl Exhausted {
    /// For Retry-After (RFC 3261 §20.33): whole seconds, at least one.
    pub fn retry_after_seconds(self) -> u32 {
        let up = self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0);
        u32::try_from(up.max(1)).unwrap_or(u32::MAX)
    }
}

/// Token buckets by key.
#[derive(Clone, Debug)]
pub struct Buckets<K> {
    /// When the bucket will be full again.
    full_at: HashMap<K, Instant, FixedState>,
    keys_max: usize,
}

impl<K: Eq + Hash> Buckets<K> {
    /// An empty table. `seed` keeps strangers from choosing keys that meet in one place.
    pub fn new(keys_max: usize, seed: u64) -> Buckets<K> {
        Buckets { full_at: HashMap::with_hasher(FixedState::with_seed(seed)), keys_max: keys_max.max(1) }
    }

    /// Takes a token. One that is not there costs nothing: who asks too often does not wait longer for it.
    pub fn take(&mut self, now: Instant, key: K, allowance: Allowance) -> Result<(), Exhausted> {
        if self.full_at.len() >= self.keys_max && !self.full_at.contains_key(&key) {
            self.clear_up(now);
        }
        let full_at = self.full_at.entry(key).or_insert(now);
        take(full_at, now, allowance)
    }

    /// Forgets a key, such as a connection that closed.
    pub fn forget(&mut self, key: &K) {
        self.full_at.remove(key);
    }

    /// How many keys are known.
    pub fn len(&self) -> usize {
        self.full_at.len()
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.full_at.is_empty()
    }

    fn clear_up(&mut self, now: Instant) {
        self.full_at.retain(|_, full_at| *full_at > now);
        let keep_max = self.keys_max - self.keys_max.div_ceil(FREED_SHARE);
        if self.full_at.len() > keep_max {
            let mut times: Vec<Instant> = self.full_at.values().copied().collect();
            let goes = times.len() - keep_max;
            let (_, last, _) = times.select_nth_unstable(goes - 1);
            let last = *last;
            self.full_at.retain(|_, full_at| *full_at > last);
        }
    }
}

/// Takes a token of one bucket, which is full again at `full_at`.
pub(crate) fn take(full_at: &mut Instant, now: Instant, allowance: Allowance) -> Result<(), Exhausted> {
    let lead = full_at.since(now);
    match lead.checked_sub(allowance.lead()) {
        Some(over) if !over.is_zero() => Err(Exhausted { retry_after: over }),
        Some(_) | None => {
            *full_at = (*full_at).max(now) + allowance.interval();
            Ok(())
        }
    }
}

/// What counts as one source: an IPv4 address, or the network of 64 bits that one IPv6 host can choose its addresses from
/// (RFC 4291 §2.5.4). An IPv4 address in IPv6's clothes is the IPv4 address.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_burst_then_the_rate() {
        let mut buckets = Buckets::new(10, 1);
        let allowance = Allowance { per_second: 10, burst: 3 };
        let mut take =
            |at: u64| buckets.take(Instant(at), "a", allowance).map_err(|e| e.retry_after.as_millis());
        assert_eq!([take(0), take(0), take(0), take(0)], [Ok(()), Ok(()), Ok(()), Err(100)]);
        assert_eq!([take(60_000), take(100_000), take(100_000)], [Err(40), Ok(()), Err(100)]);
        assert_eq!(
            [take(SECOND), take(SECOND), take(SECOND), take(SECOND)],
            [Ok(()), Ok(()), Ok(()), Err(100)]
        );
    }

    #[test]
    fn retry_after_is_at_least_a_second() {
        assert_eq!(Exhausted { retry_after: Duration::from_millis(1) }.retry_after_seconds(), 1);
        assert_eq!(Exhausted { retry_after: Duration::from_millis(1001) }.retry_after_seconds(), 2);
    }

    #[test]
    fn a_flood_of_keys_does_not_free_the_one_that_floods() {
        let mut buckets = Buckets::new(100, 1);
        let allowance = Allowance { per_second: 1, burst: 5 };
        for _ in 0..5 {
            buckets.take(Instant(0), 0, allowance).unwrap();
        }
        for key in 1..10_000u32 {
            buckets.take(Instant(u64::from(key)), key, allowance).unwrap();
            assert!(buckets.len() <= 100);
        }
        assert!(buckets.take(Instant(20_000), 0, allowance).is_err());
        assert!(buckets.take(Instant(60 * SECOND), 0, allowance).is_ok());
    }

    #[test]
    fn one_host_is_one_source() {
        let of = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_burst_and_rate(
            per_second in 1u32..1000,
            burst in 1u32..1000,
            steps in prop::collection::vec(0u64..20_000, 1..400),
        ) {
            let mut buckets = Buckets::new(1, 1);
            let (mut now, mut taken) = (0, 0u64);
            for step in steps {
                now += step;
                taken += u64::from(buckets.take(Instant(now), (), Allowance { per_second, burst }).is_ok());
            }
            // Intervals are whole nanoseconds, rounded down: less than a token in an hour too many.
            prop_assert!(taken <= u64::from(burst) + now * u64::from(per_second) / SECOND + 1);
        }
    }
}
