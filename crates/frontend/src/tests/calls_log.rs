//! What is known of calls while they last, and what their parties find of them afterwards.

use std::time::Duration;

use directory::UserId;
use node::{Flow, StoreError, Transport};
use records::{Query, Rows};
use sip_message::{HeaderId, Message, Method};

use super::calls::{invite, lines, within};
use super::world::World;

const ALICE: UserId = UserId(1);
const BOB: UserId = UserId(2);

/// A user's call log as text, newest first.
pub(super) fn log(world: &World, owner: UserId) -> Vec<String> {
    let query = Query::Calls { owner, before: None, missed_only: false, limit: 100 };
    let Rows::Calls(calls) = world.query(&query) else { panic!("calls were asked for") };
    let line = |call: &records::StoredCall| {
        format!(
            "{:?} {} {:?} {}s {}",
            call.direction,
            call.peer.user(),
            call.end,
            call.lasted_ms / 1000,
            call.answered_at
        )
    };
    calls.iter().map(|call| line(call).trim_end().to_owned()).collect()
}

/// A call from alice that bob's device answered; the 2xx as alice saw it.
fn answered(world: &mut World, alice: Flow, bob: Flow) -> Message {
    invite(world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 180);
    assert_eq!(world.status_to(alice), 180);
    world.respond(bob, &at_bob, 200);
    let ok = world.sent_to(alice).unwrap();
    assert_eq!(ok.status(), Some(200));
    ok
}

fn caller_routes(ok: &Message) -> Vec<String> {
    let mut routes = lines(ok, HeaderId::RecordRoute);
    routes.reverse();
    routes
}

fn up(world: &World) -> (usize, usize) {
    (world.node.calls_up(ALICE), world.node.calls_up(BOB))
}

#[test]
fn both_are_in_a_call_while_it_is_up() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    invite(&mut world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 180);
    assert_eq!(world.status_to(alice), 180);
    assert_eq!(up(&world), (0, 0), "ringing is not being in a call");
    world.respond(bob, &at_bob, 200);
    let ok = world.sent_to(alice).unwrap();
    assert_eq!(up(&world), (1, 1));
    world.pass(Duration::from_secs(61));
    let mut bye = within(&mut world, "BYE", &ok, &caller_routes(&ok), false);
    bye = bye.replace("callee\n", "other\n");
    world.receive(alice, &bye, "");
    assert_eq!(up(&world), (1, 1), "a second device's dialog is hung up, not the call");
    let bye = within(&mut world, "BYE", &ok, &caller_routes(&ok), false);
    world.receive(alice, &bye, "");
    assert_eq!(up(&world), (0, 0));
    assert_eq!(world.node.calls.len(), 0);
    assert_eq!(log(&world, ALICE), ["Sent bob Answered 61s bob@contoso.example"]);
    assert_eq!(log(&world, BOB), ["Received alice Answered 61s test (198.51.100.7)"]);
}

#[test]
fn a_call_that_the_callee_hangs_up_is_over() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    invite(&mut world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 200);
    let ok = world.sent_to(alice).unwrap();
    let routes = lines(&at_bob, HeaderId::RecordRoute);
    let bye = within(&mut world, "BYE", &ok, &routes, true);
    world.receive(bob, &bye, "");
    assert_eq!(up(&world), (0, 0));
}

#[test]
fn a_call_answered_on_one_device_is_missed_on_none() {
    let mut world = World::new();
    let (alice, pc, phone) = (world.sign_in("alice"), world.sign_in("bob"), world.connect(Transport::Tls));
    world.register(phone, "bob", "Contact: <sip:bob@phone.invalid>");
    invite(&mut world, alice);
    let (on_pc, on_phone) = (world.sent_to(pc).unwrap(), world.sent_to(phone).unwrap());
    world.respond(pc, &on_pc, 180);
    assert_eq!(world.status_to(alice), 180);
    world.respond(phone, &on_phone, 200);
    let cancel = world.sent_to(pc).unwrap();
    assert_eq!(cancel.method(), Method::Cancel);
    world.respond(pc, &on_pc, 487);
    let ok = world.sent_to(alice).unwrap();
    let bye = within(&mut world, "BYE", &ok, &caller_routes(&ok), false);
    world.receive(alice, &bye, "");
    assert_eq!(log(&world, BOB), ["Received alice Answered 0s test (198.51.100.7) port 40003"]);
}

/// The owner's log tells devices apart that are alike; nobody else's tells of them.
#[test]
fn the_device_that_answered_is_named() {
    const A: &str = "urn:uuid:00000000-0000-1000-8000-000a95a0e128";
    // Of another clock, on the same machine.
    const B: &str = "urn:uuid:11111111-0000-1000-8000-000a95a0e128";
    const C: &str = "urn:uuid:00000000-0000-1000-8000-000a95a0e199";
    let (pc, phone) = ("sip:bob@pc.invalid", "sip:bob@192.0.2.7:5071");
    for (contacts, name) in [
        ([(pc, "Messenger", ""), (phone, "Phone", "")], "Phone (192.0.2.7)"),
        ([(pc, "Phone", ""), (phone, "Phone", "")], "Phone (192.0.2.7)"),
        ([(phone, "Phone", ""), (pc, "", "")], "198.51.100.7"),
        ([("sip:bob@192.0.2.7:5070", "Phone", A), (phone, "Phone", C)], "Phone (192.0.2.7) a0e199"),
        (
            [("sip:bob@192.0.2.7:5070", "Phone", A), (phone, "Phone", B)],
            "Phone (192.0.2.7) urn:uuid:11111111-0000-1000-8000-000a95a0e128",
        ),
        ([("sip:bob@192.0.2.7:5070", "Phone", A), (phone, "Phone", "")], "Phone (192.0.2.7) port 5071"),
    ] {
        let mut world = World::new();
        let alice = world.sign_in("alice");
        let flows = contacts.map(|(contact, program, instance)| {
            let flow = world.connect(Transport::Tls);
            let instance =
                if instance.is_empty() { String::new() } else { format!(";+sip.instance=\"<{instance}>\"") };
            let contact = format!("Contact: <{contact}>{instance}");
            assert_eq!(world.register_with(flow, "bob", program, &contact).status(), Some(200));
            flow
        });
        invite(&mut world, alice);
        let [first, second] = flows.map(|flow| world.sent_to(flow).unwrap());
        world.respond(flows[1], &second, 200);
        let ok = world.sent_to(alice).unwrap();
        world.respond(flows[0], &first, 487);
        let bye = within(&mut world, "BYE", &ok, &caller_routes(&ok), false);
        world.receive(alice, &bye, "");
        assert_eq!(log(&world, BOB), [format!("Received alice Answered 0s {name}")]);
        assert_eq!(log(&world, ALICE), ["Sent bob Answered 0s bob@contoso.example"]);
    }
}

#[test]
fn calls_that_were_not_answered_are_told_apart() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    invite(&mut world, alice);
    assert_eq!(world.status_to(alice), 480);
    assert_eq!(log(&world, BOB)[0], "Received alice Missed 0s", "no device was there");
    assert_eq!(log(&world, ALICE)[0], "Sent bob Failed 0s");

    let bob = world.sign_in("bob");
    world.pass(Duration::from_secs(1));
    let head = invite(&mut world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 180);
    world.receive(alice, &head.replace("INVITE", "CANCEL"), "");
    world.respond(bob, &at_bob, 487);
    assert_eq!(log(&world, BOB)[0], "Received alice Missed 0s", "the caller gave up");
    assert_eq!(log(&world, ALICE)[0], "Sent bob Cancelled 0s");

    world.pass(Duration::from_secs(1));
    while world.sent_to(alice).is_some() || world.sent_to(bob).is_some() {}
    invite(&mut world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 603);
    assert_eq!(log(&world, BOB)[0], "Received alice Refused 0s", "the callee declined");
    assert_eq!(log(&world, ALICE)[0], "Sent bob Refused 0s");

    world.pass(Duration::from_secs(1));
    while world.sent_to(alice).is_some() || world.sent_to(bob).is_some() {}
    invite(&mut world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 422);
    assert_eq!((log(&world, ALICE).len(), log(&world, BOB).len()), (3, 3), "it will be made again at once");
    assert_eq!(world.node.calls.len(), 0);
}

#[test]
fn a_call_without_a_bye_is_over_when_its_session_is_not_refreshed() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    invite(&mut world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    world.respond_with(bob, &at_bob, 200, &[(HeaderId::SessionExpires, "600;refresher=uac")]);
    let ok = world.sent_to(alice).unwrap();
    world.pass(Duration::from_secs(500));
    let update = within(&mut world, "UPDATE", &ok, &caller_routes(&ok), false);
    world.receive(alice, &format!("{update}\nSession-Expires: 600;refresher=uac"), "");
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 200);
    world.pass(Duration::from_secs(500));
    assert_eq!(up(&world), (1, 1), "it was refreshed");
    world.pass(Duration::from_secs(150));
    assert_eq!(up(&world), (0, 0));
    assert_eq!(log(&world, ALICE).len(), 1);
}

#[test]
fn a_call_is_over_when_both_its_devices_are_gone() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    answered(&mut world, alice, bob);
    world.disconnect(bob);
    world.pass(Duration::from_secs(120));
    assert_eq!(up(&world), (1, 1), "the other end will hang up");
    world.disconnect(alice);
    world.pass(Duration::from_secs(20));
    assert_eq!(up(&world), (1, 1), "they may be on their way to another network");
    world.pass(Duration::from_secs(50));
    assert_eq!(up(&world), (0, 0));
}

#[test]
fn a_call_that_nobody_ever_ends_is_over_after_a_day() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    answered(&mut world, alice, bob);
    for _ in 0..25 {
        world.register_again(alice, "alice");
        world.register_again(bob, "bob");
        world.pass(Duration::from_secs(3500));
    }
    assert_eq!(up(&world), (0, 0));
    assert!(!world.node.sweeps_calls, "nobody looks at an empty table");
}

#[test]
fn a_dialog_that_the_other_end_does_not_know_any_more_is_over() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let ok = answered(&mut world, alice, bob);
    let invite = within(&mut world, "INVITE", &ok, &caller_routes(&ok), false);
    world.receive(alice, &format!("{invite}\nContact: <sip:alice@alice-pc.invalid>"), "");
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 481);
    assert_eq!(up(&world), (0, 0));
}

#[test]
fn an_entry_that_storage_did_not_take_is_written_later() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    world.disk = Err(StoreError::Full);
    invite(&mut world, alice);
    assert_eq!(world.status_to(alice), 480);
    world.pass(Duration::from_secs(30));
    assert_eq!(log(&world, BOB).len(), 0);
    world.disk = Ok(());
    world.pass(Duration::from_secs(6));
    assert_eq!((log(&world, ALICE).len(), log(&world, BOB).len()), (1, 1));
}

#[test]
fn a_removed_user_leaves_no_call_behind() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    answered(&mut world, alice, bob);
    world.call(crate::admin::Call::RemoveUser(directory::SipAddress::parse("bob@contoso.example").unwrap()));
    assert_eq!(up(&world), (0, 0));
    assert_eq!(log(&world, ALICE), ["Sent bob Answered 0s bob@contoso.example"]);
}

#[test]
fn a_log_of_no_length_is_not_kept() {
    let mut world = World::with(|config| config.calls.log_retention = Duration::ZERO);
    let alice = world.sign_in("alice");
    invite(&mut world, alice);
    assert_eq!(world.status_to(alice), 480);
    assert_eq!(log(&world, ALICE).len(), 0);
}
