//! A step of replication, over all tables that it changes.

use std::collections::BTreeSet;

use directory::{ObjectId, Standing, User, UserId};
use node::store::Outcome;
use records::memory::Refused;
use records::{DirectoryUser, ListedServer, ObjectChange, Replication};
use rusqlite::{Connection, Statement};

use super::Statements;
use super::values::integer;
use crate::error::Failure;

const STATE: &str = "SELECT state FROM replication";
const SET_STATE: &str = "UPDATE replication SET state = $1";

const SERVERS: &str = "SELECT host, role FROM listed_servers ORDER BY host, role";
const NO_SERVERS: &str = "DELETE FROM listed_servers";
const ADD_SERVER: &str = "INSERT INTO listed_servers (host, role) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// How far the directory was read, and which servers it lists.
pub(super) struct ReplicationState<'c> {
    read: Statement<'c>,
    write: Statement<'c>,
    servers: Statement<'c>,
    no_servers: Statement<'c>,
    add_server: Statement<'c>,
}

impl<'c> ReplicationState<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<ReplicationState<'c>> {
        Ok(ReplicationState {
            read: connection.prepare(STATE)?,
            write: connection.prepare(SET_STATE)?,
            servers: connection.prepare(SERVERS)?,
            no_servers: connection.prepare(NO_SERVERS)?,
            add_server: connection.prepare(ADD_SERVER)?,
        })
    }

    pub(super) fn read(&mut self) -> rusqlite::Result<Option<Vec<u8>>> {
        self.read.query_row([], |row| row.get(0))
    }

    pub(super) fn servers(&mut self) -> rusqlite::Result<Vec<ListedServer>> {
        let rows =
            self.servers.query_map([], |row| Ok(ListedServer { host: row.get(0)?, role: row.get(1)? }))?;
        rows.collect()
    }

    fn list(&mut self, servers: &[ListedServer]) -> rusqlite::Result<()> {
        self.no_servers.execute([])?;
        for ListedServer { host, role } in servers {
            self.add_server.execute([host, role])?;
        }
        Ok(())
    }
}

impl Statements<'_> {
    /// A failure leaves what it did to a savepoint.
    pub(super) fn replicate(&mut self, replication: &Replication) -> Result<Outcome, Failure> {
        let Replication { users, objects, photos, servers, state, at_unix_ms } = replication;
        let ids: BTreeSet<UserId> = users.iter().map(|user| user.id).collect();
        if ids.len() < users.len() {
            return Err(Failure::refused(Refused::UserTwice));
        }
        // Addresses may go round among the accounts of one step, so that all are taken away before any is given.
        let mut are_known = Vec::with_capacity(users.len());
        for user in users {
            are_known.push(self.addresses.take(integer(user.id.0)?, &user.address)?);
        }
        for (user, is_known) in users.iter().zip(are_known) {
            self.replicate_user(user, is_known, *at_unix_ms)?;
        }
        for (digest, octets) in photos {
            self.objects.put_photo(*digest, octets)?;
        }
        for object in objects {
            match object {
                ObjectChange::Put(object) => self.objects.put(object, *at_unix_ms)?,
                ObjectChange::Remove(id) => self.objects.remove(*id, *at_unix_ms)?,
            }
        }
        if let Some(servers) = servers {
            self.replication_state.list(servers)?;
        }
        if let Some(state) = state {
            self.replication_state.write.execute([state])?;
        }
        Ok(Outcome::Applied)
    }

    fn replicate_user(
        &mut self,
        user: &DirectoryUser,
        is_known: bool,
        at_unix_ms: u64,
    ) -> Result<(), Failure> {
        let DirectoryUser { id, address, aliases, display_name, account } = user;
        let key = integer(id.0)?;
        for own in aliases.iter().chain([address]) {
            if self.addresses.owner(own)?.is_some_and(|owner| owner != key) {
                return Err(Failure::refused(Refused::AddressTaken));
            }
        }
        if is_known {
            self.accounts.name(key, address, display_name)?;
        } else {
            let user = User::local(*id, address.clone());
            self.accounts.add(&User { display_name: display_name.clone(), ..user })?;
        }
        self.addresses.add_aliases(key, address, aliases)?;
        self.directory_accounts.put(key, account)?;
        // A local account that the directory took over has one object, the directory's.
        self.objects.remove(ObjectId::of_local(*id), at_unix_ms)?;
        if account.standing != Standing::Active {
            self.bindings.remove_all(*id)?;
            self.accounts.revoke_tokens(*id, at_unix_ms)?;
        }
        if account.standing.ends_credentials() {
            self.app_passwords.remove_all(*id)?;
            self.certificates.remove_all(*id)?;
        }
        Ok(())
    }
}
