//! Call logs: groups of calls, the index of logs, and the tail that it does not know yet.

use std::collections::{BTreeMap, BTreeSet};

use directory::{SipAddress, UserId};
use node::store::{Outcome, StoreError};
use records::{CallEnd, StoredCall};
use rusqlite::{Connection, Statement};

use super::blocks::{Blocks, Names};
use super::call_groups::{self, CallDraft, CallGroups};
use super::call_runs::{CallPlace, CallRuns};
use super::messages::{MERGE_STEP_DIVISOR, TAIL_FACTOR_MAX};
use super::values::{bound, integer};
use crate::call_pack::Call;
use crate::call_tail::{CallKey, CallTail, LogKey, Logged};
use crate::error::Failure;

const INDEXED_UNTIL: &str = "SELECT newest_unix_ms FROM call_indexing";
const SET_INDEXED: &str = "UPDATE call_indexing SET indexed_through = $1,
    newest_unix_ms = CASE WHEN newest_unix_ms > $2 THEN newest_unix_ms ELSE $2 END
    WHERE indexed_through < $1";
const BLOCKS: Names = Names {
    blocks: "call_blocks",
    first: "first_group",
    last: "last_group",
    rows: "call_groups",
    arrival: "id",
    time: "oldest_unix_ms",
};

/// Calls that weigh as much as a message in the length of the tail: they take a quarter of its octets. The more of them a merge
/// finds in each log, the less each costs: to write one row of the index costs as much as to keep twenty calls.
const CALLS_PER_MESSAGE: usize = 4;
/// Groups that pruning reads at a time, with some two hundred calls.
const PRUNE_GROUPS: usize = 4;

/// The statements, and what is known in memory about the rows that they meet.
pub(super) struct Calls<'c> {
    set_indexed: Statement<'c>,
    groups: CallGroups<'c>,
    runs: CallRuns<'c>,
    blocks: Blocks<'c>,
    tail: CallTail,
    /// The index holds no call that began later, so that the usual call needs no look there.
    indexed_until_unix_ms: i64,
    /// Why the tail does not shrink. As long as there is a reason it must not grow beyond `tail_messages_max`.
    merge_failure: Option<StoreError>,
    tail_messages_max: usize,
    /// That one step of merging writes.
    merge_rows: usize,
}

impl<'c> Calls<'c> {
    /// Also reads the tail. It is merged when it is as long as one of `tail_messages`.
    pub(super) fn prepare(connection: &'c Connection, tail_messages: usize) -> rusqlite::Result<Calls<'c>> {
        let mut tail = CallTail::default();
        call_groups::read_newest(connection, |group, call| tail.add(call.key(), logged(group, &call)))?;
        tail.commit();
        Ok(Calls {
            set_indexed: connection.prepare(SET_INDEXED)?,
            groups: CallGroups::prepare(connection)?,
            runs: CallRuns::prepare(connection)?,
            blocks: Blocks::prepare(connection, &BLOCKS)?,
            tail,
            indexed_until_unix_ms: connection.query_row(INDEXED_UNTIL, [], |row| row.get(0))?,
            merge_failure: None,
            tail_messages_max: TAIL_FACTOR_MAX * tail_messages,
            merge_rows: (tail_messages / MERGE_STEP_DIVISOR).max(1),
        })
    }

    /// The transaction is durable.
    pub(super) fn committed(&mut self) {
        self.tail.commit();
    }

    /// Where a savepoint may return to.
    pub(super) fn mark(&self) -> usize {
        self.tail.mark()
    }

    /// What the transaction did since the mark was rolled back; 0 is its beginning.
    pub(super) fn rolled_back_to(&mut self, mark: usize) {
        self.tail.undo_to(mark);
    }

    /// The owner must exist.
    pub(super) fn append(&mut self, call: &StoredCall, draft: &mut CallDraft) -> Result<Outcome, Failure> {
        let packed = Call {
            owner: integer(call.owner.0)?,
            began_unix_ms: integer(call.began_unix_ms)?,
            id: call.id,
            direction: call.direction,
            end: call.end,
            lasted_ms: integer(call.lasted_ms)?,
            peer: call.peer.as_str(),
            answered_at: &call.answered_at,
        };
        let key = packed.key();
        if self.knows(&key)? {
            return Ok(Outcome::AlreadyThere);
        }
        if let Some(failure) = &self.merge_failure
            && self.tail_messages() >= self.tail_messages_max
        {
            return Err(Failure::World(failure.clone()));
        }
        let group = self.groups.put(draft, &packed);
        self.tail.add(key, logged(group, &packed));
        if draft.is_full() {
            self.write(draft)?;
        }
        Ok(Outcome::Applied)
    }

    /// Writes what is left of the group.
    pub(super) fn write(&mut self, draft: &mut CallDraft) -> rusqlite::Result<()> {
        self.groups.write(draft)
    }

    /// All of a user: no foreign key finds them. No group is open.
    pub(super) fn remove_all(&mut self, user: i64) -> rusqlite::Result<()> {
        let tail: Vec<(CallKey, Logged)> = self.tail.log(user, None, LOG_BEGIN).collect();
        let indexed = self.runs.before(user, None, false, usize::MAX)?;
        let groups = tail.iter().map(|(_, logged)| logged.group);
        let groups: BTreeSet<i64> = groups.chain(indexed.iter().map(|place| place.group)).collect();
        for group in groups {
            self.groups.drop_calls(group, |call| call.owner == user)?;
        }
        for (key, _) in tail {
            self.tail.drop(key);
        }
        self.runs.remove(user)
    }

    /// Drops calls that began before then, the oldest first, some more than so many at most; how many it dropped.
    pub(super) fn prune(&mut self, before_unix_ms: u64, rows_max: usize) -> rusqlite::Result<usize> {
        let before_unix_ms = bound(before_unix_ms);
        let mut dropped: Vec<CallKey> = Vec::new();
        while dropped.len() < rows_max
            && let Some((first, last)) = self.blocks.oldest(before_unix_ms)?
        {
            let groups = self.groups.older(first, last, before_unix_ms, PRUNE_GROUPS)?;
            for group in &groups {
                self.groups.drop_calls(*group, |call| {
                    let is_old = call.began_unix_ms < before_unix_ms;
                    if is_old {
                        dropped.push(call.key());
                    }
                    is_old
                })?;
            }
            if groups.len() < PRUNE_GROUPS {
                self.blocks.age(first, last, before_unix_ms)?;
            }
        }
        let mut newest = self.tail.older(before_unix_ms, rows_max.saturating_sub(dropped.len()));
        newest.sort_unstable_by_key(|(key, logged)| (logged.group, *key));
        for group in newest.chunk_by(|a, b| a.1.group == b.1.group) {
            self.groups.drop_calls(group[0].1.group, |call| {
                group.binary_search_by_key(&call.key(), |(key, _)| *key).is_ok()
            })?;
            dropped.extend(group.iter().map(|(key, _)| *key));
        }
        // The index is met in the order of its pages.
        dropped.sort_unstable();
        for log in dropped.chunk_by(|a, b| a.0 == b.0) {
            let places: Vec<LogKey> = log.iter().map(|(_, began, id)| (*began, *id)).collect();
            self.runs.drop(log[0].0, &places)?;
            log.iter().for_each(|key| self.tail.drop(*key));
        }
        Ok(dropped.len())
    }

    /// How long the tail is, in messages that would weigh as much: calls that are not in the index yet.
    pub(super) fn tail_messages(&self) -> usize {
        self.tail.len() / CALLS_PER_MESSAGE
    }

    pub(super) fn is_merging(&self) -> bool {
        self.tail.is_merging()
    }

    /// Moves some calls from the tail to the index, in the open transaction.
    pub(super) fn merge_step(&mut self) -> Result<(), Failure> {
        let (calls, complete) = self.tail.merge_step(self.merge_rows);
        let mut places = Vec::new();
        for log in calls.chunk_by(|a, b| a.0.0 == b.0.0) {
            places.clear();
            places.extend(log.iter().map(|((_, began, id), logged)| CallPlace {
                began_unix_ms: *began,
                id: *id,
                group: logged.group,
                is_missed: logged.is_missed,
            }));
            self.runs.add(log[0].0.0, &places)?;
        }
        if let Some(complete) = complete {
            self.blocks.add(&complete.blocks)?;
            self.set_indexed.execute([complete.group, complete.newest_unix_ms])?;
        }
        Ok(())
    }

    /// Whether the last step failed.
    pub(super) fn merge_fails(&self) -> bool {
        self.merge_failure.is_some()
    }

    /// The step is durable, or why it is not; whether there is no more to do for now.
    pub(super) fn merged(&mut self, step: Result<(), StoreError>) -> bool {
        self.merge_failure = step.err();
        if self.merge_failure.is_none()
            && let Some(complete) = self.tail.merged(self.merge_rows)
        {
            self.indexed_until_unix_ms = self.indexed_until_unix_ms.max(complete.newest_unix_ms);
        }
        self.merge_failure.is_none() && !self.tail.is_merging()
    }

    /// Newest first. No group is open.
    pub(super) fn page(
        &mut self,
        owner: UserId,
        before: Option<(u64, [u8; 16])>,
        missed_only: bool,
        limit: u32,
    ) -> rusqlite::Result<Vec<StoredCall>> {
        let key = bound(owner.0);
        let before = before.and_then(|(began, id)| Some((i64::try_from(began).ok()?, id)));
        let places = self.places(key, before, missed_only, limit as usize)?;
        let mut found = Vec::with_capacity(places.len());
        // Neighbours in a log sometimes came in one group.
        let mut last_group = (0, Vec::new());
        for ((began, id), group) in places {
            if last_group.0 != group {
                last_group = (group, self.groups.content(group)?);
            }
            let call = call_groups::find(&last_group.1, &(key, began, id))?;
            found.push(stored(owner, &call.ok_or_else(call_groups::not_ours)?)?);
        }
        Ok(found)
    }

    /// Where an owner's calls before a place in the log are, from the index and from the tail, newest first: places and groups.
    fn places(
        &mut self,
        owner: i64,
        before: Option<LogKey>,
        missed_only: bool,
        places_max: usize,
    ) -> rusqlite::Result<Vec<(LogKey, i64)>> {
        let indexed = self.runs.before(owner, before, missed_only, places_max)?;
        // Where the index has enough, what is older than its last one is not wanted.
        let from = match indexed.last() {
            Some(last) if indexed.len() >= places_max => last.key(),
            _ => LOG_BEGIN,
        };
        let newest = self.tail.log(owner, before, from);
        let newest = newest.filter(|(_, logged)| !missed_only || logged.is_missed).take(places_max);
        let newest = newest.map(|((_, began, id), logged)| ((began, id), logged.group));
        // In the middle of a merge a call is in both.
        let indexed = indexed.iter().map(|place| (place.key(), place.group));
        let places: BTreeMap<LogKey, i64> = indexed.chain(newest).collect();
        Ok(places.into_iter().rev().take(places_max).collect())
    }

    fn knows(&mut self, key: &CallKey) -> rusqlite::Result<bool> {
        let (owner, began, id) = *key;
        Ok(self.tail.knows(key)
            || began <= self.indexed_until_unix_ms && self.runs.knows(owner, &(began, id))?)
    }
}

/// Before all places of a log.
const LOG_BEGIN: LogKey = (0, [0; 16]);

fn logged(group: i64, call: &Call<'_>) -> Logged {
    Logged { group, is_missed: call.end == CallEnd::Missed }
}

fn stored(owner: UserId, call: &Call<'_>) -> rusqlite::Result<StoredCall> {
    Ok(StoredCall {
        owner,
        id: call.id,
        direction: call.direction,
        peer: SipAddress::parse(call.peer).map_err(|_| call_groups::not_ours())?,
        began_unix_ms: call.began_unix_ms.unsigned_abs(),
        lasted_ms: call.lasted_ms.unsigned_abs(),
        end: call.end,
        answered_at: call.answered_at.to_owned(),
    })
}
