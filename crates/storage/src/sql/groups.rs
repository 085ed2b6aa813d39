//! Rows in order of arrival: what each commit holds of mailboxes, packed.
//!
//! Groups with messages stay until their messages are pruned. Groups of marks alone stand in a table of their own, and go when
//! the marks are where they belong.

use rusqlite::{Connection, Row, Statement, params};

use super::values::damaged;
use crate::pack::{self, Damaged, GROUP_OCTETS, Message, Record};

const ADD: &str =
    "INSERT INTO message_groups (id, messages, oldest_unix_ms, content) VALUES ($1, $2, $3, $4)";
const ADD_MARKS: &str = "INSERT INTO mark_groups (id, content) VALUES ($1, $2)";
const CONTENT: &str = "SELECT content FROM message_groups WHERE id = $1";
const CHANGE: &str =
    "UPDATE message_groups SET messages = $1, oldest_unix_ms = $2, content = $3 WHERE id = $4";
const DROP: &str = "DELETE FROM message_groups WHERE id = $1";
const DROP_MARKS: &str = "DELETE FROM mark_groups WHERE id <= $1";
const OLDER: &str = "SELECT id FROM message_groups WHERE id BETWEEN $1 AND $2 AND oldest_unix_ms < $3
    ORDER BY id LIMIT $4";
const NEWEST: &str = "SELECT id, content FROM message_groups WHERE id > $1
    UNION ALL SELECT id, content FROM mark_groups WHERE id > $1 ORDER BY id";
const NEXT: &str = "SELECT max(last) + 1 FROM (
        SELECT indexed_through AS last FROM indexing UNION ALL SELECT marks_through FROM indexing
        UNION ALL SELECT max(id) FROM message_groups UNION ALL SELECT max(id) FROM mark_groups) AS given";

/// Room for a full group and the message that fills it; what a large one took is given back.
const SPARE_OCTETS_MAX: usize = 2 * GROUP_OCTETS;

pub(super) struct Groups<'c> {
    add: Statement<'c>,
    add_marks: Statement<'c>,
    content: Statement<'c>,
    change: Statement<'c>,
    drop: Statement<'c>,
    drop_marks: Statement<'c>,
    older: Statement<'c>,
    newest: Statement<'c>,
    /// The id of the next group; never given twice.
    next: i64,
    /// What the last draft was written in, for the next one.
    spare: Vec<u8>,
}

/// A group that is not written yet.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Once there is something in it.
    id: i64,
    content: Vec<u8>,
    messages: i64,
    oldest_unix_ms: i64,
}

impl Draft {
    pub(super) fn is_full(&self) -> bool {
        self.content.len() >= GROUP_OCTETS
    }

    fn push(&mut self, record: &Record<'_>) {
        if let Record::Message(message) = record {
            let is_first = self.messages == 0;
            let before = if is_first { i64::MAX } else { self.oldest_unix_ms };
            self.oldest_unix_ms = message.received_unix_ms.min(before);
            self.messages += 1;
        }
        pack::push(&mut self.content, record);
    }
}

impl<'c> Groups<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Groups<'c>> {
        Ok(Groups {
            add: connection.prepare(ADD)?,
            add_marks: connection.prepare(ADD_MARKS)?,
            content: connection.prepare(CONTENT)?,
            change: connection.prepare(CHANGE)?,
            drop: connection.prepare(DROP)?,
            drop_marks: connection.prepare(DROP_MARKS)?,
            older: connection.prepare(OLDER)?,
            newest: connection.prepare(NEWEST)?,
            next: connection.query_row(NEXT, [], |row| row.get(0))?,
            spare: Vec::new(),
        })
    }

    /// The last group that there can be.
    pub(super) fn last(&self) -> i64 {
        self.next - 1
    }

    /// Puts a record into the draft; the id of its group.
    pub(super) fn put(&mut self, draft: &mut Draft, record: &Record<'_>) -> i64 {
        if draft.content.is_empty() {
            draft.id = self.next;
            self.next += 1;
            draft.content = std::mem::take(&mut self.spare);
        }
        draft.push(record);
        draft.id
    }

    /// Writes the draft, which is empty then.
    pub(super) fn write(&mut self, draft: &mut Draft) -> rusqlite::Result<()> {
        if draft.content.is_empty() {
            return Ok(());
        }
        if draft.messages > 0 {
            let Draft { id, content, messages, oldest_unix_ms } = &*draft;
            self.add.execute(params![id, messages, oldest_unix_ms, content])?;
        } else {
            self.add_marks.execute(params![draft.id, draft.content])?;
        }
        draft.messages = 0;
        self.spare = std::mem::take(&mut draft.content);
        self.spare.clear();
        self.spare.shrink_to(SPARE_OCTETS_MAX);
        Ok(())
    }

    /// Hands over every record of the groups behind one, in order.
    pub(super) fn read_newest(
        &mut self,
        after: i64,
        mut each: impl FnMut(i64, Record<'_>),
    ) -> rusqlite::Result<()> {
        let mut rows = self.newest.query([after])?;
        while let Some(row) = rows.next()? {
            let group = row.get(0)?;
            for record in pack::records(row.get_ref(1)?.as_blob()?) {
                each(group, record.map_err(|Damaged| not_ours())?.1);
            }
        }
        Ok(())
    }

    /// The content of a group; empty where it is gone.
    pub(super) fn content(&mut self, group: i64) -> rusqlite::Result<Vec<u8>> {
        let mut rows = self.content.query([group])?;
        let row = rows.next()?;
        row.map_or(Ok(Vec::new()), |row| row.get(0))
    }

    /// Drops the messages of a group that `is_meant`, which hears of all; `marks_through` is up to which group the marks are where
    /// they belong.
    pub(super) fn drop_messages(
        &mut self,
        group: i64,
        marks_through: i64,
        mut is_meant: impl FnMut(&Message<'_>) -> bool,
    ) -> rusqlite::Result<()> {
        let content = self.content(group)?;
        let mut changed = content.clone();
        let mut left = Draft::default();
        let mut marks = Draft::default();
        for record in pack::records(&content) {
            match record.map_err(|Damaged| not_ours())? {
                (place, Record::Message(message)) if is_meant(&message) => pack::erase(&mut changed, place),
                (_, record @ Record::Message(_)) => left.push(&record),
                (_, Record::Gone) => {}
                (_, mark) => marks.push(&mark),
            }
        }
        if left.messages > 0 {
            self.change.execute(params![left.messages, left.oldest_unix_ms, changed, group])?;
            return Ok(());
        }
        self.drop.execute([group])?;
        if group > marks_through && !marks.content.is_empty() {
            self.add_marks.execute(params![group, marks.content])?;
        }
        Ok(())
    }

    /// Marks a message as withdrawn.
    pub(super) fn withdraw(&mut self, group: i64, owner: i64, sequence: i64) -> rusqlite::Result<()> {
        let content = self.content(group)?;
        let mut changed = content.clone();
        let mut left = Draft::default();
        for record in pack::records(&content) {
            let (place, record) = record.map_err(|Damaged| not_ours())?;
            if let Record::Message(message) = record {
                if (message.owner, message.sequence) == (owner, sequence) {
                    pack::withdraw(&mut changed, place);
                }
                left.push(&record);
            }
        }
        self.change.execute(params![left.messages, left.oldest_unix_ms, changed, group])?;
        Ok(())
    }

    /// Groups from `first` to `last` that hold messages received before then, in order, at most so many.
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

    /// The marks of all groups up to this one are where they belong.
    pub(super) fn drop_marks(&mut self, through: i64) -> rusqlite::Result<()> {
        self.drop_marks.execute([through]).map(drop)
    }
}

/// A message in the content of its group.
pub(super) fn find(content: &[u8], owner: i64, sequence: i64) -> rusqlite::Result<Option<Message<'_>>> {
    for record in pack::records(content) {
        if let (_, Record::Message(message)) = record.map_err(|Damaged| not_ours())?
            && (message.owner, message.sequence) == (owner, sequence)
        {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

/// Packs the messages of a database that has a row for each, in order of their ids; the index of what it indexes is built new.
pub(crate) fn pack_rows(connection: &Connection) -> rusqlite::Result<()> {
    let indexed: i64 = connection.query_row("SELECT indexed_through FROM indexing", [], |row| row.get(0))?;
    let mut add = connection.prepare(ADD)?;
    // The ids of groups are those of their first messages.
    let mut groups: Vec<i64> = Vec::new();
    let mut draft = Draft::default();
    let mut messages = connection.prepare(
        "SELECT id, owner, sequence, direction, withdrawn, received_unix_ms, identity, peer, request
        FROM messages ORDER BY id",
    )?;
    let mut write = |draft: &mut Draft| -> rusqlite::Result<()> {
        if !draft.content.is_empty() {
            groups.push(draft.id);
            add.execute(params![draft.id, draft.messages, draft.oldest_unix_ms, draft.content])?;
        }
        *draft = Draft::default();
        Ok(())
    };
    let mut rows = messages.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let crosses = draft.id <= indexed && indexed < id;
        if draft.is_full() || crosses {
            write(&mut draft)?;
        }
        if draft.content.is_empty() {
            draft.id = id;
        }
        draft.push(&Record::Message(Message {
            owner: row.get(1)?,
            sequence: row.get(2)?,
            direction: row.get(3)?,
            is_withdrawn: row.get(4)?,
            received_unix_ms: row.get(5)?,
            identity: row.get(6)?,
            peer: row.get_ref(7)?.as_str()?,
            request: row.get_ref(8)?.as_blob()?,
        }));
    }
    write(&mut draft)?;
    drop(rows);
    index_rows(connection, &groups)
}

/// In the order of the new index.
fn index_rows(connection: &Connection, groups: &[i64]) -> rusqlite::Result<()> {
    use super::runs::{Place, Runs, fingerprint};

    let mut runs = Runs::prepare(connection)?;
    let mut places = connection.prepare(
        "SELECT message_places.owner, message_places.sequence, message, direction, identity
        FROM message_places JOIN messages ON messages.id = message
        WHERE message <= (SELECT indexed_through FROM indexing)
        ORDER BY message_places.owner, message_places.sequence",
    )?;
    // Some runs together; an owner's last one is found again.
    const PLACES: usize = 1_024;
    let mut owner = 0;
    let mut pending: Vec<Place> = Vec::with_capacity(PLACES);
    let mut rows = places.query([])?;
    while let Some(row) = rows.next()? {
        let next: i64 = row.get(0)?;
        if next != owner || pending.len() == PLACES {
            runs.add(owner, &pending)?;
            pending.clear();
            owner = next;
        }
        let message: i64 = row.get(2)?;
        let behind = groups.partition_point(|group| *group <= message);
        let group = behind.checked_sub(1).map(|index| groups[index]);
        pending.push(Place {
            sequence: row.get(1)?,
            group: group.ok_or_else(|| damaged(2, "a message before the first"))?,
            fingerprint: fingerprint(row.get(3)?, &row.get(4)?),
        });
    }
    runs.add(owner, &pending)
}

pub(super) fn not_ours() -> rusqlite::Error {
    damaged(0, "not a group of messages")
}
