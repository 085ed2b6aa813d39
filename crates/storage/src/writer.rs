//! The one thread that touches the database.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use node::store::{Completion, CompletionSink, Outcome, PersistToken, StoreError, Submission};
use records::{Change, Rows};
use rusqlite::Connection;

use crate::error::{Failure, classify};
use crate::metrics::Counters;
use crate::queue::{Entry, Queue, Work};
use crate::sql::{Bounds, Held, Mark, Statements, TailLength};

/// Pages in the write-ahead log after which they are copied into the database: 16 MiB of pages of 4 KiB. A page that
/// changed often since is then copied once; more would make recovery after a kill slower than a fraction of a second.
pub(crate) const CHECKPOINT_PAGES: u64 = 4_096;

/// Between two steps of pruning. With steps of some 5 ms, messages get at least half of the disk's time.
const PRUNE_PAUSE: Duration = Duration::from_millis(5);

/// Between two steps of merging the tail into the indices, for the same reason. That leaves 100,000 rows
/// a second, those of 50,000 messages; see [`TailLength::TooLong`] for when more come.
const MERGE_PAUSE: Duration = Duration::from_millis(5);

/// Between two steps of reading the identities after the start, for the same reason: 300,000 a second.
const READ_PAUSE: Duration = Duration::from_millis(5);

/// Until a merge, or a read, that failed is tried again: the world (a full disk) changes in seconds at the soonest.
const MERGE_RETRY: Duration = Duration::from_secs(1);

/// What the handle and the thread share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sink: Mutex<CompletionSink<Rows>>,
    /// Frames in the write-ahead log, as SQLite reports them after each commit.
    pub(crate) wal_pages: Arc<AtomicU64>,
    pub(crate) files: Files,
}

/// Where the bytes are.
pub(crate) struct Files {
    pub(crate) database: std::path::PathBuf,
    pub(crate) wal: std::path::PathBuf,
}

impl Shared {
    /// Hands completions over. A sink that panics harms nobody but itself.
    pub(crate) fn deliver(&self, completions: Vec<Completion<Rows>>) {
        if completions.is_empty() {
            return;
        }
        let failures = completions.iter().filter(|c| is_failure(c)).count();
        self.counters.failures.fetch_add(failures as u64, Relaxed);
        let sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if catch_unwind(AssertUnwindSafe(|| sink(completions))).is_err() {
            tracing::error!("the receiver of storage completions panicked");
        }
    }
}

impl Files {
    fn bytes(&self) -> u64 {
        // A file that is not there (the log, before the first change) takes no space.
        let bytes = |path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        bytes(&self.database) + bytes(&self.wal)
    }
}

/// Serves until the queue is closed and empty.
pub(crate) fn run(connection: &Connection, statements: Statements<'_>, shared: &Shared) {
    shared.counters.bytes_on_disk.store(shared.files.bytes(), Relaxed);
    Writer::new(connection, statements, shared).serve();
}

struct Writer<'c> {
    connection: &'c Connection,
    statements: Statements<'c>,
    shared: &'c Shared,
    /// When the last commit began.
    last_commit: Option<Instant>,
    prunes: Vec<Prune>,
    /// When the next step of pruning may begin, if one is needed.
    prune_at: Option<Instant>,
    /// When the next step of merging may begin, if one is needed.
    merge_at: Option<Instant>,
    /// When the next step of reading the identities may begin, until they are read.
    read_at: Option<Instant>,
    /// Pages in the log at which to try the next checkpoint.
    checkpoint_at: u64,
    /// Whether the last group failed, so that a lasting fault is logged once.
    failing: bool,
}

/// One that goes on.
struct Prune {
    token: PersistToken,
    bounds: Bounds,
}

/// Housekeeping, done in steps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Chore {
    Merge,
    Prune,
    Read,
}

/// How a group is applied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// All in one; marks are coalesced. The first failure ends the attempt.
    Group,
    /// Each change under a savepoint: one that fails by itself fails alone.
    Change,
}

impl<'c> Writer<'c> {
    fn new(connection: &'c Connection, statements: Statements<'c>, shared: &'c Shared) -> Writer<'c> {
        Writer {
            connection,
            statements,
            shared,
            last_commit: None,
            prunes: Vec::new(),
            prune_at: None,
            merge_at: None,
            read_at: Some(Instant::now()),
            checkpoint_at: CHECKPOINT_PAGES,
            failing: false,
        }
    }

    fn serve(mut self) {
        let mut group = Vec::new();
        loop {
            self.begin_merge_if_due();
            // One step after the other where several are due.
            let chores =
                [(self.merge_at, Chore::Merge), (self.prune_at, Chore::Prune), (self.read_at, Chore::Read)];
            let next = chores.into_iter().filter_map(|(at, chore)| Some((at?, chore))).min();
            let chore_at = next.map(|(at, _)| at);
            match (self.shared.queue.take(&mut group, self.last_commit, chore_at), next) {
                (Work::Group, _) => {
                    self.start_prunes(&mut group);
                    let completions = self.guard(|writer| writer.apply(&group));
                    let completions = completions.unwrap_or_else(|| fail(&group, &panicked()));
                    group.clear();
                    self.shared.deliver(completions);
                }
                (Work::Chore, chore) => self.do_step(chore.expect("one was announced").1),
                (Work::Nothing, _) => break,
            }
            self.checkpoint_if_due();
        }
        // What the steps have dropped stays dropped; the next prune takes up the rest.
        let reason = "the storage closes; what is left will be pruned the next time";
        self.finish_prunes(Err(StoreError::Io(reason.to_owned())));
    }

    fn do_step(&mut self, chore: Chore) {
        match chore {
            Chore::Merge => {
                let done = self.guard(Self::merge).unwrap_or_else(|| Err(panicked()));
                self.finish_merge_step(done);
            }
            Chore::Prune => {
                let done = self.guard(Self::prune).unwrap_or_else(|| Err(panicked()));
                self.finish_prunes(done);
            }
            Chore::Read => {
                let read = self.guard(|writer| writer.statements.read_identities());
                self.read_at = match read.unwrap_or_else(|| Err(Failure::World(panicked()))) {
                    Ok(more) => more.then(|| Instant::now() + READ_PAUSE),
                    Err(failure) => {
                        let error = failure.into_error();
                        tracing::warn!(?error, "the index of messages could not be read; it is tried again");
                        Some(Instant::now() + MERGE_RETRY)
                    }
                };
            }
        }
    }

    /// Applies a whole group durably, or says of each change why it is not.
    fn apply(&mut self, group: &[Entry]) -> Vec<Completion<Rows>> {
        let attempt = match self.attempt(group, Isolation::Group) {
            Err(Failure::Own(_)) => self.attempt(group, Isolation::Change),
            other => other,
        };
        match attempt {
            Ok(completions) => {
                self.recovered();
                completions
            }
            Err(failure) => {
                let error = failure.into_error();
                self.failed(&error);
                self.answer_from_what_is_durable(group, &error)
            }
        }
    }

    fn attempt(&mut self, group: &[Entry], isolation: Isolation) -> Result<Vec<Completion<Rows>>, Failure> {
        let has_changes = group.iter().any(|entry| matches!(entry, Submission::Persist { .. }));
        if !has_changes {
            return Ok(self.answer_all(group));
        }
        self.statements.begin().map_err(Failure::from)?;
        let attempt = self.apply_in_transaction(group, isolation).and_then(|completions| {
            self.commit()?;
            Ok(completions)
        });
        if attempt.is_err() {
            self.roll_back();
        }
        let applied = attempt.iter().flatten().filter(|c| matches!(c, Completion::Persisted { .. })).count();
        self.shared.counters.changes.fetch_add(applied as u64, Relaxed);
        attempt
    }

    fn apply_in_transaction(
        &mut self,
        group: &[Entry],
        isolation: Isolation,
    ) -> Result<Vec<Completion<Rows>>, Failure> {
        let mut completions = Vec::with_capacity(group.len());
        let mut held = Held::default();
        for entry in group {
            match entry {
                Submission::Persist { token, change, .. } => {
                    let token = *token;
                    let outcome = match isolation {
                        Isolation::Group => Ok(self.statements.apply(change, &mut held)?),
                        Isolation::Change => self.apply_alone(change)?,
                    };
                    completions.push(match outcome {
                        Ok(outcome) => Completion::Persisted { token, outcome },
                        Err(error) => Completion::PersistFailed { token, error },
                    });
                }
                Submission::Query { token, query } => {
                    self.statements.flush(&mut held)?;
                    let rows = self.statements.query(query).map_err(Failure::into_error);
                    completions.push(Completion::Rows { token: *token, rows });
                }
            }
        }
        self.statements.flush(&mut held)?;
        Ok(completions)
    }

    /// The inner result is the change's own; the outer one ends the group.
    fn apply_alone(&mut self, change: &Change) -> Result<Result<Outcome, StoreError>, Failure> {
        self.connection.execute_batch("SAVEPOINT change").map_err(Failure::from)?;
        let mark = self.statements.mark();
        let mut held = Held::default();
        let outcome = self
            .statements
            .apply(change, &mut held)
            .and_then(|outcome| self.statements.flush(&mut held).map(|()| outcome));
        match outcome {
            Ok(outcome) => {
                self.connection.execute_batch("RELEASE change").map_err(Failure::from)?;
                Ok(Ok(outcome))
            }
            Err(Failure::Own(error)) => {
                let undo = "ROLLBACK TO change; RELEASE change";
                self.connection.execute_batch(undo).map_err(|e| Failure::World(classify(&e)))?;
                self.statements.rolled_back_to(mark);
                tracing::warn!(?error, "a change could not be stored");
                Ok(Err(error))
            }
            Err(world) => Err(world),
        }
    }

    fn commit(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        self.last_commit = Some(began);
        // A deferred constraint could fail here; there is none, so that nobody in particular is at fault.
        self.statements.commit().map_err(|error| Failure::World(classify(&error)))?;
        let counters = &self.shared.counters;
        counters.commits.fetch_add(1, Relaxed);
        counters.commit_micros_last.store(began.elapsed().as_micros() as u64, Relaxed);
        Ok(())
    }

    /// Leaves no transaction open. SQLite has already rolled back by itself after some errors.
    fn roll_back(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
        self.statements.rolled_back_to(Mark::default());
    }

    fn answer_all(&mut self, group: &[Entry]) -> Vec<Completion<Rows>> {
        let queries = group.iter().filter_map(|entry| match entry {
            Submission::Query { token, query } => Some((*token, query)),
            Submission::Persist { .. } => None,
        });
        let answer = |(token, query)| {
            let rows = self.statements.query(query).map_err(Failure::into_error);
            Completion::Rows { token, rows }
        };
        queries.map(answer).collect()
    }

    /// After a failed group: none of its changes is there, and queries must not have seen them.
    fn answer_from_what_is_durable(&mut self, group: &[Entry], error: &StoreError) -> Vec<Completion<Rows>> {
        let mut answers = self.answer_all(group).into_iter();
        let mut completions = fail(group, error);
        for completion in &mut completions {
            if matches!(completion, Completion::Rows { .. }) {
                *completion = answers.next().expect("as many answers as queries");
            }
        }
        completions
    }

    /// Takes the prunes out of a group: they go on after it, in steps, and are acknowledged after the last one.
    fn start_prunes(&mut self, group: &mut Vec<Entry>) {
        group.retain(|entry| {
            if let Submission::Persist { token, change, .. } = entry
                && let Some(bounds) = Bounds::of(change)
            {
                self.prunes.push(Prune { token: *token, bounds });
                self.prune_at.get_or_insert_with(Instant::now);
                return false;
            }
            true
        });
    }

    /// One step for all prunes that are under way; whether everything is dropped that has to be.
    fn prune(&mut self) -> Result<bool, StoreError> {
        let bounds = self.prunes.iter().map(|prune| prune.bounds).reduce(Bounds::union).unwrap_or_default();
        let step = self.statements.begin().map_err(Failure::from).and_then(|()| {
            let is_more = self.statements.prune_step(bounds)?;
            self.commit()?;
            Ok(!is_more)
        });
        step.map_err(|failure| {
            self.roll_back();
            let error = failure.into_error();
            self.failed(&error);
            error
        })
    }

    fn finish_prunes(&mut self, done: Result<bool, StoreError>) {
        if done == Ok(false) {
            self.prune_at = Some(Instant::now() + PRUNE_PAUSE);
            return;
        }
        self.prune_at = None;
        let counters = &self.shared.counters;
        let completions = self.prunes.drain(..).map(|Prune { token, .. }| match &done {
            Ok(_) => {
                counters.changes.fetch_add(1, Relaxed);
                Completion::Persisted { token, outcome: Outcome::Applied }
            }
            Err(error) => Completion::PersistFailed { token, error: error.clone() },
        });
        self.shared.deliver(completions.collect());
    }

    fn begin_merge_if_due(&mut self) {
        let length = self.statements.tail_length();
        if length == TailLength::Usual {
            return;
        }
        let at = self.merge_at.get_or_insert_with(Instant::now);
        if length == TailLength::TooLong {
            *at = Instant::now().min(*at);
        }
    }

    /// One step.
    fn merge(&mut self) -> Result<(), StoreError> {
        let step = self.statements.begin().map_err(Failure::from).and_then(|()| {
            self.statements.merge_step()?;
            // Not for the pace of groups: nobody's change was in it.
            let last_commit = self.last_commit;
            let committed = self.commit();
            self.last_commit = last_commit;
            committed
        });
        step.map_err(|failure| {
            self.roll_back();
            failure.into_error()
        })
    }

    fn finish_merge_step(&mut self, step: Result<(), StoreError>) {
        let now = Instant::now();
        if let Err(error) = &step {
            if !self.statements.merge_fails() {
                tracing::warn!(
                    ?error,
                    "the newest messages or calls could not be indexed; it is tried again"
                );
            }
            self.merge_at = Some(now + MERGE_RETRY);
            self.statements.merged(step);
        } else {
            let done = self.statements.merged(step);
            self.merge_at = (!done).then_some(now + MERGE_PAUSE);
        }
    }

    /// Copies the log into the database when it is long. This is after the completions went out, so that nobody waits
    /// for it. Readers in other processes may hold it up; it is then tried again when the log has grown as much again.
    fn checkpoint_if_due(&mut self) {
        let pages = self.shared.wal_pages.load(Relaxed);
        if pages < CHECKPOINT_PAGES {
            self.checkpoint_at = CHECKPOINT_PAGES;
        }
        if pages < self.checkpoint_at {
            return;
        }
        self.checkpoint_at = pages + CHECKPOINT_PAGES;
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the write-ahead log could not be copied into the database");
        }
        self.shared.counters.bytes_on_disk.store(self.shared.files.bytes(), Relaxed);
    }

    /// Runs a piece of work; `None` where it panicked. The thread lives on, without a transaction.
    fn guard<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self))).ok();
        if done.is_none() {
            self.roll_back();
            self.failed(&panicked());
        }
        done
    }

    fn failed(&mut self, error: &StoreError) {
        if !self.failing {
            tracing::error!(?error, "storage fails; changes are refused until it recovers");
        }
        self.failing = true;
    }

    fn recovered(&mut self) {
        if self.failing {
            tracing::info!("storage has recovered");
        }
        self.failing = false;
    }
}

/// Answers everything with the same error. Prunes fail with their group.
pub(crate) fn fail(group: &[Entry], error: &StoreError) -> Vec<Completion<Rows>> {
    let fail = |entry: &Entry| match entry {
        Submission::Persist { token, .. } => {
            Completion::PersistFailed { token: *token, error: error.clone() }
        }
        Submission::Query { token, .. } => Completion::Rows { token: *token, rows: Err(error.clone()) },
    };
    group.iter().map(fail).collect()
}

fn is_failure(completion: &Completion<Rows>) -> bool {
    matches!(completion, Completion::PersistFailed { .. } | Completion::Rows { rows: Err(_), .. })
}

fn panicked() -> StoreError {
    StoreError::Io("storage met a fault of its own; see the log".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Pacing;
    use directory::{Role, SipAddress, User, UserId, UserState};
    use node::store::Urgency;

    #[test]
    fn a_panic_undoes_its_transaction_and_nothing_else() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::migrations::migrate(&mut connection, 0, crate::migrations::MIGRATIONS).unwrap();
        let pacing = Pacing { commit_interval: Duration::ZERO, soon_delay: Duration::ZERO };
        let counters = Arc::<Counters>::default();
        let shared = Shared {
            queue: Queue::new(pacing, Arc::clone(&counters)),
            counters,
            sink: Mutex::new(Box::new(|_| ())),
            wal_pages: Arc::default(),
            files: Files { database: "".into(), wal: "".into() },
        };
        let statements = Statements::prepare(&connection, 1).unwrap();
        let mut writer = Writer::new(&connection, statements, &shared);
        let user = User {
            id: UserId(1),
            address: SipAddress::parse("alice@contoso.example").unwrap(),
            display_name: String::new(),
            state: UserState::Enabled,
            role: Role::Person,
            permissions: Default::default(),
            aliases: Vec::new(),
            account: None,
            tokens_since_unix_ms: 0,
            secrets: None,
        };
        let add = Submission::Persist {
            token: PersistToken(1),
            change: Change::AddUser { user, at_unix_ms: 0 },
            urgency: Urgency::Now,
        };
        let group = [add];
        let done: Option<()> = writer.guard(|writer| {
            writer.statements.begin().unwrap();
            let completions = writer.apply_in_transaction(&group, Isolation::Group).unwrap();
            panic!("on purpose, behind {} changes", completions.len());
        });
        assert_eq!(done, None);
        assert!(connection.is_autocommit(), "no transaction is left");
        let applied = writer.guard(|writer| writer.apply(&group)).expect("no panic this time");
        let [Completion::Persisted { outcome: Outcome::Applied, .. }] = applied[..] else {
            panic!("{applied:?}")
        };
    }
}
