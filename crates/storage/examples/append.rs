//! What a message costs: CPU per `AppendMessage` and `AdvanceTaken`, for several group sizes; or a call, per `AppendCall` for
//! each of its two parties.
//!
//! `cargo run --release -p storage --example append -- [USERS] [MESSAGES] [GROUP] [messages|calls]`
//!
//! The time is that of the writer's thread alone (user and system), so the wait for the disk is not in it; checkpoints
//! are. So they are in the octets written and the calls that wrote them, which are the process's. Each line begins with the database that the lines before it have filled.

mod support;

use std::sync::mpsc;

use node::store::{Store, Submission};
use records::{Change, Query};
use storage::{Options, Sqlite};

use support::changes::{Changes, REQUEST_BYTES, add_user};
use support::{writer_cpu, written};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).map(|a| a.parse::<u64>().expect("a number"));
    let users = number(0).unwrap_or(500);
    let messages = number(1).unwrap_or(32_768);
    let groups = number(2).map_or(vec![1, 4, 16, 32, 64, 256], |group| vec![group]);
    let what = arguments.get(3).map_or("messages", String::as_str);
    let changes = match what {
        "messages" => Changes::messages,
        "calls" => Changes::calls,
        other => panic!("messages or calls, not {other}"),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("append.db");
    let (sender, receiver) = mpsc::channel();
    let options = Options { commit_interval: std::time::Duration::ZERO, ..Options::default() };
    let sink = Box::new(move |completions| sender.send(completions).expect("the receiver lives"));
    let mut store = Sqlite::open(&path, options, sink).expect("a new database");
    let mut bench = Changes::new(users);
    support::persist(&mut store, &receiver, (1..=users).map(add_user).collect());

    println!("users {users}, {messages} {what} a line; messages have {REQUEST_BYTES} bytes");
    let columns = ["CPU us each", "wall us each", "octets each", "writes each", "MB"];
    println!("{:>6} {}", "group", columns.map(|column| format!("{column:>12}")).join(" "));
    for group in groups {
        let count = if group < 16 { messages / 8 } else { messages };
        let (began, wall, commits) = (writer_cpu(), std::time::Instant::now(), store.metrics().commits);
        let (octets_before, writes_before) = written();
        for _ in 0..count / group {
            let batch = changes(&mut bench, group);
            support::persist(&mut store, &receiver, batch);
        }
        let cpu = (writer_cpu() - began) / count as f64;
        let wall = wall.elapsed().as_micros() as f64 / count as f64;
        // The steps of merges come on top.
        assert!(store.metrics().commits - commits >= count / group, "one commit for each group");
        let megabytes = store.metrics().bytes_on_disk as f64 / 1e6;
        let (octets, writes) = written();
        let octets = (octets - octets_before) / count as f64;
        let writes = (writes - writes_before) / count as f64;
        println!("{group:>6} {cpu:>12.2} {wall:>12.2} {octets:>12.0} {writes:>12.2} {megabytes:>12.1}");
    }
    let loading = writer_cpu();
    let load = Submission::Query { token: node::QueryToken(0), query: Query::Load };
    store.submit(vec![load]);
    receiver.recv().expect("rows");
    println!("Load: {:.0} us", writer_cpu() - loading);

    let (began, commits) = (writer_cpu(), store.metrics().commits);
    let all = Change::Prune { messages_before_unix_ms: u64::MAX, devices_before_unix_ms: 0 };
    support::persist(&mut store, &receiver, vec![all]);
    let steps = store.metrics().commits - commits;
    println!("Prune: {steps} steps, {:.0} us each", (writer_cpu() - began) / steps as f64);
}
