//! The objects of the organisation's directory, with what they were, and their photos.

use directory::{Object, ObjectId, PhotoDigest};
use records::{ObjectRow, Revision};
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::values::{bound, damaged, integer, natural};
use crate::error::Failure;

const LAST_REVISION: &str = "SELECT CASE WHEN newest > last_revision THEN newest ELSE last_revision END
    FROM replication, (SELECT coalesce(max(revision), 0) AS newest FROM objects) AS given";
const NEWEST: &str = "SELECT content FROM objects WHERE object = $1 ORDER BY revision DESC LIMIT 1";
// The earliest time counts, also where the clock was set back: no row outlives one of the same object behind it.
const PASS: &str = "UPDATE objects SET past_unix_ms = $1
    WHERE object = $2 AND (past_unix_ms IS NULL OR past_unix_ms > $1)";
const ADD: &str = "INSERT INTO objects
        (revision, object, at_unix_ms, past_unix_ms, kind, address, display_name, photo, content)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const PAGE: &str = "SELECT revision, at_unix_ms, object, content FROM objects
    WHERE revision > $1 ORDER BY revision LIMIT $2";
// Of an object the oldest rows first: what is left of it, halfway, still ends with what became of it. The last row of all stays: who
// reads the rows sees by the gaps before it what was dropped.
const PRUNE: &str = "DELETE FROM objects WHERE revision IN (
        SELECT revision FROM objects WHERE past_unix_ms < $1 AND revision < (SELECT max(revision) FROM objects)
        ORDER BY past_unix_ms, revision LIMIT $2)";
const REMEMBER_LAST: &str = "UPDATE replication SET last_revision = $1 WHERE last_revision < $1";
const PUT_PHOTO: &str = "INSERT INTO photos (sha256, octets) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING";
const PHOTO: &str = "SELECT octets FROM photos WHERE sha256 = $1";
const PHOTOS: &str = "SELECT sha256, EXISTS (SELECT 1 FROM objects WHERE objects.photo = photos.sha256)
    FROM photos WHERE sha256 > $1 ORDER BY sha256 LIMIT $2";
const DROP_PHOTO: &str = "DELETE FROM photos WHERE sha256 = $1";

pub(super) struct Objects<'c> {
    newest: Statement<'c>,
    pass: Statement<'c>,
    add: Statement<'c>,
    page: Statement<'c>,
    prune: Statement<'c>,
    remember_last: Statement<'c>,
    put_photo: Statement<'c>,
    photo: Statement<'c>,
    photos: Statement<'c>,
    drop_photo: Statement<'c>,
    /// The highest revision that was given.
    last: i64,
    /// As it was when the transaction began.
    last_durable: i64,
    /// Through which photo pruning has looked whether they are shown still; empty: it has not begun.
    looked_through: Vec<u8>,
}

/// What the newest row of an object says.
#[derive(PartialEq, Eq)]
enum Newest {
    /// There is none.
    Nothing,
    /// It is no more.
    Gone,
    /// It is what it shall be.
    Same,
    Other,
}

impl<'c> Objects<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Objects<'c>> {
        let last = connection.query_row(LAST_REVISION, [], |row| row.get(0))?;
        Ok(Objects {
            newest: connection.prepare(NEWEST)?,
            pass: connection.prepare(PASS)?,
            add: connection.prepare(ADD)?,
            page: connection.prepare(PAGE)?,
            prune: connection.prepare(PRUNE)?,
            remember_last: connection.prepare(REMEMBER_LAST)?,
            put_photo: connection.prepare(PUT_PHOTO)?,
            photo: connection.prepare(PHOTO)?,
            photos: connection.prepare(PHOTOS)?,
            drop_photo: connection.prepare(DROP_PHOTO)?,
            last,
            last_durable: last,
            looked_through: Vec::new(),
        })
    }

    /// The transaction is durable.
    pub(super) fn committed(&mut self) {
        self.last_durable = self.last;
    }

    /// Where a savepoint may return to.
    pub(super) fn mark(&self) -> i64 {
        self.last
    }

    /// What the transaction did since the mark was rolled back; 0 is its beginning.
    pub(super) fn rolled_back_to(&mut self, mark: i64) {
        self.last = mark.max(self.last_durable);
        self.looked_through.clear();
    }

    pub(super) fn put(&mut self, object: &Object, at_unix_ms: u64) -> Result<(), Failure> {
        let content = serde_json::to_string(object).expect("an object is JSON");
        match self.newest(object, &content)? {
            Newest::Same => Ok(()),
            newest => self.add(object.id, Some((object, content)), newest, at_unix_ms),
        }
    }

    pub(super) fn remove(&mut self, id: ObjectId, at_unix_ms: u64) -> Result<(), Failure> {
        let is_there = |row: &Row<'_>| Ok(row.get_ref(0)?.as_str_or_null()?.is_some());
        match self.newest.query_row([id.0], is_there).optional()? {
            Some(true) => self.add(id, None, Newest::Other, at_unix_ms),
            Some(false) | None => Ok(()),
        }
    }

    pub(super) fn put_photo(&mut self, digest: PhotoDigest, octets: &[u8]) -> rusqlite::Result<()> {
        self.put_photo.execute(params![digest.0, octets])?;
        Ok(())
    }

    /// Rows behind a revision.
    pub(super) fn page(&mut self, after: Revision, limit: u32) -> rusqlite::Result<Vec<ObjectRow>> {
        self.page.query_map((bound(after.0), limit), object_row)?.collect()
    }

    pub(super) fn photo(&mut self, digest: PhotoDigest) -> rusqlite::Result<Option<Vec<u8>>> {
        self.photo.query_row([digest.0], |row| row.get(0)).optional()
    }

    /// Drops rows that were history by then, at most so many, and then photos that none of those left shows; whether there may
    /// be more to do.
    pub(super) fn prune(&mut self, before_unix_ms: u64, rows_max: usize) -> rusqlite::Result<bool> {
        let rows_max = rows_max as i64;
        if self.prune.execute([bound(before_unix_ms), rows_max])? > 0 {
            self.remember_last.execute([self.last])?;
            self.looked_through.clear();
            return Ok(true);
        }
        let photo = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let photos = self.photos.query_map(params![self.looked_through, rows_max], photo)?;
        let photos: Vec<(Vec<u8>, bool)> = photos.collect::<rusqlite::Result<_>>()?;
        for (digest, _) in photos.iter().filter(|(_, is_shown)| !is_shown) {
            self.drop_photo.execute([digest])?;
        }
        self.looked_through = photos.into_iter().next_back().map(|(digest, _)| digest).unwrap_or_default();
        Ok(!self.looked_through.is_empty())
    }

    fn newest(&mut self, object: &Object, content: &str) -> Result<Newest, Failure> {
        let newest = self.newest.query_row([object.id.0], |row| {
            let newest = row.get_ref(0)?.as_str_or_null()?;
            Ok(match newest {
                None => Newest::Gone,
                Some(newest) if newest == content => Newest::Same,
                // What an earlier version of this program wrote may be the same in other words.
                Some(newest) if parse(newest, 0)? == *object => Newest::Same,
                Some(_) => Newest::Other,
            })
        });
        Ok(newest.optional()?.unwrap_or(Newest::Nothing))
    }

    fn add(
        &mut self,
        id: ObjectId,
        object: Option<(&Object, String)>,
        newest: Newest,
        at_unix_ms: u64,
    ) -> Result<(), Failure> {
        let at_unix_ms = integer(at_unix_ms)?;
        if newest != Newest::Nothing {
            self.pass.execute(params![at_unix_ms, id.0])?;
        }
        self.last += 1;
        let past_unix_ms = object.is_none().then_some(at_unix_ms);
        let (object, content) = object.unzip();
        self.add.execute(params![
            self.last,
            id.0,
            at_unix_ms,
            past_unix_ms,
            object.map(|object| object.kind.name()),
            object.and_then(|object| object.address.as_ref()).map(|address| address.as_str()),
            object.map(|object| &object.card.display_name),
            object.and_then(|object| object.photo).map(|photo| photo.0),
            content,
        ])?;
        Ok(())
    }
}

fn object_row(row: &Row<'_>) -> rusqlite::Result<ObjectRow> {
    let object = row.get_ref(3)?.as_str_or_null()?.map(|content| parse(content, 3)).transpose()?;
    Ok(ObjectRow {
        revision: Revision(natural(row, 0)?),
        at_unix_ms: natural(row, 1)?,
        id: ObjectId(row.get(2)?),
        object: object.map(Box::new),
    })
}

fn parse(content: &str, column: usize) -> rusqlite::Result<Object> {
    serde_json::from_str(content).map_err(|_| damaged(column, "not an object"))
}
