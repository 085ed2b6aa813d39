//! One process at a time.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{OpenError, beside, io_error};

/// Keeps other processes away from a database for as long as it lives: no server starts on it.
///
/// It is a file beside the database (`-lock`), not the database itself: closing that a second time would drop SQLite's
/// own locks (fcntl(2): they belong to the process, not to the descriptor).
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the database at `path`, which need not be there.
    ///
    /// # Errors
    /// `InUse` where a process has it, `Io` where the lock's file cannot be made.
    pub fn take(path: &Path) -> Result<Lock, OpenError> {
        let path = Lock::file(path);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| io_error(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse),
            Err(std::fs::TryLockError::Error(error)) => Err(io_error(&path, &error)),
        }
    }

    /// The lock's file. It stays when the lock is given back.
    pub fn file(path: &Path) -> PathBuf {
        beside(path, "-lock")
    }
}
