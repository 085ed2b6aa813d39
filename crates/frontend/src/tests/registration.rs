//! Signing in, and what a registration says and ends with.

use std::time::Duration;

use directory::{SipAddress, UserId, UserState};
use node::{Flow, ListenerId, Transport};
use records::{Query, Rows};
use sip_message::{HeaderId, Message};

use super::schemas::validate_beside;
use super::world::{PASSWORD, World, credentials};
use crate::admin::{Answer, Call, Refusal};

fn contacts(message: &Message) -> Vec<String> {
    message.elements(HeaderId::Contact).map(|c| String::from_utf8_lossy(c).into_owned()).collect()
}

fn udp(last: u8) -> Flow {
    Flow::Datagram { listener: ListenerId(0), remote: ([198, 51, 100, last], 5060).into() }
}

#[test]
fn a_device_registers_and_is_told_its_way_out() {
    let mut world = World::new();
    let flow = world.connect(Transport::Tls);
    let answer = world.register(
        flow,
        "alice",
        "Contact: <sip:alice@pc.invalid;transport=tls>;x=y;expires=120\nSupported: gruu",
    );
    assert_eq!(answer.status(), Some(200));
    assert_eq!(contacts(&answer), ["<sip:alice@pc.invalid;transport=tls>;x=y;expires=120"]);
    let route = answer.header(HeaderId::ServiceRoute).unwrap();
    assert_eq!(route, b"<sip:sip.contoso.example:5061;transport=tls;lr>");
}

#[test]
fn several_devices_are_listed_and_leave_one_by_one() {
    let mut world = World::new();
    let (pc, phone) = (world.connect(Transport::Tls), world.connect(Transport::Tls));
    world.register(pc, "alice", "Contact: <sip:a@pc.invalid>;q=0.5");
    let answer = world.register(phone, "alice", "Contact: <sip:a@phone.invalid>");
    assert_eq!(
        contacts(&answer),
        ["<sip:a@pc.invalid>;q=0.500;expires=3600", "<sip:a@phone.invalid>;expires=3600"]
    );
    let answer = world.register(pc, "alice", "Contact: <sip:a@pc.invalid>;expires=0");
    assert_eq!(contacts(&answer), ["<sip:a@phone.invalid>;expires=3600"]);
    let answer = world.register(pc, "alice", "Contact: *\nExpires: 0");
    assert_eq!(contacts(&answer), [""; 0]);
}

/// Many devices refresh each half a minute, only to keep their NATs open.
#[test]
fn a_refresh_that_moves_the_end_by_little_costs_no_writing() {
    let mut world = World::new();
    let contact = "Contact: <sip:a@198.51.100.1>;expires=3200";
    // How long it would still last after a restart.
    let left_after = |world: &mut World, seconds: u64| {
        world.pass(Duration::from_secs(seconds));
        assert_eq!(world.register(udp(1), "alice", contact).status(), Some(200));
        let now = world.wall_unix_ms();
        world.pass(Duration::from_secs(2));
        let Rows::LoadedUser(Some(alice)) = world.query(&Query::LoadUser(UserId(1))) else {
            panic!("no Alice")
        };
        (alice.bindings[0].expires_unix_ms - now) / 1000
    };
    assert_eq!(left_after(&mut world, 0), 3200);
    assert_eq!(left_after(&mut world, 58), 3200 - 60);
    assert_eq!(left_after(&mut world, 37), 3200 - 99);
    assert_eq!(left_after(&mut world, 0), 3200, "more than a part in 32 would be forgotten");
}

#[test]
fn a_binding_ends_with_its_connection_and_with_its_time() {
    let mut world = World::new();
    let pc = world.sign_in("alice");
    let phone = world.connect(Transport::Tls);
    world.register(phone, "alice", "Contact: <sip:a@phone.invalid>;expires=60");
    world.disconnect(pc);
    let asks = world.connect(Transport::Tls);
    assert_eq!(contacts(&world.register(asks, "alice", "")), ["<sip:a@phone.invalid>;expires=60"]);
    world.pass(Duration::from_secs(61));
    assert_eq!(contacts(&world.register(asks, "alice", "")), [""; 0]);
}

#[test]
fn a_registration_over_datagrams_survives_a_restart() {
    let mut world = World::new();
    let answer = world.register(udp(9), "alice", "Contact: <sip:alice@198.51.100.9>");
    assert_eq!(answer.status(), Some(200));
    world.pass(Duration::from_secs(3));
    let mut later = World::on(world.tables, 2, |_| ());
    let Answer::User(details) =
        later.call(Call::ShowUser(SipAddress::parse("alice@contoso.example").unwrap()))
    else {
        panic!("no details")
    };
    assert_eq!(details.devices.len(), 1);
    assert_eq!(details.devices[0].contact, "sip:alice@198.51.100.9");
}

#[test]
fn outbound_flows_of_one_instance_are_two_bindings_of_one_device() {
    let mut world = World::new();
    let contact = |id| {
        format!(
            "Supported: path, outbound, gruu\nContact: <sip:a@pc.invalid;ob>;reg-id={id};+sip.instance=\"<urn:uuid:1>\""
        )
    };
    let (first, second) = (world.connect(Transport::Tls), world.connect(Transport::Tls));
    world.register(first, "alice", &contact(1));
    let answer = world.register(second, "alice", &contact(2));
    assert_eq!(contacts(&answer).len(), 2);
    assert!(answer.has_option(HeaderId::Require, "outbound"));
    assert!(answer.header(HeaderId::FlowTimer).is_some());
    assert!(
        contacts(&answer)[0].contains("pub-gruu=\"sip:alice@contoso.example;gr=urn:uuid:1\""),
        "{:?}",
        contacts(&answer)
    );
    let bob = world.sign_in("bob");
    world.send_text(bob, "bob", "alice", "hello");
    assert!(world.sent_to(second).is_some(), "the newest flow is used");
    assert!(world.sent_to(first).is_none(), "and no other while it works");
    world.disconnect(second);
    assert!(world.sent_to(first).is_some(), "the older flow takes over");
}

#[test]
fn too_brief_a_registration_is_told_the_least() {
    let mut world = World::new();
    let flow = world.connect(Transport::Tls);
    let answer = world.register(flow, "alice", "Contact: <sip:a@pc.invalid>;expires=10");
    assert_eq!(answer.status(), Some(423));
    assert_eq!(answer.header(HeaderId::MinExpires), Some(&b"60"[..]));
}

#[test]
fn wrong_passwords_and_unknown_users_look_the_same() {
    let mut world = World::new();
    let mut outcomes = Vec::new();
    for user in ["alice", "nobody"] {
        let flow = world.connect(Transport::Tls);
        let address = format!("sip:{user}@contoso.example");
        let head = world.head("REGISTER", user, "sip:contoso.example", &address);
        world.receive(flow, &head, "");
        let challenge = world.sent_to(flow).unwrap();
        let head = world.head("REGISTER", user, "sip:contoso.example", &address);
        let wrong = credentials(&challenge, user, "REGISTER", "sip:contoso.example", "a guess", 1);
        world.receive(flow, &format!("{head}\nAuthorization: {wrong}"), "");
        let answer = world.sent_to(flow).unwrap();
        let names: Vec<_> = answer.headers().map(|h| h.id).collect();
        outcomes.push((challenge.status(), answer.status(), names));
    }
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0].1, Some(401));
}

/// What answers alice's challenge on a flow, as the lines of her REGISTER.
fn answered_challenge(world: &mut World, flow: Flow) -> String {
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
    world.receive(flow, &head, "");
    let challenge = world.sent_to(flow).unwrap();
    let right = credentials(&challenge, "alice", "REGISTER", "sip:contoso.example", PASSWORD, 1);
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
    format!("{head}\nAuthorization: {right}\nContact: <sip:a@pc.invalid>")
}

/// The next answer to a flow asks again, and says that the nonce alone is at fault.
fn assert_stale(world: &mut World, flow: Flow, why: &str) {
    let answer = world.sent_to(flow).unwrap();
    assert_eq!(answer.status(), Some(401), "{why}");
    let challenge = String::from_utf8_lossy(answer.header(HeaderId::WwwAuthenticate).unwrap());
    assert!(challenge.contains("stale=true"), "{why}: {challenge}");
}

#[test]
fn an_answer_to_a_challenge_is_taken_once() {
    let mut world = World::new();
    let flow = world.connect(Transport::Tls);
    let first = answered_challenge(&mut world, flow);
    world.receive(flow, &first, "");
    assert_eq!(world.status_to(flow), 200);
    world.receive(flow, &first, "");
    assert_stale(&mut world, flow, "nothing comes twice over a connection");
    let thief = world.connect(Transport::Tls);
    world.receive(thief, &first.replace("a@pc", "a@thief"), "");
    assert_stale(&mut world, thief, "the same answer with another Contact");
    assert_eq!(world.details("alice").devices.len(), 1);
}

/// Whoever listens has a datagram that was right, and may send any other with the same Call-ID, CSeq and answer.
#[test]
fn a_datagram_is_taken_again_as_it_was_and_from_where_it_was_alone() {
    let mut world = World::new();
    let phone = udp(1);
    let first = answered_challenge(&mut world, phone);
    world.receive(phone, &first, "");
    assert_eq!(world.status_to(phone), 200);
    world.receive(phone, &first, "");
    assert_eq!(world.status_to(phone), 200, "its retransmission is answered again");
    world.receive(phone, &first.replace("a@pc", "a@thief"), "");
    assert_stale(&mut world, phone, "another Contact");
    world.receive(phone, &first, "something");
    assert_stale(&mut world, phone, "another body");
    let Flow::Datagram { listener, mut remote } = phone else { unreachable!() };
    remote.set_port(5061);
    for thief in [udp(2), Flow::Datagram { listener, remote }] {
        world.receive(thief, &first, "");
        assert_stale(&mut world, thief, "from elsewhere");
    }
    let devices = world.details("alice").devices;
    assert_eq!((devices.len(), devices[0].contact.as_str()), (1, "sip:a@pc.invalid"));
}

/// No address can be made to wait by whoever writes it under his datagrams.
#[test]
fn wrong_answers_under_a_forged_source_count_against_nobody() {
    let mut world = World::new();
    let (owner, liar) = (udp(1), udp(66));
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
    world.receive(liar, &head, "");
    let challenge = world.sent_to(liar).unwrap();
    for _ in 0..20 {
        let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
        let wrong = credentials(&challenge, "alice", "REGISTER", "sip:contoso.example", "a guess", 1);
        world.receive(owner, &format!("{head}\nAuthorization: {wrong}"), "");
        assert_stale(&mut world, owner, "a nonce of another place");
        let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
        world.receive(owner, &format!("{head}\nAuthorization: Bearer made-up"), "");
        assert_eq!(world.status_to(owner), 401);
    }
    assert_eq!(world.register(owner, "alice", "Contact: <sip:a@pc.invalid>").status(), Some(200));
}

#[test]
fn a_guesser_is_slowed_whatever_letters_the_name_has() {
    let mut world = World::new();
    let flow = world.connect(Transport::Tls);
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
    world.receive(flow, &head, "");
    let challenge = world.sent_to(flow).unwrap();
    let mut guess = |name: &str| {
        let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
        let wrong = credentials(&challenge, name, "REGISTER", "sip:contoso.example", "a guess", 1);
        world.receive(flow, &format!("{head}\nAuthorization: {wrong}"), "");
        world.status_to(flow)
    };
    for name in ["alice", "ALICE", "Alice", "aLice", "alIce", "aliCe", "alicE", "ALice", "AlIce", "AliCe"] {
        assert_eq!(guess(name), 401, "{name}");
    }
    assert_eq!(guess("alICE"), 503);
}

#[test]
fn nobody_registers_somebody_else() {
    let mut world = World::new();
    let flow = world.connect(Transport::Tls);
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:bob@contoso.example");
    world.receive(flow, &head, "");
    let challenge = world.sent_to(flow).unwrap();
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:bob@contoso.example");
    let right = credentials(&challenge, "alice", "REGISTER", "sip:contoso.example", PASSWORD, 1);
    world.receive(flow, &format!("{head}\nAuthorization: {right}\nContact: <sip:x@thief.invalid>"), "");
    assert_eq!(world.status_to(flow), 403);
}

#[test]
fn every_method_with_a_stolen_from_is_refused() {
    for method in [
        "INVITE",
        "BYE",
        "OPTIONS",
        "MESSAGE",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "REFER",
        "INFO",
        "PRACK",
        "UPDATE",
        "FOO",
    ] {
        let mut world = World::new();
        let (mallory, bob) = (world.sign_in("carol"), world.sign_in("bob"));
        let head = world.head(method, "alice", "sip:bob@contoso.example", "sip:bob@contoso.example");
        world.receive(mallory, &head, "");
        assert_eq!(world.status_to(mallory), 403, "{method}");
        assert!(world.sent_to(bob).is_none(), "{method}");
        let stranger = world.connect(Transport::Tls);
        world.receive(stranger, &head.replace("branch=z9hG4bK", "branch=z9hG4bKs"), "");
        assert_eq!(world.status_to(stranger), 407, "{method}");
    }
}

#[test]
fn a_connection_on_which_nobody_signs_in_is_closed() {
    let mut world = World::new();
    let idle = world.connect(Transport::Tls);
    let alice = world.sign_in("alice");
    world.pass(Duration::from_secs(31));
    assert_eq!(world.closed.iter().map(|c| Flow::Connection(*c)).collect::<Vec<_>>(), [idle]);
    assert_ne!(alice, idle);
}

#[test]
fn a_disabled_user_is_cut_off_at_once() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    let address = SipAddress::parse("alice@contoso.example").unwrap();
    assert_eq!(world.call(Call::SetUserState(address.clone(), UserState::Disabled)), Answer::Done);
    assert_eq!(world.closed.iter().map(|c| Flow::Connection(*c)).collect::<Vec<_>>(), [alice]);
    let bob = world.sign_in("bob");
    world.send_text(bob, "bob", "alice", "are you there?");
    assert_eq!(world.status_to(bob), 404);
    let Answer::User(details) = world.call(Call::ShowUser(address)) else { panic!("no details") };
    assert_eq!((details.summary.state, details.devices.len()), (UserState::Disabled, 0));
}

#[test]
fn administrators_are_told_what_was_wrong() {
    let mut world = World::new();
    let nobody = SipAddress::parse("nobody@contoso.example").unwrap();
    assert_eq!(
        world.call(Call::RemoveUser(nobody.clone())),
        Answer::Refused(Refusal::NoSuchUser(nobody.clone()))
    );
    assert_eq!(
        world.call(Call::SetPassword(nobody, "short".to_owned())),
        Answer::Refused(Refusal::WeakPassword)
    );
    let foreign = Call::AddUser {
        address: SipAddress::parse("x@fabrikam.example").unwrap(),
        display_name: String::new(),
        password: PASSWORD.to_owned(),
        role: directory::Role::Person,
    };
    assert!(matches!(world.call(foreign), Answer::Refused(Refusal::ForeignDomain { .. })));
}

#[test]
fn a_device_watches_its_owners_registrations() {
    let mut world = World::new();
    let (pc, carol) = (world.sign_in("alice"), world.sign_in("carol"));
    let subscribe = |world: &mut World, flow, from: &str, event: &str| {
        let head = world.head("SUBSCRIBE", from, "sip:alice@contoso.example", "sip:alice@contoso.example");
        world.receive(
            flow,
            &format!(
                "{head}\nEvent: {event}\nExpires: 600\nContact: <sip:{from}@{from}-pc.invalid;transport=tls>"
            ),
            "",
        );
        world.sent_to(flow).unwrap()
    };
    let accepted = subscribe(&mut world, pc, "alice", "reg");
    assert_eq!((accepted.status(), accepted.number(HeaderId::Expires)), (Some(200), Ok(Some(600))));
    let first = world.sent_to(pc).unwrap();
    let body = |m: &Message| String::from_utf8_lossy(m.body()).into_owned();
    assert!(
        body(&first).contains("version=\"0\"") && body(&first).matches("<contact ").count() == 1,
        "{}",
        body(&first)
    );
    world.respond(pc, &first, 200);
    world.pass(Duration::from_secs(6));
    let phone = world.connect(Transport::Tls);
    world.register(phone, "alice", "Contact: <sip:a@phone.invalid>;+sip.instance=\"<urn:uuid:1>\"");
    let second = world.sent_to(pc).unwrap();
    for told in [&first, &second] {
        validate_beside("reginfo.xsd", told.body());
    }
    assert!(
        body(&second).contains("version=\"1\"") && body(&second).contains("&lt;urn:uuid:1&gt;"),
        "{}",
        body(&second)
    );
    assert_eq!(subscribe(&mut world, carol, "carol", "reg").status(), Some(403), "another's registrations");
    assert_eq!(subscribe(&mut world, carol, "carol", "message-summary").status(), Some(489));
}
