//! What following a directory costs: CPU and wall time of writing accounts and objects in steps, of the same again, of a change of
//! all of them, of reading them, and of pruning what they were.
//!
//! `cargo run --release -p storage --example replicate -- [USERS] [STEP] [PHOTO_BYTES]`
//!
//! CPU is that of the writer's thread alone (user and system), so the wait for the disk is not in it; checkpoints are. Each user has
//! an object, which has a photo if it has octets. Each line begins with the database that the lines before it have filled.

mod support;

use std::sync::mpsc;
use std::time::Instant;

use directory::{
    Card, DirectoryAccount, Object, ObjectId, ObjectKind, Permissions, Phone, PhoneKind, PhotoDigest, Role,
    SipAddress, Standing, UserId,
};
use node::QueryToken;
use node::store::{Completion, Store, Submission};
use records::{Change, DirectoryUser, ObjectChange, Query, Replication, Revision, Rows};
use storage::{Options, Sqlite};

use support::writer_cpu;

/// Rows of a page that the Front End reads.
const PAGE_ROWS: u32 = 1_000;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>().expect("a number"));
    let users = arguments.next().unwrap_or(20_000);
    let step = arguments.next().unwrap_or(500);
    let photo_bytes = arguments.next().unwrap_or(0) as usize;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("replicate.db");
    let (sender, receiver) = mpsc::channel();
    let sink = Box::new(move |completions| sender.send(completions).expect("the receiver lives"));
    let mut store = Sqlite::open(&path, Options::default(), sink).expect("a new database");

    println!("{users} users and as many objects in steps of {step} of each, photos of {photo_bytes} bytes");
    println!("{:<24} {:>10} {:>10} {:>14} {:>8}", "", "CPU ms", "wall ms", "longest ms", "MB");
    for (what, version) in [("written", 0), ("the same again", 0), ("renamed", 1), ("renamed", 2)] {
        let (began, cpu) = (Instant::now(), writer_cpu());
        let mut longest = 0.0f64;
        for first in (1..=users).step_by(step as usize) {
            let ids = first..=users.min(first + step - 1);
            let change = Change::Replicate(Box::new(replication(ids, version, photo_bytes)));
            let began = writer_cpu();
            support::persist(&mut store, &receiver, vec![change]);
            longest = longest.max(writer_cpu() - began);
        }
        report(what, writer_cpu() - cpu, began, Some(longest), &store);
    }

    let (began, cpu) = (Instant::now(), writer_cpu());
    let rows = ask(&mut store, &receiver, Query::Load);
    assert!(matches!(rows, Rows::Loaded(records) if records.len() as u64 == users));
    report("Load", writer_cpu() - cpu, began, None, &store);

    let (began, cpu) = (Instant::now(), writer_cpu());
    let mut after = Revision(0);
    let mut read = 0;
    loop {
        let rows = ask(&mut store, &receiver, Query::Objects { after, limit: PAGE_ROWS });
        let Rows::Objects(rows) = rows else { panic!("the wrong rows") };
        let Some(last) = rows.last() else { break };
        (after, read) = (last.revision, read + rows.len());
    }
    report(&format!("{read} rows read"), writer_cpu() - cpu, began, None, &store);

    let (began, cpu, commits) = (Instant::now(), writer_cpu(), store.metrics().commits);
    support::persist(&mut store, &receiver, vec![Change::PruneObjects { before_unix_ms: u64::MAX }]);
    let steps = store.metrics().commits - commits;
    report(&format!("pruned in {steps} steps"), writer_cpu() - cpu, began, None, &store);
}

fn report(what: &str, cpu: f64, began: Instant, longest: Option<f64>, store: &Sqlite) {
    let longest = longest.map_or(String::new(), |micros| format!("{:.1}", micros / 1e3));
    let wall = began.elapsed().as_millis();
    let megabytes = store.metrics().bytes_on_disk as f64 / 1e6;
    println!("{what:<24} {:>10.0} {wall:>10} {longest:>14} {megabytes:>8.1}", cpu / 1e3);
}

fn ask(store: &mut Sqlite, receiver: &mpsc::Receiver<Vec<Completion<Rows>>>, query: Query) -> Rows {
    store.submit(vec![Submission::Query { token: QueryToken(0), query }]);
    match receiver.recv().expect("rows").pop() {
        Some(Completion::Rows { rows: Ok(rows), .. }) => rows,
        other => panic!("no rows: {other:?}"),
    }
}

fn replication(ids: std::ops::RangeInclusive<u64>, version: u64, photo_bytes: usize) -> Replication {
    let digest = |id: u64| PhotoDigest(std::array::from_fn(|at| scattered(id).0[at % 16] ^ at as u8));
    let has_photos = photo_bytes > 0 && version == 0;
    let object = |id| Object { photo: (photo_bytes > 0).then(|| digest(id)), ..object(id, version) };
    Replication {
        users: ids.clone().map(|id| user(id, version)).collect(),
        objects: ids.clone().map(|id| ObjectChange::Put(Box::new(object(id)))).collect(),
        photos: ids.filter(|_| has_photos).map(|id| (digest(id), vec![id as u8; photo_bytes])).collect(),
        servers: None,
        state: Some(vec![1; 100]),
        at_unix_ms: 1_790_000_000_000 + version,
    }
}

/// In no order, as an objectGUID.
fn scattered(id: u64) -> ObjectId {
    let mixed = u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    ObjectId((mixed ^ mixed >> 61).to_le_bytes())
}

fn address(id: u64, version: u64) -> SipAddress {
    SipAddress::parse(&format!("given{version}.surname{id}@contoso.example")).expect("an address")
}

fn user(id: u64, version: u64) -> DirectoryUser {
    DirectoryUser {
        id: UserId(id),
        address: address(id, version),
        aliases: (0..version).map(|old| address(id, old)).collect(),
        display_name: format!("Given{version} Surname{id}"),
        account: DirectoryAccount {
            object: scattered(id),
            standing: Standing::Active,
            bind_name: format!("user{id}@corp.contoso.example"),
            sign_in_names: vec![
                format!("contoso\\user{id}"),
                format!("user{id}"),
                format!("user{id}@CORP.CONTOSO.EXAMPLE"),
                format!("user{id}@corp.contoso.example"),
            ],
            role: Role::Person,
            permissions: Permissions::default(),
            expires_unix_ms: None,
        },
    }
}

fn object(id: u64, version: u64) -> Object {
    let phone = |kind, written: String| Phone {
        kind,
        e164: Some(format!("+{}", written.replace(' ', ""))),
        written,
        extension: None,
    };
    Object {
        address: Some(address(id, version)),
        card: Card {
            display_name: format!("Given{version} Surname{id}"),
            given_name: format!("Given{version}"),
            surname: format!("Surname{id}"),
            title: "Engineer".to_owned(),
            department: "Research and Development".to_owned(),
            company: "Contoso".to_owned(),
            office: format!("B{}", id % 400),
            street: "1 Example Street".to_owned(),
            city: "Exampleton".to_owned(),
            country: "Exampleland".to_owned(),
            mail: vec![format!("given.surname{id}@contoso.example")],
            phones: vec![
                phone(PhoneKind::Work, format!("49 89 555 {id}")),
                phone(PhoneKind::Mobile, format!("49 170 {id}")),
            ],
            ..Card::default()
        },
        manager: Some(scattered(id / 10 + 1)),
        ..Object::new(scattered(id), ObjectKind::Person)
    }
}
