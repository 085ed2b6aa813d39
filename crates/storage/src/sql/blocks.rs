//! Old rows of a table in order of arrival, found by blocks of rows instead of by an index that each row writes to: rows
//! arrive nearly in the order of their ages, so that few blocks are read in vain.

use rusqlite::{Connection, OptionalExtension, Row, Statement};

use super::batch::Batch;
use crate::tail::Block;

/// Blocks are added some at a time, by a merge of the tail.
const STATEMENT_ROWS: usize = 32;

/// The tables and their columns.
pub(super) struct Names {
    /// With the columns of [`Block`].
    pub(super) blocks: &'static str,
    pub(super) first: &'static str,
    pub(super) last: &'static str,
    /// Whose rows they are.
    pub(super) rows: &'static str,
    /// Its place in the order of arrival.
    pub(super) arrival: &'static str,
    /// Its age.
    pub(super) time: &'static str,
}

pub(super) struct Blocks<'c> {
    add: Batch<'c, 3>,
    oldest: Statement<'c>,
    age: Statement<'c>,
    set_age: Statement<'c>,
    drop: Statement<'c>,
}

impl<'c> Blocks<'c> {
    pub(super) fn prepare(connection: &'c Connection, names: &Names) -> rusqlite::Result<Blocks<'c>> {
        let Names { blocks, first, last, rows, arrival, time } = names;
        let prepare = |sql: String| connection.prepare(&sql);
        Ok(Blocks {
            add: Batch::prepare(
                connection,
                &format!("{blocks} ({first}, {last}, oldest_unix_ms)"),
                STATEMENT_ROWS,
            )?,
            oldest: prepare(format!(
                "SELECT {first}, {last} FROM {blocks} WHERE oldest_unix_ms < $1
                ORDER BY oldest_unix_ms, {first} LIMIT 1"
            ))?,
            age: prepare(format!(
                "SELECT min({time}) FROM {rows} WHERE {arrival} BETWEEN $1 AND $2 AND {time} >= $3"
            ))?,
            set_age: prepare(format!("UPDATE {blocks} SET oldest_unix_ms = $1 WHERE {first} = $2"))?,
            drop: prepare(format!("DELETE FROM {blocks} WHERE {first} = $1"))?,
        })
    }

    pub(super) fn add(&mut self, blocks: &[Block]) -> rusqlite::Result<()> {
        self.add.execute(blocks, |statement, first, block| {
            statement.raw_bind_parameter(first, block.first)?;
            statement.raw_bind_parameter(first + 1, block.last)?;
            statement.raw_bind_parameter(first + 2, block.oldest_unix_ms)
        })
    }

    /// The block that holds the oldest row, if that is from before then: its first row and its last.
    pub(super) fn oldest(&mut self, before_unix_ms: i64) -> rusqlite::Result<Option<(i64, i64)>> {
        let block = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        self.oldest.query_row([before_unix_ms], block).optional()
    }

    /// Nothing in the block is older than `before_unix_ms`, when what was found is dropped.
    pub(super) fn age(&mut self, first: i64, last: i64, before_unix_ms: i64) -> rusqlite::Result<()> {
        let rest: Option<i64> = self.age.query_row([first, last, before_unix_ms], |row| row.get(0))?;
        match rest {
            Some(oldest) => self.set_age.execute([oldest, first])?,
            None => self.drop.execute([first])?,
        };
        Ok(())
    }
}
