//! Which identities the index may hold: nearly every message is a fresh one, and then needs no look there.
//!
//! Bloom filters, so that a few octets in memory stand for a message: what they do not know is not in the index; what
//! they know is looked for. Until the index was read once after the start, and where it is too large, everything is
//! looked for: that is to read the owner's part of the index, eight octets for each message.

use fastbloom::BloomFilter;
use foldhash::quality::RandomState;

/// An owner, and four octets of an identity of the mailbox.
pub(crate) type Fingerprint = (i64, u32);

/// An owner, and where a row of the index begins in the mailbox.
pub(crate) type RowKey = (i64, i64);

/// Identities in one filter.
const FILTER_IDENTITIES: usize = 1 << 20;
/// With 16 bits and 4 probes for each identity, one fresh message in 400 is looked for in vain.
const FILTER_BITS: usize = 16 * FILTER_IDENTITIES;
const FILTER_PROBES: u32 = 4;
/// 32 MiB, for 16 million messages since the start. With more, asking them all would cost as much as the index itself,
/// which is what is asked from then on.
const FILTERS_MAX: usize = 16;

/// Identities that were in the index at some time since the start; dropped ones remain, which does no harm.
pub(crate) struct Known {
    filters: Vec<BloomFilter<RandomState>>,
    in_last: usize,
    state: State,
    hasher: RandomState,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// What was in the index at the start is read through this key.
    Reading(RowKey),
    Complete,
    TooMany,
}

impl Known {
    pub(crate) fn new() -> Known {
        Known {
            filters: Vec::new(),
            in_last: 0,
            // Below all keys.
            state: State::Reading((i64::MIN, i64::MIN)),
            hasher: RandomState::default(),
        }
    }

    /// Whether the index may hold it.
    pub(crate) fn may_hold(&self, key: &Fingerprint) -> bool {
        self.state != State::Complete || self.filters.iter().any(|filter| filter.contains(key))
    }

    pub(crate) fn add(&mut self, key: &Fingerprint) {
        if self.state == State::TooMany {
            return;
        }
        if self.filters.is_empty() || self.in_last == FILTER_IDENTITIES {
            if self.filters.len() == FILTERS_MAX {
                self.filters = Vec::new();
                self.state = State::TooMany;
                return;
            }
            let filter = BloomFilter::with_num_bits(FILTER_BITS);
            self.filters.push(filter.hasher(self.hasher.clone()).hashes(FILTER_PROBES));
            self.in_last = 0;
        }
        self.filters.last_mut().expect("one was added above").insert(key);
        self.in_last += 1;
    }

    /// Behind which key the index is still to be read.
    pub(crate) fn unread(&self) -> Option<RowKey> {
        match self.state {
            State::Reading(through) => Some(through),
            State::Complete | State::TooMany => None,
        }
    }

    /// Takes what the next row of the index knows; rows come in order.
    pub(crate) fn read(&mut self, row: RowKey, fingerprints: impl Iterator<Item = u32>) {
        fingerprints.for_each(|fingerprint| self.add(&(row.0, fingerprint)));
        if let State::Reading(through) = &mut self.state {
            *through = row;
        }
    }

    /// All rows were read.
    pub(crate) fn read_all(&mut self) {
        if let State::Reading(_) = self.state {
            self.state = State::Complete;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Fingerprint {
        (number as i64 % 7, (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32)
    }

    #[test]
    fn everything_is_looked_for_until_the_index_is_read() {
        let mut known = Known::new();
        assert!(known.may_hold(&key(1)));
        known.read((1, 70), [key(1).1, key(8).1].into_iter());
        assert_eq!(known.unread(), Some((1, 70)));
        assert!(known.may_hold(&key(3)));
        known.add(&key(4));
        known.read_all();
        assert_eq!(known.unread(), None);
        assert!([1, 8, 4].into_iter().all(|n| known.may_hold(&key(n))));
        let in_vain = (100..10_100).filter(|n| known.may_hold(&key(*n))).count();
        assert!(in_vain < 100, "{in_vain} of 10,000");
    }

    #[test]
    fn too_many_identities_cost_no_memory_and_hide_none() {
        let mut known = Known::new();
        known.read_all();
        let count = (FILTER_IDENTITIES * FILTERS_MAX) as u64;
        // A small stand-in for the many: the filters are counted, not their content.
        for n in 0..FILTERS_MAX {
            known.add(&key(n as u64));
            known.in_last = FILTER_IDENTITIES;
        }
        assert!(!known.may_hold(&key(count)));
        known.add(&key(count));
        assert_eq!((known.filters.len(), known.unread()), (0, None));
        assert!(known.may_hold(&key(count)) && known.may_hold(&key(count + 1)));
    }
}
