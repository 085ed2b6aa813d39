//! How much somebody may ask for in a time: token buckets of connections, sources and partners.

use std::net::IpAddr;
use std::sync::Arc;

use federation::verdict::Budget;
use foldhash::quality::FixedState;
use hashbrown::HashMap;
use node::Instant;

use crate::links::source;

/// How many seconds' worth may come at once: what gathers while a client signs in, or while a link was cut.
const BURST_SECONDS: u64 = 10;
/// Most sources that are remembered, at 48 octets each. A source whose bucket is full again is as good as forgotten.
const SOURCES_MAX: usize = 65_536;

/// A bucket that fills with time. How fast, its owner says each time, so that a changed limit holds at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// What was taken and has not come back yet, in microseconds' worth times the rate.
    taken: u64,
    at: Instant,
}

/// One request, in the bucket's unit: a second's worth is so many times the rate.
const ONE: u64 = 1_000_000;

impl Bucket {
    pub(crate) fn full(now: Instant) -> Bucket {
        Bucket { taken: 0, at: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant, per_second: u32) -> bool {
        self.refill(now, per_second);
        let taken = self.taken + ONE;
        let fits = taken <= u64::from(per_second).max(1) * BURST_SECONDS * ONE;
        if fits {
            self.taken = taken;
        }
        fits
    }

    fn refill(&mut self, now: Instant, per_second: u32) {
        let passed = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        self.taken = self.taken.saturating_sub(passed.saturating_mul(per_second.into()));
        self.at = now;
    }
}

/// The buckets that outlive a connection.
pub(crate) struct Budgets {
    sources: HashMap<IpAddr, Bucket, FixedState>,
    /// By the name of a partner or hub; those of the policy, so that they are few.
    peers: HashMap<Arc<str>, Bucket, FixedState>,
}

impl Budgets {
    pub(crate) fn new(seed: u64) -> Budgets {
        let hasher = FixedState::with_seed(seed);
        Budgets { sources: HashMap::with_hasher(hasher.clone()), peers: HashMap::with_hasher(hasher) }
    }

    /// A request from somebody of whom nothing is proved.
    pub(crate) fn take_of_source(&mut self, now: Instant, ip: IpAddr, per_second: u32) -> bool {
        let source = source(ip);
        if !self.sources.contains_key(&source) && self.sources.len() >= SOURCES_MAX {
            self.sources.retain(|_, bucket| {
                bucket.refill(now, per_second);
                bucket.taken > 0
            });
            if self.sources.len() >= SOURCES_MAX {
                return false;
            }
        }
        self.sources.entry(source).or_insert(Bucket::full(now)).take(now, per_second)
    }

    /// A request that begins something on a partner's road; the first budget that is used up, if one is.
    pub(crate) fn take_of_peers<'b>(
        &mut self,
        now: Instant,
        budgets: &'b [Budget],
    ) -> Result<(), &'b Budget> {
        for budget in budgets {
            let bucket = self.peers.entry(budget.name.clone()).or_insert(Bucket::full(now));
            if !bucket.take(now, budget.per_second) {
                return Err(budget);
            }
        }
        Ok(())
    }

    /// Forgets whoever is no longer in the policy.
    pub(crate) fn keep_peers(&mut self, is_known: impl Fn(&str) -> bool) {
        self.peers.retain(|name, _| is_known(name));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut now = Instant(0);
        let mut bucket = Bucket::full(now);
        let taken = (0..100).filter(|_| bucket.take(now, 2)).count();
        assert_eq!(taken, 20, "ten seconds' worth");
        now = now + Duration::from_millis(499);
        assert!(!bucket.take(now, 2));
        now = now + Duration::from_millis(1);
        assert!(bucket.take(now, 2) && !bucket.take(now, 2), "half a second brings one");
        now = now + Duration::from_secs(1_000_000_000);
        assert_eq!((0..100).filter(|_| bucket.take(now, 2)).count(), 20, "never more than a burst");
    }

    #[test]
    fn one_ipv6_network_is_one_source_and_the_table_has_an_end() {
        let mut budgets = Budgets::new(1);
        let now = Instant(0);
        let mut take = |ip: u128, now| budgets.take_of_source(now, IpAddr::V6(ip.into()), 1);
        let network = 0x2001_0db8_u128 << 96;
        let taken = (0..100).filter(|host| take(network + host, now)).count();
        assert_eq!(taken, 10);
        for other in 1..SOURCES_MAX as u128 {
            assert!(take(network + (other << 64), now));
        }
        let one_more = network + ((SOURCES_MAX as u128) << 64);
        assert!(!take(one_more, now), "full");
        assert!(take(one_more, now + Duration::from_secs(11)), "those that are quiet again are forgotten");
    }
}
