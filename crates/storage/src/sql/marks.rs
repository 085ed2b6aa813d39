//! How far mailboxes and devices have got.
//!
//! Marks and cursors only move forward, so that of a group the last place of each is the only one that has to be written.

use directory::UserId;
use records::{DeviceKey, Sequence, UserRecord};
use rusqlite::{Connection, Statement, params};

use super::in_order::InOrder;
use super::values::{bound, integer, natural, unless_gone};
use crate::error::Failure;

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
}

/// Of a group, not written yet.
#[derive(Default)]
pub(super) struct HeldMarks<'g> {
    taken: Vec<(UserId, Sequence)>,
    cursors: Vec<(UserId, &'g DeviceKey, Sequence, u64)>,
}

impl<'g> HeldMarks<'g> {
    pub(super) fn take(&mut self, owner: UserId, through: Sequence) -> Result<(), Failure> {
        integer(owner.0)?;
        integer(through.0)?;
        self.taken.push((owner, through));
        Ok(())
    }

    pub(super) fn advance(
        &mut self,
        owner: UserId,
        device: &'g DeviceKey,
        through: Sequence,
        seen_unix_ms: u64,
    ) -> Result<(), Failure> {
        for number in [owner.0, through.0, seen_unix_ms] {
            integer(number)?;
        }
        self.cursors.push((owner, device, through, seen_unix_ms));
        Ok(())
    }
}

impl<'c> Marks<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Marks<'c>> {
        Ok(Marks {
            advance_taken: connection.prepare(ADVANCE_TAKEN)?,
            advance_cursor: connection.prepare(ADVANCE_CURSOR)?,
            prune_devices: connection.prepare(PRUNE_DEVICES)?,
            load: connection.prepare(LOAD)?,
        })
    }

    pub(super) fn write(&mut self, held: &mut HeldMarks<'_>) -> Result<(), Failure> {
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

    /// Drops devices not seen since then, at most so many; how many it dropped.
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
        Ok(())
    }
}
