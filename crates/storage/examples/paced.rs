//! What a message, or a call, costs in a steady stream that is far below what storage could take: CPU of the writer's thread for
//! each, how often it waited, and how many came in a commit.
//!
//! `cargo run --release -p storage --example paced -- [USERS] [EACH_SECOND] [SECONDS] [messages|calls]`

mod support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use node::store::{PersistToken, Store, Submission, Urgency};
use records::Change;
use storage::{Options, Sqlite};

use support::changes::{Changes, add_user};
use support::{writer_cpu, writer_waits};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).map(|a| a.parse::<u64>().expect("a number"));
    let users = number(0).unwrap_or(1_000);
    let each_second = number(1).unwrap_or(1_000);
    let count = each_second * number(2).unwrap_or(10);
    let next = match arguments.get(3).map_or("messages", String::as_str) {
        "messages" => Changes::messages,
        "calls" => Changes::calls,
        other => panic!("messages or calls, not {other}"),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (sender, receiver) = mpsc::channel();
    let sink = Box::new(move |completions| sender.send(completions).expect("the receiver lives"));
    let mut store =
        Sqlite::open(&folder.path().join("paced.db"), Options::default(), sink).expect("a new database");
    let mut changes = Changes::new(users);
    support::persist(&mut store, &receiver, (1..=users).map(add_user).collect());

    let (cpu, waits, commits) = (writer_cpu(), writer_waits(), store.metrics().commits);
    let began = Instant::now();
    let mut missing = 0;
    for n in 0..count {
        let at = began + Duration::from_secs(n) / u32::try_from(each_second).expect("few");
        while let Ok(completions) = receiver.recv_timeout(at.saturating_duration_since(Instant::now())) {
            missing -= completions.len();
        }
        let batch: Vec<_> = next(&mut changes, 1).into_iter().map(submission).collect();
        missing += batch.len();
        store.submit(batch);
    }
    while missing > 0 {
        missing -= receiver.recv().expect("completions").len();
    }
    let each = |value: f64| value / count as f64;
    println!(
        "{:.2} us CPU each, {:.2} waits each, {:.1} in a commit",
        each(writer_cpu() - cpu),
        each(writer_waits() - waits),
        count as f64 / (store.metrics().commits - commits) as f64,
    );
}

/// Nobody waits for the mark of a message.
fn submission(change: Change) -> Submission<Change, records::Query> {
    let urgency = match change {
        Change::AdvanceTaken { .. } => Urgency::Soon,
        _ => Urgency::Now,
    };
    Submission::Persist { token: PersistToken(0), change, urgency }
}
