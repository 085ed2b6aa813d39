//! The one timer queue of a node: insert, cancel, pop. SIP cancels nearly every timer that it sets, so cancelling must cost
//! next to nothing.
//!
//! A hierarchical wheel: each level has 64 slots, each slot of a level is as wide as the whole level below it. A timer stands in
//! the lowest level that tells its deadline from the wheel's present; when the present reaches a coarse slot, its timers are
//! sorted into the levels below. Timers live in one table and are linked by index, so that insertion and cancellation touch a
//! few words and allocate nothing once the table has grown.

use std::num::NonZeroU64;

use node::Instant;

#[cfg(test)]
mod tests;

/// The grain of deadlines: a millisecond, far below anything that SIP times (T1 is 500 of them).
const TICK_MICROSECONDS: u64 = 1_000;
/// 64 slots a level: one machine word says which are occupied.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for every [`Instant`]: 2^64 microseconds are less than 2^60 ticks.
const LEVELS: usize = 10;
/// The end of a list.
const NIL: u32 = u32::MAX;

/// Names a timer that was inserted; void once it popped or was cancelled (a void name cancels nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(NonZeroU64);

/// A queue of timers that each carry a `T`.
///
/// Deadlines are rounded up to whole milliseconds, so that no timer pops early. Timers with the same rounded deadline pop in the
/// order of insertion; a deadline that has passed counts as that of the timer that popped last.
#[derive(Debug)]
pub struct Timers<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
    /// The wheel's present: every timer before it has popped.
    tick: u64,
    /// Which levels have a timer.
    levels: u16,
    /// Which slots of each level have a timer.
    occupied: [u64; LEVELS],
    slots: Box<[Slot; LEVELS * SLOTS]>,
}

#[derive(Debug)]
struct Entry<T> {
    tick: u64,
    next: u32,
    previous: u32,
    /// Never 0, raised when the entry is freed: voids names.
    generation: u32,
    slot: u16,
    what: Option<T>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    first: u32,
    last: u32,
}

impl Slot {
    const EMPTY: Slot = Slot { first: NIL, last: NIL };
}

impl<T> Timers<T> {
    /// An empty queue.
    pub fn new() -> Timers<T> {
        Timers {
            entries: Vec::new(),
            free: NIL,
            len: 0,
            tick: 0,
            levels: 0,
            occupied: [0; LEVELS],
            slots: Box::new([Slot::EMPTY; LEVELS * SLOTS]),
        }
    }

    /// Inserts a timer.
    pub fn insert(&mut self, at: Instant, what: T) -> TimerId {
        let tick = at.0.div_ceil(TICK_MICROSECONDS).max(self.tick);
        let index = self.allot(tick, what);
        self.link(index);
        self.len += 1;
        let generation = self.entries[index as usize].generation;
        let name = u64::from(generation) << 32 | u64::from(index);
        TimerId(NonZeroU64::new(name).expect("generations are never 0"))
    }

    /// Removes a timer and gives back what it carried; `None` if the name is void.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let index = id.0.get() as u32;
        let generation = (id.0.get() >> 32) as u32;
        let entry = self.entries.get(index as usize)?;
        if entry.generation != generation || entry.what.is_none() {
            return None;
        }
        self.unlink(index);
        Some(self.free(index))
    }

    /// Takes the earliest timer that is due at `now`.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let now = now.0 / TICK_MICROSECONDS;
        loop {
            let Some(first) = self.first_slot().filter(|first| first.tick <= now) else {
                self.tick = self.tick.max(now);
                return None;
            };
            self.tick = first.tick;
            if first.slot < SLOTS {
                let index = self.slots[first.slot].first;
                self.unlink(index);
                return Some(self.free(index));
            }
            self.sort_down(first.slot);
        }
    }

    /// When `pop` should be called next: not later than it has something to give, and possibly earlier, when a coarse slot is to
    /// be sorted into finer ones.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.first_slot().map(|first| Instant(first.tick.saturating_mul(TICK_MICROSECONDS)))
    }

    /// How many timers run.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn allot(&mut self, tick: u64, what: T) -> u32 {
        if self.free == NIL {
            let index = u32::try_from(self.entries.len()).ok().filter(|&index| index != NIL);
            let index = index.expect("memory ends before the timers' indices do");
            self.entries.push(Entry {
                tick,
                next: NIL,
                previous: NIL,
                generation: 1,
                slot: 0,
                what: Some(what),
            });
            return index;
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        entry.tick = tick;
        entry.what = Some(what);
        index
    }

    fn free(&mut self, index: u32) -> T {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.checked_add(1).unwrap_or(1);
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
        entry.what.take().expect("a linked entry carries something")
    }

    /// Puts an entry at the end of the slot that its deadline and the present choose. A slot receives timers only while its level
    /// tells them from the present, and is emptied in order at the moment when it no longer does: so timers of one tick
    /// never overtake each other.
    fn link(&mut self, index: u32) {
        let tick = self.entries[index as usize].tick;
        let highest_difference = u64::BITS - 1 - ((self.tick ^ tick) | (SLOTS as u64 - 1)).leading_zeros();
        let level = (highest_difference / SLOT_BITS) as usize;
        let place = (tick >> (level as u32 * SLOT_BITS)) as usize & (SLOTS - 1);
        let slot = level * SLOTS + place;

        let last = self.slots[slot].last;
        let entry = &mut self.entries[index as usize];
        entry.slot = slot as u16;
        entry.previous = last;
        entry.next = NIL;
        if last == NIL {
            self.slots[slot].first = index;
            self.occupied[level] |= 1 << place;
            self.levels |= 1 << level;
        } else {
            self.entries[last as usize].next = index;
        }
        self.slots[slot].last = index;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { next, previous, slot, .. } = self.entries[index as usize];
        let slot = usize::from(slot);
        match previous {
            NIL => self.slots[slot].first = next,
            previous => self.entries[previous as usize].next = next,
        }
        match next {
            NIL => self.slots[slot].last = previous,
            next => self.entries[next as usize].previous = previous,
        }
        if self.slots[slot].first == NIL {
            self.mark_empty(slot);
        }
    }

    fn mark_empty(&mut self, slot: usize) {
        let level = slot / SLOTS;
        self.occupied[level] &= !(1 << (slot % SLOTS));
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    fn sort_down(&mut self, slot: usize) {
        let mut index = std::mem::replace(&mut self.slots[slot], Slot::EMPTY).first;
        self.mark_empty(slot);
        while index != NIL {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    /// The slot whose time comes first. Every timer of a level is earlier than those of the levels above it.
    fn first_slot(&self) -> Option<FirstSlot> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros();
        let place = self.occupied[level as usize].trailing_zeros();
        let shift = level * SLOT_BITS;
        let above = shift + SLOT_BITS;
        let tick = (self.tick >> above << above) | u64::from(place) << shift;
        Some(FirstSlot { slot: level as usize * SLOTS + place as usize, tick })
    }
}

struct FirstSlot {
    slot: usize,
    tick: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers::new()
    }
}
