//! What follows the organisation's directory, as the driver and an administrator see it; what it means is in the reference.

use directory::{
    Card, ClientCertificate, DirectoryAccount, Object, ObjectId, ObjectKind, Permissions, PhotoDigest, Role,
    SipAddress, Standing, User, UserId, UserState,
};
use node::store::{Outcome, Store, StoreError};
use records::{
    Change, DirectoryUser, ObjectChange, ObjectRow, Query, Replication, Revision, Rows, UserRecord,
};
use rusqlite::Connection;

use crate::support::*;

/// Of one step of pruning (`sql::PRUNE_ROWS_MAX`).
const STEP_ROWS: u64 = 500;

fn id(number: u64) -> ObjectId {
    ObjectId(u128::from(number).to_le_bytes())
}

fn digest(number: u64) -> PhotoDigest {
    let mut digest = PhotoDigest([0; 32]);
    digest.0[..8].copy_from_slice(&number.to_be_bytes());
    digest
}

/// A contact with a photo, which is its number.
fn contact(number: u64, name: &str) -> Object {
    let card = Card { display_name: name.to_owned(), ..Card::default() };
    Object { card, photo: Some(digest(number)), ..Object::new(id(number), ObjectKind::Contact) }
}

fn account(user: u64, address: &str) -> DirectoryUser {
    DirectoryUser {
        id: UserId(user),
        address: SipAddress::parse(address).unwrap(),
        aliases: Vec::new(),
        display_name: String::new(),
        account: DirectoryAccount {
            object: id(user),
            standing: Standing::Active,
            bind_name: String::new(),
            sign_in_names: Vec::new(),
            role: Role::Person,
            permissions: Permissions::default(),
            expires_unix_ms: None,
        },
    }
}

fn replicate(replication: Replication) -> Change {
    Change::Replicate(Box::new(replication))
}

fn put(object: Object) -> ObjectChange {
    ObjectChange::Put(Box::new(object))
}

impl Home {
    fn objects(&mut self, after: u64, limit: u32) -> Vec<ObjectRow> {
        match self.query(Query::Objects { after: Revision(after), limit }) {
            Ok(Rows::Objects(rows)) => rows,
            other => panic!("no objects: {other:?}"),
        }
    }

    fn revisions(&mut self) -> Vec<u64> {
        self.objects(0, u32::MAX).iter().map(|row| row.revision.0).collect()
    }
}

#[test]
fn a_step_that_is_refused_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    let step = |number: u64, users: Vec<DirectoryUser>| {
        let objects = vec![put(contact(number, "a"))];
        let photos = vec![(digest(number), vec![number as u8])];
        replicate(Replication {
            users,
            objects,
            photos,
            state: Some(vec![number as u8]),
            at_unix_ms: number,
            ..Replication::default()
        })
    };
    let answers = home.persist(vec![
        add_alice(),
        step(2, vec![account(2, "bob@contoso.example")]),
        // Carol's address is changed before Dave's is found to be Alice's.
        step(3, vec![account(2, "carol@contoso.example"), account(3, "alice@contoso.example")]),
        step(4, vec![account(4, "dave@contoso.example"), account(4, "eve@contoso.example")]),
        message(1, 10),
        step(5, vec![account(5, "frank@contoso.example")]),
    ]);
    let applied = |answer: &Result<Outcome, StoreError>| *answer == Ok(Outcome::Applied);
    assert_eq!(answers.iter().map(applied).collect::<Vec<_>>(), [true, true, false, false, true, true]);
    let Err(StoreError::Io(reason)) = &answers[2] else { panic!("{answers:?}") };
    assert!(reason.contains("another user's"), "{reason}");
    let Err(StoreError::Io(reason)) = &answers[3] else { panic!("{answers:?}") };
    assert!(reason.contains("twice"), "{reason}");

    let rows: Vec<_> = home.objects(0, 9).iter().map(|row| (row.revision.0, row.at_unix_ms)).collect();
    assert_eq!(rows, [(1, 0), (2, 2), (3, 5)], "no revision is missing");
    assert_eq!(home.query(Query::ReplicationState), Ok(Rows::ReplicationState(Some(vec![5]))));
    assert_eq!(home.query(Query::Photo(digest(3))), Ok(Rows::Photo(None)));
    assert_eq!(home.record(UserId(2)).user.address.as_str(), "bob@contoso.example");
    assert_eq!(home.query(Query::LoadUser(UserId(4))), Ok(Rows::LoadedUser(None)));
    assert_eq!(home.sequences(ALICE), [1]);
}

#[test]
fn a_large_prune_of_objects_goes_in_steps() {
    const OBJECTS: u64 = 1_200;
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    home.persist_all(vec![add_alice()]);
    let step = |name: &str, objects: Vec<ObjectChange>, at_unix_ms| {
        let photos = match name {
            "a" => (1..=OBJECTS).map(|n| (digest(n), n.to_le_bytes().to_vec())).collect(),
            _ => Vec::new(),
        };
        replicate(Replication { objects, photos, at_unix_ms, ..Replication::default() })
    };
    let all = |name: &'static str| (1..=OBJECTS).map(move |n| put(contact(n, name))).collect();
    home.persist_all(vec![step("a", all("a"), 1), step("b", all("b"), 2)]);
    // Those of even numbers are no more.
    let removed = (1..=OBJECTS / 2).map(|n| ObjectChange::Remove(id(2 * n))).collect();
    home.persist_all(vec![step("c", removed, 3)]);

    let commits = home.store.metrics().commits;
    let prune = |before_unix_ms| Change::PruneObjects { before_unix_ms };
    home.store.submit(vec![now(0, prune(3)), now(1, message(1, 10))]);
    assert_eq!(outcome(home.batch().remove(0)).0, 1, "the message does not wait for the prune");
    assert_eq!(outcome(home.batch().remove(0)).0, 0);
    // 1,200 rows in steps of 500, as many photos, each with one that finds no more, and the message.
    let steps = |rows: u64| rows / STEP_ROWS + 1;
    assert_eq!(home.store.metrics().commits - commits, steps(OBJECTS) + steps(OBJECTS) + 1 + 1);
    assert_eq!(home.objects(0, 3).iter().map(|row| row.revision.0).collect::<Vec<_>>(), [1, 1_202, 1_203]);
    assert_eq!(home.revisions().len() as u64, 1 + OBJECTS + OBJECTS / 2);

    home.persist_all(vec![prune(4)]);
    // Alice, who is left, and the last that was removed.
    assert_eq!(home.revisions().len() as u64, 1 + OBJECTS / 2 + 1);
    for number in 1..=OBJECTS {
        let photo = (number % 2 == 1).then(|| number.to_le_bytes().to_vec());
        assert_eq!(home.query(Query::Photo(digest(number))), Ok(Rows::Photo(photo)), "{number}");
    }
}

#[test]
fn no_revision_is_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    let step = |objects| replicate(Replication { objects, ..Replication::default() });
    home.persist_all(vec![step(vec![put(contact(1, "a"))]), step(vec![ObjectChange::Remove(id(1))])]);
    home.persist_all(vec![Change::PruneObjects { before_unix_ms: 1 }]);
    assert_eq!(home.revisions(), [2], "the last row stays");
    home.store.close().unwrap();
    let mut home = Home::eager(&file(&folder));
    home.persist_all(vec![step(vec![put(contact(1, "a"))])]);
    assert_eq!(home.revisions(), [2, 3]);
    home.persist_all(vec![Change::PruneObjects { before_unix_ms: 1 }]);
    assert_eq!(home.revisions(), [3]);
}

#[test]
fn an_administrator_reads_the_address_book_with_sql() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    let alice = User { display_name: "Alice".to_owned(), ..user(ALICE, "alice@contoso.example") };
    home.persist_all(vec![Change::AddUser { user: alice, at_unix_ms: 1 }]);
    let objects = vec![put(contact(1, "Old")), put(contact(1, "New")), put(contact(2, "Gone"))];
    home.persist_all(vec![replicate(Replication { objects, at_unix_ms: 2, ..Replication::default() })]);
    let objects = vec![ObjectChange::Remove(id(2))];
    home.persist_all(vec![replicate(Replication { objects, at_unix_ms: 3, ..Replication::default() })]);
    let shell = Connection::open(file(&folder)).unwrap();
    let texts = |sql| -> Vec<String> {
        let mut statement = shell.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    let now = "SELECT kind || ' ' || display_name || coalesce(' ' || address, '') FROM objects
        WHERE past_unix_ms IS NULL ORDER BY revision";
    assert_eq!(texts(now), ["person Alice alice@contoso.example", "contact New"]);
    let names = "SELECT json_extract(content, '$.card.display_name') FROM objects
        WHERE content IS NOT NULL ORDER BY revision";
    assert_eq!(texts(names), ["Alice", "Old", "New", "Gone"]);
}

#[test]
fn damage_among_objects_is_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    home.persist_all(vec![add_alice()]);
    let shell = Connection::open(file(&folder)).unwrap();
    shell.execute("UPDATE objects SET content = '{}'", []).unwrap();
    let all = Query::Objects { after: Revision(0), limit: 9 };
    assert!(matches!(home.query(all), Err(StoreError::Corrupt(_))));
    home.persist_all(vec![message(1, 10)]);
}

#[test]
fn a_file_of_the_eighth_version_gets_objects_for_its_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let eighth = Connection::open(&path).unwrap();
    // Ids have 62 bits.
    let last = (1u64 << 62) - 1;
    for sql in [
        include_str!("../../migrations/0001_home.sql"),
        include_str!("../../migrations/0002_messages_in_order_of_arrival.sql"),
        include_str!("../../migrations/0003_withdrawn_messages.sql"),
        include_str!("../../migrations/0004_states_documents_calls.sql"),
        include_str!("../../migrations/0005_ages_of_messages_in_blocks.sql"),
        include_str!("../../migrations/0006_calls_in_order_of_arrival.sql"),
        include_str!("../../migrations/0007_permissions_of_users.sql"),
        include_str!("../../migrations/0008_certificates_of_users.sql"),
        "PRAGMA application_id = 0x43484e43;
         PRAGMA user_version = 8;
         INSERT INTO users VALUES
            (4611686018427387903, 'zoë@contoso.example', 'Zoë \"the\" \\ 1st', 'enabled', 'person', NULL, NULL, 1, 0),
            (1, 'alice@contoso.example', '', 'enabled', 'administrator', zeroblob(16), zeroblob(32), 0, 1),
            (2, 'bob@contoso.example', 'Bob', 'disabled', 'person', NULL, NULL, 1, 1);
         INSERT INTO mailboxes VALUES (1, 3, 9), (2, 0, 0), (4611686018427387903, 0, 0);
         INSERT INTO certificates VALUES (zeroblob(32), 1, 1790000000000);",
    ] {
        eighth.execute_batch(sql).unwrap();
    }
    eighth.close().unwrap();

    let mut home = Home::eager(&path);
    let alice = home.record(ALICE);
    assert_eq!(alice.user.permissions, Permissions { federation: false, remote_access: true, calls: true });
    assert_eq!((alice.user.account, alice.user.aliases, alice.user.tokens_since_unix_ms), (None, vec![], 0));
    let [ClientCertificate { expires_unix_ms: 1_790_000_000_000, .. }] = alice.certificates[..] else {
        panic!("{:?}", alice.certificates)
    };
    assert_eq!((alice.mailbox.last.0, alice.app_passwords), (9, vec![]));

    let shown = |UserRecord { user, .. }: UserRecord| Some(Box::new(Object::of_local(&user)));
    let expected = [(1, shown(home.record(ALICE))), (2, shown(home.record(UserId(last))))];
    let rows = home.objects(0, 9);
    assert!(rows.iter().map(|row| (row.revision.0, row.object.clone())).eq(expected), "{rows:?}");
    assert!(
        rows.iter()
            .all(|row| row.at_unix_ms > 1_790_000_000_000 && row.id == row.object.as_ref().unwrap().id)
    );
    // What the migration wrote is what the program would write.
    let set = |user, state| Change::SetUserState {
        user: UserId(user),
        state,
        at_unix_ms: 5,
        tokens_since_unix_ms: 0,
    };
    home.persist_all(vec![set(1, UserState::Enabled), set(last, UserState::Enabled)]);
    assert_eq!(home.revisions(), [1, 2]);
    home.persist_all(vec![set(last, UserState::Disabled), set(2, UserState::Enabled)]);
    assert_eq!(home.revisions(), [1, 2, 3, 4]);
}
