//! Entries of call logs in rows in order of arrival: those of each commit, packed. They stay until their calls are pruned.

use records::Direction;
use rusqlite::{Connection, Row, Statement, params};

use super::call_runs::{CallPlace, CallRuns};
use super::values::damaged;
use crate::call_pack::{self, Call};
use crate::call_tail::CallKey;
use crate::pack::{self, Damaged};

/// Octets of calls after which a row is written. To read one call is to read its row, and a page of a log has each of its
/// calls in another one; of some fifty calls each bears little of what the row costs.
const GROUP_OCTETS: usize = 4 << 10;
/// Room for a full group and the call that fills it.
const SPARE_OCTETS_MAX: usize = 2 * GROUP_OCTETS;

const ADD: &str = "INSERT INTO call_groups (id, calls, oldest_unix_ms, content) VALUES ($1, $2, $3, $4)";
const CONTENT: &str = "SELECT content FROM call_groups WHERE id = $1";
const CHANGE: &str = "UPDATE call_groups SET calls = $1, oldest_unix_ms = $2, content = $3 WHERE id = $4";
const DROP: &str = "DELETE FROM call_groups WHERE id = $1";
const OLDER: &str = "SELECT id FROM call_groups WHERE id BETWEEN $1 AND $2 AND oldest_unix_ms < $3
    ORDER BY id LIMIT $4";
const NEWEST: &str = "SELECT id, content FROM call_groups
    WHERE id > (SELECT indexed_through FROM call_indexing) ORDER BY id";
const NEXT: &str = "SELECT CASE WHEN newest > indexed_through THEN newest ELSE indexed_through END + 1
    FROM call_indexing, (SELECT coalesce(max(id), 0) AS newest FROM call_groups) AS arrived";

pub(super) struct CallGroups<'c> {
    add: Statement<'c>,
    content: Statement<'c>,
    change: Statement<'c>,
    drop: Statement<'c>,
    older: Statement<'c>,
    /// The id of the next group; never given twice.
    next: i64,
    /// What the last draft was written in, for the next one.
    spare: Vec<u8>,
}

/// A group that is not written yet.
#[derive(Debug, Default)]
pub(crate) struct CallDraft {
    /// Once there is something in it.
    id: i64,
    content: Vec<u8>,
    calls: i64,
    oldest_unix_ms: i64,
}

impl CallDraft {
    pub(super) fn is_full(&self) -> bool {
        self.content.len() >= GROUP_OCTETS
    }

    fn push(&mut self, call: &Call<'_>) {
        self.count(call);
        call_pack::push(&mut self.content, call);
    }

    fn count(&mut self, call: &Call<'_>) {
        let before = if self.calls == 0 { i64::MAX } else { self.oldest_unix_ms };
        self.oldest_unix_ms = call.began_unix_ms.min(before);
        self.calls += 1;
    }
}

impl<'c> CallGroups<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<CallGroups<'c>> {
        Ok(CallGroups {
            add: connection.prepare(ADD)?,
            content: connection.prepare(CONTENT)?,
            change: connection.prepare(CHANGE)?,
            drop: connection.prepare(DROP)?,
            older: connection.prepare(OLDER)?,
            next: connection.query_row(NEXT, [], |row| row.get(0))?,
            spare: Vec::new(),
        })
    }

    /// Puts a call into the draft; the id of its group.
    pub(super) fn put(&mut self, draft: &mut CallDraft, call: &Call<'_>) -> i64 {
        if draft.content.is_empty() {
            draft.id = self.next;
            self.next += 1;
            draft.content = std::mem::take(&mut self.spare);
        }
        draft.push(call);
        draft.id
    }

    /// Writes the draft, which is empty then.
    pub(super) fn write(&mut self, draft: &mut CallDraft) -> rusqlite::Result<()> {
        if draft.content.is_empty() {
            return Ok(());
        }
        let CallDraft { id, content, calls, oldest_unix_ms } = std::mem::take(draft);
        self.add.execute(params![id, calls, oldest_unix_ms, content])?;
        self.spare = content;
        self.spare.clear();
        self.spare.shrink_to(SPARE_OCTETS_MAX);
        Ok(())
    }

    /// The content of a group; empty where it is gone.
    pub(super) fn content(&mut self, group: i64) -> rusqlite::Result<Vec<u8>> {
        let mut rows = self.content.query([group])?;
        let row = rows.next()?;
        row.map_or(Ok(Vec::new()), |row| row.get(0))
    }

    /// Drops the calls of a group that `is_meant`, which hears of all.
    pub(super) fn drop_calls(
        &mut self,
        group: i64,
        mut is_meant: impl FnMut(&Call<'_>) -> bool,
    ) -> rusqlite::Result<()> {
        let content = self.content(group)?;
        let mut changed = content.clone();
        let mut left = CallDraft::default();
        for call in call_pack::calls(&content) {
            let (place, call) = call.map_err(|Damaged| not_ours())?;
            if is_meant(&call) {
                pack::erase(&mut changed, place);
            } else {
                left.count(&call);
            }
        }
        match left.calls {
            0 => self.drop.execute([group])?,
            _ => self.change.execute(params![left.calls, left.oldest_unix_ms, changed, group])?,
        };
        Ok(())
    }

    /// Groups from `first` to `last` that hold calls which began before then, in order, at most so many.
    pub(super) fn older(
        &mut self,
        first: i64,
        last: i64,
        before_unix_ms: i64,
        groups_max: usize,
    ) -> rusqlite::Result<Vec<i64>> {
        let id = |row: &Row<'_>| row.get(0);
        self.older.query_map([first, last, before_unix_ms, groups_max as i64], id)?.collect()
    }
}

/// Hands over every call that the index does not know, with its group.
pub(super) fn read_newest(
    connection: &Connection,
    mut each: impl FnMut(i64, Call<'_>),
) -> rusqlite::Result<()> {
    let mut newest = connection.prepare(NEWEST)?;
    let mut rows = newest.query([])?;
    while let Some(row) = rows.next()? {
        let group = row.get(0)?;
        for call in call_pack::calls(row.get_ref(1)?.as_blob()?) {
            each(group, call.map_err(|Damaged| not_ours())?.1);
        }
    }
    Ok(())
}

/// A call in the content of its group.
pub(super) fn find<'r>(content: &'r [u8], key: &CallKey) -> rusqlite::Result<Option<Call<'r>>> {
    for call in call_pack::calls(content) {
        let (_, call) = call.map_err(|Damaged| not_ours())?;
        if call.key() == *key {
            return Ok(Some(call));
        }
    }
    Ok(None)
}

/// Packs the call logs of a database that has a row for each entry, in order of their arrival; the index of what it indexes is
/// built new.
pub(crate) fn pack_calls(connection: &Connection) -> rusqlite::Result<()> {
    let indexed: i64 =
        connection.query_row("SELECT indexed_through FROM call_indexing", [], |row| row.get(0))?;
    let mut add = connection.prepare(ADD)?;
    // The ids of groups are the arrivals of their first calls.
    let mut groups: Vec<i64> = Vec::new();
    let mut draft = CallDraft::default();
    let mut write = |draft: &mut CallDraft| -> rusqlite::Result<()> {
        let CallDraft { id, content, calls, oldest_unix_ms } = std::mem::take(draft);
        if calls > 0 {
            groups.push(id);
            add.execute(params![id, calls, oldest_unix_ms, content])?;
        }
        Ok(())
    };
    let mut calls = connection.prepare(
        "SELECT arrival, owner, began_unix_ms, id, direction, ended, lasted_ms, peer, answered_at
        FROM calls ORDER BY arrival",
    )?;
    let mut rows = calls.query([])?;
    while let Some(row) = rows.next()? {
        let arrival: i64 = row.get(0)?;
        let crosses = draft.id <= indexed && indexed < arrival;
        if draft.is_full() || crosses {
            write(&mut draft)?;
        }
        if draft.content.is_empty() {
            draft.id = arrival;
        }
        draft.push(&Call {
            owner: row.get(1)?,
            began_unix_ms: row.get(2)?,
            id: row.get(3)?,
            direction: match row.get(4)? {
                0 => Direction::Received,
                _ => Direction::Sent,
            },
            end: call_pack::end(row.get(5)?).ok_or_else(|| damaged(5, "an unknown end of a call"))?,
            lasted_ms: row.get(6)?,
            peer: row.get_ref(7)?.as_str()?,
            answered_at: row.get_ref(8)?.as_str()?,
        });
    }
    write(&mut draft)?;
    drop(rows);
    index_calls(connection, &groups)
}

/// In the order of the new index.
fn index_calls(connection: &Connection, groups: &[i64]) -> rusqlite::Result<()> {
    // Some runs together; an owner's last one is found again.
    const PLACES: usize = 1_024;
    let mut runs = CallRuns::prepare(connection)?;
    let mut places = connection.prepare(
        "SELECT owner, began_unix_ms, id, is_missed, call FROM call_places
        WHERE call <= (SELECT indexed_through FROM call_indexing) ORDER BY owner, began_unix_ms, id",
    )?;
    let mut owner = 0;
    let mut pending: Vec<CallPlace> = Vec::with_capacity(PLACES);
    let mut rows = places.query([])?;
    while let Some(row) = rows.next()? {
        let next: i64 = row.get(0)?;
        if next != owner || pending.len() == PLACES {
            runs.add(owner, &pending)?;
            pending.clear();
            owner = next;
        }
        let arrival: i64 = row.get(4)?;
        let behind = groups.partition_point(|group| *group <= arrival);
        let group = behind.checked_sub(1).map(|index| groups[index]);
        pending.push(CallPlace {
            began_unix_ms: row.get(1)?,
            id: row.get(2)?,
            group: group.ok_or_else(|| damaged(4, "a call before the first"))?,
            is_missed: row.get(3)?,
        });
    }
    runs.add(owner, &pending)
}

pub(super) fn not_ours() -> rusqlite::Error {
    damaged(0, "not a group of calls")
}
