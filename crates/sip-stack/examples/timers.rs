//! Prints what a timer costs: inserted and cancelled, as nearly all are, or inserted and popped.
//!
//! `cargo run --release -p sip-stack --example timers`

use std::time::{Duration, Instant as Clock};

use node::Instant;
use sip_stack::timer::{TimerId, Timers};

/// Timers that are timed together. The median of the batches is printed: others may use the machine at the same time.
const BATCH: usize = 1_000;
/// 200,000 timers run at once: what 6,000 requests a second over UDP leave behind for 32 seconds.
const BATCHES: usize = 200;
const REPEATS: usize = 10;

fn main() {
    let mut timers = Timers::new();
    let mut now = Instant(0);
    let (mut insert, mut cancel, mut pop) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let mut names = Vec::new();
        for _ in 0..BATCHES {
            insert.push(timed(|| names.extend((0..BATCH).map(|place| start(&mut timers, now, place)))));
            now = now + Duration::from_millis(1);
        }
        let answered: Vec<TimerId> = names.into_iter().step_by(2).collect();
        for batch in answered.chunks_exact(BATCH) {
            cancel.push(timed(|| batch.iter().filter_map(|&name| timers.cancel(name)).count()));
        }
        now = now + Duration::from_secs(40);
        while !timers.is_empty() {
            pop.push(timed(|| (0..BATCH).filter_map(|_| timers.pop(now)).count()));
        }
    }
    for (name, mut batches) in [("insert", insert), ("cancel", cancel), ("pop", pop)] {
        batches.sort_unstable();
        println!("{name}: {} ns", (batches[batches.len() / 2] / BATCH as u32).as_nanos());
    }
}

fn timed<T>(act: impl FnOnce() -> T) -> Duration {
    let began = Clock::now();
    std::hint::black_box(act());
    began.elapsed()
}

/// A retransmission after T1, which an answer cancels, or a memory of 64*T1, which runs out.
fn start(timers: &mut Timers<usize>, now: Instant, place: usize) -> TimerId {
    let after = if place.is_multiple_of(2) { 500 } else { 32_000 };
    timers.insert(now + Duration::from_millis(after), place)
}
