//! What follows the organisation's directory: accounts, and the objects of the address book.

use directory::{Card, DirectoryAccount, ObjectKind, Permissions, Role};

use super::*;

fn address(name: &str) -> SipAddress {
    SipAddress::parse(&format!("{name}@contoso.example")).unwrap()
}

/// An account of that address, active, without aliases.
fn account(id: UserId, name: &str) -> DirectoryUser {
    DirectoryUser {
        id,
        address: address(name),
        aliases: Vec::new(),
        display_name: name.to_owned(),
        account: DirectoryAccount {
            object: ObjectId([id.0 as u8; 16]),
            standing: Standing::Active,
            bind_name: format!("{name}@corp.example"),
            sign_in_names: vec![name.to_owned()],
            role: Role::Person,
            permissions: Permissions::default(),
            expires_unix_ms: None,
        },
    }
}

fn with_alias(id: UserId, name: &str, alias: &str) -> DirectoryUser {
    DirectoryUser { aliases: vec![address(alias)], ..account(id, name) }
}

fn standing(id: UserId, name: &str, standing: Standing) -> DirectoryUser {
    let user = account(id, name);
    DirectoryUser { account: DirectoryAccount { standing, ..user.account.clone() }, ..user }
}

fn users(users: &[DirectoryUser], at_unix_ms: u64) -> Change {
    Change::Replicate(Box::new(Replication { users: users.to_vec(), at_unix_ms, ..Replication::default() }))
}

fn objects(objects: &[ObjectChange], at_unix_ms: u64) -> Change {
    Change::Replicate(Box::new(Replication {
        objects: objects.to_vec(),
        at_unix_ms,
        ..Replication::default()
    }))
}

fn contact(id: u8, name: &str) -> Object {
    let card = Card { display_name: name.to_owned(), ..Card::default() };
    Object { card, ..Object::new(ObjectId([id; 16]), ObjectKind::Contact) }
}

fn put(object: Object) -> ObjectChange {
    ObjectChange::Put(Box::new(object))
}

/// The history behind a revision: revision, time, and the name that the object has since, or `-` where it is no more.
fn history(tables: &Tables, after: u64, limit: u32) -> Vec<String> {
    let query = Query::Objects { after: Revision(after), limit };
    let Rows::Objects(rows) = tables.query(&query) else { panic!("the wrong rows") };
    let told = |row: &ObjectRow| {
        let shown = |object: &Object| match &*object.card.display_name {
            "" => object.address.as_ref().expect("it has a name").user().to_owned(),
            name => name.to_owned(),
        };
        let name = row.object.as_ref().map_or("-".to_owned(), |object| shown(object));
        format!("{}@{} {name}", row.revision.0, row.at_unix_ms)
    };
    rows.iter().map(told).collect()
}

fn photo(tables: &Tables, digest: u8) -> Option<Vec<u8>> {
    let Rows::Photo(photo) = tables.query(&Query::Photo(PhotoDigest([digest; 32]))) else {
        panic!("the wrong rows")
    };
    photo
}

// ---------------------------------------------------------------- accounts

#[test]
fn an_account_is_added_and_followed() {
    let mut tables = Tables::default();
    assert!(tables.apply(&users(&[account(ALICE, "alice")], 1)));
    let expected = User {
        display_name: "alice".to_owned(),
        account: Some(Box::new(account(ALICE, "alice").account)),
        ..User::local(ALICE, address("alice"))
    };
    assert_eq!(record(&tables, ALICE), UserRecord::fresh(expected));
    assert_eq!(history(&tables, 0, 9), [""; 0], "its object is the replicator's");

    // What was decided here stays.
    tables.apply(&Change::SetUserState {
        user: ALICE,
        state: UserState::Disabled,
        at_unix_ms: 2,
        tokens_since_unix_ms: 0,
    });
    let no_calls = PermissionChange { calls: Some(false), ..Default::default() };
    tables.apply(&Change::SetUserPermissions { user: ALICE, permissions: no_calls });
    tables.apply(&Change::AppendMessage(message(ALICE, 1, 1, 1)));
    assert!(tables.apply(&users(&[with_alias(ALICE, "alice.smith", "alice")], 3)));
    let alice = record(&tables, ALICE);
    assert_eq!((alice.user.address, alice.user.aliases), (address("alice.smith"), vec![address("alice")]));
    assert_eq!((alice.user.state, alice.user.permissions.calls), (UserState::Disabled, false));
    assert_eq!(alice.mailbox.last, Sequence(1));
    assert_eq!(history(&tables, 0, 9), [""; 0]);
}

#[test]
fn addresses_may_go_round_among_the_accounts_of_one_step() {
    let carol = UserId(3);
    let mut tables = Tables::default();
    let first = [with_alias(ALICE, "a", "old.a"), account(BOB, "b"), account(carol, "c")];
    assert!(tables.apply(&users(&first, 1)));
    let second = [with_alias(ALICE, "b", "c"), with_alias(BOB, "old.a", "free"), account(carol, "a")];
    assert!(tables.apply(&users(&second, 2)));
    let names = |id| {
        let user = record(&tables, id).user;
        let names = user.aliases.iter().chain([&user.address]).map(|a| a.user().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!([ALICE, BOB, carol].map(names), ["c b", "free old.a", "a"]);
}

#[test]
fn an_address_of_another_leaves_everything_as_it_was() {
    let mut tables = with_alice();
    tables.apply(&users(&[with_alias(BOB, "bob", "robert")], 1));
    let carol = UserId(3);
    for wrong in [
        account(carol, "alice"),
        account(carol, "bob"),
        account(carol, "robert"),
        with_alias(carol, "carol", "robert"),
        // Of the same step.
        with_alias(carol, "carol", "dave"),
    ] {
        let before = tables.clone();
        let change = Change::Replicate(Box::new(Replication {
            users: vec![account(UserId(4), "dave"), wrong],
            objects: vec![put(contact(1, "one"))],
            photos: vec![(PhotoDigest([1; 32]), vec![1])],
            servers: None,
            state: Some(vec![1]),
            at_unix_ms: 2,
        }));
        assert_eq!(tables.try_apply(&change), Err(Refused::AddressTaken));
        assert_eq!(tables, before);
    }
    let taken = User { aliases: vec![address("robert")], ..user(carol, "carol@contoso.example") };
    let add = Change::AddUser { user: taken, at_unix_ms: 2 };
    assert_eq!(tables.try_apply(&add), Ok(Outcome::AlreadyThere));
}

#[test]
fn a_user_stands_once_in_a_step() {
    let mut tables = Tables::default();
    let twice = users(&[account(ALICE, "alice"), account(BOB, "bob"), account(ALICE, "alison")], 1);
    assert_eq!(tables.try_apply(&twice), Err(Refused::UserTwice));
    assert_eq!(tables, Tables::default());
}

#[test]
fn an_address_of_ones_own_stands_once() {
    let mut tables = Tables::default();
    let aliases = ["b", "a", "b", "c"].map(address).to_vec();
    assert!(tables.apply(&users(&[DirectoryUser { aliases, ..account(ALICE, "a") }], 1)));
    assert_eq!(record(&tables, ALICE).user.aliases, ["b", "c"].map(address));
}

#[test]
fn a_standing_takes_what_it_must() {
    let kept = |standing_now: Standing| {
        let mut tables = Tables::default();
        tables.apply(&users(&[account(ALICE, "alice"), account(BOB, "bob")], 1));
        for (id, octet, name) in [(ALICE, 1, "alice~1"), (BOB, 2, "bob~1")] {
            tables.apply(&Change::PutBinding(binding(id, "k")));
            tables.apply(&Change::AddCertificate { user: id, certificate: certificate(octet) });
            tables.apply(&Change::AddAppPassword { user: id, password: app_password(name) });
        }
        let bob = record(&tables, BOB);
        tables.apply(&users(&[standing(ALICE, "alice", standing_now)], 7));
        assert_eq!(record(&tables, BOB), bob);
        let gone = record(&tables, ALICE);
        assert_eq!(gone.user.is_enabled(), standing_now == Standing::Active);
        // The account comes back, and nothing with it.
        tables.apply(&users(&[account(ALICE, "alice")], 9));
        let alice = record(&tables, ALICE);
        assert!(alice.user.is_enabled());
        assert_eq!(alice.user.tokens_since_unix_ms, gone.user.tokens_since_unix_ms);
        let since = alice.user.tokens_since_unix_ms;
        (alice.bindings.len(), since, alice.app_passwords.len(), alice.certificates.len())
    };
    assert_eq!(kept(Standing::Active), (1, 0, 1, 1));
    assert_eq!(kept(Standing::LockedOut), (0, 7, 1, 1));
    for ends in [Standing::Disabled, Standing::Expired, Standing::NotEnabled, Standing::Gone] {
        assert_eq!(kept(ends), (0, 7, 0, 0), "{ends:?}");
    }
}

#[test]
fn a_local_account_may_be_taken_over_by_the_directory() {
    let mut tables = with_alice();
    let secrets = DigestSecrets { md5: [1; 16], sha256: [2; 32] };
    tables.apply(&Change::SetUserSecrets { user: ALICE, secrets: secrets.clone(), tokens_since_unix_ms: 0 });
    assert_eq!(history(&tables, 0, 9), ["1@0 alice"]);
    assert!(tables.apply(&users(&[account(ALICE, "alice")], 5)));
    assert_eq!(history(&tables, 1, 9), ["2@5 -"]);
    assert_eq!(record(&tables, ALICE).user.secrets, Some(secrets));
    tables.apply(&users(&[account(ALICE, "alice")], 6));
    tables.apply(&Change::SetUserState {
        user: ALICE,
        state: UserState::Enabled,
        at_unix_ms: 7,
        tokens_since_unix_ms: 0,
    });
    tables.apply(&Change::RemoveUser { user: ALICE, at_unix_ms: 8 });
    assert_eq!(history(&tables, 2, 9), [""; 0], "it has no object of its own any more");
}

// ---------------------------------------------------------------- objects

#[test]
fn a_local_account_has_an_object_while_it_is_enabled() {
    let mut tables = with_alice();
    let set =
        |state, at_unix_ms| Change::SetUserState { user: ALICE, state, at_unix_ms, tokens_since_unix_ms: 0 };
    let disabled = User { state: UserState::Disabled, ..user(BOB, "bob@contoso.example") };
    for change in [
        set(UserState::Enabled, 1),
        Change::AddUser { user: disabled, at_unix_ms: 2 },
        set(UserState::Disabled, 3),
        set(UserState::Disabled, 4),
        set(UserState::Enabled, 5),
        Change::SetUserState { user: BOB, state: UserState::Enabled, at_unix_ms: 6, tokens_since_unix_ms: 0 },
        Change::RemoveUser { user: ALICE, at_unix_ms: 7 },
        Change::RemoveUser { user: ALICE, at_unix_ms: 8 },
    ] {
        assert!(tables.apply(&change));
    }
    assert_eq!(history(&tables, 0, 9), ["1@0 alice", "2@3 -", "3@5 alice", "4@6 bob", "5@7 -"]);
    let Rows::Objects(rows) = tables.query(&Query::Objects { after: Revision(3), limit: 1 }) else {
        panic!("the wrong rows")
    };
    assert_eq!(rows[0].object.as_deref(), Some(&Object::of_local(&record(&tables, BOB).user)));
}

#[test]
fn only_a_difference_makes_a_row() {
    let mut tables = Tables::default();
    let step = [put(contact(1, "one")), put(contact(2, "two")), ObjectChange::Remove(ObjectId([3; 16]))];
    tables.apply(&objects(&step, 1));
    tables.apply(&objects(&step, 2));
    assert_eq!(history(&tables, 0, 9), ["1@1 one", "2@1 two"]);
    let remove = ObjectChange::Remove(ObjectId([1; 16]));
    tables.apply(&objects(&[remove.clone(), remove, put(contact(2, "zwei")), put(contact(1, "one"))], 3));
    assert_eq!(history(&tables, 2, 9), ["3@3 -", "4@3 zwei", "5@3 one"]);
    assert_eq!(history(&tables, 1, 2), ["2@1 two", "3@3 -"], "a page");
    assert_eq!(history(&tables, u64::MAX, 9), [""; 0]);
}

#[test]
fn the_state_of_replication_stays_until_another_is_written() {
    let mut tables = Tables::default();
    let step = |state| Change::Replicate(Box::new(Replication { state, ..Replication::default() }));
    let state = |tables: &Tables| tables.query(&Query::ReplicationState);
    assert_eq!(state(&tables), Rows::ReplicationState(None));
    tables.apply(&step(Some(vec![1])));
    tables.apply(&step(None));
    assert_eq!(state(&tables), Rows::ReplicationState(Some(vec![1])));
    tables.apply(&step(Some(vec![])));
    assert_eq!(state(&tables), Rows::ReplicationState(Some(vec![])));
}

#[test]
fn pruning_leaves_what_is_and_what_was_of_late() {
    let mut tables = Tables::default();
    for (at_unix_ms, change) in [
        (1, put(contact(1, "one"))),
        (2, put(contact(2, "two"))),
        (3, put(contact(1, "uno"))),
        (4, ObjectChange::Remove(ObjectId([2; 16]))),
        (5, put(contact(1, "eins"))),
        (6, put(contact(2, "zwei"))),
    ] {
        tables.apply(&objects(&[change], at_unix_ms));
    }
    let mut after = |before_unix_ms| {
        tables.apply(&Change::PruneObjects { before_unix_ms });
        history(&tables, 0, 9).join(", ")
    };
    assert_eq!(after(3), "1@1 one, 2@2 two, 3@3 uno, 4@4 -, 5@5 eins, 6@6 zwei");
    assert_eq!(after(4), "2@2 two, 3@3 uno, 4@4 -, 5@5 eins, 6@6 zwei");
    assert_eq!(after(5), "3@3 uno, 5@5 eins, 6@6 zwei", "two was gone by then");
    assert_eq!(after(u64::MAX), "5@5 eins, 6@6 zwei");
    tables.apply(&objects(&[put(contact(2, "zwei"))], 8));
    tables.apply(&objects(&[ObjectChange::Remove(ObjectId([2; 16]))], 9));
    tables.apply(&Change::PruneObjects { before_unix_ms: 10 });
    tables.apply(&objects(&[ObjectChange::Remove(ObjectId([2; 16])), put(contact(3, "three"))], 11));
    let kept = ["5@5 eins", "7@9 -", "8@11 three"];
    assert_eq!(history(&tables, 0, 9), kept, "the last row stays, and tells of those that are not there");
    tables.apply(&Change::PruneObjects { before_unix_ms: 10 });
    assert_eq!(history(&tables, 0, 9), ["5@5 eins", "8@11 three"], "revisions are never given twice");
}

/// Or else a reader would take the row that is left for what the object is.
#[test]
fn a_clock_that_was_set_back_leaves_no_object_that_is_gone() {
    let mut tables = Tables::default();
    tables.apply(&objects(&[put(contact(1, "one"))], 10));
    tables.apply(&objects(&[put(contact(1, "uno"))], 20));
    tables.apply(&objects(&[ObjectChange::Remove(ObjectId([1; 16]))], 5));
    tables.apply(&Change::PruneObjects { before_unix_ms: 6 });
    assert_eq!(history(&tables, 0, 9), ["3@5 -"]);
}

#[test]
fn a_photo_stays_as_long_as_a_row_shows_it() {
    let mut tables = Tables::default();
    let showing = |digest: u8| Object { photo: Some(PhotoDigest([digest; 32])), ..contact(1, "one") };
    for (at_unix_ms, digest) in [(1, 1), (2, 2)] {
        let photos = vec![(PhotoDigest([digest; 32]), vec![digest])];
        let step =
            Replication { objects: vec![put(showing(digest))], photos, at_unix_ms, ..Replication::default() };
        tables.apply(&Change::Replicate(Box::new(step)));
    }
    let mut kept = |before_unix_ms| {
        tables.apply(&Change::PruneObjects { before_unix_ms });
        [photo(&tables, 1), photo(&tables, 2)]
    };
    assert_eq!(kept(2), [Some(vec![1]), Some(vec![2])]);
    assert_eq!(kept(3), [None, Some(vec![2])]);
    tables.apply(&objects(&[ObjectChange::Remove(ObjectId([1; 16]))], 4));
    assert_eq!(photo(&tables, 2), Some(vec![2]));
    tables.apply(&Change::PruneObjects { before_unix_ms: 5 });
    assert_eq!(photo(&tables, 2), None);
}
