//! Documents that users keep.

use directory::UserId;
use records::{Document, UserRecord};
use rusqlite::{Connection, Statement, params};

use super::in_order::InOrder;
use super::values::{integer, natural, unless_gone};
use crate::error::Failure;

const PUT: &str = "INSERT INTO documents (owner, application, name, etag, body) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (owner, application, name) DO UPDATE SET etag = excluded.etag, body = excluded.body";
const REMOVE: &str = "DELETE FROM documents WHERE owner = $1 AND application = $2 AND name = $3";
const LOAD: &str = "SELECT owner, application, name, etag, body FROM documents WHERE owner BETWEEN $1 AND $2
    ORDER BY owner, application, name";

pub(super) struct Documents<'c> {
    put: Statement<'c>,
    remove: Statement<'c>,
    load: Statement<'c>,
}

impl<'c> Documents<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Documents<'c>> {
        Ok(Documents {
            put: connection.prepare(PUT)?,
            remove: connection.prepare(REMOVE)?,
            load: connection.prepare(LOAD)?,
        })
    }

    pub(super) fn put(&mut self, document: &Document) -> Result<(), Failure> {
        let Document { owner, application, name, etag, body } = document;
        let put = self.put.execute(params![integer(owner.0)?, application, name, etag, body]);
        unless_gone(put)?;
        Ok(())
    }

    pub(super) fn remove(&mut self, owner: UserId, application: &str, name: &str) -> Result<(), Failure> {
        self.remove.execute(params![integer(owner.0)?, application, name])?;
        Ok(())
    }

    pub(super) fn load(&mut self, users: [i64; 2], records: &mut [UserRecord]) -> rusqlite::Result<()> {
        let mut owners = InOrder::new(records);
        let mut rows = self.load.query(users)?;
        while let Some(row) = rows.next()? {
            let owner = UserId(natural(row, 0)?);
            owners.record(owner.0)?.documents.push(Document {
                owner,
                application: row.get(1)?,
                name: row.get(2)?,
                etag: row.get(3)?,
                body: row.get(4)?,
            });
        }
        Ok(())
    }
}
