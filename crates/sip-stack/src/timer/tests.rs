use std::collections::BTreeMap;

use node::Instant;
use proptest::prelude::*;

use super::{TICK_MICROSECONDS, TimerId, Timers};

#[derive(Clone, Debug)]
enum Step {
    /// Inserts a timer this far from the present, or this far behind it.
    Insert { ahead: bool, distance: u64 },
    /// Cancels one of the names given so far, void or not.
    Cancel(prop::sample::Index),
    /// Lets time pass and pops at most so many.
    Pass { by: u64, pops: usize },
    /// Goes to the next deadline and pops one.
    Next,
}

fn distance() -> impl Strategy<Value = u64> {
    // From within a tick to far beyond the fourth level.
    (0u32..44).prop_flat_map(|bits| 0..=(1u64 << bits))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop::bool::weighted(0.9), distance()).prop_map(|(ahead, distance)| Step::Insert { ahead, distance }),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        2 => (distance(), 0usize..5).prop_map(|(by, pops)| Step::Pass { by, pops }),
        1 => Just(Step::Next),
    ]
}

/// What the wheel must behave like: an ordered map by rounded deadline and order of insertion.
#[derive(Default)]
struct Model {
    tick: u64,
    timers: BTreeMap<(u64, usize), ()>,
    keys: Vec<(u64, usize)>,
}

impl Model {
    fn insert(&mut self, at: Instant) -> usize {
        let number = self.keys.len();
        let key = (at.0.div_ceil(TICK_MICROSECONDS).max(self.tick), number);
        self.timers.insert(key, ());
        self.keys.push(key);
        number
    }

    fn pop(&mut self, now: Instant) -> Option<usize> {
        let now = now.0 / TICK_MICROSECONDS;
        match self.timers.first_key_value() {
            Some((&(tick, number), ())) if tick <= now => {
                self.timers.pop_first();
                self.tick = tick;
                Some(number)
            }
            _ => {
                self.tick = self.tick.max(now);
                None
            }
        }
    }
}

fn check(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut timers = Timers::new();
    let mut model = Model::default();
    let mut names: Vec<TimerId> = Vec::new();
    let mut now = Instant(0);
    for step in steps {
        match step {
            Step::Insert { ahead, distance } => {
                let at = if ahead { now.0 + distance } else { now.0.saturating_sub(distance) };
                names.push(timers.insert(Instant(at), model.insert(Instant(at))));
            }
            Step::Cancel(which) if !names.is_empty() => {
                let number = which.index(names.len());
                let expected = model.timers.remove(&model.keys[number]).map(|()| number);
                prop_assert_eq!(timers.cancel(names[number]), expected);
            }
            Step::Cancel(_) => {}
            Step::Pass { by, pops } => {
                now.0 += by;
                for _ in 0..pops {
                    prop_assert_eq!(timers.pop(now), model.pop(now));
                }
            }
            Step::Next => {
                if let Some(deadline) = timers.next_deadline() {
                    now = now.max(deadline);
                    prop_assert_eq!(timers.pop(now), model.pop(now));
                }
            }
        }
        prop_assert_eq!(timers.len(), model.timers.len());
        prop_assert_eq!(timers.is_empty(), model.timers.is_empty());
        let earliest =
            model.timers.first_key_value().map(|(&(tick, _), ())| Instant(tick * TICK_MICROSECONDS));
        prop_assert_eq!(timers.next_deadline().is_some(), earliest.is_some());
        prop_assert!(timers.next_deadline() <= earliest);
    }
    while let Some(deadline) = timers.next_deadline() {
        now = now.max(deadline);
        prop_assert_eq!(timers.pop(now), model.pop(now));
    }
    prop_assert!(model.timers.is_empty());
    Ok(())
}

proptest! {
    #[test]
    fn behaves_like_an_ordered_map(steps in prop::collection::vec(step(), 1..200)) {
        check(steps)?;
    }
}

#[test]
fn never_pops_early() {
    let mut timers = Timers::new();
    timers.insert(Instant(1_500), "late in its tick");
    assert_eq!(timers.pop(Instant(1_999)), None);
    assert_eq!(timers.pop(Instant(2_000)), Some("late in its tick"));
}

#[test]
fn same_deadline_pops_in_order_of_insertion_from_any_distance() {
    let mut timers = Timers::new();
    let at = Instant(10_000_000);
    timers.insert(at, 1);
    for step in 0..10 {
        assert_eq!(timers.pop(Instant(step * 1_000_000)), None);
        timers.insert(at, 2 + step);
    }
    assert_eq!(std::iter::from_fn(|| timers.pop(at)).collect::<Vec<_>>(), (1..12).collect::<Vec<_>>());
}

#[test]
fn a_void_name_cancels_nothing() {
    let mut timers = Timers::new();
    let first = timers.insert(Instant(1), 1);
    assert_eq!(timers.cancel(first), Some(1));
    let second = timers.insert(Instant(1), 2);
    assert_eq!(timers.cancel(first), None);
    assert_eq!(timers.pop(Instant(1_000)), Some(2));
    assert_eq!(timers.cancel(second), None);
}

#[test]
fn the_end_of_time_is_a_deadline() {
    let mut timers = Timers::new();
    timers.insert(Instant(u64::MAX), ());
    assert_eq!(timers.pop(Instant(u64::MAX - 2_000)), None);
    assert!(timers.next_deadline().is_some());
}
