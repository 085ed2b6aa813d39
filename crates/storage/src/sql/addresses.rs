//! Which addresses lead to whom: each user's own, and former ones. No address leads to two users.

use std::collections::BTreeSet;

use directory::SipAddress;
use records::UserRecord;
use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::in_order::InOrder;
use super::values::{address, natural};

const OWNER: &str = "SELECT id FROM users WHERE address = $1
    UNION ALL SELECT owner FROM aliases WHERE address = $1";
const OWN: &str = "SELECT address FROM users WHERE id = $1";
const SET_ASIDE: &str = "UPDATE users SET address = $1 WHERE id = $2";
const ADD_ALIAS: &str = "INSERT INTO aliases (address, owner, place) VALUES ($1, $2, $3)";
const DROP_ALIASES: &str = "DELETE FROM aliases WHERE owner = $1";
const LOAD: &str = "SELECT owner, address FROM aliases WHERE owner BETWEEN $1 AND $2 ORDER BY owner, place";

pub(super) struct Addresses<'c> {
    owner: Statement<'c>,
    own: Statement<'c>,
    set_aside: Statement<'c>,
    add_alias: Statement<'c>,
    drop_aliases: Statement<'c>,
    load: Statement<'c>,
}

impl<'c> Addresses<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Addresses<'c>> {
        Ok(Addresses {
            owner: connection.prepare(OWNER)?,
            own: connection.prepare(OWN)?,
            set_aside: connection.prepare(SET_ASIDE)?,
            add_alias: connection.prepare(ADD_ALIAS)?,
            drop_aliases: connection.prepare(DROP_ALIASES)?,
            load: connection.prepare(LOAD)?,
        })
    }

    pub(super) fn owner(&mut self, address: &SipAddress) -> rusqlite::Result<Option<i64>> {
        self.owner.query_row([address.as_str()], |row| row.get(0)).optional()
    }

    /// Takes a user's aliases, and its address unless that stays, so that others of the same transaction may have them; whether
    /// there is such a user, who is to be given an address then.
    pub(super) fn take(&mut self, user: i64, unless: &SipAddress) -> rusqlite::Result<bool> {
        let stays = self.own.query_row([user], |row| Ok(row.get_ref(0)?.as_str()? == unless.as_str()));
        let Some(stays) = stays.optional()? else { return Ok(false) };
        if !stays {
            // No address is written so.
            self.set_aside.execute(params![format!("#{user}"), user])?;
        }
        self.drop_aliases.execute([user])?;
        Ok(true)
    }

    /// Gives a user, who has none, aliases beside the address: each once.
    pub(super) fn add_aliases(
        &mut self,
        user: i64,
        address: &SipAddress,
        aliases: &[SipAddress],
    ) -> rusqlite::Result<()> {
        if aliases.is_empty() {
            return Ok(());
        }
        let mut own = BTreeSet::from([address]);
        for (place, alias) in (0i64..).zip(aliases) {
            if own.insert(alias) {
                self.add_alias.execute(params![alias.as_str(), user, place])?;
            }
        }
        Ok(())
    }

    pub(super) fn load(&mut self, users: [i64; 2], records: &mut [UserRecord]) -> rusqlite::Result<()> {
        let mut owners = InOrder::new(records);
        let mut rows = self.load.query(users)?;
        while let Some(row) = rows.next()? {
            owners.record(natural(row, 0)?)?.user.aliases.push(address(row, 1)?);
        }
        Ok(())
    }
}
