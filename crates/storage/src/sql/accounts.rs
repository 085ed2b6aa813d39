//! Accounts.

use directory::{DigestSecrets, PermissionChange, Permissions, Role, User, UserId, UserState};
use node::store::Outcome;
use records::{MailboxRecord, Sequence, UserRecord};
use rusqlite::{Connection, Row, Statement, params};

use super::values::{address, damaged, integer, natural};
use crate::error::Failure;

const ADD: &str = "INSERT INTO users
        (id, address, display_name, state, role, ha1_md5, ha1_sha256, federation, remote_access)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
const ADD_MAILBOX: &str = "INSERT INTO mailboxes (owner) VALUES ($1)";
const SET_STATE: &str = "UPDATE users SET state = $1 WHERE id = $2";
const SET_PERMISSIONS: &str = "UPDATE users
    SET federation = coalesce($1, federation), remote_access = coalesce($2, remote_access) WHERE id = $3";
const SET_SECRETS: &str = "UPDATE users SET ha1_md5 = $1, ha1_sha256 = $2 WHERE id = $3";
const REMOVE: &str = "DELETE FROM users WHERE id = $1";
const LOAD: &str = "SELECT id, address, display_name, state, role, ha1_md5, ha1_sha256, taken,
        CASE WHEN last_given > last_dropped THEN last_given ELSE last_dropped END, federation, remote_access
    FROM (
        SELECT users.*, taken, last_dropped,
            coalesce((SELECT max(sequence) FROM message_places WHERE owner = users.id), 0) AS last_given
        FROM users JOIN mailboxes ON mailboxes.owner = users.id
        WHERE users.id BETWEEN $1 AND $2) AS accounts
    ORDER BY id";

pub(super) struct Accounts<'c> {
    add: Statement<'c>,
    add_mailbox: Statement<'c>,
    set_state: Statement<'c>,
    set_permissions: Statement<'c>,
    set_secrets: Statement<'c>,
    remove: Statement<'c>,
    load: Statement<'c>,
}

impl<'c> Accounts<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Accounts<'c>> {
        Ok(Accounts {
            add: connection.prepare(ADD)?,
            add_mailbox: connection.prepare(ADD_MAILBOX)?,
            set_state: connection.prepare(SET_STATE)?,
            set_permissions: connection.prepare(SET_PERMISSIONS)?,
            set_secrets: connection.prepare(SET_SECRETS)?,
            remove: connection.prepare(REMOVE)?,
            load: connection.prepare(LOAD)?,
        })
    }

    pub(super) fn add(&mut self, user: &User) -> Result<Outcome, Failure> {
        let id = integer(user.id.0)?;
        let secrets = user.secrets.as_ref();
        let added = self.add.execute(params![
            id,
            user.address.as_str(),
            user.display_name,
            state_text(user.state),
            role_text(user.role),
            secrets.map(|s| s.md5),
            secrets.map(|s| s.sha256),
            user.permissions.federation,
            user.permissions.remote_access,
        ])?;
        if added == 0 {
            return Ok(Outcome::AlreadyThere);
        }
        self.add_mailbox.execute([id])?;
        Ok(Outcome::Applied)
    }

    pub(super) fn set_state(&mut self, user: UserId, state: UserState) -> Result<(), Failure> {
        self.set_state.execute(params![state_text(state), integer(user.0)?])?;
        Ok(())
    }

    pub(super) fn set_permissions(
        &mut self,
        user: UserId,
        permissions: PermissionChange,
    ) -> Result<(), Failure> {
        let PermissionChange { federation, remote_access, .. } = permissions;
        self.set_permissions.execute(params![federation, remote_access, integer(user.0)?])?;
        Ok(())
    }

    pub(super) fn set_secrets(&mut self, user: UserId, secrets: &DigestSecrets) -> Result<(), Failure> {
        self.set_secrets.execute(params![secrets.md5, secrets.sha256, integer(user.0)?])?;
        Ok(())
    }

    /// And what refers to the user by a foreign key.
    pub(super) fn remove(&mut self, user: i64) -> rusqlite::Result<()> {
        self.remove.execute([user])?;
        Ok(())
    }

    pub(super) fn load(&mut self, users: [i64; 2]) -> rusqlite::Result<Vec<UserRecord>> {
        self.load.query_map(users, user_record)?.collect()
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
        permissions: Permissions { federation: row.get(9)?, remote_access: row.get(10)?, calls: true },
        aliases: Vec::new(),
        account: None,
        tokens_since_unix_ms: 0,
        secrets,
    };
    let mailbox = MailboxRecord {
        taken: Sequence(natural(row, 7)?),
        last: Sequence(natural(row, 8)?),
        cursors: Vec::new(),
    };
    Ok(UserRecord { mailbox, ..UserRecord::fresh(user) })
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
