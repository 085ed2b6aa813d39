//! Mailboxes: groups of messages and marks, the index of messages, and the tail that it does not know yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use directory::{SipAddress, UserId};
use foldhash::quality::RandomState;
use node::store::{Outcome, StoreError};
use records::memory::Refused;
use records::{DeviceKey, Direction, Sequence, StoredMessage, UserRecord};
use rusqlite::{Connection, OptionalExtension, Statement};

use super::blocks::{Blocks, Names};
use super::groups::{self, Draft, Groups};
use super::marks::{Marks, OwnerMarks};
use super::runs::{Place, Runs, fingerprint};
use super::values::{bound, integer};
use crate::error::Failure;
use crate::known::Known;
use crate::pack::{Message, Record};
use crate::tail::{Block, Entry, IdentityKey, PlaceKey, Tail, blocks};

/// Of how many messages in the tail one step of merging writes the place of one: with 32,768 it is 1,024, 1 to
/// 3 ms of work, so that a message never waits longer.
pub(super) const MERGE_STEP_DIVISOR: usize = 32;
/// How many times its usual length ([`crate::Options::tail_messages`]) the tail may have. From then on merging no longer
/// pauses, and while it fails no message is taken.
pub(super) const TAIL_FACTOR_MAX: usize = 2;
/// Marks that weigh as much as a message in the length of the tail: they take a sixteenth of its octets.
const MARKS_PER_MESSAGE: usize = 4;
/// Rows of the index that are read in one step after the start: some 4,000 messages, 0.5 ms of work.
const READ_ROWS: usize = 64;
/// Owners whose highest sequence is remembered: some 32 octets each, 2 MiB together. An owner that is not among them costs a
/// lookup.
const OWNERS_MAX: usize = 65_536;
/// Groups in a block: 1 MiB of full ones, which pruning looks through in a fraction of a millisecond.
const BLOCK_GROUPS: i64 = 64;
/// Groups that pruning reads at a time, with some hundred messages.
const PRUNE_GROUPS: usize = 4;

const HIGHEST_SEQUENCE: &str = "SELECT coalesce((SELECT last_sequence FROM message_runs WHERE owner = $1
        ORDER BY first_sequence DESC LIMIT 1), 0)
    FROM mailboxes WHERE owner = $1";
const THROUGH: &str = "SELECT indexed_through, marks_through FROM indexing";
const SET_THROUGH: &str = "UPDATE indexing SET indexed_through = $1, marks_through = $1";
const SET_MARKS_THROUGH: &str = "UPDATE indexing SET marks_through = $1";
const BLOCKS: Names = Names {
    blocks: "message_blocks",
    first: "first_group",
    last: "last_group",
    rows: "message_groups",
    arrival: "id",
    time: "oldest_unix_ms",
};
// A mailbox remembers the highest sequence that it loses, because the next one must be higher still.
const REMEMBER_DROPPED: &str =
    "UPDATE mailboxes SET last_dropped = $1 WHERE owner = $2 AND last_dropped < $1";

/// The statements, and what is known in memory about the rows that they meet.
pub(super) struct Messages<'c> {
    highest_sequence: Statement<'c>,
    set_through: Statement<'c>,
    set_marks_through: Statement<'c>,
    remember_dropped: Statement<'c>,
    groups: Groups<'c>,
    runs: Runs<'c>,
    blocks: Blocks<'c>,
    marks: Marks<'c>,
    tail: Tail,
    /// Marks that were written since the tables knew all.
    marks_noted: usize,
    /// The tables of marks know all up to this group, or more.
    marks_through: i64,
    merge: Option<Merge>,
    known: Known,
    /// Why the tail does not shrink. As long as there is a reason it must not grow beyond `tail_messages_max`.
    merge_failure: Option<StoreError>,
    tail_messages_max: usize,
    /// That one step of merging writes.
    merge_rows: usize,
    /// Users that exist, each with a sequence that no message of the mailbox exceeds.
    owners: HashMap<i64, i64, RandomState>,
}

/// A merge into the tables under way: of messages into the index, then of marks. It is done in steps, and what a step has written
/// may be written again.
struct Merge {
    /// The last group that belongs to it.
    through: i64,
    places: Vec<(i64, Place)>,
    marks: Vec<(i64, OwnerMarks)>,
    blocks: Vec<Block>,
    marks_noted: usize,
    places_done: usize,
    marks_done: usize,
    /// How far they are when the step is durable.
    places_step: usize,
    marks_step: usize,
}

/// Where a savepoint may return to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MessagesMark {
    tail: usize,
    marks: usize,
}

impl<'c> Messages<'c> {
    /// Also reads the tail. It is merged when it holds `tail_messages`.
    pub(super) fn prepare(
        connection: &'c Connection,
        tail_messages: usize,
    ) -> rusqlite::Result<Messages<'c>> {
        let prepare = |sql| connection.prepare(sql);
        let through = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (indexed_through, marks_through) = connection.query_row(THROUGH, [], through)?;
        let mut messages = Messages {
            highest_sequence: prepare(HIGHEST_SEQUENCE)?,
            set_through: prepare(SET_THROUGH)?,
            set_marks_through: prepare(SET_MARKS_THROUGH)?,
            remember_dropped: prepare(REMEMBER_DROPPED)?,
            groups: Groups::prepare(connection)?,
            runs: Runs::prepare(connection)?,
            blocks: Blocks::prepare(connection, &BLOCKS)?,
            marks: Marks::prepare(connection)?,
            tail: Tail::default(),
            marks_noted: 0,
            marks_through,
            merge: None,
            known: Known::new(),
            merge_failure: None,
            tail_messages_max: TAIL_FACTOR_MAX * tail_messages,
            merge_rows: (tail_messages / MERGE_STEP_DIVISOR).max(1),
            owners: HashMap::default(),
        };
        messages.read_newest(indexed_through)?;
        Ok(messages)
    }

    /// What the tables do not know.
    fn read_newest(&mut self, indexed_through: i64) -> rusqlite::Result<()> {
        let Messages { groups, tail, marks, marks_through, marks_noted, .. } = self;
        groups.read_newest(indexed_through.min(*marks_through), |group, record| match record {
            Record::Message(message) if group > indexed_through => tail.add(entry(group, &message)),
            Record::Taken { owner, through } if group > *marks_through => {
                *marks_noted += 1;
                marks.take(owner, through);
            }
            Record::Cursor { owner, through, seen_unix_ms, device } if group > *marks_through => {
                *marks_noted += 1;
                marks.advance(owner, device, through, seen_unix_ms);
            }
            Record::Removed { owner } => marks.remove(owner),
            _ => {}
        })?;
        self.committed();
        Ok(())
    }

    /// The transaction is durable.
    pub(super) fn committed(&mut self) {
        self.tail.commit();
        self.marks.commit();
    }

    /// Where a savepoint may return to.
    pub(super) fn mark(&self) -> MessagesMark {
        MessagesMark { tail: self.tail.mark(), marks: self.marks.mark() }
    }

    /// What the transaction did since the mark was rolled back; the default is its beginning.
    pub(super) fn rolled_back_to(&mut self, mark: MessagesMark) {
        self.tail.undo_to(mark.tail);
        self.marks.undo_to(mark.marks);
        self.owners.clear();
    }

    pub(super) fn append(&mut self, message: &StoredMessage, draft: &mut Draft) -> Result<Outcome, Failure> {
        let packed = Message {
            owner: integer(message.owner.0)?,
            sequence: integer(message.sequence.0)?,
            direction: match message.direction {
                Direction::Received => 0,
                Direction::Sent => 1,
            },
            is_withdrawn: false,
            received_unix_ms: integer(message.received_unix_ms)?,
            identity: message.identity,
            peer: message.peer.as_str(),
            request: &message.request,
        };
        let Message { owner, sequence, direction, identity, .. } = packed;
        // A removal has overtaken the change, which then means nothing.
        let Some(highest) = self.highest_sequence(owner)? else { return Ok(Outcome::Applied) };
        if let Some(is_withdrawn) = self.known(&(owner, direction, identity))? {
            return Ok(if is_withdrawn { Outcome::AlreadyWithdrawn } else { Outcome::AlreadyThere });
        }
        if sequence <= highest && self.group_of((owner, sequence))?.is_some() {
            return Err(Failure::refused(Refused::SequenceTaken));
        }
        if let Some(failure) = &self.merge_failure
            && self.tail_messages() >= self.tail_messages_max
        {
            return Err(Failure::World(failure.clone()));
        }
        let group = self.groups.put(draft, &Record::Message(packed));
        self.tail.add(entry(group, &packed));
        if sequence > highest {
            self.owners.insert(owner, sequence);
        }
        self.write_if_full(draft)?;
        Ok(Outcome::Applied)
    }

    pub(super) fn take(
        &mut self,
        owner: UserId,
        through: Sequence,
        draft: &mut Draft,
    ) -> Result<(), Failure> {
        let (owner, through) = (integer(owner.0)?, integer(through.0)?);
        if self.has_mailbox(owner)? {
            self.groups.put(draft, &Record::Taken { owner, through });
            self.marks.take(owner, through);
            self.marks_noted += 1;
            self.write_if_full(draft)?;
        }
        Ok(())
    }

    pub(super) fn advance(
        &mut self,
        owner: UserId,
        device: &DeviceKey,
        through: Sequence,
        seen_unix_ms: u64,
        draft: &mut Draft,
    ) -> Result<(), Failure> {
        let (owner, through) = (integer(owner.0)?, integer(through.0)?);
        let seen_unix_ms = integer(seen_unix_ms)?;
        if self.has_mailbox(owner)? {
            let device = device.0.as_str();
            self.groups.put(draft, &Record::Cursor { owner, through, seen_unix_ms, device });
            self.marks.advance(owner, device, through, seen_unix_ms);
            self.marks_noted += 1;
            self.write_if_full(draft)?;
        }
        Ok(())
    }

    /// Writes what is left of the group.
    pub(super) fn write(&mut self, draft: &mut Draft) -> rusqlite::Result<()> {
        self.groups.write(draft)
    }

    fn write_if_full(&mut self, draft: &mut Draft) -> rusqlite::Result<()> {
        if draft.is_full() { self.groups.write(draft) } else { Ok(()) }
    }

    /// No group is open.
    pub(super) fn withdraw(&mut self, owner: UserId, sequence: Sequence) -> Result<(), Failure> {
        let place = (integer(owner.0)?, integer(sequence.0)?);
        if let Some(group) = self.group_of(place)? {
            self.groups.withdraw(group, place.0, place.1)?;
        }
        if let Some(entry) = self.tail.at(place) {
            self.drop_from_tail(place);
            self.tail.add(Entry { is_withdrawn: true, ..entry });
        }
        Ok(())
    }

    /// All of a user: no foreign key finds them. No group is open; one is then, which says it to the next start.
    pub(super) fn remove_all(&mut self, user: i64, draft: &mut Draft) -> Result<(), Failure> {
        let tail = self.tail.mailbox(user, BEFORE_ALL).to_vec();
        let mut groups: BTreeSet<i64> = tail.iter().map(|entry| entry.group).collect();
        let indexed = self.runs.behind(user, BEFORE_ALL, usize::MAX)?;
        groups.extend(indexed.iter().map(|place| place.group));
        for group in groups {
            self.groups.drop_messages(group, self.marks_through, |message| message.owner == user)?;
        }
        for entry in tail {
            self.drop_from_tail(entry.place_key());
        }
        self.runs.remove(user)?;
        self.marks.remove(user);
        self.merge = None;
        self.owners.remove(&user);
        self.groups.put(draft, &Record::Removed { owner: user });
        Ok(())
    }

    /// Drops messages received before then, the oldest first, some more than so many at most; how many it dropped.
    pub(super) fn prune(&mut self, before_unix_ms: u64, rows_max: usize) -> rusqlite::Result<usize> {
        let before_unix_ms = bound(before_unix_ms);
        let mut dropped = Vec::new();
        while dropped.len() < rows_max
            && let Some((first, last)) = self.blocks.oldest(before_unix_ms)?
        {
            let groups = self.groups.older(first, last, before_unix_ms, PRUNE_GROUPS)?;
            for group in &groups {
                self.groups.drop_messages(*group, self.marks_through, |message| {
                    let is_old = message.received_unix_ms < before_unix_ms;
                    if is_old {
                        dropped.push((message.owner, message.sequence));
                    }
                    is_old
                })?;
            }
            if groups.len() < PRUNE_GROUPS {
                self.blocks.age(first, last, before_unix_ms)?;
            }
        }
        let mut newest = self.tail.older(before_unix_ms, rows_max.saturating_sub(dropped.len()));
        newest.sort_unstable_by_key(|entry| (entry.group, entry.place_key()));
        for group in newest.chunk_by(|a, b| a.group == b.group) {
            self.groups.drop_messages(group[0].group, self.marks_through, |message| {
                let place = (message.owner, message.sequence);
                group.binary_search_by_key(&place, Entry::place_key).is_ok()
            })?;
            dropped.extend(group.iter().map(Entry::place_key));
        }
        // The index is met in the order of its pages.
        dropped.sort_unstable();
        for mailbox in dropped.chunk_by(|a, b| a.0 == b.0) {
            let owner = mailbox[0].0;
            let sequences: Vec<i64> = mailbox.iter().map(|place| place.1).collect();
            self.runs.drop(owner, &sequences)?;
            self.remember_dropped.execute([sequences[sequences.len() - 1], owner])?;
            mailbox.iter().for_each(|place| self.drop_from_tail(*place));
        }
        Ok(dropped.len())
    }

    /// Drops devices not seen since then, at most so many; how many it dropped.
    pub(super) fn prune_devices(&mut self, before_unix_ms: u64, rows_max: usize) -> rusqlite::Result<usize> {
        if before_unix_ms == 0 {
            return Ok(0);
        }
        // What is dropped must not come back with a merge, nor at the next start.
        self.marks.write_all()?;
        self.set_marks_through.execute([self.groups.last()])?;
        self.merge = None;
        self.marks.prune(before_unix_ms, rows_max)
    }

    /// How long the tail is: messages that are not in the index yet, and marks.
    pub(super) fn tail_messages(&self) -> usize {
        self.tail.len().max(self.marks_noted / MARKS_PER_MESSAGE)
    }

    /// Moves some rows from the tail to the tables, in the open transaction.
    pub(super) fn merge_step(&mut self) -> Result<(), Failure> {
        let merge = self.merge.get_or_insert_with(|| {
            Merge::of(self.groups.last(), &self.tail, self.marks.newest(), self.marks_noted)
        });
        merge.begin_step(self.merge_rows);
        let places = &merge.places[merge.places_done..merge.places_step];
        let mut run = Vec::new();
        for mailbox in places.chunk_by(|a, b| a.0 == b.0) {
            let owner = mailbox[0].0;
            run.clear();
            run.extend(mailbox.iter().map(|(_, place)| *place));
            run.iter().for_each(|place| self.known.add(&(owner, place.fingerprint)));
            self.runs.add(owner, &run)?;
        }
        self.marks.write(&merge.marks[merge.marks_done..merge.marks_step])?;
        if merge.completes() {
            self.blocks.add(&merge.blocks)?;
            self.set_through.execute([merge.through])?;
            self.groups.drop_marks(merge.through)?;
        }
        Ok(())
    }

    /// Reads some more of the identities that the index held at the start; whether there are more.
    pub(super) fn read_identities(&mut self) -> Result<bool, Failure> {
        let Some(after) = self.known.unread() else { return Ok(false) };
        let known = &mut self.known;
        let more = self.runs.read(after, READ_ROWS, |row, places| {
            known.read(row, places.iter().map(|place| place.fingerprint));
        })?;
        if !more {
            self.known.read_all();
        }
        Ok(more)
    }

    /// Whether the last step failed.
    pub(super) fn merge_fails(&self) -> bool {
        self.merge_failure.is_some()
    }

    /// The step is durable, or why it is not; whether there is no more to do for now.
    pub(super) fn merged(&mut self, step: Result<(), StoreError>) -> bool {
        self.merge_failure = step.err();
        if self.merge_failure.is_some() {
            return false;
        }
        let Some(merge) = &mut self.merge else { return true };
        (merge.places_done, merge.marks_done) = (merge.places_step, merge.marks_step);
        if !merge.completes() {
            return false;
        }
        self.tail.forget_through(merge.through);
        self.marks.forget(&merge.marks);
        self.marks_noted -= merge.marks_noted.min(self.marks_noted);
        self.marks_through = merge.through;
        self.merge = None;
        true
    }

    /// What the tables do not know of mailboxes; `users` are those whose `records` these are.
    pub(super) fn load(&mut self, users: [i64; 2], records: &mut [UserRecord]) -> rusqlite::Result<()> {
        self.marks.load(users, records)?;
        for record in records {
            if let Some(highest) = self.tail.highest(bound(record.user.id.0)) {
                let last = &mut record.mailbox.last;
                *last = Sequence(last.0.max(highest.unsigned_abs()));
            }
        }
        Ok(())
    }

    /// Messages behind `after`. No group is open.
    pub(super) fn page(
        &mut self,
        owner: UserId,
        after: Sequence,
        limit: u32,
    ) -> rusqlite::Result<Vec<StoredMessage>> {
        let (key, mut after) = (bound(owner.0), bound(after.0));
        let mut found = Vec::new();
        // Neighbours in a mailbox often came in one group.
        let mut last_group = (0, Vec::new());
        loop {
            let wanted = limit as usize - found.len();
            let places = self.places(key, after, wanted)?;
            for (sequence, group) in &places {
                if last_group.0 != *group {
                    last_group = (*group, self.groups.content(*group)?);
                }
                let message = groups::find(&last_group.1, key, *sequence)?;
                let message = message.ok_or_else(groups::not_ours)?;
                if !message.is_withdrawn {
                    found.push(stored(owner, &message)?);
                }
            }
            match places.last() {
                // Some were withdrawn.
                Some((last, _)) if places.len() == wanted && found.len() < limit as usize => after = *last,
                _ => return Ok(found),
            }
        }
    }

    /// Where an owner's messages behind a sequence are, from the index and from the tail, in order: sequences and groups.
    fn places(&mut self, owner: i64, after: i64, places_max: usize) -> rusqlite::Result<Vec<(i64, i64)>> {
        let indexed = self.runs.behind(owner, after, places_max)?;
        let newest = self.tail.mailbox(owner, after).iter().take(places_max);
        let indexed = indexed.iter().map(|place| (place.sequence, place.group));
        // In the middle of a merge a message is in both.
        let places: BTreeMap<i64, i64> =
            indexed.chain(newest.map(|entry| (entry.sequence, entry.group))).collect();
        Ok(places.into_iter().take(places_max).collect())
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
        let highest = self.tail.highest(owner).map_or(indexed, |newest| indexed.max(newest));
        if self.owners.len() >= OWNERS_MAX {
            self.owners.clear();
        }
        self.owners.insert(owner, highest);
        Ok(Some(highest))
    }

    /// Whether the message of a mailbox with this identity was withdrawn, if there is one.
    fn known(&mut self, key: &IdentityKey) -> rusqlite::Result<Option<bool>> {
        if let Some(is_withdrawn) = self.tail.known(key) {
            return Ok(Some(is_withdrawn));
        }
        let (owner, direction, identity) = key;
        let fingerprint = fingerprint(*direction, identity);
        if !self.known.may_hold(&(*owner, fingerprint)) {
            return Ok(None);
        }
        for Place { sequence, group, .. } in self.runs.with_fingerprint(*owner, fingerprint)? {
            // What the tail has too is not the message: it would be known by now. Its group may not be written yet.
            if self.tail.at((*owner, sequence)).is_some() {
                continue;
            }
            let content = self.groups.content(group)?;
            let message = groups::find(&content, *owner, sequence)?.ok_or_else(groups::not_ours)?;
            if (message.direction, message.identity) == (*direction, *identity) {
                return Ok(Some(message.is_withdrawn));
            }
        }
        Ok(None)
    }

    /// The group of the message at a place.
    fn group_of(&mut self, place: PlaceKey) -> rusqlite::Result<Option<i64>> {
        if let Some(entry) = self.tail.at(place) {
            return Ok(Some(entry.group));
        }
        Ok(self.runs.at(place.0, place.1)?.map(|place| place.group))
    }

    fn drop_from_tail(&mut self, place: PlaceKey) {
        if self.tail.drop(place) {
            // A step to come would bring it back. What was done is found done when the merge begins again.
            self.merge = None;
        }
    }
}

/// Before all sequences.
const BEFORE_ALL: i64 = -1;

impl Merge {
    fn of(through: i64, tail: &Tail, marks: Vec<(i64, OwnerMarks)>, marks_noted: usize) -> Merge {
        let place = |entry: &Entry| Place {
            sequence: entry.sequence,
            group: entry.group,
            fingerprint: fingerprint(entry.direction, &entry.identity),
        };
        let ages = tail.entries().map(|entry| (entry.group, entry.received_unix_ms));
        Merge {
            through,
            places: tail.in_order().map(|entry| (entry.owner, place(entry))).collect(),
            marks,
            blocks: blocks(ages, BLOCK_GROUPS),
            marks_noted,
            places_done: 0,
            marks_done: 0,
            places_step: 0,
            marks_step: 0,
        }
    }

    /// So many rows come next, or what is left.
    fn begin_step(&mut self, rows_max: usize) {
        self.places_step = (self.places_done + rows_max).min(self.places.len());
        let mut rows = self.places_step - self.places_done;
        self.marks_step = self.marks_done;
        while rows < rows_max
            && let Some((_, marks)) = self.marks.get(self.marks_step)
        {
            rows += marks.rows();
            self.marks_step += 1;
        }
    }

    /// Whether the step that was begun is the last one.
    fn completes(&self) -> bool {
        (self.places_step, self.marks_step) == (self.places.len(), self.marks.len())
    }
}

fn entry(group: i64, message: &Message<'_>) -> Entry {
    let Message { owner, sequence, direction, is_withdrawn, received_unix_ms, identity, .. } = *message;
    Entry { group, owner, sequence, direction, is_withdrawn, identity, received_unix_ms }
}

fn stored(owner: UserId, message: &Message<'_>) -> rusqlite::Result<StoredMessage> {
    Ok(StoredMessage {
        owner,
        sequence: Sequence(message.sequence.unsigned_abs()),
        direction: if message.direction == 0 { Direction::Received } else { Direction::Sent },
        peer: SipAddress::parse(message.peer).map_err(|_| groups::not_ours())?,
        identity: message.identity,
        received_unix_ms: message.received_unix_ms.unsigned_abs(),
        request: message.request.to_vec(),
    })
}
