//! Nonces that cost nothing until they are used well (RFC 7616 §3.3, §5.4).
//!
//! A nonce says in which start and when it was made, on the clock that never jumps, and bears a keyed digest, so that nothing is kept for it while strangers ask for challenges. Only when a right answer
//! comes with it is it remembered, with the nonce count, so that no answer is taken twice. The memory is bounded: when it is full the nonce used
//! first is forgotten, and every nonce as old as that one counts as stale.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hashbrown::HashMap;
use node::Instant;
use siphasher::sip128::{Hasher128, SipHasher24};

/// Nonces in use that are remembered. Each is the sign-in of one device within a nonce's life; 24 octets each.
const USED_MAX: usize = 131_072;
/// Number, start and digest: 96 bits of digest cannot be guessed.
const NONCE_OCTETS: usize = 24;
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
    used: HashMap<u64, Use, foldhash::fast::FixedState>,
    order: VecDeque<u64>,
}

struct Use {
    count: u32,
    /// Keyed digest of the request that used the count, to know its retransmission.
    request: u64,
}

/// What a nonce of ours is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// May be used.
    Good(NonceId),
    /// Ours, but too old: the client may try again with a new one without asking its user.
    Stale,
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
    /// The very request that used this count before: a retransmission.
    Again,
    /// Another request with a count that was used before.
    Replayed,
}

impl Nonces {
    /// `key` is kept over restarts, so that nonces of an earlier start are known as ours, but stale; `boot` is fresh.
    pub(crate) fn new(key: [u8; 16], boot: [u8; 4], lifetime: Duration) -> Nonces {
        let seed = u64::from_le_bytes(key[..8].try_into().expect("a key has 16 octets"));
        Nonces {
            key,
            boot,
            lifetime,
            last: 0,
            horizon: None,
            used: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
            order: VecDeque::new(),
        }
    }

    pub(crate) fn live_for(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    /// A new nonce.
    pub(crate) fn make(&mut self, now: Instant) -> String {
        self.last = (self.last + 1).max((now.0 / 1000) << COUNTER_BITS);
        let mut octets = [0; NONCE_OCTETS];
        octets[..8].copy_from_slice(&self.last.to_be_bytes());
        octets[8..12].copy_from_slice(&self.boot);
        let digest = self.digest(&octets[..12]);
        octets[12..].copy_from_slice(&digest);
        URL_SAFE_NO_PAD.encode(octets)
    }

    /// Judges a nonce.
    pub(crate) fn judge(&self, now: Instant, nonce: &str) -> Worth {
        let mut octets = [0; NONCE_OCTETS];
        if URL_SAFE_NO_PAD.decode_slice(nonce, &mut octets) != Ok(octets.len()) {
            return Worth::Forged;
        }
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&octets[12..], &self.digest(&octets[..12])[..])) {
            return Worth::Forged;
        }
        let number = u64::from_be_bytes(octets[..8].try_into().expect("8 octets"));
        let made = made(number);
        let is_forgotten = self.horizon.is_some_and(|horizon| made <= horizon);
        if octets[8..12] != self.boot || is_forgotten || now.since(made) > self.lifetime {
            return Worth::Stale;
        }
        Worth::Good(NonceId(number))
    }

    /// Uses a good nonce with a count, after the answer was found right. Without a count (RFC 2069) a nonce is good once.
    pub(crate) fn spend(&mut self, now: Instant, nonce: NonceId, count: u32, request: u64) -> Used {
        if let Some(used) = self.used.get_mut(&nonce.0) {
            if count > used.count {
                *used = Use { count, request };
                return Used::Fresh;
            }
            return if count == used.count && request == used.request { Used::Again } else { Used::Replayed };
        }
        self.forget(now);
        self.used.insert(nonce.0, Use { count, request });
        self.order.push_back(nonce.0);
        Used::Fresh
    }

    /// Forgets nonces whose life is over, and the oldest if there are too many.
    fn forget(&mut self, now: Instant) {
        while let Some(number) = self.order.front().copied() {
            let made = made(number);
            let is_over = now.since(made) > self.lifetime;
            if !is_over && self.order.len() < USED_MAX {
                break;
            }
            if !is_over {
                self.horizon = self.horizon.max(Some(made));
            }
            self.order.pop_front();
            self.used.remove(&number);
        }
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
        let nonce = nonces.make(START);
        let id = good(nonces.judge(START, &nonce));
        assert_eq!(nonces.spend(START, id, 1, 11), Used::Fresh);
        assert_eq!(nonces.spend(START, id, 1, 11), Used::Again);
        assert_eq!(nonces.spend(START, id, 1, 12), Used::Replayed);
        assert_eq!(nonces.spend(START, id, 3, 13), Used::Fresh);
        assert_eq!(nonces.spend(START, id, 2, 14), Used::Replayed);
    }

    #[test]
    fn nonces_are_unique_age_and_cannot_be_forged() {
        let mut nonces = nonces();
        let (a, b) = (nonces.make(START), nonces.make(START));
        assert_ne!(a, b);
        assert_eq!(nonces.judge(START + Duration::from_secs(301), &a), Worth::Stale);
        for position in 0..a.len() {
            let mut forged = a.clone().into_bytes();
            forged[position] = if forged[position] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(nonces.judge(START, &forged), Worth::Forged, "{position}");
        }
        let other = Nonces::new([8; 16], [1; 4], Duration::from_secs(300));
        assert_eq!(other.judge(START, &a), Worth::Forged);
    }

    #[test]
    fn nonces_of_an_earlier_start_are_stale() {
        let nonce = nonces().make(START);
        let later = Nonces::new([7; 16], [2; 4], Duration::from_secs(300));
        assert_eq!(later.judge(START + Duration::from_secs(2), &nonce), Worth::Stale);
    }

    #[test]
    fn a_forgotten_nonce_cannot_be_used_again() {
        let mut nonces = nonces();
        let first = nonces.make(START);
        let id = good(nonces.judge(START, &first));
        nonces.spend(START, id, 1, 1);
        for n in 0..USED_MAX as u64 {
            let now = START + Duration::from_millis(1 + n / 1000);
            let nonce = nonces.make(now);
            let id = good(nonces.judge(now, &nonce));
            nonces.spend(now, id, 1, n);
        }
        assert_eq!(nonces.judge(START + Duration::from_secs(1), &first), Worth::Stale);
        assert!(nonces.used.len() <= USED_MAX);
    }
}
