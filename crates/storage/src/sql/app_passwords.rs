//! App passwords.

use directory::{AppPassword, DigestSecrets, Purpose, UserId};
use node::store::Outcome;
use records::UserRecord;
use rusqlite::{Connection, Row, Statement, params};

use super::in_order::InOrder;
use super::values::{damaged, integer, natural, unless_gone};
use crate::error::Failure;

const ADD: &str = "INSERT INTO app_passwords
        (username, owner, purpose, label, ha1_md5, ha1_sha256, created_unix_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (username) DO NOTHING";
const REMOVE: &str = "DELETE FROM app_passwords WHERE username = $1 AND owner = $2";
const REMOVE_ALL: &str = "DELETE FROM app_passwords WHERE owner = $1";
const LOAD: &str =
    "SELECT owner, username, purpose, label, ha1_md5, ha1_sha256, created_unix_ms FROM app_passwords
    WHERE owner BETWEEN $1 AND $2 ORDER BY owner, username";

pub(super) struct AppPasswords<'c> {
    add: Statement<'c>,
    remove: Statement<'c>,
    remove_all: Statement<'c>,
    load: Statement<'c>,
}

impl<'c> AppPasswords<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<AppPasswords<'c>> {
        Ok(AppPasswords {
            add: connection.prepare(ADD)?,
            remove: connection.prepare(REMOVE)?,
            remove_all: connection.prepare(REMOVE_ALL)?,
            load: connection.prepare(LOAD)?,
        })
    }

    pub(super) fn add(&mut self, user: UserId, password: &AppPassword) -> Result<Outcome, Failure> {
        let AppPassword { username, purpose, label, secrets, created_unix_ms } = password;
        let added = self.add.execute(params![
            username,
            integer(user.0)?,
            purpose.name(),
            label,
            secrets.md5,
            secrets.sha256,
            integer(*created_unix_ms)?,
        ]);
        Ok(match unless_gone(added)? {
            Some(0) => Outcome::AlreadyThere,
            Some(_) | None => Outcome::Applied,
        })
    }

    pub(super) fn remove(&mut self, user: UserId, username: &str) -> Result<(), Failure> {
        self.remove.execute(params![username, integer(user.0)?])?;
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
            owners.record(natural(row, 0)?)?.app_passwords.push(app_password(row)?);
        }
        Ok(())
    }
}

fn app_password(row: &Row<'_>) -> rusqlite::Result<AppPassword> {
    let purpose = Purpose::from_name(row.get_ref(2)?.as_str()?);
    Ok(AppPassword {
        username: row.get(1)?,
        purpose: purpose.ok_or_else(|| damaged(2, "an unknown purpose"))?,
        label: row.get(3)?,
        secrets: DigestSecrets { md5: row.get(4)?, sha256: row.get(5)? },
        created_unix_ms: natural(row, 6)?,
    })
}
