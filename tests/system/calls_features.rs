//! What becomes of calls beyond ringing and talking: transfers, where they go by their callee's settings, who may know of them, and
//! what their parties find of them afterwards. Set with the commands of an administrator, on a server that runs.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value;
use sip_message::{HeaderId, Message};
use system_tests::{
    Device, Dialog, PATIENCE, Road, Server, Transaction, Transport, contacts, eventually, on_every_road, sdp,
};

use crate::calls::hang_up;

/// How long a call waits for an answer in tests of that: the least that may be set.
const NO_ANSWER_AFTER: &str = "5";

pub(crate) fn server() -> Server {
    let names = ["alice", "bob", "carol", "dave", "erin", "frank"];
    names.iter().fold(Server::with_users(), |builder, name| builder.user(name)).start()
}

pub(crate) fn device(server: &Server, name: &str) -> Device {
    let device = server.device(name, Road::v4(Transport::Tls));
    device.register("");
    device
}

/// What a command says that must succeed.
pub(crate) fn done(server: &Server, words: &str) -> String {
    let (code, said) = server.command(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(code, 0, "{words}: {said}");
    said
}

fn uri(name: &str) -> String {
    format!("sip:{name}@example.test")
}

fn header(message: &Message, name: &str) -> String {
    String::from_utf8_lossy(message.header_named(name).unwrap_or_default()).into_owned()
}

/// A call to a URI that a device takes at once.
pub(crate) fn call(caller: &Device, uri: &str, callee: &Device) -> (Dialog, Dialog) {
    let call = caller.send(caller.invite(uri));
    let invite = callee.expect("INVITE");
    taken(caller, call, callee, &invite)
}

/// A call rings at a device.
pub(crate) fn rung(caller: &Device, call: Transaction, callee: &Device) -> Message {
    let invite = callee.expect("INVITE");
    callee.respond(&invite, 180);
    caller.provisional(call, 180);
    invite
}

/// A device takes a call.
pub(crate) fn taken(
    caller: &Device,
    call: Transaction,
    callee: &Device,
    invite: &Message,
) -> (Dialog, Dialog) {
    callee.respond_with(invite, 200, |answer| {
        answer.body("application/sdp", sdp("sendrecv").as_bytes());
    });
    let dialog = caller.confirm(&caller.answer(call));
    callee.expect("ACK");
    (dialog, callee.dialog(invite))
}

/// A call rings at a device that is not to take it. Before that it could not be told to stop (RFC 3261 §9.1).
pub(crate) fn rung_beside(callee: &Device) -> Message {
    let invite = callee.expect("INVITE");
    callee.respond(&invite, 180);
    invite
}

/// A device that rings is told not to, and by whom it was answered (RFC 3326).
pub(crate) fn stopped(callee: &Device, invite: &Message) -> String {
    let cancel = callee.expect_and_answer("CANCEL", 200);
    callee.respond(invite, 487);
    callee.expect("ACK");
    header(&cancel, "Reason")
}

/// A page of a call log as `chancery calls` prints it, newest first.
pub(crate) fn page(server: &Server, words: &str) -> (Vec<Value>, bool) {
    let said: Value = serde_json::from_str(&done(server, &format!("calls {words} --json"))).expect("JSON");
    (
        said["calls"].as_array().expect("a list").clone(),
        said["more"].as_bool().expect("whether there is more"),
    )
}

pub(crate) fn line(call: &Value) -> String {
    let text = |key: &str| call[key].as_str().expect("a text").replace("@example.test", "");
    let line = format!("{} {} {} {}", text("direction"), text("peer"), text("end"), text("answered_at"));
    line.trim_end().to_owned()
}

/// Waits until a call log says this, newest first: it is written behind the last answer.
pub(crate) fn until_log(server: &Server, who: &str, expected: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (calls, _) = page(server, &format!("{who}@example.test"));
        let lines: Vec<String> = calls.iter().map(line).collect();
        if lines == expected || Instant::now() > deadline {
            assert_eq!(lines, expected, "the calls of {who}");
            return;
        }
    }
}

/// The progress of a transfer, told within its dialog (RFC 3515 §2.4.4).
fn tells(device: &Device, dialog: &mut Dialog, to: &Device, state: &str, fragment: &str) {
    let draft = dialog
        .request("NOTIFY")
        .header("Event", "refer")
        .header("Subscription-State", state)
        .header("Contact", format!("<{}>", device.contact()))
        .body("message/sipfrag;version=2.0", fragment);
    let notify = device.send(draft);
    assert_eq!(to.expect_and_answer("NOTIFY", 200).body(), fragment.as_bytes());
    assert_eq!(device.answer(notify).status(), Some(200));
}

/// A REFER within a call, and that the other side will do so.
fn refers(device: &Device, dialog: &mut Dialog, to: &Device, refer_to: &str) -> Message {
    let draft = dialog
        .request("REFER")
        .header("Refer-To", format!("<{refer_to}>"))
        .header("Referred-By", format!("<{}>", device.uri()))
        .header("Contact", format!("<{}>", device.contact()));
    let refer = device.send(draft);
    let arrived = to.expect_and_answer("REFER", 202);
    assert_eq!(device.answer(refer).status(), Some(202), "{}", device.ladder());
    arrived
}

/// RFC 5589 §6: to a person, to one of the person's devices by its GRUU, and by its contact.
#[test]
fn a_call_is_transferred_blindly_to_a_person_and_to_a_device() {
    on_every_road(|scene| {
        let (alice, bob, pc) =
            (scene.registered("alice"), scene.registered("bob"), scene.registered("carol"));
        let desk = scene.device("carol");
        let registered = contacts(&desk.register_flow(1));
        let own = registered.iter().find(|contact| contact.contains(desk.contact())).expect("it is listed");
        let gruu = own.split("pub-gruu=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("RFC 5627");
        let everywhere = scene.uri("carol");
        for target in [everywhere.as_str(), gruu, desk.contact()] {
            let (mut at_alice, mut at_bob) = call(&alice, &bob.uri(), &bob);
            let refer = refers(&bob, &mut at_bob, &alice, target);
            assert_eq!(header(&refer, "Refer-To"), format!("<{target}>"));
            assert_eq!(header(&refer, "Referred-By"), format!("<{}>", bob.uri()));
            tells(&alice, &mut at_alice, &bob, "active;expires=60", "SIP/2.0 100 Trying");
            let new = alice.send(alice.invite(target).header("Referred-By", format!("<{}>", bob.uri())));
            let invite = rung(&alice, new, &desk);
            assert_eq!(header(&invite, "Referred-By"), format!("<{}>", bob.uri()));
            assert_eq!(header(&invite, "P-Asserted-Identity"), format!("<{}>", alice.uri()));
            let at_pc = (target == everywhere).then(|| rung_beside(&pc));
            let (mut with_carol, _) = taken(&alice, new, &desk, &invite);
            match at_pc {
                Some(invite) => assert!(stopped(&pc, &invite).contains("cause=200")),
                None => pc.expect_none("INVITE"),
            }
            tells(&alice, &mut at_alice, &bob, "terminated;reason=noresource", "SIP/2.0 200 OK");
            hang_up(&bob, &mut at_bob, &alice);
            hang_up(&alice, &mut with_carol, &desk);
        }
    });
}

/// RFC 5589 §7, RFC 3891: the device that is consulted is found by the person's address, by its contact, and by nobody else.
#[test]
fn a_call_is_transferred_after_consultation() {
    on_every_road(|scene| {
        let (alice, bob, pc) =
            (scene.registered("alice"), scene.registered("bob"), scene.registered("carol"));
        let desk = scene.registered("carol");
        let everywhere = scene.uri("carol");
        for target in [everywhere.as_str(), desk.contact()] {
            let (mut at_alice, mut at_bob) = call(&alice, &bob.uri(), &bob);
            let (consulting, mut consulted) = call(&bob, desk.contact(), &desk);
            let tag = |value: &str| value.split_once("tag=").expect("a tag").1.to_owned();
            let (to_tag, from_tag) = (tag(&consulting.remote), tag(&consulting.local));
            let replaces = format!("{};to-tag={to_tag};from-tag={from_tag}", consulting.call_id);
            let escaped = replaces.replace(';', "%3B").replace('=', "%3D").replace('@', "%40");
            refers(&bob, &mut at_bob, &alice, &format!("{target}?Replaces={escaped}"));
            let invite = alice
                .invite(target)
                .header("Replaces", replaces.clone())
                .header("Require", "replaces")
                .header("Referred-By", format!("<{}>", bob.uri()));
            let new = alice.send(invite);
            let invite = desk.expect("INVITE");
            assert_eq!(header(&invite, "Replaces"), replaces);
            let (mut with_carol, _) = taken(&alice, new, &desk, &invite);
            pc.expect_none("INVITE");
            // The device ends what was replaced (RFC 3891 §3), whoever transferred the call ends the first.
            hang_up(&desk, &mut consulted, &bob);
            tells(&alice, &mut at_alice, &bob, "terminated;reason=noresource", "SIP/2.0 200 OK");
            hang_up(&bob, &mut at_bob, &alice);
            hang_up(&alice, &mut with_carol, &desk);
        }
        // A dialog that nobody has replaces nothing.
        let stray = alice.invite(&desk.uri()).header("Replaces", "none;to-tag=a;from-tag=b");
        let stray = alice.send(stray.header("Require", "replaces"));
        for device in [&pc, &desk] {
            device.expect_and_answer("INVITE", 481);
        }
        assert_eq!(alice.answer(stray).status(), Some(481));
    });
}

#[test]
fn all_calls_go_elsewhere_until_that_is_cleared() {
    let server = server();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| device(&server, name));
    done(&server, "forward set bob@example.test --always carol@example.test");
    let shown = done(&server, "forward show bob@example.test");
    assert_eq!(shown, "always:         carol@example.test\n");
    let forwarded = alice.send(alice.invite(&bob.uri()));
    let invite = rung(&alice, forwarded, &carol);
    let history = header(&invite, "History-Info");
    assert!(history.contains("<sip:bob@example.test>;index=1"), "{history}");
    assert!(history.contains("<sip:carol@example.test;cause=302>;index=1.1"), "{history}");
    let (mut dialog, _) = taken(&alice, forwarded, &carol, &invite);
    bob.expect_none("INVITE");
    hang_up(&alice, &mut dialog, &carol);
    until_log(&server, "alice", &["made bob answered carol"]);
    until_log(&server, "bob", &["received alice forwarded carol"]);
    until_log(&server, "carol", &["received alice answered system-tests (127.0.0.1)"]);

    done(&server, "forward clear bob@example.test --always");
    let (mut dialog, _) = call(&alice, &bob.uri(), &bob);
    carol.expect_none("INVITE");
    hang_up(&alice, &mut dialog, &bob);
}

#[test]
fn calls_go_elsewhere_that_find_the_callee_busy_or_away_or_nobody() {
    let server = server();
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(|name| device(&server, name));
    done(&server, "forward set bob@example.test --busy carol@example.test");
    done(&server, "forward set bob@example.test --unregistered dave@example.test");
    let no_answer = format!("--no-answer dave@example.test --after {NO_ANSWER_AFTER}");
    done(&server, &format!("forward set bob@example.test {no_answer}"));
    let shown = done(&server, "forward show bob@example.test");
    assert_eq!(
        shown,
        "busy:           carol@example.test\nno answer:      dave@example.test (after 5 s)\n\
         unregistered:   dave@example.test\n"
    );

    // A device says that it is busy.
    let busy = alice.send(alice.invite(&bob.uri()));
    bob.expect_and_answer("INVITE", 486);
    let invite = rung(&alice, busy, &carol);
    assert!(header(&invite, "History-Info").contains(";cause=486>"));
    let (mut dialog, _) = taken(&alice, busy, &carol, &invite);
    hang_up(&alice, &mut dialog, &carol);
    until_log(&server, "bob", &["received alice forwarded carol"]);

    // Nobody answers: bob's device is stopped, and whoever takes the call then has it.
    let unanswered = alice.send(alice.invite(&bob.uri()));
    let at_bob = rung(&alice, unanswered, &bob);
    let began = Instant::now();
    let invite = rung(&alice, unanswered, &dave);
    assert!(began.elapsed().as_secs() >= 4, "it rang for {:?}", began.elapsed());
    assert!(header(&invite, "History-Info").contains(";cause=408>"));
    stopped(&bob, &at_bob);
    let (_, mut at_dave) = taken(&alice, unanswered, &dave, &invite);
    hang_up(&dave, &mut at_dave, &alice);
    until_log(&server, "bob", &["received alice forwarded dave", "received alice forwarded carol"]);

    // No device is there, and the caller gives up.
    bob.unregister();
    let away = alice.send(alice.invite(&bob.uri()));
    let invite = rung(&alice, away, &dave);
    assert!(header(&invite, "History-Info").contains(";cause=404>"));
    assert_eq!(alice.cancel(away).status(), Some(200));
    stopped(&dave, &invite);
    assert_eq!(alice.answer(away).status(), Some(487));
    let of_dave = ["received alice missed", "received alice answered system-tests (127.0.0.1)"];
    until_log(&server, "dave", &of_dave);
    until_log(&server, "alice", &["made bob cancelled", "made bob answered dave", "made bob answered carol"]);

    done(&server, "forward clear bob@example.test");
    assert_eq!(done(&server, "forward show bob@example.test"), "calls go to the user's devices\n");
    assert_eq!(alice.ask(alice.invite(&bob.uri())).status(), Some(480));
    let missed = page(&server, "bob@example.test --missed").0;
    assert_eq!(missed.iter().map(line).collect::<Vec<_>>(), ["received alice missed"]);
}

#[test]
fn others_ring_together_with_the_callee_and_the_first_answer_wins() {
    let server = server();
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(|name| device(&server, name));
    done(
        &server,
        "forward set bob@example.test --ring-also carol@example.test --ring-also dave@example.test",
    );
    let ringing = alice.send(alice.invite(&bob.uri()));
    let invites = [&bob, &carol, &dave].map(rung_beside);
    alice.provisional(ringing, 180);
    let (mut dialog, _) = taken(&alice, ringing, &dave, &invites[2]);
    for (device, invite) in [(&bob, &invites[0]), (&carol, &invites[1])] {
        let reason = stopped(device, invite);
        assert!(reason.starts_with("SIP") && reason.contains("cause=200"), "{reason}");
    }
    hang_up(&alice, &mut dialog, &dave);
    until_log(&server, "alice", &["made bob answered dave"]);
    until_log(&server, "bob", &["received alice forwarded dave"]);
    until_log(&server, "dave", &["received alice answered system-tests (127.0.0.1)"]);
    until_log(&server, "carol", &[]);
    assert!(page(&server, "bob@example.test --missed").0.is_empty(), "who was stood in for missed nothing");
}

#[test]
fn who_is_in_a_call_is_busy_where_that_was_chosen() {
    let server = server();
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(|name| device(&server, name));
    done(&server, "forward set bob@example.test --busy-on-busy yes");
    let (mut dialog, _) = call(&alice, &bob.uri(), &bob);
    assert_eq!(carol.ask(carol.invite(&bob.uri())).status(), Some(486));
    bob.expect_none("INVITE");
    until_log(&server, "bob", &["received carol missed"]);
    until_log(&server, "carol", &["made bob refused"]);
    // Busy goes where busy goes.
    done(&server, "forward set bob@example.test --busy dave@example.test");
    let (mut second, _) = call(&carol, &bob.uri(), &dave);
    bob.expect_none("INVITE");
    hang_up(&carol, &mut second, &dave);
    // A second call rings where it may.
    done(&server, "forward set bob@example.test --busy-on-busy no");
    let (mut second, _) = call(&carol, &bob.uri(), &bob);
    hang_up(&carol, &mut second, &bob);
    hang_up(&alice, &mut dialog, &bob);
    // Out of calls nobody is busy.
    done(&server, "forward set bob@example.test --busy-on-busy yes");
    let (mut dialog, _) = call(&carol, &bob.uri(), &bob);
    hang_up(&carol, &mut dialog, &bob);
}

#[test]
fn do_not_disturb_refuses_calls_or_sends_them_elsewhere_and_the_team_interrupts() {
    let server = server();
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(|name| device(&server, name));
    done(&server, "presence set bob@example.test --state do-not-disturb");
    let refused = alice.ask(alice.invite(&bob.uri()));
    assert_eq!(refused.status(), Some(486));
    assert_eq!(refused.reason_phrase(), b"Busy Here", "a caller cannot tell it from busy");
    assert!(refused.header(HeaderId::Reason).is_none() && refused.header(HeaderId::Warning).is_none());
    bob.expect_none("INVITE");
    until_log(&server, "bob", &["received alice missed"]);

    done(&server, "access set bob@example.test carol@example.test team");
    let (mut dialog, _) = call(&carol, &bob.uri(), &bob);
    hang_up(&carol, &mut dialog, &bob);

    done(&server, "forward set bob@example.test --dnd dave@example.test");
    let elsewhere = alice.send(alice.invite(&bob.uri()));
    let invite = rung(&alice, elsewhere, &dave);
    assert!(header(&invite, "History-Info").contains(";cause=480>"));
    let (mut dialog, _) = taken(&alice, elsewhere, &dave, &invite);
    hang_up(&alice, &mut dialog, &dave);
    bob.expect_none("INVITE");
    let (mut dialog, _) = call(&carol, &bob.uri(), &bob);
    hang_up(&carol, &mut dialog, &bob);

    done(&server, "presence clear bob@example.test");
    let (mut dialog, _) = call(&alice, &bob.uri(), &bob);
    hang_up(&alice, &mut dialog, &bob);
    dave.expect_none("INVITE");
}

/// What a document of RFC 4235 says, in a line for each dialog: direction and state, then what may be hidden.
fn seen(document: &Message) -> Vec<String> {
    let body = String::from_utf8_lossy(document.body()).into_owned();
    let between = |text: &str, from: &str, to: &str| {
        text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map(|(found, _)| found.to_owned())
    };
    let dialogs = body.split("<dialog ").skip(1).map(|dialog| {
        let direction = between(dialog, "direction=\"", "\"").unwrap_or_default();
        let state = between(dialog, "<state", "</state>").expect("a state");
        let mut line = format!("{direction} {}", state.rsplit_once('>').expect("an element").1);
        if let Some(event) = between(&state, "event=\"", "\"") {
            line += &format!(" {event}");
        }
        if let Some(remote) = between(dialog, "<remote>", "</remote>") {
            line += &format!(" with {}", between(&remote, "sip:", "@").expect("an identity"));
        }
        if dialog.contains("call-id=\"") {
            line += " named";
        }
        line
    });
    dialogs.collect()
}

#[test]
fn each_level_sees_what_it_may_of_a_call() {
    let server = server();
    let [alice, bob, phone, carol, dave, erin, frank] =
        ["alice", "bob", "bob", "carol", "dave", "erin", "frank"].map(|name| device(&server, name));
    for (watcher, level) in
        [("carol", "team"), ("dave", "personal"), ("erin", "company"), ("frank", "blocked")]
    {
        done(&server, &format!("access set bob@example.test {watcher}@example.test {level}"));
    }
    let watchers = [&phone, &dave, &carol].map(|watcher| watcher.watch_calls(&bob.uri()));
    let blind = [&erin, &frank].map(|watcher| watcher.watch_calls(&bob.uri()));
    for watch in watchers.iter().chain(&blind) {
        assert_eq!(seen(&watch.notify()), [""; 0], "no call yet");
    }
    let until = |wanted: [&str; 3]| {
        for (watch, wanted) in watchers.iter().zip(wanted) {
            // NOTIFYs come no closer than a second apart, and what is over by then may be told as such at once.
            while seen(&watch.notify()) != [wanted] {}
        }
    };
    let ringing = alice.send(alice.invite(&bob.uri()));
    let invite = rung(&alice, ringing, &bob);
    let at_phone = rung_beside(&phone);
    until(["recipient early with alice named", "recipient early with alice", "recipient early"]);
    let (mut dialog, _) = taken(&alice, ringing, &bob, &invite);
    stopped(&phone, &at_phone);
    until(["recipient confirmed with alice named", "recipient confirmed with alice", "recipient confirmed"]);
    hang_up(&alice, &mut dialog, &bob);
    until([
        "recipient terminated remote-bye with alice named",
        "recipient terminated remote-bye with alice",
        "recipient terminated remote-bye",
    ]);
    // All of that passed by those who may not see it; nothing of it stands in what they are told when they ask again.
    for watcher in [&erin, &frank] {
        watcher.expect_none("NOTIFY");
        assert_eq!(seen(&watcher.watch_calls(&bob.uri()).notify()), [""; 0]);
    }
    // A level that changes is seen at once.
    let (mut dialog, _) = call_with_second(&alice, &bob, &phone);
    until(["recipient confirmed with alice named", "recipient confirmed with alice", "recipient confirmed"]);
    done(&server, "access set bob@example.test carol@example.test company");
    // As if the call were over: who may see no more cannot tell.
    while seen(&watchers[2].notify()) != ["recipient terminated remote-bye"] {}
    hang_up(&alice, &mut dialog, &bob);
}

/// A call that the first of two devices takes.
fn call_with_second(alice: &Device, bob: &Device, phone: &Device) -> (Dialog, Dialog) {
    let ringing = alice.send(alice.invite(&bob.uri()));
    let (invite, at_phone) = (bob.expect("INVITE"), rung_beside(phone));
    let dialogs = taken(alice, ringing, bob, &invite);
    stopped(phone, &at_phone);
    dialogs
}

#[test]
fn the_log_names_the_device_that_answered_to_its_owner_alone() {
    let server = server();
    let alice = device(&server, "alice");
    // Two of different makes, then two of one make on one machine: with instances, and without.
    let register = |device: &Device, program: &str, with_instance: bool| {
        let contact = match with_instance {
            true => format!("<{}>;+sip.instance=\"<{}>\"", device.contact(), device.instance()),
            false => format!("<{}>", device.contact()),
        };
        let draft = device.register_draft(Some(contact)).header("User-Agent", program);
        assert_eq!(device.ask(draft).status(), Some(200));
    };
    let mut expected: Vec<String> = Vec::new();
    for (programs, with_instance) in
        [(["Messenger", "Desk phone 7"], true), (["Softphone", "Softphone"], true), (["Softphone"; 2], false)]
    {
        let pair = [(); 2].map(|()| server.device("bob", Road::v4(Transport::Tls)));
        for ((device, program), number) in pair.iter().zip(programs).zip(0..) {
            device.be(&format!("urn:uuid:7d5e2f1c-0000-4000-8000-00000000a10{number}"));
            register(device, program, with_instance);
        }
        let mut names = BTreeSet::new();
        for (answering, other) in [(0, 1), (1, 0)] {
            let (mut dialog, _) = call_with_second(&alice, &pair[answering], &pair[other]);
            hang_up(&alice, &mut dialog, &pair[answering]);
            let (program, instance) = (programs[answering], pair[answering].instance());
            let name = match (programs[0] == programs[1], with_instance) {
                (false, _) => format!("{program} (127.0.0.1)"),
                (true, true) => format!("{program} (127.0.0.1) {}", &instance[instance.len() - 6..]),
                (true, false) => format!("{program} (127.0.0.1) port {}", pair[answering].local().port()),
            };
            expected.insert(0, format!("received alice answered {name}"));
            names.insert(name);
            until_log(&server, "bob", &expected.iter().map(String::as_str).collect::<Vec<_>>());
        }
        assert_eq!(names.len(), 2, "the log tells them apart");
    }
    until_log(&server, "alice", &["made bob answered bob"; 6]);
    let shown = done(&server, "calls bob@example.test --limit 1");
    assert!(
        shown.contains("from alice@example.test  answered 0:00 at Softphone (127.0.0.1) port"),
        "{shown}"
    );
}

#[test]
fn the_call_log_is_read_page_by_page() {
    let server = server();
    let [alice, carol] = ["alice", "carol"].map(|name| device(&server, name));
    // Nobody is there for any of them, and each is missed; then one is answered.
    for (caller, missed) in [&alice, &carol, &alice, &carol, &alice].into_iter().zip(1..) {
        assert_eq!(caller.ask(caller.invite(&uri("bob"))).status(), Some(480));
        // What began within one millisecond has no order; the command takes longer than that.
        eventually("the call is logged", || {
            (page(&server, "bob@example.test").0.len() == missed).then_some(())
        });
    }
    let bob = device(&server, "bob");
    let (mut dialog, _) = call(&alice, &bob.uri(), &bob);
    hang_up(&alice, &mut dialog, &bob);
    let all = [
        "received alice answered system-tests (127.0.0.1)",
        "received alice missed",
        "received carol missed",
        "received alice missed",
        "received carol missed",
        "received alice missed",
    ];
    until_log(&server, "bob", &all);

    let mut read = Vec::new();
    let (mut calls, mut more) = page(&server, "bob@example.test --limit 2");
    // A page that is full may be the last one.
    while !calls.is_empty() {
        assert!(calls.len() == 2 && more, "{calls:?}");
        let place = calls[1]["place"].as_str().expect("a place").to_owned();
        read.extend(calls.iter().map(line));
        (calls, more) = page(&server, &format!("bob@example.test --limit 2 --before {place}"));
    }
    assert_eq!((read, more), (all.map(str::to_owned).to_vec(), false));
    let (missed, more) = page(&server, "bob@example.test --missed --limit 4");
    assert_eq!((missed.len(), more), (4, true));
    assert!(missed.iter().all(|call| call["end"] == "missed"), "{missed:?}");
    // For people: the newest first, and how to go on.
    let told = done(&server, "calls bob@example.test --limit 2");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(
        lines[0].contains("from alice@example.test  answered 0:00 at system-tests (127.0.0.1)"),
        "{told}"
    );
    assert!(lines[1].ends_with("from alice@example.test  missed"), "{told}");
    assert!(lines[2].starts_with("more: --before "), "{told}");
    // It is the person's own: the caller has another.
    until_log(
        &server,
        "alice",
        &["made bob answered bob", "made bob failed", "made bob failed", "made bob failed"],
    );

    for (words, wanted, says) in [
        ("calls bob@example.test --before x", 1, "is no place in a call log"),
        ("calls nobody@example.test", 1, "there is no user nobody@example.test"),
        ("calls bob", 1, "is no SIP address"),
        ("calls bob@example.test --limit 0", 2, "0 is not in 1..=1000"),
    ] {
        let (code, said) = server.command(&words.split(' ').collect::<Vec<_>>());
        assert!(code == wanted && said.contains(says), "{words}: {code} {said}");
    }
}
