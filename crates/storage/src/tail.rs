//! The newest messages, which the indices do not know yet.
//!
//! A message at a random place of a large index dirties a page of its own. So the indices learn of messages some
//! thousand at a time, in the order of the keys; until then this finds them, in memory. It is no more than a view of
//! the rows behind `indexing.indexed_through`, and read from there when the database is opened.

use std::collections::{HashMap, HashSet};

/// What the indices have to know of a message. Numbers as SQL has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Rises with each arrival.
    pub(crate) id: i64,
    pub(crate) owner: i64,
    pub(crate) sequence: i64,
    pub(crate) direction: i64,
    pub(crate) identity: [u8; 16],
    pub(crate) received_unix_ms: i64,
}

/// Messages with neighbouring ids, or calls, by which pruning finds the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) oldest_unix_ms: i64,
}

/// Messages in a block: 1 MiB of usual ones, which pruning reads in some 5 ms, and a thousandth of a row for each.
const BLOCK_MESSAGES: usize = 1_024;

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
/// The maps are keyed by what strangers may choose, hence the standard library's seeded ones; nothing depends on their
/// order.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// In the order of their sequences; the usual message goes to the end.
    mailboxes: HashMap<i64, Vec<Entry>>,
    identities: HashSet<IdentityKey>,
    undo: Vec<Undo>,
    merge: Option<Merge>,
}

#[derive(Debug)]
enum Undo {
    Add(Entry),
    Drop(PlaceKey),
}

/// A merge into the indices under way. It is done in steps, and what a step has written may be written again.
#[derive(Debug)]
struct Merge {
    /// The last message that belongs to it.
    through: i64,
    identities: Vec<IdentityKey>,
    places: Vec<(PlaceKey, i64)>,
    blocks: Vec<Block>,
    /// Rows that are in the indices, those of `identities` first.
    rows_done: usize,
}

/// What to write next, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergeStep<'m> {
    pub(crate) identities: &'m [IdentityKey],
    /// With the message's id.
    pub(crate) places: &'m [(PlaceKey, i64)],
    /// In the last step: the message through which the indices are then complete, and the blocks of all.
    pub(crate) complete_through: Option<(i64, &'m [Block])>,
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

    /// Takes a message out that is gone, if it is in here.
    pub(crate) fn drop(&mut self, key: PlaceKey) {
        if let Some(entry) = self.take(key) {
            self.undo.push(Undo::Add(entry));
            // A step to come would bring it back. What was done is found done when the merge begins again.
            self.merge = None;
        }
    }

    pub(crate) fn knows(&self, key: &IdentityKey) -> bool {
        self.identities.contains(key)
    }

    pub(crate) fn at(&self, key: PlaceKey) -> Option<Entry> {
        let mailbox = self.mailboxes.get(&key.0)?;
        find(mailbox, key.1).ok().map(|place| mailbox[place])
    }

    /// An owner's messages with sequences from `first` to `last`, in order.
    pub(crate) fn mailbox(&self, owner: i64, first: i64, last: i64) -> &[Entry] {
        let mailbox = self.mailboxes.get(&owner).map_or(&[][..], Vec::as_slice);
        let from = mailbox.partition_point(|entry| entry.sequence < first);
        let to = mailbox.partition_point(|entry| entry.sequence <= last);
        &mailbox[from.min(to)..to]
    }

    /// Messages received before, the oldest ones where there are more than so many.
    pub(crate) fn older(&self, before_unix_ms: i64, count_max: usize) -> Vec<Entry> {
        let all = self.mailboxes.values().flatten();
        let mut older: Vec<Entry> =
            all.filter(|entry| entry.received_unix_ms < before_unix_ms).copied().collect();
        if older.len() > count_max {
            // Their order does not matter, and all of the tail may be meant.
            older.select_nth_unstable_by_key(count_max, |entry| (entry.received_unix_ms, entry.id));
            older.truncate(count_max);
        }
        older
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

    /// The next rows of the merge, at most `rows_max`; begins one with everything in here where none is under way.
    /// To be called between transactions, and to be followed by [`Tail::merged`] when the step is durable.
    pub(crate) fn merge_step(&mut self, rows_max: usize) -> MergeStep<'_> {
        let (mailboxes, identities) = (&self.mailboxes, &self.identities);
        let merge = self.merge.get_or_insert_with(|| Merge::of(mailboxes, identities));
        let (first, last) = (merge.rows_done, merge.rows_done + rows_max);
        let split = merge.identities.len();
        MergeStep {
            identities: slice(&merge.identities, first, last),
            places: slice(&merge.places, first.saturating_sub(split), last.saturating_sub(split)),
            complete_through: (last >= split + merge.places.len())
                .then_some((merge.through, &merge.blocks[..])),
        }
    }

    /// The step of so many rows is durable; whether it was the last one.
    pub(crate) fn merged(&mut self, rows_max: usize) -> bool {
        let Some(merge) = &mut self.merge else { return true };
        merge.rows_done += rows_max;
        if merge.rows_done < merge.identities.len() + merge.places.len() {
            return false;
        }
        let through = merge.through;
        self.merge = None;
        let identities = &mut self.identities;
        self.mailboxes.retain(|_, mailbox| {
            mailbox.retain(|entry| {
                let newer = entry.id > through;
                if !newer {
                    identities.remove(&entry.identity_key());
                }
                newer
            });
            !mailbox.is_empty()
        });
        true
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
        self.identities.insert(entry.identity_key());
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

impl Merge {
    fn of(mailboxes: &HashMap<i64, Vec<Entry>>, identities: &HashSet<IdentityKey>) -> Merge {
        let mut identities: Vec<_> = identities.iter().copied().collect();
        identities.sort_unstable();
        let entries = || mailboxes.values().flatten();
        let mut places: Vec<_> = entries().map(|entry| (entry.place_key(), entry.id)).collect();
        places.sort_unstable();
        let (through, blocks) = blocks(entries().map(|entry| (entry.id, entry.received_unix_ms)).collect());
        Merge { through, identities, places, blocks, rows_done: 0 }
    }
}

impl Block {
    fn of(ages: &[(i64, i64)]) -> Block {
        let ids = || ages.iter().map(|(id, _)| *id);
        let oldest = ages.iter().map(|(_, received)| *received).min();
        let (Some(first), Some(last), Some(oldest_unix_ms)) = (ids().next(), ids().next_back(), oldest)
        else {
            unreachable!("a chunk is not empty")
        };
        Block { first, last, oldest_unix_ms }
    }
}

/// The blocks of rows that are given by their places in the order of arrival and their times; and the last place.
pub(crate) fn blocks(mut ages: Vec<(i64, i64)>) -> (i64, Vec<Block>) {
    ages.sort_unstable();
    let through = ages.last().map_or(0, |(id, _)| *id);
    (through, ages.chunk_by(|a, b| block(a.0) == block(b.0)).map(Block::of).collect())
}

/// The number of the block that a message belongs to. Where a merge ends within it, it has two rows.
fn block(message: i64) -> i64 {
    message / BLOCK_MESSAGES as i64
}

fn find(mailbox: &[Entry], sequence: i64) -> Result<usize, usize> {
    mailbox.binary_search_by_key(&sequence, |entry| entry.sequence)
}

fn slice<T>(all: &[T], first: usize, last: usize) -> &[T] {
    &all[first.min(all.len())..last.min(all.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: i64) -> Entry {
        Entry {
            id,
            owner: id % 2,
            sequence: id,
            direction: 0,
            identity: [id as u8; 16],
            received_unix_ms: -id,
        }
    }

    fn tail(ids: std::ops::RangeInclusive<i64>) -> Tail {
        let mut tail = Tail::default();
        ids.for_each(|id| tail.add(entry(id)));
        tail.commit();
        tail
    }

    fn ids(tail: &Tail) -> Vec<i64> {
        tail.mailbox(1, 0, i64::MAX).iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn an_undone_transaction_leaves_no_trace() {
        let mut tail = tail(1..=4);
        tail.drop((1, 3));
        tail.add(entry(5));
        let mark = tail.mark();
        tail.drop((1, 5));
        tail.add(Entry { sequence: 3, ..entry(7) });
        assert_eq!(ids(&tail), [1, 7]);
        tail.undo_to(mark);
        assert_eq!(ids(&tail), [1, 5]);
        tail.undo_to(0);
        assert_eq!(ids(&tail), [1, 3]);
        assert!(tail.knows(&entry(3).identity_key()) && !tail.knows(&entry(7).identity_key()));
    }

    #[test]
    fn a_merge_goes_in_order_and_leaves_what_came_since() {
        let mut tail = tail(1..=4);
        let (mut identities, mut places) = (Vec::new(), Vec::new());
        for (round, last) in [(0, false), (1, false), (2, true)] {
            let step = tail.merge_step(3);
            identities.extend_from_slice(step.identities);
            places.extend_from_slice(step.places);
            let block = Block { first: 1, last: 4, oldest_unix_ms: -4 };
            assert_eq!(step.complete_through, last.then_some((4, &[block][..])), "round {round}");
            tail.add(entry(10 + round));
            tail.commit();
            assert_eq!(tail.merged(3), last);
        }
        assert_eq!((identities.len(), places.len()), (4, 4));
        assert!(identities.is_sorted() && places.is_sorted());
        assert_eq!(tail.len(), 3);
        assert!(!tail.knows(&entry(4).identity_key()) && tail.knows(&entry(12).identity_key()));
    }

    #[test]
    fn blocks_hold_neighbours_and_know_their_oldest() {
        let size = BLOCK_MESSAGES as i64;
        let mut tail = tail(size - 2..=size + 1);
        let step = tail.merge_step(100);
        let blocks = [
            Block { first: size - 2, last: size - 1, oldest_unix_ms: 1 - size },
            Block { first: size, last: size + 1, oldest_unix_ms: -1 - size },
        ];
        assert_eq!(step.complete_through, Some((size + 1, &blocks[..])));
        let older = |count_max| {
            let mut ids: Vec<i64> = tail.older(1 - size, count_max).iter().map(|entry| entry.id).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(older(9), [size, size + 1], "without the one that is just as old");
        assert_eq!(older(1), [size + 1], "the oldest, where not all are asked for");
    }

    #[test]
    fn a_merge_begins_again_where_a_message_of_it_is_gone() {
        let mut tail = tail(1..=4);
        assert_eq!(tail.merge_step(6).identities.len(), 4);
        assert!(!tail.merged(6));
        tail.drop((0, 4));
        tail.commit();
        let step = tail.merge_step(6);
        let through = step.complete_through.map(|(through, _)| through);
        assert_eq!((step.identities.len(), step.places.len(), through), (3, 3, Some(3)));
        assert!(tail.merged(6));
        assert_eq!(tail.len(), 0);
    }
}
