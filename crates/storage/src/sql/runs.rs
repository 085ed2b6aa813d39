//! The index of mailboxes: where each message is, some neighbours of a mailbox in a row.
//!
//! A row of its own for each message would cost ten times what the message's place takes. So a run of up to
//! [`RUN_PLACES_MAX`] messages with ascending sequences is a row, its content their places:
//!
//! ```text
//! place = sequence (less that before it)  group (less that before it, with its sign)  fingerprint (4 octets)
//! ```
//!
//! Numbers are those of [`pack`](crate::pack), signs the lowest bit of them; before the first place stand the run's first
//! sequence and the group 0. Fingerprints find messages by identity; they may agree by chance, so that who looks for a message
//! reads it.
//!
//! The key of a place never gets lower: what was behind a row stays behind it, so that the rows can be read in order while
//! others are written.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::values::damaged;
use crate::known::RowKey;
use crate::pack;

/// Messages in a row: 0.5 KiB of them, so that a page holds some rows, and rewriting one costs little more than the page.
const RUN_PLACES_MAX: usize = 64;

const LAST: &str = "SELECT first_sequence, content FROM message_runs WHERE owner = $1
    ORDER BY first_sequence DESC LIMIT 1";
const AT: &str = "SELECT first_sequence, content FROM message_runs WHERE owner = $1 AND first_sequence <= $2
    ORDER BY first_sequence DESC LIMIT 1";
const NEXT: &str = "SELECT first_sequence FROM message_runs WHERE owner = $1 AND first_sequence > $2
    ORDER BY first_sequence LIMIT 1";
const BEHIND: &str = "SELECT first_sequence, content FROM message_runs
    WHERE owner = $1 AND first_sequence >= coalesce(
        (SELECT max(first_sequence) FROM message_runs WHERE owner = $1 AND first_sequence <= $2), 0)
    ORDER BY first_sequence";
const ALL: &str = "SELECT owner, first_sequence, content FROM message_runs
    WHERE (owner, first_sequence) > ($1, $2) ORDER BY owner, first_sequence LIMIT $3";
const ADD: &str =
    "INSERT INTO message_runs (owner, first_sequence, last_sequence, content) VALUES ($1, $2, $3, $4)";
const CHANGE: &str = "UPDATE message_runs SET last_sequence = $1, content = $2
    WHERE owner = $3 AND first_sequence = $4";
const DROP: &str = "DELETE FROM message_runs WHERE owner = $1 AND first_sequence = $2";
const REMOVE: &str = "DELETE FROM message_runs WHERE owner = $1";

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sequence: i64,
    pub(super) group: i64,
    /// See [`fingerprint`].
    pub(super) fingerprint: u32,
}

pub(super) struct Runs<'c> {
    last: Statement<'c>,
    at: Statement<'c>,
    next: Statement<'c>,
    behind: Statement<'c>,
    all: Statement<'c>,
    add: Statement<'c>,
    change: Statement<'c>,
    drop: Statement<'c>,
    remove: Statement<'c>,
}

/// A row as it stands.
struct Run {
    first: i64,
    places: Vec<Place>,
}

impl<'c> Runs<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Runs<'c>> {
        Ok(Runs {
            last: connection.prepare(LAST)?,
            at: connection.prepare(AT)?,
            next: connection.prepare(NEXT)?,
            behind: connection.prepare(BEHIND)?,
            all: connection.prepare(ALL)?,
            add: connection.prepare(ADD)?,
            change: connection.prepare(CHANGE)?,
            drop: connection.prepare(DROP)?,
            remove: connection.prepare(REMOVE)?,
        })
    }

    /// Adds places of an owner, in order of their sequences. Those that are there already are written again.
    pub(super) fn add(&mut self, owner: i64, places: &[Place]) -> rusqlite::Result<()> {
        let mut rest = places;
        while let Some(first) = rest.first() {
            let (run, end) = self.target(owner, first.sequence)?;
            let count = rest.partition_point(|place| end.is_none_or(|end| place.sequence < end));
            let (now, later) = rest.split_at(count);
            let merged = merge(run.as_ref().map_or(&[], |run| &run.places), now);
            self.write(owner, run.map(|run| run.first), &merged)?;
            rest = later;
        }
        Ok(())
    }

    /// Takes messages of an owner out, in order of their sequences, if they are there.
    pub(super) fn drop(&mut self, owner: i64, sequences: &[i64]) -> rusqlite::Result<()> {
        let mut rest = sequences;
        while let Some(first) = rest.first() {
            let run = self.at.query_row([owner, *first], run).optional()?;
            let last = run.as_ref().and_then(|run| Some(run.places.last()?.sequence));
            let count = rest.partition_point(|sequence| last.is_some_and(|last| *sequence <= last)).max(1);
            let (now, later) = rest.split_at(count);
            rest = later;
            let Some(run) = run else { continue };
            let mut kept = run.places.clone();
            kept.retain(|place| now.binary_search(&place.sequence).is_err());
            if kept.len() == run.places.len() {
                continue;
            }
            let keeps_key = kept.first().is_some_and(|place| place.sequence == run.first);
            if !keeps_key {
                self.drop.execute([owner, run.first])?;
            }
            self.write(owner, keeps_key.then_some(run.first), &kept)?;
        }
        Ok(())
    }

    /// All of an owner.
    pub(super) fn remove(&mut self, owner: i64) -> rusqlite::Result<()> {
        self.remove.execute([owner]).map(drop)
    }

    /// Where an owner's messages behind a sequence are, in order, at most so many.
    pub(super) fn behind(
        &mut self,
        owner: i64,
        after: i64,
        places_max: usize,
    ) -> rusqlite::Result<Vec<Place>> {
        let mut found = Vec::new();
        let mut rows = self.behind.query([owner, after])?;
        while found.len() < places_max
            && let Some(row) = rows.next()?
        {
            found.extend(run(row)?.places.into_iter().filter(|place| place.sequence > after));
        }
        found.truncate(places_max);
        Ok(found)
    }

    /// Where an owner's message is.
    pub(super) fn at(&mut self, owner: i64, sequence: i64) -> rusqlite::Result<Option<Place>> {
        let run = self.at.query_row([owner, sequence], run).optional()?;
        Ok(run.and_then(|run| run.places.into_iter().find(|place| place.sequence == sequence)))
    }

    /// Where an owner's messages with a fingerprint are.
    pub(super) fn with_fingerprint(&mut self, owner: i64, fingerprint: u32) -> rusqlite::Result<Vec<Place>> {
        let mut found = Vec::new();
        let mut rows = self.behind.query([owner, 0])?;
        while let Some(row) = rows.next()? {
            found.extend(run(row)?.places.into_iter().filter(|place| place.fingerprint == fingerprint));
        }
        Ok(found)
    }

    /// The next rows behind a key, at most so many: what `each` is told. Whether there may be more.
    pub(super) fn read(
        &mut self,
        after: RowKey,
        rows_max: usize,
        mut each: impl FnMut(RowKey, &[Place]),
    ) -> rusqlite::Result<bool> {
        let mut rows = self.all.query(params![after.0, after.1, rows_max as i64])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let first = row.get(1)?;
            each((row.get(0)?, first), &places(first, row.get_ref(2)?)?);
            count += 1;
        }
        Ok(count == rows_max)
    }

    /// The run that a sequence belongs to, if one begins before it, and where the next one begins.
    fn target(&mut self, owner: i64, sequence: i64) -> rusqlite::Result<(Option<Run>, Option<i64>)> {
        // Nearly always a message belongs to the end.
        let last = self.last.query_row([owner], run).optional()?;
        if last.as_ref().is_none_or(|last| last.first <= sequence) {
            return Ok((last, None));
        }
        let at = self.at.query_row([owner, sequence], run).optional()?;
        Ok((at, self.next.query_row([owner, sequence], |row| row.get(0)).optional()?))
    }

    /// Writes places of an owner, the first run in place of the one that begins there, if it does.
    fn write(&mut self, owner: i64, there: Option<i64>, places: &[Place]) -> rusqlite::Result<()> {
        for run in places.chunks(RUN_PLACES_MAX) {
            let (first, last) = (run[0].sequence, run[run.len() - 1].sequence);
            if there == Some(first) {
                self.change.execute(params![last, packed(run), owner, first])?;
            } else {
                self.add.execute(params![owner, first, last, packed(run)])?;
            }
        }
        Ok(())
    }
}

/// What finds a message by its identity. Identities are digests, so that any octets of them will do.
pub(super) fn fingerprint(direction: i64, identity: &[u8; 16]) -> u32 {
    let [a, b, c, d, ..] = *identity;
    u32::from_le_bytes([a, b, c, d]) ^ direction as u32
}

/// Both in order; where a sequence is in both, the new one counts.
fn merge(old: &[Place], new: &[Place]) -> Vec<Place> {
    let mut merged = Vec::with_capacity(old.len() + new.len());
    let mut old = old.iter().copied().peekable();
    for place in new {
        while let Some(before) = old.next_if(|before| before.sequence < place.sequence) {
            merged.push(before);
        }
        old.next_if(|same| same.sequence == place.sequence);
        merged.push(*place);
    }
    merged.extend(old);
    merged
}

fn packed(run: &[Place]) -> Vec<u8> {
    let mut content = Vec::with_capacity(8 * run.len());
    let (mut sequence, mut group) = (run[0].sequence, 0);
    for place in run {
        pack::number(&mut content, place.sequence - sequence);
        let step = place.group - group;
        pack::number(&mut content, step.abs() << 1 | i64::from(step < 0));
        content.extend_from_slice(&place.fingerprint.to_le_bytes());
        (sequence, group) = (place.sequence, place.group);
    }
    content
}

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let first = row.get(0)?;
    Ok(Run { first, places: places(first, row.get_ref(1)?)? })
}

fn places(first: i64, content: ValueRef<'_>) -> rusqlite::Result<Vec<Place>> {
    unpacked(first, content.as_blob()?).ok_or_else(|| damaged(1, "not the places of messages"))
}

fn unpacked(first: i64, mut content: &[u8]) -> Option<Vec<Place>> {
    let mut places = Vec::with_capacity(RUN_PLACES_MAX);
    let (mut sequence, mut group) = (first, 0i64);
    while !content.is_empty() {
        sequence = sequence.checked_add(pack::take_number(&mut content)?)?;
        let step = pack::take_number(&mut content)?;
        let step = if step & 1 == 0 { step >> 1 } else { -(step >> 1) };
        group = group.checked_add(step)?;
        let fingerprint = u32::from_le_bytes(pack::take(&mut content, 4)?.try_into().ok()?);
        places.push(Place { sequence, group, fingerprint });
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(sequence: i64) -> Place {
        // Groups go up and down, as where a clock was set back.
        let group = 1_000 + sequence % 1_000 * 37 % 101;
        Place { sequence, group, fingerprint: (sequence as u32).wrapping_mul(0x9e37_79b9) }
    }

    fn with_runs(test: impl FnOnce(&mut Runs<'_>, &Connection)) {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::migrations::migrate(&mut connection, 0, crate::migrations::MIGRATIONS).unwrap();
        test(&mut Runs::prepare(&connection).unwrap(), &connection);
    }

    fn all(runs: &mut Runs<'_>) -> Vec<i64> {
        let found = runs.behind(1, -1, usize::MAX).unwrap();
        assert!(found.iter().all(|found| *found == place(found.sequence)));
        found.iter().map(|place| place.sequence).collect()
    }

    #[test]
    fn places_are_found_however_they_came() {
        with_runs(|runs, connection| {
            let places = |sequences: Vec<i64>| sequences.into_iter().map(place).collect::<Vec<_>>();
            runs.add(1, &places((100..200).collect())).unwrap();
            runs.add(2, &places(vec![150])).unwrap();
            runs.add(1, &places((200..500).step_by(2).collect())).unwrap();
            // Before all others, between them, again, and behind them.
            runs.add(1, &places(vec![0, 7, 100, 101, 299, 300, 301, i64::MAX / 2])).unwrap();
            let mut expected: Vec<i64> = (100..200).chain((200..500).step_by(2)).collect();
            expected.extend([0, 7, 299, 301, i64::MAX / 2]);
            expected.sort_unstable();
            assert_eq!(all(runs), expected);
            let rows: i64 =
                connection.query_row("SELECT count(*) FROM message_runs", [], |row| row.get(0)).unwrap();
            assert!(rows < 12, "{rows} rows");
            assert_eq!(runs.at(1, 299).unwrap(), Some(place(299)));
            assert_eq!(runs.at(1, 297).unwrap(), None);
            assert_eq!(runs.behind(1, 100, 3).unwrap(), places(vec![101, 102, 103]));
            assert_eq!(runs.with_fingerprint(1, place(301).fingerprint).unwrap(), [place(301)]);

            let gone: Vec<i64> = (0..150).chain([297, 299, 301]).collect();
            runs.drop(1, &gone).unwrap();
            expected.retain(|sequence| gone.binary_search(sequence).is_err());
            assert_eq!(all(runs), expected);
            runs.drop(1, &expected).unwrap();
            assert_eq!(all(runs), [0; 0]);
            assert_eq!(runs.behind(2, 0, 9).unwrap(), [place(150)], "others keep theirs");
        });
    }

    #[test]
    fn rows_are_read_in_order_while_others_are_written() {
        with_runs(|runs, _| {
            for owner in [1, 2] {
                runs.add(owner, &(100..200).map(place).collect::<Vec<_>>()).unwrap();
            }
            let mut seen = Vec::new();
            let mut next = Some((i64::MIN, i64::MIN));
            while let Some(after) = next.take() {
                let note = |key: RowKey, places: &[Place]| {
                    next = Some(key);
                    seen.extend(places.iter().map(|place| (key.0, place.sequence)));
                };
                runs.read(after, 1, note).unwrap();
                // What comes now is known without being read.
                runs.add(2, &[place(50)]).unwrap();
            }
            for owner in [1, 2] {
                assert!((100..200).all(|sequence| seen.contains(&(owner, sequence))));
            }
        });
    }

    #[test]
    fn damage_is_told() {
        let content = packed(&[place(1), place(2)]);
        assert_eq!(unpacked(1, &content), Some(vec![place(1), place(2)]));
        assert_eq!(unpacked(1, &content[..content.len() - 1]), None);
        assert_eq!(unpacked(i64::MAX, &content), None);
    }

    /// A page of a mailbox costs what is on it, however many messages came before.
    #[test]
    fn a_page_is_one_range_of_the_index() {
        with_runs(|_, connection| {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {BEHIND}")).unwrap();
            let steps: Vec<String> =
                plan.query_map([1, 1], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            assert!(!steps.iter().any(|step| step.contains("SCAN message") || step.contains("B-TREE")));
            assert!(
                steps[0].contains("SEARCH message_runs USING PRIMARY KEY (owner=? AND first_sequence>?)"),
                "{steps:?}"
            );
        });
    }
}
