//! Following the organisation's directory: who is added, renamed, cut off; and what an administrator decided stays.

use std::time::Duration;

use directory::{
    DirectoryAccount, ObjectId, PermissionChange, Permissions, Purpose, Role, SipAddress, Standing, UserState,
};
use federation::{ServerRole, TrustedServer};
use node::Transport;
use sip_message::HeaderId;

use super::presence_lists::listed;
use super::world::{World, credentials};
use crate::admin::{
    AccountRefusal, Answer, Batch, Call, FromDirectory, Refusal, RefusedAccount, Replicated, UserDetails,
    Verdict,
};

const DAVE: ObjectId = ObjectId([4; 16]);
const ERIN: ObjectId = ObjectId([5; 16]);

pub(super) fn address(user: &str) -> SipAddress {
    SipAddress::parse(&format!("{user}@contoso.example")).unwrap()
}

pub(super) fn person(object: ObjectId, user: &str) -> FromDirectory {
    FromDirectory {
        address: address(user),
        aliases: Vec::new(),
        display_name: user.to_uppercase(),
        account: DirectoryAccount {
            object,
            standing: Standing::Active,
            bind_name: format!("{user}@corp.example"),
            sign_in_names: vec![
                format!("corp\\{user}"),
                format!("{user}@corp.example"),
                format!("sam-{user}"),
            ],
            role: Role::Person,
            permissions: Permissions::default(),
            expires_unix_ms: None,
        },
    }
}

fn standing(mut person: FromDirectory, standing: Standing) -> FromDirectory {
    person.account.standing = standing;
    person
}

impl World {
    pub(super) fn replicate(&mut self, users: Vec<FromDirectory>) -> Replicated {
        self.replicate_batch(Batch { users, ..Batch::default() })
    }

    pub(super) fn replicate_batch(&mut self, batch: Batch) -> Replicated {
        match self.call(Call::Replicate(Box::new(batch))) {
            Answer::Replicated(done) => done,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn details(&mut self, user: &str) -> UserDetails {
        match self.call(Call::ShowUser(address(user))) {
            Answer::User(details) => *details,
            other => panic!("{other:?}"),
        }
    }

    /// Gives somebody of the directory an app password, and registers with it over a new connection, as `from`.
    pub(super) fn sign_in_from_directory(&mut self, user: &str, from: &str) -> (node::Flow, String) {
        let whom = address(user).into();
        let call = Call::AddAppPassword { user: whom, label: "phone".to_owned(), purpose: Purpose::Sip };
        let Answer::IssuedAppPassword(issued) = self.call(call) else { panic!("no app password") };
        let flow = self.connect(Transport::Tls);
        let status = self.register_by(flow, from, &issued.username, &issued.password.0);
        assert_eq!(status, 200);
        (flow, issued.username.clone())
    }

    /// A REGISTER of `user` with other credentials.
    pub(super) fn register_by(
        &mut self,
        flow: node::Flow,
        user: &str,
        username: &str,
        password: &str,
    ) -> u16 {
        let to = format!("sip:{user}@contoso.example");
        let contact = format!("Contact: <sip:{user}@{user}-pc.invalid;transport=tls>");
        let head = self.head("REGISTER", user, "sip:contoso.example", &to);
        self.receive(flow, &format!("{head}\n{contact}"), "");
        let challenge = self.sent_to(flow).expect("a challenge");
        let credentials = credentials(&challenge, username, "REGISTER", "sip:contoso.example", password, 1);
        let head = self.head("REGISTER", user, "sip:contoso.example", &to);
        self.receive(flow, &format!("{head}\nAuthorization: {credentials}\n{contact}"), "");
        self.status_to(flow)
    }
}

fn refused(object: ObjectId, user: &str, reason: AccountRefusal) -> RefusedAccount {
    RefusedAccount { object, address: address(user), reason }
}

#[test]
fn accounts_come_change_and_go_and_the_same_step_again_changes_nothing() {
    let mut world = World::new();
    let step = vec![person(DAVE, "dave"), person(ERIN, "erin")];
    assert_eq!(world.replicate(step.clone()).added, 2);
    let before = world.tables.clone();
    assert_eq!(world.replicate(step), Replicated::default());
    assert_eq!(world.tables, before, "nothing is written");
    let details = world.details("dave");
    assert_eq!(details.summary.display_name, "DAVE");
    assert_eq!(details.summary.standing, Some(Standing::Active));
    assert_eq!(world.replicate(vec![standing(person(ObjectId([9; 16]), "gone"), Standing::Gone)]).added, 0);
    let done = world.replicate_batch(Batch { removed: vec![DAVE, ObjectId([9; 16])], ..Batch::default() });
    assert_eq!(done.removed, 1);
    assert!(matches!(world.call(Call::ShowUser(address("dave"))), Answer::Refused(Refusal::NoSuchUser(_))));
    assert_eq!(world.replicate_batch(Batch { removed: vec![DAVE], ..Batch::default() }).removed, 0);
}

#[test]
fn what_cannot_be_harms_nobody_else() {
    let mut world = World::new();
    let mut foreign = person(ObjectId([8; 16]), "frank");
    foreign.address = SipAddress::parse("frank@elsewhere.example").unwrap();
    let mut with_alias = person(ERIN, "erin");
    with_alias.aliases = vec![address("bob"), address("erin.old")];
    let done = world.replicate(vec![
        person(DAVE, "alice"),
        foreign.clone(),
        with_alias,
        person(ObjectId([7; 16]), "rls"),
    ]);
    assert_eq!(done.added, 1);
    assert_eq!(
        done.refused,
        [
            refused(DAVE, "alice", AccountRefusal::LocalAccount),
            RefusedAccount {
                object: ObjectId([8; 16]),
                address: foreign.address,
                reason: AccountRefusal::ForeignDomain
            },
            refused(ERIN, "bob", AccountRefusal::LocalAccount),
            refused(ObjectId([7; 16]), "rls", AccountRefusal::Service),
        ]
    );
    assert_eq!(world.details("erin").aliases, [address("erin.old")]);
    // Who is known keeps the address, and still is cut off.
    let done = world.replicate(vec![standing(person(ERIN, "bob"), Standing::Disabled)]);
    assert_eq!((done.refused.len(), done.cut_off), (1, 1));
    assert_eq!(world.details("erin").summary.standing, Some(Standing::Disabled));
}

#[test]
fn who_leaves_is_cut_off_at_once() {
    let mut world = World::new();
    world.replicate(vec![person(DAVE, "dave")]);
    let (flow, username) = world.sign_in_from_directory("dave", "dave");
    let Answer::SignInFacts(facts) = world.call(Call::FindForSignIn("corp\\DAVE".to_owned())) else {
        panic!()
    };
    let issue = Call::IssueToken { user: facts.user, lifetime: Duration::from_secs(3600), renewed: None };
    let Answer::IssuedToken(issued) = world.call(issue.clone()) else { panic!() };
    assert!(matches!(world.call(Call::JudgeToken(issued.token.clone())), Answer::TokenHolder(_)));
    world.pass(Duration::from_secs(1));

    let done = world.replicate(vec![standing(person(DAVE, "dave"), Standing::LockedOut)]);
    assert_eq!(done.cut_off, 1);
    let node::Flow::Connection(connection) = flow else { panic!() };
    assert_eq!(world.closed, [connection]);
    let details = world.details("dave");
    assert!(details.devices.is_empty());
    assert_eq!(details.app_passwords.len(), 1, "a lock only suspends what others could not lock");
    assert_eq!(world.call(issue.clone()), Answer::Refused(Refusal::Disabled));
    assert!(matches!(world.call(Call::JudgeToken(issued.token.clone())), Answer::Refused(Refusal::Token(_))));

    // Open again: the app password works, and the token of before does not.
    world.replicate(vec![person(DAVE, "dave")]);
    assert_eq!(world.details("dave").app_passwords[0].username, username);
    assert!(matches!(world.call(Call::JudgeToken(issued.token.clone())), Answer::Refused(Refusal::Token(_))));
    assert!(matches!(world.call(issue), Answer::IssuedToken(_)));

    world.replicate(vec![standing(person(DAVE, "dave"), Standing::Disabled)]);
    assert!(world.details("dave").app_passwords.is_empty());
    let Answer::Explanation(why) = world.call(Call::Explain { from: address("alice"), to: address("dave") })
    else {
        panic!()
    };
    let last = why.steps.last().unwrap();
    assert_eq!(last.verdict, Verdict::Stops);
    assert!(last.finding.contains("is disabled in the organisation's directory"), "{}", last.finding);
}

#[test]
fn a_step_never_enables_whom_an_administrator_disabled() {
    let mut world = World::new();
    world.replicate(vec![person(DAVE, "dave")]);
    assert_eq!(world.call(Call::SetUserState(address("dave"), UserState::Disabled)), Answer::Done);
    let only_federation =
        PermissionChange { federation: Some(false), remote_access: None, calls: Some(false) };
    assert_eq!(world.call(Call::SetPermissions(address("dave"), only_federation)), Answer::Done);
    world.replicate(vec![standing(person(DAVE, "dave"), Standing::Disabled)]);
    let mut renamed = person(DAVE, "dave");
    renamed.display_name = "David".to_owned();
    world.replicate(vec![renamed]);
    let details = world.details("dave");
    assert_eq!(
        (details.summary.state, details.summary.standing),
        (UserState::Disabled, Some(Standing::Active))
    );
    assert_eq!(details.summary.display_name, "David");
    assert_eq!((details.permissions.federation, details.permissions.calls), (false, false));
    let Answer::SignInFacts(facts) = world.call(Call::FindForSignIn("dave".to_owned())) else { panic!() };
    assert!(!facts.is_enabled);
}

#[test]
fn a_renamed_person_goes_on() {
    let mut world = World::new();
    world.replicate(vec![person(DAVE, "dave")]);
    let (dave, username) = world.sign_in_from_directory("dave", "dave");
    let alice = world.sign_in("alice");
    let first = world.watch_list(alice, "alice", &["sip:dave@contoso.example", "sip:david@contoso.example"]);
    assert_eq!(first.members["sip:david@contoso.example"], "terminated");

    let mut renamed = person(DAVE, "david");
    renamed.aliases = vec![address("dave")];
    assert_eq!(world.replicate(vec![renamed]).changed, 1);
    world.pass(Duration::from_millis(600));
    let notify = world.sent_to(alice).expect("a NOTIFY");
    let told = listed(&notify);
    assert_eq!(told.members["sip:dave@contoso.example"], "active open");
    assert_eq!(told.members["sip:david@contoso.example"], "active open");
    assert!(String::from_utf8_lossy(notify.body()).contains("entity=\"sip:david@contoso.example\""));
    world.respond(alice, &notify, 200);

    // A message to the old address reaches the device, which is still registered; and so does the device's own.
    world.send_text(alice, "alice", "dave", "hello");
    let at_dave = world.sent_to(dave).expect("a MESSAGE");
    assert_eq!(at_dave.body(), b"hello");
    world.respond(dave, &at_dave, 200);
    assert_eq!(world.status_to(alice), 200);
    world.send_text(dave, "dave", "alice", "from my old name");
    let at_alice = world.sent_to(alice).expect("a MESSAGE");
    let asserted = at_alice.header(HeaderId::PAssertedIdentity).expect("an identity");
    assert_eq!(asserted, b"<sip:david@contoso.example>");
    world.respond(alice, &at_alice, 200);
    assert_eq!(world.status_to(dave), 200);

    // It registers anew under the old address, with the same app password; and as nobody else.
    let other = world.connect(Transport::Tls);
    assert_eq!(world.register_by(other, "dave", &username, "wrong"), 401);
    let Answer::Explanation(why) = world.call(Call::Explain { from: address("alice"), to: address("dave") })
    else {
        panic!()
    };
    assert!(why.steps.iter().any(|step| step.finding.contains("is now david@contoso.example")), "{why:?}");
    // The address is taken away: the row that names it is about nobody.
    world.replicate(vec![person(DAVE, "david")]);
    world.pass(Duration::from_millis(600));
    let told = listed(&world.sent_to(alice).expect("a NOTIFY"));
    assert_eq!(told.members["sip:dave@contoso.example"], "terminated");
}

#[test]
fn two_people_change_addresses_and_their_watchers_do_not() {
    let mut world = World::new();
    world.replicate(vec![person(DAVE, "dave"), person(ERIN, "erin")]);
    let (dave, _) = world.sign_in_from_directory("dave", "dave");
    let alice = world.sign_in("alice");
    let done = world.replicate(vec![person(DAVE, "erin"), person(ERIN, "dave")]);
    assert_eq!((done.changed, done.refused.len()), (2, 0));
    world.send_text(alice, "alice", "erin", "hello");
    assert_eq!(world.sent_to(dave).expect("a MESSAGE").body(), b"hello");
}

#[test]
fn a_lost_step_is_done_again() {
    let mut world = World::new();
    world.disk = Err(node::StoreError::Full);
    let batch = Batch { users: vec![person(DAVE, "dave")], ..Batch::default() };
    let answer = world.call(Call::Replicate(Box::new(batch)));
    assert!(matches!(answer, Answer::Refused(Refusal::Storage(_))), "{answer:?}");
    world.disk = Ok(());
    assert_eq!(world.replicate(vec![person(DAVE, "dave")]).added, 1);
    // One at a time.
    world.holds_commits = true;
    world.handle(node::Input::Called {
        token: node::CallToken(2),
        call: Call::Replicate(Box::new(Batch { users: vec![person(ERIN, "erin")], ..Batch::default() })),
    });
    let other = world.call(Call::Replicate(Box::default()));
    assert_eq!(other, Answer::Refused(Refusal::Busy));
    world.commit();
    assert!(matches!(world.next_answer(), Some(Answer::Replicated(done)) if done.added == 1));
}

#[test]
fn servers_of_the_directory_are_trusted_while_it_lists_them() {
    let mut world = World::new();
    let server = TrustedServer { host: "edge.contoso.example".to_owned(), role: ServerRole::AccessEdge };
    let list = |world: &mut World, servers: Vec<TrustedServer>| {
        world.replicate_batch(Batch { servers: Some(servers), ..Batch::default() });
    };
    list(&mut world, vec![server]);
    let edge = world.connect_server("edge.contoso.example");
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
    let origin = "Chancery-Origin: remote;flow=f1;edge=edge.contoso.example";
    world.receive(edge, &format!("{head}\n{origin}"), "");
    assert_eq!(world.status_to(edge), 401, "it is heard");
    list(&mut world, Vec::new());
    let node::Flow::Connection(connection) = edge else { panic!() };
    assert_eq!(world.closed, [connection]);
    // A restart forgets none, whether the directory can be asked then or not.
    let server = TrustedServer { host: "edge2.contoso.example".to_owned(), role: ServerRole::AccessEdge };
    list(&mut world, vec![server.clone()]);
    let mut world = World::on(world.tables, 2, |_| ());
    assert_eq!(world.call(Call::ListedServers), Answer::ListedServers(vec![server]));
    let edge = world.connect_server("edge2.contoso.example");
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
    world.receive(edge, &format!("{head}\nChancery-Origin: remote;flow=f1;edge=edge2.contoso.example"), "");
    assert_eq!(world.status_to(edge), 401, "it is heard");
}

#[test]
fn who_waits_for_objects_is_told_of_the_next_change() {
    use records::Revision;
    let mut world = World::new();
    let Answer::Objects(rows) = world.call(Call::Objects { after: Revision(0), limit: 10 }) else { panic!() };
    let last = rows.last().expect("local accounts have objects").revision;
    assert_eq!(world.call(Call::WaitForObjects { after: Revision(0) }), Answer::ObjectsBehind(true));
    let wait = |world: &mut World| {
        let call = Call::WaitForObjects { after: last };
        world.handle(node::Input::Called { token: node::CallToken(3), call });
    };
    wait(&mut world);
    assert_eq!(world.answers_left(), 0);
    let batch = Batch { users: vec![person(DAVE, "dave")], ..Batch::default() };
    let woken = world.call(Call::Replicate(Box::new(batch)));
    assert_eq!(woken, Answer::ObjectsBehind(true));
    assert!(matches!(world.next_answer(), Some(Answer::Replicated(_))));
    wait(&mut world);
    world.pass(Duration::from_secs(crate::admin::OBJECTS_WAIT_SECONDS));
    assert_eq!(world.next_answer(), Some(Answer::ObjectsBehind(false)));
    for _ in 0..64 {
        wait(&mut world);
    }
    assert_eq!(world.call(Call::WaitForObjects { after: last }), Answer::Refused(Refusal::TooManyWait));
    let Answer::KnownUsers(known) = world.call(Call::KnownUsers { after: None, limit: 2 }) else { panic!() };
    assert_eq!(known.len(), 2);
    let after = Some(known[1].user);
    let Answer::KnownUsers(rest) = world.call(Call::KnownUsers { after, limit: 10 }) else { panic!() };
    assert_eq!(rest.len(), 2);
    assert!(rest.iter().any(|user| user.account.is_some()));
}
