//! Counters that the writer keeps and anybody may read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How storage is doing; each number was true a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StorageMetrics {
    /// Transactions committed since opening.
    pub commits: u64,
    /// Changes made durable since opening.
    pub changes: u64,
    /// Changes and queries failed since opening, those refused by the full queue included.
    pub failures: u64,
    /// How long the last commit took, in microseconds: mostly the wait for the disk.
    pub commit_micros_last: u64,
    /// The database and its write-ahead log, in bytes.
    pub bytes_on_disk: u64,
    /// Submissions that wait for the writer.
    pub queue_length: u64,
}

/// Reads the metrics from anywhere, also after the storage was closed.
#[derive(Clone, Debug)]
pub struct Meter(pub(crate) Arc<Counters>);

impl Meter {
    /// The numbers now.
    pub fn read(&self) -> StorageMetrics {
        let c = &self.0;
        StorageMetrics {
            commits: c.commits.load(Relaxed),
            changes: c.changes.load(Relaxed),
            failures: c.failures.load(Relaxed),
            commit_micros_last: c.commit_micros_last.load(Relaxed),
            bytes_on_disk: c.bytes_on_disk.load(Relaxed),
            queue_length: c.queue_length.load(Relaxed),
        }
    }
}

/// What [`Meter`] reads. Nothing is decided by these numbers, so relaxed order is enough.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) changes: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) commit_micros_last: AtomicU64,
    pub(crate) bytes_on_disk: AtomicU64,
    pub(crate) queue_length: AtomicU64,
}
