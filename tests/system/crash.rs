//! kill -9 at any moment: nothing that was accepted is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use sip_message::HeaderId;
use system_tests::{Device, Https, PATIENCE, Road, Server, Transport, activity, note, pidf, unique};

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
    let (code, said) = server.command(&["user", "add", "erin@example.test", "--generate"]);
    assert_eq!(code, 0, "{said}");
    server.kill();
    tcp.closed();
    server.restart();
    let query = server.device("alice", Road::v4(Transport::Tcp));
    let listed = system_tests::contacts(&query.ask(query.register_draft(None)));
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert!(listed[0].contains(udp.contact()) && listed[0].contains("q=0.7"), "{listed:?}");
}

/// Messages that are accepted before the server is killed amid everything.
const BEFORE_THE_KILL: usize = 60;

/// A list whose entries say which one it is.
fn numbered_list(number: usize) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"number-{number}\">\
         <entry uri=\"sip:bob@example.test\"/><entry uri=\"sip:carol@example.test\"/></list></resource-lists>"
    )
}

/// Messages, publications, lists that are watched, documents that are written and calls, all at once.
#[test]
fn what_was_promised_amid_everything_holds_after_a_kill() {
    let mut server = Server::with_users().user("alice").user("bob").user("carol").user("dave").start();
    let road = Road::v4(Transport::Tls);
    let mine = "/xcap/resource-lists/users/sip:alice@example.test/index";
    let list_type = ("Content-Type", "application/resource-lists+xml");
    let [alice, watcher, bob, caller, writer] = ["alice", "alice", "bob", "dave", "dave"].map(|name| {
        let device = server.device(name, road);
        device.register_flow(1);
        device
    });
    let mut xcap = Https::connect(server.https(), &server.ca());
    let account = server.account("alice");
    assert_eq!(xcap.ask_as(&account, "PUT", mine, &[list_type], &numbered_list(0)).status, 201);
    // A call stands all the while.
    let call = caller.send(caller.invite(&bob.uri()));
    bob.expect_and_answer("INVITE", 200);
    caller.confirm(&caller.answer(call));
    bob.expect("ACK");
    bob.answer_every("INVITE", 486);
    watcher.answer_every("NOTIFY", 200);

    let accepted: Mutex<Vec<String>> = Mutex::default();
    let written = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let id = unique();
                let draft = writer.draft("MESSAGE", "sip:carol@example.test");
                let Some(answer) = writer.try_ask(draft.body("message/cpim", cpim(&id, &id))) else { break };
                assert_eq!(answer.status(), Some(202), "{}", writer.ladder());
                accepted.lock().expect("nobody panics with the lock").push(id);
            }
        });
        scope.spawn(|| {
            let mut tag: Option<String> = None;
            for number in 0.. {
                let body = pidf(&bob.uri(), "open", &note(&number.to_string()));
                let Some(answer) = bob.try_ask(bob.publish_draft(tag.as_deref(), &body)) else { break };
                assert_eq!(answer.status(), Some(200), "{}", bob.ladder());
                let given = answer.header(HeaderId::SipEtag).expect("an entity tag");
                tag = Some(String::from_utf8_lossy(given).into_owned());
            }
        });
        scope.spawn(|| {
            loop {
                let own = watcher.watch_list_draft(None);
                // What is given up is not missed: so many lists at once, and no more.
                match watcher.try_ask(own) {
                    Some(answer) => assert!(matches!(answer.status(), Some(200 | 403)), "{answer:?}"),
                    None => break,
                }
            }
        });
        scope.spawn(|| {
            for number in 1.. {
                match xcap.try_ask_as(&account, "PUT", mine, &[list_type], &numbered_list(number)) {
                    Ok(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
                    Err(_) => break,
                }
                written.store(number, SeqCst);
            }
        });
        scope.spawn(|| {
            while let Some(answer) = alice.try_ask(alice.invite("sip:bob@example.test")) {
                assert_eq!(answer.status(), Some(486), "{}", alice.ladder());
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let is_enough = || {
            let messages = accepted.lock().expect("nobody panics with the lock").len();
            messages >= BEFORE_THE_KILL && written.load(SeqCst) > 0
        };
        while !is_enough() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        server.kill();
    });
    let (accepted, written) = (accepted.into_inner().expect("nobody panicked"), written.into_inner());
    assert!(accepted.len() >= BEFORE_THE_KILL, "{} messages, {written} documents", accepted.len());

    server.restart();
    // The document is the last that was acknowledged, or the one that was under way.
    let mut xcap = Https::connect(server.https(), &server.ca());
    let kept = xcap.ask_as(&account, "GET", mine, &[], "");
    assert_eq!(kept.status, 200, "{kept:?}");
    let possible = [numbered_list(written), numbered_list(written + 1)];
    assert!(possible.contains(&kept.body), "{written} were acknowledged: {kept:?}");
    // Watchers that come back before those they watch.
    let alice = server.device("alice", road);
    alice.register_flow(1);
    let mut watch = alice.watch_list(None);
    let bob = server.device("bob", road);
    bob.register_flow(1);
    bob.publish(None, &activity("meeting"));
    let carol = server.device("carol", road);
    carol.answer_every("MESSAGE", 200);
    carol.register_flow(1);
    watch.until_members(&[
        ("sip:bob@example.test", "active open busy meeting"),
        ("sip:carol@example.test", "active open"),
    ]);
    // A message behind the others, of somebody who waits for it, ends them.
    assert_eq!(alice.ask(alice.message(&carol.uri(), "the last")).status(), Some(200));
    let mut arrived = BTreeSet::new();
    while let Some(message) = carol.arrived("MESSAGE") {
        arrived.insert(id_of(message.body()));
    }
    let lost = accepted.iter().filter(|id| !arrived.contains(*id)).count();
    assert_eq!(lost, 0, "of {} accepted messages", accepted.len());
    // The call that stood is no call any more, and nobody is seen in it.
    let busy = bob.ask(bob.watch_draft("sip:dave@example.test"));
    assert_eq!(busy.status(), Some(200));
    assert!(String::from_utf8_lossy(bob.expect_and_answer("NOTIFY", 200).body()).contains("closed"));
}
