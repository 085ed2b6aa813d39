//! The newest calls, which the index of call logs does not know yet: what the [tail](crate::tail) is to messages.
//!
//! A merge goes through them in the order of the logs, in steps. A call that is pruned meanwhile is skipped, so that the
//! merge goes on.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use crate::tail::{Block, blocks};

/// Owner, when the call began, and its id: unique, and the order of the logs.
pub(crate) type CallKey = (i64, i64, [u8; 16]);

/// A place in an owner's log: when the call began, and its id.
pub(crate) type LogKey = (i64, [u8; 16]);

/// What the index has to know of a call besides its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    /// The row that the call is in; rises with each group.
    pub(crate) group: i64,
    pub(crate) is_missed: bool,
}

/// Groups in a block: 256 KiB of full ones, which pruning looks through in a fraction of a millisecond.
const BLOCK_GROUPS: i64 = 64;

/// The view of the groups behind `call_indexing.indexed_through`. It follows the transaction as the tail of messages does.
#[derive(Debug, Default)]
pub(crate) struct CallTail {
    /// By owner, each in the order of the log; the usual call goes to the end, or nearly.
    logs: HashMap<i64, Vec<(LogKey, Logged)>, RandomState>,
    /// Calls in all of them.
    len: usize,
    undo: Vec<Undo>,
    merge: Option<Merge>,
}

#[derive(Debug)]
enum Undo {
    Add(CallKey, Logged),
    Drop(CallKey),
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
    /// The last group all of whose calls it knows.
    pub(crate) group: i64,
    /// None of these began later.
    pub(crate) newest_unix_ms: i64,
    /// By which pruning finds them.
    pub(crate) blocks: Vec<Block>,
}

impl CallTail {
    /// Calls in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The call is not in here.
    pub(crate) fn add(&mut self, key: CallKey, logged: Logged) {
        self.put(key, logged);
        self.undo.push(Undo::Drop(key));
    }

    /// Takes a call out that is gone, if it is in here.
    pub(crate) fn drop(&mut self, key: CallKey) {
        if let Some(logged) = self.take(&key) {
            self.undo.push(Undo::Add(key, logged));
        }
    }

    pub(crate) fn knows(&self, key: &CallKey) -> bool {
        self.get(key).is_some()
    }

    /// An owner's calls before a place in the log and not before another one, newest first.
    pub(crate) fn log(
        &self,
        owner: i64,
        before: Option<LogKey>,
        from: LogKey,
    ) -> impl Iterator<Item = (CallKey, Logged)> {
        let log = self.logs.get(&owner).map_or(&[][..], Vec::as_slice);
        let log = &log[log.partition_point(|(place, _)| *place < from)..];
        let end = before.map_or(log.len(), |before| log.partition_point(|(place, _)| *place < before));
        log[..end].iter().rev().map(move |(place, logged)| (key(owner, *place), *logged))
    }

    /// Calls that began before, at most so many.
    pub(crate) fn older(&self, before_unix_ms: i64, count_max: usize) -> Vec<(CallKey, Logged)> {
        let logs = self.logs.iter().flat_map(|(owner, log)| {
            let end = log.partition_point(|((began, _), _)| *began < before_unix_ms);
            log[..end].iter().map(|(place, logged)| (key(*owner, *place), *logged))
        });
        logs.take(count_max).collect()
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
                Some(Undo::Add(key, logged)) => self.put(key, logged),
                Some(Undo::Drop(key)) => {
                    self.take(&key);
                }
                None => break,
            }
        }
    }

    /// The next calls of the merge, of at most `rows_max`, in order; begins one with everything in here where none is under
    /// way. In the last step also what the index then knows. To be called between transactions, and to be followed by
    /// [`CallTail::merged`] when the step is durable.
    pub(crate) fn merge_step(
        &mut self,
        rows_max: usize,
    ) -> (Vec<(CallKey, Logged)>, Option<&CompleteThrough>) {
        let merge = self.merge.take().unwrap_or_else(|| Merge::of(&self.logs));
        let end = (merge.done + rows_max).min(merge.calls.len());
        let still_there = |(key, logged): &&(CallKey, Logged)| self.get(key) == Some(*logged);
        let step = merge.calls[merge.done..end].iter().filter(still_there).copied().collect();
        let merge = self.merge.insert(merge);
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
        self.logs.retain(|_, log| {
            log.retain(|(_, logged)| logged.group > complete.group);
            !log.is_empty()
        });
        self.len = self.logs.values().map(Vec::len).sum();
        Some(complete)
    }

    pub(crate) fn is_merging(&self) -> bool {
        self.merge.is_some()
    }

    fn get(&self, (owner, began, id): &CallKey) -> Option<Logged> {
        let log = self.logs.get(owner)?;
        find(log, (*began, *id)).ok().map(|at| log[at].1)
    }

    fn put(&mut self, (owner, began, id): CallKey, logged: Logged) {
        let log = self.logs.entry(owner).or_default();
        match find(log, (began, id)) {
            Ok(at) => log[at].1 = logged,
            Err(at) => {
                log.insert(at, ((began, id), logged));
                self.len += 1;
            }
        }
    }

    fn take(&mut self, (owner, began, id): &CallKey) -> Option<Logged> {
        let log = self.logs.get_mut(owner)?;
        let (_, logged) = log.remove(find(log, (*began, *id)).ok()?);
        self.len -= 1;
        if log.is_empty() {
            self.logs.remove(owner);
        }
        Some(logged)
    }
}

impl Merge {
    fn of(logs: &HashMap<i64, Vec<(LogKey, Logged)>, RandomState>) -> Merge {
        let mut logs: Vec<(i64, &Vec<(LogKey, Logged)>)> =
            logs.iter().map(|(owner, log)| (*owner, log)).collect();
        logs.sort_unstable_by_key(|(owner, _)| *owner);
        let in_order = logs
            .into_iter()
            .flat_map(|(owner, log)| log.iter().map(move |(place, logged)| (key(owner, *place), *logged)));
        let calls: Vec<(CallKey, Logged)> = in_order.collect();
        let ages = calls.iter().map(|((_, began, _), logged)| (logged.group, *began));
        let blocks = blocks(ages, BLOCK_GROUPS);
        let newest_unix_ms = calls.iter().map(|((_, began, _), _)| *began).max().unwrap_or(0);
        let group = blocks.last().map_or(0, |block| block.last);
        Merge { complete: CompleteThrough { group, newest_unix_ms, blocks }, calls, done: 0 }
    }
}

fn key(owner: i64, (began, id): LogKey) -> CallKey {
    (owner, began, id)
}

/// Where a call is in a log, or would be.
fn find(log: &[(LogKey, Logged)], place: LogKey) -> Result<usize, usize> {
    match log.last() {
        Some((last, _)) if *last >= place => log.binary_search_by_key(&place, |(place, _)| *place),
        _ => Err(log.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(n: i64) -> CallKey {
        (n % 2, n, [n as u8; 16])
    }

    fn logged(group: i64) -> Logged {
        Logged { group, is_missed: false }
    }

    fn tail(calls: std::ops::RangeInclusive<i64>) -> CallTail {
        let mut tail = CallTail::default();
        calls.for_each(|n| tail.add(call(n), logged(n)));
        tail.commit();
        tail
    }

    fn began(tail: &CallTail, owner: i64) -> Vec<i64> {
        tail.log(owner, None, (0, [0; 16])).map(|((_, began, _), _)| began).collect()
    }

    #[test]
    fn an_undone_transaction_leaves_no_trace() {
        let mut tail = tail(1..=4);
        tail.drop(call(1));
        tail.add(call(1), logged(5));
        let mark = tail.mark();
        tail.add(call(7), logged(6));
        tail.drop(call(3));
        assert_eq!(began(&tail, 1), [7, 1]);
        tail.undo_to(mark);
        assert_eq!(began(&tail, 1), [3, 1]);
        tail.undo_to(0);
        assert_eq!((tail.get(&call(1)), tail.len()), (Some(logged(1)), 4));
    }

    #[test]
    fn a_merge_skips_what_was_pruned_and_leaves_what_came_later() {
        let mut tail = tail(1..=6);
        let (step, complete) = tail.merge_step(2);
        assert_eq!((step.iter().map(|(key, _)| key.1).collect::<Vec<_>>(), complete), (vec![2, 4], None));
        assert_eq!(tail.merged(2), None);
        tail.drop(call(1));
        tail.drop(call(6));
        // Another call of the same name is not the one that the merge means.
        tail.add(call(6), logged(7));
        tail.commit();
        let (step, complete) = tail.merge_step(9);
        let blocks = vec![Block { first: 1, last: 6, oldest_unix_ms: 1 }];
        let through = CompleteThrough { group: 6, newest_unix_ms: 6, blocks };
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
