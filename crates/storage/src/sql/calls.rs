//! Call logs.

use node::store::Outcome;
use records::{CallEnd, Direction, StoredCall};
use rusqlite::{Connection, Row, Statement, params};

use directory::UserId;

use super::values::{address, bound, damaged, integer, natural, unless_gone};
use crate::error::Failure;

const APPEND: &str =
    "INSERT INTO calls (owner, began_unix_ms, id, direction, peer, lasted_ms, ended, answered_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
const PAGE: &str = "SELECT id, direction, peer, began_unix_ms, lasted_ms, ended, answered_at FROM calls
    WHERE owner = $1 AND (began_unix_ms, id) < ($2, $3)
    ORDER BY began_unix_ms DESC, id DESC LIMIT $4";
// Left to itself, SQLite reads all calls by the primary key and skips those that were answered.
const MISSED: &str = "SELECT id, direction, peer, began_unix_ms, lasted_ms, ended, answered_at FROM calls
    INDEXED BY calls_missed
    WHERE owner = $1 AND (began_unix_ms, id) < ($2, $3) AND ended = 'missed'
    ORDER BY began_unix_ms DESC, id DESC LIMIT $4";
const PRUNE: &str = "DELETE FROM calls WHERE (owner, began_unix_ms, id) IN (
        SELECT owner, began_unix_ms, id FROM calls WHERE began_unix_ms < $1 LIMIT $2)";

/// Above all ids: they have 16 octets.
const ID_END: [u8; 17] = [u8::MAX; 17];

pub(super) struct Calls<'c> {
    append: Statement<'c>,
    page: Statement<'c>,
    missed: Statement<'c>,
    prune: Statement<'c>,
}

impl<'c> Calls<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Calls<'c>> {
        Ok(Calls {
            append: connection.prepare(APPEND)?,
            page: connection.prepare(PAGE)?,
            missed: connection.prepare(MISSED)?,
            prune: connection.prepare(PRUNE)?,
        })
    }

    pub(super) fn append(&mut self, call: &StoredCall) -> Result<Outcome, Failure> {
        let appended = self.append.execute(params![
            integer(call.owner.0)?,
            integer(call.began_unix_ms)?,
            call.id,
            direction_text(call.direction),
            call.peer.as_str(),
            integer(call.lasted_ms)?,
            call.end.name(),
            call.answered_at,
        ]);
        Ok(match unless_gone(appended)? {
            Some(0) => Outcome::AlreadyThere,
            _ => Outcome::Applied,
        })
    }

    /// Drops at most `rows_max`; how many it dropped.
    pub(super) fn prune(&mut self, before_unix_ms: u64, rows_max: usize) -> rusqlite::Result<usize> {
        self.prune.execute([bound(before_unix_ms), rows_max as i64])
    }

    /// Newest first.
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
        page.query_map(params![bound(owner.0), began, id, limit], |row| call(owner, row))?.collect()
    }
}

fn call(owner: UserId, row: &Row<'_>) -> rusqlite::Result<StoredCall> {
    let end = CallEnd::from_name(row.get_ref(5)?.as_str()?);
    Ok(StoredCall {
        owner,
        id: row.get(0)?,
        direction: match row.get_ref(1)?.as_str()? {
            "received" => Direction::Received,
            "sent" => Direction::Sent,
            _ => return Err(damaged(1, "an unknown direction")),
        },
        peer: address(row, 2)?,
        began_unix_ms: natural(row, 3)?,
        lasted_ms: natural(row, 4)?,
        end: end.ok_or_else(|| damaged(5, "an unknown end of a call"))?,
        answered_at: row.get(6)?,
    })
}

fn direction_text(direction: Direction) -> &'static str {
    match direction {
        Direction::Received => "received",
        Direction::Sent => "sent",
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
            (PAGE, "SEARCH calls USING PRIMARY KEY (owner=? AND (began_unix_ms,id)<(?,?))"),
            (MISSED, "SEARCH calls USING INDEX calls_missed (owner=? AND (began_unix_ms,id)<(?,?))"),
        ] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let parameters = params![1, 1, vec![0u8], 1];
            let steps: Vec<String> =
                plan.query_map(parameters, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            assert_eq!(steps, [expected], "and no sorting");
        }
    }
}
