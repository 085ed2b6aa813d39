//! Client certificates that sign users in.

use directory::{CertificateDigest, ClientCertificate, UserId};
use node::store::Outcome;
use records::UserRecord;
use rusqlite::{Connection, Statement, params};

use super::in_order::InOrder;
use super::values::{integer, natural, unless_gone};
use crate::error::Failure;

const ADD: &str = "INSERT INTO certificates (sha256, owner, expires_unix_ms) VALUES ($1, $2, $3)
    ON CONFLICT (sha256) DO NOTHING";
const REMOVE: &str = "DELETE FROM certificates WHERE sha256 = $1 AND owner = $2";
const REMOVE_ALL: &str = "DELETE FROM certificates WHERE owner = $1";
const LOAD: &str = "SELECT owner, sha256, expires_unix_ms FROM certificates WHERE owner BETWEEN $1 AND $2
    ORDER BY owner, sha256";

pub(super) struct Certificates<'c> {
    add: Statement<'c>,
    remove: Statement<'c>,
    remove_all: Statement<'c>,
    load: Statement<'c>,
}

impl<'c> Certificates<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Certificates<'c>> {
        Ok(Certificates {
            add: connection.prepare(ADD)?,
            remove: connection.prepare(REMOVE)?,
            remove_all: connection.prepare(REMOVE_ALL)?,
            load: connection.prepare(LOAD)?,
        })
    }

    pub(super) fn add(&mut self, user: UserId, certificate: &ClientCertificate) -> Result<Outcome, Failure> {
        let ClientCertificate { digest, expires_unix_ms } = certificate;
        let added = self.add.execute(params![digest.0, integer(user.0)?, integer(*expires_unix_ms)?]);
        Ok(match unless_gone(added)? {
            Some(0) => Outcome::AlreadyThere,
            Some(_) | None => Outcome::Applied,
        })
    }

    pub(super) fn remove(&mut self, user: UserId, digest: &CertificateDigest) -> Result<(), Failure> {
        self.remove.execute(params![digest.0, integer(user.0)?])?;
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
            let certificate = ClientCertificate {
                digest: CertificateDigest(row.get(1)?),
                expires_unix_ms: natural(row, 2)?,
            };
            owners.record(natural(row, 0)?)?.certificates.push(certificate);
        }
        Ok(())
    }
}
