//! What the organisation's directory says of accounts.

use directory::{DirectoryAccount, ObjectId, Permissions, Standing};
use records::UserRecord;
use rusqlite::{Connection, Row, Statement, params};

use super::in_order::InOrder;
use super::values::{damaged, natural, role, role_text};

const PUT: &str = "INSERT INTO directory_accounts
        (owner, object, standing, bind_name, sign_in_names, role, federation, remote_access, calls, expires_unix_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (owner) DO UPDATE SET object = excluded.object, standing = excluded.standing,
        bind_name = excluded.bind_name, sign_in_names = excluded.sign_in_names, role = excluded.role,
        federation = excluded.federation, remote_access = excluded.remote_access, calls = excluded.calls,
        expires_unix_ms = excluded.expires_unix_ms";
const LOAD: &str =
    "SELECT owner, object, standing, bind_name, sign_in_names, role, federation, remote_access, calls, expires_unix_ms
    FROM directory_accounts WHERE owner BETWEEN $1 AND $2 ORDER BY owner";

pub(super) struct DirectoryAccounts<'c> {
    put: Statement<'c>,
    load: Statement<'c>,
}

impl<'c> DirectoryAccounts<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<DirectoryAccounts<'c>> {
        Ok(DirectoryAccounts { put: connection.prepare(PUT)?, load: connection.prepare(LOAD)? })
    }

    pub(super) fn put(&mut self, user: i64, account: &DirectoryAccount) -> rusqlite::Result<()> {
        let DirectoryAccount {
            object,
            standing,
            bind_name,
            sign_in_names,
            role,
            permissions,
            expires_unix_ms,
        } = account;
        self.put.execute(params![
            user,
            object.0,
            standing.name(),
            bind_name,
            serde_json::to_string(sign_in_names).expect("texts are JSON"),
            role_text(*role),
            permissions.federation,
            permissions.remote_access,
            permissions.calls,
            // What no integer of the database holds is never.
            expires_unix_ms.and_then(|expires| i64::try_from(expires).ok()),
        ])?;
        Ok(())
    }

    pub(super) fn load(&mut self, users: [i64; 2], records: &mut [UserRecord]) -> rusqlite::Result<()> {
        let mut owners = InOrder::new(records);
        let mut rows = self.load.query(users)?;
        while let Some(row) = rows.next()? {
            owners.record(natural(row, 0)?)?.user.account = Some(Box::new(account(row)?));
        }
        Ok(())
    }
}

fn account(row: &Row<'_>) -> rusqlite::Result<DirectoryAccount> {
    let standing = Standing::from_name(row.get_ref(2)?.as_str()?);
    let sign_in_names = serde_json::from_str(row.get_ref(4)?.as_str()?);
    Ok(DirectoryAccount {
        object: ObjectId(row.get(1)?),
        standing: standing.ok_or_else(|| damaged(2, "an unknown standing"))?,
        bind_name: row.get(3)?,
        sign_in_names: sign_in_names.map_err(|_| damaged(4, "not a list of names"))?,
        role: role(row, 5)?,
        permissions: Permissions { federation: row.get(6)?, remote_access: row.get(7)?, calls: row.get(8)? },
        expires_unix_ms: row.get::<_, Option<i64>>(9)?.and_then(|expires| u64::try_from(expires).ok()),
    })
}
