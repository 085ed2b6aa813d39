//! More calls than the server has room for: new ones are told when to come again, and the rest goes on.

use sip_message::HeaderId;
use system_tests::{Configuration, Road, Transport};

use crate::calls::{established, hang_up};

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
