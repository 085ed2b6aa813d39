//! Who sees which calls of somebody, and when (RFC 4235).

use std::time::Duration;

use ::presence::Level;
use ::presence::rules::Subject;
use directory::{SipAddress, UserId};
use node::{Flow, Transport};
use sip_message::{HeaderId, Message, Method};

use super::calls::{invite, lines, within};
use super::presence::{Watch, text};
use super::schemas::validate;
use super::world::World;
use crate::admin::{Answer, Call, CallSettingChange, Cause};

/// Longer than two NOTIFYs are apart.
const A_WHILE: Duration = Duration::from_secs(2);

fn address(name: &str) -> SipAddress {
    SipAddress::parse(&format!("{name}@contoso.example")).unwrap()
}

/// Gives a watcher a level.
fn grant(world: &mut World, by: &str, to: &str, level: Level) {
    let subject = Subject::User(address(to));
    let call = Call::SetAccess { user: address(by), subject, level: Some(level) };
    assert_eq!(world.call(call), Answer::Done);
}

fn subscribe(world: &mut World, flow: Flow, from: &str, to: &str, headers: &str) -> Message {
    let uri = format!("sip:{to}@contoso.example");
    let head = world.head("SUBSCRIBE", from, &uri, &uri);
    let contact = format!("Contact: <sip:{from}@{from}-pc.invalid;transport=tls>");
    world.receive(flow, &format!("{head}\nEvent: dialog\n{contact}\n{headers}"), "");
    world.sent_to(flow).expect("an answer to SUBSCRIBE")
}

/// Subscribes; gives what the first NOTIFY says.
fn watch(world: &mut World, flow: Flow, from: &'static str, to: &str) -> (Watch, String) {
    let answer = subscribe(world, flow, from, to, "Expires: 600");
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let watch = Watch {
        flow,
        from,
        package: "dialog",
        call_id: answer.call_id().unwrap().to_owned(),
        to: text(answer.header(HeaderId::To).unwrap()),
        contact: text(answer.header(HeaderId::Contact).unwrap()).trim_matches(['<', '>']).to_owned(),
    };
    let first = told(world, flow).expect("a first NOTIFY");
    (watch, first)
}

/// What the next NOTIFY says, in a line: version, then direction, state, event, code, parties, and what names the dialog.
fn told(world: &mut World, flow: Flow) -> Option<String> {
    let notify = world.notified(flow)?;
    assert_eq!(notify.content_type(), "application/dialog-info+xml");
    validate("presence/test_data/schemas/dialog-info.xsd", notify.body());
    let body = text(notify.body());
    assert!(body.contains("state=\"full\""), "{body}");
    let mut told = attribute(&between(&body, "<dialog-info", ">").unwrap(), "version").unwrap();
    for dialog in body.split("<dialog ").skip(1) {
        let state = between(dialog, "<state", "</state>").unwrap();
        let words = [
            attribute(dialog, "direction"),
            state.split_once('>').map(|(_, state)| state.to_owned()),
            attribute(&state, "event"),
            attribute(&state, "code"),
            between(dialog, "<duration>", "<").map(|seconds| format!("{seconds}s")),
            party(dialog, "local"),
            party(dialog, "remote").map(|remote| format!("with {remote}")),
            attribute(dialog, "call-id").map(|_| "call-id".to_owned()),
            attribute(dialog, "local-tag").map(|tag| format!("local={tag}")),
            attribute(dialog, "remote-tag").map(|tag| format!("remote={tag}")),
        ];
        told += " |";
        for word in words.into_iter().flatten() {
            told.push(' ');
            told += &word;
        }
    }
    Some(told)
}

fn between(text: &str, from: &str, to: &str) -> Option<String> {
    let at = text.find(from)? + from.len();
    Some(text[at..].split(to).next().unwrap_or_default().to_owned())
}

fn attribute(text: &str, name: &str) -> Option<String> {
    between(text, &format!(" {name}=\""), "\"")
}

fn party(dialog: &str, side: &str) -> Option<String> {
    let side = between(dialog, &format!("<{side}>"), &format!("</{side}>"))?;
    between(&between(&side, "<identity", "</identity>")?, "sip:", "@")
}

/// A call of alice that rings at bob; the INVITE as bob's device got it.
fn rings(world: &mut World, alice: Flow, bob: Flow) -> Message {
    invite(world, alice);
    let at_bob = world.sent_to(bob).unwrap();
    assert_eq!(at_bob.method(), Method::Invite);
    world.respond(bob, &at_bob, 180);
    assert_eq!(world.status_to(alice), 180);
    at_bob
}

fn answered(world: &mut World, alice: Flow, bob: Flow, at_bob: &Message) -> Message {
    world.respond(bob, at_bob, 200);
    let ok = world.sent_to(alice).unwrap();
    assert_eq!(ok.status(), Some(200));
    ok
}

fn caller_hangs_up(world: &mut World, alice: Flow, ok: &Message) {
    let mut routes = lines(ok, HeaderId::RecordRoute);
    routes.reverse();
    let bye = within(world, "BYE", ok, &routes, false);
    world.receive(alice, &bye, "");
}

#[test]
fn ones_own_devices_see_all_of_a_call_from_its_first_ring_to_its_end() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    assert_eq!(watch(&mut world, bob, "bob", "bob").1, "0");
    world.pass(A_WHILE);
    let at_bob = rings(&mut world, alice, bob);
    let early = "1 | recipient early 0s bob with alice call-id remote=falice";
    assert_eq!(told(&mut world, bob).unwrap(), early);
    world.pass(A_WHILE);
    let ok = answered(&mut world, alice, bob, &at_bob);
    let confirmed = "2 | recipient confirmed 2s bob with alice call-id local=callee remote=falice";
    assert_eq!(told(&mut world, bob).unwrap(), confirmed);
    world.pass(A_WHILE);
    caller_hangs_up(&mut world, alice, &ok);
    assert_eq!(world.sent_to(bob).unwrap().method(), Method::Bye);
    let over = "3 | recipient terminated remote-bye 4s bob with alice call-id local=callee remote=falice";
    assert_eq!(told(&mut world, bob).unwrap(), over);
    world.pass(A_WHILE);
    assert!(world.is_silent(), "an end is told once");
}

#[test]
fn a_caller_is_told_from_the_invite_on_and_no_more_than_once_a_second() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let phone = world.connect(Transport::Tls);
    world.register(phone, "alice", "Contact: <sip:alice@phone.invalid>");
    watch(&mut world, phone, "alice", "alice");
    let at_bob = rings(&mut world, alice, bob);
    let ok = answered(&mut world, alice, bob, &at_bob);
    assert!(world.is_silent());
    world.pass(Duration::from_millis(999));
    assert!(world.is_silent());
    world.pass(Duration::from_millis(1));
    let confirmed = "1 | initiator confirmed 1s alice with bob call-id local=falice remote=callee";
    assert_eq!(told(&mut world, phone).unwrap(), confirmed);
    world.pass(A_WHILE);
    caller_hangs_up(&mut world, alice, &ok);
    let over = "2 | initiator terminated local-bye 3s alice with bob call-id local=falice remote=callee";
    assert_eq!(told(&mut world, phone).unwrap(), over);
    world.pass(A_WHILE);
    invite(&mut world, alice);
    let trying = "3 | initiator trying 0s alice with bob call-id local=falice";
    assert_eq!(told(&mut world, phone).unwrap(), trying);
}

#[test]
fn each_level_sees_what_it_may() {
    for (level, seen) in [
        (Level::Blocked, None),
        (Level::External, None),
        (Level::Company, None),
        (Level::Team, Some(("early bob", "confirmed bob", "terminated remote-bye bob"))),
        (
            Level::Personal,
            Some((
                "early 0s bob with alice",
                "confirmed 2s bob with alice",
                "terminated remote-bye 4s bob with alice",
            )),
        ),
    ] {
        let mut world = World::new();
        let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
        grant(&mut world, "bob", "carol", level);
        let (subscription, first) = watch(&mut world, carol, "carol", "bob");
        assert_eq!(first, "0");
        world.pass(A_WHILE);
        let mut heard = Vec::new();
        let at_bob = rings(&mut world, alice, bob);
        heard.extend(told(&mut world, carol));
        world.pass(A_WHILE);
        let ok = answered(&mut world, alice, bob, &at_bob);
        heard.extend(told(&mut world, carol));
        if seen.is_none() {
            assert_eq!(world.resubscribe(&subscription, "Expires: 600"), 200);
            assert_eq!(told(&mut world, carol).unwrap(), "1", "{level:?}: nothing is told to who asks again");
        }
        world.pass(A_WHILE);
        caller_hangs_up(&mut world, alice, &ok);
        heard.extend(told(&mut world, carol));
        let expected: Vec<String> = seen.map_or_else(Vec::new, |(early, confirmed, over)| {
            let line = |(at, what): (usize, &&str)| format!("{} | recipient {what}", at + 1);
            [early, confirmed, over].iter().enumerate().map(line).collect()
        });
        assert_eq!(heard, expected, "{level:?}");
    }
}

#[test]
fn a_level_that_changes_is_told_at_once() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    watch(&mut world, carol, "carol", "bob");
    let at_bob = rings(&mut world, alice, bob);
    answered(&mut world, alice, bob, &at_bob);
    world.pass(A_WHILE);
    assert!(world.is_silent());
    for (level, seen) in [
        (Level::Team, "1 | recipient confirmed bob"),
        (Level::Personal, "2 | recipient confirmed 4s bob with alice"),
        // As if the call were over; and no more of it than that.
        (Level::Company, "3 | recipient terminated remote-bye bob"),
    ] {
        grant(&mut world, "bob", "carol", level);
        assert_eq!(told(&mut world, carol).unwrap(), seen);
        world.pass(A_WHILE);
    }
    grant(&mut world, "bob", "carol", Level::Blocked);
    assert!(world.is_silent(), "both see nothing");
    // Who gets the level back before the end was told, sees that there was none.
    grant(&mut world, "bob", "carol", Level::Team);
    assert_eq!(told(&mut world, carol).unwrap(), "4 | recipient confirmed bob");
    grant(&mut world, "bob", "carol", Level::Blocked);
    grant(&mut world, "bob", "carol", Level::Team);
    world.pass(A_WHILE);
    assert_eq!(told(&mut world, carol).unwrap(), "5 | recipient confirmed bob");
    assert!(world.is_silent());
}

#[test]
fn of_a_call_that_ended_before_no_more_is_told_than_its_watcher_may_see_now() {
    for (level, told_of_end) in [
        (Level::Personal, "2 | recipient terminated remote-bye 0s bob with alice"),
        (Level::Team, "2 | recipient terminated remote-bye bob"),
        (Level::Blocked, "2 | recipient terminated remote-bye bob"),
    ] {
        let mut world = World::new();
        let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
        grant(&mut world, "bob", "carol", Level::Personal);
        watch(&mut world, carol, "carol", "bob");
        world.pass(A_WHILE);
        let at_bob = rings(&mut world, alice, bob);
        assert_eq!(told(&mut world, carol).unwrap(), "1 | recipient early 0s bob with alice");
        let ok = answered(&mut world, alice, bob, &at_bob);
        // It ends before the next NOTIFY may be sent, and so does the level.
        caller_hangs_up(&mut world, alice, &ok);
        grant(&mut world, "bob", "carol", level);
        world.pass(A_WHILE);
        assert_eq!(told(&mut world, carol).unwrap(), told_of_end, "{level:?}");
    }
}

#[test]
fn who_refreshes_sees_all_and_who_leaves_hears_no_more() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    grant(&mut world, "bob", "carol", Level::Team);
    let (subscription, _) = watch(&mut world, carol, "carol", "bob");
    world.pass(A_WHILE);
    let at_bob = rings(&mut world, alice, bob);
    assert_eq!(told(&mut world, carol).unwrap(), "1 | recipient early bob");
    // Somebody who comes later has versions of an own count.
    let (_, later) = watch(&mut world, carol, "carol", "bob");
    assert_eq!(later, "0 | recipient early bob");
    assert_eq!(world.resubscribe(&subscription, "Expires: 600"), 200);
    assert_eq!(told(&mut world, carol).unwrap(), "2 | recipient early bob");
    assert_eq!(world.resubscribe(&subscription, "Expires: 0"), 200);
    assert_eq!(told(&mut world, carol).unwrap(), "3 | recipient early bob");
    world.pass(A_WHILE);
    answered(&mut world, alice, bob, &at_bob);
    assert_eq!(told(&mut world, carol).unwrap(), "1 | recipient confirmed bob");
    assert!(world.is_silent());
    world.disconnect(carol);
    assert!(world.node.dialog_watches.is_empty());
}

#[test]
fn ends_say_why() {
    for (status, seen) in [
        (486, "rejected 486 0s bob with alice"),
        (487, "cancelled 487 0s bob with alice"),
        (408, "timeout 408 0s bob with alice"),
    ] {
        let mut world = World::new();
        let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
        grant(&mut world, "bob", "carol", Level::Personal);
        watch(&mut world, carol, "carol", "bob");
        world.pass(A_WHILE);
        invite(&mut world, alice);
        let at_bob = world.sent_to(bob).unwrap();
        assert!(world.sent_to(carol).is_none(), "nothing rings yet");
        world.respond(bob, &at_bob, status);
        assert_eq!(told(&mut world, carol).unwrap(), format!("1 | recipient terminated {seen}"));
    }
}

#[test]
fn a_call_that_goes_on_is_over_where_it_rang_before() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    let settings = vec![CallSettingChange::Forward(Cause::Busy, Some(address("carol")))];
    assert_eq!(
        world.call(Call::SetCallSettings { address: address("bob"), changes: settings }),
        Answer::Done
    );
    watch(&mut world, alice, "alice", "bob");
    grant(&mut world, "bob", "alice", Level::Team);
    let (_, first) = watch(&mut world, alice, "alice", "carol");
    assert_eq!(first, "0");
    grant(&mut world, "carol", "alice", Level::Team);
    world.pass(A_WHILE);
    let at_bob = rings(&mut world, alice, bob);
    assert_eq!(told(&mut world, alice).unwrap(), "1 | recipient early bob");
    world.pass(A_WHILE);
    world.respond(bob, &at_bob, 486);
    let mut heard = [told(&mut world, alice).unwrap(), told(&mut world, alice).unwrap()];
    heard.sort();
    assert_eq!(heard, ["1 | recipient early carol", "2 | recipient terminated rejected bob"]);
    world.pass(A_WHILE);
    let at_carol = world.sent_to(carol).unwrap();
    world.respond(carol, &at_carol, 200);
    assert_eq!(world.status_to(alice), 200);
    assert_eq!(told(&mut world, alice).unwrap(), "2 | recipient confirmed carol");
    world.node.end_calls_of(UserId(1));
    world.stall(A_WHILE);
    assert_eq!(told(&mut world, alice).unwrap(), "3 | recipient terminated error carol");
    world.pass(A_WHILE);
    assert!(told(&mut world, alice).is_none());
}

#[test]
fn a_call_that_another_takes_over_is_replaced() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    let at_bob = rings(&mut world, alice, bob);
    let ok = answered(&mut world, alice, bob, &at_bob);
    watch(&mut world, bob, "bob", "bob");
    world.pass(A_WHILE);
    let uri = "sip:alice@contoso.example";
    let head = world.head("INVITE", "carol", uri, uri);
    let replaces = format!("Replaces: {};to-tag=falice;from-tag=callee", ok.call_id().unwrap());
    world.receive(carol, &format!("{head}\nContact: <sip:carol@carol-pc.invalid>\n{replaces}"), "");
    let at_alice = world.sent_to(alice).unwrap();
    world.respond(alice, &at_alice, 200);
    assert_eq!(world.status_to(carol), 200);
    caller_hangs_up(&mut world, alice, &ok);
    assert_eq!(world.sent_to(bob).unwrap().method(), Method::Bye);
    let over = "1 | recipient terminated replaced 2s bob with alice call-id local=callee remote=falice";
    assert_eq!(told(&mut world, bob).unwrap(), over);
}

#[test]
fn nobody_links_the_parties_of_a_call_by_its_names() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.sign_in("alice"), world.sign_in("bob"), world.sign_in("carol"));
    grant(&mut world, "alice", "carol", Level::Team);
    grant(&mut world, "bob", "carol", Level::Team);
    rings(&mut world, alice, bob);
    let id = |world: &mut World, of: &str| {
        assert_eq!(subscribe(world, carol, "carol", of, "Expires: 600").status(), Some(200));
        let notify = world.notified(carol).unwrap();
        between(&text(notify.body()), "<dialog id=\"", "\"").unwrap()
    };
    let ids = [id(&mut world, "alice"), id(&mut world, "bob"), id(&mut world, "bob")];
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[1], ids[2], "in every subscription the same");
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let mut world = World::new();
    let carol = world.sign_in("carol");
    let mut ask = |to: &str, headers: &str| subscribe(&mut world, carol, "carol", to, headers).status();
    assert_eq!(ask("nobody", "Expires: 600"), Some(404));
    assert_eq!(ask("bob", "Accept: application/pidf+xml"), Some(406));
}
