//! kill -9 at any moment: nothing that was accepted is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use sip_message::HeaderId;
use system_tests::{
    Device, Https, PATIENCE, Road, Server, Transport, activity, chancery, eventually, note, pidf, unique,
};

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

/// Calls that are in the log before.
const CALLS_BEFORE: usize = 3;
/// Rounds of an administrator's changes before.
const CHANGES_BEFORE: usize = 3;
/// How long devices ring, as an administrator chooses in turn, in seconds.
const FORWARDED_AFTER: [&str; 2] = ["20", "30"];

/// Runs a command on a server that may end meanwhile. Whether it was done.
fn server_command(folder: &Path, words: &[&str]) -> bool {
    let output =
        Command::new(chancery()).args(words).arg("--dir").arg(folder).output().expect("chancery runs");
    output.status.success()
}

/// A list whose entries say which one it is.
fn numbered_list(number: usize) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"number-{number}\">\
         <entry uri=\"sip:bob@example.test\"/><entry uri=\"sip:carol@example.test\"/></list></resource-lists>"
    )
}

/// How many calls of a log are with this person.
fn calls_with(server: &Server, owner: &str, peer: &str) -> Vec<String> {
    let (code, said) = server.command(&["calls", owner, "--limit", "1000", "--json"]);
    assert_eq!(code, 0, "{said}");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let calls = said["calls"].as_array().expect("a list").iter().filter(|call| call["peer"] == peer);
    calls.map(|call| format!("{} {}", call["direction"], call["end"]).replace('"', "")).collect()
}

/// Messages, publications, lists that are watched, documents that are written, calls, and what an administrator does for people, all at
/// once.
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
    let folder = server.folder().to_owned();
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
    // Some that are in the log before the server is killed.
    for _ in 0..CALLS_BEFORE {
        assert_eq!(alice.ask(alice.invite("sip:bob@example.test")).status(), Some(486));
    }
    eventually("the calls are logged", || {
        let logged = |owner, peer| calls_with(&server, owner, peer).len() == CALLS_BEFORE;
        (logged("alice@example.test", "bob@example.test") && logged("bob@example.test", "alice@example.test"))
            .then_some(())
    });

    let accepted: Mutex<Vec<String>> = Mutex::default();
    let written = AtomicUsize::new(0);
    let (administered, called) = (AtomicUsize::new(0), AtomicUsize::new(CALLS_BEFORE));
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
            loop {
                called.fetch_add(1, SeqCst);
                let Some(answer) = alice.try_ask(alice.invite("sip:bob@example.test")) else { break };
                assert_eq!(answer.status(), Some(486), "{}", alice.ladder());
            }
        });
        // A contact, who may see everything, and to whom calls go: three changes, each of which was promised.
        scope.spawn(|| {
            for number in 1.. {
                let of = |name: &str| format!("{name}@example.test");
                let (dave, other) = (of("dave"), of(&format!("contact-{number}")));
                let done = [
                    vec!["contact", "add", &*dave, &*other],
                    vec!["access", "set", &*dave, &*other, "personal"],
                    vec!["forward", "set", &*dave, "--after", FORWARDED_AFTER[number % 2]],
                ]
                .iter()
                .all(|words| server_command(&folder, words));
                if !done {
                    break;
                }
                administered.store(number, SeqCst);
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let is_enough = || {
            let messages = accepted.lock().expect("nobody panics with the lock").len();
            messages >= BEFORE_THE_KILL
                && written.load(SeqCst) > 0
                && administered.load(SeqCst) >= CHANGES_BEFORE
        };
        while !is_enough() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        server.kill();
    });
    let (accepted, written) = (accepted.into_inner().expect("nobody panicked"), written.into_inner());
    let (administered, called) = (administered.into_inner(), called.into_inner());
    assert!(administered >= CHANGES_BEFORE, "{administered} changes");
    assert!(accepted.len() >= BEFORE_THE_KILL, "{} messages, {written} documents", accepted.len());

    server.restart();
    // The document is the last that was acknowledged, or the one that was under way.
    let mut xcap = Https::connect(server.https(), &server.ca());
    let kept = xcap.ask_as(&account, "GET", mine, &[], "");
    assert_eq!(kept.status, 200, "{kept:?}");
    let possible = [numbered_list(written), numbered_list(written + 1)];
    assert!(possible.contains(&kept.body), "{written} were acknowledged: {kept:?}");
    // Every contact, rule and choice that was acknowledged, and at most the one beyond that was under way.
    let shown = |words: &[&str]| {
        let (code, said) = server.command(words);
        assert_eq!(code, 0, "{said}");
        said
    };
    for (what, said) in [
        ("contacts", shown(&["contact", "list", "dave@example.test"])),
        ("rules", shown(&["access", "show", "dave@example.test"])),
    ] {
        let kept = said.matches("contact-").count();
        assert!((administered..=administered + 1).contains(&kept), "{kept} {what}, {administered} were told");
        for number in 1..=administered {
            assert!(said.contains(&format!("contact-{number}@example.test")), "{what} of {number} in {said}");
        }
    }
    let said = shown(&["forward", "show", "dave@example.test", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let after = said["no_answer_seconds"].to_string();
    let possible = [FORWARDED_AFTER[administered % 2], FORWARDED_AFTER[(administered + 1) % 2]];
    assert!(possible.contains(&&*after), "{after}");
    // The call log: what stood in it before does so now, what was refused meanwhile does so as far as it was written, and nothing does
    // that was never tried.
    for (owner, peer, entry) in [
        ("alice@example.test", "bob@example.test", "made refused"),
        ("bob@example.test", "alice@example.test", "received refused"),
    ] {
        let calls = calls_with(&server, owner, peer);
        assert!(
            (CALLS_BEFORE..=called).contains(&calls.len()),
            "{} of {called} calls of {owner}",
            calls.len()
        );
        assert!(calls.iter().all(|call| call == entry), "{calls:?}");
    }
    assert!(calls_with(&server, "bob@example.test", "dave@example.test").is_empty(), "it had not ended");
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
