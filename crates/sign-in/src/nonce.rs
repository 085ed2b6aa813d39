//! Nonces that cost nothing until they are used well (RFC 7616 §3.3, §5.4).
//!
//! A nonce says in which start, when (on the clock that never jumps) and for which network it was made, and bears a keyed digest, so that nothing
//! is kept for it while strangers ask for challenges. Only when a right answer comes with it is it remembered, with the nonce count, so that no answer
//! is taken twice. The memory is bounded: when it is full the oldest nonce is forgotten, and every nonce as old as that one counts as stale.
//!
//! A nonce is good in the network that asked for it alone: whoever writes somebody else's address under his datagrams has none that is good there, and
//! so cannot make wrong passwords count against that address.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use node::Instant;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::throttle::network;

/// Nonces in use that are remembered. Each is the sign-in of one device within a nonce's life; 24 octets each.
const USED_MAX: usize = 131_072;
/// Number, start and network.
const PLAIN_OCTETS: usize = 16;
/// With the digest: 96 bits of it cannot be guessed.
const NONCE_OCTETS: usize = PLAIN_OCTETS + 12;
/// Bits of a nonce's number that count nonces made in the same millisecond.
const COUNTER_BITS: u32 = 20;

/// Makes and judges nonces.
pub(crate) struct Nonces {
    key: [u8; 16],
    /// Tells nonces of this start from those of earlier ones, whose counts are forgotten.
    boot: [u8; 4],
    lifetime: Duration,
    last: u64,
    /// Nonces made at or before this moment were forgotten and are stale.
    horizon: Option<Instant>,
    /// By number, oldest first. Nearly all are used as soon as they were made: what is touched is the tree's end, where a hash
    /// table would be touched anywhere.
    used: BTreeMap<u64, Use>,
}

struct Use {
    count: u32,
    /// Keyed digest of the datagram that used the count, to know its retransmission; 0 where it came in none.
    datagram: u64,
}

/// What a nonce of ours is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// May be used.
    Good(NonceId),
    /// Ours, but too old: the client may try again with a new one without asking its user.
    Stale,
    /// Ours, but it was made for another network: no answer to it counts, whether right or wrong.
    Elsewhere,
    /// Not ours.
    Forged,
}

/// A nonce that is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NonceId(u64);

/// What using a nonce came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Used {
    /// The first time with this count.
    Fresh,
    /// The very datagram that used this count before: a retransmission.
    Again,
    /// Another request with a count that was used before.
    Replayed,
}

impl Nonces {
    /// `key` is kept over restarts, so that nonces of an earlier start are known as ours, but stale; `boot` is fresh.
    pub(crate) fn new(key: [u8; 16], boot: [u8; 4], lifetime: Duration) -> Nonces {
        Nonces { key, boot, lifetime, last: 0, horizon: None, used: BTreeMap::new() }
    }

    pub(crate) fn live_for(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    /// A new nonce for whoever asks from `source`.
    pub(crate) fn make(&mut self, now: Instant, source: IpAddr) -> String {
        self.last = (self.last + 1).max((now.0 / 1000) << COUNTER_BITS);
        let mut octets = [0; NONCE_OCTETS];
        octets[..8].copy_from_slice(&self.last.to_be_bytes());
        octets[8..12].copy_from_slice(&self.boot);
        octets[12..PLAIN_OCTETS].copy_from_slice(&self.place(source));
        let digest = self.digest(&octets[..PLAIN_OCTETS]);
        octets[PLAIN_OCTETS..].copy_from_slice(&digest);
        URL_SAFE_NO_PAD.encode(octets)
    }

    /// Judges a nonce that came from `source`.
    pub(crate) fn judge(&self, now: Instant, source: IpAddr, nonce: &str) -> Worth {
        let mut octets = [0; NONCE_OCTETS];
        if URL_SAFE_NO_PAD.decode_slice(nonce, &mut octets) != Ok(octets.len()) {
            return Worth::Forged;
        }
        let (plain, digest) = octets.split_at(PLAIN_OCTETS);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(digest, &self.digest(plain)[..])) {
            return Worth::Forged;
        }
        if octets[12..PLAIN_OCTETS] != self.place(source) {
            return Worth::Elsewhere;
        }
        let number = u64::from_be_bytes(octets[..8].try_into().expect("8 octets"));
        let made = made(number);
        let is_forgotten = self.horizon.is_some_and(|horizon| made <= horizon);
        if octets[8..12] != self.boot || is_forgotten || now.since(made) > self.lifetime {
            return Worth::Stale;
        }
        Worth::Good(NonceId(number))
    }

    /// Uses a good nonce with a count, after the answer was found right. Without a count (RFC 2069) a nonce is good once. `datagram` is a keyed
    /// digest of the datagram that it came in, if it may come again.
    pub(crate) fn spend(&mut self, now: Instant, nonce: NonceId, count: u32, datagram: Option<u64>) -> Used {
        let fresh = Use { count, datagram: datagram.unwrap_or(0) };
        if let Some(used) = self.used.get_mut(&nonce.0) {
            if count > used.count {
                *used = fresh;
                return Used::Fresh;
            }
            let is_again = count == used.count && datagram == Some(used.datagram);
            return if is_again { Used::Again } else { Used::Replayed };
        }
        self.forget(now);
        self.used.insert(nonce.0, fresh);
        Used::Fresh
    }

    /// Forgets nonces whose life is over, and the oldest if there are too many.
    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.used.first_entry() {
            let made = made(*oldest.key());
            let is_over = now.since(made) > self.lifetime;
            if !is_over && self.used.len() < USED_MAX {
                break;
            }
            if !is_over {
                self.horizon = self.horizon.max(Some(made));
            }
            self.used.pop_first();
        }
    }

    /// What a nonce says of the network that it is for. Two networks in four thousand millions look alike.
    fn place(&self, source: IpAddr) -> [u8; 4] {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        match network(source) {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.finish128().as_bytes()[..4].try_into().expect("16 octets have 4")
    }

    fn digest(&self, octets: &[u8]) -> [u8; 12] {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(octets);
        hasher.finish128().as_bytes()[..12].try_into().expect("16 octets have 12")
    }
}

/// When a nonce was made, to the millisecond.
fn made(number: u64) -> Instant {
    Instant((number >> COUNTER_BITS) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant(1_000_000);
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn nonces() -> Nonces {
        Nonces::new([7; 16], [1; 4], Duration::from_secs(300))
    }

    fn good(worth: Worth) -> NonceId {
        match worth {
            Worth::Good(id) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_count_is_good_once_and_its_retransmission_is_known() {
        let mut nonces = nonces();
        let nonce = nonces.make(START, HOME);
        let id = good(nonces.judge(START, HOME, &nonce));
        assert_eq!(nonces.spend(START, id, 1, Some(11)), Used::Fresh);
        assert_eq!(nonces.spend(START, id, 1, Some(11)), Used::Again);
        assert_eq!(nonces.spend(START, id, 1, Some(12)), Used::Replayed);
        assert_eq!(nonces.spend(START, id, 3, Some(13)), Used::Fresh);
        assert_eq!(nonces.spend(START, id, 2, Some(14)), Used::Replayed);
        assert_eq!(nonces.spend(START, id, 4, None), Used::Fresh);
        assert_eq!(nonces.spend(START, id, 4, None), Used::Replayed, "what came in no datagram comes once");
    }

    #[test]
    fn a_nonce_is_good_in_its_network_alone() {
        let mut nonces = nonces();
        let v6 = |tail: u128| IpAddr::V6((0x2001_0db8_u128 << 96 | tail).into());
        let of_home = nonces.make(START, HOME);
        assert_eq!(nonces.judge(START, [192, 0, 2, 2].into(), &of_home), Worth::Elsewhere);
        good(nonces.judge(START, "::ffff:192.0.2.1".parse().unwrap(), &of_home));
        let of_v6 = nonces.make(START, v6(1));
        good(nonces.judge(START, v6(2), &of_v6));
        assert_eq!(nonces.judge(START, v6(1 << 64), &of_v6), Worth::Elsewhere);
    }

    #[test]
    fn nonces_are_unique_age_and_cannot_be_forged() {
        let mut nonces = nonces();
        let (a, b) = (nonces.make(START, HOME), nonces.make(START, HOME));
        assert_ne!(a, b);
        assert_eq!(nonces.judge(START + Duration::from_secs(301), HOME, &a), Worth::Stale);
        for position in 0..a.len() {
            let mut forged = a.clone().into_bytes();
            forged[position] = if forged[position] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(nonces.judge(START, HOME, &forged), Worth::Forged, "{position}");
        }
        let other = Nonces::new([8; 16], [1; 4], Duration::from_secs(300));
        assert_eq!(other.judge(START, HOME, &a), Worth::Forged);
    }

    #[test]
    fn nonces_of_an_earlier_start_are_stale() {
        let nonce = nonces().make(START, HOME);
        let later = Nonces::new([7; 16], [2; 4], Duration::from_secs(300));
        assert_eq!(later.judge(START + Duration::from_secs(2), HOME, &nonce), Worth::Stale);
    }

    #[test]
    fn a_forgotten_nonce_cannot_be_used_again() {
        let mut nonces = nonces();
        let first = nonces.make(START, HOME);
        let id = good(nonces.judge(START, HOME, &first));
        nonces.spend(START, id, 1, Some(1));
        for n in 0..USED_MAX as u64 {
            let now = START + Duration::from_millis(1 + n / 1000);
            let nonce = nonces.make(now, HOME);
            let id = good(nonces.judge(now, HOME, &nonce));
            nonces.spend(now, id, 1, Some(n));
        }
        assert_eq!(nonces.judge(START + Duration::from_secs(1), HOME, &first), Worth::Stale);
        assert!(nonces.used.len() <= USED_MAX);
    }
}
