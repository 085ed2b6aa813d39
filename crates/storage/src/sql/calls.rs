//! Call logs: the table of calls in order of arrival, its index, and the tail that it does not know yet.

use std::cmp::Reverse;

use node::store::{Outcome, StoreError};
use records::{CallEnd, Direction, StoredCall};
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use directory::UserId;

use super::batch::{Batch, KEEP};
use super::blocks::{Blocks, Names};
use super::messages::{APPEND_STATEMENT_ROWS, MERGE_STATEMENT_ROWS, MERGE_STEP_DIVISOR, TAIL_FACTOR_MAX};
use super::values::{address, bound, damaged, integer, natural};
use crate::call_tail::{CallKey, CallTail, Logged};
use crate::error::Failure;

const TAIL: &str = "SELECT owner, began_unix_ms, id, arrival, ended FROM calls
    WHERE arrival > (SELECT indexed_through FROM call_indexing) ORDER BY arrival";
const NEXT_ARRIVAL: &str =
    "SELECT CASE WHEN newest > indexed_through THEN newest ELSE indexed_through END + 1
    FROM call_indexing, (SELECT coalesce(max(arrival), 0) AS newest FROM calls) AS arrived";
const INDEXED_UNTIL: &str = "SELECT newest_unix_ms FROM call_indexing";
const SET_INDEXED: &str = "UPDATE call_indexing SET indexed_through = $1,
    newest_unix_ms = CASE WHEN newest_unix_ms > $2 THEN newest_unix_ms ELSE $2 END
    WHERE indexed_through < $1";
const FIND_PLACE: &str = "SELECT 1 FROM call_places WHERE owner = $1 AND began_unix_ms = $2 AND id = $3";
const PAGE: &str = "SELECT calls.id, direction, peer, calls.began_unix_ms, lasted_ms, ended, answered_at
    FROM call_places JOIN calls ON calls.arrival = call
    WHERE call_places.owner = $1 AND (call_places.began_unix_ms, call_places.id) < ($2, $3)
    ORDER BY call_places.began_unix_ms DESC, call_places.id DESC LIMIT $4";
// Left to itself, SQLite reads all calls by the primary key and skips those that were answered.
const MISSED: &str = "SELECT calls.id, direction, peer, calls.began_unix_ms, lasted_ms, ended, answered_at
    FROM call_places INDEXED BY calls_missed JOIN calls ON calls.arrival = call
    WHERE call_places.owner = $1 AND (call_places.began_unix_ms, call_places.id) < ($2, $3) AND is_missed = 1
    ORDER BY call_places.began_unix_ms DESC, call_places.id DESC LIMIT $4";
const ONE: &str = "SELECT id, direction, peer, began_unix_ms, lasted_ms, ended, answered_at FROM calls
    WHERE arrival = $1";
const DROP_CALL: &str = "DELETE FROM calls WHERE arrival = $1";
const DROP_PLACE: &str = "DELETE FROM call_places WHERE owner = $1 AND began_unix_ms = $2 AND id = $3";
const REMOVE_CALLS: &str =
    "DELETE FROM calls WHERE arrival IN (SELECT call FROM call_places WHERE owner = $1)";
const REMOVE_PLACES: &str = "DELETE FROM call_places WHERE owner = $1";
const BLOCKS: Names = Names {
    blocks: "call_blocks",
    first: "first_call",
    last: "last_call",
    rows: "calls",
    columns: "owner, began_unix_ms, id, arrival, ended",
    arrival: "arrival",
    time: "began_unix_ms",
};

/// Above all ids: they have 16 octets.
const ID_END: [u8; 17] = [u8::MAX; 17];

/// The statements, and what is known in memory about the rows that they meet.
pub(super) struct Calls<'c> {
    append: Batch<'c, 9>,
    add_places: Batch<'c, 5>,
    set_indexed: Statement<'c>,
    find_place: Statement<'c>,
    page: Statement<'c>,
    missed: Statement<'c>,
    one: Statement<'c>,
    drop_call: Statement<'c>,
    drop_place: Statement<'c>,
    remove_calls: Statement<'c>,
    remove_places: Statement<'c>,
    blocks: Blocks<'c>,
    tail: CallTail,
    /// The index holds no call that began later, so that the usual call needs no look there.
    indexed_until_unix_ms: i64,
    /// Why the tail does not shrink. As long as there is a reason it must not grow beyond `tail_max`.
    merge_failure: Option<StoreError>,
    /// Calls in the tail at which a merge begins.
    tail_calls: usize,
    next_arrival: i64,
}

/// Calls of a group that are cheaper written together. The tail has them already.
pub(super) type UnwrittenCalls<'g> = Vec<(i64, &'g StoredCall)>;

impl<'c> Calls<'c> {
    /// Also reads the tail. It is merged when it holds `tail_calls`.
    pub(super) fn prepare(connection: &'c Connection, tail_calls: usize) -> rusqlite::Result<Calls<'c>> {
        let prepare = |sql| connection.prepare(sql);
        let mut tail = CallTail::default();
        for found in prepare(TAIL)?.query_map([], logged)? {
            let (key, logged) = found?;
            tail.add(key, logged);
        }
        tail.commit();
        Ok(Calls {
            append: Batch::prepare(
                connection,
                "calls (arrival, owner, began_unix_ms, id, direction, peer, lasted_ms, ended, answered_at)",
                APPEND_STATEMENT_ROWS,
                "",
            )?,
            add_places: Batch::prepare(
                connection,
                "call_places (owner, began_unix_ms, id, is_missed, call)",
                MERGE_STATEMENT_ROWS,
                KEEP,
            )?,
            set_indexed: prepare(SET_INDEXED)?,
            find_place: prepare(FIND_PLACE)?,
            page: prepare(PAGE)?,
            missed: prepare(MISSED)?,
            one: prepare(ONE)?,
            drop_call: prepare(DROP_CALL)?,
            drop_place: prepare(DROP_PLACE)?,
            remove_calls: prepare(REMOVE_CALLS)?,
            remove_places: prepare(REMOVE_PLACES)?,
            blocks: Blocks::prepare(connection, &BLOCKS)?,
            tail,
            indexed_until_unix_ms: connection.query_row(INDEXED_UNTIL, [], |row| row.get(0))?,
            merge_failure: None,
            tail_calls,
            next_arrival: connection.query_row(NEXT_ARRIVAL, [], |row| row.get(0))?,
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
    pub(super) fn append<'g>(
        &mut self,
        call: &'g StoredCall,
        unwritten: &mut UnwrittenCalls<'g>,
    ) -> Result<Outcome, Failure> {
        let key = (integer(call.owner.0)?, integer(call.began_unix_ms)?, call.id);
        integer(call.lasted_ms)?;
        if self.knows(&key)? {
            return Ok(Outcome::AlreadyThere);
        }
        if let Some(failure) = &self.merge_failure
            && self.tail.len() >= TAIL_FACTOR_MAX * self.tail_calls
        {
            return Err(Failure::World(failure.clone()));
        }
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        self.tail.add(key, Logged { arrival, is_missed: call.end == CallEnd::Missed });
        unwritten.push((arrival, call));
        if unwritten.len() >= APPEND_STATEMENT_ROWS {
            self.write(unwritten)?;
        }
        Ok(Outcome::Applied)
    }

    /// Writes what [`Calls::append`] has left.
    pub(super) fn write(&mut self, unwritten: &mut UnwrittenCalls<'_>) -> rusqlite::Result<()> {
        self.append.execute(unwritten, |statement, first, (arrival, call)| {
            statement.raw_bind_parameter(first, arrival)?;
            statement.raw_bind_parameter(first + 1, bound(call.owner.0))?;
            statement.raw_bind_parameter(first + 2, bound(call.began_unix_ms))?;
            statement.raw_bind_parameter(first + 3, call.id)?;
            statement.raw_bind_parameter(first + 4, direction_number(call.direction))?;
            statement.raw_bind_parameter(first + 5, call.peer.as_str())?;
            statement.raw_bind_parameter(first + 6, bound(call.lasted_ms))?;
            statement.raw_bind_parameter(first + 7, end_number(call.end))?;
            statement.raw_bind_parameter(first + 8, &*call.answered_at)
        })?;
        unwritten.clear();
        Ok(())
    }

    /// All of a user: no foreign key finds them.
    pub(super) fn remove_all(&mut self, user: i64) -> rusqlite::Result<()> {
        let tail: Vec<_> = self.tail.log(user, None, LOG_BEGIN).collect();
        for (key, logged) in tail {
            self.drop_call.execute([logged.arrival])?;
            self.tail.drop(key);
        }
        self.remove_calls.execute([user])?;
        self.remove_places.execute([user])?;
        Ok(())
    }

    /// Drops calls that began before then, the oldest first, at most so many; how many it dropped.
    pub(super) fn prune(&mut self, before_unix_ms: u64, rows_max: usize) -> rusqlite::Result<usize> {
        let before_unix_ms = bound(before_unix_ms);
        let mut dropped = self.blocks.take_older(before_unix_ms, rows_max, logged)?;
        dropped.extend(self.tail.older(before_unix_ms, rows_max - dropped.len()));
        // Each table is met in the order of its pages.
        dropped.sort_unstable_by_key(|(key, _)| *key);
        for (key, _) in &dropped {
            self.drop_place.execute(params![key.0, key.1, key.2])?;
            self.tail.drop(*key);
        }
        dropped.sort_unstable_by_key(|(_, logged)| logged.arrival);
        for (_, logged) in &dropped {
            self.drop_call.execute([logged.arrival])?;
        }
        Ok(dropped.len())
    }

    /// Calls that are not in the index yet.
    pub(super) fn tail_calls(&self) -> usize {
        self.tail.len()
    }

    pub(super) fn is_merging(&self) -> bool {
        self.tail.is_merging()
    }

    /// Moves some rows from the tail to the index, in the open transaction.
    pub(super) fn merge_step(&mut self) -> Result<(), Failure> {
        let (places, complete) = self.tail.merge_step(merge_rows(self.tail_calls));
        self.add_places.execute(&places, |statement, first, ((owner, began, id), logged)| {
            statement.raw_bind_parameter(first, owner)?;
            statement.raw_bind_parameter(first + 1, began)?;
            statement.raw_bind_parameter(first + 2, id)?;
            statement.raw_bind_parameter(first + 3, logged.is_missed)?;
            statement.raw_bind_parameter(first + 4, logged.arrival)
        })?;
        if let Some(complete) = complete {
            self.blocks.add(&complete.blocks)?;
            self.set_indexed.execute([complete.arrival, complete.newest_unix_ms])?;
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
            && let Some(complete) = self.tail.merged(merge_rows(self.tail_calls))
        {
            self.indexed_until_unix_ms = self.indexed_until_unix_ms.max(complete.newest_unix_ms);
        }
        self.merge_failure.is_none() && !self.tail.is_merging()
    }

    /// Newest first, from the index and from the tail.
    pub(super) fn page(
        &mut self,
        owner: UserId,
        before: Option<(u64, [u8; 16])>,
        missed_only: bool,
        limit: u32,
    ) -> rusqlite::Result<Vec<StoredCall>> {
        let before = before.and_then(|(began, id)| Some((i64::try_from(began).ok()?, id)));
        let (began, id) = match &before {
            Some((began, id)) => (*began, &id[..]),
            None => (i64::MAX, &ID_END[..]),
        };
        let page = if missed_only { &mut self.missed } else { &mut self.page };
        let indexed = page.query_map(params![bound(owner.0), began, id, limit], |row| call(owner, row))?;
        let mut found: Vec<StoredCall> = indexed.collect::<rusqlite::Result<_>>()?;
        // Where the index has enough, what is older than its last one is not wanted.
        let limit = limit as usize;
        let from = match found.last() {
            Some(last) if found.len() >= limit => (bound(last.began_unix_ms), last.id),
            _ => LOG_BEGIN,
        };
        let indexed = found.len();
        for (key, logged) in self.tail.log(bound(owner.0), before, from) {
            if found.len() - indexed >= limit {
                break;
            }
            // In the middle of a merge a call is in both.
            let is_there = |call: &StoredCall| (bound(call.began_unix_ms), call.id) == (key.1, key.2);
            if (!missed_only || logged.is_missed) && !found[..indexed].iter().any(is_there) {
                found.extend(self.one.query_row([logged.arrival], |row| call(owner, row)).optional()?);
            }
        }
        if found.len() > indexed {
            found.sort_unstable_by_key(|call| Reverse((call.began_unix_ms, call.id)));
            found.truncate(limit);
        }
        Ok(found)
    }

    fn knows(&mut self, key: &CallKey) -> rusqlite::Result<bool> {
        Ok(self.tail.knows(key)
            || key.1 <= self.indexed_until_unix_ms && self.find_place.exists(params![key.0, key.1, key.2])?)
    }
}

/// Before all places of a log.
const LOG_BEGIN: (i64, [u8; 16]) = (0, [0; 16]);

/// Rows that one step of merging writes.
fn merge_rows(tail_calls: usize) -> usize {
    (tail_calls / MERGE_STEP_DIVISOR).max(1)
}

fn logged(row: &Row<'_>) -> rusqlite::Result<(CallKey, Logged)> {
    let is_missed = row.get::<_, i64>(4)? == end_number(CallEnd::Missed);
    Ok(((row.get(0)?, row.get(1)?, row.get(2)?), Logged { arrival: row.get(3)?, is_missed }))
}

fn call(owner: UserId, row: &Row<'_>) -> rusqlite::Result<StoredCall> {
    let ended: i64 = row.get(5)?;
    let end = CallEnd::ALL.iter().copied().find(|end| end_number(*end) == ended);
    Ok(StoredCall {
        owner,
        id: row.get(0)?,
        direction: match row.get(1)? {
            0 => Direction::Received,
            1 => Direction::Sent,
            _ => return Err(damaged(1, "an unknown direction")),
        },
        peer: address(row, 2)?,
        began_unix_ms: natural(row, 3)?,
        lasted_ms: natural(row, 4)?,
        end: end.ok_or_else(|| damaged(5, "an unknown end of a call"))?,
        answered_at: row.get(6)?,
    })
}

fn direction_number(direction: Direction) -> i64 {
    match direction {
        Direction::Received => 0,
        Direction::Sent => 1,
    }
}

fn end_number(end: CallEnd) -> i64 {
    match end {
        CallEnd::Answered => 0,
        CallEnd::Forwarded => 1,
        CallEnd::Missed => 2,
        CallEnd::Refused => 3,
        CallEnd::Cancelled => 4,
        CallEnd::Failed => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of a log costs what is on it, however long the log is and however rarely a call is missed.
    #[test]
    fn a_page_is_one_range_of_an_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::migrations::migrate(&mut connection, 0, crate::migrations::MIGRATIONS).unwrap();
        for (sql, expected) in [
            (PAGE, "SEARCH call_places USING PRIMARY KEY (owner=? AND (began_unix_ms,id)<(?,?))"),
            (MISSED, "SEARCH call_places USING INDEX calls_missed (owner=? AND (began_unix_ms,id)<(?,?))"),
        ] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let parameters = params![1, 1, vec![0u8], 1];
            let steps: Vec<String> =
                plan.query_map(parameters, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            let row = "SEARCH calls USING INTEGER PRIMARY KEY (rowid=?)";
            assert_eq!(steps, [expected, row], "and no sorting");
        }
    }
}
