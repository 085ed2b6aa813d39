//! What crosses a Director, and what it keeps from its homes.

use std::time::Duration;

use directory::{SipAddress, UserState};
use expect_test::{Expect, expect};
use federation::{ServerRole, TrustedServer};
use frontend::admin::Call;
use sip_message::{HeaderId, Message};

use super::world::{BESIDE, EDGE, EDGES, PASSWORD, Who, World, credentials, origin};
use crate::Mode;

const PARTNER: &str =
    "Chancery-Origin: partner;domain=fabrikam.example;mode=direct;edge=edge.contoso.example";

fn check(world: &World, expected: &Expect) {
    expected.assert_eq(&world.ladder);
}

fn values(message: &Message, id: HeaderId) -> Vec<String> {
    message.values(id).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn alice() -> SipAddress {
    SipAddress::parse("alice@contoso.example").unwrap()
}

/// Whether the home was asked anything since the ladder began.
fn touches_home(world: &World) -> bool {
    world.ladder.lines().any(|line| line.contains("home"))
}

#[test]
fn a_remote_user_registers_through_edge_and_director() {
    let mut world = World::new();
    let edge = world.connect(Who::Edge, Who::Director);
    let answer = world.register(edge, "alice", PASSWORD);
    assert_eq!(answer.status(), Some(200));
    check(
        &world,
        &expect![[r#"
                edge -> director REGISTER
            director -> edge     401 REGISTER
                edge -> director REGISTER
            director -> home     REGISTER
                home -> director 200 REGISTER
            director -> edge     200 REGISTER
        "#]],
    );
    assert_eq!(
        values(&answer, HeaderId::ServiceRoute),
        [
            "<sip:falice@edge.contoso.example:5061;transport=tls;lr;ob>",
            "<sip:director.contoso.example:5061;transport=tls;lr>"
        ]
    );
    assert!(answer.has_option(HeaderId::Require, "outbound"));
}

#[test]
fn messages_cross_both_ways() {
    let mut world = World::new();
    let bob = world.bob_signs_in();
    let edge = world.connect(Who::Edge, Who::Director);
    world.register(edge, "alice", PASSWORD);
    world.ladder.clear();
    world.remote(edge, "MESSAGE", "alice", "bob", "Content-Type: text/plain");
    let (end, message) = world.got(Who::Bob);
    assert!(!String::from_utf8_lossy(message.bytes()).contains("Chancery-"));
    world.respond(end, &message, 200);
    assert_eq!(world.status(Who::Edge), 200, "the flow is signed in: no challenge");
    let head = world.head("MESSAGE", "bob", "sip:alice@contoso.example", "sip:alice@contoso.example");
    world.send(bob, &format!("{head}\nContent-Type: text/plain"), "Hello");
    let (end, message) = world.got(Who::Edge);
    assert_eq!(
        values(&message, HeaderId::Route),
        ["<sip:falice@edge.contoso.example:5061;transport=tls;lr;ob>"],
        "the edge's own entry is left"
    );
    world.respond(end, &message, 200);
    assert_eq!(world.status(Who::Bob), 200);
    check(
        &world,
        &expect![[r#"
                edge -> director MESSAGE
            director -> home     MESSAGE
                home -> bob      MESSAGE
                 bob -> home     200 MESSAGE
                home -> director 200 MESSAGE
            director -> edge     200 MESSAGE
                 bob -> home     MESSAGE
                home -> director MESSAGE
            director -> edge     MESSAGE
                edge -> director 200 MESSAGE
            director -> home     200 MESSAGE
                home -> bob      200 MESSAGE
        "#]],
    );
}

#[test]
fn a_call_reaches_a_remote_device_and_ends() {
    let mut world = World::new();
    let bob = world.bob_signs_in();
    let edge = world.connect(Who::Edge, Who::Director);
    world.register(edge, "alice", PASSWORD);
    world.ladder.clear();
    let head = world.head("INVITE", "bob", "sip:alice@contoso.example", "sip:alice@contoso.example");
    world.send(bob, &format!("{head}\nContact: <sip:bob@bob-pc.invalid;transport=tls>"), "");
    let (end, invite) = world.got(Who::Edge);
    // The answer's routes as the device sees them: the edge would put its own below.
    world.respond(end, &invite, 200);
    let answer = loop {
        let (_, answer) = world.got(Who::Bob);
        if answer.status() == Some(200) {
            break answer;
        }
    };
    let recorded = values(&answer, HeaderId::RecordRoute).join(", ");
    let routes: Vec<&str> = recorded.split(", ").collect();
    assert_eq!(routes.len(), 3, "the Director's, and two of the home: {recorded}");
    let call_id = answer.call_id().unwrap().to_owned();
    // Alice hangs up outside. Her client's routes stand as recorded; the edge has opened them.
    let bye = format!(
        "BYE sip:bob@bob-pc.invalid;transport=tls SIP/2.0\nVia: SIP/2.0/TLS {EDGE}:5061;branch=z9hG4bKbye\n\
         Via: SIP/2.0/TLS client.invalid;branch=z9hG4bKcbye;received=198.51.100.7\nMax-Forwards: 70\n\
         From: <sip:alice@contoso.example>;tag=device\nTo: <sip:bob@contoso.example>;tag=fbob\nCall-ID: {call_id}\n\
         CSeq: 7 BYE\nRoute: {}\n{}",
        routes.join(", "),
        origin("alice")
    );
    world.send(edge, &bye.replace("alice@", "mallory@"), "");
    assert_eq!(world.status(Who::Edge), 407, "within a dialog too, From must be who signed in");
    world.send(edge, &bye.replace("z9hG4bKbye", "z9hG4bKbye2"), "");
    let (end, request) = world.got(Who::Bob);
    assert_eq!(request.method().as_str(), "BYE");
    world.respond(end, &request, 200);
    assert_eq!(world.status(Who::Edge), 200);
    check(
        &world,
        &expect![[r#"
                 bob -> home     INVITE
                home -> director INVITE
            director -> edge     INVITE
                edge -> director 200 INVITE
            director -> home     200 INVITE
                home -> bob      200 INVITE
                edge -> director BYE
            director -> edge     407 BYE
                edge -> director BYE
            director -> home     BYE
                home -> bob      BYE
                 bob -> home     200 BYE
                home -> director 200 BYE
            director -> edge     200 BYE
        "#]],
    );
}

/// Dana of another organisation sends Bob's call on to Alice (RFC 3261 §8.1.3.4: To stays), who answers outside: in this call she is
/// called Dana. The edge has it sealed, the home knows its dialog, and she must have signed in.
#[test]
fn whom_a_call_was_forwarded_to_hangs_up_outside_by_the_address_that_was_called() {
    for to in ["sip:dana@fabrikam.example", "sip:bob@contoso.example"] {
        let mut world = World::new();
        let bob = world.bob_signs_in();
        let edge = world.connect(Who::Edge, Who::Director);
        world.register(edge, "alice", PASSWORD);
        let head = world.head("INVITE", "bob", "sip:alice@contoso.example", to);
        world.send(bob, &format!("{head}\nContact: <sip:bob@bob-pc.invalid;transport=tls>"), "");
        let (end, invite) = world.got(Who::Edge);
        world.respond(end, &invite, 200);
        let answer = loop {
            let (_, answer) = world.got(Who::Bob);
            if answer.status() == Some(200) {
                break answer;
            }
        };
        let routes = format!("\nRoute: {}", values(&answer, HeaderId::RecordRoute).join(", "));
        let call_id = answer.call_id().unwrap().to_owned();
        let mut number = 0;
        let mut bye = |from: &str, tag: &str, routes: &str, origin: &str| {
            number += 1;
            format!(
                "BYE sip:bob@bob-pc.invalid;transport=tls SIP/2.0\nVia: SIP/2.0/TLS {EDGE}:5061;branch=z9hG4bKf{number}\n\
                 Via: SIP/2.0/TLS client.invalid;branch=z9hG4bKcf{number};received=198.51.100.7\nMax-Forwards: 70\n\
                 From: <{from}>;tag=device\nTo: <sip:bob@contoso.example>{tag}\nCall-ID: {call_id}\n\
                 CSeq: {number} BYE{routes}\n{origin}"
            )
        };
        let (says, by_dialog) = (origin("alice"), origin("alice").replace(";edge", ";from=dialog;edge"));
        let not_in = by_dialog.replace("flow=falice", "flow=other");
        let (erin, tagged) = ("sip:erin@fabrikam.example", ";tag=fbob");
        for spoof in [
            bye(to, tagged, &routes, &says),
            bye(to, tagged, &routes, &not_in),
            bye(to, tagged, "", &by_dialog),
            bye(to, "", &routes, &by_dialog),
            bye(erin, tagged, &routes, &by_dialog),
            bye("sip:boss@contoso.example", tagged, &routes, &by_dialog),
        ] {
            world.send(edge, &spoof, "");
            let (_, refusal) = world.got(Who::Edge);
            assert!(matches!(refusal.status(), Some(403 | 407)), "{spoof}\n{:?}", refusal.status());
            assert!(world.gets_nothing(Who::Bob), "{spoof}");
        }
        world.send(edge, &bye(to, tagged, &routes, &by_dialog), "");
        let (end, got) = world.got(Who::Bob);
        assert_eq!(got.method().as_str(), "BYE");
        assert_eq!(values(&got, HeaderId::PAssertedIdentity), Vec::<String>::new(), "nobody is asserted");
        world.respond(end, &got, 200);
        assert_eq!(world.status(Who::Edge), 200);
    }
}

#[test]
fn a_guesser_meets_the_director_and_no_home() {
    let mut world = World::new();
    let edge = world.connect(Who::Edge, Who::Director);
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(world.register(edge, "alice", "a guess").status().unwrap());
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert_eq!(statuses[10..], [503; 2], "slowed down");
    assert_eq!(world.register(edge, "nobody", "a guess").status(), Some(401), "like somebody who exists");
    assert!(!touches_home(&world), "{}", world.ladder);
    assert_eq!(world.register(edge, "bob", PASSWORD).status(), Some(200), "others are not slowed");
}

#[test]
fn a_sign_in_is_of_its_flow_and_of_its_user() {
    let mut world = World::new();
    let edge = world.connect(Who::Edge, Who::Director);
    world.register(edge, "alice", PASSWORD);
    let ask = |world: &mut World, from: &str, flow: &str| {
        let to = "sip:bob@contoso.example";
        let head = world.head("OPTIONS", from, to, to);
        world.send(edge, &format!("{head}\n{}", origin(flow)), "");
        world.status(Who::Edge)
    };
    assert_eq!(ask(&mut world, "alice", "alice"), 480, "bob has no device");
    assert_eq!(ask(&mut world, "bob", "alice"), 407);
    assert_eq!(ask(&mut world, "alice", "bob"), 407, "the same connection, another flow");
    world.pass(Duration::from_secs(3_700));
    assert_eq!(ask(&mut world, "alice", "alice"), 407, "the registration is over");
}

#[test]
fn a_disabled_user_is_out_at_once() {
    let mut world = World::new();
    let edge = world.connect(Who::Edge, Who::Director);
    world.register(edge, "alice", PASSWORD);
    world.call_home(Call::SetUserState(alice(), UserState::Disabled));
    world.ladder.clear();
    world.remote(edge, "MESSAGE", "alice", "bob", "Content-Type: text/plain");
    assert_eq!(world.status(Who::Edge), 407);
    assert_eq!(world.register(edge, "alice", PASSWORD).status(), Some(401), "nor in again");
    assert!(!touches_home(&world), "{}", world.ladder);
    world.call_home(Call::SetUserState(alice(), UserState::Enabled));
    assert_eq!(world.register(edge, "alice", PASSWORD).status(), Some(200));
    world.call_home(Call::SetPassword(alice(), "another password".to_owned()));
    world.remote(edge, "MESSAGE", "alice", "bob", "Content-Type: text/plain");
    assert_eq!(world.status(Who::Edge), 407, "a new password is asked for");
}

#[test]
fn who_may_not_come_from_outside_does_not() {
    let mut world = World::new();
    let edge = world.connect(Who::Edge, Who::Director);
    let change = directory::PermissionChange { remote_access: Some(false), ..Default::default() };
    world.call_home(Call::SetPermissions(alice(), change));
    assert_eq!(world.register(edge, "alice", PASSWORD).status(), Some(403));
    assert!(world.reports.iter().any(|r| r.reason == "the user may not sign in from outside"));
    let mut world = World::with(|config| config.remote_access = false);
    let edge = world.connect(Who::Edge, Who::Director);
    assert_eq!(world.register(edge, "alice", PASSWORD).status(), Some(403));
}

#[test]
fn without_a_copy_nobody_is_signed_in() {
    let mut world = World::without_copy(|_| ());
    world.is_home_up = false;
    world.pass(Duration::from_secs(5));
    let edge = world.connect(Who::Edge, Who::Director);
    let answer = world.register(edge, "alice", PASSWORD);
    assert_eq!((answer.status(), answer.number(HeaderId::RetryAfter).unwrap()), (Some(503), Some(2)));
    world.is_home_up = true;
    world.pass(Duration::from_secs(60));
    assert_eq!(world.register(edge, "alice", PASSWORD).status(), Some(200));
}

#[test]
fn a_director_that_starts_again_asks_again() {
    let mut world = World::new();
    world.bob_signs_in();
    let edge = world.connect(Who::Edge, Who::Director);
    world.register(edge, "alice", PASSWORD);
    world.restart_director();
    let edge = world.connect(Who::Edge, Who::Director);
    world.remote(edge, "OPTIONS", "alice", "bob", "");
    let (_, challenge) = world.got(Who::Edge);
    assert_eq!(challenge.status(), Some(407));
    let credentials = credentials(&challenge, "alice", "OPTIONS", "sip:bob@contoso.example", PASSWORD);
    world.remote(edge, "OPTIONS", "alice", "bob", &format!("Proxy-Authorization: {credentials}"));
    let (end, request) = world.got(Who::Bob);
    assert!(request.header(HeaderId::ProxyAuthorization).is_none());
    world.respond(end, &request, 200);
    assert_eq!(world.status(Who::Edge), 200);
    assert_eq!(world.register(edge, "alice", PASSWORD).status(), Some(200));
}

#[test]
fn a_home_that_starts_again_is_followed_again_and_reaches_its_devices() {
    let mut world = World::new();
    let edge = world.connect(Who::Edge, Who::Director);
    world.register(edge, "alice", PASSWORD);
    world.pass(Duration::from_secs(2));
    world.restart_home();
    world.pass(Duration::from_secs(5));
    world.call_home(Call::AddUser {
        address: SipAddress::parse("dora@contoso.example").unwrap(),
        display_name: String::new(),
        password: PASSWORD.to_owned(),
        role: directory::Role::Person,
    });
    assert_eq!(world.register(edge, "dora", PASSWORD).status(), Some(200), "the copy is fresh");
    let bob = world.bob_signs_in();
    let to = "sip:alice@contoso.example";
    let head = world.head("OPTIONS", "bob", to, to);
    world.send(bob, &head, "");
    let (end, request) = world.got(Who::Edge);
    assert_eq!(values(&request, HeaderId::Route).len(), 1, "the path outlived the restart");
    world.respond(end, &request, 430);
    assert_eq!(world.status(Who::Bob), 480);
}

#[test]
fn nobody_but_a_listed_server_is_listened_to() {
    let mut world = World::new();
    for who in [Who::Stranger, Who::Bob] {
        let wire = world.connect(who, Who::Director);
        world.remote(wire, "REGISTER", "alice", "alice", "P-Asserted-Identity: <sip:alice@contoso.example>");
        assert_eq!(world.status(who), 403);
    }
    assert!(!touches_home(&world), "{}", world.ladder);
}

#[test]
fn an_edge_asserts_nobody_and_speaks_for_itself_alone() {
    let mut world = World::new();
    let edge = world.connect(Who::Edge, Who::Director);
    world.remote(edge, "MESSAGE", "alice", "bob", "P-Asserted-Identity: <sip:alice@contoso.example>");
    assert_eq!(world.status(Who::Edge), 407);
    let to = "sip:bob@contoso.example";
    for (line, status) in [
        ("Subject: no origin", 403),
        ("Chancery-Origin: remote;flow=f1;edge=other.contoso.example", 403),
        ("Chancery-Origin: remote;flow=f1", 400),
    ] {
        let head = world.head("MESSAGE", "alice", to, to);
        world.send(edge, &format!("{head}\n{line}"), "");
        assert_eq!(world.status(Who::Edge), status, "{line}");
    }
    world.remote(edge, "MESSAGE", "alice", "bob", "Route: <sip:elsewhere.example;lr>");
    assert_eq!(world.status(Who::Edge), 407, "not before it is known who asks");
    world.register(edge, "alice", PASSWORD);
    world.ladder.clear();
    for route in ["<sip:elsewhere.example;lr>", "<sip:edge.contoso.example;lr>"] {
        world.remote(edge, "MESSAGE", "alice", "bob", &format!("Route: {route}"));
        assert_eq!(world.status(Who::Edge), 403, "{route}");
    }
    assert!(!touches_home(&world), "{}", world.ladder);
}

/// The list holds a name that all edges share before the edge's own.
#[test]
fn an_edge_may_be_listed_by_its_own_name_and_by_one_that_others_share() {
    let mut world = World::with(|config| {
        config.servers.insert(0, TrustedServer { host: EDGES.to_owned(), role: ServerRole::AccessEdge });
    });
    let edge = world.connect(Who::Edge, Who::Director);
    assert_eq!(world.register(edge, "alice", PASSWORD).status(), Some(200));
    let to = "sip:bob@contoso.example";
    for (name, status) in [(EDGES, 407), (BESIDE, 403)] {
        let head = world.head("MESSAGE", "alice", to, to);
        world.send(edge, &format!("{head}\nChancery-Origin: remote;flow=f2;edge={name}"), "");
        assert_eq!(world.status(Who::Edge), status, "{name}");
    }
}

#[test]
fn a_partner_finds_who_exists_and_no_home_hears_of_the_others() {
    let mut world = World::new();
    world.bob_signs_in();
    world.ladder.clear();
    let edge = world.connect(Who::Edge, Who::Director);
    let ask = |world: &mut World, from: &str, to: &str| {
        let to = format!("sip:{to}@contoso.example");
        let head = world.head("MESSAGE", "dana", &to, &to).replace("dana@contoso.example", from);
        world.send(edge, &format!("{head}\n{PARTNER}\nContent-Type: text/plain"), "Hello");
    };
    ask(&mut world, "dana@fabrikam.example", "nobody");
    assert_eq!(world.status(Who::Edge), 404);
    ask(&mut world, "bob@contoso.example", "bob");
    assert_eq!(world.status(Who::Edge), 403, "not the domain that was proved");
    assert!(!touches_home(&world), "{}", world.ladder);
    // Who was called by an address of ours may bear it within the dialog, which a home must know; not to begin anything.
    let to = "sip:bob@contoso.example";
    let head = world.head("MESSAGE", "alice", to, to);
    world.send(edge, &format!("{head}\n{}", PARTNER.replace(";edge", ";from=dialog;edge")), "Hello");
    assert_eq!(world.status(Who::Edge), 403);
    assert!(!touches_home(&world), "{}", world.ladder);
    ask(&mut world, "dana@fabrikam.example", "bob");
    let (end, message) = world.got(Who::Bob);
    assert_eq!(values(&message, HeaderId::PAssertedIdentity), ["<sip:dana@fabrikam.example>"]);
    world.respond(end, &message, 200);
    assert_eq!(world.status(Who::Edge), 200);
}

/// The edge of a call is dead: what it has sealed, the one beside it can read. A registration's flow is at its own edge alone.
#[test]
fn a_dialog_goes_on_through_the_edge_beside() {
    let mut world = World::new();
    let to = "sip:dana@fabrikam.example";
    let home = world.connect(Who::Home, Who::Director);
    world.is_edge_up = false;
    world.ladder.clear();
    let request = |method: &str, to: &str, number: u32| {
        format!(
            "{method} sip:dana@pc.invalid SIP/2.0\nVia: SIP/2.0/TLS home.contoso.example;branch=z9hG4bKh{number}\nMax-Forwards: 70\n\
             From: <sip:bob@contoso.example>;tag=1\nTo: {to}\nCall-ID: a-call\nCSeq: {number} {method}\n\
             P-Asserted-Identity: <sip:bob@contoso.example>\n\
             Route: <sip:director.contoso.example:5061;transport=tls;lr>, <sip:r.token@{EDGE}:5061;transport=tls;lr>"
        )
    };
    world.send(home, &request("BYE", &format!("<{to}>;tag=2"), 1), "");
    let (end, bye) = world.got(Who::Beside);
    assert_eq!(values(&bye, HeaderId::Route), ["<sip:r.token@edge.contoso.example:5061;transport=tls;lr>"]);
    assert_eq!(values(&bye, HeaderId::PAssertedIdentity), ["<sip:bob@contoso.example>"]);
    world.respond(end, &bye, 200);
    world.send(home, &request("MESSAGE", &format!("<{to}>"), 2), "");
    assert!(world.gets_nothing(Who::Beside), "{}", world.ladder);
    check(
        &world,
        &expect![[r#"
            home -> director BYE
        director -> beside   BYE
          beside -> director 200 BYE
        director -> home     200 BYE
            home -> director MESSAGE
        director -> home     480 MESSAGE
    "#]],
    );
}

#[test]
fn in_the_mode_route_the_home_asks() {
    let mut world = World::with(|config| config.mode = Mode::Route);
    let edge = world.connect(Who::Edge, Who::Director);
    let answer = world.register(edge, "alice", PASSWORD);
    assert_eq!(answer.status(), Some(200));
    world.remote(edge, "OPTIONS", "alice", "bob", "");
    assert_eq!(world.status(Who::Edge), 480, "the home remembers the flow");
    check(
        &world,
        &expect![[r#"
                edge -> director REGISTER
            director -> home     REGISTER
                home -> director 401 REGISTER
            director -> edge     401 REGISTER
                edge -> director REGISTER
            director -> home     REGISTER
                home -> director 200 REGISTER
            director -> edge     200 REGISTER
                edge -> director OPTIONS
            director -> home     OPTIONS
                home -> director 480 OPTIONS
            director -> edge     480 OPTIONS
        "#]],
    );
}

#[test]
fn accounts_are_copied_to_directors_alone() {
    let mut world = World::new();
    for who in [Who::Bob, Who::Edge, Who::Stranger] {
        let wire = world.connect(who, Who::Home);
        let head = world.head("SUBSCRIBE", "alice", "sip:home.contoso.example", "sip:home.contoso.example");
        let lines = "Event: chancery-users\nContact: <sip:x.invalid>\nExpires: 600";
        world.send(wire, &format!("{head}\n{lines}"), "");
        assert_eq!(world.status(who), 403, "{who:?}");
        let head = world.head("SUBSCRIBE", "alice", "sip:home.contoso.example", "sip:home.contoso.example");
        world.send(wire, &format!("{head}\n{lines}").replace("chancery-users", "Chancery-Users ;x=y"), "");
        assert_eq!(world.status(who), 403, "{who:?}");
        assert!(world.gets_nothing(who));
    }
}
