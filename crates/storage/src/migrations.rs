//! Numbered SQL files, applied in order.
//!
//! `PRAGMA user_version` holds the number of the last one applied and changes in the same transaction as the tables,
//! so that a killed migration leaves the version before it. A file that was released never changes.

use rusqlite::{Connection, TransactionBehavior};

use crate::OpenError;
use crate::sql::{pack_calls, pack_rows};

/// From one version to the next.
#[derive(Clone, Copy)]
pub(crate) enum Migration {
    Sql(&'static str),
    /// Where what is in the tables must be read to be written: SQL before it and behind it.
    Code(&'static str, fn(&Connection) -> rusqlite::Result<()>, &'static str),
}

use Migration::{Code, Sql};

/// Version n is `MIGRATIONS[n - 1]`.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Sql(include_str!("../migrations/0001_home.sql")),
    Sql(include_str!("../migrations/0002_messages_in_order_of_arrival.sql")),
    Sql(include_str!("../migrations/0003_withdrawn_messages.sql")),
    Sql(include_str!("../migrations/0004_states_documents_calls.sql")),
    Sql(include_str!("../migrations/0005_ages_of_messages_in_blocks.sql")),
    Sql(include_str!("../migrations/0006_calls_in_order_of_arrival.sql")),
    Sql(include_str!("../migrations/0007_permissions_of_users.sql")),
    Sql(include_str!("../migrations/0008_certificates_of_users.sql")),
    Sql(include_str!("../migrations/0009_directory.sql")),
    Code(
        include_str!("../migrations/0010_messages_in_groups.sql"),
        pack_rows,
        include_str!("../migrations/0010_messages_in_groups_after.sql"),
    ),
    Sql(include_str!("../migrations/0011_listed_servers.sql")),
    Code(
        include_str!("../migrations/0012_calls_in_groups.sql"),
        pack_calls,
        include_str!("../migrations/0012_calls_in_groups_after.sql"),
    ),
];

/// Marks the file as ours in its header (`PRAGMA application_id`): "CHNC".
const APPLICATION_ID: i32 = 0x4348_4e43;

/// Which version the file has; 0 for a new file. Reads only.
///
/// # Errors
/// `Foreign` for another program's database, `Newer` for one that a later version of this program has written.
pub(crate) fn version(connection: &Connection, migrations: &[Migration]) -> Result<usize, OpenError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let application = number("application_id")?;
    let found = number("user_version")?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, usize::try_from(found)) {
        (0, Ok(0)) if objects == 0 => Ok(0),
        (APPLICATION_ID, Ok(found)) if (1..=migrations.len()).contains(&found) => Ok(found),
        (APPLICATION_ID, Ok(found)) if found > migrations.len() => {
            Err(OpenError::Newer { found, known: migrations.len() })
        }
        _ => Err(OpenError::Foreign),
    }
}

/// Brings a file from version `from` to the newest, each step in a transaction of its own.
pub(crate) fn migrate(
    connection: &mut Connection,
    from: usize,
    migrations: &[Migration],
) -> Result<(), OpenError> {
    for (index, migration) in migrations.iter().enumerate().skip(from) {
        let version = index + 1;
        step(connection, version, *migration).map_err(|source| match crate::error::classify(&source) {
            node::store::StoreError::Io(reason) => OpenError::Migration { version, reason },
            other => OpenError::from(other),
        })?;
        tracing::info!(version, "database migrated");
    }
    Ok(())
}

fn step(connection: &mut Connection, version: usize, migration: Migration) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match migration {
        Sql(sql) => transaction.execute_batch(sql)?,
        Code(before, code, after) => {
            transaction.execute_batch(before)?;
            code(&transaction)?;
            transaction.execute_batch(after)?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", i64::try_from(version).expect("few versions"))?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Sql("CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1);");
    const SECOND: Migration = Sql("ALTER TABLE a ADD COLUMN y INTEGER; UPDATE a SET y = x + 1;");
    const BROKEN: Migration = Sql("DELETE FROM a; CREATE TABLE a (z INTEGER);");

    #[test]
    fn steps_apply_once_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(version(&connection, &[FIRST]).unwrap(), 0);
        migrate(&mut connection, 0, &[FIRST]).unwrap();
        assert_eq!(version(&connection, &[FIRST, SECOND]).unwrap(), 1);
        migrate(&mut connection, 1, &[FIRST, SECOND]).unwrap();
        assert_eq!(version(&connection, &[FIRST, SECOND]).unwrap(), 2);
        let row: (i64, i64) = connection.query_row("SELECT x, y FROM a", [], |r| r.try_into()).unwrap();
        assert_eq!(row, (1, 2));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let error = migrate(&mut connection, 0, &[FIRST, BROKEN]).unwrap_err();
        assert!(matches!(error, OpenError::Migration { version: 2, .. }), "{error}");
        assert_eq!(version(&connection, &[FIRST, SECOND]).unwrap(), 1);
        let rows: i64 = connection.query_row("SELECT count(*) FROM a", [], |r| r.get(0)).unwrap();
        assert_eq!(rows, 1, "what the step deleted is back");
    }

    #[test]
    fn strange_and_newer_files_are_told_apart() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE a (x INTEGER) STRICT").unwrap();
        assert!(matches!(version(&connection, &[FIRST]), Err(OpenError::Foreign)));
        connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, 0, &[FIRST, SECOND]).unwrap();
        assert!(matches!(version(&connection, &[FIRST]), Err(OpenError::Newer { found: 2, known: 1 })));
    }
}
