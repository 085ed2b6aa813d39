//! Mailboxes: the table of messages, its indices, and the tail that they do not know yet.

use std::collections::HashMap;

use directory::UserId;
use node::store::{Outcome, StoreError};
use records::memory::Refused;
use records::{Direction, Sequence, StoredMessage, UserRecord};
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::batch::{Batch, KEEP};
use super::blocks::{Blocks, Names};
use super::values::{address, bound, damaged, integer, natural};
use crate::error::Failure;
use crate::known::Known;
use crate::tail::{Entry, IdentityKey, PlaceKey, Tail};

/// Of how many messages in the tail one step of merging writes a row to the indices: with 32,768 it is 1,024 rows, 1 to
/// 3 ms of work, so that a message never waits longer.
pub(super) const MERGE_STEP_DIVISOR: usize = 32;
/// How many times its usual length ([`crate::Options::tail_messages`]) the tail may have. From then on merging no longer
/// pauses, and while it fails no message is taken.
pub(super) const TAIL_FACTOR_MAX: usize = 2;
/// Rows in one statement of a merge. Starting a statement costs as much as half a row; with so many it no longer shows.
pub(super) const MERGE_STATEMENT_ROWS: usize = 32;
/// Messages in one statement, for the same reason; few of a group are then left over for statements of their own.
pub(super) const APPEND_STATEMENT_ROWS: usize = 8;
/// Rows of the index of identities that are read in one step after the start: some 0.5 ms of work.
const READ_ROWS: usize = 2_000;
/// Owners whose highest sequence is remembered: some 32 octets each, 2 MiB together. An owner that is not among them costs a
/// lookup.
const OWNERS_MAX: usize = 65_536;

const HIGHEST_SEQUENCE: &str =
    "SELECT coalesce((SELECT max(sequence) FROM message_places WHERE owner = $1), 0)
    FROM mailboxes WHERE owner = $1";
const FIND_IDENTITY: &str =
    "SELECT 1 FROM message_identities WHERE owner = $1 AND direction = $2 AND identity = $3";
const IDENTITIES: &str = "SELECT owner, direction, identity FROM message_identities
    WHERE (owner, direction, identity) > ($1, $2, $3) ORDER BY owner, direction, identity LIMIT $4";
const FIND_PLACE: &str = "SELECT message FROM message_places WHERE owner = $1 AND sequence = $2";
const IS_WITHDRAWN: &str =
    "SELECT 1 FROM messages WHERE withdrawn = 1 AND owner = $1 AND direction = $2 AND identity = $3";
const WITHDRAW: &str = "UPDATE messages SET withdrawn = 1 WHERE id = $1";
const TAIL: &str = "SELECT id, owner, sequence, direction, identity, received_unix_ms FROM messages
    WHERE id > (SELECT indexed_through FROM indexing) ORDER BY id";
const NEXT_ID: &str = "SELECT CASE WHEN newest > indexed_through THEN newest ELSE indexed_through END + 1
    FROM indexing, (SELECT coalesce(max(id), 0) AS newest FROM messages) AS arrived";
const SET_INDEXED: &str = "UPDATE indexing SET indexed_through = $1 WHERE indexed_through < $1";
const BLOCKS: Names = Names {
    blocks: "message_blocks",
    first: "first_message",
    last: "last_message",
    rows: "messages",
    columns: "id, owner, sequence, direction, identity, received_unix_ms",
    arrival: "id",
    time: "received_unix_ms",
};
// A mailbox remembers the highest sequence that it loses, because the next one must be higher still.
const REMEMBER_DROPPED: &str =
    "UPDATE mailboxes SET last_dropped = $1 WHERE owner = $2 AND last_dropped < $1";
const DROP_MESSAGE: &str = "DELETE FROM messages WHERE id = $1";
const DROP_PLACE: &str = "DELETE FROM message_places WHERE owner = $1 AND sequence = $2";
const DROP_IDENTITY: &str =
    "DELETE FROM message_identities WHERE owner = $1 AND direction = $2 AND identity = $3";
const REMOVE_MESSAGES: &str =
    "DELETE FROM messages WHERE id IN (SELECT message FROM message_places WHERE owner = $1)";
const REMOVE_PLACES: &str = "DELETE FROM message_places WHERE owner = $1";
const REMOVE_IDENTITIES: &str = "DELETE FROM message_identities WHERE owner = $1";
const PAGE: &str = "SELECT message_places.sequence, direction, peer, identity, received_unix_ms, request
    FROM message_places JOIN messages ON messages.id = message
    WHERE message_places.owner = $1 AND message_places.sequence > $2 AND withdrawn = 0
    ORDER BY message_places.sequence LIMIT $3";
const ONE: &str = "SELECT sequence, direction, peer, identity, received_unix_ms, request FROM messages
    WHERE id = $1 AND withdrawn = 0";

/// The statements, and what is known in memory about the rows that they meet.
pub(super) struct Messages<'c> {
    highest_sequence: Statement<'c>,
    find_identity: Statement<'c>,
    identities: Statement<'c>,
    find_place: Statement<'c>,
    is_withdrawn: Statement<'c>,
    append: Batch<'c, 8>,
    withdraw: Statement<'c>,
    add_identities: Batch<'c, 3>,
    add_places: Batch<'c, 3>,
    set_indexed: Statement<'c>,
    blocks: Blocks<'c>,
    remember_dropped: Statement<'c>,
    drop_message: Statement<'c>,
    drop_place: Statement<'c>,
    drop_identity: Statement<'c>,
    remove_messages: Statement<'c>,
    remove_places: Statement<'c>,
    remove_identities: Statement<'c>,
    page: Statement<'c>,
    one: Statement<'c>,
    tail: Tail,
    known: Known,
    /// Why the tail does not shrink. As long as there is a reason it must not grow beyond `tail_messages_max`.
    merge_failure: Option<StoreError>,
    tail_messages_max: usize,
    /// That one step of merging writes.
    merge_rows: usize,
    /// Of the next message.
    next_id: i64,
    /// Users that exist, each with a sequence that no message of the mailbox exceeds.
    owners: HashMap<i64, i64>,
}

/// Messages of a group that are cheaper written together. The tail has them already.
pub(super) type Unwritten<'g> = Vec<(Entry, &'g StoredMessage)>;

impl<'c> Messages<'c> {
    /// Also reads the tail. It is merged when it holds `tail_messages`.
    pub(super) fn prepare(
        connection: &'c Connection,
        tail_messages: usize,
    ) -> rusqlite::Result<Messages<'c>> {
        let prepare = |sql| connection.prepare(sql);
        let mut tail = Tail::default();
        for entry in prepare(TAIL)?.query_map([], entry)? {
            tail.add(entry?);
        }
        tail.commit();
        Ok(Messages {
            highest_sequence: prepare(HIGHEST_SEQUENCE)?,
            find_identity: prepare(FIND_IDENTITY)?,
            identities: prepare(IDENTITIES)?,
            find_place: prepare(FIND_PLACE)?,
            is_withdrawn: prepare(IS_WITHDRAWN)?,
            append: Batch::prepare(
                connection,
                "messages (id, owner, sequence, direction, identity, received_unix_ms, peer, request)",
                APPEND_STATEMENT_ROWS,
                "",
            )?,
            withdraw: prepare(WITHDRAW)?,
            add_identities: Batch::prepare(
                connection,
                "message_identities (owner, direction, identity)",
                MERGE_STATEMENT_ROWS,
                KEEP,
            )?,
            add_places: Batch::prepare(
                connection,
                "message_places (owner, sequence, message)",
                MERGE_STATEMENT_ROWS,
                KEEP,
            )?,
            set_indexed: prepare(SET_INDEXED)?,
            blocks: Blocks::prepare(connection, &BLOCKS)?,
            remember_dropped: prepare(REMEMBER_DROPPED)?,
            drop_message: prepare(DROP_MESSAGE)?,
            drop_place: prepare(DROP_PLACE)?,
            drop_identity: prepare(DROP_IDENTITY)?,
            remove_messages: prepare(REMOVE_MESSAGES)?,
            remove_places: prepare(REMOVE_PLACES)?,
            remove_identities: prepare(REMOVE_IDENTITIES)?,
            page: prepare(PAGE)?,
            one: prepare(ONE)?,
            tail,
            known: Known::new(),
            merge_failure: None,
            tail_messages_max: TAIL_FACTOR_MAX * tail_messages,
            merge_rows: (tail_messages / MERGE_STEP_DIVISOR).max(1),
            next_id: connection.query_row(NEXT_ID, [], |row| row.get(0))?,
            owners: HashMap::new(),
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
        self.owners.clear();
    }

    pub(super) fn append<'g>(
        &mut self,
        message: &'g StoredMessage,
        unwritten: &mut Unwritten<'g>,
    ) -> Result<Outcome, Failure> {
        let entry = Entry {
            id: self.next_id,
            owner: integer(message.owner.0)?,
            sequence: integer(message.sequence.0)?,
            direction: match message.direction {
                Direction::Received => 0,
                Direction::Sent => 1,
            },
            identity: message.identity,
            received_unix_ms: integer(message.received_unix_ms)?,
        };
        // A removal has overtaken the change, which then means nothing.
        let Some(highest) = self.highest_sequence(entry.owner)? else { return Ok(Outcome::Applied) };
        if self.knows(&entry.identity_key())? {
            let is_withdrawn =
                self.is_withdrawn.exists(params![entry.owner, entry.direction, entry.identity])?;
            return Ok(if is_withdrawn { Outcome::AlreadyWithdrawn } else { Outcome::AlreadyThere });
        }
        if entry.sequence <= highest && self.message_at(entry.place_key())?.is_some() {
            return Err(Failure::refused(Refused::SequenceTaken));
        }
        if let Some(failure) = &self.merge_failure
            && self.tail.len() >= self.tail_messages_max
        {
            return Err(Failure::World(failure.clone()));
        }
        self.next_id += 1;
        self.tail.add(entry);
        self.owners.insert(entry.owner, highest.max(entry.sequence));
        unwritten.push((entry, message));
        if unwritten.len() >= APPEND_STATEMENT_ROWS {
            self.write(unwritten)?;
        }
        Ok(Outcome::Applied)
    }

    /// Writes what [`Messages::append`] has left.
    pub(super) fn write(&mut self, unwritten: &mut Unwritten<'_>) -> rusqlite::Result<()> {
        self.append.execute(unwritten, |statement, first, (entry, message)| {
            statement.raw_bind_parameter(first, entry.id)?;
            statement.raw_bind_parameter(first + 1, entry.owner)?;
            statement.raw_bind_parameter(first + 2, entry.sequence)?;
            statement.raw_bind_parameter(first + 3, entry.direction)?;
            statement.raw_bind_parameter(first + 4, entry.identity)?;
            statement.raw_bind_parameter(first + 5, entry.received_unix_ms)?;
            statement.raw_bind_parameter(first + 6, message.peer.as_str())?;
            statement.raw_bind_parameter(first + 7, &message.request[..])
        })?;
        unwritten.clear();
        Ok(())
    }

    pub(super) fn withdraw(&mut self, owner: UserId, sequence: Sequence) -> Result<(), Failure> {
        let place = (integer(owner.0)?, integer(sequence.0)?);
        if let Some(id) = self.message_at(place)? {
            self.withdraw.execute([id])?;
        }
        Ok(())
    }

    /// All of a user: no foreign key finds them.
    pub(super) fn remove_all(&mut self, user: i64) -> rusqlite::Result<()> {
        let tail = self.tail.mailbox(user, 0, i64::MAX).to_vec();
        for entry in tail {
            self.drop_message.execute([entry.id])?;
            self.tail.drop(entry.place_key());
        }
        self.remove_messages.execute([user])?;
        self.remove_places.execute([user])?;
        self.remove_identities.execute([user])?;
        self.owners.remove(&user);
        Ok(())
    }

    /// Drops messages received before then, the oldest first, at most so many; how many it dropped.
    pub(super) fn prune(&mut self, before_unix_ms: u64, rows_max: usize) -> rusqlite::Result<usize> {
        let before_unix_ms = bound(before_unix_ms);
        let mut dropped = self.blocks.take_older(before_unix_ms, rows_max, entry)?;
        dropped.extend(self.tail.older(before_unix_ms, rows_max - dropped.len()));
        // Each table is met in the order of its pages.
        dropped.sort_unstable_by_key(Entry::place_key);
        for (index, entry) in dropped.iter().enumerate() {
            self.drop_place.execute([entry.owner, entry.sequence])?;
            self.tail.drop(entry.place_key());
            if dropped.get(index + 1).is_none_or(|next| next.owner != entry.owner) {
                self.remember_dropped.execute([entry.sequence, entry.owner])?;
            }
        }
        dropped.sort_unstable_by_key(Entry::identity_key);
        for entry in &dropped {
            self.drop_identity.execute(params![entry.owner, entry.direction, entry.identity])?;
        }
        dropped.sort_unstable_by_key(|entry| entry.id);
        for entry in &dropped {
            self.drop_message.execute([entry.id])?;
        }
        Ok(dropped.len())
    }

    /// Messages that are in no index yet.
    pub(super) fn tail_messages(&self) -> usize {
        self.tail.len()
    }

    /// Moves some rows from the tail to the indices, in the open transaction.
    pub(super) fn merge_step(&mut self) -> Result<(), Failure> {
        let step = self.tail.merge_step(self.merge_rows);
        step.identities.iter().for_each(|key| self.known.add(key));
        self.add_identities.execute(step.identities, |statement, first, (owner, direction, identity)| {
            statement.raw_bind_parameter(first, owner)?;
            statement.raw_bind_parameter(first + 1, direction)?;
            statement.raw_bind_parameter(first + 2, identity)
        })?;
        self.add_places.execute(step.places, |statement, first, ((owner, sequence), message)| {
            statement.raw_bind_parameter(first, owner)?;
            statement.raw_bind_parameter(first + 1, sequence)?;
            statement.raw_bind_parameter(first + 2, message)
        })?;
        if let Some((through, blocks)) = step.complete_through {
            self.blocks.add(blocks)?;
            self.set_indexed.execute([through])?;
        }
        Ok(())
    }

    /// Reads some more of the identities that the index held at the start; whether there are more.
    pub(super) fn read_identities(&mut self) -> Result<bool, Failure> {
        let Some((owner, direction, identity)) = self.known.unread() else { return Ok(false) };
        let after = params![owner, direction, identity, READ_ROWS as i64];
        let keys = self.identities.query_map(after, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let keys: Vec<IdentityKey> = keys.collect::<rusqlite::Result<_>>()?;
        self.known.read(&keys, READ_ROWS);
        Ok(self.known.unread().is_some())
    }

    /// Whether the last step failed.
    pub(super) fn merge_fails(&self) -> bool {
        self.merge_failure.is_some()
    }

    /// The step is durable, or why it is not; whether there is no more to do for now.
    pub(super) fn merged(&mut self, step: Result<(), StoreError>) -> bool {
        self.merge_failure = step.err();
        self.merge_failure.is_none() && self.tail.merged(self.merge_rows)
    }

    /// What only the tail knows of mailboxes.
    pub(super) fn load(&self, records: &mut [UserRecord]) {
        for record in records {
            let newest = self.tail.mailbox(bound(record.user.id.0), 0, i64::MAX).last();
            if let Some(entry) = newest {
                let last = &mut record.mailbox.last;
                *last = Sequence(last.0.max(entry.sequence.unsigned_abs()));
            }
        }
    }

    /// Messages behind `after`, from the indices and from the tail.
    pub(super) fn page(
        &mut self,
        owner: UserId,
        after: Sequence,
        limit: u32,
    ) -> rusqlite::Result<Vec<StoredMessage>> {
        let limit_rows = limit as usize;
        let (key, after) = (bound(owner.0), bound(after.0));
        let indexed = self.page.query_map((key, after, limit), |row| message(owner, row))?;
        let mut found: Vec<StoredMessage> = indexed.collect::<rusqlite::Result<_>>()?;
        let indexed = found.len();
        // Where the indices have enough, only what lies between their messages is missing.
        let last = match found.last() {
            Some(last) if indexed >= limit_rows => bound(last.sequence.0),
            _ => i64::MAX,
        };
        let Some(first) = after.checked_add(1) else { return Ok(found) };
        for entry in self.tail.mailbox(key, first, last) {
            if found.len() - indexed >= limit_rows {
                break;
            }
            // In the middle of a merge a message is in both.
            let sequence = entry.sequence.unsigned_abs();
            if found[..indexed].binary_search_by_key(&sequence, |m| m.sequence.0).is_err() {
                found.extend(self.one.query_row([entry.id], |row| message(owner, row)).optional()?);
            }
        }
        if found.len() > indexed {
            found.sort_unstable_by_key(|message| message.sequence);
            found.truncate(limit_rows);
        }
        Ok(found)
    }

    /// Whether there is such a user.
    pub(super) fn has_mailbox(&mut self, owner: i64) -> rusqlite::Result<bool> {
        Ok(self.highest_sequence(owner)?.is_some())
    }

    /// A sequence that no message of the mailbox exceeds, so that the usual message, the next one, needs no look whether
    /// its place is free. `None` where there is no such user.
    fn highest_sequence(&mut self, owner: i64) -> rusqlite::Result<Option<i64>> {
        if let Some(highest) = self.owners.get(&owner) {
            return Ok(Some(*highest));
        }
        let indexed: Option<i64> = self.highest_sequence.query_row([owner], |row| row.get(0)).optional()?;
        let Some(indexed) = indexed else { return Ok(None) };
        let newest = self.tail.mailbox(owner, 0, i64::MAX).last();
        let highest = newest.map_or(indexed, |entry| indexed.max(entry.sequence));
        if self.owners.len() >= OWNERS_MAX {
            self.owners.clear();
        }
        self.owners.insert(owner, highest);
        Ok(Some(highest))
    }

    fn knows(&mut self, key: &IdentityKey) -> rusqlite::Result<bool> {
        let (owner, direction, identity) = key;
        Ok(self.tail.knows(key)
            || self.known.may_hold(key) && self.find_identity.exists(params![owner, direction, identity])?)
    }

    /// The id of the message at a place.
    fn message_at(&mut self, place: PlaceKey) -> rusqlite::Result<Option<i64>> {
        if let Some(entry) = self.tail.at(place) {
            return Ok(Some(entry.id));
        }
        self.find_place.query_row([place.0, place.1], |row| row.get(0)).optional()
    }
}

fn message(owner: UserId, row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    Ok(StoredMessage {
        owner,
        sequence: Sequence(natural(row, 0)?),
        direction: match row.get(1)? {
            0 => Direction::Received,
            1 => Direction::Sent,
            _ => return Err(damaged(1, "an unknown direction")),
        },
        peer: address(row, 2)?,
        identity: row.get(3)?,
        received_unix_ms: natural(row, 4)?,
        request: row.get(5)?,
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        owner: row.get(1)?,
        sequence: row.get(2)?,
        direction: row.get(3)?,
        identity: row.get(4)?,
        received_unix_ms: row.get(5)?,
    })
}
