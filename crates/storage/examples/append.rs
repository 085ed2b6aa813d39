//! What a message costs: CPU per `AppendMessage` and `AdvanceTaken`, for several group sizes; or a call, per `AppendCall` for
//! each of its two parties.
//!
//! `cargo run --release -p storage --example append -- [USERS] [MESSAGES] [GROUP] [messages|calls]`
//!
//! The time is that of the writer's thread alone (user and system), so the wait for the disk is not in it; checkpoints
//! are. So they are in the octets written and the calls that wrote them, which are the process's. Each line begins with the database that the lines before it have filled.

mod support;

use std::sync::mpsc;

use directory::{SipAddress, User, UserId};
use node::store::{Store, Submission};
use records::{CallEnd, Change, Direction, Query, Sequence, StoredCall, StoredMessage};
use storage::{Options, Sqlite};

use support::{writer_cpu, written};

/// In bytes: a MESSAGE with a line of text, as a device sees it.
const REQUEST_BYTES: usize = 700;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).map(|a| a.parse::<u64>().expect("a number"));
    let users = number(0).unwrap_or(500);
    let messages = number(1).unwrap_or(32_768);
    let groups = number(2).map_or(vec![1, 4, 16, 32, 64, 256], |group| vec![group]);
    let what = arguments.get(3).map_or("messages", String::as_str);
    let changes = match what {
        "messages" => Bench::messages,
        "calls" => Bench::calls,
        other => panic!("messages or calls, not {other}"),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("append.db");
    let (sender, receiver) = mpsc::channel();
    let options = Options { commit_interval: std::time::Duration::ZERO, ..Options::default() };
    let sink = Box::new(move |completions| sender.send(completions).expect("the receiver lives"));
    let mut store = Sqlite::open(&path, options, sink).expect("a new database");
    let mut bench = Bench { users, next: 0, rng: 1 };
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

struct Bench {
    users: u64,
    next: u64,
    rng: u64,
}

impl Bench {
    fn messages(&mut self, count: u64) -> Vec<Change> {
        let mut batch = Vec::new();
        for _ in 0..count {
            let owner = UserId(self.random() % self.users + 1);
            let identity = [self.random().to_le_bytes(), self.random().to_le_bytes()].concat();
            self.next += 1;
            batch.push(Change::AppendMessage(StoredMessage {
                owner,
                sequence: Sequence(self.next),
                direction: Direction::Received,
                peer: SipAddress::parse("someone.else@contoso.example").expect("an address"),
                identity: identity.try_into().expect("16 octets"),
                received_unix_ms: 1_790_000_000_000 + self.next / 10,
                request: vec![b'x'; REQUEST_BYTES],
            }));
            batch.push(Change::AdvanceTaken { owner, through: Sequence(self.next) });
        }
        batch
    }

    /// Two rows for each.
    fn calls(&mut self, count: u64) -> Vec<Change> {
        let mut batch = Vec::new();
        for _ in 0..count {
            self.next += 1;
            let began_unix_ms = 1_790_000_000_000 + self.next / 10;
            let id = [began_unix_ms.to_be_bytes(), self.random().to_be_bytes()].concat();
            let call = StoredCall {
                owner: UserId(self.random() % self.users + 1),
                id: id.try_into().expect("16 octets"),
                direction: Direction::Received,
                peer: SipAddress::parse("someone.else@contoso.example").expect("an address"),
                began_unix_ms,
                lasted_ms: 60_000,
                end: CallEnd::Answered,
                answered_at: "desk phone".to_owned(),
            };
            let caller = UserId(self.random() % self.users + 1);
            let mut sent = StoredCall { owner: caller, direction: Direction::Sent, ..call.clone() };
            sent.id[15] ^= u8::from(caller == call.owner);
            batch.extend([Change::AppendCall(call), Change::AppendCall(sent)]);
        }
        batch
    }

    /// xorshift64*: the same figures in every run.
    fn random(&mut self) -> u64 {
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 3
    }
}

fn add_user(id: u64) -> Change {
    Change::AddUser {
        user: User {
            display_name: format!("User {id}"),
            ..User::local(
                UserId(id),
                SipAddress::parse(&format!("user{id}@contoso.example")).expect("an address"),
            )
        },
        at_unix_ms: 0,
    }
}
