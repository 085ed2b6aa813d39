//! The same random changes and queries to the reference in memory and to the database, also with a restart between.

use std::net::{IpAddr, SocketAddr};

use directory::{
    AppPassword, Card, CertificateDigest, ClientCertificate, DigestSecrets, DirectoryAccount, Object,
    ObjectId, ObjectKind, PermissionChange, Permissions, Phone, PhoneKind, PhotoDigest, Purpose, Role,
    SipAddress, Standing, User, UserId, UserState,
};
use node::store::{Completion, Store, StoreError, Submission};
use presence::{Manual, ManualState, Note};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use records::memory::Tables;
use records::{
    Binding, CallEnd, CallSettings, Change, DeviceKey, Direction, DirectoryUser, Document, ListedServer,
    ObjectChange, Query, Replication, Revision, Sequence, StoredCall, StoredMessage,
};

use crate::support::*;

/// How many there are.
const PHOTOS: u8 = 4;

/// What is done next.
#[derive(Clone, Debug)]
enum Step {
    /// Submitted as one batch.
    Batch(Vec<Entry>),
    /// Alone: it is done in steps, and what follows may meet what it has not dropped yet.
    Prune(Change),
    /// Closes the database and opens it again.
    Restart,
}

#[derive(Clone, Debug)]
enum Entry {
    Change(Change),
    Query(Query),
}

fn id() -> impl Strategy<Value = UserId> {
    (0u64..4).prop_map(UserId)
}

fn sequence() -> impl Strategy<Value = Sequence> {
    (0u64..20).prop_map(Sequence)
}

fn time() -> impl Strategy<Value = u64> {
    0u64..100
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..8)
}

fn address() -> impl Strategy<Value = SipAddress> {
    "[a-eö]@x\\.example".prop_map(|text| SipAddress::parse(&text).expect("an address"))
}

fn device() -> impl Strategy<Value = DeviceKey> {
    "[ab\u{0}é]{0,2}".prop_map(DeviceKey)
}

fn secrets() -> impl Strategy<Value = DigestSecrets> {
    any::<([u8; 16], [u8; 32])>().prop_map(|(md5, sha256)| DigestSecrets { md5, sha256 })
}

fn permission_change() -> impl Strategy<Value = PermissionChange> {
    any::<[Option<bool>; 3]>().prop_map(|[federation, remote_access, calls]| PermissionChange {
        federation,
        remote_access,
        calls,
    })
}

fn permissions() -> impl Strategy<Value = Permissions> {
    any::<[bool; 3]>().prop_map(|[federation, remote_access, calls]| Permissions {
        federation,
        remote_access,
        calls,
    })
}

fn role() -> impl Strategy<Value = Role> {
    select(&[Role::Person, Role::Administrator])
}

/// Few, so that users meet in them.
fn digest() -> impl Strategy<Value = CertificateDigest> {
    (0u8..4).prop_map(|octet| CertificateDigest([octet; 32]))
}

fn certificate() -> impl Strategy<Value = ClientCertificate> {
    (digest(), time()).prop_map(|(digest, expires_unix_ms)| ClientCertificate { digest, expires_unix_ms })
}

fn state() -> impl Strategy<Value = UserState> {
    prop_oneof![3 => Just(UserState::Enabled), 1 => Just(UserState::Disabled)]
}

prop_compose! {
    fn user()(
        id in id(),
        address in address(),
        display_name in ".{0,4}",
        state in state(),
        role in role(),
        permissions in permissions(),
        secrets in option::of(secrets()),
        aliases in vec(address(), 0..2),
        account in option::weighted(0.2, account()),
        tokens_since_unix_ms in time(),
    ) -> User {
        let account = account.map(Box::new);
        User { id, address, aliases, display_name, state, role, permissions, secrets, account, tokens_since_unix_ms }
    }
}

prop_compose! {
    fn app_password()(
        username in app_username(),
        purpose in select(&[Purpose::Sip, Purpose::AddressBook]),
        label in ".{0,3}",
        secrets in secrets(),
        created_unix_ms in time(),
    ) -> AppPassword {
        AppPassword { username, purpose, label, secrets, created_unix_ms }
    }
}

/// Few, so that users meet in them.
fn app_username() -> impl Strategy<Value = String> {
    "[a-c]~[12ö]"
}

/// Some are those of local accounts.
fn object_id() -> impl Strategy<Value = ObjectId> {
    prop_oneof![3 => (0u8..3).prop_map(|octet| ObjectId([octet; 16])), 1 => id().prop_map(ObjectId::of_local)]
}

fn photo() -> impl Strategy<Value = PhotoDigest> {
    (0..PHOTOS).prop_map(|octet| PhotoDigest([octet; 32]))
}

prop_compose! {
    fn account()(
        object in object_id(),
        standing in prop_oneof![1 => Just(Standing::Active), 1 => select(Standing::ALL)],
        bind_name in ".{0,4}",
        sign_in_names in vec(".{0,3}", 0..3),
        role in role(),
        permissions in permissions(),
        expires_unix_ms in option::of(time()),
    ) -> DirectoryAccount {
        DirectoryAccount { object, standing, bind_name, sign_in_names, role, permissions, expires_unix_ms }
    }
}

prop_compose! {
    fn directory_user()(
        id in id(),
        address in address(),
        aliases in prop_oneof![2 => Just(Vec::new()), 1 => vec(address(), 0..3)],
        display_name in ".{0,4}",
        account in account(),
    ) -> DirectoryUser {
        DirectoryUser { id, address, aliases, display_name, account }
    }
}

prop_compose! {
    fn object()(
        id in object_id(),
        kind in select(&[
            ObjectKind::Person,
            ObjectKind::Contact,
            ObjectKind::Group,
            ObjectKind::Room,
            ObjectKind::Equipment,
            ObjectKind::Server,
        ]),
        address in option::of(address()),
        // Few names, so that an object is often put as it is.
        display_name in "[aö\"]?",
        phone in option::weighted(0.1, (".{0,3}", option::of("\\+[0-9]{3}"))),
        members in vec(object_id(), 0..2),
        photo in option::weighted(0.7, photo()),
        is_hidden in any::<bool>(),
    ) -> Object {
        let phones = phone.map(|(written, e164)| Phone { kind: PhoneKind::Fax, written, e164, extension: None });
        let card = Card { display_name, phones: phones.into_iter().collect(), ..Card::default() };
        Object { address, card, members, photo, is_hidden, ..Object::new(id, kind) }
    }
}

/// Half of them as others were.
fn object_change() -> impl Strategy<Value = ObjectChange> {
    let plain = object_id().prop_map(|id| Object::new(id, ObjectKind::Group));
    prop_oneof![
        2 => plain.prop_map(|object| ObjectChange::Put(Box::new(object))),
        3 => object().prop_map(|object| ObjectChange::Put(Box::new(object))),
        1 => object_id().prop_map(ObjectChange::Remove),
    ]
}

fn listed_server() -> impl Strategy<Value = ListedServer> {
    let server = |(host, role): (&str, &str)| ListedServer { host: host.to_owned(), role: role.to_owned() };
    (select(&["a", "b"][..]), select(&["director", "access-edge"][..])).prop_map(server)
}

prop_compose! {
    fn replication()(
        users in prop_oneof![
            8 => btree_map(id(), directory_user(), 0..4).prop_map(|users| {
                users.into_iter().map(|(id, user)| DirectoryUser { id, ..user }).collect()
            }).prop_shuffle(),
            // Some stand twice.
            1 => vec(directory_user(), 0..4),
        ],
        objects in vec(object_change(), 0..5),
        photos in vec(photo(), 0..3),
        servers in option::of(vec(listed_server(), 0..3)),
        state in option::of(octets()),
        at_unix_ms in time(),
    ) -> Replication {
        let photos = photos.into_iter().map(|digest| (digest, digest.0[..4].to_vec())).collect();
        Replication { users, objects, photos, servers, state, at_unix_ms }
    }
}

prop_compose! {
    fn binding()(
        user in id(),
        key in "[ab]?",
        (contact, call_id, user_agent) in (octets(), octets(), octets()),
        path in vec(octets(), 0..3),
        cseq in any::<u32>(),
        q in 0u16..=1000,
        expires_unix_ms in time(),
        datagram_flow in option::of(any::<(u16, IpAddr, u16)>()),
    ) -> Binding {
        let datagram_flow = datagram_flow.map(|(listener, ip, port)| (listener, SocketAddr::new(ip, port)));
        Binding { user, key, contact, path, call_id, cseq, q, expires_unix_ms, datagram_flow, user_agent }
    }
}

prop_compose! {
    fn message()(
        owner in id(),
        sequence in sequence(),
        sent in any::<bool>(),
        peer in address(),
        identity in 0u8..6,
        received_unix_ms in time(),
        request in octets(),
    ) -> StoredMessage {
        let direction = if sent { Direction::Sent } else { Direction::Received };
        StoredMessage { owner, sequence, direction, peer, identity: [identity; 16], received_unix_ms, request }
    }
}

prop_compose! {
    fn manual()(
        state in option::of(select(ManualState::ALL)),
        expires_unix_ms in option::of(time()),
        note in option::of((".{0,3}", option::of(time()))),
    ) -> Manual {
        let note = note.map(|(text, expires_unix_ms)| Note { text: text.into(), expires_unix_ms });
        Manual { state, expires_unix_ms, note }
    }
}

prop_compose! {
    fn settings()(
        targets in [(); 5].map(|()| option::of(address())),
        ring_also in vec(address(), 0..3),
        no_answer_seconds in prop_oneof![Just(0), any::<u32>()],
        busy_on_busy in any::<Option<bool>>(),
    ) -> CallSettings {
        let [always, busy, no_answer, unregistered, do_not_disturb] = targets;
        CallSettings {
            forward_always: always,
            forward_busy: busy,
            forward_no_answer: no_answer,
            no_answer_seconds,
            forward_unregistered: unregistered,
            forward_do_not_disturb: do_not_disturb,
            ring_also,
            busy_on_busy,
        }
    }
}

prop_compose! {
    fn document()(
        owner in id(),
        (application, name) in ("[ab]", "[ab\u{0}é]?"),
        etag in "[0-9]{2}",
        body in octets(),
    ) -> Document {
        Document { owner, application, name, etag, body }
    }
}

/// Few, so that they meet; the octets at both ends of their order are among them.
fn call_id() -> impl Strategy<Value = [u8; 16]> {
    select(&[0u8, 1, 2, 0xfe, 0xff]).prop_map(|octet| [octet; 16])
}

prop_compose! {
    fn call()(
        owner in id(),
        id in call_id(),
        sent in any::<bool>(),
        peer in address(),
        began_unix_ms in 0u64..10,
        lasted_ms in time(),
        end in select(CallEnd::ALL),
        answered_at in ".{0,3}",
    ) -> StoredCall {
        let direction = if sent { Direction::Sent } else { Direction::Received };
        StoredCall { owner, id, direction, peer, began_unix_ms, lasted_ms, end, answered_at }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (id(), prop_oneof![1 => Just(Manual::default()), 3 => manual()])
            .prop_map(|(user, manual)| Change::SetManual { user, manual }),
        3 => (id(), prop_oneof![1 => Just(CallSettings::default()), 3 => settings()])
            .prop_map(|(user, settings)| Change::SetCallSettings { user, settings }),
        3 => document().prop_map(Change::PutDocument),
        1 => document().prop_map(|Document { owner, application, name, .. }| {
            Change::RemoveDocument { owner, application, name }
        }),
        5 => call().prop_map(Change::AppendCall),
        3 => (user(), time()).prop_map(|(user, at_unix_ms)| Change::AddUser { user, at_unix_ms }),
        2 => (id(), state(), time(), time()).prop_map(|(user, state, at_unix_ms, tokens_since_unix_ms)| {
            Change::SetUserState { user, state, at_unix_ms, tokens_since_unix_ms }
        }),
        6 => replication().prop_map(|replication| Change::Replicate(Box::new(replication))),
        3 => (id(), app_password()).prop_map(|(user, password)| Change::AddAppPassword { user, password }),
        1 => (id(), app_username()).prop_map(|(user, username)| Change::RemoveAppPassword { user, username }),
        1 => (id(), time()).prop_map(|(user, since_unix_ms)| Change::RevokeTokens { user, since_unix_ms }),
        1 => (id(), permission_change()).prop_map(|(user, permissions)| {
            Change::SetUserPermissions { user, permissions }
        }),
        1 => (id(), secrets(), time()).prop_map(|(user, secrets, tokens_since_unix_ms)| {
            Change::SetUserSecrets { user, secrets, tokens_since_unix_ms }
        }),
        3 => (id(), certificate()).prop_map(|(user, certificate)| Change::AddCertificate { user, certificate }),
        1 => (id(), digest()).prop_map(|(user, digest)| Change::RemoveCertificate { user, digest }),
        1 => (id(), time()).prop_map(|(user, at_unix_ms)| Change::RemoveUser { user, at_unix_ms }),
        3 => binding().prop_map(Change::PutBinding),
        1 => (id(), "[ab]?").prop_map(|(user, key)| Change::RemoveBinding { user, key }),
        8 => message().prop_map(Change::AppendMessage),
        2 => (id(), sequence()).prop_map(|(owner, sequence)| Change::WithdrawMessage { owner, sequence }),
        4 => (id(), sequence()).prop_map(|(owner, through)| Change::AdvanceTaken { owner, through }),
        4 => (id(), device(), sequence(), time()).prop_map(|(owner, device, through, seen_unix_ms)| {
            Change::AdvanceCursor { owner, device, through, seen_unix_ms }
        }),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    prop_oneof![
        Just(Query::Load),
        id().prop_map(Query::LoadUser),
        (id(), sequence(), 0u32..6).prop_map(|(owner, after, limit)| Query::Messages { owner, after, limit }),
        (
            id(),
            option::of((prop_oneof![4 => 0u64..10, 1 => Just(u64::MAX)], call_id())),
            any::<bool>(),
            0u32..6
        )
            .prop_map(|(owner, before, missed_only, limit)| Query::Calls {
                owner,
                before,
                missed_only,
                limit
            }),
        (0u64..40, 0u32..6).prop_map(|(after, limit)| Query::Objects { after: Revision(after), limit }),
        photo().prop_map(Query::Photo),
        Just(Query::ReplicationState),
        Just(Query::ListedServers),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let entry = prop_oneof![6 => change().prop_map(Entry::Change), 1 => query().prop_map(Entry::Query)];
    prop_oneof![
        8 => vec(entry, 1..20).prop_map(Step::Batch),
        1 => (time(), time()).prop_map(|(messages_before_unix_ms, devices_before_unix_ms)| {
            Step::Prune(Change::Prune { messages_before_unix_ms, devices_before_unix_ms })
        }),
        1 => (0u64..10).prop_map(|before_unix_ms| Step::Prune(Change::PruneCalls { before_unix_ms })),
        1 => time().prop_map(|before_unix_ms| Step::Prune(Change::PruneObjects { before_unix_ms })),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_database_means_what_the_reference_means(
        steps in vec(step(), 1..12),
        // So few that merges into the indices, of a row or two a step, go on all the time.
        tail_messages in 1usize..20,
    ) {
        same_meaning(tail_messages, steps);
    }
}

proptest! {
    // Each does as much as many of the others.
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Among all other changes call logs stay short.
    #[test]
    fn long_call_logs_mean_what_the_reference_means(
        steps in vec(step_of_calls(), 1..16),
        tail_messages in 1usize..10,
    ) {
        let add = |id| Change::AddUser { user: user_of_calls(id), at_unix_ms: 0 };
        let users = (0..4).map(add).map(Entry::Change).collect();
        same_meaning(tail_messages, std::iter::once(Step::Batch(users)).chain(steps));
    }
}

fn step_of_calls() -> impl Strategy<Value = Step> {
    // Of an owner more than one row of the index holds.
    let call = (call(), 0u64..40).prop_map(|(call, began_unix_ms)| StoredCall { began_unix_ms, ..call });
    let change = prop_oneof![
        60 => call.prop_map(Change::AppendCall),
        1 => id().prop_map(|user| Change::RemoveUser { user, at_unix_ms: 0 }),
        1 => id().prop_map(|id| Change::AddUser { user: user_of_calls(id.0), at_unix_ms: 0 }),
    ];
    let page = (option::of((0u64..40, call_id())), any::<bool>(), 0u32..40);
    let query = (id(), page).prop_map(|(owner, (before, missed_only, limit))| Query::Calls {
        owner,
        before,
        missed_only,
        limit,
    });
    let entry = prop_oneof![9 => change.prop_map(Entry::Change), 1 => query.prop_map(Entry::Query)];
    prop_oneof![
        8 => vec(entry, 1..60).prop_map(Step::Batch),
        1 => (0u64..40).prop_map(|before_unix_ms| Step::Prune(Change::PruneCalls { before_unix_ms })),
        1 => Just(Step::Restart),
    ]
}

fn user_of_calls(id: u64) -> User {
    crate::support::user(UserId(id), &format!("user{id}@contoso.example"))
}

/// Drives both, and compares what can be seen of them after each step.
fn same_meaning(tail_messages: usize, steps: impl IntoIterator<Item = Step>) {
    let folder = tempfile::tempdir().unwrap();
    // What a loss of power does is not in question here.
    let options = storage::Options { synchronous: storage::Synchronous::Normal, tail_messages, ..eager() };
    let open = || Home::open(&file(&folder), options).unwrap();
    let mut home = open();
    let mut reference = Tables::default();
    for step in steps {
        match step {
            Step::Batch(entries) => same_answers(&mut home, &mut reference, entries),
            Step::Prune(change) => {
                reference.apply(&change);
                home.persist_all(vec![change]);
            }
            Step::Restart => {
                home.store.close().unwrap();
                home = open();
            }
        }
        same_rows(&mut home, &reference);
    }
}

fn same_answers(home: &mut Home, reference: &mut Tables, entries: Vec<Entry>) {
    let submission = |(token, entry)| match entry {
        Entry::Change(change) => now(token, change),
        Entry::Query(query) => Submission::Query { token: node::QueryToken(token), query },
    };
    home.store.submit((0..).zip(entries.clone()).map(submission).collect());
    let answers = home.batch();
    assert_eq!(answers.len(), entries.len(), "one group");
    for ((index, entry), answer) in (0..).zip(entries).zip(answers) {
        match (entry, answer) {
            (Entry::Change(change), Completion::Persisted { token, outcome }) => {
                let expected = match reference.try_apply(&change) {
                    Ok(outcome) => outcome,
                    Err(refused) => panic!("{change:?} was stored: {refused}"),
                };
                assert_eq!((token.0, outcome), (index, expected), "{change:?}");
            }
            (Entry::Change(change), Completion::PersistFailed { token, error: StoreError::Io(_) }) => {
                assert_eq!(token.0, index);
                assert!(reference.try_apply(&change).is_err(), "{change:?} was refused");
            }
            (Entry::Query(query), Completion::Rows { token, rows }) => {
                assert_eq!(token.0, index);
                assert_eq!(rows, Ok(reference.query(&query)), "{query:?}");
            }
            (entry, answer) => panic!("{entry:?}: {answer:?}"),
        }
    }
}

fn same_rows(home: &mut Home, reference: &Tables) {
    let mailboxes =
        (0..4).map(|id| Query::Messages { owner: UserId(id), after: Sequence(0), limit: u32::MAX });
    let logs = (0..4).flat_map(|id| {
        [false, true].map(|missed_only| Query::Calls {
            owner: UserId(id),
            before: None,
            missed_only,
            limit: u32::MAX,
        })
    });
    let photos = (0..PHOTOS).map(|octet| Query::Photo(PhotoDigest([octet; 32])));
    let objects = Query::Objects { after: Revision(0), limit: u32::MAX };
    let others = [Query::Load, objects, Query::ReplicationState, Query::ListedServers];
    for query in mailboxes.chain(logs).chain(photos).chain(others) {
        assert_eq!(home.query(query.clone()), Ok(reference.query(&query)), "{query:?}");
    }
}
