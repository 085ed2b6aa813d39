//! Who may not call: no voice and video, and everything else as before.

use directory::PermissionChange;
use node::Flow;
use sip_message::HeaderId;

use super::calls::{lines, within};
use super::directory::address;
use super::world::World;
use crate::admin::{Answer, Call, CallSettingChange, Cause, Verdict};

fn session(media: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}\r\n")
}

const VOICE: &str = "m=audio 4000 RTP/AVP 0";
const MESSAGES: &str = "m=message 2855 TCP/MSRP *";

fn forbid(world: &mut World, user: &str) {
    let change = PermissionChange { federation: None, remote_access: None, calls: Some(false) };
    assert_eq!(world.call(Call::SetPermissions(address(user), change)), Answer::Done);
}

fn invite(world: &mut World, flow: Flow, from: &str, to: &str, media: &str) {
    let uri = format!("sip:{to}@contoso.example");
    let head = world.head("INVITE", from, &uri, &uri);
    let contact = format!("Contact: <sip:{from}@{from}-pc.invalid;transport=tls>");
    world.receive(flow, &format!("{head}\n{contact}\nContent-Type: application/sdp"), &session(media));
}

#[test]
fn who_may_not_call_neither_begins_nor_gets_one_and_still_writes() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    forbid(&mut world, "bob");
    invite(&mut world, alice, "alice", "bob", VOICE);
    assert_eq!(world.status_to(alice), 403);
    invite(&mut world, bob, "bob", "alice", VOICE);
    assert_eq!(world.status_to(bob), 403);
    assert!(world.is_silent());

    invite(&mut world, alice, "alice", "bob", MESSAGES);
    let at_bob = world.sent_to(bob).expect("a session of messages");
    world.respond(bob, &at_bob, 200);
    let ok = world.sent_to(alice).unwrap();
    assert_eq!(ok.status(), Some(200));
    let mut routes = lines(&ok, HeaderId::RecordRoute);
    routes.reverse();
    // It does not become a call by the way.
    let again = within(&mut world, "UPDATE", &ok, &routes, false);
    world.receive(alice, &format!("{again}\nContent-Type: application/sdp"), &session(VOICE));
    assert_eq!(world.status_to(alice), 403);
    let again = within(&mut world, "UPDATE", &ok, &routes, false);
    let again = again.replace("CSeq: 99", "CSeq: 100");
    world.receive(alice, &format!("{again}\nContent-Type: application/sdp"), &session(MESSAGES));
    assert_eq!(world.sent_to(bob).expect("an UPDATE").method().as_str(), "UPDATE");

    world.send_text(alice, "alice", "bob", "hello");
    assert_eq!(world.sent_to(bob).expect("a MESSAGE").body(), b"hello");
    let Answer::Explanation(why) = world.call(Call::Explain { from: address("alice"), to: address("bob") })
    else {
        panic!()
    };
    let last = why.steps.last().unwrap();
    assert_eq!((last.what, last.verdict), ("calls", Verdict::Stops));
}

#[test]
fn a_call_is_not_forwarded_to_who_may_not_be_called() {
    let mut world = World::new();
    let (alice, carol) = (world.sign_in("alice"), world.sign_in("carol"));
    let bob = world.sign_in("bob");
    forbid(&mut world, "carol");
    let set = |changes| Call::SetCallSettings { address: address("bob"), changes };
    world.call(set(vec![CallSettingChange::RingAlso(vec![address("carol")])]));
    invite(&mut world, alice, "alice", "bob", VOICE);
    assert!(world.sent_to(bob).is_some());
    assert!(world.sent_to(carol).is_none(), "it does not ring along");
    world.call(set(vec![CallSettingChange::Forward(Cause::Always, Some(address("carol")))]));
    invite(&mut world, alice, "alice", "bob", VOICE);
    let statuses: Vec<u16> = std::iter::from_fn(|| world.sent_to(alice)).filter_map(|m| m.status()).collect();
    assert!(statuses.contains(&480), "{statuses:?}");
    invite(&mut world, alice, "alice", "bob", MESSAGES);
    assert!(world.sent_to(carol).is_some(), "a session of messages is");
}
