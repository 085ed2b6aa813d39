//! Durable state in SQLite behind the interface of the records crate.
//!
//! What this crate is: a [`node::store::Store`] that translates the changes and queries of [`records`] to relational
//! tables. An administrator can read the tables with SQL while the server runs (`migrations/` explains them; messages and call logs are packed, see
//! below). What it is not: it knows no role and no SIP, and decides nothing; what a change means is defined by
//! [`records::memory::Tables`], and a test drives both with the same changes.
//!
//! # One writer
//!
//! ```text
//! node ── submit ──▶ bounded queue ──▶ writer thread: BEGIN, all changes in order, COMMIT ──▶ sink (one call)
//! ```
//!
//! One thread owns the database. It takes what has gathered in the queue as a group, applies it in one transaction and
//! hands all completions over after the commit, in the order of submission, queries included. A commit costs some
//! 50 µs of CPU and a wait for the disk, so groups are worth a little patience ([`Options::commit_interval`]): a change
//! after a pause is committed at once, those of a steady stream together. Changes that nobody waits for
//! ([`node::store::Urgency::Soon`]) ride along.
//!
//! # Groups, and the tail
//!
//! What a message costs (`examples/append.rs` measures it) is first of all rows and pages: each row goes through SQLite's machine,
//! each page that was touched into the log as a whole. So the messages of a commit, and the marks and cursors that moved in it,
//! are one row, or one for each 16 KiB of them, at the end of one table, and nothing else (module `pack`). Beside its
//! own octets a message then costs a tenth of a row and little more than its share of three pages: the end of the table before
//! and behind the commit, and the head of the file.
//!
//! The index by owner, in which each message has a random place, learns of messages some thousand at a time, in the order of its
//! keys ([`Options::tail_messages`]), and keeps some neighbours of a mailbox in a row, eight octets for each. Until then the newest
//! messages, the tail, are found in memory. Marks and cursors are in memory too, and written where they belong with the same
//! merge, the last place of each. A merge goes in steps between groups; one that was killed begins again, because the tail is
//! what lies behind a number that the last step writes.
//!
//! Whether a message is known already is asked of the tail, then of filters in memory (module `known`), and of the index only
//! where these say that it may be. The index knows four octets of each identity; whether it is the one tells the message.
//!
//! Nor is there an index of ages. A merge writes of each 64 groups that arrived together which message was received first,
//! and pruning reads those that hold old ones. A message that is dropped becomes zeros in its row, which goes with its last message.
//!
//! Call logs are kept in the same way, in tables of their own: groups (module `call_pack`), a tail, and an index that keeps some
//! neighbours of a log in a row. Whether a call is known needs no filter: a fresh one began after all that the index knows, or
//! nearly all; and the index knows all of its identity.
//!
//! The highest sequence of a mailbox is not written at all: it is read from the index, and pruning remembers what it drops.
//!
//! # The directory
//!
//! A step of replication ([`records::Replication`]) is one change like the others, over some tables: 500 accounts with their
//! objects take 10 ms (`examples/replicate.rs` measures it), which is what a message may wait for it. Each change of an object
//! is a row of its own with all that is known then, numbered in the order of the changes; rows that were followed stay as
//! history until they are pruned. A photo stands there once, whoever shows it.
//!
//! # Failure
//!
//! A change that fails by itself fails alone. Where the world fails (a full disk, a damaged file) the whole group fails
//! and leaves nothing behind; the next group tries again, so that storage recovers when the disk does. The thread
//! outlives errors and panics: every submission is answered.
//!
//! Pruning alone (of messages, calls and the history of objects) is done in several transactions, so that messages do not wait for it; it is acknowledged, out of
//! order, when it is complete.

mod call_pack;
mod call_tail;
mod copy;
mod error;
mod known;
mod lock;
mod metrics;
mod migrations;
mod pack;
mod queue;
mod sql;
mod tail;
mod writer;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use node::store::{CompletionSink, Store, StoreError, Submission};
use records::{Change, Query, Rows};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

pub use copy::{Contents, CopyError, Progress, copy, prove};
pub use error::OpenError;
pub use lock::Lock;
pub use metrics::{Meter, StorageMetrics};

use metrics::Counters;
use queue::{Pacing, Queue};
use writer::{CHECKPOINT_PAGES, Files, Shared};

/// Between the beginnings of two commits in a steady stream. At 1,000 changes a second it makes groups of ten and saves
/// nine of ten commits with their wake-ups, and is below what a person or a SIP timer (T1, 500 ms) notices. Twice as long would save
/// 5 µs of 16 a message there; but of a hundred messages one would take longer than 20 ms.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(10);

/// How long a change that nobody waits for may stay in memory; [`node::store::Urgency::Soon`] promises it.
pub const SOON_DELAY: Duration = Duration::from_millis(50);

/// How many messages the index learns of together. With a million messages on disk each page of the index that is then
/// written serves some twenty of them. These take 8 MB of memory while they wait, and some 80 ms to read at the start.
pub const TAIL_MESSAGES: usize = 32_768;

/// In bytes: the page of the kernel and most disks. Of a commit three pages are not full; larger ones would be more octets.
const PAGE_BYTES: u64 = 4_096;
/// How long to wait for another program (an administrator's shell) that writes, before a group fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// SQLite's page cache: the upper levels of all indices, and the leaves of mailboxes in use. Not more, because SQLite
/// visits every cached page at each commit in which a b-tree was rebalanced (40 µs for this many); what is not in it
/// comes from the kernel's cache.
const CACHE_BYTES: u64 = 16 << 20;
/// Up to this size the whole file is checked when it is opened; it takes about 0.1 s.
const FULL_CHECK_BYTES_MAX: u64 = 64 << 20;
/// What the first bytes of a database are.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How to keep the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What a commit waits for.
    pub synchronous: Synchronous,
    /// Between the beginnings of two commits in a steady stream; see [`COMMIT_INTERVAL`].
    pub commit_interval: Duration,
    /// Until changes that nobody waits for are committed on their own; see [`SOON_DELAY`].
    pub soon_delay: Duration,
    /// Largest size of the database in bytes, its log not counted; beyond it changes fail as if the disk were full.
    /// `None` for what the disk holds.
    pub bytes_max: Option<u64>,
    /// Messages after which the index learns of those that came since the last time; see [`TAIL_MESSAGES`]. Of entries in call
    /// logs four times as many.
    pub tail_messages: usize,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// The disk has it: survives a loss of power.
    Full,
    /// The kernel has it: survives a kill of the process; a loss of power may undo the last commits, but damages
    /// nothing.
    Normal,
}

impl Default for Options {
    /// Durable against a loss of power, at the usual pace, as large as the disk.
    fn default() -> Options {
        Options {
            synchronous: Synchronous::Full,
            commit_interval: COMMIT_INTERVAL,
            soon_delay: SOON_DELAY,
            bytes_max: None,
            tail_messages: TAIL_MESSAGES,
        }
    }
}

/// A database in use. Dropping it is closing it.
pub struct Sqlite {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Sqlite {
    /// Opens the database at `path`, or creates it, readable by its owner alone. Completions go to `sink`, from the
    /// writer's thread, or from [`Store::submit`] for what the queue does not take.
    ///
    /// A lock file beside it (`path` with `-lock`) keeps a second process away for as long as this one lives.
    ///
    /// # Errors
    /// See [`OpenError`]. An existing file that is not ours, or newer than this program, is not touched.
    pub fn open(path: &Path, options: Options, sink: CompletionSink<Rows>) -> Result<Sqlite, OpenError> {
        let lock = Lock::take(path)?;
        let mut connection = connect(path, options)?;
        let wal_pages = Arc::new(AtomicU64::new(0));
        let reported = Arc::clone(&wal_pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            reported.store(u64::from(pages.unsigned_abs()), Relaxed);
            Ok(())
        }))?;
        let pacing = Pacing { commit_interval: options.commit_interval, soon_delay: options.soon_delay };
        let counters = Arc::new(Counters::default());
        let shared = Arc::new(Shared {
            queue: Queue::new(pacing, Arc::clone(&counters)),
            counters,
            sink: Mutex::new(sink),
            wal_pages,
            files: Files { database: path.to_owned(), wal: beside(path, "-wal") },
        });
        let writer = spawn(connection, lock, options.tail_messages, Arc::clone(&shared))?;
        Ok(Sqlite { shared, writer: Some(writer) })
    }

    /// Applies and acknowledges what was submitted, moves the log into the database and lets go of the file.
    ///
    /// # Errors
    /// The last step failed: everything acknowledged is durable, in the log, and will be found by the next `open`.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.stop()
    }

    /// How storage is doing.
    pub fn metrics(&self) -> StorageMetrics {
        self.meter().read()
    }

    /// Reads the metrics from elsewhere.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.shared.counters))
    }

    fn stop(&mut self) -> Result<(), StoreError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        self.shared.queue.close();
        writer.join().unwrap_or_else(|_| Err(StoreError::Io("the storage thread panicked".to_owned())))
    }
}

impl Store for Sqlite {
    type Change = Change;
    type Query = Query;
    type Rows = Rows;

    fn submit(&mut self, batch: Vec<Submission<Change, Query>>) {
        let rest = self.shared.queue.push(batch);
        if !rest.is_empty() {
            let full = StoreError::Io("too many changes wait for the disk".to_owned());
            self.shared.deliver(writer::fail(&rest, &full));
        }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(?error, "the database was not closed in order; the next start mends it");
        }
    }
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").field("database", &self.shared.files.database).finish_non_exhaustive()
    }
}

/// Opens, checks and migrates.
fn connect(path: &Path, options: Options) -> Result<Connection, OpenError> {
    create_if_absent(path).map_err(|error| io_error(path, &error))?;
    check_magic(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Closing would otherwise write to a file that turns out not to be ours.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let version = migrations::version(&connection, migrations::MIGRATIONS)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    configure(&connection, options)?;
    check(&connection, path)?;
    migrations::migrate(&mut connection, version, migrations::MIGRATIONS)?;
    if let Some(bytes) = options.bytes_max {
        let pages = i64::try_from(bytes / PAGE_BYTES).unwrap_or(i64::MAX);
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(connection)
}

/// A new file is empty, ours alone, and as durable in its directory as its content will be.
fn create_if_absent(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = std::fs::metadata(path)?.permissions().mode();
            if mode & 0o077 != 0 {
                let mode = format!("{:o}", mode & 0o777);
                tracing::warn!(path = %path.display(), mode, "the database holds secrets, and others can open it");
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// SQLite would report most files that are no databases only later, or overwrite a short one.
fn check_magic(path: &Path) -> Result<(), OpenError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut head));
    read.map_err(|error| io_error(path, &error))?;
    if head.is_empty() || head == MAGIC {
        return Ok(());
    }
    Err(OpenError::Corrupt("the file does not begin as a database does".to_owned()))
}

fn configure(connection: &Connection, options: Options) -> Result<(), OpenError> {
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    // The size of pages must be set before anything is written, and stays as it is in a file that has content.
    connection.execute_batch(&format!("PRAGMA page_size = {PAGE_BYTES}"))?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(OpenError::Io(format!(
            "the file system does not support write-ahead logging (mode {mode})"
        )));
    }
    let log_bytes = 2 * CHECKPOINT_PAGES * PAGE_BYTES;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = {synchronous};
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -{};
         PRAGMA journal_size_limit = {log_bytes};",
        CACHE_BYTES / 1024
    ))?;
    Ok(())
}

/// Moves a killed process's log into the file, then looks for damage: in all of a small file, in a large one in the
/// tables that a start reads anyway. Damage among the messages of a large file shows when they are read.
fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    let pages: u64 =
        connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))?.unsigned_abs();
    let page_bytes: u64 =
        connection.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))?.unsigned_abs();
    let length = std::fs::metadata(path).map_err(|error| io_error(path, &error))?.len();
    if length < pages * page_bytes {
        return Err(OpenError::Corrupt(format!("{length} bytes are left of {}", pages * page_bytes)));
    }
    let tables: &[&str] = match length {
        0..=FULL_CHECK_BYTES_MAX => &[""],
        _ => &[
            "(users)",
            "(bindings)",
            "(binding_paths)",
            "(mailboxes)",
            "(devices)",
            "(indexing)",
            "(mark_groups)",
            "(message_blocks)",
            "(manual_states)",
            "(call_settings)",
            "(ring_also)",
            "(documents)",
            "(certificates)",
            "(aliases)",
            "(directory_accounts)",
            "(app_passwords)",
            "(objects)",
            "(replication)",
        ],
    };
    for table in tables {
        let found: String =
            connection.query_row(&format!("PRAGMA quick_check{table}"), [], |row| row.get(0))?;
        if found != "ok" {
            return Err(OpenError::Corrupt(found));
        }
    }
    Ok(())
}

/// Starts the writer. It owns the connection, and the lock until the connection is closed.
fn spawn(
    connection: Connection,
    lock: Lock,
    tail_messages: usize,
    shared: Arc<Shared>,
) -> Result<JoinHandle<Result<(), StoreError>>, OpenError> {
    let (ready, prepared) = mpsc::sync_channel(1);
    let serve = move || {
        let served = match sql::Statements::prepare(&connection, tail_messages) {
            Ok(statements) => {
                // The other side waits for it.
                ready.send(Ok(())).expect("open waits until the statements are prepared");
                writer::run(&connection, statements, &shared);
                Ok(())
            }
            Err(error) => {
                let error = error::classify(&error);
                ready.send(Err(error.clone())).expect("open waits until the statements are prepared");
                Err(error)
            }
        };
        let closed = connection.close().map_err(|(_, error)| error::classify(&error));
        drop(lock);
        served.and(closed)
    };
    let thread = std::thread::Builder::new().name("storage".to_owned()).spawn(serve);
    let thread = thread.map_err(|error| OpenError::Io(format!("no thread for the storage: {error}")))?;
    prepared.recv().map_err(|_| OpenError::Io("the storage thread panicked".to_owned()))??;
    Ok(thread)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn io_error(path: &Path, error: &io::Error) -> OpenError {
    if error.kind() == io::ErrorKind::StorageFull {
        return OpenError::Full;
    }
    OpenError::Io(format!("{}: {error}", path.display()))
}
