//! What SQLite's errors mean to us.

use node::store::StoreError;
use records::memory::Refused;
use rusqlite::{ErrorCode, ffi};

/// Why a database could not be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the database is in use by another process")]
    InUse,
    /// A later version of this program has written it. It was not touched.
    #[error(
        "the database has version {found}, this program knows versions up to {known}: use a newer program"
    )]
    Newer {
        /// The file's version.
        found: usize,
        /// The newest version that this program knows.
        known: usize,
    },
    /// It is some other program's SQLite database. It was not touched.
    #[error("the file is a database of another program")]
    Foreign,
    /// It is damaged, or no database at all.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// Bringing it to this program's version failed; it has the version before.
    #[error("migrating the database to version {version} failed: {reason}")]
    Migration {
        /// To which version.
        version: usize,
        /// Why.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(String),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> OpenError {
        match error {
            StoreError::Full => OpenError::Full,
            StoreError::Corrupt(reason) => OpenError::Corrupt(reason),
            StoreError::Io(reason) => OpenError::Io(reason),
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> OpenError {
        classify(&error).into()
    }
}

/// Why a single change or query failed, and how far the failure reaches.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The change is at fault: others may still succeed.
    Own(StoreError),
    /// The world is: nothing else in the group can succeed.
    World(StoreError),
}

impl Failure {
    /// The number does not fit SQL's BIGINT.
    pub(crate) fn number(value: u64) -> Failure {
        Failure::Own(StoreError::Io(format!("the number {value} is too large to store")))
    }

    /// The change breaks a rule.
    pub(crate) fn refused(refused: Refused) -> Failure {
        Failure::Own(StoreError::Io(refused.to_string()))
    }

    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Failure::Own(error) | Failure::World(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        let own = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
        );
        if own { Failure::Own(classify(&error)) } else { Failure::World(classify(&error)) }
    }
}

/// Whether the error says that the user whom a row would belong to does not exist.
pub(crate) fn is_foreign_key(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

/// The error in terms of the waist.
pub(crate) fn classify(error: &rusqlite::Error) -> StoreError {
    use rusqlite::Error;
    match error {
        // The index of the write-ahead log is a file that grows by writing to it; it fails so on a full disk only.
        Error::SqliteFailure(e, _)
            if e.code == ErrorCode::DiskFull || e.extended_code == ffi::SQLITE_IOERR_SHMSIZE =>
        {
            StoreError::Full
        }
        Error::SqliteFailure(e, _)
            if matches!(e.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
        {
            StoreError::Corrupt(error.to_string())
        }
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..) => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Io(error.to_string()),
    }
}
