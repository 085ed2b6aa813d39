use directory::{CertificateDigest, ClientCertificate, DigestSecrets, PermissionChange, Purpose};
use presence::{ManualState, Note};
use proptest::prelude::*;

use super::*;

mod replication;

const ALICE: UserId = UserId(1);
const BOB: UserId = UserId(2);

fn certificate(octet: u8) -> ClientCertificate {
    ClientCertificate { digest: CertificateDigest([octet; 32]), expires_unix_ms: 10 }
}

fn app_password(username: &str) -> AppPassword {
    AppPassword {
        username: username.to_owned(),
        purpose: Purpose::Sip,
        label: "desk phone".to_owned(),
        secrets: DigestSecrets { md5: [3; 16], sha256: [4; 32] },
        created_unix_ms: 5,
    }
}

fn user(id: UserId, address: &str) -> User {
    User::local(id, SipAddress::parse(address).unwrap())
}

fn message(owner: UserId, sequence: u64, identity: u8, received_unix_ms: u64) -> StoredMessage {
    StoredMessage {
        owner,
        sequence: Sequence(sequence),
        direction: Direction::Received,
        peer: SipAddress::parse("bob@contoso.example").unwrap(),
        identity: [identity; 16],
        received_unix_ms,
        request: b"MESSAGE".to_vec(),
    }
}

fn binding(user: UserId, key: &str) -> Binding {
    Binding {
        user,
        key: key.to_owned(),
        contact: b"<sip:alice@192.0.2.1>".to_vec(),
        path: vec![],
        call_id: b"a".to_vec(),
        cseq: 1,
        q: 1000,
        expires_unix_ms: 1,
        datagram_flow: None,
        user_agent: vec![],
    }
}

fn document(owner: UserId, application: &str, etag: &str) -> Document {
    Document {
        owner,
        application: application.to_owned(),
        name: "index".to_owned(),
        etag: etag.to_owned(),
        body: b"<xml/>".to_vec(),
    }
}

fn call(owner: UserId, id: u8, began_unix_ms: u64, end: CallEnd) -> StoredCall {
    StoredCall {
        owner,
        id: [id; 16],
        direction: Direction::Received,
        peer: SipAddress::parse("bob@contoso.example").unwrap(),
        began_unix_ms,
        lasted_ms: 0,
        end,
        answered_at: String::new(),
    }
}

fn dnd() -> Manual {
    let note = Note { text: "writing".into(), expires_unix_ms: Some(7) };
    Manual { state: Some(ManualState::DoNotDisturb), expires_unix_ms: None, note: Some(note) }
}

fn forwarded() -> CallSettings {
    let bob = SipAddress::parse("bob@contoso.example").unwrap();
    CallSettings { forward_always: Some(bob.clone()), ring_also: vec![bob], ..CallSettings::default() }
}

fn with_alice() -> Tables {
    let mut tables = Tables::default();
    assert!(tables.apply(&Change::AddUser { user: user(ALICE, "alice@contoso.example"), at_unix_ms: 0 }));
    tables
}

fn record(tables: &Tables, id: UserId) -> UserRecord {
    let Rows::LoadedUser(record) = tables.query(&Query::LoadUser(id)) else { panic!("the wrong rows") };
    *record.expect("the user exists")
}

/// First octets of the ids of a page of Alice's log.
fn page(tables: &Tables, before: Option<(u64, u8)>, missed_only: bool, limit: u32) -> Vec<u8> {
    let before = before.map(|(began, id)| (began, [id; 16]));
    let query = Query::Calls { owner: ALICE, before, missed_only, limit };
    let Rows::Calls(calls) = tables.query(&query) else { panic!("the wrong rows") };
    calls.iter().map(|call| call.id[0]).collect()
}

fn sequences(tables: &Tables, after: u64, limit: u32) -> Vec<u64> {
    let query = Query::Messages { owner: ALICE, after: Sequence(after), limit };
    let Rows::Messages(messages) = tables.query(&query) else { panic!("the wrong rows") };
    messages.iter().map(|m| m.sequence.0).collect()
}

#[test]
fn an_id_and_an_address_belong_to_one_user() {
    let mut tables = with_alice();
    let before = tables.clone();
    assert!(!tables.apply(&Change::AddUser { user: user(ALICE, "other@contoso.example"), at_unix_ms: 0 }));
    assert!(!tables.apply(&Change::AddUser { user: user(BOB, "alice@contoso.example"), at_unix_ms: 0 }));
    assert_eq!(tables, before);
    assert!(tables.apply(&Change::RemoveUser { user: ALICE, at_unix_ms: 0 }));
    assert!(
        tables.apply(&Change::AddUser { user: user(BOB, "alice@contoso.example"), at_unix_ms: 0 }),
        "the address is free again"
    );
}

#[test]
fn a_resend_is_recognised_until_it_is_pruned() {
    let mut tables = with_alice();
    assert!(tables.apply(&Change::AppendMessage(message(ALICE, 1, 7, 100))));
    let resend = Change::AppendMessage(message(ALICE, 2, 7, 200));
    assert_eq!(tables.try_apply(&resend), Ok(Outcome::AlreadyThere));
    assert!(tables.apply(&Change::WithdrawMessage { owner: ALICE, sequence: Sequence(1) }));
    assert_eq!(tables.try_apply(&resend), Ok(Outcome::AlreadyWithdrawn), "and still known");
    let sent = StoredMessage { direction: Direction::Sent, ..message(ALICE, 2, 7, 200) };
    assert!(tables.apply(&Change::AppendMessage(sent)), "the other direction has identities of its own");
    tables.apply(&Change::Prune { messages_before_unix_ms: 101, devices_before_unix_ms: 0 });
    assert!(tables.apply(&Change::AppendMessage(message(ALICE, 3, 7, 300))));
}

#[test]
fn a_sequence_is_given_once() {
    let mut tables = with_alice();
    tables.apply(&Change::AppendMessage(message(ALICE, 1, 1, 100)));
    let before = tables.clone();
    let second = Change::AppendMessage(message(ALICE, 1, 2, 100));
    assert_eq!(tables.try_apply(&second), Err(Refused::SequenceTaken));
    assert!(!tables.apply(&second));
    let resend = Change::AppendMessage(message(ALICE, 1, 1, 100));
    assert_eq!(tables.try_apply(&resend), Ok(Outcome::AlreadyThere), "a resend is a resend first");
    assert_eq!(tables, before);
}

#[test]
fn the_last_sequence_outlives_its_message() {
    let mut tables = with_alice();
    tables.apply(&Change::AppendMessage(message(ALICE, 9, 1, 100)));
    tables.apply(&Change::Prune { messages_before_unix_ms: 101, devices_before_unix_ms: 0 });
    assert_eq!(sequences(&tables, 0, 10), []);
    assert_eq!(record(&tables, ALICE).mailbox.last, Sequence(9));
}

#[test]
fn messages_come_oldest_first_without_the_withdrawn() {
    let mut tables = with_alice();
    for sequence in [3, 1, 4, 2] {
        tables.apply(&Change::AppendMessage(message(ALICE, sequence, sequence as u8, 100)));
    }
    tables.apply(&Change::WithdrawMessage { owner: ALICE, sequence: Sequence(3) });
    assert_eq!(sequences(&tables, 1, 10), [2, 4]);
    assert_eq!(sequences(&tables, 0, 2), [1, 2]);
    assert_eq!(sequences(&tables, 0, 0), []);
}

#[test]
fn marks_only_move_forward() {
    let mut tables = with_alice();
    let device = DeviceKey("urn:uuid:1".to_owned());
    for (through, seen_unix_ms) in [(5, 50), (3, 70), (4, 60)] {
        tables.apply(&Change::AdvanceTaken { owner: ALICE, through: Sequence(through) });
        let device = device.clone();
        tables.apply(&Change::AdvanceCursor {
            owner: ALICE,
            device,
            through: Sequence(through),
            seen_unix_ms,
        });
    }
    let prune = |devices_before_unix_ms| Change::Prune { messages_before_unix_ms: 0, devices_before_unix_ms };
    tables.apply(&prune(70));
    let mailbox = record(&tables, ALICE).mailbox;
    assert_eq!((mailbox.taken, mailbox.cursors), (Sequence(5), vec![(device, Sequence(5))]));
    tables.apply(&prune(71));
    assert_eq!(record(&tables, ALICE).mailbox.cursors, []);
}

#[test]
fn disabling_and_removing_take_the_bindings_along() {
    let mut tables = with_alice();
    tables.apply(&Change::AddUser { user: user(UserId(u64::MAX), "zoe@contoso.example"), at_unix_ms: 0 });
    tables.apply(&Change::PutBinding(binding(UserId(u64::MAX), "z")));
    tables.apply(&Change::PutBinding(binding(ALICE, "b")));
    tables.apply(&Change::PutBinding(binding(ALICE, "a")));
    let keys = |t: &Tables, id| record(t, id).bindings.into_iter().map(|b| b.key).collect::<Vec<_>>();
    assert_eq!(keys(&tables, ALICE), ["a", "b"]);
    tables.apply(&Change::SetUserState {
        user: ALICE,
        state: UserState::Disabled,
        at_unix_ms: 0,
        tokens_since_unix_ms: 0,
    });
    assert_eq!(keys(&tables, ALICE), [""; 0]);
    assert_eq!(keys(&tables, UserId(u64::MAX)), ["z"]);
}

#[test]
fn a_password_can_be_set_later() {
    let mut tables = with_alice();
    let secrets = DigestSecrets { md5: [1; 16], sha256: [2; 32] };
    tables.apply(&Change::SetUserSecrets { user: ALICE, secrets: secrets.clone(), tokens_since_unix_ms: 0 });
    assert_eq!(record(&tables, ALICE).user.secrets, Some(secrets));
}

#[test]
fn an_app_password_is_one_users_until_it_is_removed() {
    let mut tables = with_alice();
    tables.apply(&Change::AddUser { user: user(BOB, "bob@contoso.example"), at_unix_ms: 0 });
    for username in ["alice~2", "alice~1"] {
        assert!(tables.apply(&Change::AddAppPassword { user: ALICE, password: app_password(username) }));
    }
    let again = Change::AddAppPassword { user: BOB, password: app_password("alice~1") };
    assert_eq!(tables.try_apply(&again), Ok(Outcome::AlreadyThere));
    let remove = |user| Change::RemoveAppPassword { user, username: "alice~1".to_owned() };
    tables.apply(&remove(BOB));
    assert_eq!(record(&tables, ALICE).app_passwords, [app_password("alice~1"), app_password("alice~2")]);
    tables.apply(&remove(ALICE));
    assert_eq!(record(&tables, ALICE).app_passwords, [app_password("alice~2")]);
    assert!(tables.apply(&again));
}

#[test]
fn tokens_are_revoked_and_stay_so() {
    let mut tables = with_alice();
    for since_unix_ms in [5, 9, 7] {
        tables.apply(&Change::RevokeTokens { user: ALICE, since_unix_ms });
    }
    let since = |tables: &Tables| record(tables, ALICE).user.tokens_since_unix_ms;
    assert_eq!(since(&tables), 9);
    // With the account and with the password that they were given for.
    let state = |state, tokens_since_unix_ms| Change::SetUserState {
        user: ALICE,
        state,
        at_unix_ms: 1,
        tokens_since_unix_ms,
    };
    tables.apply(&state(UserState::Disabled, 11));
    tables.apply(&state(UserState::Enabled, 0));
    assert_eq!(since(&tables), 11);
    let secrets = DigestSecrets { md5: [1; 16], sha256: [2; 32] };
    tables.apply(&Change::SetUserSecrets { user: ALICE, secrets, tokens_since_unix_ms: 12 });
    assert_eq!(since(&tables), 12);
}

#[test]
fn choices_are_kept_until_they_are_changed() {
    let mut tables = with_alice();
    assert_eq!(record(&tables, ALICE).manual, Manual::default());
    tables.apply(&Change::SetManual { user: ALICE, manual: dnd() });
    tables.apply(&Change::SetCallSettings { user: ALICE, settings: forwarded() });
    let alice = record(&tables, ALICE);
    assert_eq!((alice.manual, alice.calls), (dnd(), forwarded()));
    tables.apply(&Change::SetManual { user: ALICE, manual: Manual::default() });
    tables.apply(&Change::SetCallSettings { user: ALICE, settings: CallSettings::default() });
    let alice = record(&tables, ALICE);
    assert_eq!((alice.manual, alice.calls), (Manual::default(), CallSettings::default()));
}

#[test]
fn a_document_is_replaced_and_comes_in_order() {
    let mut tables = with_alice();
    tables.apply(&Change::PutDocument(document(ALICE, "resource-lists", "1")));
    tables.apply(&Change::PutDocument(document(ALICE, "pres-rules", "2")));
    tables.apply(&Change::PutDocument(document(ALICE, "resource-lists", "3")));
    let etags = |t: &Tables| record(t, ALICE).documents.into_iter().map(|d| d.etag).collect::<Vec<_>>();
    assert_eq!(etags(&tables), ["2", "3"]);
    let Document { owner, application, name, .. } = document(ALICE, "pres-rules", "");
    tables.apply(&Change::RemoveDocument { owner, application, name });
    assert_eq!(etags(&tables), ["3"]);
}

#[test]
fn a_call_log_is_read_newest_first_in_pages() {
    let mut tables = with_alice();
    for (id, began, end) in [
        (1, 10, CallEnd::Missed),
        (2, 20, CallEnd::Answered),
        (3, 20, CallEnd::Missed),
        (4, 5, CallEnd::Cancelled),
    ] {
        assert!(tables.apply(&Change::AppendCall(call(ALICE, id, began, end))));
    }
    assert_eq!(page(&tables, None, false, 2), [3, 2]);
    assert_eq!(page(&tables, Some((20, 2)), false, 10), [1, 4]);
    assert_eq!(page(&tables, None, true, 10), [3, 1]);
    assert_eq!(page(&tables, None, false, 0), [0; 0]);
}

#[test]
fn a_call_is_logged_once_until_it_is_pruned() {
    let mut tables = with_alice();
    let first = Change::AppendCall(call(ALICE, 1, 10, CallEnd::Missed));
    assert!(tables.apply(&first));
    let again = Change::AppendCall(call(ALICE, 1, 10, CallEnd::Answered));
    assert_eq!(tables.try_apply(&again), Ok(Outcome::AlreadyThere), "whatever became of it");
    tables.apply(&Change::PruneCalls { before_unix_ms: 10 });
    assert_eq!(page(&tables, None, false, 10), [1], "the bound is not among what is dropped");
    tables.apply(&Change::PruneCalls { before_unix_ms: 11 });
    assert_eq!(page(&tables, None, false, 10), [0; 0]);
    assert!(tables.apply(&again));
}

#[test]
fn removing_a_user_takes_everything_along() {
    let mut tables = with_alice();
    tables.apply(&Change::SetManual { user: ALICE, manual: dnd() });
    tables.apply(&Change::SetCallSettings { user: ALICE, settings: forwarded() });
    tables.apply(&Change::PutDocument(document(ALICE, "resource-lists", "1")));
    tables.apply(&Change::AppendCall(call(ALICE, 1, 10, CallEnd::Missed)));
    tables.apply(&Change::AppendMessage(message(ALICE, 1, 1, 10)));
    tables.apply(&Change::PutBinding(binding(ALICE, "a")));
    tables.apply(&Change::AddCertificate { user: ALICE, certificate: certificate(1) });
    tables.apply(&Change::AddAppPassword { user: ALICE, password: app_password("alice~1") });
    tables.apply(&Change::RemoveUser { user: ALICE, at_unix_ms: 0 });
    // What objects were is told until it is pruned, and that one was last removed until another changes.
    tables.apply(&Change::PruneObjects { before_unix_ms: 1 });
    let last = Revision(2);
    let id = ObjectId::of_local(ALICE);
    let gone = ObjectRow { revision: last, at_unix_ms: 0, id, object: None };
    let (objects, newest) = ([(last, gone)].into(), [(id, last)].into());
    assert_eq!(tables, Tables { last_revision: last, objects, newest, ..Tables::default() });
}

proptest! {
    /// A removal may overtake anything: then nothing changes, and that is no error.
    #[test]
    fn changes_to_nobody_change_nothing(sequence in 1u64.., time in any::<u64>()) {
        let device = DeviceKey("d".to_owned());
        let through = Sequence(sequence);
        for change in [
            Change::SetUserState { user: BOB, state: UserState::Disabled, at_unix_ms: 0, tokens_since_unix_ms: 0 },
            Change::SetUserSecrets { user: BOB, secrets: DigestSecrets { md5: [0; 16], sha256: [0; 32] }, tokens_since_unix_ms: 0 },
            Change::SetUserPermissions {
                user: BOB,
                permissions: PermissionChange { federation: Some(false), ..Default::default() },
            },
            Change::AddCertificate { user: BOB, certificate: certificate(1) },
            Change::RemoveCertificate { user: BOB, digest: certificate(1).digest },
            Change::AddAppPassword { user: BOB, password: app_password("bob~1") },
            Change::RemoveAppPassword { user: BOB, username: "bob~1".to_owned() },
            Change::RevokeTokens { user: BOB, since_unix_ms: time },
            Change::RemoveUser { user: BOB, at_unix_ms: 0 },
            Change::PutBinding(binding(BOB, "k")),
            Change::RemoveBinding { user: BOB, key: "k".to_owned() },
            Change::AppendMessage(message(BOB, sequence, 1, time)),
            Change::WithdrawMessage { owner: BOB, sequence: through },
            Change::AdvanceTaken { owner: BOB, through },
            Change::AdvanceCursor { owner: BOB, device, through, seen_unix_ms: time },
            Change::SetManual { user: BOB, manual: dnd() },
            Change::SetCallSettings { user: BOB, settings: forwarded() },
            Change::PutDocument(document(BOB, "resource-lists", "1")),
            Change::AppendCall(call(BOB, 1, time, CallEnd::Missed)),
        ] {
            let mut tables = with_alice();
            prop_assert!(tables.apply(&change));
            prop_assert_eq!(tables, with_alice());
        }
    }
}
