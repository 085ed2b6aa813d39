//! kill -9 at any moment: nothing that was accepted is lost.

use std::collections::BTreeMap;

use system_tests::{Device, Road, Server, Transport, unique};

use crate::messages::cpim;

/// Sent at once; few enough to fit a stream's buffers while nobody reads.
const MESSAGES: usize = 400;

#[test]
fn every_accepted_message_arrives_after_a_kill_with_nobody_at_home() {
    for killed_after in [1, 40, 150] {
        kill_amid_load(killed_after, false);
    }
}

#[test]
fn every_accepted_message_arrives_after_a_kill_while_it_is_delivered() {
    for killed_after in [1, 40, 150] {
        kill_amid_load(killed_after, true);
    }
}

fn kill_amid_load(killed_after: usize, is_at_home: bool) {
    let road = Road::v4(Transport::Tcp);
    let mut server = Server::start();
    let alice = server.device("alice", road);
    alice.register("");
    let bob = is_at_home.then(|| {
        let bob = server.device("bob", road);
        bob.answer_every("MESSAGE", 200);
        bob.register_flow(1);
        bob
    });
    let instance = bob.as_ref().map(Device::instance);
    let ids: Vec<String> = (0..MESSAGES).map(|_| unique()).collect();
    let message =
        |id: &String| alice.draft("MESSAGE", "sip:bob@example.test").body("message/cpim", cpim(id, id));
    let sent: Vec<_> = ids.iter().map(|id| alice.send(message(id))).collect();
    alice.answer(sent[killed_after - 1]);
    server.kill();
    alice.closed();
    // What was answered before the end was read by now.
    let mut accepted: Vec<&String> = vec![&ids[killed_after - 1]];
    for (id, transaction) in ids.iter().zip(&sent) {
        if alice.has_final(*transaction) {
            assert!(matches!(alice.answer(*transaction).status(), Some(200 | 202)), "{}", alice.ladder());
            accepted.push(id);
        }
    }
    assert!(accepted.len() >= killed_after, "answers come in order");

    let mut times = BTreeMap::new();
    let mut count = |device: &Device| {
        while let Some(arrived) = device.arrived("MESSAGE") {
            *times.entry(id_of(arrived.body())).or_insert(0) += 1;
        }
    };
    if let Some(bob) = &bob {
        bob.closed();
        count(bob);
    }
    server.restart();
    let back = server.device("bob", road);
    back.answer_every("MESSAGE", 200);
    if let Some(instance) = &instance {
        back.be(instance);
    }
    back.register_flow(1);
    // A message behind the others, of somebody who waits for it, ends them.
    let carol = server.device("carol", road);
    carol.register("");
    assert_eq!(carol.ask(carol.message(&back.uri(), "the last")).status(), Some(200));
    count(&back);
    for id in accepted {
        assert!(times.contains_key(id), "an accepted message is lost: {} of {MESSAGES} arrived", times.len());
    }
    // At least once, in words: a second copy only where the kill fell between a device's 200 and its cursor's commit. The device tells by
    // the Message-ID, and there are no more than can have been under way.
    let twice = times.values().filter(|times| **times > 1).count();
    assert!(times.values().all(|times| *times <= 2), "{times:?}");
    assert!(is_at_home || twice == 0, "{twice} messages came twice, and none had been taken before the kill");

    // The sender repeats what it has no answer for, and everything else too.
    let alice = server.device("alice", road);
    alice.register("");
    let again: Vec<_> = ids
        .iter()
        .map(|id| alice.send(alice.draft("MESSAGE", &back.uri()).body("message/cpim", cpim(id, id))))
        .collect();
    for transaction in again {
        assert!(matches!(alice.answer(transaction).status(), Some(200 | 202)), "{}", alice.ladder());
    }
    back.settle();
    let before = times.clone();
    let mut count = |device: &Device| {
        while let Some(arrived) = device.arrived("MESSAGE") {
            *times.entry(id_of(arrived.body())).or_insert(0) += 1;
        }
    };
    count(&back);
    for id in &ids {
        let (first, now) = (before.get(id).copied().unwrap_or(0), times.get(id).copied().unwrap_or(0));
        assert_eq!(now, first.max(1), "{id} came {first} times before it was repeated, {now} after");
    }
}

/// The last line of what [`cpim`] made; the others are no CPIM.
fn id_of(body: &[u8]) -> String {
    String::from_utf8_lossy(body).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn bindings_survive_over_datagrams_and_end_with_connections() {
    let mut server = Server::start();
    // Over UDP a binding outlives the server's sockets; over TCP it ends with the connection.
    let udp = server.device("alice", Road::v4(Transport::Udp));
    udp.register(";q=0.7");
    let tcp = server.device("alice", Road::v4(Transport::Tls));
    tcp.register("");
    // Bindings over datagrams are stored within a second; what an administrator does after them is stored after them.
    let deadline = std::time::Instant::now() + std::time::Duration::from_millis(1_500);
    while std::time::Instant::now() < deadline {
        udp.settle();
    }
    server.kill();
    tcp.closed();
    server.restart();
    let query = server.device("alice", Road::v4(Transport::Tcp));
    let listed = system_tests::contacts(&query.ask(query.register_draft(None)));
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert!(listed[0].contains(udp.contact()) && listed[0].contains("q=0.7"), "{listed:?}");
}
