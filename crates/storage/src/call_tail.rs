//! The newest calls, which the index of call logs does not know yet: what the [tail](crate::tail) is to messages.
//!
//! A merge goes through them in the order of the logs, in steps. A call that is pruned meanwhile is skipped, so that the
//! merge goes on.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::tail::{Block, blocks};

/// Owner, when the call began, and its id: unique, and the order of the logs.
pub(crate) type CallKey = (i64, i64, [u8; 16]);

/// What the index has to know of a call besides its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    /// Rises with each.
    pub(crate) arrival: i64,
    pub(crate) is_missed: bool,
}

/// Calls in a block: 150 KiB of usual ones, which pruning reads in a millisecond, and a thousandth of a row for each.
const BLOCK_CALLS: i64 = 1_024;

/// The view of the rows behind `call_indexing.indexed_through`. It follows the transaction as the tail of messages does.
#[derive(Debug, Default)]
pub(crate) struct CallTail {
    calls: BTreeMap<CallKey, Logged>,
    /// What stood there before.
    undo: Vec<(CallKey, Option<Logged>)>,
    merge: Option<Merge>,
}

/// A merge into the index under way. What a step has written may be written again.
#[derive(Debug)]
struct Merge {
    complete: CompleteThrough,
    calls: Vec<(CallKey, Logged)>,
    done: usize,
}

/// What the index knows when a merge is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompleteThrough {
    /// The last call that it knows.
    pub(crate) arrival: i64,
    /// None of these began later.
    pub(crate) newest_unix_ms: i64,
    /// By which pruning finds them.
    pub(crate) blocks: Vec<Block>,
}

impl CallTail {
    /// Calls in it.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn add(&mut self, key: CallKey, logged: Logged) {
        let before = self.calls.insert(key, logged);
        self.undo.push((key, before));
    }

    /// Takes a call out that is gone, if it is in here.
    pub(crate) fn drop(&mut self, key: CallKey) {
        if let Some(logged) = self.calls.remove(&key) {
            self.undo.push((key, Some(logged)));
        }
    }

    pub(crate) fn knows(&self, key: &CallKey) -> bool {
        self.calls.contains_key(key)
    }

    /// An owner's calls before a place in the log and not before another one, newest first.
    pub(crate) fn log(
        &self,
        owner: i64,
        before: Option<(i64, [u8; 16])>,
        from: (i64, [u8; 16]),
    ) -> impl Iterator<Item = (CallKey, Logged)> {
        let first = (owner, from.0, from.1);
        let end = match before {
            Some((began, id)) => Bound::Excluded((owner, began, id)),
            None => Bound::Included((owner, i64::MAX, [u8::MAX; 16])),
        };
        let is_empty = matches!(end, Bound::Excluded(end) if end <= first);
        let range = (!is_empty).then(|| self.calls.range((Bound::Included(first), end)));
        range.into_iter().flat_map(Iterator::rev).map(|(key, logged)| (*key, *logged))
    }

    /// Calls that began before, at most so many.
    pub(crate) fn older(&self, before_unix_ms: i64, count_max: usize) -> Vec<(CallKey, Logged)> {
        let all = self.calls.iter().filter(|((_, began, _), _)| *began < before_unix_ms);
        all.map(|(key, logged)| (*key, *logged)).take(count_max).collect()
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
        for (key, before) in self.undo.drain(mark..).rev() {
            match before {
                Some(logged) => self.calls.insert(key, logged),
                None => self.calls.remove(&key),
            };
        }
    }

    /// The next calls of the merge, of at most `rows_max`, in order; begins one with everything in here where none is under
    /// way. In the last step also what the index then knows. To be called between transactions, and to be followed by
    /// [`CallTail::merged`] when the step is durable.
    pub(crate) fn merge_step(
        &mut self,
        rows_max: usize,
    ) -> (Vec<(CallKey, Logged)>, Option<&CompleteThrough>) {
        let calls = &self.calls;
        let merge = self.merge.get_or_insert_with(|| Merge::of(calls));
        let end = (merge.done + rows_max).min(merge.calls.len());
        let still_there = |(key, logged): &&(CallKey, Logged)| calls.get(key) == Some(logged);
        let step = merge.calls[merge.done..end].iter().filter(still_there).copied().collect();
        (step, (end == merge.calls.len()).then_some(&merge.complete))
    }

    /// The step of so many rows is durable; what the index knows now, if it was the last one.
    pub(crate) fn merged(&mut self, rows_max: usize) -> Option<CompleteThrough> {
        let merge = self.merge.as_mut()?;
        merge.done += rows_max;
        if merge.done < merge.calls.len() {
            return None;
        }
        let complete = self.merge.take()?.complete;
        self.calls.retain(|_, logged| logged.arrival > complete.arrival);
        Some(complete)
    }

    pub(crate) fn is_merging(&self) -> bool {
        self.merge.is_some()
    }
}

impl Merge {
    fn of(calls: &BTreeMap<CallKey, Logged>) -> Merge {
        let calls: Vec<_> = calls.iter().map(|(key, logged)| (*key, *logged)).collect();
        let ages = calls.iter().map(|((_, began, _), logged)| (logged.arrival, *began)).collect();
        let newest_unix_ms = calls.iter().map(|((_, began, _), _)| *began).max().unwrap_or(0);
        let arrival = calls.iter().map(|(_, logged)| logged.arrival).max().unwrap_or(0);
        let blocks = blocks(ages, BLOCK_CALLS);
        Merge { complete: CompleteThrough { arrival, newest_unix_ms, blocks }, calls, done: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: i64) -> CallKey {
        (n % 2, n, [n as u8; 16])
    }

    fn logged(arrival: i64) -> Logged {
        Logged { arrival, is_missed: false }
    }

    fn tail(calls: std::ops::RangeInclusive<i64>) -> CallTail {
        let mut tail = CallTail::default();
        calls.for_each(|n| tail.add(key(n), logged(n)));
        tail.commit();
        tail
    }

    fn began(tail: &CallTail, owner: i64) -> Vec<i64> {
        tail.log(owner, None, (0, [0; 16])).map(|((_, began, _), _)| began).collect()
    }

    #[test]
    fn an_undone_transaction_leaves_no_trace() {
        let mut tail = tail(1..=4);
        tail.drop(key(1));
        tail.add(key(1), logged(5));
        let mark = tail.mark();
        tail.add(key(7), logged(6));
        tail.drop(key(3));
        assert_eq!(began(&tail, 1), [7, 1]);
        tail.undo_to(mark);
        assert_eq!(began(&tail, 1), [3, 1]);
        tail.undo_to(0);
        assert_eq!((tail.calls.get(&key(1)), tail.len()), (Some(&logged(1)), 4));
    }

    #[test]
    fn a_merge_skips_what_was_pruned_and_leaves_what_came_later() {
        let mut tail = tail(1..=6);
        let (step, complete) = tail.merge_step(2);
        assert_eq!((step.iter().map(|(key, _)| key.1).collect::<Vec<_>>(), complete), (vec![2, 4], None));
        assert_eq!(tail.merged(2), None);
        tail.drop(key(1));
        tail.drop(key(6));
        // Another call of the same name is not the one that the merge means.
        tail.add(key(6), logged(7));
        tail.commit();
        let (step, complete) = tail.merge_step(9);
        let blocks = vec![Block { first: 1, last: 6, oldest_unix_ms: 1 }];
        let through = CompleteThrough { arrival: 6, newest_unix_ms: 6, blocks };
        assert_eq!(
            (step.iter().map(|(key, _)| key.1).collect::<Vec<_>>(), complete),
            (vec![3, 5], Some(&through))
        );
        assert_eq!(tail.merged(9), Some(through));
        assert_eq!((began(&tail, 0), began(&tail, 1), tail.is_merging()), (vec![6], vec![], false));
    }

    #[test]
    fn a_log_is_read_between_two_places() {
        let tail = tail(1..=9);
        let log = |before, from| -> Vec<i64> {
            tail.log(1, before, (from, [0; 16])).map(|((_, began, _), _)| began).collect()
        };
        assert_eq!(log(None, 0), [9, 7, 5, 3, 1]);
        assert_eq!(log(Some((7, [7; 16])), 3), [5, 3]);
        assert_eq!(log(Some((3, [3; 16])), 9), [0; 0], "nothing is between the wrong way round");
    }
}
