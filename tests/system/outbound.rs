//! Flows of outbound clients (RFC 5626) over every connection.

use sip_message::HeaderId;
use system_tests::{Device, Road, Transport, contacts, on_each, on_every_road};

/// RFC 5626 §4.2: datagrams have flows too, kept open by STUN.
#[test]
fn two_flows_of_one_device_are_one_device() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let (first, second) = (scene.device("bob"), scene.device("bob"));
        second.be(&first.instance());
        let answer = first.register_flow(1);
        assert!(answer.has_option(HeaderId::Require, "outbound"), "RFC 5626 §6: {}", first.ladder());
        assert_eq!(contacts(&second.register_flow(2)).len(), 2);
        let sent = alice.send(alice.message(&first.uri(), "once"));
        // Whichever flow it comes by, it comes by one.
        let (flow, message) = Device::first_of(&[&first, &second], "MESSAGE");
        flow.respond(&message, 200);
        assert_eq!(alice.answer(sent).status(), Some(200));
        first.expect_none("MESSAGE");
        second.expect_none("MESSAGE");
    });
}

#[test]
fn when_a_flow_fails_the_other_is_used() {
    let connections: Vec<Road> =
        Road::ALL.into_iter().filter(|road| road.transport != Transport::Udp).collect();
    on_each(&connections, |scene| {
        let alice = scene.registered("alice");
        let (mut first, second) = (scene.device("bob"), scene.device("bob"));
        second.be(&first.instance());
        first.register_flow(1);
        second.register_flow(2);
        first.crash();
        for text in ["one", "two"] {
            let sent = alice.send(alice.message(&second.uri(), text));
            assert_eq!(second.expect_and_answer("MESSAGE", 200).body(), text.as_bytes());
            assert_eq!(alice.answer(sent).status(), Some(200));
        }
        let call = alice.send(alice.invite(&second.uri()));
        second.expect_and_answer("INVITE", 486);
        assert_eq!(alice.answer(call).status(), Some(486));
    });
}

/// RFC 5626 §6: a new REGISTER with the same instance and reg-id takes the place of the old flow.
#[test]
fn a_device_that_comes_back_takes_the_place_of_its_old_flow() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let (mut old, new) = (scene.device("bob"), scene.device("bob"));
        new.be(&old.instance());
        old.register_flow(1);
        old.crash();
        let listed = contacts(&new.register_flow(1));
        assert!(listed.len() == 1 && listed[0].contains(new.contact()), "{listed:?}");
        let sent = alice.send(alice.message(&new.uri(), "welcome back"));
        new.expect_and_answer("MESSAGE", 200);
        assert_eq!(alice.answer(sent).status(), Some(200));
    });
}

/// A connection that is gone is a device that is gone: nobody waits for it.
#[test]
fn a_device_whose_connection_ended_is_not_called() {
    let connections: Vec<Road> = Road::ALL
        .into_iter()
        .filter(|road| road.transport.is_secure() || road.transport == Transport::Ws)
        .collect();
    on_each(&connections, |scene| {
        let alice = scene.registered("alice");
        let mut bob = scene.device("bob");
        bob.register_flow(1);
        bob.crash();
        assert_eq!(alice.ask(alice.invite(&bob.uri())).status(), Some(480));
        assert_eq!(alice.ask(alice.message(&bob.uri(), "for later")).status(), Some(202));
        let back = scene.registered("bob");
        assert_eq!(back.expect_and_answer("MESSAGE", 200).body(), b"for later");
    });
}
