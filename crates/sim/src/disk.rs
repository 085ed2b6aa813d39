//! A machine's disk: the reference tables behind one queue with group commit.
//!
//! Work is done in the order of submission. Changes that stand together are committed in one group, which takes a
//! seeded time; only then are they durable. A query reads when everything before it is settled. A crash loses what
//! was not durable; of a group that was being written it is drawn whether it had reached the platter already.

use std::collections::VecDeque;
use std::time::Duration;

use node::{Instant, Outcome, PersistToken, QueryToken, StoreError, Urgency};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use records::memory::Tables;
use records::{Change, Query, Rows};

/// How long a change of [`Urgency::Soon`] may wait for a group (the waist promises 50 ms).
const SOON_WITHIN: Duration = Duration::from_millis(50);
/// Shortest and longest commit, in microseconds: a fast SSD's flush and a busy one's.
const COMMIT_MICROS: std::ops::Range<u64> = 300..6_000;
/// Shortest and longest read, in microseconds.
const READ_MICROS: std::ops::Range<u64> = 50..2_000;
/// How late a lying disk really writes: long enough for a crash to fall between promise and truth.
const LYING_COMMIT: Duration = Duration::from_millis(400);

/// What the disk does with changes.
#[derive(Clone, Copy, Debug)]
pub enum DiskMode {
    /// Writes them.
    Healthy,
    /// Refuses all of them with [`StoreError::Full`]; reading goes on.
    Full,
    /// Refuses the next `count` changes that `which` names with [`StoreError::Io`].
    FailNext {
        /// How many.
        count: u32,
        /// Which ones.
        which: fn(&Change) -> bool,
    },
    /// Says that a change is durable before it is. A planted fault.
    Lying,
}

/// A disk with its queue.
pub struct Disk {
    durable: Tables,
    queue: VecDeque<Work>,
    at_work: Option<Vec<Work>>,
    mode: DiskMode,
    rng: ChaCha8Rng,
}

struct Work {
    due: Instant,
    task: Task,
}

enum Task {
    Persist { token: PersistToken, change: Change, acknowledged: bool },
    Query { token: QueryToken, query: Query },
}

/// What came of a piece of work.
pub enum Done {
    /// The change is durable; the node hears of it unless it was told before (by a lying disk).
    Durable {
        /// Its token, `None` where the node was told before.
        token: Option<PersistToken>,
        /// The change.
        change: Change,
        /// What it did.
        outcome: Outcome,
    },
    /// A lying disk's promise.
    Promised(PersistToken),
    /// The change is not durable and never will be.
    Failed {
        /// Its token.
        token: PersistToken,
        /// The change.
        change: Change,
        /// Why.
        error: StoreError,
    },
    /// A query's answer.
    Rows {
        /// Its token.
        token: QueryToken,
        /// The rows.
        rows: Rows,
    },
}

impl Disk {
    /// An empty disk.
    pub fn new(rng: ChaCha8Rng) -> Disk {
        Disk {
            durable: Tables::default(),
            queue: VecDeque::new(),
            at_work: None,
            mode: DiskMode::Healthy,
            rng,
        }
    }

    /// Puts a change onto the disk as if it had always been there.
    pub fn provision(&mut self, change: &Change) {
        self.durable.apply(change);
    }

    /// From now on the disk behaves like this.
    pub fn set_mode(&mut self, mode: DiskMode) {
        self.mode = mode;
    }

    /// Takes a change; a lying disk promises at once.
    pub fn persist(
        &mut self,
        now: Instant,
        token: PersistToken,
        change: Change,
        urgency: Urgency,
    ) -> Option<Done> {
        let lying = matches!(self.mode, DiskMode::Lying);
        let due = match urgency {
            _ if lying => now + LYING_COMMIT,
            Urgency::Now => now,
            Urgency::Soon => now + SOON_WITHIN,
        };
        self.queue.push_back(Work { due, task: Task::Persist { token, change, acknowledged: lying } });
        lying.then_some(Done::Promised(token))
    }

    /// Takes a query.
    pub fn query(&mut self, now: Instant, token: QueryToken, query: Query) {
        self.queue.push_back(Work { due: now, task: Task::Query { token, query } });
    }

    /// When the next group should begin; `None` while one is being written or nothing is to do.
    pub fn begins_at(&self) -> Option<Instant> {
        if self.at_work.is_some() {
            return None;
        }
        self.queue.iter().map(|w| w.due).min()
    }

    /// Begins the next group if it is time; says when it will be done.
    pub fn begin(&mut self, now: Instant) -> Option<Instant> {
        if self.begins_at()? > now {
            return None;
        }
        let is_query = |w: &Work| matches!(w.task, Task::Query { .. });
        let (count, micros) = if self.queue.front().is_some_and(is_query) {
            (1, READ_MICROS)
        } else {
            (self.queue.iter().take_while(|w| !is_query(w)).count(), COMMIT_MICROS)
        };
        self.at_work = Some(self.queue.drain(..count).collect());
        Some(now + Duration::from_micros(self.rng.random_range(micros)))
    }

    /// Ends the group that was begun.
    pub fn finish(&mut self) -> Vec<Done> {
        let group = self.at_work.take().unwrap_or_default();
        group.into_iter().map(|work| self.settle(work.task)).collect()
    }

    /// The machine lost power or its process: what was not durable is gone. Returns what still became durable
    /// (without anybody hearing of it) and what was lost.
    pub fn crash(&mut self) -> (Vec<Done>, Vec<Change>) {
        let reached =
            if self.at_work.is_some() && self.rng.random_bool(0.5) { self.finish() } else { Vec::new() };
        let lost = self.at_work.take().into_iter().flatten().chain(self.queue.drain(..));
        let lost = lost.filter_map(|w| match w.task {
            Task::Persist { change, .. } => Some(change),
            Task::Query { .. } => None,
        });
        (reached, lost.collect())
    }

    /// What is durable.
    pub fn tables(&self) -> &Tables {
        &self.durable
    }

    fn settle(&mut self, task: Task) -> Done {
        match task {
            Task::Query { token, query } => Done::Rows { token, rows: self.durable.query(&query) },
            Task::Persist { token, change, acknowledged } => match self.write(&change) {
                Ok(outcome) => Done::Durable { token: (!acknowledged).then_some(token), change, outcome },
                Err(error) => Done::Failed { token, change, error },
            },
        }
    }

    fn write(&mut self, change: &Change) -> Result<Outcome, StoreError> {
        match &mut self.mode {
            DiskMode::Full => return Err(StoreError::Full),
            DiskMode::FailNext { count, which } if *count > 0 && which(change) => {
                *count -= 1;
                return Err(StoreError::Io("injected".into()));
            }
            _ => {}
        }
        self.durable.try_apply(change).map_err(|refused| StoreError::Io(refused.to_string()))
    }
}
