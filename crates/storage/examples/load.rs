//! What a start costs: opening a database and reading all users with their documents.
//!
//! `cargo run --release -p storage --example load -- [USERS] [CONTACTS_BYTES] [RULES_BYTES]`

use std::sync::mpsc;
use std::time::Instant;

use directory::{SipAddress, User, UserId};
use node::store::{Completion, PersistToken, Store, Submission, Urgency};
use presence::{Manual, ManualState};
use records::{Change, Document, Query, Rows};
use storage::{Options, Sqlite};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse().expect("a number"));
    let users: u64 = arguments.next().unwrap_or(15_000);
    // A hundred contacts, and a handful of rules.
    let contacts_bytes: u64 = arguments.next().unwrap_or(8_000);
    let rules_bytes: u64 = arguments.next().unwrap_or(1_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("load.db");

    let (mut store, receiver) = open(&path);
    for first in (1..=users).step_by(512) {
        let ids = first..=users.min(first + 511);
        let changes = ids.flat_map(|id| {
            let contacts = document(id, "resource-lists", contacts_bytes);
            let rules = document(id, "pres-rules", rules_bytes);
            let manual = Manual { state: Some(ManualState::Busy), ..Manual::default() };
            [add_user(id), contacts, rules, Change::SetManual { user: UserId(id), manual }]
        });
        let persist = |change| Submission::Persist { token: PersistToken(0), change, urgency: Urgency::Now };
        let batch: Vec<_> = changes.map(persist).collect();
        let mut missing = batch.len();
        store.submit(batch);
        while missing > 0 {
            missing -= receiver.recv().expect("completions").len();
        }
    }
    store.close().expect("closed");

    for _ in 0..3 {
        let began = Instant::now();
        let (mut store, receiver) = open(&path);
        let opened = began.elapsed();
        store.submit(vec![Submission::Query { token: node::QueryToken(0), query: Query::Load }]);
        let rows = receiver.recv().expect("rows").pop();
        let Some(Completion::Rows { rows: Ok(Rows::Loaded(records)), .. }) = rows else { panic!("no users") };
        let loaded = began.elapsed() - opened;
        let documents: usize = records.iter().map(|record| record.documents.len()).sum();
        println!(
            "{} users, {documents} documents, {:.0} MB: open {} ms, load {} ms",
            records.len(),
            std::fs::metadata(&path).expect("it is there").len() as f64 / 1e6,
            opened.as_millis(),
            loaded.as_millis(),
        );
    }
}

fn open(path: &std::path::Path) -> (Sqlite, mpsc::Receiver<Vec<Completion<Rows>>>) {
    let (sender, receiver) = mpsc::channel();
    let sink = Box::new(move |completions| sender.send(completions).expect("the receiver lives"));
    (Sqlite::open(path, Options::default(), sink).expect("a database"), receiver)
}

fn document(owner: u64, application: &str, octets: u64) -> Change {
    Change::PutDocument(Document {
        owner: UserId(owner),
        application: application.to_owned(),
        name: "index".to_owned(),
        etag: format!("{owner:016x}"),
        body: vec![b'x'; octets as usize],
    })
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
