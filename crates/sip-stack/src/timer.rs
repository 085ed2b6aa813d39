//! The one timer queue of a node: insert, cancel, pop. SIP cancels nearly every timer that it sets, so cancelling must cost
//! next to nothing.

use node::Instant;

/// Names a timer that was inserted; void once it popped or was cancelled (a void name cancels nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(u64);

/// A queue of timers that each carry a `T`. Timers with the same deadline pop in the order of insertion.
#[derive(Debug)]
pub struct Timers<T> {
    _entries: Vec<T>,
}

impl<T> Timers<T> {
    /// An empty queue.
    pub fn new() -> Timers<T> {
        todo!()
    }
    /// Inserts a timer.
    pub fn insert(&mut self, _at: Instant, _what: T) -> TimerId {
        todo!()
    }
    /// Removes a timer and gives back what it carried; `None` if the name is void.
    pub fn cancel(&mut self, _id: TimerId) -> Option<T> {
        todo!()
    }
    /// Takes the earliest timer that is due at `now`.
    pub fn pop(&mut self, _now: Instant) -> Option<T> {
        todo!()
    }
    /// When `pop` has something next. May be earlier than the earliest timer by up to a wheel tick, never later.
    pub fn next_deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// How many timers run.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers::new()
    }
}
