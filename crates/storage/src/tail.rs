//! The newest messages, which the index does not know yet.
//!
//! A message at a random place of a large index dirties a page of its own. So the index learns of messages some
//! thousand at a time, in the order of the keys; until then this finds them, in memory. It is no more than a view of
//! the groups behind `indexing.indexed_through`, and read from there when the database is opened.

use std::collections::{BTreeMap, HashMap};

use foldhash::quality::RandomState;

/// What the index has to know of a message. Numbers as SQL has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The row that the message is in; rises with each group.
    pub(crate) group: i64,
    pub(crate) owner: i64,
    pub(crate) sequence: i64,
    pub(crate) direction: i64,
    pub(crate) is_withdrawn: bool,
    pub(crate) identity: [u8; 16],
    pub(crate) received_unix_ms: i64,
}

/// Rows with neighbouring ids, by which pruning finds the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) oldest_unix_ms: i64,
}

/// Owner, direction and identity.
pub(crate) type IdentityKey = (i64, i64, [u8; 16]);

/// Owner and sequence.
pub(crate) type PlaceKey = (i64, i64);

impl Entry {
    pub(crate) fn identity_key(&self) -> IdentityKey {
        (self.owner, self.direction, self.identity)
    }

    pub(crate) fn place_key(&self) -> PlaceKey {
        (self.owner, self.sequence)
    }
}

/// The view. It follows the transaction: what a rollback undoes in the rows, [`Tail::undo_to`] undoes here.
///
/// The maps are keyed by what strangers may choose, hence with a hasher of random seed; nothing depends on their order.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// In the order of their sequences; the usual message goes to the end.
    mailboxes: HashMap<i64, Vec<Entry>, RandomState>,
    /// Whether each was withdrawn.
    identities: HashMap<IdentityKey, bool, RandomState>,
    undo: Vec<Undo>,
}

#[derive(Debug)]
enum Undo {
    Add(Entry),
    Drop(PlaceKey),
}

impl Tail {
    /// Messages in it.
    pub(crate) fn len(&self) -> usize {
        self.identities.len()
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        self.put(entry);
        self.undo.push(Undo::Drop(entry.place_key()));
    }

    /// Takes a message out that is gone; whether it was in here.
    pub(crate) fn drop(&mut self, key: PlaceKey) -> bool {
        let Some(entry) = self.take(key) else { return false };
        self.undo.push(Undo::Add(entry));
        true
    }

    /// Whether the message with this identity was withdrawn, if there is one.
    pub(crate) fn known(&self, key: &IdentityKey) -> Option<bool> {
        self.identities.get(key).copied()
    }

    pub(crate) fn at(&self, key: PlaceKey) -> Option<Entry> {
        let mailbox = self.mailboxes.get(&key.0)?;
        find(mailbox, key.1).ok().map(|place| mailbox[place])
    }

    /// An owner's messages with sequences behind `after`, in order.
    pub(crate) fn mailbox(&self, owner: i64, after: i64) -> &[Entry] {
        let mailbox = self.mailboxes.get(&owner).map_or(&[][..], Vec::as_slice);
        &mailbox[mailbox.partition_point(|entry| entry.sequence <= after)..]
    }

    /// The highest sequence of an owner.
    pub(crate) fn highest(&self, owner: i64) -> Option<i64> {
        Some(self.mailboxes.get(&owner)?.last()?.sequence)
    }

    /// All messages, in the order of owners and sequences.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &Entry> {
        let mut mailboxes: Vec<(i64, &Vec<Entry>)> = self.mailboxes.iter().map(|(o, m)| (*o, m)).collect();
        mailboxes.sort_unstable_by_key(|(owner, _)| *owner);
        mailboxes.into_iter().flat_map(|(_, mailbox)| mailbox)
    }

    /// All messages, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.mailboxes.values().flatten()
    }

    /// Messages received before, the oldest ones where there are more than so many.
    pub(crate) fn older(&self, before_unix_ms: i64, count_max: usize) -> Vec<Entry> {
        let mut older: Vec<Entry> =
            self.entries().filter(|entry| entry.received_unix_ms < before_unix_ms).copied().collect();
        if older.len() > count_max {
            // All of the tail may be meant, and beyond this their order does not matter.
            older.select_nth_unstable_by_key(count_max, |entry| (entry.received_unix_ms, entry.place_key()));
            older.truncate(count_max);
        }
        older
    }

    /// The index knows all messages up to this group now.
    pub(crate) fn forget_through(&mut self, group: i64) {
        let identities = &mut self.identities;
        self.mailboxes.retain(|_, mailbox| {
            mailbox.retain(|entry| {
                let newer = entry.group > group;
                if !newer {
                    identities.remove(&entry.identity_key());
                }
                newer
            });
            !mailbox.is_empty()
        });
    }

    /// The transaction is durable, or there was none.
    pub(crate) fn commit(&mut self) {
        self.undo.clear();
    }

    /// Where a savepoint may return to.
    pub(crate) fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Undoes what was done since the mark; 0 is the beginning of the transaction.
    pub(crate) fn undo_to(&mut self, mark: usize) {
        while self.undo.len() > mark {
            match self.undo.pop() {
                Some(Undo::Add(entry)) => self.put(entry),
                Some(Undo::Drop(key)) => {
                    self.take(key);
                }
                None => break,
            }
        }
    }

    fn put(&mut self, entry: Entry) {
        let mailbox = self.mailboxes.entry(entry.owner).or_default();
        match mailbox.last() {
            Some(last) if last.sequence >= entry.sequence => match find(mailbox, entry.sequence) {
                Ok(place) => mailbox[place] = entry,
                Err(place) => mailbox.insert(place, entry),
            },
            _ => mailbox.push(entry),
        }
        self.identities.insert(entry.identity_key(), entry.is_withdrawn);
    }

    fn take(&mut self, key: PlaceKey) -> Option<Entry> {
        let mailbox = self.mailboxes.get_mut(&key.0)?;
        let entry = mailbox.remove(find(mailbox, key.1).ok()?);
        if mailbox.is_empty() {
            self.mailboxes.remove(&key.0);
        }
        self.identities.remove(&entry.identity_key());
        Some(entry)
    }
}

/// The blocks of rows that are given, in any order, by their places in the order of arrival and their times. A block's places
/// have the same quotient by `rows`; where a merge ends within it, it is two.
pub(crate) fn blocks(ages: impl IntoIterator<Item = (i64, i64)>, rows: i64) -> Vec<Block> {
    let mut blocks: BTreeMap<i64, Block> = BTreeMap::new();
    for (id, unix_ms) in ages {
        let block = blocks.entry(id / rows).or_insert(Block { first: id, last: id, oldest_unix_ms: unix_ms });
        block.first = block.first.min(id);
        block.last = block.last.max(id);
        block.oldest_unix_ms = block.oldest_unix_ms.min(unix_ms);
    }
    blocks.into_values().collect()
}

fn find(mailbox: &[Entry], sequence: i64) -> Result<usize, usize> {
    mailbox.binary_search_by_key(&sequence, |entry| entry.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(group: i64) -> Entry {
        Entry {
            group,
            owner: group % 2,
            sequence: group,
            direction: 0,
            is_withdrawn: false,
            identity: [group as u8; 16],
            received_unix_ms: -group,
        }
    }

    fn tail(groups: std::ops::RangeInclusive<i64>) -> Tail {
        let mut tail = Tail::default();
        groups.for_each(|group| tail.add(entry(group)));
        tail.commit();
        tail
    }

    fn groups(tail: &Tail) -> Vec<i64> {
        tail.mailbox(1, -1).iter().map(|entry| entry.group).collect()
    }

    #[test]
    fn an_undone_transaction_leaves_no_trace() {
        let mut tail = tail(1..=4);
        assert!(tail.drop((1, 3)) && !tail.drop((1, 3)));
        tail.add(entry(5));
        let mark = tail.mark();
        tail.drop((1, 5));
        tail.add(Entry { sequence: 3, ..entry(7) });
        assert_eq!(groups(&tail), [1, 7]);
        tail.undo_to(mark);
        assert_eq!(groups(&tail), [1, 5]);
        tail.undo_to(0);
        assert_eq!(groups(&tail), [1, 3]);
        assert_eq!(tail.known(&entry(3).identity_key()), Some(false));
        assert_eq!(tail.known(&entry(7).identity_key()), None);
    }

    #[test]
    fn what_the_index_knows_is_forgotten() {
        let mut tail = tail(1..=4);
        tail.forget_through(3);
        assert_eq!((tail.len(), tail.highest(0), tail.highest(1)), (1, Some(4), None));
        assert_eq!(tail.known(&entry(3).identity_key()), None);
        assert_eq!(tail.at((0, 4)), Some(entry(4)));
    }

    #[test]
    fn blocks_hold_neighbours_and_know_their_oldest() {
        let ages = (62..=65).map(|id| (id, -id)).rev();
        let expected = [
            Block { first: 62, last: 63, oldest_unix_ms: -63 },
            Block { first: 64, last: 65, oldest_unix_ms: -65 },
        ];
        assert_eq!(blocks(ages, 64), expected);
        assert_eq!(blocks([], 64), []);
    }

    #[test]
    fn the_oldest_are_found_first() {
        let tail = tail(1..=4);
        let older = |count_max| {
            let mut found: Vec<i64> = tail.older(-2, count_max).iter().map(|entry| entry.group).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(older(9), [3, 4], "without the one that is just as old");
        assert_eq!(older(1), [4], "the oldest, where not all are asked for");
    }
}
