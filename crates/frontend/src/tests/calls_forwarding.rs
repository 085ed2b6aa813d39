//! Where calls go by their callee's settings.

use std::time::Duration;

use directory::{Role, SipAddress, UserId};
use node::{Flow, Transport};
use presence::ManualState;
use sip_message::{HeaderId, Message, Method};

use super::calls::{invite, lines, within};
use super::calls_log::log;
use super::world::{PASSWORD, World};
use crate::admin::{Answer, Call, CallSettingChange, Cause, Refusal};

const ALICE: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CAROL: UserId = UserId(3);

fn address(name: &str) -> SipAddress {
    SipAddress::parse(&format!("{name}@contoso.example")).unwrap()
}

fn set(world: &mut World, of: &str, changes: Vec<CallSettingChange>) -> Answer {
    world.call(Call::SetCallSettings { address: address(of), changes })
}

fn forward(world: &mut World, of: &str, cause: Cause, to: &str) {
    let changes = vec![CallSettingChange::Forward(cause, Some(address(to)))];
    assert_eq!(set(world, of, changes), Answer::Done);
}

fn add_user(world: &mut World, name: &str) {
    let call = Call::AddUser {
        address: address(name),
        display_name: String::new(),
        password: PASSWORD.to_owned(),
        role: Role::Person,
    };
    assert_eq!(world.call(call), Answer::Done);
}

fn choose(world: &mut World, who: &str, state: ManualState) {
    let choice = Some((state, None));
    assert_eq!(world.call(Call::SetPresence { address: address(who), choice, note: None }), Answer::Done);
}

fn history(message: &Message) -> String {
    String::from_utf8_lossy(message.header_named("History-Info").unwrap_or_default()).into_owned()
}

/// The INVITE that a device got; nothing else may have come.
fn invited(world: &mut World, flow: Flow) -> Message {
    let message = world.sent_to(flow).expect("an INVITE");
    assert_eq!(message.method(), Method::Invite);
    message
}

/// A device is told that it need not ring any more, and agrees.
fn cancelled(world: &mut World, flow: Flow, invite: &Message) {
    let cancel = world.sent_to(flow).expect("a CANCEL");
    assert_eq!(cancel.method(), Method::Cancel);
    world.respond(flow, &cancel, 200);
    world.respond(flow, invite, 487);
    assert_eq!(world.sent_to(flow).expect("an ACK").method(), Method::Ack);
}

/// Alice's calls are over.
fn end_calls(world: &mut World) {
    world.node.end_calls_of(ALICE);
    world.handle(node::Input::Timer);
}

#[test]
fn all_calls_go_elsewhere() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    forward(&mut world, "bob", Cause::Always, "carol");
    invite(&mut world, alice);
    assert!(world.sent_to(bob).is_none());
    let at_carol = invited(&mut world, carol);
    assert_eq!(
        history(&at_carol),
        "<sip:bob@contoso.example>;index=1, <sip:carol@contoso.example;cause=302>;index=1.1;mp=1"
    );
    let asserted =
        String::from_utf8_lossy(at_carol.header(HeaderId::PAssertedIdentity).unwrap()).into_owned();
    assert_eq!(asserted, "<sip:alice@contoso.example>", "who calls is who called");
    world.respond(carol, &at_carol, 200);
    assert_eq!(world.status_to(alice), 200);
    assert_eq!((world.node.calls_up(BOB), world.node.calls_up(CAROL)), (0, 1));
    end_calls(&mut world);
    assert_eq!(log(&world, ALICE), ["Sent bob Answered 0s carol@contoso.example"]);
    assert_eq!(log(&world, BOB), ["Received alice Forwarded 0s carol@contoso.example"]);
    assert_eq!(log(&world, CAROL), ["Received alice Answered 0s test (198.51.100.7)"]);
}

#[test]
fn who_answered_for_another_ends_the_call_over_another_connection_too() {
    let mut world = World::new();
    let (alice, carol) = (world.sign_in("alice"), world.sign_in("carol"));
    forward(&mut world, "bob", Cause::Always, "carol");
    invite(&mut world, alice);
    let at_carol = invited(&mut world, carol);
    world.respond(carol, &at_carol, 200);
    let ok = world.sent_to(alice).expect("an answer");
    let routes = lines(&at_carol, HeaderId::RecordRoute);
    let again = world.sign_in("carol");
    // By the address that was called, in this dialog, along its route: in no other way.
    let bye = |world: &mut World| within(world, "BYE", &ok, &routes, true);
    for (from, to) in [("tag=callee", "tag=another"), ("From: <sip:bob@", "From: <sip:erin@")] {
        let bye = bye(&mut world).replace(from, to);
        world.receive(again, &bye, "");
        assert_eq!(world.status_to(again), 403, "{bye}");
    }
    let bye_of_nobody = within(&mut world, "BYE", &ok, &[], true);
    world.receive(again, &bye_of_nobody, "");
    assert_eq!(world.status_to(again), 403);
    assert_eq!(world.node.calls_up(CAROL), 1);
    let bye = bye(&mut world);
    world.receive(again, &bye, "");
    let at_alice = world.sent_to(alice).expect("a BYE");
    assert_eq!(at_alice.method(), Method::Bye);
    world.respond(alice, &at_alice, 200);
    assert_eq!(world.status_to(again), 200);
    assert_eq!((world.node.calls_up(ALICE), world.node.calls_up(CAROL)), (0, 0));
}

#[test]
fn who_is_not_there_is_reached_elsewhere() {
    let mut world = World::new();
    let (alice, carol) = (world.sign_in("alice"), world.sign_in("carol"));
    forward(&mut world, "bob", Cause::Unregistered, "carol");
    let head = invite(&mut world, alice);
    let at_carol = invited(&mut world, carol);
    assert!(history(&at_carol).contains("cause=404"), "{}", history(&at_carol));
    world.respond(carol, &at_carol, 180);
    world.receive(alice, &head.replace("INVITE", "CANCEL"), "");
    cancelled(&mut world, carol, &at_carol);
    assert_eq!(log(&world, BOB), ["Received alice Forwarded 0s"]);
    assert_eq!(log(&world, CAROL), ["Received alice Missed 0s"]);
}

#[test]
fn a_call_that_nobody_answers_goes_on_after_a_while() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    forward(&mut world, "bob", Cause::NoAnswer, "carol");
    assert_eq!(set(&mut world, "bob", vec![CallSettingChange::NoAnswerAfter(10)]), Answer::Done);
    invite(&mut world, alice);
    let at_bob = invited(&mut world, bob);
    world.respond(bob, &at_bob, 180);
    assert_eq!(world.status_to(alice), 180);
    world.pass(Duration::from_secs(9));
    assert!(world.sent_to(carol).is_none());
    world.pass(Duration::from_secs(1));
    let at_carol = invited(&mut world, carol);
    assert_eq!(
        history(&at_carol),
        "<sip:bob@contoso.example?Reason=SIP%3Bcause%3D408>;index=1, \
         <sip:carol@contoso.example;cause=408>;index=1.1;mp=1"
    );
    cancelled(&mut world, bob, &at_bob);
    world.respond(carol, &at_carol, 180);
    assert_eq!(world.status_to(alice), 180);
    world.respond(carol, &at_carol, 200);
    assert_eq!(world.status_to(alice), 200);
    assert!(world.is_silent());
}

#[test]
fn who_answers_at_the_last_moment_has_the_call() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    forward(&mut world, "bob", Cause::NoAnswer, "carol");
    invite(&mut world, alice);
    let at_bob = invited(&mut world, bob);
    world.respond(bob, &at_bob, 180);
    assert_eq!(world.status_to(alice), 180);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.sent_to(bob).unwrap().method(), Method::Cancel);
    let at_carol = invited(&mut world, carol);
    world.respond(carol, &at_carol, 180);
    assert_eq!(world.status_to(alice), 180);
    world.respond(bob, &at_bob, 200);
    assert_eq!(world.status_to(alice), 200, "the CANCEL came too late");
    cancelled(&mut world, carol, &at_carol);
    end_calls(&mut world);
    assert_eq!(log(&world, BOB), ["Received alice Answered 0s test (198.51.100.7)"]);
    assert_eq!(log(&world, CAROL).len(), 0, "nothing that carol should know");
}

#[test]
fn a_call_that_is_answered_nowhere_ends_with_the_last() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    forward(&mut world, "bob", Cause::NoAnswer, "carol");
    forward(&mut world, "carol", Cause::NoAnswer, "bob");
    invite(&mut world, alice);
    let at_bob = invited(&mut world, bob);
    world.respond(bob, &at_bob, 180);
    assert_eq!(world.status_to(alice), 180);
    world.pass(Duration::from_secs(20));
    let at_carol = invited(&mut world, carol);
    world.respond(carol, &at_carol, 180);
    assert_eq!(world.status_to(alice), 180);
    cancelled(&mut world, bob, &at_bob);
    world.pass(Duration::from_secs(20));
    cancelled(&mut world, carol, &at_carol);
    assert_eq!(world.status_to(alice), 408, "nobody is rung twice");
    assert_eq!(log(&world, ALICE), ["Sent bob Failed 0s"]);
    assert_eq!(log(&world, BOB), ["Received alice Forwarded 0s"]);
    assert_eq!(log(&world, CAROL), ["Received alice Missed 0s"]);
    assert_eq!(world.node.stack.contexts(), 0);
}

#[test]
fn a_caller_who_gives_up_ends_a_forwarded_call() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    forward(&mut world, "bob", Cause::NoAnswer, "carol");
    let head = invite(&mut world, alice);
    let at_bob = invited(&mut world, bob);
    world.respond(bob, &at_bob, 180);
    assert_eq!(world.status_to(alice), 180);
    world.pass(Duration::from_secs(20));
    cancelled(&mut world, bob, &at_bob);
    let at_carol = invited(&mut world, carol);
    world.respond(carol, &at_carol, 180);
    assert_eq!(world.status_to(alice), 180);
    world.receive(alice, &head.replace("INVITE", "CANCEL"), "");
    assert_eq!(world.status_to(alice), 200);
    cancelled(&mut world, carol, &at_carol);
    assert_eq!(world.status_to(alice), 487);
}

#[test]
fn busy_goes_elsewhere_when_a_device_says_so() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    forward(&mut world, "bob", Cause::Busy, "carol");
    invite(&mut world, alice);
    let at_bob = invited(&mut world, bob);
    world.respond(bob, &at_bob, 486);
    assert_eq!(world.sent_to(bob).unwrap().method(), Method::Ack);
    let at_carol = invited(&mut world, carol);
    assert!(history(&at_carol).contains("cause=486"));
    world.respond(carol, &at_carol, 404);
    assert_eq!(world.sent_to(carol).unwrap().method(), Method::Ack);
    assert_eq!(world.status_to(alice), 486, "the best of all answers");
}

#[test]
fn busy_on_busy_is_policy_and_choice() {
    let mut world = World::with(|config| config.calls.busy_on_busy = true);
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    invite(&mut world, alice);
    let at_bob = invited(&mut world, bob);
    world.respond(bob, &at_bob, 200);
    assert_eq!(world.status_to(alice), 200);
    let call_from_carol = |world: &mut World| {
        let head = world.head("INVITE", "carol", "sip:bob@contoso.example", "sip:bob@contoso.example");
        world.receive(carol, &format!("{head}\nContact: <sip:carol@carol-pc.invalid>"), "");
    };
    call_from_carol(&mut world);
    assert_eq!(world.status_to(carol), 486);
    assert_eq!(log(&world, BOB), ["Received carol Missed 0s"], "bob should know");

    assert_eq!(set(&mut world, "bob", vec![CallSettingChange::BusyOnBusy(Some(false))]), Answer::Done);
    call_from_carol(&mut world);
    let second = invited(&mut world, bob);
    world.respond(bob, &second, 486);
    assert_eq!(world.status_to(carol), 486);
    world.sent_to(bob);

    add_user(&mut world, "dave");
    let dave = world.sign_in("dave");
    forward(&mut world, "bob", Cause::Busy, "dave");
    assert_eq!(set(&mut world, "bob", vec![CallSettingChange::BusyOnBusy(None)]), Answer::Done);
    call_from_carol(&mut world);
    assert!(world.sent_to(bob).is_none());
    invited(&mut world, dave);
}

#[test]
fn others_ring_together_with_the_callee() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    assert_eq!(
        set(&mut world, "bob", vec![CallSettingChange::RingAlso(vec![address("carol")])]),
        Answer::Done
    );
    invite(&mut world, alice);
    let (at_bob, at_carol) = (invited(&mut world, bob), invited(&mut world, carol));
    world.respond(bob, &at_bob, 180);
    assert_eq!(world.status_to(alice), 180);
    world.respond(carol, &at_carol, 200);
    assert_eq!(world.status_to(alice), 200);
    cancelled(&mut world, bob, &at_bob);
    assert_eq!((world.node.calls_up(BOB), world.node.calls_up(CAROL)), (0, 1));
    end_calls(&mut world);
    assert_eq!(log(&world, BOB), ["Received alice Forwarded 0s carol@contoso.example"]);
    assert_eq!(log(&world, CAROL), ["Received alice Answered 0s test (198.51.100.7)"]);

    let head = invite(&mut world, alice);
    let (at_bob, at_carol) = (invited(&mut world, bob), invited(&mut world, carol));
    world.respond(bob, &at_bob, 180);
    world.respond(carol, &at_carol, 180);
    world.receive(alice, &head.replace("INVITE", "CANCEL"), "");
    cancelled(&mut world, bob, &at_bob);
    cancelled(&mut world, carol, &at_carol);
    assert_eq!(log(&world, BOB).len(), 2, "bob missed it");
    assert_eq!(log(&world, CAROL).len(), 1, "it was not carol's call");
}

#[test]
fn who_has_no_device_is_reached_by_those_who_ring_too() {
    let mut world = World::new();
    let (alice, carol) = (world.sign_in("alice"), world.sign_in("carol"));
    assert_eq!(
        set(&mut world, "bob", vec![CallSettingChange::RingAlso(vec![address("carol")])]),
        Answer::Done
    );
    invite(&mut world, alice);
    invited(&mut world, carol);
}

#[test]
fn forwardings_end_somewhere() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    let names = ["bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
    names[2..].iter().for_each(|name| add_user(&mut world, name));
    let grace = world.sign_in("grace");
    for pair in names.windows(2).take(5) {
        forward(&mut world, pair[0], Cause::Always, pair[1]);
    }
    invite(&mut world, alice);
    let at_grace = invited(&mut world, grace);
    assert!(history(&at_grace).ends_with(";index=1.1.1.1.1.1;mp=1.1.1.1.1"), "{}", history(&at_grace));

    forward(&mut world, "grace", Cause::Always, "heidi");
    invite(&mut world, alice);
    assert_eq!(world.status_to(alice), 482, "five are enough");
    forward(&mut world, "carol", Cause::Always, "bob");
    invite(&mut world, alice);
    assert_eq!(world.status_to(alice), 482, "in a circle");
}

#[test]
fn settings_that_lead_nowhere_are_refused() {
    let mut world = World::new();
    let to = |target: &str| {
        vec![CallSettingChange::Forward(Cause::Busy, Some(SipAddress::parse(target).unwrap()))]
    };
    let nobody = SipAddress::parse("nobody@contoso.example").unwrap();
    assert_eq!(
        set(&mut world, "bob", to("nobody@contoso.example")),
        Answer::Refused(Refusal::NoSuchUser(nobody))
    );
    let foreign = set(&mut world, "bob", to("dave@fabrikam.example"));
    assert!(matches!(foreign, Answer::Refused(Refusal::ForeignDomain { .. })));
    let own = set(&mut world, "bob", to("bob@contoso.example"));
    assert!(matches!(own, Answer::Refused(Refusal::CallSetting(_))));
    let many = set(&mut world, "bob", vec![CallSettingChange::RingAlso(vec![address("carol"); 11])]);
    assert!(matches!(many, Answer::Refused(Refusal::CallSetting(_))));
    let short = set(&mut world, "bob", vec![CallSettingChange::NoAnswerAfter(1)]);
    assert!(matches!(short, Answer::Refused(Refusal::CallSetting(_))));
    let Answer::CallSettings(settings) = world.call(Call::ShowCallSettings(address("bob"))) else {
        panic!("settings were asked for")
    };
    assert_eq!(*settings, Default::default(), "nothing of it was kept");
}

#[test]
fn settings_outlive_a_restart() {
    let mut world = World::new();
    forward(&mut world, "bob", Cause::Always, "carol");
    let mut world = World::on(world.tables, 2, |_| ());
    let (alice, carol) = (world.sign_in("alice"), world.sign_in("carol"));
    invite(&mut world, alice);
    invited(&mut world, carol);
    let clear = CallSettingChange::Forward(Cause::Always, None);
    assert_eq!(set(&mut world, "bob", vec![clear]), Answer::Done);
    invite(&mut world, alice);
    assert_eq!(world.status_to(alice), 480);
}

#[test]
fn who_is_not_to_be_disturbed_is_not_rung() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    choose(&mut world, "bob", ManualState::DoNotDisturb);
    invite(&mut world, alice);
    let answer = world.sent_to(alice).unwrap();
    assert_eq!(answer.status(), Some(486));
    assert!(answer.header(HeaderId::Reason).is_none() && answer.reason_phrase() == b"Busy Here");
    assert!(world.sent_to(bob).is_none());
    assert_eq!(log(&world, BOB), ["Received alice Missed 0s"]);

    forward(&mut world, "bob", Cause::DoNotDisturb, "carol");
    invite(&mut world, alice);
    invited(&mut world, carol);

    choose(&mut world, "bob", ManualState::Available);
    invite(&mut world, alice);
    invited(&mut world, bob);
}

#[test]
fn a_request_for_one_device_is_not_sent_elsewhere() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.connect(Transport::Tls));
    let carol = world.sign_in("carol");
    let instance = "urn:uuid:00000000-0000-1000-8000-000a95a0e128";
    let contact = format!("Supported: gruu\nContact: <sip:bob@pc.invalid>;+sip.instance=\"<{instance}>\"");
    world.register(bob, "bob", &contact);
    forward(&mut world, "bob", Cause::Always, "carol");
    let gruu = format!("sip:bob@contoso.example;gr={instance}");
    let head = world.head("INVITE", "alice", &gruu, &gruu);
    world.receive(alice, &format!("{head}\nContact: <sip:alice@alice-pc.invalid>"), "");
    invited(&mut world, bob);
    assert!(world.sent_to(carol).is_none());
}

#[test]
fn a_replaced_dialog_is_found_at_its_device() {
    let mut world = World::new();
    let (alice, pc, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    let phone = world.connect(Transport::Tls);
    world.register(phone, "bob", "Contact: <sip:bob@phone.invalid>");
    invite(&mut world, alice);
    let (at_pc, at_phone) = (invited(&mut world, pc), invited(&mut world, phone));
    world.respond(phone, &at_phone, 180);
    assert_eq!(world.status_to(alice), 180);
    world.respond(pc, &at_pc, 200);
    let ok = world.sent_to(alice).unwrap();
    cancelled(&mut world, phone, &at_phone);
    forward(&mut world, "bob", Cause::Always, "alice");
    let call_id = ok.call_id().unwrap().to_owned();
    for uri in ["sip:bob@contoso.example", "sip:callee@bob-pc.invalid;transport=tls"] {
        let head = world.head("INVITE", "carol", uri, uri);
        let replaces = format!("Replaces: {call_id};to-tag=callee;from-tag=falice");
        world.receive(carol, &format!("{head}\nContact: <sip:carol@carol-pc.invalid>\n{replaces}"), "");
        invited(&mut world, pc);
        assert!(world.sent_to(phone).is_none() && world.sent_to(alice).is_none(), "{uri}");
    }
    let uri = "sip:callee@bob-pc.invalid";
    let head = world.head("INVITE", "carol", uri, uri);
    world.receive(carol, &format!("{head}\nReplaces: x;to-tag=callee;from-tag=falice"), "");
    assert_eq!(world.status_to(carol), 403, "what is no dialog here leads nowhere");
}
