//! How far mailboxes and devices have got.
//!
//! Marks and cursors only move forward, and each message moves some. So they are written with the messages of their group, one
//! behind the other, and kept in memory; the tables learn the last place of each with the next merge.

use std::collections::HashMap;

use directory::UserId;
use foldhash::quality::RandomState;
use records::{DeviceKey, Sequence, UserRecord};
use rusqlite::{Connection, Statement, params};

use super::in_order::InOrder;
use super::values::{bound, natural, unless_gone};

const ADVANCE_TAKEN: &str = "UPDATE mailboxes SET taken = $1 WHERE owner = $2 AND taken < $1";
const ADVANCE_CURSOR: &str =
    "INSERT INTO devices (owner, device_key, through, seen_unix_ms) VALUES ($1, $2, $3, $4)
    ON CONFLICT (owner, device_key) DO UPDATE SET
        through = CASE WHEN excluded.through > devices.through THEN excluded.through ELSE devices.through END,
        seen_unix_ms = CASE WHEN excluded.seen_unix_ms > devices.seen_unix_ms
            THEN excluded.seen_unix_ms ELSE devices.seen_unix_ms END";
const PRUNE_DEVICES: &str = "DELETE FROM devices WHERE (owner, device_key) IN (
        SELECT owner, device_key FROM devices WHERE seen_unix_ms < $1 LIMIT $2)";
const LOAD: &str = "SELECT owner, device_key, through FROM devices WHERE owner BETWEEN $1 AND $2
    ORDER BY owner, device_key";

pub(super) struct Marks<'c> {
    advance_taken: Statement<'c>,
    advance_cursor: Statement<'c>,
    prune_devices: Statement<'c>,
    load: Statement<'c>,
    newest: Newest,
}

/// What the tables do not know yet. It follows the transaction, as the tail of messages does.
#[derive(Debug, Default)]
struct Newest {
    owners: Owners,
    undo: Vec<Undo>,
}

type Owners = HashMap<i64, OwnerMarks, RandomState>;

/// The marks of one mailbox that have moved. Numbers as SQL has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnerMarks {
    taken: i64,
    /// Few: a person has a handful of devices.
    cursors: Vec<Cursor>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    device: DeviceKey,
    through: i64,
    seen_unix_ms: i64,
}

#[derive(Debug)]
enum Undo {
    Taken {
        owner: i64,
        before: i64,
    },
    Cursor {
        owner: i64,
        index: usize,
        through: i64,
        seen_unix_ms: i64,
    },
    /// The last of the owner's is new.
    NewCursor {
        owner: i64,
    },
    /// There were none.
    NewOwner {
        owner: i64,
    },
    /// They were taken out.
    Owner {
        owner: i64,
        marks: OwnerMarks,
    },
    /// All were.
    All(Owners),
}

impl<'c> Marks<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Marks<'c>> {
        Ok(Marks {
            advance_taken: connection.prepare(ADVANCE_TAKEN)?,
            advance_cursor: connection.prepare(ADVANCE_CURSOR)?,
            prune_devices: connection.prepare(PRUNE_DEVICES)?,
            load: connection.prepare(LOAD)?,
            newest: Newest::default(),
        })
    }

    pub(super) fn take(&mut self, owner: i64, through: i64) {
        self.newest.take(owner, through);
    }

    pub(super) fn advance(&mut self, owner: i64, device: &str, through: i64, seen_unix_ms: i64) {
        self.newest.advance(owner, device, through, seen_unix_ms);
    }

    /// Forgets an owner.
    pub(super) fn remove(&mut self, owner: i64) {
        if let Some(marks) = self.newest.owners.remove(&owner) {
            self.newest.undo.push(Undo::Owner { owner, marks });
        }
    }

    /// The transaction is durable, or there was none.
    pub(super) fn commit(&mut self) {
        self.newest.undo.clear();
    }

    /// Where a savepoint may return to.
    pub(super) fn mark(&self) -> usize {
        self.newest.undo.len()
    }

    /// Undoes what was done since the mark; 0 is the beginning of the transaction.
    pub(super) fn undo_to(&mut self, mark: usize) {
        self.newest.undo_to(mark);
    }

    /// All that the tables do not know, in the order of their rows.
    pub(super) fn newest(&self) -> Vec<(i64, OwnerMarks)> {
        let mut newest: Vec<_> = self.newest.owners.iter().map(|(o, marks)| (*o, marks.clone())).collect();
        newest.sort_unstable_by_key(|(owner, _)| *owner);
        newest
    }

    /// Tells the tables.
    pub(super) fn write(&mut self, marks: &[(i64, OwnerMarks)]) -> rusqlite::Result<()> {
        for (owner, marks) in marks {
            if marks.taken > 0 {
                self.advance_taken.execute([marks.taken, *owner])?;
            }
            for Cursor { device, through, seen_unix_ms } in &marks.cursors {
                unless_gone(self.advance_cursor.execute(params![owner, device.0, through, seen_unix_ms]))?;
            }
        }
        Ok(())
    }

    /// These are durable in the tables; what has moved since is still to be told.
    pub(super) fn forget(&mut self, written: &[(i64, OwnerMarks)]) {
        for (owner, marks) in written {
            if self.newest.owners.get(owner) == Some(marks) {
                self.newest.owners.remove(owner);
            }
        }
    }

    /// Tells the tables all, in the open transaction.
    pub(super) fn write_all(&mut self) -> rusqlite::Result<()> {
        let newest = self.newest();
        self.write(&newest)?;
        let all = std::mem::take(&mut self.newest.owners);
        self.newest.undo.push(Undo::All(all));
        Ok(())
    }

    /// Drops devices not seen since then, at most so many; how many it dropped. The tables know all.
    pub(super) fn prune(&mut self, before_unix_ms: u64, rows_max: usize) -> rusqlite::Result<usize> {
        self.prune_devices.execute([bound(before_unix_ms), rows_max as i64])
    }

    pub(super) fn load(&mut self, users: [i64; 2], records: &mut [UserRecord]) -> rusqlite::Result<()> {
        let mut owners = InOrder::new(records);
        let mut rows = self.load.query(users)?;
        while let Some(row) = rows.next()? {
            let cursor = (DeviceKey(row.get(1)?), Sequence(natural(row, 2)?));
            owners.record(natural(row, 0)?)?.mailbox.cursors.push(cursor);
        }
        for record in records {
            if let Some(marks) = self.newest.owners.get(&owner(record.user.id)) {
                marks.show(record);
            }
        }
        Ok(())
    }
}

impl OwnerMarks {
    /// How many rows they are in the tables.
    pub(super) fn rows(&self) -> usize {
        self.cursors.len() + usize::from(self.taken > 0)
    }

    fn show(&self, record: &mut UserRecord) {
        let mailbox = &mut record.mailbox;
        mailbox.taken = mailbox.taken.max(Sequence(self.taken.unsigned_abs()));
        for Cursor { device, through, .. } in &self.cursors {
            let through = Sequence(through.unsigned_abs());
            match mailbox.cursors.binary_search_by(|(other, _)| other.cmp(device)) {
                Ok(index) => mailbox.cursors[index].1 = mailbox.cursors[index].1.max(through),
                Err(index) => mailbox.cursors.insert(index, (device.clone(), through)),
            }
        }
    }
}

impl Newest {
    fn take(&mut self, owner: i64, through: i64) {
        let marks = marks_of(&mut self.owners, &mut self.undo, owner);
        if through > marks.taken {
            self.undo.push(Undo::Taken { owner, before: marks.taken });
            marks.taken = through;
        }
    }

    fn advance(&mut self, owner: i64, device: &str, through: i64, seen_unix_ms: i64) {
        let marks = marks_of(&mut self.owners, &mut self.undo, owner);
        match marks.cursors.iter_mut().enumerate().find(|(_, cursor)| cursor.device.0 == device) {
            Some((index, cursor)) => {
                let (through_before, seen_before) = (cursor.through, cursor.seen_unix_ms);
                cursor.through = through.max(through_before);
                cursor.seen_unix_ms = seen_unix_ms.max(seen_before);
                self.undo.push(Undo::Cursor {
                    owner,
                    index,
                    through: through_before,
                    seen_unix_ms: seen_before,
                });
            }
            None => {
                let device = DeviceKey(device.to_owned());
                marks.cursors.push(Cursor { device, through, seen_unix_ms });
                self.undo.push(Undo::NewCursor { owner });
            }
        }
    }

    fn undo_to(&mut self, mark: usize) {
        for undo in self.undo.drain(mark..).rev() {
            let of = |owners: &mut Owners, owner: i64, change: &dyn Fn(&mut OwnerMarks)| {
                change(owners.get_mut(&owner).expect("what was changed since is undone"));
            };
            match undo {
                Undo::Taken { owner, before } => of(&mut self.owners, owner, &|marks| marks.taken = before),
                Undo::Cursor { owner, index, through, seen_unix_ms } => {
                    of(&mut self.owners, owner, &|marks| {
                        marks.cursors[index].through = through;
                        marks.cursors[index].seen_unix_ms = seen_unix_ms;
                    });
                }
                Undo::NewCursor { owner } => of(&mut self.owners, owner, &|marks| drop(marks.cursors.pop())),
                Undo::NewOwner { owner } => drop(self.owners.remove(&owner)),
                Undo::Owner { owner, marks } => drop(self.owners.insert(owner, marks)),
                Undo::All(owners) => self.owners = owners,
            }
        }
    }
}

fn marks_of<'m>(owners: &'m mut Owners, undo: &mut Vec<Undo>, owner: i64) -> &'m mut OwnerMarks {
    owners.entry(owner).or_insert_with(|| {
        undo.push(Undo::NewOwner { owner });
        OwnerMarks::default()
    })
}

fn owner(user: UserId) -> i64 {
    bound(user.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(taken: i64, cursors: &[(&str, i64, i64)]) -> OwnerMarks {
        let cursor = |(device, through, seen_unix_ms): &(&str, i64, i64)| Cursor {
            device: DeviceKey((*device).to_owned()),
            through: *through,
            seen_unix_ms: *seen_unix_ms,
        };
        OwnerMarks { taken, cursors: cursors.iter().map(cursor).collect() }
    }

    #[test]
    fn an_undone_transaction_leaves_no_trace() {
        let mut newest = Newest::default();
        newest.take(1, 5);
        newest.advance(1, "a", 5, 50);
        newest.undo.clear();
        let before = newest.owners.clone();

        newest.take(1, 4);
        newest.take(1, 7);
        newest.advance(1, "a", 3, 70);
        assert_eq!(newest.owners[&1], marks(7, &[("a", 5, 70)]), "each only moves forward");
        newest.advance(1, "b", 1, 1);
        newest.advance(2, "a", 2, 2);
        let mark = newest.undo.len();
        let all = std::mem::take(&mut newest.owners);
        newest.undo.push(Undo::All(all));
        newest.take(2, 9);
        newest.undo_to(mark);
        assert_eq!(newest.owners[&1], marks(7, &[("a", 5, 70), ("b", 1, 1)]));
        assert_eq!(newest.owners[&2], marks(0, &[("a", 2, 2)]));
        newest.undo_to(0);
        assert_eq!(newest.owners, before);
    }
}
