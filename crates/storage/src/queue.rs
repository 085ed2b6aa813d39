//! The bounded queue before the writer, and when a group is due.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use node::store::{Submission, Urgency};
use records::{Change, Query};

use crate::metrics::Counters;

/// Submissions that may wait for the writer: half a second of messages, and with 1 KiB each about 64 MiB. A server that
/// is further behind must refuse.
pub(crate) const QUEUE_SUBMISSIONS_MAX: usize = 65_536;

/// Submissions in one transaction. At some 10 µs each the first of them waits 5 ms for the last; the share of the
/// commit is then below 0.2 µs each, so that larger groups would save nothing.
pub(crate) const GROUP_SUBMISSIONS_MAX: usize = 512;

/// Changes that somebody waits for that make a group worth its commit at once: of a commit's 50 µs each bears less than
/// 2 µs then, and under load the writer is never idle while its group is large enough.
pub(crate) const GROUP_WORTHWHILE: usize = 32;

/// One entry.
pub(crate) type Entry = Submission<Change, Query>;

/// How long changes may wait for company.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacing {
    /// Between the beginnings of two commits.
    pub(crate) commit_interval: Duration,
    /// Until changes that nobody waits for are committed on their own.
    pub(crate) soon_delay: Duration,
}

/// What the writer has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Apply the group that was taken.
    Group,
    /// Do a step of the housekeeping that was announced with `chore_at`.
    Chore,
    /// Closed and empty.
    Nothing,
}

/// Many submit, one writer takes.
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    pacing: Pacing,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    /// How many of `waiting` are changes, and how many are changes or queries that somebody waits for.
    changes: usize,
    urgent: usize,
    /// When the first one came after the queue was last empty.
    since: Option<Instant>,
    /// Whether somebody waited for more than one of the last group: more will come, then, before the next one is due.
    streams: bool,
    closing: bool,
    sleep: Sleep,
}

/// What the writer waits for; less than that does not wake it, because each wake-up costs a context switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Sleep {
    #[default]
    Awake,
    UntilAnything,
    /// Changes of a steady stream are found when the next group is due; only reads are answered before.
    UntilRead,
    UntilUrgent,
    UntilWorthwhile,
}

impl Queue {
    pub(crate) fn new(pacing: Pacing, counters: Arc<Counters>) -> Queue {
        Queue { state: Mutex::default(), wake: Condvar::new(), pacing, counters }
    }

    /// Appends what fits and gives the rest back.
    pub(crate) fn push(&self, mut batch: Vec<Entry>) -> Vec<Entry> {
        let mut state = self.lock();
        let room = if state.closing { 0 } else { QUEUE_SUBMISSIONS_MAX - state.waiting.len() };
        let rest = if batch.len() > room { batch.split_off(room) } else { Vec::new() };
        if state.waiting.is_empty() && !batch.is_empty() {
            state.since = Some(Instant::now());
        }
        for entry in batch {
            state.changes += usize::from(is_change(&entry));
            state.urgent += usize::from(is_urgent(&entry));
            state.waiting.push_back(entry);
        }
        let wake = state.wakes();
        if wake {
            state.sleep = Sleep::Awake;
        }
        self.publish_length(&state);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        rest
    }

    /// Nothing more will come; what waits is due at once.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.sleep = Sleep::Awake;
        drop(state);
        self.wake.notify_one();
    }

    /// Waits for work. `last_commit` is when the last commit began, `chore_at` when housekeeping wants a step.
    pub(crate) fn take(
        &self,
        group: &mut Vec<Entry>,
        last_commit: Option<Instant>,
        chore_at: Option<Instant>,
    ) -> Work {
        let mut state = self.lock();
        loop {
            if state.closing && state.waiting.is_empty() {
                return Work::Nothing;
            }
            let due = state.due(last_commit, self.pacing);
            let now = Instant::now();
            let pause = state.pause(last_commit, self.pacing).filter(|end| *end > now);
            let next = due.into_iter().chain(chore_at).chain(pause).min();
            let Some(next) = next else {
                state.sleep = Sleep::UntilAnything;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if chore_at.is_some_and(|at| at <= now) {
                state.sleep = Sleep::Awake;
                return Work::Chore;
            }
            if due.is_some_and(|due| due <= now) {
                state.sleep = Sleep::Awake;
                state.drain(group);
                self.publish_length(&state);
                return Work::Group;
            }
            state.sleep = match state.urgent {
                _ if pause.is_some() => Sleep::UntilRead,
                _ if state.waiting.is_empty() => Sleep::UntilAnything,
                0 => Sleep::UntilUrgent,
                _ => Sleep::UntilWorthwhile,
            };
            let waited = self.wake.wait_timeout(state, next - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Under the lock, so that an older length never overwrites a newer one.
    fn publish_length(&self, state: &State) {
        self.counters.queue_length.store(state.waiting.len() as u64, Relaxed);
    }

    /// The state is consistent whenever the lock is released, also by a panic: nothing under it can panic halfway.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When what waits is to be taken.
    fn due(&self, last_commit: Option<Instant>, pacing: Pacing) -> Option<Instant> {
        let since = self.since.filter(|_| !self.waiting.is_empty())?;
        if self.reads_only() || self.closing || self.is_worthwhile() {
            return Some(since);
        }
        let delayed = if self.urgent == 0 { since + pacing.soon_delay } else { since };
        let paced = last_commit.map_or(since, |began| began + pacing.commit_interval);
        Some(delayed.max(paced))
    }

    /// Until when a stream needs nobody who wakes the writer for the first change of the next group.
    fn pause(&self, last_commit: Option<Instant>, pacing: Pacing) -> Option<Instant> {
        let streams = self.streams && self.waiting.is_empty();
        last_commit.filter(|_| streams).map(|began| began + pacing.commit_interval)
    }

    /// Whether what came is what the writer waits for.
    fn wakes(&self) -> bool {
        match self.sleep {
            Sleep::Awake => false,
            Sleep::UntilAnything => !self.waiting.is_empty(),
            Sleep::UntilRead => !self.waiting.is_empty() && self.reads_only() || self.is_worthwhile(),
            Sleep::UntilUrgent => self.urgent > 0 || self.is_full(),
            Sleep::UntilWorthwhile => self.is_worthwhile(),
        }
    }

    fn reads_only(&self) -> bool {
        self.changes == 0
    }

    fn is_worthwhile(&self) -> bool {
        self.urgent >= GROUP_WORTHWHILE || self.is_full()
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= GROUP_SUBMISSIONS_MAX
    }

    fn drain(&mut self, group: &mut Vec<Entry>) {
        let count = self.waiting.len().min(GROUP_SUBMISSIONS_MAX);
        let urgent_before = self.urgent;
        for entry in self.waiting.drain(..count) {
            self.changes -= usize::from(is_change(&entry));
            self.urgent -= usize::from(is_urgent(&entry));
            group.push(entry);
        }
        self.streams = urgent_before - self.urgent > 1;
    }
}

fn is_change(entry: &Entry) -> bool {
    matches!(entry, Submission::Persist { .. })
}

fn is_urgent(entry: &Entry) -> bool {
    !matches!(entry, Submission::Persist { urgency: Urgency::Soon, .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use directory::UserId;
    use node::QueryToken;
    use node::store::PersistToken;

    const PACING: Pacing =
        Pacing { commit_interval: Duration::from_millis(4), soon_delay: Duration::from_millis(50) };

    fn change(urgency: Urgency) -> Entry {
        Submission::Persist {
            token: PersistToken(0),
            change: Change::RemoveUser { user: UserId(0), at_unix_ms: 0 },
            urgency,
        }
    }

    fn query() -> Entry {
        Submission::Query { token: QueryToken(0), query: Query::Load }
    }

    /// Milliseconds after arrival at which `entries` are due, when the last commit began `ago` milliseconds before.
    fn due(entries: Vec<Entry>, ago: Option<u64>) -> Option<u128> {
        let queue = Queue::new(PACING, Arc::default());
        queue.push(entries);
        let state = queue.lock();
        let since = state.since?;
        let last = ago.map(|ms| since - Duration::from_millis(ms));
        state.due(last, PACING).map(|due| due.duration_since(since).as_millis())
    }

    #[test]
    fn groups_are_due_when_somebody_waits_and_the_pace_allows() {
        use Urgency::{Now, Soon};
        let many = || std::iter::repeat_with(|| change(Soon)).take(GROUP_SUBMISSIONS_MAX).collect::<Vec<_>>();
        for (what, entries, ago, expected) in [
            ("nothing", vec![], None, None),
            ("the first change ever", vec![change(Now)], None, Some(0)),
            ("a change after a pause", vec![change(Now)], Some(10), Some(0)),
            ("a change in a stream", vec![change(Now)], Some(1), Some(3)),
            ("one that nobody waits for", vec![change(Soon)], Some(10), Some(50)),
            ("it rides along", vec![change(Soon), change(Now)], Some(1), Some(3)),
            ("a read of its changes", vec![change(Soon), query()], Some(1), Some(3)),
            ("a read alone", vec![query()], Some(1), Some(0)),
            (
                "many that somebody waits for",
                (0..GROUP_WORTHWHILE).map(|_| change(Now)).collect(),
                Some(1),
                Some(0),
            ),
            ("a full group", many(), Some(1), Some(0)),
        ] {
            assert_eq!(due(entries, ago), expected, "{what}");
        }
    }

    #[test]
    fn only_what_cannot_wait_wakes_the_writer() {
        use Sleep::{Awake, UntilAnything, UntilRead, UntilUrgent, UntilWorthwhile};
        use Urgency::{Now, Soon};
        let worthwhile = || (0..GROUP_WORTHWHILE).map(|_| change(Now)).collect::<Vec<_>>();
        for (entries, expected) in [
            (vec![change(Soon)], vec![UntilAnything]),
            (vec![change(Now)], vec![UntilAnything, UntilUrgent]),
            (vec![query()], vec![UntilAnything, UntilRead, UntilUrgent]),
            (vec![change(Soon), query()], vec![UntilAnything, UntilUrgent]),
            (worthwhile(), vec![UntilAnything, UntilRead, UntilUrgent, UntilWorthwhile]),
            (vec![], vec![]),
        ] {
            let queue = Queue::new(PACING, Arc::default());
            let wakes = |sleep: &Sleep| {
                queue.lock().sleep = *sleep;
                queue.lock().wakes()
            };
            queue.push(entries);
            let all = [Awake, UntilAnything, UntilRead, UntilUrgent, UntilWorthwhile];
            assert_eq!(all.iter().copied().filter(wakes).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_stream_needs_nobody_who_wakes_the_writer() {
        use Urgency::{Now, Soon};
        let began = Instant::now();
        for (what, entries, then, expected) in [
            ("one change alone", vec![change(Now)], vec![], false),
            ("one, and what rides along", vec![change(Now), change(Soon)], vec![], false),
            ("two that somebody waits for", vec![change(Now), change(Now)], vec![], true),
            ("the next one is there already", vec![change(Now), change(Now)], vec![change(Now)], false),
        ] {
            let queue = Queue::new(PACING, Arc::default());
            queue.push(entries);
            assert_eq!(queue.take(&mut Vec::new(), None, None), Work::Group, "{what}");
            queue.push(then);
            let until = expected.then_some(began + PACING.commit_interval);
            assert_eq!(queue.lock().pause(Some(began), PACING), until, "{what}");
        }
    }

    #[test]
    fn the_queue_is_bounded_and_groups_are() {
        let queue = Queue::new(PACING, Arc::default());
        let rest = queue.push((0..QUEUE_SUBMISSIONS_MAX + 3).map(|_| change(Urgency::Soon)).collect());
        assert_eq!((rest.len(), queue.lock().waiting.len()), (3, QUEUE_SUBMISSIONS_MAX));
        let mut group = Vec::new();
        assert_eq!(queue.take(&mut group, None, None), Work::Group);
        assert_eq!(group.len(), GROUP_SUBMISSIONS_MAX);
        assert!(queue.push(vec![query()]).is_empty(), "there is room again");
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_no_more() {
        let queue = Queue::new(PACING, Arc::default());
        queue.push(vec![change(Urgency::Soon)]);
        queue.close();
        assert_eq!(queue.push(vec![query()]).len(), 1);
        let mut group = Vec::new();
        assert_eq!(queue.take(&mut group, Some(Instant::now()), None), Work::Group);
        assert_eq!(group.len(), 1);
        assert_eq!(queue.take(&mut group, None, None), Work::Nothing);
    }
}
