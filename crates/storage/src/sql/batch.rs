//! Rows in bulk.

use rusqlite::{Connection, Statement};

/// Adds rows of so many columns, many with one statement.
pub(super) struct Batch<'c, const COLUMNS: usize> {
    one: Statement<'c>,
    many: Statement<'c>,
    rows_max: usize,
}

impl<'c, const COLUMNS: usize> Batch<'c, COLUMNS> {
    /// `target` is a table with its columns.
    pub(super) fn prepare(
        connection: &'c Connection,
        target: &str,
        rows_max: usize,
    ) -> rusqlite::Result<Batch<'c, COLUMNS>> {
        let prepare = |rows: usize| {
            let column = |n| format!("${n}");
            let row = |n| (COLUMNS * n + 1..=COLUMNS * (n + 1)).map(column).collect::<Vec<_>>().join(", ");
            let rows: Vec<String> = (0..rows).map(|n| format!("({})", row(n))).collect();
            connection.prepare(&format!("INSERT INTO {target} VALUES {}", rows.join(", ")))
        };
        Ok(Batch { one: prepare(1)?, many: prepare(rows_max)?, rows_max })
    }

    /// `bind` binds a row to parameters from the one with the given number onwards.
    pub(super) fn execute<R>(
        &mut self,
        rows: &[R],
        bind: impl Fn(&mut Statement<'c>, usize, &R) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut chunks = rows.chunks_exact(self.rows_max);
        for chunk in &mut chunks {
            for (index, row) in chunk.iter().enumerate() {
                bind(&mut self.many, COLUMNS * index + 1, row)?;
            }
            self.many.raw_execute()?;
        }
        for row in chunks.remainder() {
            bind(&mut self.one, 1, row)?;
            self.one.raw_execute()?;
        }
        Ok(())
    }
}
