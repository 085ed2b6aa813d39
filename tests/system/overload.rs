//! More than the server has room for: new calls are told when to come again, further connections are closed, larger messages are
//! refused, and the rest goes on.

use sip_message::HeaderId;
use sip_message::{HEADER_LINES_MAX, MESSAGE_OCTETS_MAX};
use system_tests::{Configuration, Device, Incoming, Link, PATIENCE, Road, Server, Transport, in_parallel};

use crate::calls::{established, hang_up};
use crate::torture::probe;

/// Requests that the server lets wait for an answer.
const TRANSACTIONS_MAX: usize = 64;
/// How many of them may be calls that ring: the last quarter is for others.
const RINGING_MAX: usize = TRANSACTIONS_MAX - TRANSACTIONS_MAX / 4;

#[test]
fn calls_beyond_the_limit_get_503_and_messages_go_on() {
    let server =
        Configuration::new("example.test").set("transactions_max", &TRANSACTIONS_MAX.to_string()).serve();
    for name in ["alice", "bob", "carol"] {
        server.add_user(&format!("{name}@example.test"));
    }
    let registered = |name: &str, transport| {
        let device = server.device(name, Road::v4(transport));
        device.register("");
        device
    };
    let (alice, bob) = (registered("alice", Transport::Tcp), registered("bob", Transport::Tcp));
    let (carol, carols_phone) = (registered("carol", Transport::Tls), registered("carol", Transport::Udp));
    let (mut running, _) = established(&carol, &bob);

    let mut ringing = Vec::new();
    for _ in 0..RINGING_MAX {
        let call = alice.send(alice.invite(&bob.uri()));
        let invite = bob.expect("INVITE");
        bob.respond(&invite, 180);
        alice.provisional(call, 180);
        ringing.push((call, invite));
    }
    // Whoever calls now, over whatever road, is told when to come again.
    for caller in [&alice, &bob, &carol] {
        let refusal = caller.ask(caller.invite(&alice.uri()));
        assert_eq!(refusal.status(), Some(503), "{}", caller.ladder());
        let seconds = refusal.number(HeaderId::RetryAfter).expect("a number").expect("RFC 3261 §21.5.4");
        assert!((1..=60).contains(&seconds), "{seconds} seconds");
    }
    assert_eq!(carols_phone.ask(carols_phone.invite(&bob.uri()).unanswering()).status(), Some(503));
    alice.expect_none("INVITE");

    // Messages arrive, of users on connections and on datagrams; registrations are renewed; calls end.
    for (sender, her_other) in [(&carol, &carols_phone), (&carols_phone, &carol)] {
        let sent = sender.send(sender.message(&bob.uri(), "in spite of it"));
        assert_eq!(bob.expect_and_answer("MESSAGE", 200).body(), b"in spite of it");
        assert_eq!(sender.answer(sent).status(), Some(200), "{}", sender.ladder());
        her_other.expect_and_answer("MESSAGE", 200);
        // Nothing of it waits any more.
        her_other.settle();
    }
    carols_phone.register("");
    registered("alice", Transport::Udp);
    hang_up(&carol, &mut running, &bob);
    // Strangers are challenged, which needs no room, and an operator sees what happens.
    let stranger = server.device("alice", Road::v4(Transport::Tls));
    let asked = stranger.ask(stranger.message(&bob.uri(), "let me in").unanswering());
    assert_eq!(asked.status(), Some(407));
    let metrics = server.get("/metrics");
    let line = metrics.lines().find(|line| line.contains("the table of transactions is full"));
    assert!(line.is_some_and(|line| line.ends_with(" 4")), "{line:?} in\n{metrics}");

    // One call ends and another has its place; then there is none again.
    let (call, invite) = ringing.pop().expect("many ring");
    bob.respond(&invite, 486);
    assert_eq!(alice.answer(call).status(), Some(486));
    let next = carol.send(carol.invite(&bob.uri()));
    let invite = bob.expect("INVITE");
    bob.respond(&invite, 180);
    carol.provisional(next, 180);
    assert_eq!(alice.ask(alice.invite(&bob.uri())).status(), Some(503));
    bob.respond(&invite, 486);
    assert_eq!(carol.answer(next).status(), Some(486));
}

/// What one source may have is bounded, a reload changes the bound, and who is there already does not notice.
#[test]
fn one_source_has_so_many_connections_and_no_more() {
    let server = Configuration::new("example.test").set("connections_per_source_max", "3").serve();
    for name in ["alice", "bob"] {
        server.add_user(&format!("{name}@example.test"));
    }
    let registered = |name: &str, transport| {
        let device = server.device(name, Road::v4(transport));
        device.register("");
        device
    };
    let is_closed = |transport| {
        let road = Road::v4(transport);
        // Closed before TLS is agreed on, it is none at all.
        match Link::open(road.transport, server.address(road), &server.ca()) {
            Ok((_, mut reader)) => {
                matches!(reader.receive_within(PATIENCE), Ok(Some(Incoming::Closed)) | Err(_))
            }
            Err(_) => true,
        }
    };
    let (alice, bob) = (registered("alice", Transport::Tls), registered("bob", Transport::Tcp));
    let third = registered("alice", Transport::Wss);
    let go_on = |devices: &[&Device]| {
        for device in devices {
            device.settle();
            device.register("");
        }
    };
    for transport in [Transport::Tcp, Transport::Tls, Transport::Wss] {
        assert!(is_closed(transport), "{transport:?}");
    }
    // Datagrams are no connections.
    registered("alice", Transport::Udp);
    go_on(&[&alice, &bob, &third]);

    server.edit_configuration(|text| {
        text.replace("connections_per_source_max = 3", "connections_per_source_max = 4")
    });
    let (code, said) = server.command(&["reload"]);
    assert!(code == 0 && said.contains("[limits]"), "{said}");
    let fourth = registered("bob", Transport::Tls);
    assert!(is_closed(Transport::Tcp));
    // One that ends makes room for another.
    drop(third);
    let fifth = system_tests::eventually("there is room again", || {
        let road = Road::v4(Transport::Tcp);
        let device =
            Device::try_connect(server.account("alice"), road.transport, server.address(road), &server.ca());
        let device = device.ok()?;
        let answer = device.try_ask(device.draft("OPTIONS", "sip:example.test"))?;
        answer.status().map(|_| device)
    });
    fifth.register("");
    go_on(&[&alice, &bob, &fourth, &fifth]);
}

/// To the last line and the last octet.
#[test]
fn messages_are_taken_up_to_their_limits_and_not_beyond() {
    let server = Server::start();
    let roads = [Transport::Tcp, Transport::Tls, Transport::Wss].map(Road::v4);
    in_parallel(&roads, |road| {
        let status_of = |change: &dyn Fn(String) -> String| {
            let (link, mut reader) =
                Link::open(road.transport, server.address(*road), &server.ca()).expect("the server accepts");
            link.send(change(probe(&link)).as_bytes()).expect("it is sent");
            match reader.receive_within(PATIENCE).expect("SIP") {
                Some(Incoming::Message(octets)) => {
                    sip_message::Message::parse(octets).expect("it parses").status().expect("an answer")
                }
                Some(Incoming::Closed | Incoming::WebSocketClosed(_)) => 0,
                other => panic!("{other:?}"),
            }
        };
        let is_refused = |status: u16| status == 0 || status >= 400;
        let with_lines = |probe: String, lines: usize| {
            let present = probe.lines().filter(|line| line.contains(':')).count() - 1;
            probe.replacen("\r\n", &format!("\r\n{}", "X-A: b\r\n".repeat(lines - present)), 1)
        };
        assert_eq!(status_of(&|probe| with_lines(probe, HEADER_LINES_MAX)), 200);
        assert!(is_refused(status_of(&|probe| with_lines(probe, HEADER_LINES_MAX + 1))));
        let with_octets = |probe: String, octets: usize| {
            let head = probe.replace("Content-Length: 0", "Content-Length: 00000");
            let body = octets - head.len();
            head.replace("Content-Length: 00000", &format!("Content-Length: {body:05}")) + &"x".repeat(body)
        };
        assert_eq!(status_of(&|probe| with_octets(probe, MESSAGE_OCTETS_MAX)), 200);
        assert!(is_refused(status_of(&|probe| with_octets(probe, MESSAGE_OCTETS_MAX + 1))));
    });
}
