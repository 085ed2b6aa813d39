//! What it takes in memory that somebody watches somebody: as a member of a list, and by a subscription of its own. Counted is what the
//! allocator hands out.
//!
//! `cargo test --release -p frontend --test memory -- --nocapture` prints the figures.

#[allow(dead_code, reason = "each target uses a part of what they share")]
#[path = "../examples/common/mod.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{By, USERS, World};

struct Counting;

static HEAP: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with its arguments unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HEAP.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Longer than anything is kept that is over, in microseconds.
const OVER_US: u64 = 100_000_000;
/// 750,000 pairs are what 15,000 people with 50 contacts each make: they may take 96 MB.
const PAIR_OCTETS_MAX: u64 = 128;
/// Of a dialog with its NOTIFYs' head and its places in the tables.
const SINGLE_OCTETS_MAX: u64 = 1400;

/// The octets that stay in use of what is done here.
fn octets_of(world: &mut World, what: impl FnOnce(&mut World)) -> u64 {
    let before = HEAP.load(Ordering::Relaxed);
    what(world);
    world.answer_all_notifies();
    world.now += OVER_US;
    world.answer_all_notifies();
    u64::try_from(HEAP.load(Ordering::Relaxed).saturating_sub(before)).expect("it fits")
}

/// Different ones for everybody, each watched by as many.
fn contacts(of: u64, count: u64) -> Vec<u64> {
    (0..count).map(|n| (of + 1 + n * 13) % USERS).collect()
}

fn watch_lists(world: &mut World, watchers: std::ops::Range<u64>, count: u64) {
    for watcher in watchers {
        world.watch(By::List(&contacts(watcher, count)), watcher, 0, None, 3600, 1);
        world.answer_all_notifies();
    }
}

#[test]
fn a_pair_takes_few_octets() {
    /// So many that what grows by doubling has grown a few times.
    const LISTS: u64 = 200;
    let mut world = World::new();
    for user in 0..USERS {
        world.register(user, 1);
    }
    // Everybody is watched by somebody, and what is allotted once is there.
    let everybody: Vec<u64> = (0..USERS).collect();
    octets_of(&mut world, |world| {
        world.watch(By::List(&everybody), 0, 1, None, 3600, 1);
    });
    let short = octets_of(&mut world, |world| watch_lists(world, 0..LISTS, 10));
    let long = octets_of(&mut world, |world| watch_lists(world, LISTS..2 * LISTS, 60));
    let pair = (long - short) / (LISTS * 50);
    let dialog = (short / LISTS).saturating_sub(10 * pair);
    println!("a member of a list: {pair} octets; a list besides: {dialog} octets");
    assert!(pair <= PAIR_OCTETS_MAX, "{pair} octets");
    let single = octets_of(&mut world, |world| {
        for watcher in 0..50 {
            for of in contacts(watcher, 40) {
                world.watch(By::Single, watcher, of, None, 3600, 1);
                world.answer_notifies(1);
            }
        }
    });
    let single = single / (50 * 40);
    println!("a subscription to one person: {single} octets");
    assert!(single <= SINGLE_OCTETS_MAX, "{single} octets");
}
