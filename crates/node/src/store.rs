//! The seam between nodes and storage: changes go in, and are durable when their token comes back.

/// Names a change; its answer repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistToken(pub u64);

/// How soon a change must be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Somebody waits for it: commit with the next group.
    Now,
    /// Nobody waits: commit with the next group that somebody waits for, or within 50 ms.
    Soon,
}

/// What a durable change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was applied.
    Applied,
    /// It was there already (the same message, by its identity): nothing changed.
    AlreadyThere,
    /// It was there, and was taken back since (a message that every device refused): nothing changed, and nothing
    /// will come of it.
    AlreadyWithdrawn,
}

/// Why storage failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The disk is full.
    Full,
    /// The database is damaged or of a version that this program does not know.
    Corrupt(String),
    /// Reading or writing failed.
    Io(String),
}

/// What is handed to storage, in order.
#[derive(Clone, Debug)]
pub enum Submission<C, Q> {
    /// See [`crate::Output::Persist`].
    Persist {
        /// Repeated in the answer.
        token: PersistToken,
        /// The change.
        change: C,
        /// How soon.
        urgency: Urgency,
    },
    /// See [`crate::Output::Query`].
    Query {
        /// Repeated in the answer.
        token: crate::QueryToken,
        /// What to read.
        query: Q,
    },
}

/// What storage hands back.
#[derive(Clone, Debug)]
pub enum Completion<R> {
    /// The change is durable.
    Persisted {
        /// Its token.
        token: PersistToken,
        /// What it did.
        outcome: Outcome,
    },
    /// The change is not durable.
    PersistFailed {
        /// Its token.
        token: PersistToken,
        /// Why.
        error: StoreError,
    },
    /// What was read.
    Rows {
        /// The query's token.
        token: crate::QueryToken,
        /// The rows.
        rows: Result<R, StoreError>,
    },
}

/// A storage that a driver can submit to. Completions come back, in batches, through the sink that the storage was
/// opened with; the sink may be called from another thread.
pub trait Store: Send {
    /// The role's changes.
    type Change: Send;
    /// The role's queries.
    type Query: Send;
    /// The role's rows.
    type Rows: Send;

    /// Takes over a batch, in order. Does not block for the disk; when the storage's own queue is full (a bounded
    /// number of submissions) the rest of the batch completes at once with [`StoreError::Io`].
    fn submit(&mut self, batch: Vec<Submission<Self::Change, Self::Query>>);
}

/// Where completions go.
pub type CompletionSink<R> = Box<dyn Fn(Vec<Completion<R>>) + Send>;
