//! Who may see how much, and that a change of it is seen at once.

use std::time::Duration;

use ::presence::Level;
use ::presence::rules::Subject;
use directory::{SipAddress, UserId};
use node::Flow;
use records::memory::Tables;
use records::{Change, Document};
use sip_message::{HeaderId, Message};

use super::presence::{activity, pidf, seen, text};
use super::presence_lists::listed;
use super::world::World;
use crate::admin::{Answer, Call, ContactEdit};

fn address(name: &str) -> SipAddress {
    SipAddress::parse(&format!("{name}@contoso.example")).unwrap()
}

fn grant(world: &mut World, subject: Subject, level: Option<Level>) {
    let call = Call::SetAccess { user: address("alice"), subject, level };
    assert_eq!(world.call(call), Answer::Done);
}

fn bob() -> Subject {
    Subject::User(address("bob"))
}

/// A world in which alice keeps a document.
fn with_document(application: &str, body: &str) -> World {
    let mut tables: Tables = World::new().tables;
    tables.apply(&Change::PutDocument(Document {
        owner: UserId(1),
        application: application.to_owned(),
        name: "index".to_owned(),
        etag: "1".to_owned(),
        body: body.as_bytes().to_vec(),
    }));
    World::on(tables, 2, |_| ())
}

fn state_of(notify: &Message) -> String {
    text(notify.header(HeaderId::SubscriptionState).unwrap())
}

#[test]
fn another_policy_is_seen_at_once_by_whom_no_rule_names() {
    let mut world = World::new();
    let (bob_pc, alice) = (world.sign_in("bob"), world.sign_in("alice"));
    world.publishes(alice, "alice", &pidf("open", &activity("meeting")));
    let (_, first) = world.watches(bob_pc, "bob", "alice");
    assert_eq!(seen(&first), "open busy meeting");
    let mut policy = crate::PresencePolicy::default();
    let mut configure = |world: &mut World, level| {
        policy.levels.same_organisation = level;
        let adjustable = crate::Adjustable {
            registration: Default::default(),
            authentication: Default::default(),
            messaging: Default::default(),
            presence: policy.clone(),
            calls: Default::default(),
            federation: Default::default(),
            remote_access: true,
            transactions_max: crate::TRANSACTIONS_MAX,
        };
        assert_eq!(world.call(Call::Configure(Box::new(adjustable))), Answer::Done);
    };
    configure(&mut world, Level::Blocked);
    assert_eq!(seen(&world.notified(bob_pc).expect("at once")), "closed");
    configure(&mut world, Level::Blocked);
    world.expects_nothing(bob_pc);
    grant(&mut world, bob(), Some(Level::Company));
    assert_eq!(seen(&world.notified(bob_pc).expect("at once")), "open busy meeting");
    configure(&mut world, Level::External);
    world.expects_nothing(bob_pc);
}

#[test]
fn a_level_that_changes_is_seen_at_once() {
    let mut world = World::new();
    let (bob_pc, alice) = (world.sign_in("bob"), world.sign_in("alice"));
    world.publishes(alice, "alice", &pidf("open", &activity("meeting")));
    let (_, first) = world.watches(bob_pc, "bob", "alice");
    assert_eq!(seen(&first), "open busy meeting");
    grant(&mut world, bob(), Some(Level::Blocked));
    let blocked = world.notified(bob_pc).expect("at once");
    assert_eq!((&*seen(&blocked), &*state_of(&blocked)), ("closed", "active;expires=600"));
    world.pass(Duration::from_secs(1));
    // What is not seen is not told.
    world.publishes(alice, "alice", &pidf("open", ""));
    world.pass(Duration::from_secs(1));
    assert!(world.is_silent());
    grant(&mut world, bob(), Some(Level::Team));
    assert_eq!(seen(&world.notified(bob_pc).unwrap()), "open");
    // Nothing to see where the levels look alike, and nothing that would tell that somebody thought about it.
    grant(&mut world, bob(), Some(Level::Company));
    grant(&mut world, bob(), None);
    assert!(world.is_silent());
    world.pass(Duration::from_secs(1));
    world.disconnect(alice);
    assert_eq!(seen(&world.notified(bob_pc).unwrap()), "closed");
    grant(&mut world, bob(), Some(Level::Blocked));
    assert!(world.is_silent(), "offline looks as before");
}

const CONFIRM: &str = "<ruleset xmlns=\"urn:ietf:params:xml:ns:common-policy\" xmlns:pr=\"urn:ietf:params:xml:ns:pres-rules\">\
    <rule id=\"ask\"><conditions/><actions><pr:sub-handling>confirm</pr:sub-handling></actions></rule></ruleset>";

fn winfo(world: &mut World, flow: Flow) -> Message {
    let head = world.head("SUBSCRIBE", "alice", "sip:alice@contoso.example", "sip:alice@contoso.example");
    let contact = "Contact: <sip:alice@alice-pc.invalid;transport=tls>";
    world.receive(flow, &format!("{head}\nEvent: presence.winfo\n{contact}\nExpires: 600"), "");
    assert_eq!(world.status_to(flow), 200);
    world.notified(flow).expect("who watches")
}

#[test]
fn whoever_has_to_be_allowed_waits_and_the_watched_is_told() {
    let mut world = with_document("pres-rules", CONFIRM);
    let (bob_pc, alice) = (world.sign_in("bob"), world.sign_in("alice"));
    let first = winfo(&mut world, alice);
    assert_eq!(first.content_type(), "application/watcherinfo+xml");
    assert!(!text(first.body()).contains("<watcher "), "{}", text(first.body()));
    world.pass(Duration::from_secs(6));
    let (_, first) = world.watches(bob_pc, "bob", "alice");
    assert_eq!((&*seen(&first), &*state_of(&first)), ("closed", "pending;expires=600"));
    let told = text(world.notified(alice).expect("somebody waits").body());
    assert!(told.contains("status=\"pending\"") && told.contains("sip:bob@contoso.example"), "{told}");
    world.pass(Duration::from_secs(6));
    grant(&mut world, bob(), Some(Level::Company));
    let allowed = world.notified(bob_pc).expect("at once");
    assert_eq!((&*seen(&allowed), &*state_of(&allowed)), ("open", "active;expires=594"));
    let told = text(world.notified(alice).expect("nobody waits").body());
    assert!(told.contains("status=\"active\"") && told.contains("version=\"2\""), "{told}");
    world.pass(Duration::from_secs(6));
    world.disconnect(bob_pc);
    let told = text(world.notified(alice).expect("nobody watches").body());
    assert!(!told.contains("<watcher "), "{told}");
}

#[test]
fn who_watches_is_seen_by_the_watched_alone() {
    let mut world = World::new();
    let bob_pc = world.sign_in("bob");
    let head = world.head("SUBSCRIBE", "bob", "sip:alice@contoso.example", "sip:alice@contoso.example");
    world.receive(bob_pc, &format!("{head}\nEvent: presence.winfo\nContact: <sip:b@x.invalid>"), "");
    assert_eq!(world.status_to(bob_pc), 403);
}

#[test]
fn a_rule_begins_and_ends_by_itself() {
    // The second start of a world is 1,000 s after 1,700,000,000,000 ms.
    let rules = "<ruleset xmlns=\"urn:ietf:params:xml:ns:common-policy\" xmlns:pr=\"urn:ietf:params:xml:ns:pres-rules\">\
        <rule id=\"night\"><conditions><validity><from>2023-11-14T22:48:00Z</from><until>2023-11-14T22:50:00Z</until></validity>\
        </conditions><actions><pr:sub-handling>block</pr:sub-handling></actions></rule></ruleset>";
    let mut world = with_document("pres-rules", rules);
    let (bob_pc, _) = (world.sign_in("bob"), world.sign_in("alice"));
    assert!(world.wall_unix_ms() < 1_700_002_080_000);
    assert_eq!(seen(&world.watches(bob_pc, "bob", "alice").1), "open");
    let mut passed = Vec::new();
    for _ in 0..60 {
        world.pass(Duration::from_secs(5));
        passed.extend(world.notified(bob_pc).map(|notify| (seen(&notify), world.wall_unix_ms() / 1000)));
    }
    assert!(
        matches!(&*passed, [(closed, from), (open, until)]
            if closed == "closed" && open == "open" && (1_700_002_080..1_700_002_085).contains(from)
                && (1_700_002_200..1_700_002_205).contains(until)),
        "{passed:?}"
    );
}

const OWN: &str = "Supported: eventlist\nExpires: 600";

fn edit(world: &mut World, edit: ContactEdit) {
    assert_eq!(world.call(Call::EditContacts { user: address("alice"), edit }), Answer::Done);
}

fn add(world: &mut World, name: &str) {
    let contact = address(name);
    edit(world, ContactEdit::AddContact { group: None, contact, name: None });
}

fn subscribe_own(world: &mut World, flow: Flow, uri: &str) -> u16 {
    let head = world.head("SUBSCRIBE", "alice", uri, uri);
    let contact = "Contact: <sip:alice@alice-pc.invalid;transport=tls>";
    world.receive(flow, &format!("{head}\nEvent: presence\n{contact}\n{OWN}"), "");
    world.status_to(flow)
}

#[test]
fn ones_own_contacts_are_watched_and_followed() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    assert_eq!(subscribe_own(&mut world, alice, "sip:rls@contoso.example"), 200);
    let first = listed(&world.notified(alice).unwrap());
    assert!(first.is_full && first.members.is_empty());
    world.pass(Duration::from_secs(1));
    add(&mut world, "bob");
    add(&mut world, "carol");
    world.pass(Duration::from_secs(1));
    let names = |members: &std::collections::BTreeMap<String, String>| {
        members.keys().map(|uri| uri[4..].split('@').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&listed(&world.notified(alice).unwrap()).members), ["bob"]);
    let both = listed(&world.notified(alice).unwrap());
    assert!(both.is_full);
    assert_eq!(names(&both.members), ["bob", "carol"]);
    world.pass(Duration::from_secs(1));
    world.sign_in("bob");
    let told = listed(&world.notified(alice).unwrap());
    assert!(!told.is_full && told.members["sip:bob@contoso.example"] == "active open");
    world.pass(Duration::from_secs(1));
    edit(&mut world, ContactEdit::RemoveContact { contact: address("bob"), group: None });
    assert_eq!(names(&listed(&world.notified(alice).unwrap()).members), ["carol"]);
    assert_eq!(world.node.lists.len(), (1, 1));
}

#[test]
fn an_edit_of_ones_contacts_does_not_wait_for_the_window_of_the_list() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    add(&mut world, "bob");
    assert_eq!(subscribe_own(&mut world, alice, "sip:rls@contoso.example"), 200);
    assert_eq!(listed(&world.notified(alice).unwrap()).members.len(), 1);
    world.pass(Duration::from_millis(100));
    world.sign_in("bob");
    world.expects_nothing(alice);
    add(&mut world, "carol");
    let both = listed(&world.notified(alice).expect("at once"));
    let seen: Vec<_> = both.members.values().map(String::as_str).collect();
    assert!(both.is_full);
    assert_eq!(seen, ["active open", "active closed"], "with what was gathered");
    world.pass(Duration::from_secs(10));
    world.expects_nothing(alice);
}

#[test]
fn list_services_are_their_owners_alone() {
    let services = "<rls-services xmlns=\"urn:ietf:params:xml:ns:rls-services\" xmlns:rl=\"urn:ietf:params:xml:ns:resource-lists\">\
        <service uri=\"sip:alices-team@contoso.example\"><list><rl:entry uri=\"sip:carol@contoso.example\"/></list></service>\
        </rls-services>";
    let mut world = with_document("rls-services", services);
    let (alice, bob_pc) = (world.sign_in("alice"), world.sign_in("bob"));
    assert_eq!(subscribe_own(&mut world, alice, "sip:alices-team@contoso.example"), 200);
    let first = listed(&world.notified(alice).unwrap());
    assert_eq!(first.members.into_keys().collect::<Vec<_>>(), ["sip:carol@contoso.example"]);
    assert_eq!(world.subscribe(bob_pc, "bob", "alices-team", OWN).status(), Some(404));
}

#[test]
fn a_level_of_a_row_changes_at_once() {
    let mut world = World::new();
    let (bob_pc, _alice) = (world.sign_in("bob"), world.sign_in("alice"));
    let first = world.watch_list(bob_pc, "bob", &["sip:alice@contoso.example"]);
    assert_eq!(first.members["sip:alice@contoso.example"], "active open");
    world.pass(Duration::from_secs(1));
    grant(&mut world, bob(), Some(Level::Blocked));
    let told = listed(&world.notified(bob_pc).unwrap());
    assert_eq!(told.members["sip:alice@contoso.example"], "active closed");
    world.pass(Duration::from_secs(1));
    grant(&mut world, bob(), None);
    assert_eq!(listed(&world.notified(bob_pc).unwrap()).members["sip:alice@contoso.example"], "active open");
}

#[test]
fn what_a_watcher_knows_is_not_told_again() {
    let mut world = World::new();
    let (bob_pc, _) = (world.sign_in("bob"), world.sign_in("alice"));
    let (watch, first) = world.watches(bob_pc, "bob", "alice");
    let tag = text(first.header(HeaderId::SipEtag).expect("a tag"));
    let known = format!("Suppress-If-Match: {tag}\nExpires: 600");
    assert_eq!(world.resubscribe(&watch, &known), 204);
    assert!(world.is_silent());
    world.pass(Duration::from_secs(1));
    // Nobody is told more for having asked with the wrong tag.
    assert_eq!(world.resubscribe(&watch, "Suppress-If-Match: 0123\nExpires: 600"), 200);
    assert_eq!(seen(&world.notified(bob_pc).unwrap()), "open");
}
