//! Accounts.

use directory::{DigestSecrets, Object, PermissionChange, Permissions, SipAddress, User, UserId, UserState};
use node::store::Outcome;
use records::{MailboxRecord, Sequence, UserRecord};
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::values::{address, damaged, integer, natural, role, role_text};
use crate::error::Failure;

const ADD: &str = "INSERT INTO users
        (id, address, display_name, state, role, ha1_md5, ha1_sha256, federation, remote_access, calls,
            tokens_since_unix_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING";
const ADD_MAILBOX: &str = "INSERT INTO mailboxes (owner) VALUES ($1)";
const SET_STATE: &str = "UPDATE users SET state = $1 WHERE id = $2";
const SET_PERMISSIONS: &str = "UPDATE users
    SET federation = coalesce($1, federation), remote_access = coalesce($2, remote_access),
        calls = coalesce($3, calls)
    WHERE id = $4";
const SET_SECRETS: &str = "UPDATE users SET ha1_md5 = $1, ha1_sha256 = $2 WHERE id = $3";
const NAME: &str = "UPDATE users SET address = $1, display_name = $2 WHERE id = $3";
const REVOKE_TOKENS: &str =
    "UPDATE users SET tokens_since_unix_ms = $1 WHERE id = $2 AND tokens_since_unix_ms < $1";
const IN_ADDRESS_BOOK: &str = "SELECT address, display_name FROM users
    WHERE id = $1 AND state = 'enabled' AND NOT EXISTS (SELECT 1 FROM directory_accounts WHERE owner = users.id)";
const REMOVE: &str = "DELETE FROM users WHERE id = $1";
const LOAD: &str = "SELECT id, address, display_name, state, role, ha1_md5, ha1_sha256, taken,
        CASE WHEN last_given > last_dropped THEN last_given ELSE last_dropped END, federation, remote_access, calls,
        tokens_since_unix_ms
    FROM (
        SELECT users.*, taken, last_dropped,
            coalesce((SELECT last_sequence FROM message_runs WHERE owner = users.id
                ORDER BY first_sequence DESC LIMIT 1), 0) AS last_given
        FROM users JOIN mailboxes ON mailboxes.owner = users.id
        WHERE users.id BETWEEN $1 AND $2) AS accounts
    ORDER BY id";

pub(super) struct Accounts<'c> {
    add: Statement<'c>,
    add_mailbox: Statement<'c>,
    set_state: Statement<'c>,
    set_permissions: Statement<'c>,
    set_secrets: Statement<'c>,
    name: Statement<'c>,
    revoke_tokens: Statement<'c>,
    in_address_book: Statement<'c>,
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
            name: connection.prepare(NAME)?,
            revoke_tokens: connection.prepare(REVOKE_TOKENS)?,
            in_address_book: connection.prepare(IN_ADDRESS_BOOK)?,
            remove: connection.prepare(REMOVE)?,
            load: connection.prepare(LOAD)?,
        })
    }

    /// The account alone: neither aliases nor what the directory says.
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
            user.permissions.calls,
            integer(user.tokens_since_unix_ms)?,
        ])?;
        if added == 0 {
            return Ok(Outcome::AlreadyThere);
        }
        self.add_mailbox.execute([id])?;
        Ok(Outcome::Applied)
    }

    /// Whether there is such a user.
    pub(super) fn set_state(&mut self, user: UserId, state: UserState) -> Result<bool, Failure> {
        Ok(self.set_state.execute(params![state_text(state), integer(user.0)?])? > 0)
    }

    pub(super) fn set_permissions(
        &mut self,
        user: UserId,
        permissions: PermissionChange,
    ) -> Result<(), Failure> {
        let PermissionChange { federation, remote_access, calls } = permissions;
        self.set_permissions.execute(params![federation, remote_access, calls, integer(user.0)?])?;
        Ok(())
    }

    pub(super) fn set_secrets(&mut self, user: UserId, secrets: &DigestSecrets) -> Result<(), Failure> {
        self.set_secrets.execute(params![secrets.md5, secrets.sha256, integer(user.0)?])?;
        Ok(())
    }

    pub(super) fn name(
        &mut self,
        user: i64,
        address: &SipAddress,
        display_name: &str,
    ) -> rusqlite::Result<()> {
        self.name.execute(params![address.as_str(), display_name, user])?;
        Ok(())
    }

    /// Never back.
    pub(super) fn revoke_tokens(&mut self, user: UserId, since_unix_ms: u64) -> Result<(), Failure> {
        self.revoke_tokens.execute([integer(since_unix_ms)?, integer(user.0)?])?;
        Ok(())
    }

    /// What the address book shows of a user, if that is an enabled local account.
    pub(super) fn local_object(&mut self, user: UserId) -> Result<Option<Object>, Failure> {
        let object = self.in_address_book.query_row([integer(user.0)?], |row| {
            Ok(Object::of_local(&User { display_name: row.get(1)?, ..User::local(user, address(row, 0)?) }))
        });
        Ok(object.optional()?)
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
        role: role(row, 4)?,
        permissions: Permissions {
            federation: row.get(9)?,
            remote_access: row.get(10)?,
            calls: row.get(11)?,
        },
        aliases: Vec::new(),
        account: None,
        tokens_since_unix_ms: natural(row, 12)?,
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
