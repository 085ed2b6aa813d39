//! Presence over real sockets: what devices publish, what people see of each other, and what neither can break.

use sip_message::HeaderId;
use system_tests::{Device, Https, Road, Scene, Server, Transport, activity, note, on_each, pidf, seen};

/// Roads that end, and what was published over them with them.
const CONNECTIONS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Wss];

fn on_connections(conversation: impl Fn(&Scene<'_>) + Sync) {
    on_each(&CONNECTIONS.map(Road::v4), conversation);
}

/// A device whose registration ends with its connection, as those of clients behind NAT do.
fn by_flow(scene: &Scene<'_>, name: &str) -> Device {
    let device = scene.device(name);
    device.register_flow(1);
    device
}

/// Runs a command that must succeed.
fn command(server: &Server, words: &[&str]) {
    let (code, said) = server.command(words);
    assert_eq!(code, 0, "{words:?}: {said}");
}

#[test]
fn what_a_device_says_is_seen_and_ends_with_its_connection() {
    on_connections(|scene| {
        let bob = scene.registered("bob");
        let watch = bob.watch(&scene.uri("alice"));
        assert!(watch.until("closed").is_empty(), "the first NOTIFY tells the state");
        let mut alice = by_flow(scene, "alice");
        watch.until("open");
        let tag = alice.publish(None, &activity("meeting"));
        watch.until("open busy meeting");
        let tag = alice.publish(Some(&tag), &note("at lunch"));
        watch.until("open \"at lunch\"");
        // Refreshed, without a body: nobody sees a difference.
        let refreshed = alice.ask(alice.publish_draft(Some(&tag), ""));
        assert_eq!(refreshed.status(), Some(200));
        bob.expect_none("NOTIFY");
        alice.crash();
        watch.until("closed");
        watch.end();
    });
}

#[test]
fn what_ends_is_no_longer_there() {
    on_each(&[Road::v4(Transport::Udp), Road::v4(Transport::Tcp)], |scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let watch = bob.watch(&scene.uri("alice"));
        let first = alice.publish(None, &activity("meeting"));
        watch.until("open busy meeting");
        let second = alice.publish(Some(&first), &note("back"));
        watch.until("open \"back\"");
        // Each tag is good once (RFC 3903 §4.4).
        for (tag, body) in [
            (&*first, String::new()),
            (&first, pidf(&alice.uri(), "closed", "")),
            ("nonsense", String::new()),
        ] {
            assert_eq!(alice.ask(alice.publish_draft(Some(tag), &body)).status(), Some(412), "{tag}");
        }
        let mut removal = alice.publish_draft(Some(&second), "");
        removal.headers.retain(|(name, _)| name != "Expires");
        assert_eq!(alice.ask(removal.clone().header("Expires", "0")).status(), Some(200));
        watch.until("open");
        assert_eq!(alice.ask(removal.header("Expires", "0")).status(), Some(412), "it is gone");
        // Nobody speaks for somebody else.
        let stolen = bob.draft("PUBLISH", &alice.uri()).header("Event", "presence");
        let stolen = stolen.body("application/pidf+xml", pidf(&alice.uri(), "closed", ""));
        assert_eq!(bob.ask(stolen).status(), Some(403));
        alice.unregister();
        watch.until("closed");
        let last = watch.end();
        assert!(last.header(HeaderId::SubscriptionState).is_some());
        alice.register("");
        bob.expect_none("NOTIFY");
    });
}

#[test]
fn many_devices_are_one_person() {
    on_each(&[Road::v4(Transport::Tcp), Road::v4(Transport::Tls)], |scene| {
        let bob = scene.registered("bob");
        let watch = bob.watch(&scene.uri("alice"));
        let mut laptop = by_flow(scene, "alice");
        laptop.publish(None, &activity("away"));
        watch.until("open away");
        // The most available device counts, over whichever transport it is there.
        let mut phone = scene.device_on("alice", Road::v4(Transport::Tls));
        phone.register_flow(1);
        phone.publish(None, &note("on my phone"));
        watch.until("open \"on my phone\"");
        phone.crash();
        watch.until("open away");
        laptop.crash();
        watch.until("closed");
    });
}

#[test]
fn what_was_published_ends_with_a_connection_that_the_registration_outlives() {
    let server = Server::start();
    let road = Road::v4(Transport::Tcp);
    let (mut alice, bob) = (server.device("alice", road), server.device("bob", road));
    bob.register("");
    let watch = bob.watch("sip:alice@example.test");
    // By its Contact it can be connected to.
    alice.register("");
    alice.publish(None, &activity("meeting"));
    watch.until("open busy meeting");
    alice.crash();
    watch.until("open");
    bob.expect_none("NOTIFY");
}

#[test]
fn somebody_in_a_call_is_busy_for_as_long_as_it_lasts() {
    let server = Server::start();
    let road = Road::v4(Transport::Tcp);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| {
        let device = server.device(name, road);
        device.register("");
        device
    });
    let watch = carol.watch(&alice.uri());
    watch.until("open");
    let call = alice.send(alice.invite(&bob.uri()));
    bob.expect_and_answer("INVITE", 200);
    let mut dialog = alice.confirm(&alice.answer(call));
    bob.expect("ACK");
    let before = watch.notify();
    assert!(seen(&String::from_utf8_lossy(before.body())).starts_with("open busy"), "{before:?}");
    let bye = alice.send(dialog.request("BYE"));
    bob.expect_and_answer("BYE", 200);
    assert_eq!(alice.answer(bye).status(), Some(200));
    watch.until("open");
}

#[test]
fn whoever_is_blocked_sees_nobody_there() {
    let server = Server::start();
    let [alice, bob, carol] = registered(&server);
    alice.publish(None, &activity("meeting"));
    let (blocked, other) = (bob.watch(&alice.uri()), carol.watch(&alice.uri()));
    blocked.until("open busy meeting");
    other.until("open busy meeting");
    command(&server, &["access", "set", "alice@example.test", "bob@example.test", "blocked"]);
    assert!(blocked.until("closed").is_empty(), "at once");
    alice.publish(None, &note("for friends"));
    other.until("open \"for friends\"");
    bob.expect_none("NOTIFY");
    // Who asks anew sees the same as of somebody who is not there.
    assert!(bob.watch(&alice.uri()).until("closed").is_empty());
    carol.expect_none("NOTIFY");
    command(&server, &["access", "unset", "alice@example.test", "bob@example.test"]);
    assert!(blocked.until("open \"for friends\"").is_empty(), "at once");
}

#[test]
fn each_level_sees_what_it_may_as_soon_as_it_is_given() {
    const RULES: &str = "/xcap/pres-rules/users/sip:alice@example.test/index";
    const RULES_TYPE: (&str, &str) = ("Content-Type", "application/auth-policy+xml");
    let server = Server::start();
    let [alice, bob, carol] = registered(&server);
    alice.publish(None, &format!("{}{}", activity("meeting"), note("in room 5")));
    let (alone, mut listed) = (bob.watch(&alice.uri()), carol.watch_list(Some(&[alice.uri()])));
    alone.until("open busy meeting \"in room 5\"");
    listed.until_members(&[(&alice.uri(), "active open busy meeting \"in room 5\"")]);
    // A client writes its rules: another level for each of the two, and both see it, alone and in a list.
    let rule = |of: &str, rest: &str| {
        format!(
            "<rule id=\"{of}\"><conditions><identity><one id=\"sip:{of}@example.test\"/></identity></conditions>{rest}</rule>"
        )
    };
    let shown = |provided: &str| {
        format!(
            "<actions><pr:sub-handling>allow</pr:sub-handling></actions><transformations><pr:provide-services>\
             <pr:all-services/></pr:provide-services>{provided}</transformations>"
        )
    };
    let blocked = "<actions><pr:sub-handling>block</pr:sub-handling></actions>";
    let mut xcap = Https::connect(server.https(), &server.ca());
    let mut put = |of_bob: &str, of_carol: &str| {
        let rules = format!(
            "<ruleset xmlns=\"urn:ietf:params:xml:ns:common-policy\" xmlns:pr=\"urn:ietf:params:xml:ns:pres-rules\">{}{}</ruleset>",
            rule("bob", of_bob),
            rule("carol", of_carol)
        );
        let answer = xcap.ask_as(&server.account("alice"), "PUT", RULES, &[RULES_TYPE], &rules);
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    };
    put(&shown(""), blocked);
    assert!(alone.until("open busy").is_empty(), "at once");
    listed.until_members(&[(&alice.uri(), "active closed")]);
    let activities = "<pr:provide-persons><pr:all-persons/></pr:provide-persons>\
         <pr:provide-activities>true</pr:provide-activities><pr:provide-note>true</pr:provide-note>\
         <pr:provide-user-input>full</pr:provide-user-input>";
    put(blocked, &shown(activities));
    assert!(alone.until("closed").is_empty(), "at once");
    listed.until_members(&[(&alice.uri(), "active open busy meeting \"in room 5\"")]);
    // What the other one may not see is not told.
    alice.publish(None, &note("back"));
    listed.until_members(&[(&alice.uri(), "active open \"back\"")]);
    bob.expect_none("NOTIFY");
    // Without rules everything is as it was.
    let answer = xcap.ask_as(&server.account("alice"), "DELETE", RULES, &[], "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(alone.until("open \"back\"").is_empty(), "at once");
    carol.expect_none("NOTIFY");
}

#[test]
fn the_watched_are_told_who_watches_them() {
    on_connections(|scene| {
        let [alice, bob, mut carol] = ["alice", "bob", "carol"].map(|name| scene.registered(name));
        let told = alice.watch_own("presence.winfo");
        assert!(!told.until_told("<watcherinfo").contains("<watcher "), "nobody watches");
        let watch = bob.watch(&alice.uri());
        let list = carol.watch_list(Some(&[alice.uri(), bob.uri()]));
        // Alone or by a list: each is one watcher.
        let by_list = told.until_told(&format!(">{}<", carol.uri()));
        assert_eq!(by_list.matches("status=\"active\"").count(), 2, "{by_list}");
        assert!(by_list.contains("state=\"full\"") && by_list.contains(&bob.uri()), "{by_list}");
        // It is nobody else's business.
        let curious = bob.ask(bob.subscribe_draft("presence.winfo", &alice.uri()));
        assert_eq!(curious.status(), Some(403));
        watch.end();
        drop(list);
        carol.crash();
        let mut last = told.until_told("<watcherinfo");
        while last.contains("<watcher ") {
            last = told.until_told("<watcherinfo");
        }
        told.end();
    });
}

#[test]
fn what_an_administrator_chooses_is_seen_and_obeyed() {
    let server = Server::start();
    let [alice, bob, carol] = registered(&server);
    let watch = carol.watch(&alice.uri());
    watch.until("open");
    let set = [
        "presence",
        "set",
        "alice@example.test",
        "--state",
        "do-not-disturb",
        "--note",
        "quiet",
        "--until",
        "2h",
    ];
    command(&server, &set);
    watch.until("open busy Do not disturb \"quiet\"");
    let (_, shown) = server.command(&["presence", "show", "alice@example.test"]);
    assert!(shown.contains("do-not-disturb"), "{shown}");
    // Calls do not ring.
    assert_eq!(bob.ask(bob.invite(&alice.uri())).status(), Some(486));
    alice.expect_none("INVITE");
    // A device that says otherwise does not win.
    alice.publish(None, &activity("meeting"));
    carol.expect_none("NOTIFY");
    command(&server, &["presence", "clear", "alice@example.test"]);
    watch.until("open busy meeting");
}

#[test]
fn a_watcher_that_does_not_answer_harms_nobody() {
    on_each(&[Road::v4(Transport::Udp), Road::v4(Transport::Tcp)], |scene| {
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| scene.registered(name));
        let silent: Vec<_> = (0..8).map(|_| bob.watch(&alice.uri())).collect();
        for watch in &silent {
            watch.unanswered();
        }
        let watch = carol.watch(&alice.uri());
        watch.until("open");
        let mut tag = None;
        for count in 0..10 {
            tag = Some(alice.publish(tag.as_deref(), &note(&count.to_string())));
            watch.until(&format!("open \"{count}\""));
        }
        // One at a time, until it is answered: nine are not told ten times.
        bob.settle();
        let told = std::iter::from_fn(|| bob.arrived("NOTIFY")).count();
        assert!(told <= silent.len(), "{told} NOTIFYs to somebody who answered none");
    });
}

/// Documents that are no publication, and how each is refused.
fn attacks(uri: &str) -> Vec<(String, u16)> {
    let entities = (1..=9).map(|n| format!("<!ENTITY e{n} \"{}\">", format!("&e{};", n - 1).repeat(10)));
    let laughs = format!("<!DOCTYPE presence [<!ENTITY e0 \"ha\">{}]>", entities.collect::<String>());
    let body = |more: &str| pidf(uri, "open", more);
    let with_doctype =
        |doctype: &str, more: &str| body(more).replace("?><presence", &format!("?>{doctype}<presence"));
    vec![
        (body(&note(&"x".repeat(20_000))), 413),
        (body(&format!("{}{}", "<note>".repeat(2_000), "</note>".repeat(2_000))), 413),
        (body(&"<note/>".repeat(2_000)), 413),
        (body(&format!("<note {}/>", (0..500).map(|n| format!("a{n}=\"\" ")).collect::<String>())), 413),
        (with_doctype(&laughs, &note("&e9;")), 400),
        (with_doctype("<!DOCTYPE presence SYSTEM \"file:///etc/passwd\">", ""), 400),
        (with_doctype("<!DOCTYPE p [<!ENTITY f SYSTEM \"file:///etc/passwd\">]>", &note("&f;")), 400),
        (body(&note("&unknown;")), 400),
        (body("<stranger:note/>"), 400),
        (body("").replace("</tuple>", "</tupel>"), 400),
        ("\u{0}\u{1}\u{2}".to_owned(), 400),
        ("<list/>".to_owned(), 415),
    ]
}

#[test]
fn documents_that_attack_are_refused_and_harm_nobody() {
    on_connections(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let watch = bob.watch(&alice.uri());
        watch.until("open");
        for (body, status) in attacks(&alice.uri()) {
            let answer = alice.ask(alice.publish_draft(None, &body));
            let shown: String = body.chars().take(300).collect();
            assert_eq!(answer.status(), Some(status), "{shown}");
        }
        // Lists are read by the same rules.
        for (body, status) in attacks(&alice.uri()) {
            let mut draft = alice.watch_list_draft(Some(&[]));
            draft = draft.body("application/resource-lists+xml", body.replace("presence", "resource-lists"));
            let answer = alice.ask(draft).status();
            assert!(
                answer.is_some_and(|given| (400..500).contains(&given)),
                "{answer:?}, not {status}: {body}"
            );
        }
        bob.expect_none("NOTIFY");
        alice.publish(None, &note("alive"));
        watch.until("open \"alive\"");
    });
}

fn registered(server: &Server) -> [Device; 3] {
    let roads = [Transport::Tls, Transport::Udp, Transport::Tcp].map(Road::v4);
    let mut roads = roads.into_iter();
    ["alice", "bob", "carol"].map(|name| {
        let device = server.device(name, roads.next().expect("three roads"));
        device.register("");
        device
    })
}
