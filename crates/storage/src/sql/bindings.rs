//! Registrations that outlive their connections.

use std::net::SocketAddr;

use directory::UserId;
use records::{Binding, UserRecord};
use rusqlite::{Connection, Row, Statement, params};

use super::in_order::InOrder;
use super::values::{damaged, integer, natural, unless_gone};
use crate::error::Failure;

const PUT: &str = "INSERT INTO bindings (owner, binding_key, contact, call_id, cseq, q_thousandths,
        expires_unix_ms, udp_listener, udp_peer, user_agent)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (owner, binding_key) DO UPDATE SET contact = excluded.contact, call_id = excluded.call_id,
        cseq = excluded.cseq, q_thousandths = excluded.q_thousandths, expires_unix_ms = excluded.expires_unix_ms,
        udp_listener = excluded.udp_listener, udp_peer = excluded.udp_peer, user_agent = excluded.user_agent";
const REMOVE_PATHS: &str = "DELETE FROM binding_paths WHERE owner = $1 AND binding_key = $2";
const HAS_PATHS: &str = "SELECT 1 FROM binding_paths";
const PUT_PATH: &str = "INSERT INTO binding_paths (owner, binding_key, place, value) VALUES ($1, $2, $3, $4)";
const REMOVE: &str = "DELETE FROM bindings WHERE owner = $1 AND binding_key = $2";
const REMOVE_ALL: &str = "DELETE FROM bindings WHERE owner = $1";
const LOAD: &str = "SELECT owner, binding_key, contact, call_id, cseq, q_thousandths, expires_unix_ms,
        udp_listener, udp_peer, user_agent
    FROM bindings WHERE owner BETWEEN $1 AND $2 ORDER BY owner, binding_key";
const LOAD_PATHS: &str = "SELECT owner, binding_key, value FROM binding_paths WHERE owner BETWEEN $1 AND $2
    ORDER BY owner, binding_key, place";

pub(super) struct Bindings<'c> {
    put: Statement<'c>,
    remove_paths: Statement<'c>,
    put_path: Statement<'c>,
    remove: Statement<'c>,
    remove_all: Statement<'c>,
    load: Statement<'c>,
    load_paths: Statement<'c>,
    /// Whether some binding may have a path: few homes stand behind proxies that write one.
    has_paths: bool,
}

impl<'c> Bindings<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Bindings<'c>> {
        Ok(Bindings {
            put: connection.prepare(PUT)?,
            remove_paths: connection.prepare(REMOVE_PATHS)?,
            put_path: connection.prepare(PUT_PATH)?,
            remove: connection.prepare(REMOVE)?,
            remove_all: connection.prepare(REMOVE_ALL)?,
            load: connection.prepare(LOAD)?,
            load_paths: connection.prepare(LOAD_PATHS)?,
            has_paths: connection.prepare(HAS_PATHS)?.exists([])?,
        })
    }

    pub(super) fn put(&mut self, binding: &Binding) -> Result<(), Failure> {
        let owner = integer(binding.user.0)?;
        let flow = binding.datagram_flow;
        let put = self.put.execute(params![
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
            return Ok(());
        }
        if self.has_paths {
            self.remove_paths.execute(params![owner, binding.key])?;
        }
        self.has_paths |= !binding.path.is_empty();
        for (place, value) in (0i64..).zip(&binding.path) {
            self.put_path.execute(params![owner, binding.key, place, value])?;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, user: UserId, key: &str) -> Result<(), Failure> {
        self.remove.execute(params![integer(user.0)?, key])?;
        Ok(())
    }

    pub(super) fn remove_all(&mut self, user: UserId) -> Result<(), Failure> {
        self.remove_all.execute([integer(user.0)?])?;
        Ok(())
    }

    pub(super) fn load(&mut self, users: [i64; 2], records: &mut [UserRecord]) -> rusqlite::Result<()> {
        let mut owners = InOrder::new(records);
        let mut rows = self.load.query(users)?;
        while let Some(row) = rows.next()? {
            owners.record(natural(row, 0)?)?.bindings.push(binding(row)?);
        }
        let mut owners = InOrder::new(records);
        let mut rows = self.load_paths.query(users)?;
        while let Some(row) = rows.next()? {
            let bindings = &mut owners.record(natural(row, 0)?)?.bindings;
            let key = row.get_ref(1)?.as_str()?;
            let place = bindings.binary_search_by(|b| b.key.as_str().cmp(key));
            bindings[place.map_err(|_| damaged(1, "a path without binding"))?].path.push(row.get(2)?);
        }
        Ok(())
    }
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
