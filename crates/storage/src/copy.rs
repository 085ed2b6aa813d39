//! Copies of a database that is in use, and proof that a copy is whole.
//!
//! A copy is made page by page out of one read transaction, on a connection of its own: it is the database as it stood
//! when the copy began. The writer goes on meanwhile. Only its log cannot be emptied until the copy is complete, and
//! grows by what is written in that time.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::call_pack;
use crate::pack::{self, Record};
use crate::{BUSY_TIMEOUT, OpenError, io_error, migrations};

/// Pages in one step: 4 MiB, some 5 ms of work, so that a step is no burst for the disk.
const STEP_PAGES: i32 = 1_024;
/// Rows of damage that are told. One is enough to know; some more help to see where.
const TOLD_MAX: usize = 5;

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Octets that are copied.
    pub done: u64,
    /// Octets in all.
    pub total: u64,
}

/// What is in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The version of its tables: how many migrations it has seen.
    pub schema: usize,
    /// Accounts.
    pub users: u64,
    /// Messages in all mailboxes, those taken and withdrawn too.
    pub messages: u64,
    /// Documents of all users.
    pub documents: u64,
    /// Entries in all call logs.
    pub calls: u64,
}

/// Why there is no copy. What was begun of it is left behind, for the caller to remove.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The progress was answered with a break.
    #[error("the copy was given up")]
    GivenUp,
    /// The database cannot be read.
    #[error("the database cannot be read: {0}")]
    Source(OpenError),
    /// The copy cannot be written.
    #[error("the copy cannot be written: {0}")]
    Target(OpenError),
}

/// Copies the database at `source`, which may be in use, to the new file `target`, readable by its owner alone. When
/// this returns, the copy is on the disk, in one file without log; the name in its folder is the caller's to make
/// durable. `watch` hears of each step, between steps: it may take its time, so that others have the disk, and may end it.
///
/// # Errors
/// See [`CopyError`].
pub fn copy(
    source: &Path,
    target: &Path,
    mut watch: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Contents, CopyError> {
    let from = open(source).and_then(|from| {
        if migrations::version(&from, migrations::MIGRATIONS)? == 0 {
            return Err(OpenError::Foreign);
        }
        // The transaction begins with the first read, and stays at that moment.
        from.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
        Ok(from)
    });
    let from = from.map_err(CopyError::Source)?;
    let mut to = create(target).map_err(CopyError::Target)?;
    copy_pages(&from, &mut to, &mut watch)?;
    finish(to, target).map_err(CopyError::Target)
}

fn copy_pages(
    from: &Connection,
    to: &mut Connection,
    watch: &mut impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), CopyError> {
    let page_octets = from.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0));
    let page_octets = page_octets.map_err(|error| CopyError::Source(error.into()))?.unsigned_abs();
    let octets = |pages: i32| u64::from(pages.unsigned_abs()) * page_octets;
    let backup = Backup::new(from, to).map_err(|error| CopyError::Target(error.into()))?;
    loop {
        let step = backup.step(STEP_PAGES).map_err(|error| match OpenError::from(error) {
            corrupt @ OpenError::Corrupt(_) => CopyError::Source(corrupt),
            other => CopyError::Target(other),
        })?;
        let pages = backup.progress();
        let progress =
            Progress { done: octets(pages.pagecount - pages.remaining), total: octets(pages.pagecount) };
        if watch(progress).is_break() {
            return Err(CopyError::GivenUp);
        }
        // Nobody else has the copy, and a reader waits for no writer: what was busy is tried again.
        if step == StepResult::Done {
            return Ok(());
        }
    }
}

/// The copy says that it has a write-ahead log, as the database does; it gets one again when it is opened.
fn finish(copied: Connection, target: &Path) -> Result<Contents, OpenError> {
    let mode: String = copied.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("delete") {
        return Err(OpenError::Io(format!("its log cannot be folded in (mode {mode})")));
    }
    let contents = contents(&copied)?;
    copied.close().map_err(|(_, error)| OpenError::from(error))?;
    File::open(target).and_then(|file| file.sync_all()).map_err(|error| io_error(target, &error))?;
    Ok(contents)
}

/// Reads all of a database that nobody uses, and looks for damage: in the pages, in the indices, between the tables.
/// Nothing is changed; a database of an older version stays one.
///
/// # Errors
/// `Corrupt` with what was found; the others as when it is opened.
pub fn prove(path: &Path) -> Result<Contents, OpenError> {
    crate::check_magic(path)?;
    let connection = open(path)?;
    let contents = contents(&connection)?;
    let told = |sql: &str| {
        let mut rows = connection.prepare(sql)?;
        let rows = rows.query_map([], |row| row.get::<_, String>(0))?.take(TOLD_MAX);
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    let damage = told("PRAGMA integrity_check")?;
    if damage != ["ok"] {
        return Err(OpenError::Corrupt(damage.join("; ")));
    }
    let strays = told("SELECT \"table\" FROM pragma_foreign_key_check()")?;
    if let Some(table) = strays.first() {
        return Err(OpenError::Corrupt(format!("rows of the table {table} belong to nothing")));
    }
    // No foreign key says this of messages and calls. Those of older versions have rows of their own.
    let users = users(&connection)?;
    if exists(&connection, "message_groups")? {
        prove_groups(&connection, "messages", |content| prove_messages(content, &users))?;
    }
    if exists(&connection, "call_groups")? {
        prove_groups(&connection, "calls", |content| prove_calls(content, &users))?;
    }
    for table in ["messages", "calls"] {
        if !exists(&connection, table)? {
            continue;
        }
        let owners =
            format!("SELECT CAST(owner AS TEXT) FROM {table} WHERE owner NOT IN (SELECT id FROM users)");
        if let Some(owner) = told(&owners)?.first() {
            let reason = format!("there are {table} of the user {owner}, and no such user");
            return Err(OpenError::Corrupt(reason));
        }
    }
    Ok(contents)
}

fn users(connection: &Connection) -> rusqlite::Result<BTreeSet<i64>> {
    let mut users = connection.prepare("SELECT id FROM users")?;
    users.query_map([], |row| row.get(0))?.collect()
}

/// Each group of `what` can be read, and what it holds is some user's: `prove` says whose it is otherwise.
fn prove_groups(
    connection: &Connection,
    what: &str,
    prove: impl Fn(&[u8]) -> Result<Option<i64>, pack::Damaged>,
) -> Result<(), OpenError> {
    let table = what.strip_suffix('s').unwrap_or(what);
    let mut groups = connection.prepare(&format!("SELECT id, content FROM {table}_groups"))?;
    let mut rows = groups.query([])?;
    while let Some(row) = rows.next()? {
        let strange = prove(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?);
        let strange = strange.map_err(|pack::Damaged| {
            let group = row.get::<_, i64>(0).unwrap_or_default();
            OpenError::Corrupt(format!("the group of {what} {group} cannot be read"))
        })?;
        if let Some(owner) = strange {
            let reason = format!("there are {what} of the user {owner}, and no such user");
            return Err(OpenError::Corrupt(reason));
        }
    }
    Ok(())
}

/// Whose message is among these that is no user.
fn prove_messages(content: &[u8], users: &BTreeSet<i64>) -> Result<Option<i64>, pack::Damaged> {
    for record in pack::records(content) {
        if let (_, Record::Message(message)) = record?
            && !users.contains(&message.owner)
        {
            return Ok(Some(message.owner));
        }
    }
    Ok(None)
}

/// Whose call is among these that is no user.
fn prove_calls(content: &[u8], users: &BTreeSet<i64>) -> Result<Option<i64>, pack::Damaged> {
    for call in call_pack::calls(content) {
        let (_, call) = call?;
        if !users.contains(&call.owner) {
            return Ok(Some(call.owner));
        }
    }
    Ok(None)
}

fn open(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
    Ok(connection)
}

/// What happens to a copy that is not finished does not matter, so that it needs no journal.
fn create(path: &Path) -> Result<Connection, OpenError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    drop(file.map_err(|error| io_error(path, &error))?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = OFF")?;
    Ok(connection)
}

fn contents(connection: &Connection) -> Result<Contents, OpenError> {
    let schema = migrations::version(connection, migrations::MIGRATIONS)?;
    if schema == 0 {
        return Err(OpenError::Foreign);
    }
    let count = |table: &str| {
        if !exists(connection, table)? {
            return Ok(0);
        }
        let counted = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
        counted.map(i64::unsigned_abs).map_err(OpenError::from)
    };
    // Packed, they are counted in their groups.
    let sum = |sql: &str| {
        let summed = connection.query_row(sql, [], |row| row.get(0));
        summed.map(i64::unsigned_abs).map_err(OpenError::from)
    };
    let messages = match exists(connection, "message_groups")? {
        true => sum("SELECT coalesce(sum(messages), 0) FROM message_groups")?,
        false => count("messages")?,
    };
    let calls = match exists(connection, "call_groups")? {
        true => sum("SELECT coalesce(sum(calls), 0) FROM call_groups")?,
        false => count("calls")?,
    };
    Ok(Contents { schema, users: count("users")?, messages, documents: count("documents")?, calls })
}

/// Older versions know fewer tables.
fn exists(connection: &Connection, table: &str) -> Result<bool, OpenError> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1";
    let count: i64 = connection.query_row(sql, [table], |row| row.get(0))?;
    Ok(count > 0)
}
