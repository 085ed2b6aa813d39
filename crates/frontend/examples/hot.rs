//! What the front end itself costs, without sockets and disk: CPU nanoseconds for a registration, a message, a call, a NOTIFY, and for
//! watching contacts by one list (`list`) or by a subscription each (`single`): subscribe, hear of one change of each, ten a second,
//! refresh, unsubscribe.
//!
//! `cargo run --release -p frontend --example hot -- [register|message|call|notify] [ROUNDS]`
//! `cargo run --release -p frontend --example hot -- [list|single] [CYCLES] [CONTACTS]`

mod common;

use std::time::Duration;

use common::{By, USERS, World};

/// Those whose presence is watched, each by `WATCHERS` of the others.
const WATCHED: u64 = 10;
const WATCHERS: u64 = 100;
/// Those who watch the same contacts, by lists or alone.
const LIST_WATCHERS: u64 = 20;
/// Somebody of a list changes so often: ten times a second.
const BETWEEN_CHANGES: Duration = Duration::from_millis(100);
/// Longer than anything is gathered to be told together.
const WINDOW_MAX: Duration = Duration::from_secs(1);
/// So many, in the time that passes here, a registration of an hour outlives.
const CYCLES_MAX: u64 = 4;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "register".to_owned());
    let rounds: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let mut world = World::new();
    for user in 0..USERS {
        world.register(user, 1);
    }
    match what.as_str() {
        "notify" => return notify(&mut world, rounds),
        "list" | "single" => {
            let count = arguments.next().and_then(|n| n.parse().ok());
            let is_list = what == "list";
            return contacts(
                &mut world,
                is_list,
                rounds.min(CYCLES_MAX),
                count.unwrap_or(if is_list { 150 } else { 40 }),
            );
        }
        _ => {}
    }
    world.spent = Duration::ZERO;
    for n in 0..rounds {
        let (from, to) = (n % (USERS / 2), USERS / 2 + n * 7 % (USERS / 2));
        match what.as_str() {
            "register" => world.register(n % USERS, u32::try_from(3 + n / USERS * 2).expect("fits")),
            "message" => world.message(from, to, n),
            "call" => world.call(from, to, n),
            other => panic!("register, message, call or notify, not {other}"),
        }
    }
    println!("{what}: {} ns", world.spent.as_nanos() / u128::from(rounds));
}

/// What a watcher's contacts cost. The PUBLISHes of the changes are included; `LIST_WATCHERS` share them.
fn contacts(world: &mut World, is_list: bool, cycles: u64, count: u64) {
    let watched: Vec<u64> = (0..count).map(|n| LIST_WATCHERS + n).collect();
    let by = if is_list { By::List(&watched) } else { By::Single };
    let dialogs: Vec<(u64, u64)> = (0..LIST_WATCHERS)
        .flat_map(|watcher| (0..if is_list { 1 } else { count }).map(move |n| (watcher, LIST_WATCHERS + n)))
        .collect();
    let mut tags: Vec<Option<String>> = vec![None; usize::try_from(count).expect("few")];
    let mut published = 0;
    let mut spent = [Duration::ZERO; 4];
    let mut notified = [0; 4];
    let mut mark = |world: &mut World, step: usize, notified: &mut [u64; 4]| {
        notified[step] += world.answer_all_notifies();
        spent[step] += std::mem::take(&mut world.spent);
    };
    for cycle in 0..cycles {
        let cseq = u32::try_from(cycle * 3).expect("few") + 1;
        world.spent = Duration::ZERO;
        let mut to = Vec::new();
        for (watcher, of) in &dialogs {
            to.push(world.watch(by, *watcher, *of, None, 3600, cseq));
            mark(world, 0, &mut notified);
        }
        for (n, tag) in tags.iter_mut().enumerate() {
            world.wait(BETWEEN_CHANGES);
            notified[1] += world.answer_sent_notifies();
            *tag = Some(world.publish(LIST_WATCHERS + n as u64, published, tag.as_deref()));
            published += 1;
            notified[1] += world.answer_sent_notifies();
        }
        world.wait(WINDOW_MAX);
        mark(world, 1, &mut notified);
        for ((watcher, of), to) in dialogs.iter().zip(&to) {
            world.watch(by, *watcher, *of, Some(to), 3600, cseq + 1);
            mark(world, 2, &mut notified);
        }
        for ((watcher, of), to) in dialogs.iter().zip(&to) {
            world.watch(by, *watcher, *of, Some(to), 0, cseq + 2);
            mark(world, 3, &mut notified);
        }
    }
    let each = u128::from(cycles * LIST_WATCHERS);
    for (step, name) in ["subscribe", "change", "refresh", "unsubscribe"].iter().enumerate() {
        println!("{name}: {} ns, {} NOTIFYs", spent[step].as_nanos() / each, notified[step] as u128 / each);
    }
}

/// Its share of the PUBLISH included.
fn notify(world: &mut World, rounds: u64) {
    for watched in 0..WATCHED {
        for watcher in 0..WATCHERS {
            world.subscribe(WATCHED + watcher, watched);
        }
    }
    let mut tags: Vec<Option<String>> = vec![None; usize::try_from(WATCHED).expect("few")];
    world.spent = Duration::ZERO;
    let publications = rounds.div_ceil(WATCHERS);
    for n in 0..publications {
        let tag = &mut tags[usize::try_from(n % WATCHED).expect("few")];
        world.wait(WINDOW_MAX);
        *tag = Some(world.publish(n % WATCHED, n / WATCHED, tag.as_deref()));
        world.answer_notifies(WATCHERS);
    }
    println!("notify: {} ns", world.spent.as_nanos() / u128::from(publications * WATCHERS));
}
