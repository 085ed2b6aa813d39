//! The index of call logs: where each call is, some neighbours of a log in a row.
//!
//! It is to calls what [runs](super::runs) are to messages. A run of up to [`RUN_PLACES_MAX`] calls of an owner, in the order of the
//! log, is a row, its content their places:
//!
//! ```text
//! place = began_unix_ms (less that of the one before it)  id (16 octets)  group (less that before it, with its sign and
//!         whether the call was missed)
//! ```
//!
//! Numbers are those of [`pack`](crate::pack); of the last one the lowest bit says whether the call was missed, the next one is
//! the sign. Before the first place stand the time in the run's key and the group 0.
//!
//! Runs that hold a missed call are in an index of their own, so that rare ones are found without reading all of a log.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::values::damaged;
use crate::call_tail::LogKey;
use crate::pack;

/// Calls in a row: 0.7 KiB of them, which is what SQLite keeps of a row in its place in the index (1 KiB of a page of 4 KiB).
const RUN_PLACES_MAX: usize = 32;

const LAST: &str = "SELECT first_unix_ms, first_id, content FROM call_runs WHERE owner = $1
    ORDER BY first_unix_ms DESC, first_id DESC LIMIT 1";
const AT: &str = "SELECT first_unix_ms, first_id, content FROM call_runs
    WHERE owner = $1 AND (first_unix_ms, first_id) <= ($2, $3)
    ORDER BY first_unix_ms DESC, first_id DESC LIMIT 1";
const NEXT: &str = "SELECT first_unix_ms, first_id FROM call_runs
    WHERE owner = $1 AND (first_unix_ms, first_id) > ($2, $3)
    ORDER BY first_unix_ms, first_id LIMIT 1";
const BEFORE: &str = "SELECT first_unix_ms, first_id, content FROM call_runs
    WHERE owner = $1 AND (first_unix_ms, first_id) < ($2, $3)
    ORDER BY first_unix_ms DESC, first_id DESC";
// Left to itself, SQLite reads all runs by the primary key and skips those without a missed call.
const MISSED_BEFORE: &str = "SELECT first_unix_ms, first_id, content
    FROM call_runs INDEXED BY call_runs_missed
    WHERE owner = $1 AND (first_unix_ms, first_id) < ($2, $3) AND has_missed = 1
    ORDER BY first_unix_ms DESC, first_id DESC";
const ADD: &str = "INSERT INTO call_runs (owner, first_unix_ms, first_id, has_missed, content)
    VALUES ($1, $2, $3, $4, $5)";
const CHANGE: &str = "UPDATE call_runs SET content = $1
    WHERE owner = $2 AND first_unix_ms = $3 AND first_id = $4";
// Apart from the content, because it costs a look at the index of missed calls.
const CHANGE_MISSED: &str = "UPDATE call_runs SET has_missed = $1
    WHERE owner = $2 AND first_unix_ms = $3 AND first_id = $4";
const DROP: &str = "DELETE FROM call_runs WHERE owner = $1 AND first_unix_ms = $2 AND first_id = $3";
const REMOVE: &str = "DELETE FROM call_runs WHERE owner = $1";

/// Above all ids: they have 16 octets.
const ID_END: [u8; 17] = [u8::MAX; 17];

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallPlace {
    pub(super) began_unix_ms: i64,
    pub(super) id: [u8; 16],
    pub(super) group: i64,
    pub(super) is_missed: bool,
}

impl CallPlace {
    pub(super) fn key(&self) -> LogKey {
        (self.began_unix_ms, self.id)
    }
}

pub(super) struct CallRuns<'c> {
    last: Statement<'c>,
    at: Statement<'c>,
    next: Statement<'c>,
    before: Statement<'c>,
    missed_before: Statement<'c>,
    add: Statement<'c>,
    change: Statement<'c>,
    change_missed: Statement<'c>,
    drop: Statement<'c>,
    remove: Statement<'c>,
}

/// A row as it stands.
struct Run {
    first: LogKey,
    places: Vec<CallPlace>,
}

impl<'c> CallRuns<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<CallRuns<'c>> {
        Ok(CallRuns {
            last: connection.prepare(LAST)?,
            at: connection.prepare(AT)?,
            next: connection.prepare(NEXT)?,
            before: connection.prepare(BEFORE)?,
            missed_before: connection.prepare(MISSED_BEFORE)?,
            add: connection.prepare(ADD)?,
            change: connection.prepare(CHANGE)?,
            change_missed: connection.prepare(CHANGE_MISSED)?,
            drop: connection.prepare(DROP)?,
            remove: connection.prepare(REMOVE)?,
        })
    }

    /// Adds places of an owner, in the order of the log. Those that are there already are written again.
    pub(super) fn add(&mut self, owner: i64, places: &[CallPlace]) -> rusqlite::Result<()> {
        let mut rest = places;
        while let Some(first) = rest.first() {
            let (run, end) = self.target(owner, first.key())?;
            let count = rest.partition_point(|place| end.is_none_or(|end| place.key() < end));
            let (now, later) = rest.split_at(count);
            let there = run.as_ref().map_or(&[][..], |run| &run.places);
            self.write(owner, run.as_ref(), &merge(there, now))?;
            rest = later;
        }
        Ok(())
    }

    /// Takes calls of an owner out, in the order of the log, if they are there.
    pub(super) fn drop(&mut self, owner: i64, keys: &[LogKey]) -> rusqlite::Result<()> {
        let mut rest = keys;
        while let Some(first) = rest.first() {
            let run = self.at(owner, first)?;
            let last = run.as_ref().and_then(|run| Some(run.places.last()?.key()));
            let count = rest.partition_point(|key| last.is_some_and(|last| *key <= last)).max(1);
            let (now, later) = rest.split_at(count);
            rest = later;
            let Some(run) = run else { continue };
            let mut kept = run.places.clone();
            kept.retain(|place| now.binary_search(&place.key()).is_err());
            if kept.len() == run.places.len() {
                continue;
            }
            let keeps_key = kept.first().is_some_and(|place| place.key() == run.first);
            if !keeps_key {
                self.drop.execute(params![owner, run.first.0, run.first.1])?;
            }
            self.write(owner, keeps_key.then_some(&run), &kept)?;
        }
        Ok(())
    }

    /// All of an owner.
    pub(super) fn remove(&mut self, owner: i64) -> rusqlite::Result<()> {
        self.remove.execute([owner]).map(drop)
    }

    /// Whether an owner's call is there.
    pub(super) fn knows(&mut self, owner: i64, key: &LogKey) -> rusqlite::Result<bool> {
        let run = self.at(owner, key)?;
        Ok(run.is_some_and(|run| run.places.iter().any(|place| place.key() == *key)))
    }

    /// Where an owner's calls before a place in the log are, newest first, at most so many.
    pub(super) fn before(
        &mut self,
        owner: i64,
        before: Option<LogKey>,
        missed_only: bool,
        places_max: usize,
    ) -> rusqlite::Result<Vec<CallPlace>> {
        let (began, id) = match &before {
            Some((began, id)) => (*began, &id[..]),
            None => (i64::MAX, &ID_END[..]),
        };
        let runs = if missed_only { &mut self.missed_before } else { &mut self.before };
        let is_wanted = |place: &CallPlace| {
            before.is_none_or(|before| place.key() < before) && (!missed_only || place.is_missed)
        };
        let mut found = Vec::new();
        let mut rows = runs.query(params![owner, began, id])?;
        while found.len() < places_max
            && let Some(row) = rows.next()?
        {
            found.extend(run(row)?.places.into_iter().rev().filter(is_wanted));
        }
        found.truncate(places_max);
        Ok(found)
    }

    /// The last run that begins at a place of the log or before it.
    fn at(&mut self, owner: i64, (began, id): &LogKey) -> rusqlite::Result<Option<Run>> {
        self.at.query_row(params![owner, began, id], run).optional()
    }

    /// The run that a call belongs to, if one begins before it, and where the next one begins.
    fn target(&mut self, owner: i64, key: LogKey) -> rusqlite::Result<(Option<Run>, Option<LogKey>)> {
        // Nearly always a call belongs to the end.
        let last = self.last.query_row([owner], run).optional()?;
        if last.as_ref().is_none_or(|last| last.first <= key) {
            return Ok((last, None));
        }
        let next = params![owner, key.0, key.1];
        let next = self.next.query_row(next, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok((self.at(owner, &key)?, next))
    }

    /// Writes places of an owner, the first run in place of `there` if they begin as it does.
    fn write(&mut self, owner: i64, there: Option<&Run>, places: &[CallPlace]) -> rusqlite::Result<()> {
        for run in places.chunks(RUN_PLACES_MAX) {
            let first = run[0].key();
            match there.filter(|there| there.first == first) {
                Some(there) if there.places == run => {}
                Some(there) => {
                    self.change.execute(params![packed(run), owner, first.0, first.1])?;
                    if has_missed(&there.places) != has_missed(run) {
                        self.change_missed.execute(params![has_missed(run), owner, first.0, first.1])?;
                    }
                }
                None => {
                    self.add.execute(params![owner, first.0, first.1, has_missed(run), packed(run)])?;
                }
            }
        }
        Ok(())
    }
}

fn has_missed(places: &[CallPlace]) -> bool {
    places.iter().any(|place| place.is_missed)
}

/// Both in order; where a call is in both, the new place counts.
fn merge(old: &[CallPlace], new: &[CallPlace]) -> Vec<CallPlace> {
    let mut merged = Vec::with_capacity(old.len() + new.len());
    let mut old = old.iter().copied().peekable();
    for place in new {
        while let Some(before) = old.next_if(|before| before.key() < place.key()) {
            merged.push(before);
        }
        old.next_if(|same| same.key() == place.key());
        merged.push(*place);
    }
    merged.extend(old);
    merged
}

fn packed(run: &[CallPlace]) -> Vec<u8> {
    let mut content = Vec::with_capacity(24 * run.len());
    let (mut began, mut group) = (run[0].began_unix_ms, 0);
    for place in run {
        pack::number(&mut content, place.began_unix_ms - began);
        content.extend_from_slice(&place.id);
        let step = place.group - group;
        let flags = i64::from(step < 0) << 1 | i64::from(place.is_missed);
        pack::number(&mut content, step.abs() << 2 | flags);
        (began, group) = (place.began_unix_ms, place.group);
    }
    content
}

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let first: LogKey = (row.get(0)?, row.get(1)?);
    Ok(Run { first, places: places(first.0, row.get_ref(2)?)? })
}

fn places(began: i64, content: ValueRef<'_>) -> rusqlite::Result<Vec<CallPlace>> {
    unpacked(began, content.as_blob()?).ok_or_else(|| damaged(2, "not the places of calls"))
}

fn unpacked(mut began_unix_ms: i64, mut content: &[u8]) -> Option<Vec<CallPlace>> {
    let mut places = Vec::with_capacity(RUN_PLACES_MAX);
    let mut group = 0i64;
    while !content.is_empty() {
        began_unix_ms = began_unix_ms.checked_add(pack::take_number(&mut content)?)?;
        let id = pack::take(&mut content, 16)?.try_into().ok()?;
        let step = pack::take_number(&mut content)?;
        let distance = if step & 2 == 0 { step >> 2 } else { -(step >> 2) };
        group = group.checked_add(distance)?;
        places.push(CallPlace { began_unix_ms, id, group, is_missed: step & 1 == 1 });
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: i64) -> CallPlace {
        // Some begin together; groups go up and down, as calls are over in another order than they began.
        CallPlace {
            began_unix_ms: n / 3,
            id: [(n % 3) as u8; 16],
            group: 1_000 + n % 1_000 * 37 % 101,
            is_missed: n % 100 == 7,
        }
    }

    fn places(numbers: impl IntoIterator<Item = i64>) -> Vec<CallPlace> {
        numbers.into_iter().map(place).collect()
    }

    fn with_runs(test: impl FnOnce(&mut CallRuns<'_>, &Connection)) {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::migrations::migrate(&mut connection, 0, crate::migrations::MIGRATIONS).unwrap();
        test(&mut CallRuns::prepare(&connection).unwrap(), &connection);
    }

    /// What is found of owner 1 is what is expected, newest first.
    #[track_caller]
    fn check(runs: &mut CallRuns<'_>, expected: &[i64]) {
        let all = |missed_only: bool| {
            let wanted = expected.iter().rev().filter(move |n| !missed_only || **n % 100 == 7);
            places(wanted.copied())
        };
        for missed_only in [false, true] {
            assert_eq!(runs.before(1, None, missed_only, usize::MAX).unwrap(), all(missed_only));
        }
        assert!(expected.iter().all(|n| runs.knows(1, &place(*n).key()).unwrap()));
    }

    #[test]
    fn places_are_found_however_they_came() {
        with_runs(|runs, connection| {
            runs.add(1, &places(100..200)).unwrap();
            runs.add(2, &places([150])).unwrap();
            runs.add(1, &places((200..500).step_by(2))).unwrap();
            // Before all others, between them, again, and behind them.
            runs.add(1, &places([0, 7, 100, 101, 299, 300, 301, 307, 1 << 40])).unwrap();
            let mut expected: Vec<i64> = (100..200).chain((200..500).step_by(2)).collect();
            expected.extend([0, 7, 299, 301, 307, 1 << 40]);
            expected.sort_unstable();
            check(runs, &expected);
            let rows: i64 =
                connection.query_row("SELECT count(*) FROM call_runs", [], |row| row.get(0)).unwrap();
            assert!(rows < 20, "{rows} rows");
            assert!(!runs.knows(1, &place(297).key()).unwrap());
            assert_eq!(runs.before(1, Some(place(103).key()), false, 3).unwrap(), places([102, 101, 100]));
            assert_eq!(runs.before(1, Some(place(307).key()), true, 1).unwrap(), places([107]));

            let gone: Vec<i64> = (0..150).chain([297, 299, 301, 307]).collect();
            runs.drop(1, &gone.iter().map(|n| place(*n).key()).collect::<Vec<_>>()).unwrap();
            expected.retain(|n| gone.binary_search(n).is_err());
            check(runs, &expected);
            runs.drop(1, &expected.iter().map(|n| place(*n).key()).collect::<Vec<_>>()).unwrap();
            check(runs, &[]);
            assert_eq!(runs.before(2, None, false, 9).unwrap(), [place(150)], "others keep theirs");
            runs.remove(2).unwrap();
            assert_eq!(runs.before(2, None, false, 9).unwrap(), []);
        });
    }

    /// The index of missed calls follows, whichever way a run changes.
    #[test]
    fn runs_with_missed_calls_are_found() {
        with_runs(|runs, _| {
            runs.add(1, &places([100, 101])).unwrap();
            check(runs, &[100, 101]);
            runs.add(1, &places([107])).unwrap();
            check(runs, &[100, 101, 107]);
            runs.drop(1, &[place(107).key()]).unwrap();
            check(runs, &[100, 101]);
            let answered = CallPlace { is_missed: false, ..place(107) };
            runs.add(1, &[answered]).unwrap();
            assert_eq!(runs.before(1, None, true, 9).unwrap(), []);
            runs.add(1, &places([107])).unwrap();
            check(runs, &[100, 101, 107]);
        });
    }

    #[test]
    fn damage_is_told() {
        let content = packed(&places([1, 2]));
        assert_eq!(unpacked(0, &content), Some(places([1, 2])));
        assert_eq!(unpacked(0, &content[..content.len() - 1]), None);
        assert_eq!(unpacked(i64::MAX, &packed(&places([1, 5]))), None);
    }

    /// A page of a log costs what is on it, however long the log is and however rarely a call is missed.
    #[test]
    fn a_page_is_one_range_of_an_index() {
        with_runs(|_, connection| {
            let range = "(owner=? AND (first_unix_ms,first_id)<(?,?))";
            for (sql, index) in [(BEFORE, "PRIMARY KEY"), (MISSED_BEFORE, "INDEX call_runs_missed")] {
                let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let steps: Vec<String> = plan
                    .query_map(params![1, 1, vec![0u8]], |row| row.get(3))
                    .unwrap()
                    .map(Result::unwrap)
                    .collect();
                assert_eq!(steps, [format!("SEARCH call_runs USING {index} {range}")], "and no sorting");
            }
        });
    }
}
