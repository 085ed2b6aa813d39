//! Messages to somebody who is not to be disturbed: accepted at once, delivered when it ends, never lost and never twice.

use std::net::SocketAddr;
use std::time::Duration;

use ::presence::rules::Subject;
use ::presence::{Level, ManualState};
use directory::SipAddress;
use node::{Flow, ListenerId, Transport};
use sip_message::Method;

use super::presence::pidf;
use super::world::World;
use crate::admin::{Answer, Call};

fn address(name: &str) -> SipAddress {
    SipAddress::parse(&format!("{name}@contoso.example")).unwrap()
}

/// Bob chooses not to be disturbed, for so long.
fn quiet(world: &mut World, until_unix_ms: Option<u64>) {
    let choice = Some((ManualState::DoNotDisturb, until_unix_ms));
    assert_eq!(world.call(Call::SetPresence { address: address("bob"), choice, note: None }), Answer::Done);
}

fn quiet_ends(world: &mut World) {
    assert_eq!(world.call(Call::ClearPresence(address("bob"))), Answer::Done);
}

/// Carol may interrupt bob.
fn carol_may_interrupt(world: &mut World) {
    let subject = Subject::User(address("carol"));
    let call = Call::SetAccess { user: address("bob"), subject, level: Some(Level::Team) };
    assert_eq!(world.call(call), Answer::Done);
}

/// Somebody writes to bob, and is answered before any time passes.
fn writes(world: &mut World, flow: Flow, from: &str, text: &str) -> u16 {
    world.send_text(flow, from, "bob", text);
    world.status_to(flow)
}

/// A device gets these messages in this order, takes each, and gets nothing else.
#[track_caller]
fn gets(world: &mut World, flow: Flow, texts: &[&str]) {
    for text in texts {
        let message = world.sent_to(flow).unwrap_or_else(|| panic!("{text} is delivered"));
        assert_eq!(
            (message.method(), String::from_utf8_lossy(message.body()).as_ref()),
            (Method::Message, *text)
        );
        world.respond(flow, &message, 200);
    }
    assert!(world.sent_to(flow).is_none(), "nothing behind {texts:?}");
}

fn waiting(world: &mut World) -> u64 {
    let Answer::User(details) = world.call(Call::ShowUser(address("bob"))) else { panic!("no bob") };
    details.summary.waiting_messages
}

#[test]
fn what_is_kept_quietly_is_delivered_when_the_choice_is_taken_back() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    quiet(&mut world, None);
    assert_eq!(writes(&mut world, alice, "alice", "one"), 202, "nobody has to wait");
    assert_eq!(writes(&mut world, alice, "alice", "two"), 202);
    world.pass(Duration::from_secs(60));
    assert!(world.is_silent());
    assert_eq!(waiting(&mut world), 2);
    quiet_ends(&mut world);
    gets(&mut world, bob, &["one", "two"]);
    assert_eq!(waiting(&mut world), 0);
    quiet(&mut world, None);
    quiet_ends(&mut world);
    assert!(world.is_silent(), "not a second time, and the sender is not answered again");
    world.send_text(alice, "alice", "bob", "three");
    gets(&mut world, bob, &["three"]);
    assert_eq!(world.status_to(alice), 200);
}

#[test]
fn it_ends_by_itself_at_its_time() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let until = world.wall_unix_ms() + 60_000;
    quiet(&mut world, Some(until));
    assert_eq!(writes(&mut world, alice, "alice", "one"), 202);
    world.pass(Duration::from_secs(59));
    assert!(world.is_silent());
    world.pass(Duration::from_secs(1));
    gets(&mut world, bob, &["one"]);
}

#[test]
fn nothing_is_accepted_before_it_is_durable() {
    let mut world = World::new();
    let (alice, _bob) = (world.sign_in("alice"), world.sign_in("bob"));
    quiet(&mut world, None);
    world.holds_commits = true;
    world.send_text(alice, "alice", "bob", "one");
    assert!(world.is_silent());
    world.commit();
    assert_eq!(world.status_to(alice), 202);
    assert!(world.is_silent());
}

#[test]
fn whoever_may_interrupt_lets_out_what_waits_before() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    carol_may_interrupt(&mut world);
    quiet(&mut world, None);
    assert_eq!(writes(&mut world, alice, "alice", "one"), 202);
    world.send_text(carol, "carol", "bob", "two");
    assert_eq!(writes(&mut world, alice, "alice", "three"), 202);
    gets(&mut world, bob, &["one", "two"]);
    assert_eq!(world.status_to(carol), 200, "a device took it");
    world.pass(Duration::from_secs(60));
    assert!(world.is_silent());
    quiet_ends(&mut world);
    gets(&mut world, bob, &["three"]);
}

#[test]
fn who_wrote_while_the_user_was_away_interrupts_on_the_next_sign_in() {
    let mut world = World::new();
    let (alice, carol) = (world.sign_in("alice"), world.sign_in("carol"));
    carol_may_interrupt(&mut world);
    quiet(&mut world, None);
    assert_eq!(writes(&mut world, alice, "alice", "one"), 202);
    assert_eq!(writes(&mut world, carol, "carol", "two"), 202);
    assert_eq!(writes(&mut world, alice, "alice", "three"), 202);
    let bob = world.sign_in("bob");
    gets(&mut world, bob, &["one", "two"]);
    quiet_ends(&mut world);
    gets(&mut world, bob, &["three"]);
}

#[test]
fn a_device_that_comes_meanwhile_gets_nothing_until_it_ends() {
    let mut world = World::new();
    let (alice, pc) = (world.sign_in("alice"), world.sign_in("bob"));
    quiet(&mut world, None);
    assert_eq!(writes(&mut world, alice, "alice", "one"), 202);
    let phone = world.connect(Transport::Tls);
    world.register(phone, "bob", "Contact: <sip:bob@phone.invalid>;+sip.instance=\"<urn:uuid:1>\"");
    world.register_again(pc, "bob");
    world.disconnect(pc);
    let pc = world.sign_in("bob");
    assert_eq!(writes(&mut world, alice, "alice", "two"), 202);
    world.pass(Duration::from_secs(60));
    assert!(world.is_silent());
    quiet_ends(&mut world);
    gets(&mut world, pc, &["one", "two"]);
    gets(&mut world, phone, &["one", "two"]);
}

#[test]
fn more_than_is_held_in_memory_comes_in_order() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    carol_may_interrupt(&mut world);
    quiet(&mut world, None);
    let texts: Vec<String> = (1..=60).map(|n| format!("text {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for text in &texts[..39] {
        assert_eq!(writes(&mut world, alice, "alice", text), 202);
    }
    world.send_text(carol, "carol", "bob", texts[39]);
    for text in &texts[40..] {
        assert_eq!(writes(&mut world, alice, "alice", text), 202);
    }
    gets(&mut world, bob, &texts[..40]);
    assert_eq!(world.status_to(carol), 200);
    quiet_ends(&mut world);
    gets(&mut world, bob, &texts[40..]);
    assert_eq!(waiting(&mut world), 0);
}

#[test]
fn a_message_that_was_under_way_arrives() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.send_text(alice, "alice", "bob", "one");
    world.send_text(alice, "alice", "bob", "two");
    quiet(&mut world, None);
    gets(&mut world, bob, &["one"]);
    assert_eq!(world.status_to(alice), 200);
    world.pass(Duration::from_secs(9));
    let answers: Vec<_> =
        std::iter::from_fn(|| world.sent_to(alice)?.status()).filter(|s| *s != 100).collect();
    assert_eq!(answers, [202]);
    quiet_ends(&mut world);
    gets(&mut world, bob, &["two"]);
}

#[test]
fn a_device_that_did_not_answer_is_not_tried_before_it_ends() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.send_text(alice, "alice", "bob", "one");
    let delivered = world.sent_to(bob).unwrap();
    quiet(&mut world, None);
    world.respond(bob, &delivered, 480);
    world.pass(Duration::from_secs(60));
    assert!(world.sent_to(bob).is_none());
    quiet_ends(&mut world);
    gets(&mut world, bob, &["one"]);
}

#[test]
fn what_a_device_says_counts_like_a_choice() {
    let dnd =
        "<dm:person id=\"p\"><rpid:activities><rpid:other>dnd</rpid:other></rpid:activities></dm:person>";
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.publishes(bob, "bob", &pidf("open", dnd));
    assert_eq!(writes(&mut world, alice, "alice", "one"), 202);
    assert!(world.is_silent());
    // The publication ends with its time.
    world.pass(Duration::from_secs(601));
    gets(&mut world, bob, &["one"]);
    world.publishes(bob, "bob", &pidf("open", dnd));
    assert_eq!(writes(&mut world, alice, "alice", "two"), 202);
    // It ends with its connection too; another device that only registers is available.
    world.disconnect(bob);
    let bob = world.sign_in("bob");
    gets(&mut world, bob, &["two"]);
}

#[test]
fn copies_of_what_was_sent_wait_with_the_rest() {
    let mut world = World::new();
    let (alice, pc) = (world.sign_in("alice"), world.sign_in("bob"));
    let phone = world.connect(Transport::Tls);
    world.register(phone, "bob", "Contact: <sip:bob@phone.invalid>");
    quiet(&mut world, None);
    assert_eq!(writes(&mut world, alice, "alice", "are you there?"), 202);
    world.send_text(pc, "bob", "alice", "later");
    gets(&mut world, alice, &["later"]);
    assert_eq!(world.status_to(pc), 200, "who is not to be disturbed may speak");
    assert!(world.is_silent());
    quiet_ends(&mut world);
    gets(&mut world, phone, &["are you there?", "later"]);
}

#[test]
fn typing_is_dropped_and_nobody_is_told() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    carol_may_interrupt(&mut world);
    quiet(&mut world, None);
    let typing = |world: &mut World, flow: Flow, from: &str| {
        let to = "sip:bob@contoso.example";
        let head = world.head("MESSAGE", from, to, to);
        world.receive(flow, &format!("{head}\nContent-Type: application/im-iscomposing+xml"), "<x/>");
    };
    typing(&mut world, alice, "alice");
    assert_eq!(world.status_to(alice), 200);
    assert!(world.is_silent());
    typing(&mut world, carol, "carol");
    gets(&mut world, bob, &["<x/>"]);
    assert_eq!(world.status_to(carol), 200);
    quiet_ends(&mut world);
    assert!(world.is_silent(), "it is not kept");
    world.disconnect(bob);
    quiet(&mut world, None);
    typing(&mut world, alice, "alice");
    assert_eq!(world.status_to(alice), 480, "as for everybody who is not there");
}

#[test]
fn a_choice_outlives_a_restart_and_so_does_what_waits() {
    let bob = Flow::Datagram { listener: ListenerId(0), remote: SocketAddr::from(([198, 51, 100, 8], 5060)) };
    let mut world = World::new();
    let alice = world.sign_in("alice");
    assert_eq!(world.register(bob, "bob", "Contact: <sip:bob@198.51.100.8>").status(), Some(200));
    quiet(&mut world, None);
    assert_eq!(writes(&mut world, alice, "alice", "one"), 202);
    world.pass(Duration::from_secs(5));
    let mut later = World::on(world.tables, 2, |_| ());
    later.pass(Duration::from_secs(5));
    assert!(later.is_silent(), "the device is still registered, and still not to be disturbed");
    quiet_ends(&mut later);
    gets(&mut later, bob, &["one"]);
}
