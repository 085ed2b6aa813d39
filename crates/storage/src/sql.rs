//! Changes and queries as statements.
//!
//! The texts keep to what SQLite and PostgreSQL share: numbered parameters in order of first use, `ON CONFLICT` with
//! its target named, `UPDATE .. FROM`, no `RETURNING`. SQLite's own are only [`BEGIN`], an `INDEXED BY`, and how a missing
//! user shows (a violated foreign key fails the statement here, and the whole transaction there).

mod calls;
mod choices;
mod documents;
mod in_order;
mod values;

use std::collections::HashMap;
use std::net::SocketAddr;

use directory::{DigestSecrets, Role, User, UserId, UserState};
use node::store::{Outcome, StoreError};
use records::{
    Binding, Change, DeviceKey, Direction, MailboxRecord, Query, Rows, Sequence, StoredMessage, UserRecord,
};
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use self::calls::Calls;
use self::choices::Choices;
use self::documents::Documents;
use self::in_order::InOrder;
use self::values::{address, bound, damaged, integer, natural, unless_gone};
use crate::error::Failure;
use crate::known::Known;
use crate::tail::{Entry, IdentityKey, PlaceKey, Tail};

/// Rows that one step of pruning drops from each table: some 5 ms of work, so that a message never waits longer.
pub(crate) const PRUNE_ROWS_MAX: i64 = 500;

/// Of how many messages in the tail one step of merging writes a row to the indices: with 32,768 it is 1,024 rows, 1 to
/// 3 ms of work, so that a message never waits longer.
const MERGE_STEP_DIVISOR: usize = 32;
/// How many times its usual length ([`crate::Options::tail_messages`]) the tail may have. From then on merging no longer
/// pauses, and while it fails no message is taken.
pub(crate) const TAIL_FACTOR_MAX: usize = 2;
/// Rows in one statement of a merge. Starting a statement costs as much as half a row; with so many it no longer shows.
const MERGE_STATEMENT_ROWS: usize = 32;
/// Messages in one statement, for the same reason; few of a group are then left over for statements of their own.
const APPEND_STATEMENT_ROWS: usize = 8;

/// Rows of the index of identities that are read in one step after the start: some 0.5 ms of work.
const READ_ROWS: usize = 2_000;

/// Owners whose highest sequence is remembered: some 32 octets each, 2 MiB together. An owner that is not among them costs a
/// lookup.
const OWNERS_MAX: usize = 65_536;

// Takes the write lock at once: a transaction that began as a reader could fail to become a writer halfway.
const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";

const ADD_USER: &str = "INSERT INTO users (id, address, display_name, state, role, ha1_md5, ha1_sha256)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
const ADD_MAILBOX: &str = "INSERT INTO mailboxes (owner) VALUES ($1)";
const SET_USER_STATE: &str = "UPDATE users SET state = $1 WHERE id = $2";
const SET_USER_SECRETS: &str = "UPDATE users SET ha1_md5 = $1, ha1_sha256 = $2 WHERE id = $3";
const REMOVE_USER: &str = "DELETE FROM users WHERE id = $1";

const PUT_BINDING: &str = "INSERT INTO bindings (owner, binding_key, contact, call_id, cseq, q_thousandths,
        expires_unix_ms, udp_listener, udp_peer, user_agent)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (owner, binding_key) DO UPDATE SET contact = excluded.contact, call_id = excluded.call_id,
        cseq = excluded.cseq, q_thousandths = excluded.q_thousandths, expires_unix_ms = excluded.expires_unix_ms,
        udp_listener = excluded.udp_listener, udp_peer = excluded.udp_peer, user_agent = excluded.user_agent";
const REMOVE_PATHS: &str = "DELETE FROM binding_paths WHERE owner = $1 AND binding_key = $2";
const PUT_PATH: &str = "INSERT INTO binding_paths (owner, binding_key, place, value) VALUES ($1, $2, $3, $4)";
const REMOVE_BINDING: &str = "DELETE FROM bindings WHERE owner = $1 AND binding_key = $2";
const REMOVE_BINDINGS: &str = "DELETE FROM bindings WHERE owner = $1";

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
const WITHDRAW_MESSAGE: &str = "UPDATE messages SET withdrawn = 1 WHERE id = $1";
const ADVANCE_TAKEN: &str = "UPDATE mailboxes SET taken = $1 WHERE owner = $2 AND taken < $1";
const ADVANCE_CURSOR: &str =
    "INSERT INTO devices (owner, device_key, through, seen_unix_ms) VALUES ($1, $2, $3, $4)
    ON CONFLICT (owner, device_key) DO UPDATE SET
        through = CASE WHEN excluded.through > devices.through THEN excluded.through ELSE devices.through END,
        seen_unix_ms = CASE WHEN excluded.seen_unix_ms > devices.seen_unix_ms
            THEN excluded.seen_unix_ms ELSE devices.seen_unix_ms END";

const TAIL: &str = "SELECT id, owner, sequence, direction, identity FROM messages
    WHERE id > (SELECT indexed_through FROM indexing) ORDER BY id";
const NEXT_ID: &str = "SELECT CASE WHEN newest > indexed_through THEN newest ELSE indexed_through END + 1
    FROM indexing, (SELECT coalesce(max(id), 0) AS newest FROM messages) AS arrived";
const SET_INDEXED: &str = "UPDATE indexing SET indexed_through = $1 WHERE indexed_through < $1";

const OLDEST_MESSAGES: &str = "SELECT id, owner, sequence, direction, identity FROM messages
    WHERE received_unix_ms < $1 ORDER BY received_unix_ms, id LIMIT $2";
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
const PRUNE_DEVICES: &str = "DELETE FROM devices WHERE (owner, device_key) IN (
        SELECT owner, device_key FROM devices WHERE seen_unix_ms < $1 LIMIT $2)";

const USERS: &str = "SELECT id, address, display_name, state, role, ha1_md5, ha1_sha256, taken,
        CASE WHEN last_given > last_dropped THEN last_given ELSE last_dropped END
    FROM (
        SELECT users.*, taken, last_dropped,
            coalesce((SELECT max(sequence) FROM message_places WHERE owner = users.id), 0) AS last_given
        FROM users JOIN mailboxes ON mailboxes.owner = users.id
        WHERE users.id BETWEEN $1 AND $2) AS accounts
    ORDER BY id";
const BINDINGS: &str = "SELECT owner, binding_key, contact, call_id, cseq, q_thousandths, expires_unix_ms,
        udp_listener, udp_peer, user_agent
    FROM bindings WHERE owner BETWEEN $1 AND $2 ORDER BY owner, binding_key";
const PATHS: &str = "SELECT owner, binding_key, value FROM binding_paths WHERE owner BETWEEN $1 AND $2
    ORDER BY owner, binding_key, place";
const DEVICES: &str = "SELECT owner, device_key, through FROM devices WHERE owner BETWEEN $1 AND $2
    ORDER BY owner, device_key";
const MESSAGES: &str = "SELECT message_places.sequence, direction, peer, identity, received_unix_ms, request
    FROM message_places JOIN messages ON messages.id = message
    WHERE message_places.owner = $1 AND message_places.sequence > $2 AND withdrawn = 0
    ORDER BY message_places.sequence LIMIT $3";
const MESSAGE: &str = "SELECT sequence, direction, peer, identity, received_unix_ms, request FROM messages
    WHERE id = $1 AND withdrawn = 0";

/// All statements, compiled once, and what is known in memory about the rows that they meet.
pub(crate) struct Statements<'c> {
    begin: Statement<'c>,
    commit: Statement<'c>,
    add_user: Statement<'c>,
    add_mailbox: Statement<'c>,
    set_user_state: Statement<'c>,
    set_user_secrets: Statement<'c>,
    remove_user: Statement<'c>,
    put_binding: Statement<'c>,
    remove_paths: Statement<'c>,
    put_path: Statement<'c>,
    remove_binding: Statement<'c>,
    remove_bindings: Statement<'c>,
    highest_sequence: Statement<'c>,
    find_identity: Statement<'c>,
    identities: Statement<'c>,
    find_place: Statement<'c>,
    is_withdrawn: Statement<'c>,
    append_messages: Batch<'c, 8>,
    withdraw_message: Statement<'c>,
    advance_taken: Statement<'c>,
    advance_cursor: Statement<'c>,
    add_identities: Batch<'c, 3>,
    add_places: Batch<'c, 3>,
    set_indexed: Statement<'c>,
    oldest_messages: Statement<'c>,
    remember_dropped: Statement<'c>,
    drop_message: Statement<'c>,
    drop_place: Statement<'c>,
    drop_identity: Statement<'c>,
    remove_messages: Statement<'c>,
    remove_places: Statement<'c>,
    remove_identities: Statement<'c>,
    prune_devices: Statement<'c>,
    users: Statement<'c>,
    bindings: Statement<'c>,
    paths: Statement<'c>,
    devices: Statement<'c>,
    messages: Statement<'c>,
    message: Statement<'c>,
    choices: Choices<'c>,
    documents: Documents<'c>,
    calls: Calls<'c>,
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

/// What a group has changed and is not written yet, because it is cheaper together; it is held back until something could
/// see the difference.
#[derive(Default)]
pub(crate) struct Held<'g> {
    /// The tail has them already.
    messages: Vec<(Entry, &'g StoredMessage)>,
    // Marks and cursors only move forward, so that the last place of each is the only one that has to be written.
    taken: Vec<(UserId, Sequence)>,
    cursors: Vec<(UserId, &'g DeviceKey, Sequence, u64)>,
}

/// What pruning drops: what is older, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) messages_before_unix_ms: u64,
    pub(crate) devices_before_unix_ms: u64,
    pub(crate) calls_before_unix_ms: u64,
}

impl Bounds {
    /// Those of a change that prunes.
    pub(crate) fn of(change: &Change) -> Option<Bounds> {
        match *change {
            Change::Prune { messages_before_unix_ms, devices_before_unix_ms } => {
                Some(Bounds { messages_before_unix_ms, devices_before_unix_ms, calls_before_unix_ms: 0 })
            }
            Change::PruneCalls { before_unix_ms } => {
                Some(Bounds { calls_before_unix_ms: before_unix_ms, ..Bounds::default() })
            }
            _ => None,
        }
    }

    /// What either drops.
    #[must_use]
    pub(crate) fn union(self, other: Bounds) -> Bounds {
        Bounds {
            messages_before_unix_ms: self.messages_before_unix_ms.max(other.messages_before_unix_ms),
            devices_before_unix_ms: self.devices_before_unix_ms.max(other.devices_before_unix_ms),
            calls_before_unix_ms: self.calls_before_unix_ms.max(other.calls_before_unix_ms),
        }
    }
}

impl<'c> Statements<'c> {
    /// Also reads the tail. It is merged when it holds `tail_messages`.
    pub(crate) fn prepare(
        connection: &'c Connection,
        tail_messages: usize,
    ) -> rusqlite::Result<Statements<'c>> {
        let prepare = |sql| connection.prepare(sql);
        let mut tail = Tail::default();
        for entry in prepare(TAIL)?.query_map([], entry)? {
            tail.add(entry?);
        }
        tail.commit();
        Ok(Statements {
            begin: prepare(BEGIN)?,
            commit: prepare(COMMIT)?,
            add_user: prepare(ADD_USER)?,
            add_mailbox: prepare(ADD_MAILBOX)?,
            set_user_state: prepare(SET_USER_STATE)?,
            set_user_secrets: prepare(SET_USER_SECRETS)?,
            remove_user: prepare(REMOVE_USER)?,
            put_binding: prepare(PUT_BINDING)?,
            remove_paths: prepare(REMOVE_PATHS)?,
            put_path: prepare(PUT_PATH)?,
            remove_binding: prepare(REMOVE_BINDING)?,
            remove_bindings: prepare(REMOVE_BINDINGS)?,
            highest_sequence: prepare(HIGHEST_SEQUENCE)?,
            find_identity: prepare(FIND_IDENTITY)?,
            identities: prepare(IDENTITIES)?,
            find_place: prepare(FIND_PLACE)?,
            is_withdrawn: prepare(IS_WITHDRAWN)?,
            append_messages: Batch::prepare(
                connection,
                "messages (id, owner, sequence, direction, identity, received_unix_ms, peer, request)",
                APPEND_STATEMENT_ROWS,
                "",
            )?,
            withdraw_message: prepare(WITHDRAW_MESSAGE)?,
            advance_taken: prepare(ADVANCE_TAKEN)?,
            advance_cursor: prepare(ADVANCE_CURSOR)?,
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
            oldest_messages: prepare(OLDEST_MESSAGES)?,
            remember_dropped: prepare(REMEMBER_DROPPED)?,
            drop_message: prepare(DROP_MESSAGE)?,
            drop_place: prepare(DROP_PLACE)?,
            drop_identity: prepare(DROP_IDENTITY)?,
            remove_messages: prepare(REMOVE_MESSAGES)?,
            remove_places: prepare(REMOVE_PLACES)?,
            remove_identities: prepare(REMOVE_IDENTITIES)?,
            prune_devices: prepare(PRUNE_DEVICES)?,
            users: prepare(USERS)?,
            bindings: prepare(BINDINGS)?,
            paths: prepare(PATHS)?,
            devices: prepare(DEVICES)?,
            messages: prepare(MESSAGES)?,
            message: prepare(MESSAGE)?,
            choices: Choices::prepare(connection)?,
            documents: Documents::prepare(connection)?,
            calls: Calls::prepare(connection)?,
            tail,
            known: Known::new(),
            merge_failure: None,
            tail_messages_max: TAIL_FACTOR_MAX * tail_messages,
            merge_rows: (tail_messages / MERGE_STEP_DIVISOR).max(1),
            next_id: connection.query_row(NEXT_ID, [], |row| row.get(0))?,
            owners: HashMap::new(),
        })
    }

    pub(crate) fn begin(&mut self) -> rusqlite::Result<()> {
        self.begin.execute([]).map(drop)
    }

    pub(crate) fn commit(&mut self) -> rusqlite::Result<()> {
        self.commit.execute([])?;
        self.tail.commit();
        Ok(())
    }

    /// Where a savepoint may return to.
    pub(crate) fn mark(&self) -> usize {
        self.tail.mark()
    }

    /// What the transaction did since the mark was rolled back; 0 is its beginning.
    pub(crate) fn rolled_back_to(&mut self, mark: usize) {
        self.tail.undo_to(mark);
        self.owners.clear();
    }

    /// Applies a change inside the open transaction, or notes it in `held` for [`Statements::flush`]. Pruning is
    /// not done here but in steps ([`Statements::prune_step`]).
    pub(crate) fn apply<'g>(&mut self, change: &'g Change, held: &mut Held<'g>) -> Result<Outcome, Failure> {
        let applied = match change {
            Change::AppendMessage(message) => return self.append(message, held),
            Change::AdvanceTaken { owner, through } => {
                integer(owner.0)?;
                integer(through.0)?;
                held.taken.push((*owner, *through));
                return Ok(Outcome::Applied);
            }
            Change::AdvanceCursor { owner, device, through, seen_unix_ms } => {
                for number in [owner.0, through.0, *seen_unix_ms] {
                    integer(number)?;
                }
                held.cursors.push((*owner, device, *through, *seen_unix_ms));
                return Ok(Outcome::Applied);
            }
            Change::AddUser(user) => {
                self.flush(held)?;
                return self.add_user(user);
            }
            Change::RemoveUser(user) => {
                self.flush(held)?;
                return self.remove_user(integer(user.0)?);
            }
            Change::SetUserState { user, state } => {
                let user = integer(user.0)?;
                if *state == UserState::Disabled {
                    self.remove_bindings.execute([user])?;
                }
                self.set_user_state.execute(params![state_text(*state), user])
            }
            Change::SetUserSecrets { user, secrets } => {
                self.set_user_secrets.execute(params![secrets.md5, secrets.sha256, integer(user.0)?])
            }
            Change::PutBinding(binding) => return self.put_binding(binding),
            Change::RemoveBinding { user, key } => {
                self.remove_binding.execute(params![integer(user.0)?, key])
            }
            Change::WithdrawMessage { owner, sequence } => {
                self.flush(held)?;
                let place = (integer(owner.0)?, integer(sequence.0)?);
                match self.message_at(place)? {
                    Some(id) => self.withdraw_message.execute([id]),
                    None => Ok(0),
                }
            }
            Change::SetManual { user, manual } => {
                self.choices.set_manual(*user, manual)?;
                Ok(0)
            }
            Change::SetCallSettings { user, settings } => {
                self.choices.set_calls(*user, settings)?;
                Ok(0)
            }
            Change::PutDocument(document) => {
                self.documents.put(document)?;
                Ok(0)
            }
            Change::RemoveDocument { owner, application, name } => {
                self.documents.remove(*owner, application, name)?;
                Ok(0)
            }
            Change::AppendCall(call) => return self.calls.append(call),
            Change::Prune { .. } | Change::PruneCalls { .. } => Ok(0),
        };
        applied?;
        Ok(Outcome::Applied)
    }

    /// Writes what [`Statements::apply`] has held back.
    pub(crate) fn flush(&mut self, held: &mut Held<'_>) -> Result<(), Failure> {
        self.write_messages(held)?;
        // Sorted, the furthest place of each mark is the last of its run, and rows are met in the order of their pages.
        held.taken.sort_unstable();
        for (index, (owner, through)) in held.taken.iter().enumerate() {
            if held.taken.get(index + 1).is_none_or(|next| next.0 != *owner) {
                self.advance_taken.execute([integer(through.0)?, integer(owner.0)?])?;
            }
        }
        held.taken.clear();
        held.cursors.sort_unstable();
        let mut seen_last = 0;
        for (index, (owner, device, through, seen_unix_ms)) in held.cursors.iter().enumerate() {
            seen_last = seen_last.max(*seen_unix_ms);
            if held.cursors.get(index + 1).is_none_or(|next| (next.0, next.1) != (*owner, *device)) {
                let values = params![integer(owner.0)?, device.0, integer(through.0)?, integer(seen_last)?];
                unless_gone(self.advance_cursor.execute(values))?;
                seen_last = 0;
            }
        }
        held.cursors.clear();
        Ok(())
    }

    /// Drops at most [`PRUNE_ROWS_MAX`] rows of each table; whether it dropped any.
    pub(crate) fn prune_step(&mut self, bounds: Bounds) -> Result<bool, Failure> {
        let oldest = [bound(bounds.messages_before_unix_ms), PRUNE_ROWS_MAX];
        let mut dropped: Vec<Entry> =
            self.oldest_messages.query_map(oldest, entry)?.collect::<rusqlite::Result<_>>()?;
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
        let devices = self.prune_devices.execute([bound(bounds.devices_before_unix_ms), PRUNE_ROWS_MAX])?;
        let calls = self.calls.prune(bounds.calls_before_unix_ms, PRUNE_ROWS_MAX)?;
        Ok(dropped.len() + devices + calls > 0)
    }

    /// Messages that are in no index yet.
    pub(crate) fn tail_messages(&self) -> usize {
        self.tail.len()
    }

    /// Moves some rows from the tail to the indices, in the open transaction.
    pub(crate) fn merge_step(&mut self) -> Result<(), Failure> {
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
        if let Some(through) = step.complete_through {
            self.set_indexed.execute([through])?;
        }
        Ok(())
    }

    /// Reads some more of the identities that the index held at the start; whether there are more.
    pub(crate) fn read_identities(&mut self) -> Result<bool, Failure> {
        let Some((owner, direction, identity)) = self.known.unread() else { return Ok(false) };
        let after = params![owner, direction, identity, READ_ROWS as i64];
        let keys = self.identities.query_map(after, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let keys: Vec<IdentityKey> = keys.collect::<rusqlite::Result<_>>()?;
        self.known.read(&keys, READ_ROWS);
        Ok(self.known.unread().is_some())
    }

    /// Whether the last step failed.
    pub(crate) fn merge_fails(&self) -> bool {
        self.merge_failure.is_some()
    }

    /// The step is durable, or why it is not; whether there is no more to do for now.
    pub(crate) fn merged(&mut self, step: Result<(), StoreError>) -> bool {
        self.merge_failure = step.err();
        self.merge_failure.is_none() && self.tail.merged(self.merge_rows)
    }

    pub(crate) fn query(&mut self, query: &Query) -> Result<Rows, Failure> {
        match query {
            Query::Load => Ok(Rows::Loaded(self.load(0, i64::MAX)?)),
            Query::LoadUser(id) => {
                let Ok(id) = i64::try_from(id.0) else { return Ok(Rows::LoadedUser(None)) };
                Ok(Rows::LoadedUser(self.load(id, id)?.pop().map(Box::new)))
            }
            Query::Messages { owner, after, limit } => {
                Ok(Rows::Messages(self.mailbox(*owner, *after, *limit)?))
            }
            Query::Calls { owner, before, missed_only, limit } => {
                Ok(Rows::Calls(self.calls.page(*owner, *before, *missed_only, *limit)?))
            }
        }
    }

    fn add_user(&mut self, user: &User) -> Result<Outcome, Failure> {
        let id = integer(user.id.0)?;
        let secrets = user.secrets.as_ref();
        let added = self.add_user.execute(params![
            id,
            user.address.as_str(),
            user.display_name,
            state_text(user.state),
            role_text(user.role),
            secrets.map(|s| s.md5),
            secrets.map(|s| s.sha256),
        ])?;
        if added == 0 {
            return Ok(Outcome::AlreadyThere);
        }
        self.add_mailbox.execute([id])?;
        Ok(Outcome::Applied)
    }

    /// The rows of a user whom nothing refers to by a foreign key go first.
    fn remove_user(&mut self, user: i64) -> Result<Outcome, Failure> {
        let tail = self.tail.mailbox(user, 0, i64::MAX).to_vec();
        for entry in tail {
            self.drop_message.execute([entry.id])?;
            self.tail.drop(entry.place_key());
        }
        self.remove_messages.execute([user])?;
        self.remove_places.execute([user])?;
        self.remove_identities.execute([user])?;
        self.remove_user.execute([user])?;
        self.owners.remove(&user);
        Ok(Outcome::Applied)
    }

    fn append<'g>(&mut self, message: &'g StoredMessage, held: &mut Held<'g>) -> Result<Outcome, Failure> {
        let entry = Entry {
            id: self.next_id,
            owner: integer(message.owner.0)?,
            sequence: integer(message.sequence.0)?,
            direction: match message.direction {
                Direction::Received => 0,
                Direction::Sent => 1,
            },
            identity: message.identity,
        };
        integer(message.received_unix_ms)?;
        // A removal has overtaken the change, which then means nothing.
        let Some(highest) = self.highest_sequence(entry.owner)? else { return Ok(Outcome::Applied) };
        if self.knows(&entry.identity_key())? {
            let is_withdrawn =
                self.is_withdrawn.exists(params![entry.owner, entry.direction, entry.identity])?;
            return Ok(if is_withdrawn { Outcome::AlreadyWithdrawn } else { Outcome::AlreadyThere });
        }
        if entry.sequence <= highest && self.message_at(entry.place_key())?.is_some() {
            let reason = "the mailbox holds another message at this sequence";
            return Err(Failure::Own(StoreError::Io(reason.to_owned())));
        }
        if let Some(failure) = &self.merge_failure
            && self.tail.len() >= self.tail_messages_max
        {
            return Err(Failure::World(failure.clone()));
        }
        self.next_id += 1;
        self.tail.add(entry);
        self.owners.insert(entry.owner, highest.max(entry.sequence));
        held.messages.push((entry, message));
        if held.messages.len() >= APPEND_STATEMENT_ROWS {
            self.write_messages(held)?;
        }
        Ok(Outcome::Applied)
    }

    fn write_messages(&mut self, held: &mut Held<'_>) -> rusqlite::Result<()> {
        self.append_messages.execute(&held.messages, |statement, first, (entry, message)| {
            statement.raw_bind_parameter(first, entry.id)?;
            statement.raw_bind_parameter(first + 1, entry.owner)?;
            statement.raw_bind_parameter(first + 2, entry.sequence)?;
            statement.raw_bind_parameter(first + 3, entry.direction)?;
            statement.raw_bind_parameter(first + 4, entry.identity)?;
            statement.raw_bind_parameter(first + 5, bound(message.received_unix_ms))?;
            statement.raw_bind_parameter(first + 6, message.peer.as_str())?;
            statement.raw_bind_parameter(first + 7, &message.request[..])
        })?;
        held.messages.clear();
        Ok(())
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

    /// Messages behind `after`, from the indices and from the tail.
    fn mailbox(
        &mut self,
        owner: UserId,
        after: Sequence,
        limit: u32,
    ) -> rusqlite::Result<Vec<StoredMessage>> {
        let limit_rows = limit as usize;
        let (key, after) = (bound(owner.0), bound(after.0));
        let indexed = self.messages.query_map((key, after, limit), |row| message(owner, row))?;
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
                found.extend(self.message.query_row([entry.id], |row| message(owner, row)).optional()?);
            }
        }
        if found.len() > indexed {
            found.sort_unstable_by_key(|message| message.sequence);
            found.truncate(limit_rows);
        }
        Ok(found)
    }

    fn put_binding(&mut self, binding: &Binding) -> Result<Outcome, Failure> {
        let owner = integer(binding.user.0)?;
        let flow = binding.datagram_flow;
        let put = self.put_binding.execute(params![
            owner,
            binding.key,
            binding.contact,
            binding.call_id,
            binding.cseq,
            binding.q,
            integer(binding.expires_unix_ms)?,
            flow.map(|(listener, _)| listener),
            flow.map(|(_, peer)| peer.to_string()),
            binding.user_agent,
        ]);
        if unless_gone(put)?.is_none() {
            return Ok(Outcome::Applied);
        }
        self.remove_paths.execute(params![owner, binding.key])?;
        for (place, value) in (0i64..).zip(&binding.path) {
            self.put_path.execute(params![owner, binding.key, place, value])?;
        }
        Ok(Outcome::Applied)
    }

    /// The users with ids from `first` to `last`. All tables are read in the order of users, once.
    fn load(&mut self, first: i64, last: i64) -> rusqlite::Result<Vec<UserRecord>> {
        let mut records: Vec<UserRecord> =
            self.users.query_map([first, last], user_record)?.collect::<rusqlite::Result<_>>()?;

        let mut owners = InOrder::new(&mut records);
        let mut rows = self.bindings.query([first, last])?;
        while let Some(row) = rows.next()? {
            owners.record(natural(row, 0)?)?.bindings.push(binding(row)?);
        }
        let mut owners = InOrder::new(&mut records);
        let mut rows = self.paths.query([first, last])?;
        while let Some(row) = rows.next()? {
            let bindings = &mut owners.record(natural(row, 0)?)?.bindings;
            let key = row.get_ref(1)?.as_str()?;
            let place = bindings.binary_search_by(|b| b.key.as_str().cmp(key));
            bindings[place.map_err(|_| damaged(1, "a path without binding"))?].path.push(row.get(2)?);
        }
        let mut owners = InOrder::new(&mut records);
        let mut rows = self.devices.query([first, last])?;
        while let Some(row) = rows.next()? {
            let cursor = (DeviceKey(row.get(1)?), Sequence(natural(row, 2)?));
            owners.record(natural(row, 0)?)?.mailbox.cursors.push(cursor);
        }
        self.choices.load([first, last], &mut records)?;
        self.documents.load([first, last], &mut records)?;
        for record in &mut records {
            let newest = self.tail.mailbox(bound(record.user.id.0), 0, i64::MAX).last();
            if let Some(entry) = newest {
                let last = &mut record.mailbox.last;
                *last = Sequence(last.0.max(entry.sequence.unsigned_abs()));
            }
        }
        Ok(records)
    }
}

/// Of rows that are there already.
const KEEP: &str = "ON CONFLICT DO NOTHING";

/// Adds rows of so many columns, many with one statement.
struct Batch<'c, const COLUMNS: usize> {
    one: Statement<'c>,
    many: Statement<'c>,
    rows_max: usize,
}

impl<'c, const COLUMNS: usize> Batch<'c, COLUMNS> {
    /// `target` is a table with its columns, `on_conflict` what to do with a row that is there already.
    fn prepare(
        connection: &'c Connection,
        target: &str,
        rows_max: usize,
        on_conflict: &str,
    ) -> rusqlite::Result<Batch<'c, COLUMNS>> {
        let prepare = |rows: usize| {
            let column = |n| format!("${n}");
            let row = |n| (COLUMNS * n + 1..=COLUMNS * (n + 1)).map(column).collect::<Vec<_>>().join(", ");
            let rows: Vec<String> = (0..rows).map(|n| format!("({})", row(n))).collect();
            connection.prepare(&format!("INSERT INTO {target} VALUES {} {on_conflict}", rows.join(", ")))
        };
        Ok(Batch { one: prepare(1)?, many: prepare(rows_max)?, rows_max })
    }

    /// `bind` binds a row to parameters from the one with the given number onwards.
    fn execute<R>(
        &mut self,
        rows: &[R],
        bind: impl Fn(&mut Statement<'c>, usize, &R) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut chunks = rows.chunks_exact(self.rows_max);
        for chunk in &mut chunks {
            for (index, row) in chunk.iter().enumerate() {
                bind(&mut self.many, COLUMNS * index + 1, row)?;
            }
            self.many.raw_execute()?;
        }
        for row in chunks.remainder() {
            bind(&mut self.one, 1, row)?;
            self.one.raw_execute()?;
        }
        Ok(())
    }
}

fn user_record(row: &Row<'_>) -> rusqlite::Result<UserRecord> {
    let secrets = match (row.get(5)?, row.get(6)?) {
        (Some(md5), Some(sha256)) => Some(DigestSecrets { md5, sha256 }),
        _ => None,
    };
    let user = User {
        id: UserId(natural(row, 0)?),
        address: address(row, 1)?,
        display_name: row.get(2)?,
        state: match row.get_ref(3)?.as_str()? {
            "enabled" => UserState::Enabled,
            "disabled" => UserState::Disabled,
            _ => return Err(damaged(3, "an unknown user state")),
        },
        role: match row.get_ref(4)?.as_str()? {
            "person" => Role::Person,
            "administrator" => Role::Administrator,
            _ => return Err(damaged(4, "an unknown role")),
        },
        secrets,
    };
    let mailbox = MailboxRecord {
        taken: Sequence(natural(row, 7)?),
        last: Sequence(natural(row, 8)?),
        cursors: Vec::new(),
    };
    Ok(UserRecord { mailbox, ..UserRecord::fresh(user) })
}

fn binding(row: &Row<'_>) -> rusqlite::Result<Binding> {
    let datagram_flow = match (row.get(7)?, row.get::<_, Option<String>>(8)?) {
        (Some(listener), Some(peer)) => {
            let peer: SocketAddr = peer.parse().map_err(|_| damaged(8, "not a socket address"))?;
            Some((listener, peer))
        }
        _ => None,
    };
    Ok(Binding {
        user: UserId(natural(row, 0)?),
        key: row.get(1)?,
        contact: row.get(2)?,
        path: Vec::new(),
        call_id: row.get(3)?,
        cseq: row.get(4)?,
        q: row.get(5)?,
        expires_unix_ms: natural(row, 6)?,
        datagram_flow,
        user_agent: row.get(9)?,
    })
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
    })
}

fn state_text(state: UserState) -> &'static str {
    match state {
        UserState::Enabled => "enabled",
        UserState::Disabled => "disabled",
    }
}

fn role_text(role: Role) -> &'static str {
    match role {
        Role::Person => "person",
        Role::Administrator => "administrator",
    }
}
