//! Calls: forked, cancelled, answered, and what stays in their dialogs.

use node::Transport;
use sip_message::{HeaderId, Message, Method};

use super::world::World;

pub(super) fn lines(message: &Message, id: HeaderId) -> Vec<String> {
    message.elements(id).map(|e| String::from_utf8_lossy(e).into_owned()).collect()
}

pub(super) fn invite(world: &mut World, flow: node::Flow) -> String {
    let head = world.head("INVITE", "alice", "sip:bob@contoso.example", "sip:bob@contoso.example");
    world.receive(flow, &format!("{head}\nContact: <sip:alice@alice-pc.invalid;transport=tls>"), "");
    head
}

/// A request of a party within the dialog that a response or request made.
pub(super) fn within(
    world: &mut World,
    method: &str,
    of: &Message,
    routes: &[String],
    from_callee: bool,
) -> String {
    let text = |id| String::from_utf8_lossy(of.header(id).unwrap()).into_owned();
    let (from, to) = (text(HeaderId::From), text(HeaderId::To));
    let (from, to, uri) = if from_callee {
        (to, from, "sip:alice@alice-pc.invalid;transport=tls")
    } else {
        (from, to, "sip:callee@bob-pc.invalid;transport=tls")
    };
    let call_id = of.call_id().unwrap().to_owned();
    let head = world.head(method, "x", uri, "sip:x@x.example");
    let via = head.lines().find(|l| l.starts_with("Via")).unwrap().to_owned();
    let routes: String = routes.iter().map(|r| format!("\nRoute: {r}")).collect();
    format!(
        "{method} {uri} SIP/2.0\n{via}\nMax-Forwards: 70\nFrom: {from}\nTo: {to}\nCall-ID: {call_id}\nCSeq: 99 {method}{routes}"
    )
}

#[test]
fn a_call_is_set_up_and_ended_through_us() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    invite(&mut world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    assert_eq!(at_bob.request_uri_text(), "sip:bob@bob-pc.invalid;transport=tls");
    assert_eq!(lines(&at_bob, HeaderId::RecordRoute).len(), 2, "one entry faces each side");
    assert_eq!(at_bob.max_forwards(), Ok(Some(69)));
    world.respond(bob, &at_bob, 180);
    assert_eq!(world.status_to(alice), 180);
    world.respond(bob, &at_bob, 200);
    let ok = world.sent_to(alice).unwrap();
    assert_eq!(ok.status(), Some(200));
    assert_eq!(lines(&ok, HeaderId::Via).len(), 1, "our Via is gone");

    let mut routes = lines(&ok, HeaderId::RecordRoute);
    routes.reverse();
    let ack = within(&mut world, "ACK", &ok, &routes, false);
    world.receive(alice, &ack, "");
    let ack = world.sent_to(bob).unwrap();
    assert_eq!((ack.method(), lines(&ack, HeaderId::Route).len()), (Method::Ack, 0));

    let routes = lines(&at_bob, HeaderId::RecordRoute);
    let bye = within(&mut world, "BYE", &ok, &routes, true);
    world.receive(bob, &bye, "");
    let bye = world.sent_to(alice).unwrap();
    assert_eq!(bye.method(), Method::Bye);
    assert_eq!(bye.request_uri_text(), "sip:alice@alice-pc.invalid;transport=tls");
    world.respond(alice, &bye, 200);
    assert_eq!(world.status_to(bob), 200);
}

#[test]
fn a_stranger_cannot_speak_within_a_dialog() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    invite(&mut world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 200);
    let ok = world.sent_to(alice).unwrap();
    let mut routes = lines(&ok, HeaderId::RecordRoute);
    routes.reverse();
    let bye = within(&mut world, "BYE", &ok, &routes, false);
    let stranger = world.connect(Transport::Tls);
    world.receive(stranger, &bye, "");
    assert_eq!(world.status_to(stranger), 407, "the route is another's");
    let carol = world.sign_in("carol");
    world.receive(carol, &bye.replace("branch=z9hG4bK", "branch=z9hG4bKc"), "");
    assert_eq!(world.status_to(carol), 403, "From is another's");
    let mut forged = routes.clone();
    forged[1] = forged[1].replacen("sip:", "sip:A", 1);
    let bye = within(&mut world, "BYE", &ok, &forged, false);
    world.receive(alice, &bye, "");
    assert_eq!(world.status_to(alice), 403);
    assert!(world.sent_to(bob).is_none());
}

#[test]
fn the_first_device_to_answer_wins_and_the_others_stop_ringing() {
    let mut world = World::new();
    let (alice, pc, phone) = (world.sign_in("alice"), world.sign_in("bob"), world.connect(Transport::Tls));
    world.register(phone, "bob", "Contact: <sip:bob@phone.invalid>");
    invite(&mut world, alice);
    let (on_pc, on_phone) = (world.sent_to(pc).unwrap(), world.sent_to(phone).unwrap());
    world.respond(pc, &on_pc, 180);
    world.respond(phone, &on_phone, 180);
    assert_eq!((world.status_to(alice), world.status_to(alice)), (180, 180));
    world.respond(phone, &on_phone, 200);
    assert_eq!(world.status_to(alice), 200);
    let cancel = world.sent_to(pc).unwrap();
    assert_eq!(cancel.method(), Method::Cancel);
    let reason = String::from_utf8_lossy(cancel.header(HeaderId::Reason).unwrap()).into_owned();
    assert!(reason.contains("Call completed elsewhere"), "{reason}");
    world.respond(pc, &cancel, 200);
    world.respond(pc, &on_pc, 487);
    assert_eq!(world.sent_to(pc).unwrap().method(), Method::Ack);
    assert!(world.is_silent(), "the loser's end is not the caller's business");
}

#[test]
fn devices_of_lower_q_ring_after_the_others_failed() {
    let mut world = World::new();
    let (alice, phone) = (world.sign_in("alice"), world.connect(Transport::Tls));
    let pc = world.sign_in("bob");
    world.register(phone, "bob", "Contact: <sip:bob@phone.invalid>;q=0.2");
    invite(&mut world, alice);
    let on_pc = world.sent_to(pc).unwrap();
    assert!(world.sent_to(phone).is_none());
    world.respond(pc, &on_pc, 486);
    assert_eq!(world.sent_to(pc).unwrap().method(), Method::Ack);
    let on_phone = world.sent_to(phone).unwrap();
    world.respond(phone, &on_phone, 200);
    assert_eq!(world.status_to(alice), 200);
}

#[test]
fn a_caller_who_gives_up_stops_the_ringing() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let head = invite(&mut world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 180);
    assert_eq!(world.status_to(alice), 180);
    let cancel: String = head.replace("INVITE", "CANCEL");
    world.receive(alice, &cancel, "");
    let answer = world.sent_to(alice).unwrap();
    assert_eq!(answer.status(), Some(200), "the CANCEL is answered");
    let tag = answer.to().unwrap().tag().unwrap().to_owned();
    assert!(tag.len() >= 16, "nobody guesses the tag {tag}");
    let at_bob_cancel = world.sent_to(bob).unwrap();
    assert_eq!(at_bob_cancel.method(), Method::Cancel);
    world.respond(bob, &at_bob_cancel, 200);
    world.respond(bob, &at_bob, 487);
    assert_eq!(world.status_to(alice), 487);
}

#[test]
fn nobody_there_and_nobody_at_all_are_said() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    invite(&mut world, alice);
    assert_eq!(world.status_to(alice), 480);
    for (uri, status) in
        [("sip:nobody@contoso.example", 404), ("sip:bob@fabrikam.example", 403), ("sip:contoso.example", 405)]
    {
        let head = world.head("INVITE", "alice", uri, uri);
        world.receive(alice, &head, "");
        assert_eq!(world.status_to(alice), status, "{uri}");
    }
}

#[test]
fn a_dialog_goes_on_after_a_device_came_back_on_another_connection() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    invite(&mut world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    world.respond(bob, &at_bob, 200);
    let ok = world.sent_to(alice).unwrap();
    world.disconnect(bob);
    let bob = world.connect(Transport::Tls);
    world.register(bob, "bob", "Contact: <sip:callee@bob-pc.invalid;transport=tls>");
    let mut routes = lines(&ok, HeaderId::RecordRoute);
    routes.reverse();
    let bye = within(&mut world, "BYE", &ok, &routes, false);
    world.receive(alice, &bye, "");
    assert_eq!(world.sent_to(bob).unwrap().method(), Method::Bye);
}
