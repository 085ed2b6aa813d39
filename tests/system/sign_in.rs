//! Digest over every transport: what is offered, what is taken, and what a stranger learns.

use sip_message::digest::Algorithm;
use sip_message::{HeaderId, Message};
use system_tests::{
    Account, Answer, Challenge, Device, Road, Server, Transport, challenges, in_parallel, on_every_road,
};

#[test]
fn sha_256_and_md5_are_offered_together_and_each_is_taken() {
    on_every_road(|scene| {
        let alice = scene.device("alice");
        let offered = challenges(&challenge(&alice));
        let algorithms: Vec<Algorithm> = offered.iter().map(|challenge| challenge.algorithm).collect();
        assert_eq!(algorithms, [Algorithm::Sha256, Algorithm::Md5], "RFC 8760 §2.4: the best first");
        for algorithm in algorithms {
            let alice = scene.device("alice");
            alice.answer_with(algorithm);
            alice.register("");
        }
    });
}

#[test]
fn a_wrong_password_is_refused_and_the_right_one_is_not() {
    on_every_road(|scene| {
        let wrong = Account { password: "guessed".to_owned(), ..scene.account("alice") };
        let stranger = scene.connect(wrong, scene.road);
        let answer = stranger.ask(register(&stranger));
        assert!(matches!(answer.status(), Some(401 | 403)), "{}", stranger.ladder());
        scene.registered("alice");
    });
}

#[test]
fn known_and_unknown_users_cannot_be_told_apart() {
    on_every_road(|scene| {
        let answers = |user: &str| {
            let account =
                Account { user: user.to_owned(), password: "guessed".to_owned(), ..scene.account("alice") };
            let stranger = scene.connect(account, scene.road);
            let register = shape(&stranger.ask(register(&stranger)));
            let message = shape(&stranger.ask(stranger.message(&scene.uri("bob"), "hello")));
            let options = shape(&stranger.ask(stranger.draft("OPTIONS", &scene.uri("bob"))));
            [register, message, options]
        };
        assert_eq!(answers(&scene.account("alice").user), answers(&format!("nobody-{}", scene.road)));
        // Nor may a stranger ask whether an address exists.
        let stranger = scene.device("alice");
        let asked = |uri: &str| shape(&stranger.ask(stranger.draft("INVITE", uri).unanswering()));
        assert_eq!(asked(&scene.uri("bob")), asked(&format!("sip:ban-{}@example.test", scene.road)));
    });
}

#[test]
fn an_answer_is_taken_once() {
    on_every_road(|scene| {
        let alice = scene.device("alice");
        let offered = challenges(&challenge(&alice));
        let answered = |nc| alice.ask(answering(&alice, &offered[0], nc)).status();
        assert_eq!(answered(1), Some(200));
        assert_eq!(answered(2), Some(200), "a nonce serves many requests");
        assert_eq!(answered(2), Some(401), "the same count again is a replay");
        assert_eq!(answered(1), Some(401), "and so is an older one");
    });
}

/// Digest covers neither Contact nor source: who overhears a REGISTER over UDP must not register himself with it.
#[test]
fn what_was_overheard_registers_nobody_elsewhere() {
    let server = Server::start();
    let road = Road::v4(Transport::Udp);
    let alice = server.device("alice", road);
    let offered = challenges(&challenge(&alice));
    let overheard = answering(&alice, &offered[0], 1);
    assert_eq!(alice.ask(overheard.clone()).status(), Some(200), "{}", alice.ladder());
    let thief = server.device("alice", road);
    let mut stolen = overheard.clone();
    for (name, value) in &mut stolen.headers {
        if name == "Contact" {
            *value = format!("<{}>", thief.contact());
        }
    }
    for again in [stolen, overheard] {
        let refusal = thief.ask(again);
        assert_eq!(refusal.status(), Some(401), "{}", thief.ladder());
        assert!(challenges(&refusal).iter().all(|challenge| challenge.is_stale), "{refusal:?}");
    }
    let shown = server.user_command(&["show", "alice@example.test", "--json"], None);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(alice.contact()) && !shown.contains(thief.contact()), "{shown}");
}

#[test]
fn a_request_that_was_changed_on_its_way_is_refused() {
    on_every_road(|scene| {
        let alice = scene.device("alice");
        let offered = challenges(&challenge(&alice));
        // Bent to another registrar.
        let mut draft = answering(&alice, &offered[0], 1);
        draft.uri = "sip:elsewhere.example".to_owned();
        assert_eq!(alice.ask(draft).status(), Some(403));
        // Credentials of a REGISTER under a MESSAGE.
        let register = answering(&alice, &offered[0], 2);
        let (_, credentials) = register.headers.last().expect("the credentials").clone();
        let message = alice.message(&scene.uri("bob"), "forged").header("Proxy-Authorization", credentials);
        assert_eq!(alice.ask(message.unanswering()).status(), Some(407));
        // A nonce that the server never made.
        let forged =
            Challenge { nonce: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(), ..offered[0].clone() };
        let refusal = alice.ask(answering(&alice, &forged, 1));
        assert_eq!(refusal.status(), Some(401));
    });
}

/// A nonce of before a restart is ours, but too old: the client may answer the new one without asking its user.
#[test]
fn a_nonce_that_is_too_old_is_stale() {
    let mut server = Server::start();
    let road = Road::v4(Transport::Tcp);
    let old = challenges(&challenge(&server.device("alice", road)));
    server.restart();
    let alice = server.device("alice", road);
    let refusal = alice.ask(answering(&alice, &old[0], 1));
    assert_eq!(refusal.status(), Some(401));
    assert!(challenges(&refusal).iter().all(|challenge| challenge.is_stale), "{refusal:?}");
    // Credentials that are wrong are not called stale.
    let wrong = Account { password: "guessed".to_owned(), ..alice.account().clone() };
    let stranger = Device::connect(wrong, road.transport, server.address(road), &server.ca());
    let refusal = stranger.ask(register(&stranger));
    assert!(challenges(&refusal).iter().all(|challenge| !challenge.is_stale));
}

#[test]
fn guessing_is_slowed_while_the_owner_signs_in() {
    /// More than any bucket of failures holds for one source and account.
    const GUESSES: usize = 40;
    let server = Server::start();
    let roads = Transport::ALL.map(Road::v4);
    server.device("alice", roads[1]).register("");
    // All guess at alice from one address, which is also hers.
    in_parallel(&roads, |road| {
        for guess in 0..GUESSES / roads.len() {
            let account = Account { password: format!("guess {guess}"), ..server.account("alice") };
            let guesser = Device::connect(account, road.transport, server.address(*road), &server.ca());
            let status = guesser.ask(register(&guesser)).status();
            assert_ne!(status, Some(200));
        }
    });
    let account = Account { password: "one more".to_owned(), ..server.account("alice") };
    let guesser = Device::connect(account, Transport::Tcp, server.address(roads[1]), &server.ca());
    let refusal = guesser.ask(register(&guesser));
    assert!(matches!(refusal.status(), Some(403 | 429 | 503)), "slowed: {}", guesser.ladder());
    // Her own address is another one, as an owner's is.
    let owner = Road { family: system_tests::Family::V6, ..roads[1] };
    server.device("alice", owner).register("");
}

fn register(device: &Device) -> system_tests::Draft {
    device.register_draft(Some(format!("<{}>", device.contact())))
}

fn challenge(device: &Device) -> Message {
    let answer = device.ask(register(device).unanswering());
    assert_eq!(answer.status(), Some(401), "{}", device.ladder());
    answer
}

fn answering(device: &Device, challenge: &Challenge, nc: u32) -> system_tests::Draft {
    let draft = register(device);
    let answer = Answer {
        challenge,
        user: device.user(),
        password: &device.account().password,
        method: "REGISTER",
        uri: &draft.uri,
        nc,
    };
    let (name, value) = (answer.header_name(), answer.value());
    draft.header(name, value).unanswering()
}

/// What an answer tells: its status, phrase and header names; of its challenges, everything but the nonce.
fn shape(answer: &Message) -> (Option<u16>, String, Vec<String>, usize) {
    let names = answer.headers().map(|header| String::from_utf8_lossy(header.name).into_owned()).collect();
    let phrase = String::from_utf8_lossy(answer.reason_phrase()).into_owned();
    let offered = answer.values(HeaderId::WwwAuthenticate).chain(answer.values(HeaderId::ProxyAuthenticate));
    (answer.status(), phrase, names, offered.map(<[u8]>::len).sum())
}
