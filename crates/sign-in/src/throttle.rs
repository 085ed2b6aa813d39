//! Slowing those who guess passwords, without locking out those who own them.
//!
//! Failures are counted in leaky buckets, one for each pair of source and account, one for each source, and one for each account. A bucket that is full means that
//! the password is not even looked at. The account's bucket (many sources guessing at one account) does not count for sources from which the account has
//! signed in before: its owner gets in while the guessing goes on. Unknown accounts are counted like known ones, in any case of letters, and by a keyed
//! hash: a stranger's name costs no more memory the longer it is.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use directory::UserId;
use hashbrown::HashMap;
use node::Instant;
use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::{SmallVec, smallvec};

/// Failures one source may have with one account at once, and how fast they are forgotten: a person who mistypes never meets it, a guesser gets 360 tries an hour.
const PAIR: Bucket = Bucket { size: 10, leak: Duration::from_secs(10) };
/// Failures one source may have with all accounts: an office behind one address has many people who mistype.
const SOURCE: Bucket = Bucket { size: 100, leak: Duration::from_secs(1) };
/// Failures that one account may have from sources that it never signed in from.
const ACCOUNT: Bucket = Bucket { size: 50, leak: Duration::from_secs(10) };
/// Buckets that are kept; when there are more, those that have leaked empty go, then the lowest. At 64 octets, 3 MiB.
const BUCKETS_MAX: usize = 50_000;
/// How often those that have leaked empty go: as long as the fullest of a pair needs.
const SWEEP_INTERVAL: Duration = Duration::from_secs(100);
/// Sources from which an account has signed in that are remembered for it.
const KNOWN_SOURCES_MAX: usize = 8;
/// Accounts for which they are remembered.
const KNOWN_ACCOUNTS_MAX: usize = 100_000;

struct Bucket {
    size: u32,
    leak: Duration,
}

/// The counts. Keys that strangers choose are in order and keyed, so that they cannot be made to collide.
pub(crate) struct Throttle {
    key: [u8; 16],
    levels: BTreeMap<Key, Level>,
    swept: Instant,
    known: HashMap<UserId, SmallVec<[IpAddr; 1]>, foldhash::fast::FixedState>,
}

/// A keyed hash of an account's name.
type Tag = u128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Pair(IpAddr, Tag),
    Source(IpAddr),
    Account(Tag),
}

/// How full a bucket was, when.
#[derive(Clone, Copy, Debug)]
struct Level {
    failures: u32,
    at: Instant,
}

impl Throttle {
    /// With nothing counted. What is remembered of names is told by nobody without the key.
    pub(crate) fn new(key: [u8; 16]) -> Throttle {
        Throttle { key, levels: BTreeMap::new(), swept: Instant(0), known: HashMap::default() }
    }

    /// How long `source` must wait before a password for `account` (a user name as given, known or not; `user` if it is) is looked at; `None` if it need not.
    pub(crate) fn wait(
        &self,
        now: Instant,
        source: IpAddr,
        account: &str,
        user: Option<UserId>,
    ) -> Option<Duration> {
        if self.levels.is_empty() {
            return None;
        }
        let (source, account) = (network(source), self.tag(account));
        let sources = user.and_then(|user| self.known.get(&user));
        let is_known = sources.is_some_and(|sources| sources.contains(&source));
        let pair = self.full(now, &Key::Pair(source, account), &PAIR);
        let all = self.full(now, &Key::Source(source), &SOURCE);
        let account = if is_known { None } else { self.full(now, &Key::Account(account), &ACCOUNT) };
        [pair, all, account].into_iter().flatten().max()
    }

    /// A password was wrong.
    pub(crate) fn failed(&mut self, now: Instant, source: IpAddr, account: &str) {
        self.sweep_when_due(now);
        let (source, account) = (network(source), self.tag(account));
        for key in [Key::Pair(source, account), Key::Source(source), Key::Account(account)] {
            self.add(now, key);
        }
    }

    /// A password was right.
    pub(crate) fn succeeded(&mut self, now: Instant, source: IpAddr, account: &str, user: UserId) {
        let source = network(source);
        if !self.levels.is_empty() {
            self.sweep_when_due(now);
            self.levels.remove(&Key::Pair(source, self.tag(account)));
        }
        if let Some(sources) = self.known.get_mut(&user) {
            if !sources.contains(&source) {
                sources.truncate(KNOWN_SOURCES_MAX - 1);
                sources.insert(0, source);
            }
        } else if self.known.len() < KNOWN_ACCOUNTS_MAX {
            self.known.insert(user, smallvec![source]);
        }
    }

    fn full(&self, now: Instant, key: &Key, bucket: &Bucket) -> Option<Duration> {
        let level = self.levels.get(key)?;
        let left = level.left(now, bucket);
        (left >= bucket.size).then(|| bucket.leak * (left - bucket.size + 1))
    }

    fn add(&mut self, now: Instant, key: Key) {
        if self.levels.len() >= BUCKETS_MAX && !self.levels.contains_key(&key) {
            self.make_room(now);
        }
        let bucket = key.bucket();
        let level = self.levels.entry(key).or_insert(Level { failures: 0, at: now });
        *level = Level { failures: level.left(now, bucket).saturating_add(1).min(bucket.size), at: now };
    }

    fn sweep_when_due(&mut self, now: Instant) {
        if now.since(self.swept) >= SWEEP_INTERVAL {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.swept = now;
        self.levels.retain(|key, level| level.left(now, key.bucket()) > 0);
    }

    /// A tenth goes at least, so that this is seldom.
    fn make_room(&mut self, now: Instant) {
        self.sweep(now);
        for lowest in 1..=SOURCE.size {
            let mut left = self.levels.len().saturating_sub(BUCKETS_MAX - BUCKETS_MAX / 10);
            if left == 0 {
                return;
            }
            self.levels.retain(|key, level| {
                let goes = left > 0 && level.left(now, key.bucket()) <= lowest;
                left -= usize::from(goes);
                !goes
            });
        }
    }

    fn tag(&self, account: &str) -> Tag {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(account.to_lowercase().as_bytes());
        hasher.finish128().as_u128()
    }
}

impl Key {
    fn bucket(&self) -> &'static Bucket {
        match self {
            Key::Pair(..) => &PAIR,
            Key::Source(_) => &SOURCE,
            Key::Account(_) => &ACCOUNT,
        }
    }
}

impl Level {
    /// What has not leaked yet.
    fn left(&self, now: Instant, bucket: &Bucket) -> u32 {
        let leaked = now.since(self.at).as_micros() / bucket.leak.as_micros();
        self.failures.saturating_sub(u32::try_from(leaked).unwrap_or(u32::MAX))
    }
}

/// What one guesser has: an IPv4 address, or a /64 of IPv6.
pub(crate) fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: UserId = UserId(1);
    const GUESSER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66));
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    fn throttle() -> Throttle {
        Throttle::new([7; 16])
    }

    #[test]
    fn a_guesser_is_slowed_and_others_are_not() {
        let mut throttle = throttle();
        for _ in 0..PAIR.size {
            assert_eq!(throttle.wait(at(0), GUESSER, "alice", Some(ALICE)), None);
            throttle.failed(at(0), GUESSER, "alice");
        }
        assert_eq!(throttle.wait(at(0), GUESSER, "alice", Some(ALICE)), Some(PAIR.leak));
        assert_eq!(throttle.wait(at(0), GUESSER, "bob", None), None);
        assert_eq!(throttle.wait(at(0), HOME, "alice", Some(ALICE)), None);
        assert_eq!(throttle.wait(at(11), GUESSER, "alice", Some(ALICE)), None, "one try has leaked");
    }

    #[test]
    fn many_guessers_slow_strangers_but_not_the_owner() {
        let mut throttle = throttle();
        throttle.succeeded(at(0), HOME, "alice", ALICE);
        for n in 0..ACCOUNT.size {
            throttle.failed(at(0), IpAddr::V4((0x0a00_0000 + n).into()), "alice");
        }
        assert!(throttle.wait(at(0), GUESSER, "alice", Some(ALICE)).is_some());
        assert_eq!(throttle.wait(at(0), HOME, "alice", Some(ALICE)), None);
    }

    #[test]
    fn an_ipv6_guesser_cannot_hop_within_its_network() {
        let mut throttle = throttle();
        for n in 0..u128::from(PAIR.size) {
            throttle.failed(at(0), IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | n)), "alice");
        }
        let next = IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | 0xffff));
        assert!(throttle.wait(at(0), next, "alice", Some(ALICE)).is_some());
    }

    #[test]
    fn a_name_is_the_same_in_any_case_of_letters() {
        let mut throttle = throttle();
        for n in 0..PAIR.size {
            throttle.failed(at(0), GUESSER, ["alice", "Alice", "ALICE"][n as usize % 3]);
        }
        assert!(throttle.wait(at(0), GUESSER, "aLICE", Some(ALICE)).is_some());
    }

    /// Neither by many sources and names nor by long ones; and what is over goes by itself.
    #[test]
    fn the_table_is_bounded() {
        let mut throttle = throttle();
        for _ in 0..PAIR.size {
            throttle.failed(at(0), GUESSER, "alice");
        }
        for n in 0..BUCKETS_MAX as u32 {
            throttle.failed(at(0), IpAddr::V4(n.into()), &format!("{n}"));
        }
        assert!(throttle.levels.len() <= BUCKETS_MAX);
        assert!(size_of::<(Key, Level)>() <= 64, "{}", size_of::<(Key, Level)>());
        assert!(
            throttle.wait(at(0), GUESSER, "alice", None).is_some(),
            "a flood forgives nobody who is full"
        );
        throttle.succeeded(at(1000), HOME, "bob", UserId(2));
        assert_eq!(throttle.levels.len(), 0);
    }
}
