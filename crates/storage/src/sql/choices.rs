//! What users chose: what they are seen as, and where their calls go.
//!
//! Who chose nothing has no row.

use directory::{SipAddress, UserId};
use presence::{Manual, ManualState, Note};
use records::{CallSettings, UserRecord};
use rusqlite::{Connection, Row, Statement, params};

use super::in_order::InOrder;
use super::values::{address, damaged, integer, natural, unless_gone};
use crate::error::Failure;

const SET_MANUAL: &str =
    "INSERT INTO manual_states (owner, state, expires_unix_ms, note, note_expires_unix_ms)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (owner) DO UPDATE SET state = excluded.state, expires_unix_ms = excluded.expires_unix_ms,
        note = excluded.note, note_expires_unix_ms = excluded.note_expires_unix_ms";
const CLEAR_MANUAL: &str = "DELETE FROM manual_states WHERE owner = $1";
const MANUAL: &str = "SELECT owner, state, expires_unix_ms, note, note_expires_unix_ms FROM manual_states
    WHERE owner BETWEEN $1 AND $2 ORDER BY owner";

const SET_CALLS: &str = "INSERT INTO call_settings (owner, forward_always, forward_busy, forward_no_answer,
        no_answer_seconds, forward_unregistered, forward_do_not_disturb, busy_on_busy)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (owner) DO UPDATE SET forward_always = excluded.forward_always,
        forward_busy = excluded.forward_busy, forward_no_answer = excluded.forward_no_answer,
        no_answer_seconds = excluded.no_answer_seconds, forward_unregistered = excluded.forward_unregistered,
        forward_do_not_disturb = excluded.forward_do_not_disturb, busy_on_busy = excluded.busy_on_busy";
const CLEAR_CALLS: &str = "DELETE FROM call_settings WHERE owner = $1";
const CALLS: &str = "SELECT owner, forward_always, forward_busy, forward_no_answer, no_answer_seconds,
        forward_unregistered, forward_do_not_disturb, busy_on_busy
    FROM call_settings WHERE owner BETWEEN $1 AND $2 ORDER BY owner";
const CLEAR_RING_ALSO: &str = "DELETE FROM ring_also WHERE owner = $1";
const ADD_RING_ALSO: &str = "INSERT INTO ring_also (owner, place, address) VALUES ($1, $2, $3)";
const RING_ALSO: &str =
    "SELECT owner, address FROM ring_also WHERE owner BETWEEN $1 AND $2 ORDER BY owner, place";

pub(super) struct Choices<'c> {
    set_manual: Statement<'c>,
    clear_manual: Statement<'c>,
    manual: Statement<'c>,
    set_calls: Statement<'c>,
    clear_calls: Statement<'c>,
    calls: Statement<'c>,
    clear_ring_also: Statement<'c>,
    add_ring_also: Statement<'c>,
    ring_also: Statement<'c>,
}

impl<'c> Choices<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Choices<'c>> {
        Ok(Choices {
            set_manual: connection.prepare(SET_MANUAL)?,
            clear_manual: connection.prepare(CLEAR_MANUAL)?,
            manual: connection.prepare(MANUAL)?,
            set_calls: connection.prepare(SET_CALLS)?,
            clear_calls: connection.prepare(CLEAR_CALLS)?,
            calls: connection.prepare(CALLS)?,
            clear_ring_also: connection.prepare(CLEAR_RING_ALSO)?,
            add_ring_also: connection.prepare(ADD_RING_ALSO)?,
            ring_also: connection.prepare(RING_ALSO)?,
        })
    }

    pub(super) fn set_manual(&mut self, user: UserId, manual: &Manual) -> Result<(), Failure> {
        let owner = integer(user.0)?;
        if *manual == Manual::default() {
            self.clear_manual.execute([owner])?;
            return Ok(());
        }
        let note = manual.note.as_ref();
        let set = self.set_manual.execute(params![
            owner,
            manual.state.map(ManualState::name),
            manual.expires_unix_ms.map(integer).transpose()?,
            note.map(|note| &*note.text),
            note.and_then(|note| note.expires_unix_ms).map(integer).transpose()?,
        ]);
        unless_gone(set)?;
        Ok(())
    }

    pub(super) fn set_calls(&mut self, user: UserId, settings: &CallSettings) -> Result<(), Failure> {
        let owner = integer(user.0)?;
        if *settings == CallSettings::default() {
            self.clear_calls.execute([owner])?;
            return Ok(());
        }
        let target = |target: &Option<SipAddress>| target.as_ref().map(|address| address.as_str().to_owned());
        let set = self.set_calls.execute(params![
            owner,
            target(&settings.forward_always),
            target(&settings.forward_busy),
            target(&settings.forward_no_answer),
            settings.no_answer_seconds,
            target(&settings.forward_unregistered),
            target(&settings.forward_do_not_disturb),
            settings.busy_on_busy,
        ]);
        if unless_gone(set)?.is_none() {
            return Ok(());
        }
        self.clear_ring_also.execute([owner])?;
        for (place, address) in (0i64..).zip(&settings.ring_also) {
            self.add_ring_also.execute(params![owner, place, address.as_str()])?;
        }
        Ok(())
    }

    pub(super) fn load(&mut self, users: [i64; 2], records: &mut [UserRecord]) -> rusqlite::Result<()> {
        let mut owners = InOrder::new(records);
        let mut rows = self.manual.query(users)?;
        while let Some(row) = rows.next()? {
            owners.record(natural(row, 0)?)?.manual = manual(row)?;
        }
        let mut owners = InOrder::new(records);
        let mut rows = self.calls.query(users)?;
        while let Some(row) = rows.next()? {
            owners.record(natural(row, 0)?)?.calls = call_settings(row)?;
        }
        let mut owners = InOrder::new(records);
        let mut rows = self.ring_also.query(users)?;
        while let Some(row) = rows.next()? {
            owners.record(natural(row, 0)?)?.calls.ring_also.push(address(row, 1)?);
        }
        Ok(())
    }
}

fn manual(row: &Row<'_>) -> rusqlite::Result<Manual> {
    let time = |column| row.get::<_, Option<i64>>(column)?.map(|_| natural(row, column)).transpose();
    let state: Option<String> = row.get(1)?;
    let state = state.map(|name| ManualState::from_name(&name).ok_or_else(|| damaged(1, "an unknown state")));
    let note: Option<String> = row.get(3)?;
    let note_expires_unix_ms = time(4)?;
    Ok(Manual {
        state: state.transpose()?,
        expires_unix_ms: time(2)?,
        note: note.map(|text| Note { text: text.into(), expires_unix_ms: note_expires_unix_ms }),
    })
}

fn call_settings(row: &Row<'_>) -> rusqlite::Result<CallSettings> {
    let target = |column| row.get_ref(column)?.as_str_or_null()?.map(|_| address(row, column)).transpose();
    Ok(CallSettings {
        forward_always: target(1)?,
        forward_busy: target(2)?,
        forward_no_answer: target(3)?,
        no_answer_seconds: row.get(4)?,
        forward_unregistered: target(5)?,
        forward_do_not_disturb: target(6)?,
        ring_also: Vec::new(),
        busy_on_busy: row.get(7)?,
    })
}
