//! The storage as its driver sees it.

mod copies;
mod following;
mod reference;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use directory::{
    DigestSecrets, DirectoryAccount, Object, ObjectId, ObjectKind, Permissions, Role, SipAddress, Standing,
    UserId, UserState,
};
use node::QueryToken;
use node::store::{Completion, Outcome, Store, StoreError, Submission};
use records::{
    Binding, CallEnd, Change, DeviceKey, Direction, DirectoryUser, Document, MailboxRecord, ObjectChange,
    Query, Replication, Revision, Rows, Sequence, StoredCall,
};
use rusqlite::Connection;
use storage::{OpenError, Options, Sqlite};
use support::*;

fn tokens(batch: &[Completion<Rows>]) -> Vec<u64> {
    let token = |c: &Completion<Rows>| match c {
        Completion::Persisted { token, .. } | Completion::PersistFailed { token, .. } => token.0,
        Completion::Rows { token, .. } => token.0,
    };
    batch.iter().map(token).collect()
}

// ---------------------------------------------------------------- groups

#[test]
fn a_batch_is_one_commit_and_one_call_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    let mut batch: Vec<_> = vec![now(0, add_alice())];
    batch.extend((1..100).map(|n| now(n, message(n, 10))));
    batch.push(now(100, Change::AdvanceTaken { owner: ALICE, through: Sequence(7) }));
    batch.push(Submission::Query { token: QueryToken(101), query: Query::LoadUser(ALICE) });
    batch.push(now(102, message(100, 10)));
    home.store.submit(batch);
    let answer = home.batch();
    assert_eq!(tokens(&answer), (0..103).collect::<Vec<_>>());
    let Completion::Rows { rows: Ok(Rows::LoadedUser(Some(alice))), .. } = &answer[101] else {
        panic!("{answer:?}")
    };
    let seen = MailboxRecord { last: Sequence(99), taken: Sequence(7), cursors: vec![] };
    assert_eq!(alice.mailbox, seen, "what came before the query, and no more");
    let metrics = home.store.metrics();
    assert_eq!((metrics.commits, metrics.changes, metrics.failures, metrics.queue_length), (1, 102, 0, 0));
    assert!(metrics.bytes_on_disk > 0);
}

#[test]
fn a_stream_groups_itself_behind_its_first_commit() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { commit_interval: NEVER, ..Options::default() };
    let mut home = Home::open(&file(&folder), options).unwrap();
    home.store.submit(vec![now(0, add_alice())]);
    assert_eq!(tokens(&home.batch()), [0], "after a pause: at once");
    for n in 1..=10 {
        home.store.submit(vec![now(n, message(n, 10))]);
    }
    let metrics = home.store.metrics();
    assert_eq!((metrics.commits, metrics.queue_length), (1, 10));
    let meter = home.store.meter();
    home.store.close().unwrap();
    let answer = home.batches.recv().unwrap();
    assert_eq!(tokens(&answer), (1..=10).collect::<Vec<_>>(), "closing waits for no company");
    assert_eq!((meter.read().commits, meter.read().changes), (2, 11));
    assert_eq!(Home::eager(&file(&folder)).sequences(ALICE).len(), 10);
}

#[test]
fn what_nobody_waits_for_rides_along() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { soon_delay: NEVER, ..eager() };
    let mut home = Home::open(&file(&folder), options).unwrap();
    home.store.submit(vec![soon(0, add_alice())]);
    home.store.submit(vec![soon(1, message(1, 10))]);
    assert_eq!(home.store.metrics().commits, 0);
    home.store.submit(vec![now(2, message(2, 10))]);
    assert_eq!(tokens(&home.batch()), [0, 1, 2]);
    assert_eq!(home.store.metrics().commits, 1);
    home.store.submit(vec![soon(3, message(3, 10))]);
    home.store.submit(vec![Submission::Query { token: QueryToken(4), query: Query::LoadUser(ALICE) }]);
    assert_eq!(tokens(&home.batch()), [3, 4], "a query sees what came before it");
    assert_eq!(home.store.metrics().commits, 2);
}

#[test]
fn what_nobody_waits_for_is_committed_by_itself_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::open(&file(&folder), Options::default()).unwrap();
    home.store.submit(vec![soon(0, add_alice())]);
    assert_eq!(tokens(&home.batch()), [0]);
}

#[test]
fn a_full_queue_answers_at_once() {
    // One more than the queue takes (`queue::QUEUE_SUBMISSIONS_MAX`).
    const SUBMISSIONS: u64 = 65_536 + 1;
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    let taken = |n| now(n, Change::AdvanceTaken { owner: ALICE, through: Sequence(n) });
    home.store.submit((0..SUBMISSIONS).map(taken).collect());
    let (refused, applied): (Vec<_>, Vec<_>) = std::iter::repeat_with(|| home.batch())
        .flatten()
        .take(SUBMISSIONS as usize)
        .map(outcome)
        .partition(|(_, outcome)| outcome.is_err());
    assert!(matches!(refused[..], [(n, Err(StoreError::Io(_)))] if n == SUBMISSIONS - 1), "{refused:?}");
    assert!(applied.iter().map(|(token, _)| *token).eq(0..SUBMISSIONS - 1));
    assert_eq!(home.store.metrics().failures, 1);
}

#[test]
fn a_receiver_that_panics_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, batches) = std::sync::mpsc::channel();
    let sink = move |batch: Vec<Completion<Rows>>| {
        let first = tokens(&batch) == [0];
        drop(sender.send(batch));
        assert!(!first, "the receiver meets a fault (on purpose)");
    };
    let mut store = Sqlite::open(&file(&folder), eager(), Box::new(sink)).unwrap();
    store.submit(vec![now(0, add_alice())]);
    assert_eq!(tokens(&batches.recv().unwrap()), [0]);
    store.submit(vec![now(1, message(1, 10))]);
    assert_eq!(tokens(&batches.recv().unwrap()), [1]);
    store.close().unwrap();
}

// ---------------------------------------------------------------- failures

#[test]
fn a_change_that_fails_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    let huge = Change::AdvanceTaken { owner: ALICE, through: Sequence(u64::MAX) };
    let other = Change::AppendMessage(match message(1, 10) {
        Change::AppendMessage(message) => records::StoredMessage { identity: [9; 16], ..message },
        _ => unreachable!("it is one"),
    });
    let device = DeviceKey("urn:uuid:1".to_owned());
    let cursor = |through| Change::AdvanceCursor {
        owner: ALICE,
        device: device.clone(),
        through: Sequence(through),
        seen_unix_ms: through,
    };
    let answers =
        home.persist(vec![add_alice(), message(1, 10), cursor(3), other, huge, cursor(2), message(1, 10)]);
    assert_eq!(answers[..3], [Ok(Outcome::Applied), Ok(Outcome::Applied), Ok(Outcome::Applied)]);
    assert!(matches!(answers[3], Err(StoreError::Io(_))), "the sequence is taken: {answers:?}");
    assert!(matches!(answers[4], Err(StoreError::Io(_))), "not a number of SQL: {answers:?}");
    assert_eq!(answers[5..], [Ok(Outcome::Applied), Ok(Outcome::AlreadyThere)]);
    assert_eq!(home.sequences(ALICE), [1]);
    assert_eq!(home.record(ALICE).mailbox.cursors, [(device, Sequence(3))]);
    let metrics = home.store.metrics();
    assert_eq!((metrics.commits, metrics.changes, metrics.failures), (1, 5, 2));
}

#[test]
fn a_full_database_refuses_whole_groups_and_recovers() {
    // With the usual tail, and with one that is merged all the time, into indices that find no room either.
    for tail_messages in [storage::TAIL_MESSAGES, 8] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { bytes_max: Some(1 << 20), tail_messages, ..eager() };
        let mut home = Home::open(&file(&folder), options).unwrap();
        home.persist_all(vec![add_alice()]);
        let kept = fill(&mut home);
        assert!(kept > 50, "{kept} messages of 10,000 octets fit into 1 MiB");
        assert_eq!(
            home.sequences(ALICE),
            (1..=kept).collect::<Vec<_>>(),
            "nothing half-written, nothing lost"
        );
        home.persist_all(vec![Change::Prune {
            messages_before_unix_ms: u64::MAX,
            devices_before_unix_ms: 0,
        }]);
        home.persist_all(vec![message(1_000, 10_000)]);
        assert_eq!(home.sequences(ALICE), [1_000]);
    }
}

/// Appends pairs until one fails with `Full`, both of it; how many messages went in.
fn fill(home: &mut Home) -> u64 {
    for n in (1..10_000).step_by(2) {
        match &home.persist(vec![message(n, 10_000), message(n + 1, 10_000)])[..] {
            [Ok(_), Ok(_)] => {}
            [Err(StoreError::Full), Err(StoreError::Full)] => return n - 1,
            other => panic!("{other:?}"),
        }
    }
    panic!("the disk is never full");
}

#[test]
fn call_logs_that_find_no_room_are_refused_and_recover() {
    const BATCH: u64 = 100;
    for tail_messages in [storage::TAIL_MESSAGES, 8] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { bytes_max: Some(1 << 20), tail_messages, ..eager() };
        let mut home = Home::open(&file(&folder), options).unwrap();
        home.persist_all(vec![add_alice()]);
        let full = |first: &u64| {
            let answers = home.persist((*first..first + BATCH).map(call).collect());
            if answers.iter().all(|answer| *answer == Ok(Outcome::Applied)) {
                return false;
            }
            assert!(answers.iter().all(|answer| *answer == Err(StoreError::Full)), "{answers:?}");
            true
        };
        let kept = (1..1_000_000).step_by(BATCH as usize).find(full).expect("it is full some time") - 1;
        assert!(kept > 2_000, "{kept} calls of some 60 octets fit into 1 MiB");
        let mut log = home.calls(ALICE, None, false, u32::MAX);
        log.reverse();
        assert_eq!(log, (1..=kept).collect::<Vec<_>>(), "nothing half-written, nothing lost");
        home.persist_all(vec![Change::PruneCalls { before_unix_ms: kept }]);
        home.persist_all(vec![call(kept + 7)]);
        assert_eq!(home.calls(ALICE, None, false, 9), [kept + 7, kept]);
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::tmpfs(folder.path(), "size=8m") else {
        eprintln!("skipped: a_full_disk_refuses_and_recovers needs the right to mount a tmpfs");
        return;
    };
    let ballast = folder.path().join("ballast");
    std::fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    let mut home = Home::eager(&file(&folder));
    home.persist_all(vec![add_alice()]);
    let kept = fill(&mut home);
    assert_eq!(home.sequences(ALICE), (1..=kept).collect::<Vec<_>>());
    assert!(matches!(home.persist(vec![message(9_999, 100_000)])[..], [Err(StoreError::Full)]), "still full");
    std::fs::remove_file(&ballast).unwrap();
    home.persist_all(vec![message(10_000, 100_000)]);
    home.store.close().unwrap();
    let mut home = Home::eager(&file(&folder));
    assert_eq!(home.sequences(ALICE), (1..=kept).chain([10_000]).collect::<Vec<_>>());
}

struct Mount<'p>(&'p Path);

impl<'p> Mount<'p> {
    fn tmpfs(at: &'p Path, options: &str) -> Option<Mount<'p>> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Mount(at))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        // Lazy: the database in it is closed after it, as locals are dropped in reverse.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn damage_is_found_when_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let mut home = Home::eager(&path);
    home.persist_all(vec![add_alice(), message(1, 30_000)]);
    home.store.close().unwrap();
    let shell = Connection::open(&path).unwrap();
    let free: i64 = shell.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
    assert_eq!(free, 0, "every page means something");
    shell.close().unwrap();
    let sound = std::fs::read(&path).unwrap();

    let corrupt = |what: &str, content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        let error = Home::open(&path, eager()).err();
        assert!(matches!(error, Some(OpenError::Corrupt(_))), "{what}: {error:?}");
    };
    corrupt("not a database", b"[server]\nlisten = 1\n");
    corrupt("a database cut off", &sound[..sound.len() - 4096]);
    for page in 1..sound.len() / 4096 {
        // The type of a page of a b-tree is its first octet; on an overflow page it belongs to the next page's number.
        let mut damaged = sound.clone();
        damaged[page * 4096] ^= 0x5a;
        corrupt(&format!("page {}", page + 1), &damaged);
    }
    std::fs::write(&path, &sound).unwrap();
    assert_eq!(Home::eager(&path).sequences(ALICE), [1]);
}

#[test]
fn damage_under_way_is_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let mut home = Home::eager(&path);
    home.persist_all(vec![add_alice(), message(1, 10)]);
    // What no change can have written.
    let other = Connection::open(&path).unwrap();
    other.execute("UPDATE message_groups SET content = x'00ff'", []).unwrap();
    let all = Query::Messages { owner: ALICE, after: Sequence(0), limit: 9 };
    assert!(matches!(home.query(all), Err(StoreError::Corrupt(_))));
    assert_eq!(home.store.metrics().failures, 1);
    home.persist_all(vec![message(2, 10)]);
}

#[test]
fn an_administrator_who_holds_the_lock_fails_changes_for_as_long() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    home.persist_all(vec![add_alice()]);
    let shell = Connection::open(file(&folder)).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(home.persist(vec![message(1, 10)])[..], [Err(StoreError::Io(_))]));
    assert_eq!(home.record(ALICE).user.id, ALICE, "reading goes on");
    shell.execute_batch("ROLLBACK").unwrap();
    home.persist_all(vec![message(1, 10)]);
}

// ---------------------------------------------------------------- the file

#[test]
fn a_new_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    home.persist_all(vec![add_alice()]);
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        files += 1;
    }
    assert_eq!(files, 4, "database, log, its index, lock");
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::eager(&file(&folder));
    assert_eq!(Home::open(&file(&folder), eager()).err(), Some(OpenError::InUse));
    drop(home);
    Home::eager(&file(&folder));
}

#[test]
fn what_is_not_ours_or_newer_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let strange = Connection::open(&path).unwrap();
    strange.execute_batch("CREATE TABLE photos (x)").unwrap();
    strange.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    assert_eq!(Home::open(&path, eager()).err(), Some(OpenError::Foreign));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::remove_file(&path).unwrap();
    let mut home = Home::eager(&path);
    home.persist_all(vec![add_alice()]);
    home.store.close().unwrap();
    let newer = Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 1000; CREATE TABLE inventions (x)").unwrap();
    newer.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Home::open(&path, eager()).err().expect("it must not open");
    assert!(matches!(error, OpenError::Newer { found: 1000, .. }), "{error}");
    assert!(error.to_string().contains("use a newer program"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_of_the_first_version_still_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let first = Connection::open(&path).unwrap();
    first.execute_batch(include_str!("../../migrations/0001_home.sql")).unwrap();
    // Written out, not by the program: this is what stands in files of that version.
    first
        .execute_batch(
            "PRAGMA application_id = 0x43484e43;
             PRAGMA user_version = 1;
             INSERT INTO users VALUES
                (1, 'alice@contoso.example', 'Alice', 'enabled', 'person', zeroblob(16), zeroblob(32)),
                (2, 'bob@contoso.example', '', 'disabled', 'administrator', NULL, NULL);
             INSERT INTO bindings VALUES (1, 'k', CAST('<sip:a@192.0.2.1>' AS BLOB), x'63', 4294967295, 500,
                1790000000000, 5060, '[2001:db8::1]:40000', x'50');
             INSERT INTO binding_paths VALUES (1, 'k', 0, x'61'), (1, 'k', 1, x'62');
             INSERT INTO mailboxes VALUES (1, 3, 9), (2, 0, 0);
             INSERT INTO devices VALUES (1, 'urn:uuid:1', 4, 1790000000000);
             INSERT INTO messages VALUES (7, 1, 5, 1, x'000102030405060708090a0b0c0d0e0f', 0, 1790000000000,
                'bob@contoso.example', x'4d');",
        )
        .unwrap();
    first.close().unwrap();

    let mut home = Home::eager(&path);
    let alice = home.record(ALICE);
    assert_eq!(alice.user.secrets, Some(DigestSecrets { md5: [0; 16], sha256: [0; 32] }));
    let binding = Binding {
        user: ALICE,
        key: "k".to_owned(),
        contact: b"<sip:a@192.0.2.1>".to_vec(),
        path: vec![b"a".to_vec(), b"b".to_vec()],
        call_id: b"c".to_vec(),
        cseq: u32::MAX,
        q: 500,
        expires_unix_ms: 1_790_000_000_000,
        datagram_flow: Some((5060, "[2001:db8::1]:40000".parse().unwrap())),
        user_agent: b"P".to_vec(),
    };
    assert_eq!(alice.bindings, [binding]);
    let cursors = vec![(DeviceKey("urn:uuid:1".to_owned()), Sequence(4))];
    assert_eq!(alice.mailbox, MailboxRecord { last: Sequence(9), taken: Sequence(3), cursors });
    assert_eq!(home.sequences(ALICE), [5]);
    assert_eq!(home.record(UserId(2)).user.state, UserState::Disabled);
}

#[test]
fn call_logs_of_the_fifth_version_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let fifth = Connection::open(&path).unwrap();
    for sql in [
        include_str!("../../migrations/0001_home.sql"),
        include_str!("../../migrations/0002_messages_in_order_of_arrival.sql"),
        include_str!("../../migrations/0003_withdrawn_messages.sql"),
        include_str!("../../migrations/0004_states_documents_calls.sql"),
        include_str!("../../migrations/0005_ages_of_messages_in_blocks.sql"),
        "PRAGMA application_id = 0x43484e43;
         PRAGMA user_version = 5;
         INSERT INTO users VALUES (1, 'alice@contoso.example', 'Alice', 'enabled', 'person', NULL, NULL);
         INSERT INTO mailboxes VALUES (1, 0, 0);",
    ] {
        fifth.execute_batch(sql).unwrap();
    }
    let ends = ["answered", "forwarded", "missed", "refused", "cancelled", "failed"];
    let began = |n: usize| 1_790_000_000_000 + (n as u64 * 7) % 10;
    for (n, end) in ends.iter().enumerate() {
        let sql = "INSERT INTO calls VALUES (1, $1, $2, $3, 'bob@contoso.example', $4, $5, 'desk')";
        let direction = if n == 3 { "sent" } else { "received" };
        let id = [n as u8; 16];
        fifth.execute(sql, rusqlite::params![began(n) as i64, id, direction, n as i64, end]).unwrap();
    }
    fifth.close().unwrap();

    let mut home = Home::eager(&path);
    let log = |missed_only| Query::Calls { owner: ALICE, before: None, missed_only, limit: 10 };
    let mut expected: Vec<StoredCall> = (CallEnd::ALL.iter().zip(ends).enumerate())
        .map(|(n, (end, name))| {
            assert_eq!(end.name(), name);
            StoredCall {
                owner: ALICE,
                id: [n as u8; 16],
                direction: if n == 3 { Direction::Sent } else { Direction::Received },
                peer: SipAddress::parse("bob@contoso.example").unwrap(),
                began_unix_ms: began(n),
                lasted_ms: n as u64,
                end: *end,
                answered_at: "desk".to_owned(),
            }
        })
        .collect();
    let known = Change::AppendCall(expected[4].clone());
    expected.sort_by_key(|call| std::cmp::Reverse(call.began_unix_ms));
    assert_eq!(home.query(log(false)), Ok(Rows::Calls(expected.clone())));
    expected.retain(|call| call.end == CallEnd::Missed);
    assert_eq!(home.query(log(true)), Ok(Rows::Calls(expected)));
    assert_eq!(home.persist(vec![known]), [Ok(Outcome::AlreadyThere)]);
    home.persist_all(vec![Change::PruneCalls { before_unix_ms: began(5) }]);
    let kept: Vec<u64> = home.calls(ALICE, None, false, 10).iter().map(|began| began % 10).collect();
    assert_eq!(kept, [8, 7, 5], "the fourth, the first and the fifth");
}

#[test]
fn call_logs_of_the_eleventh_version_are_kept() {
    const INDEXED: u64 = 200;
    const CALLS: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let eleventh = Connection::open(&path).unwrap();
    for sql in [
        include_str!("../../migrations/0001_home.sql"),
        include_str!("../../migrations/0002_messages_in_order_of_arrival.sql"),
        include_str!("../../migrations/0003_withdrawn_messages.sql"),
        include_str!("../../migrations/0004_states_documents_calls.sql"),
        include_str!("../../migrations/0005_ages_of_messages_in_blocks.sql"),
        include_str!("../../migrations/0006_calls_in_order_of_arrival.sql"),
        include_str!("../../migrations/0007_permissions_of_users.sql"),
        include_str!("../../migrations/0008_certificates_of_users.sql"),
        include_str!("../../migrations/0009_directory.sql"),
        include_str!("../../migrations/0010_messages_in_groups.sql"),
        include_str!("../../migrations/0010_messages_in_groups_after.sql"),
        include_str!("../../migrations/0011_listed_servers.sql"),
        "PRAGMA application_id = 0x43484e43;
         PRAGMA user_version = 11;
         INSERT INTO users (id, address, display_name, state, role) VALUES
            (1, 'alice@contoso.example', 'Alice', 'enabled', 'person'),
            (2, 'bob@contoso.example', 'Bob', 'enabled', 'person');
         INSERT INTO mailboxes VALUES (1, 0, 0), (2, 0, 0);",
    ] {
        eleventh.execute_batch(sql).unwrap();
    }
    // In the order of arrival; they began in another one, two and two together. Every fifth is Bob's.
    let expected = |n: u64| StoredCall {
        owner: if n.is_multiple_of(5) { BOB } else { ALICE },
        id: [(n % 251) as u8; 16],
        direction: if n.is_multiple_of(3) { Direction::Sent } else { Direction::Received },
        peer: SipAddress::parse(&format!("user{n}@contoso.example")).unwrap(),
        began_unix_ms: 1_790_000_000_000 + n * 7 % (CALLS + 1) / 2,
        lasted_ms: n * 100,
        end: CallEnd::ALL[n as usize % CallEnd::ALL.len()],
        answered_at: if n.is_multiple_of(2) { "desk".to_owned() } else { String::new() },
    };
    let mut all: Vec<StoredCall> = (1..=CALLS).map(expected).collect();
    // Some of the oldest were pruned: arrivals have gaps.
    let arrival = |n: u64| 1_000 + 3 * n as i64;
    for (n, call) in (1..=CALLS).zip(&all) {
        let end = CallEnd::ALL.iter().position(|end| *end == call.end).unwrap() as i64;
        let (owner, began) = (call.owner.0 as i64, call.began_unix_ms as i64);
        let direction = i64::from(call.direction == Direction::Sent);
        let row = rusqlite::params![
            arrival(n),
            owner,
            began,
            call.id,
            direction,
            call.peer.as_str(),
            call.lasted_ms as i64,
            end,
            call.answered_at
        ];
        eleventh.execute("INSERT INTO calls VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", row).unwrap();
        // A merge that was cut off has written some of the others too.
        if n <= INDEXED || n.is_multiple_of(2) {
            let row = rusqlite::params![owner, began, call.id, end == 2, arrival(n)];
            eleventh.execute("INSERT INTO call_places VALUES ($1, $2, $3, $4, $5)", row).unwrap();
        }
    }
    let indexed = arrival(INDEXED);
    let merge = format!(
        "INSERT INTO call_blocks SELECT min(arrival), max(arrival), min(began_unix_ms) FROM calls
            WHERE arrival <= {indexed} GROUP BY arrival / 1024;
         UPDATE call_indexing SET indexed_through = {indexed}, newest_unix_ms =
            (SELECT max(began_unix_ms) FROM calls WHERE arrival <= {indexed});"
    );
    eleventh.execute_batch(&merge).unwrap();
    eleventh.close().unwrap();

    let options = Options { tail_messages: 15, ..eager() };
    let mut home = Home::open(&path, options).unwrap();
    let shell = Connection::open(&path).unwrap();
    let number = |sql| shell.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let groups = number("SELECT count(*) FROM call_groups");
    assert!((5..CALLS as i64 / 10).contains(&groups), "they are packed in {groups} groups");
    all.sort_by_key(|call| std::cmp::Reverse((call.began_unix_ms, call.id)));
    let logs = |home: &mut Home, all: &[StoredCall]| {
        for (owner, missed_only) in [(ALICE, false), (BOB, false), (ALICE, true), (BOB, true)] {
            let wanted =
                |call: &&StoredCall| call.owner == owner && (!missed_only || call.end == CallEnd::Missed);
            let expected: Vec<StoredCall> = all.iter().filter(wanted).cloned().collect();
            let log = |before, limit| Query::Calls { owner, before, missed_only, limit };
            assert_eq!(home.query(log(None, u32::MAX)), Ok(Rows::Calls(expected.clone())));
            if let Some(call) = expected.get(5) {
                let page = expected.iter().skip(6).take(9).cloned().collect();
                assert_eq!(home.query(log(Some((call.began_unix_ms, call.id)), 9)), Ok(Rows::Calls(page)));
            }
        }
    };
    logs(&mut home, &all);
    let again: Vec<Change> = all.iter().cloned().map(Change::AppendCall).collect();
    assert_eq!(home.persist(again), vec![Ok(Outcome::AlreadyThere); all.len()]);
    home.store.close().unwrap();
    let mut home = Home::open(&path, options).unwrap();
    logs(&mut home, &all);
    for before_unix_ms in [1_790_000_000_005, 1_790_000_000_100] {
        home.persist_all(vec![Change::PruneCalls { before_unix_ms }]);
        all.retain(|call| call.began_unix_ms >= before_unix_ms);
        logs(&mut home, &all);
    }
    home.persist_all([ALICE, BOB].map(|user| Change::RemoveUser { user, at_unix_ms: 0 }).to_vec());
    assert_eq!(number("SELECT (SELECT count(*) FROM call_groups) + (SELECT count(*) FROM call_runs)"), 0);
}

#[test]
fn messages_of_the_ninth_version_are_kept() {
    const INDEXED: u64 = 40;
    const MESSAGES: u64 = 60;
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let ninth = Connection::open(&path).unwrap();
    for sql in [
        include_str!("../../migrations/0001_home.sql"),
        include_str!("../../migrations/0002_messages_in_order_of_arrival.sql"),
        include_str!("../../migrations/0003_withdrawn_messages.sql"),
        include_str!("../../migrations/0004_states_documents_calls.sql"),
        include_str!("../../migrations/0005_ages_of_messages_in_blocks.sql"),
        include_str!("../../migrations/0006_calls_in_order_of_arrival.sql"),
        include_str!("../../migrations/0007_permissions_of_users.sql"),
        include_str!("../../migrations/0008_certificates_of_users.sql"),
        include_str!("../../migrations/0009_directory.sql"),
        "PRAGMA application_id = 0x43484e43;
         PRAGMA user_version = 9;
         INSERT INTO users (id, address, display_name, state, role) VALUES
            (1, 'alice@contoso.example', 'Alice', 'enabled', 'person'),
            (2, 'bob@contoso.example', 'Bob', 'enabled', 'person');
         INSERT INTO mailboxes VALUES (1, 3, 0), (2, 0, 0);
         INSERT INTO devices VALUES (1, 'urn:uuid:1', 4, 1790000000000);",
    ] {
        ninth.execute_batch(sql).unwrap();
    }
    // Alice has them all, but every fifth is Bob's; one of them was withdrawn, and every third was sent.
    let expected = |n: u64| {
        let Change::AppendMessage(mut message) = message(n, 1_000) else { unreachable!("it is one") };
        if n.is_multiple_of(5) {
            message.owner = BOB;
        }
        if n.is_multiple_of(3) {
            message.direction = Direction::Sent;
        }
        message
    };
    for n in 1..=MESSAGES {
        let message = expected(n);
        ninth
            .execute(
                "INSERT INTO messages VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                rusqlite::params![
                    n as i64 * 2,
                    message.owner.0 as i64,
                    n as i64,
                    i64::from(message.direction == Direction::Sent),
                    message.identity,
                    n == 7,
                    n as i64,
                    message.peer.as_str(),
                    message.request
                ],
            )
            .unwrap();
    }
    let merge = format!(
        "INSERT INTO message_places SELECT owner, sequence, id FROM messages WHERE sequence <= {INDEXED};
         INSERT INTO message_identities
            SELECT owner, direction, identity FROM messages WHERE sequence <= {INDEXED};
         INSERT INTO message_blocks SELECT min(id), max(id), min(received_unix_ms) FROM messages
            WHERE sequence <= {INDEXED};
         UPDATE indexing SET indexed_through = {};",
        2 * INDEXED
    );
    ninth.execute_batch(&merge).unwrap();
    ninth.close().unwrap();

    let mut home = Home::eager(&path);
    let shell = Connection::open(&path).unwrap();
    assert_eq!(indexed(&shell), INDEXED);
    for owner in [ALICE, BOB] {
        let all = Query::Messages { owner, after: Sequence(0), limit: u32::MAX };
        let messages = (1..=MESSAGES).filter(|n| *n != 7).map(expected);
        let messages: Vec<_> = messages.filter(|message| message.owner == owner).collect();
        assert_eq!(home.query(all), Ok(Rows::Messages(messages)));
    }
    for n in 1..=MESSAGES {
        let known = if n == 7 { Outcome::AlreadyWithdrawn } else { Outcome::AlreadyThere };
        assert_eq!(home.persist(vec![Change::AppendMessage(expected(n))]), [Ok(known)], "{n}");
    }
    let cursors = vec![(DeviceKey("urn:uuid:1".to_owned()), Sequence(4))];
    let last = Sequence(MESSAGES - 1);
    assert_eq!(home.record(ALICE).mailbox, MailboxRecord { last, taken: Sequence(3), cursors });
    for bound in [5, INDEXED + 2] {
        home.persist_all(vec![Change::Prune { messages_before_unix_ms: bound, devices_before_unix_ms: 0 }]);
        let kept: Vec<u64> = (bound..=MESSAGES).filter(|n| *n != 7 && expected(*n).owner == ALICE).collect();
        assert_eq!(home.sequences(ALICE), kept);
    }
    home.persist_all(vec![message(MESSAGES + 1, 10)]);
    home.store.close().unwrap();
    let mut home = Home::eager(&path);
    assert_eq!(home.sequences(ALICE).last(), Some(&(MESSAGES + 1)), "behind the others");
    home.persist_all([ALICE, BOB].map(|user| Change::RemoveUser { user, at_unix_ms: 0 }).to_vec());
    let groups: i64 = shell.query_row("SELECT count(*) FROM message_groups", [], |row| row.get(0)).unwrap();
    assert_eq!(groups, 0);
}

// ---------------------------------------------------------------- the tail

/// How many of Alice's messages the index knows; the first is 1, and none are missing between them.
fn indexed(shell: &Connection) -> u64 {
    let sql = "SELECT coalesce(max(last_sequence), 0) FROM message_runs";
    shell.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

#[test]
fn a_merge_changes_nothing_that_can_be_seen() {
    const MESSAGES: u64 = 1_000;
    let folder = tempfile::tempdir().unwrap();
    let options = Options { tail_messages: 400, ..eager() };
    let mut home = Home::open(&file(&folder), options).unwrap();
    home.persist_all(vec![add_alice()]);
    home.persist_all((1..=MESSAGES).map(|n| message(n, 10)).collect());
    let shell = Connection::open(file(&folder)).unwrap();
    let withdraw = |n| Change::WithdrawMessage { owner: ALICE, sequence: Sequence(n) };
    let mut kept: Vec<u64> = (1..=MESSAGES).collect();
    let mut sizes = std::collections::BTreeSet::new();
    let began = std::time::Instant::now();
    while indexed(&shell) < MESSAGES - 400 {
        assert!(began.elapsed() < PATIENCE, "the merge goes on");
        sizes.insert(indexed(&shell));
        assert_eq!(home.sequences(ALICE), kept);
        if kept.len() > 500 {
            home.persist_all(vec![withdraw(kept.remove(kept.len() / 2))]);
        }
        let middle = Query::Messages { owner: ALICE, after: Sequence(kept[100]), limit: 3 };
        let Ok(Rows::Messages(page)) = home.query(middle) else { panic!("no messages") };
        assert!(page.iter().map(|m| m.sequence.0).eq(kept[101..104].iter().copied()));
        for known in [1, MESSAGES] {
            assert_eq!(home.persist(vec![message(known, 10)]), [Ok(Outcome::AlreadyThere)]);
        }
        assert_eq!(home.record(ALICE).mailbox.last, Sequence(MESSAGES));
    }
    assert!(sizes.len() > 1, "it was seen halfway: {sizes:?}");
    home.persist_all(vec![Change::RemoveUser { user: ALICE, at_unix_ms: 0 }]);
    let rows: i64 = shell.query_row("SELECT count(*) FROM message_groups", [], |row| row.get(0)).unwrap();
    assert_eq!((rows, indexed(&shell)), (0, 0));
    home.store.close().unwrap();
    let mut home = Home::open(&file(&folder), options).unwrap();
    home.persist_all(vec![add_alice(), message(1, 10)]);
    home.store.close().unwrap();
    assert_eq!(Home::open(&file(&folder), options).unwrap().sequences(ALICE), [1], "its id is a new one");
}

/// How large the index of calls is, and through which group it says to know them.
fn indexed_calls(shell: &Connection) -> (u64, u64) {
    let number = |sql| shell.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
    let runs = "SELECT coalesce(sum(length(content)), 0) FROM call_runs";
    (number(runs), number("SELECT indexed_through FROM call_indexing"))
}

#[test]
fn a_merge_of_calls_changes_nothing_that_can_be_seen() {
    const CALLS: u64 = 1_000;
    let folder = tempfile::tempdir().unwrap();
    let options = Options { tail_messages: 100, ..eager() };
    let mut home = Home::open(&file(&folder), options).unwrap();
    home.persist_all(vec![add_alice()]);
    // Calls are over in another order than they began.
    home.persist_all((1..=CALLS).map(|n| call(n * 3 % (CALLS + 1))).collect());
    let shell = Connection::open(file(&folder)).unwrap();
    let mut kept: Vec<u64> = (1..=CALLS).rev().collect();
    let mut sizes = std::collections::BTreeSet::new();
    let last_group: i64 = shell.query_row("SELECT max(id) FROM call_groups", [], |row| row.get(0)).unwrap();
    assert!(last_group.unsigned_abs() < CALLS / 10, "they are packed");
    let began = std::time::Instant::now();
    while indexed_calls(&shell).1 < last_group.unsigned_abs() {
        assert!(began.elapsed() < PATIENCE, "the merge goes on");
        sizes.insert(indexed_calls(&shell).0);
        assert_eq!(home.calls(ALICE, None, false, u32::MAX), kept);
        let missed: Vec<u64> = kept.iter().copied().filter(|n| n % 10 == 0).collect();
        assert_eq!(home.calls(ALICE, None, true, u32::MAX), missed);
        assert_eq!(home.calls(ALICE, Some(kept[100]), false, 3), kept[101..104]);
        assert_eq!(home.calls(ALICE, Some(missed[40]), true, 3), missed[41..44]);
        for known in [kept[0], kept[50], kept[kept.len() - 1]] {
            assert_eq!(home.persist(vec![call(known)]), [Ok(Outcome::AlreadyThere)]);
        }
        if kept.len() > 500 {
            kept.pop();
            let before_unix_ms = kept[kept.len() - 1];
            home.persist_all(vec![Change::PruneCalls { before_unix_ms }]);
        }
    }
    assert!(sizes.len() > 2, "it was seen halfway: {sizes:?}");
    home.store.close().unwrap();
    let mut home = Home::open(&file(&folder), options).unwrap();
    assert_eq!(home.calls(ALICE, None, false, u32::MAX), kept);
    home.persist_all(vec![Change::PruneCalls { before_unix_ms: CALLS - 2 }]);
    home.persist_all(vec![call(1)]);
    assert_eq!(home.calls(ALICE, None, false, u32::MAX), [CALLS, CALLS - 1, CALLS - 2, 1]);
    home.persist_all(vec![Change::RemoveUser { user: ALICE, at_unix_ms: 0 }]);
    let rows = "SELECT (SELECT count(*) FROM call_groups) + (SELECT count(*) FROM call_runs)";
    assert_eq!(shell.query_row(rows, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    home.store.close().unwrap();
    let mut home = Home::open(&file(&folder), options).unwrap();
    home.persist_all(vec![add_alice(), call(5)]);
    home.store.close().unwrap();
    let calls = Home::open(&file(&folder), options).unwrap().calls(ALICE, None, false, 9);
    assert_eq!(calls, [5], "its place in the order of arrival is a new one");
}

#[test]
fn a_merge_that_was_cut_off_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { tail_messages: 400, ..eager() };
    let mut home = Home::open(&file(&folder), options).unwrap();
    home.persist_all(vec![add_alice()]);
    home.persist_all((1..=400).map(|n| message(n, 10)).collect());
    let shell = Connection::open(file(&folder)).unwrap();
    let began = std::time::Instant::now();
    while indexed(&shell) == 0 {
        assert!(began.elapsed() < PATIENCE, "the merge begins");
    }
    home.store.close().unwrap();
    let mut home = Home::open(&file(&folder), options).unwrap();
    let began = std::time::Instant::now();
    while indexed(&shell) < 400 {
        assert!(began.elapsed() < PATIENCE, "the merge ends");
        assert_eq!(home.sequences(ALICE).len(), 400);
    }
    assert_eq!(home.persist(vec![message(200, 10)]), [Ok(Outcome::AlreadyThere)]);
}

#[test]
fn marks_alone_are_merged_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { tail_messages: 50, ..eager() };
    let mut home = Home::open(&file(&folder), options).unwrap();
    home.persist_all(vec![add_alice()]);
    let shell = Connection::open(file(&folder)).unwrap();
    let number = |sql| shell.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let (groups, through) =
        ("SELECT count(*) FROM mark_groups", "SELECT coalesce(max(through), 0) FROM devices");
    for n in 1..=20 {
        home.persist_all(vec![Change::AdvanceTaken { owner: ALICE, through: Sequence(n) }, cursor(n)]);
    }
    assert_eq!((number(groups), number(through)), (20, 0), "the tables know nothing yet");
    let began = std::time::Instant::now();
    let mut last = 20;
    while number(through) == 0 {
        assert!(began.elapsed() < PATIENCE, "they are merged");
        last += 1;
        home.persist_all(vec![cursor(last)]);
    }
    let cursors = vec![(DeviceKey("urn:uuid:1".to_owned()), Sequence(last))];
    let seen = MailboxRecord { last: Sequence(0), taken: Sequence(20), cursors };
    assert_eq!(home.record(ALICE).mailbox, seen);
    assert!(number(groups) < last as i64, "what was merged is gone");
    home.store.close().unwrap();
    let mut home = Home::open(&file(&folder), options).unwrap();
    assert_eq!(home.record(ALICE).mailbox, seen);
    // A device that was pruned does not come back, neither at once nor with a start.
    home.persist_all(vec![Change::Prune { messages_before_unix_ms: 0, devices_before_unix_ms: last + 1 }]);
    home.store.close().unwrap();
    let mut home = Home::open(&file(&folder), options).unwrap();
    assert_eq!(home.record(ALICE).mailbox.cursors, []);
}

// ---------------------------------------------------------------- pruning

#[test]
fn a_large_prune_goes_in_steps_and_lets_messages_through() {
    const OLD: u64 = 2_600;
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    home.persist_all(vec![add_alice()]);
    home.persist_all((1..=OLD).map(|n| message(n, 10)).collect());
    let commits = home.store.metrics().commits;
    let prune = Change::Prune { messages_before_unix_ms: OLD + 1, devices_before_unix_ms: 0 };
    home.store.submit(vec![now(0, prune), now(1, message(OLD + 1, 10))]);
    assert_eq!(tokens(&home.batch()), [1], "the message does not wait for the prune");
    assert_eq!(tokens(&home.batch()), [0]);
    // 2,600 rows in steps of 500, one that finds nothing more, and the message.
    assert_eq!(home.store.metrics().commits - commits, 6 + 1 + 1);
    assert_eq!(home.sequences(ALICE), [OLD + 1]);
}

/// A clock that was set back leaves old messages behind newer ones.
#[test]
fn a_prune_finds_what_is_old_wherever_it_lies() {
    const MESSAGES: u64 = 3_000;
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::open(&file(&folder), Options { tail_messages: 100, ..eager() }).unwrap();
    home.persist_all(vec![add_alice()]);
    let received = |n: u64| n * 7_919 % MESSAGES;
    home.persist_all((1..=MESSAGES).map(|n| message_at(n, received(n), 10)).collect());
    // The merge goes on by itself; a message that comes later is in no block for certain.
    let shell = Connection::open(file(&folder)).unwrap();
    while indexed(&shell) < MESSAGES {
        std::thread::yield_now();
    }
    home.persist_all(vec![message_at(MESSAGES + 1, 5, 10), message_at(MESSAGES + 2, 2_500, 10)]);
    for bound in [1, 2_000, 2_600, MESSAGES] {
        let prune = Change::Prune { messages_before_unix_ms: bound, devices_before_unix_ms: 0 };
        home.persist_all(vec![prune]);
        let mut kept: Vec<u64> = (1..=MESSAGES).filter(|n| received(*n) >= bound).collect();
        kept.extend([(MESSAGES + 1, 5), (MESSAGES + 2, 2_500)].iter().filter(|m| m.1 >= bound).map(|m| m.0));
        assert_eq!(home.sequences(ALICE), kept, "{bound}");
        let stale = "SELECT count(*) FROM message_blocks WHERE oldest_unix_ms < $1";
        let stale: i64 = shell.query_row(stale, [bound as i64], |row| row.get(0)).unwrap();
        assert_eq!(stale, 0, "each block has its new age");
    }
    let blocks: i64 = shell.query_row("SELECT count(*) FROM message_blocks", [], |row| row.get(0)).unwrap();
    assert_eq!(blocks, 0, "blocks go with the last of their messages");
}

#[test]
fn calls_are_pruned_in_steps_and_read_in_pages() {
    const CALLS: u64 = 1_200;
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    home.persist_all(vec![add_alice()]);
    home.persist_all((1..=CALLS).map(call).collect());
    assert_eq!(home.persist(vec![call(7)]), [Ok(Outcome::AlreadyThere)]);
    assert_eq!(home.calls(ALICE, Some(CALLS - 1), false, 3), [CALLS - 2, CALLS - 3, CALLS - 4]);
    assert_eq!(home.calls(ALICE, None, true, 2), [CALLS, CALLS - 10], "every tenth was missed");
    let commits = home.store.metrics().commits;
    home.persist_all(vec![Change::PruneCalls { before_unix_ms: CALLS }]);
    // 1,199 rows in steps of 500, and one that finds nothing more.
    assert_eq!(home.store.metrics().commits - commits, 3 + 1);
    assert_eq!(home.calls(ALICE, None, false, u32::MAX), [CALLS]);
}

#[test]
fn closing_does_not_wait_for_a_prune() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { soon_delay: NEVER, ..eager() };
    let mut home = Home::open(&file(&folder), options).unwrap();
    home.persist_all(vec![add_alice()]);
    home.persist_all((1..=10).map(|n| message(n, 10)).collect());
    let prune = Change::Prune { messages_before_unix_ms: u64::MAX, devices_before_unix_ms: 0 };
    home.store.submit(vec![soon(0, prune)]);
    home.store.close().unwrap();
    let answers: Vec<_> = home.batches.iter().flatten().map(outcome).collect();
    assert!(matches!(answers[..], [(0, Err(StoreError::Io(_)))]), "{answers:?}");
    assert_eq!(Home::eager(&file(&folder)).sequences(ALICE).len(), 10);
}

// ---------------------------------------------------------------- kill -9

/// Names the database to the child process.
const CHILD: &str = "STORAGE_TEST_CHILD";
/// Of which the child has not heard yet.
const AHEAD_MAX: u64 = 1_000;
const BOB: UserId = UserId(2);

/// A step of replication that gives Bob and his object another address, and says so in its state.
fn renamed(n: u64) -> Change {
    let address = SipAddress::parse(&format!("bob{n}@contoso.example")).unwrap();
    let object = ObjectId([2; 16]);
    let account = DirectoryAccount {
        object,
        standing: Standing::Active,
        bind_name: "bob@corp.example".to_owned(),
        sign_in_names: vec!["bob".to_owned()],
        role: Role::Person,
        permissions: Permissions::default(),
        expires_unix_ms: None,
    };
    let display_name = "Bob".to_owned();
    let shown = Object { address: Some(address.clone()), ..Object::new(object, ObjectKind::Person) };
    Change::Replicate(Box::new(Replication {
        users: vec![DirectoryUser { id: BOB, address, aliases: Vec::new(), display_name, account }],
        objects: vec![ObjectChange::Put(Box::new(shown))],
        photos: Vec::new(),
        servers: None,
        state: Some(n.to_be_bytes().to_vec()),
        at_unix_ms: n,
    }))
}

fn cursor(n: u64) -> Change {
    let device = DeviceKey("urn:uuid:1".to_owned());
    Change::AdvanceCursor { owner: ALICE, device, through: Sequence(n), seen_unix_ms: n }
}

/// Not a test of its own: the process that is killed. Prints each sequence when it is acknowledged.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    // Merges go on all the time, so that the kill cuts one off.
    let options = Options { tail_messages: 64, ..Options::default() };
    let mut home = Home::open(Path::new(&path), options).unwrap();
    home.persist_all(vec![add_alice()]);
    let mut out = std::io::stdout().lock();
    let mut acknowledged = 0;
    for n in 1.. {
        // The last one is acknowledged last, and speaks for all of them.
        home.store.submit(vec![
            now(0, message(n, 700)),
            now(0, Change::AdvanceTaken { owner: ALICE, through: Sequence(n) }),
            now(0, cursor(n)),
            now(0, document(n, 3_000)),
            now(0, renamed(n)),
            now(n, call(n)),
        ]);
        // Several groups ahead, so that the kill cuts one off, and far from filling the queue.
        while n - acknowledged > AHEAD_MAX {
            for completion in home.batch() {
                let (token, outcome) = outcome(completion);
                assert_eq!(outcome, Ok(Outcome::Applied));
                if token > 0 {
                    acknowledged = token;
                    writeln!(out, "acknowledged {token}").unwrap();
                }
            }
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    for lines in [20, 200, 1_000] {
        let path = folder.path().join(format!("{lines}.db"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_appends_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        let mut seen = 0;
        for line in output {
            // Behind the kill, a last line may be cut off.
            let line = line.unwrap();
            let Some((_, n)) = line.split_once("acknowledged ") else { continue };
            seen += 1;
            if seen == lines {
                child.kill().unwrap();
            }
            if seen <= lines {
                acknowledged = n.parse().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged > 0, "the child has worked");
        let mut home = Home::eager(&path);
        let kept = home.sequences(ALICE);
        // A group takes 512, so that behind so many a merge has come to its end.
        assert!(lines < 1_000 || indexed(&Connection::open(&path).unwrap()) > 0, "merges were under way");
        assert!(kept.len() as u64 >= acknowledged, "{} kept of {acknowledged}", kept.len());
        assert!(kept.iter().copied().eq(1..=kept.len() as u64), "in order, without gaps");
        let alice = home.record(ALICE);
        assert_eq!(alice.mailbox.last.0, kept.len() as u64);
        let [Document { etag, .. }] = &alice.documents[..] else { panic!("{:?}", alice.documents) };
        let calls = home.calls(ALICE, None, false, u32::MAX);
        let bob = home.record(BOB).user.address;
        let Ok(Rows::Objects(rows)) = home.query(Query::Objects { after: Revision(1), limit: u32::MAX })
        else {
            panic!("no objects")
        };
        let Ok(Rows::ReplicationState(Some(state))) = home.query(Query::ReplicationState) else {
            panic!("no state")
        };
        let steps = rows.len() as u64;
        assert_eq!(
            (bob.user(), &state[..]),
            (&*format!("bob{steps}"), &steps.to_be_bytes()[..]),
            "whole steps"
        );
        // A batch may be cut in two by the bound of a group; within a group all is there or nothing.
        let [(_, cursor)] = &alice.mailbox.cursors[..] else { panic!("{:?}", alice.mailbox) };
        let marks = [alice.mailbox.taken.0, cursor.0];
        for last in [etag.parse().unwrap(), calls.len() as u64, steps].into_iter().chain(marks) {
            assert!((acknowledged..=kept.len() as u64).contains(&last), "{last} of {acknowledged}");
        }
        assert!(calls.iter().rev().copied().eq(1..=calls.len() as u64), "in order, without gaps");
    }
}
